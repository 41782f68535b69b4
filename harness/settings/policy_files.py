"""Finds the files of a policy: its own, and those that it extends, read from the folder or at a ref of their repository.

What it must not know: what the keys mean.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from harness.core.errors import ShadowdiffError, UsageError
from harness.core.home import expanded
from harness.settings.check import Checker
from harness.settings.forms import is_policy_file
from harness.settings.git_ref import read_at_ref
from harness.settings.problems import Problem, closest, preview
from harness.settings.tree import Entry, MappingNode, Scalar, read_yaml_bytes, read_yaml_file

POLICY_CHAIN_MAX: Final = 5
"""Files in a row that extend each other, the first one included."""


class Source(msgspec.Struct, frozen=True):
    """One file of a policy."""

    path: Path
    tree: MappingNode
    checker: Checker
    """Reports problems with this file's lines."""
    at_ref: bool
    """It was read at a ref; a policy that comes with shadowdiff never is."""

    def entry(self, key: str) -> Entry | None:
        """The entry of a key at the top."""
        return next((entry for entry in self.tree.entries if entry.key == key), None)


class _Place(msgspec.Struct, frozen=True):
    path: Path
    packaged: bool


def read_chain(name: str, *, folder: Path, ref: str | None, problems: list[Problem]) -> list[Source]:
    """The policy's own file first, then what it extends, and so on.

    With a ref, files are read as they are there, in the repository in which each lies; packaged policies, the files of `folder`,
    come from there all the same. Raises UsageError or SetupError where the first file cannot be had; what is wrong with one
    that it extends is added to `problems`.
    """
    place = _place(name, folder, Path())
    chain: list[Source] = []
    seen: list[_Place] = []
    while True:
        if not chain:
            chain.append(_read(place, ref, problems))
        seen.append(place)
        here = chain[-1]
        entry = here.entry("extends")
        if entry is None or not isinstance(entry.node, Scalar) or isinstance(entry.node.value, bool | None):
            return chain  # none, or something that the checker reports
        try:
            place = _place(entry.node.text, folder, here.path.parent)
            if place in seen:
                names = " -> ".join(_shown(one) for one in [*seen, place])
                raise UsageError(f"extends itself: {names}")
            if len(chain) >= POLICY_CHAIN_MAX:
                names = " -> ".join(_shown(one) for one in [*seen, place])
                raise UsageError(f"more than {POLICY_CHAIN_MAX} policies extend each other: {names}")
            chain.append(_read(place, ref, problems))
        except ShadowdiffError as error:
            what = f"{error.where}: {error.what}" if error.where else error.what
            here.checker.report(entry, "extends", what, allowed=error.fix)
            return chain


def _place(name: str, folder: Path, beside: Path) -> _Place:
    if is_policy_file(name):
        return _Place(Path(os.path.normpath(beside / expanded(name))), packaged=False)
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if name not in known:
        near = closest(name, known)
        hint = f'did you mean "{near}"? ' if near else ""
        raise UsageError(f"no policy is called {preview(name)}", fix=f"{hint}known: {', '.join(known)}; or give a file, e.g. ./policy.yaml")
    return _Place(folder / f"{name}.yaml", packaged=True)


def _read(place: _Place, ref: str | None, problems: list[Problem]) -> Source:
    if ref is None or place.packaged:
        return Source(place.path, read_yaml_file(place.path, problems), Checker(str(place.path), problems), at_ref=False)
    where = f"{ref}:{place.path}"
    tree = read_yaml_bytes(read_at_ref(place.path, ref), where, problems)
    return Source(place.path, tree, Checker(where, problems), at_ref=True)


def _shown(place: _Place) -> str:
    return place.path.stem if place.packaged else str(place.path)
