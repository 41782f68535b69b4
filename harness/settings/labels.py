"""The labels of the candidate: what is said of the change under test, by options, environment, configuration and its commit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from harness.core.errors import UsageError
from harness.core.limits import LABEL_CHARS_MAX, LABELS_MAX
from harness.settings.git_ref import commit_at, trailers_of
from harness.settings.policy_parts import LABEL_WORDS, label_name
from harness.settings.problems import ConfigError, Problem, preview

COMMIT_LABEL: Final = "commit"
"""The label that holds the hash of the commit which labels are read from."""


def labels_of(given: Mapping[str, str], git_ref: str | None, folder: Path) -> dict[str, str]:
    """All labels by name, in order; names in lower case. What is given counts over what the commit at `git_ref` says of itself: its
    hash and its trailers, in the repository of `folder`.

    Raises ConfigError with every label that is none, UsageError or SetupError where the commit cannot be read.
    """
    found = _of_commit(git_ref, folder) if git_ref is not None else {}
    problems: list[Problem] = []
    own: dict[str, str] = {}
    for name, value in given.items():
        known = label_name(name)
        if known is None:
            problems.append(Problem("", "labels", f"{preview(name)} is no name of a label", allowed=LABEL_WORDS))
        elif known in own:
            problems.append(Problem("", "labels", f"{preview(name)} is given twice: upper and lower case are the same"))
        elif len(value) > LABEL_CHARS_MAX:
            problems.append(Problem("", f"labels.{known}", f"has {len(value)} characters", allowed=f"up to {LABEL_CHARS_MAX}"))
        else:
            own[known] = value.strip()
    found |= own
    if len(found) > LABELS_MAX:
        problems.append(Problem("", "labels", f"{len(found)} labels are too many", allowed=f"up to {LABELS_MAX}"))
    if problems:
        raise ConfigError(problems)
    return dict(sorted(found.items()))


def _of_commit(ref: str, folder: Path) -> dict[str, str]:
    """Its hash, and its trailers: those that are named more than once as a list, those that can be no label left out."""
    commit = commit_at(folder, ref)
    found: dict[str, list[str]] = {}
    for key, value in trailers_of(commit.message):
        name = label_name(key)
        if name is not None and name != COMMIT_LABEL:
            found.setdefault(name, []).append(value)
    if len(found) >= LABELS_MAX:
        raise UsageError(f"the commit has {len(found)} trailers, more than {LABELS_MAX - 1}", where=ref, fix="name the labels with --label")
    values = {name: ", ".join(several)[:LABEL_CHARS_MAX] for name, several in found.items()}
    return {COMMIT_LABEL: commit.sha, **values}
