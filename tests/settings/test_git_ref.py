"""Files and commits at a ref: read from the object store, whatever the working tree has become."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from harness.core.errors import SetupError, UsageError
from harness.core.limits import GIT_FILE_BYTES_MAX
from harness.settings.git_ref import commit_at, read_at_ref, trailers_of

AUTHOR = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example", "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example"}


def git(folder: Path, *arguments: str) -> str:
    environ = {**os.environ, **AUTHOR, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", "-C", str(folder), *arguments], env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(repo: Path, message: str = "a change") -> str:
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(repo, "rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / "ci").mkdir()
    (folder / "ci/policy.yaml").write_text("alpha: 0.01\n")
    commit(folder)
    git(folder, "checkout", "--quiet", "-b", "change")
    return folder


def test_the_content_is_that_of_the_ref_and_not_of_the_working_tree(repo: Path) -> None:
    (repo / "ci/policy.yaml").write_text("alpha: 0.5\n")
    assert read_at_ref(repo / "ci/policy.yaml", "main") == b"alpha: 0.01\n"
    commit(repo)
    assert read_at_ref(repo / "ci/policy.yaml", "main") == b"alpha: 0.01\n"
    assert read_at_ref(repo / "ci/policy.yaml", "HEAD") == b"alpha: 0.5\n"
    assert read_at_ref(repo / "ci/policy.yaml", git(repo, "rev-parse", "main")) == b"alpha: 0.01\n"


def test_the_file_may_be_gone_from_the_working_tree(repo: Path) -> None:
    (repo / "ci/policy.yaml").unlink()
    (repo / "ci").rmdir()
    assert read_at_ref(repo / "ci/../ci/policy.yaml", "main") == b"alpha: 0.01\n"


def test_a_path_is_relative_to_where_one_stands(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo / "ci")
    assert read_at_ref(Path("policy.yaml"), "main") == read_at_ref(Path("../ci/policy.yaml"), "main") == b"alpha: 0.01\n"


def test_filters_and_attributes_of_the_change_do_not_count(repo: Path) -> None:
    git(repo, "config", "filter.lax.smudge", "sed s/0.01/0.5/")
    git(repo, "config", "diff.lax.textconv", "sed s/0.01/0.5/")
    (repo / ".gitattributes").write_text("*.yaml filter=lax diff=lax\n")
    commit(repo)
    assert read_at_ref(repo / "ci/policy.yaml", "main") == b"alpha: 0.01\n"


def test_a_link_put_in_by_the_change_leads_nowhere_else(repo: Path) -> None:
    (repo / "lax").mkdir()
    (repo / "lax/policy.yaml").write_text("alpha: 0.5\n")
    git(repo, "checkout", "--quiet", "main")
    commit(repo)
    git(repo, "checkout", "--quiet", "change")
    git(repo, "merge", "--quiet", "main")
    (repo / "ci/policy.yaml").unlink()
    (repo / "ci").rmdir()
    (repo / "ci").symlink_to(repo / "lax")
    assert read_at_ref(repo / "ci/policy.yaml", "main") == b"alpha: 0.01\n"


def test_the_repository_is_that_of_the_file_whatever_hooks_say(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(repo / "nowhere"))
    monkeypatch.setenv("GIT_WORK_TREE", str(repo / "nowhere"))
    assert read_at_ref(repo / "ci/policy.yaml", "main") == b"alpha: 0.01\n"


@pytest.mark.parametrize("ref", ["mian", "", " ", "-h", "--all", "main:ci", "main\n", "a\0b", "HEAD^^^^^^"])
def test_refs_that_are_none(repo: Path, ref: str) -> None:
    with pytest.raises(UsageError, match="there is no ref") as caught:
        read_at_ref(repo / "ci/policy.yaml", ref)
    assert "git fetch" in caught.value.fix


def test_a_tag_that_shadows_the_branch_is_not_taken_for_it(repo: Path) -> None:
    (repo / "ci/policy.yaml").write_text("alpha: 0.5\n")
    commit(repo)
    git(repo, "tag", "main")
    with pytest.raises(UsageError, match="more than one ref is called 'main'") as caught:
        read_at_ref(repo / "ci/policy.yaml", "main")
    assert "refs/heads/main" in caught.value.fix
    assert read_at_ref(repo / "ci/policy.yaml", "refs/heads/main") == b"alpha: 0.01\n"


def test_files_that_are_not_there(repo: Path, tmp_path: Path) -> None:
    (repo / "new.yaml").write_text("alpha: 0.5\n")
    (repo / "link.yaml").symlink_to("ci/policy.yaml")
    commit(repo)
    with pytest.raises(UsageError, match="there is no such file at main") as caught:
        read_at_ref(repo / "new.yaml", "main")
    assert caught.value.where == "main:new.yaml"
    for name in ("ci", "link.yaml"):
        with pytest.raises(UsageError, match="is no regular file"):
            read_at_ref(repo / name, "change")
    (tmp_path / "alone.yaml").write_text("")
    with pytest.raises(UsageError, match="lies in no Git repository"):
        read_at_ref(tmp_path / "alone.yaml", "main")


def test_files_are_bounded(repo: Path) -> None:
    (repo / "large").write_bytes(b"#" * (GIT_FILE_BYTES_MAX + 1))
    commit(repo)
    with pytest.raises(UsageError, match="4,194,305 bytes, more than"):
        read_at_ref(repo / "large", "HEAD")


def test_without_git(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repo))
    with pytest.raises(SetupError, match="git is not installed"):
        read_at_ref(repo / "ci/policy.yaml", "main")


def test_a_commit_and_its_trailers(repo: Path) -> None:
    message = "A change\n\nBody: of text\n\nin two parts.\n\nAuthor-Kind: ai\nModel:  some model \nChange-Size: 12\n"
    sha = commit(repo, message)
    found = commit_at(repo, "HEAD")
    assert found.sha == sha
    assert trailers_of(found.message) == [("Author-Kind", "ai"), ("Model", "some model"), ("Change-Size", "12")]
    assert trailers_of("only a line") == []
    with pytest.raises(UsageError, match="there is no ref"):
        commit_at(repo, "nowhere")


def other_repository(tmp_path: Path) -> Path:
    """What a change would rather have asked: a repository whose main has another policy."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet", "--initial-branch", "main")
    (other / "policy.yaml").write_text("alpha: 0.5\n")
    commit(other)
    return other


def test_a_bare_repository_among_the_files_of_the_change_does_not_answer(repo: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--bare", str(other_repository(tmp_path)), str(tmp_path / "bare"))
    for entry in (tmp_path / "bare").iterdir():
        entry.rename(repo / "ci" / entry.name)
    git(repo, "config", "--file", str(repo / "ci/config"), "core.worktree", ".")
    git(repo, "config", "--file", str(repo / "ci/config"), "core.bare", "false")
    with suppress(UsageError):  # to refuse it is as good as to pass it over
        assert read_at_ref(repo / "ci/policy.yaml", "main") == b"alpha: 0.01\n"


def test_a_submodule_of_the_change_does_not_answer(repo: Path, tmp_path: Path) -> None:
    git(repo, "rm", "--quiet", "-r", "ci")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other_repository(tmp_path)), "ci")
    with pytest.raises(UsageError, match="repository within the repository"):
        read_at_ref(repo / "ci/policy.yaml", "main")
