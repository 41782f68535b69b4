"""Reads files and commits out of a Git repository, at a ref: what the change under test cannot have rewritten.

Contents come from the object store as they are (`cat-file`), past filters and attributes of the working tree. What it must not
know: what the files mean.
"""

import os
import subprocess
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from harness.core.errors import SetupError, UsageError
from harness.core.home import expanded
from harness.core.limits import GIT_FILE_BYTES_MAX, GIT_TIMEOUT_S

_REGULAR: Final = frozenset({"100644", "100755"})
"""Modes of Git's regular files; a link or a submodule is none."""
_POINTS_ELSEWHERE: Final = frozenset(
    {
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_PREFIX",
    }
)
"""Set inside of hooks; they would name another repository than the one in which the file lies."""


class Commit(msgspec.Struct, frozen=True):
    """What a commit says of itself."""

    sha: str
    """The whole hash, in hex."""
    message: str
    """As it was written; bytes that are no UTF-8 are replaced."""


def read_at_ref(path: Path, ref: str) -> bytes:
    """The content that the file has at `ref`, a branch, tag or commit, in the repository in which it lies.

    The file need not be in the working tree. Raises UsageError where there is no such repository, ref or file, and SetupError
    where Git itself is missing or does not answer.
    """
    top = _top_of(expanded(path).parent, path)
    inside = _inside(path, top)
    sha = _commit_sha(top, ref)
    listed = _git(top, "ls-tree", "-z", "--full-tree", sha, "--", inside)
    entry = next((line for line in listed.split(b"\0") if line.partition(b"\t")[2] == os.fsencode(inside)), None)
    where = f"{ref}:{inside}"
    if entry is None:
        raise UsageError(f"there is no such file at {ref}", where=where, fix="commit it there first, or name another ref")
    mode, kind, blob = entry.partition(b"\t")[0].decode("ascii").split()
    if kind != "blob" or mode not in _REGULAR:
        raise UsageError(f"is no regular file at {ref}", where=where, fix="name a file, not a folder or a link")
    size = int(_git(top, "cat-file", "-s", blob))
    if size > GIT_FILE_BYTES_MAX:
        raise UsageError(f"has {size:,} bytes, more than {GIT_FILE_BYTES_MAX:,}", where=where, fix="name a smaller file")
    return _git(top, "cat-file", "blob", blob)


def commit_at(folder: Path, ref: str) -> Commit:
    """The commit that `ref` names in the repository of a folder. Raises as `read_at_ref` does."""
    top = _top_of(folder, folder)
    sha = _commit_sha(top, ref)
    message = _git(top, "show", "--no-patch", "--no-show-signature", "--format=%B", sha)
    return Commit(sha, message.decode("utf-8", "replace"))


def trailers_of(message: str) -> list[tuple[str, str]]:
    """The trailers of a commit message (`Key: value` lines of its last paragraph), by Git's own rules.

    Raises SetupError where Git is missing or does not answer.
    """
    told = _git(Path.cwd(), "interpret-trailers", "--parse", given=message.encode("utf-8", "replace"))
    pairs = (line.partition(":") for line in told.decode("utf-8", "replace").splitlines())
    return [(key.strip(), value.strip()) for key, colon, value in pairs if colon]


def _inside(path: Path, top: Path) -> str:
    """The path below the top of its repository, by its letters: a link within the working tree belongs to the change under test,
    which could point it at another file."""
    whole = Path(os.path.normpath(expanded(path).absolute()))
    for above in reversed(whole.parents):
        if above.resolve() == top:
            return whole.relative_to(above).as_posix()
    raise UsageError("is reached by a link into another folder", where=str(path), fix="name the file where it lies")


def _top_of(folder: Path, asked: Path) -> Path:
    """The top of the repository of a folder, which need not be in the working tree any more."""
    near = Path(os.path.normpath(folder.absolute()))
    try:
        while not near.is_dir() and near != near.parent:
            near = near.parent
    except OSError as error:
        raise UsageError(f"cannot be looked for: {error.strerror}", where=str(asked), fix="give another path") from error
    told = _run(near, ["rev-parse", "--show-toplevel"])
    if told.returncode:
        said = _said(told)
        if "not a git repository" in said:
            raise UsageError("lies in no Git repository", where=str(asked), fix="give a file of a repository, or leave the ref out")
        raise UsageError(f"Git does not read the repository: {said}", where=str(asked), fix="mend what Git says")
    top = Path(os.fsdecode(told.stdout.removesuffix(b"\n"))).resolve()
    own = Path(os.fsdecode(_run(near, ["rev-parse", "--absolute-git-dir"]).stdout.removesuffix(b"\n"))).resolve()
    inside = own.is_relative_to(top) and not own.is_relative_to(top / ".git")
    if inside or _run(near, ["rev-parse", "--show-superproject-working-tree"]).stdout.strip():
        raise UsageError(
            "lies in a repository within the repository, which the change under test may have put there",
            where=str(asked),
            fix="keep the file in the repository itself",
        )
    return top


def _commit_sha(top: Path, ref: str) -> str:
    if not ref.strip() or ref.startswith("-") or any(ord(sign) < 33 for sign in ref):
        _no_ref(ref, top)
    told = _run(top, ["rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}"])
    if told.returncode:
        _no_ref(ref, top)
    if "is ambiguous" in _said(told):
        raise UsageError(f"more than one ref is called {ref!r}", where=str(top), fix="write it out, such as refs/heads/main")
    return told.stdout.decode("ascii").strip()


def _no_ref(ref: str, top: Path) -> NoReturn:
    raise UsageError(
        f"there is no ref {ref!r}",
        where=str(top),
        fix="fetch it first (git fetch origin main), or name it as it is here, such as origin/main",
    )


def _git(folder: Path, *arguments: str, given: bytes = b"") -> bytes:
    told = _run(folder, list(arguments), given)
    if told.returncode:
        raise SetupError(f"git {arguments[0]} failed: {_said(told)}", where=str(folder), fix="mend what Git says")
    return told.stdout


def _run(folder: Path, arguments: list[str], given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    environ = {name: value for name, value in os.environ.items() if name not in _POINTS_ELSEWHERE}
    environ |= {"LC_ALL": "C", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    # A bare repository in the working tree belongs to the change under test: it must not answer for the one around it.
    command = ["git", "-c", "safe.bareRepository=explicit", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, input=given, capture_output=True, env=environ, timeout=GIT_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise SetupError("git is not installed", where=str(folder), fix="install git, or leave out what reads from a ref") from error
    except subprocess.TimeoutExpired as error:
        raise SetupError(
            f"git {arguments[0]} took longer than {GIT_TIMEOUT_S:g} s", where=str(folder), fix="look at the repository"
        ) from error
    except ValueError as error:
        raise UsageError("a path or ref holds a byte of zero", where=str(folder), fix="name it without") from error


def _said(told: "subprocess.CompletedProcess[bytes]") -> str:
    """Git's first line that is meant for people."""
    lines = told.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ") if lines else f"exit code {told.returncode}"
