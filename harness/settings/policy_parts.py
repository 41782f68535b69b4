"""Checks the parts of a policy that types do not say enough about: what blocks, coverage, locks, conditions on labels."""

import re
from typing import Final

from msgspec import inspect

from harness.core.limits import LABEL_CHARS_MAX, LABELS_MAX
from harness.evidence.conditions import CONDITIONS_MAX, NOT_SET_BY_LABELS
from harness.evidence.policy import Policy
from harness.settings.check import INVALID, Checker, Invalid
from harness.settings.keys import Facts
from harness.settings.policy_locks import NOT_LOCKED
from harness.settings.problems import closest, preview
from harness.settings.tree import Entry, MappingNode, Node, Scalar, SequenceNode

WHAT_BLOCKS_MAX: Final = 256
"""Rules on what blocks in one policy."""
COVERAGE_WANTED_MAX: Final = 1000
"""Endpoints, and methods, that a policy asks for."""
REQUESTS_MIN_MAX: Final = 1_000_000_000
_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9._/-]{0,63}")
LABEL_WORDS: Final = "names of letters, digits, dots, dashes, slashes and underscores, up to 64"
_METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,31}")


def label_name(text: str) -> str | None:
    """The name of a label as it is kept, in lower case; None where it is none."""
    name = text.strip().lower()
    return name if _LABEL.fullmatch(name) else None


def check_blocks(checker: Checker, node: Node, key: str) -> None:
    """Rules on what blocks."""
    items = _items(checker, node, key, WHAT_BLOCKS_MAX, "rules")
    for index, item in enumerate(items):
        for entry in item.entries if isinstance(item, MappingNode) else ():
            if entry.key == "endpoint" and isinstance(entry.node, Scalar) and not entry.node.text.strip():
                _empty_pattern(checker, entry, f"{key}[{index}].endpoint")


def check_coverage(checker: Checker, node: Node, key: str) -> None:
    """What must have been exercised."""
    for entry in node.entries if isinstance(node, MappingNode) else ():
        below = f"{key}.{entry.key}"
        number = entry.node.value if isinstance(entry.node, Scalar) else None
        if entry.key == "requests_min" and isinstance(number, int) and not isinstance(number, bool) and not 0 <= number <= REQUESTS_MIN_MAX:
            checker.report(entry, below, f"{number} is out of range", allowed=f"from 0 up to {REQUESTS_MIN_MAX}")
        items = _items(checker, entry.node, below, COVERAGE_WANTED_MAX, "entries")
        for index, item in enumerate(items):
            if not isinstance(item, Scalar):
                continue
            if entry.key == "endpoints" and not item.text.strip():
                _empty_pattern(checker, item, f"{below}[{index}]")
            elif entry.key == "methods" and not _METHOD.fullmatch(item.text):
                checker.report(item, f"{below}[{index}]", f"{preview(item.text)} is no method", allowed="methods such as GET or POST")


def check_locked(checker: Checker, node: Node, key: str) -> None:
    """Keys that are locked must be keys that can be."""
    known = [name for name in Policy.__struct_fields__ if name not in NOT_LOCKED]
    for index, item in enumerate(node.items if isinstance(node, SequenceNode) else ()):
        if isinstance(item, Scalar) and item.text not in known:
            what = f"{preview(item.text)} cannot be locked" if item.text in NOT_LOCKED else f"{preview(item.text)} is no key of a policy"
            checker.report(item, f"{key}[{index}]", what, allowed=", ".join(known), near=closest(item.text, known))


def read_labels(checker: Checker, node: Node, key: str) -> dict[str, str] | Invalid:
    """Patterns by label, the names in lower case and in order."""
    kind = inspect.type_info(dict[str, str])
    found = checker.value(node, kind, key, Facts())
    if isinstance(found, Invalid) or not isinstance(found, dict) or not isinstance(node, MappingNode):
        return INVALID
    sound = True
    if not found or len(found) > LABELS_MAX:
        checker.report(node, key, f"{len(found)} labels", allowed=f"from 1 up to {LABELS_MAX}")
        sound = False
    for entry in node.entries:
        if label_name(entry.key) is None:
            checker.report(entry, f"{key}.{entry.key}", "is no name of a label", allowed=LABEL_WORDS)
            sound = False
        elif isinstance(entry.node, Scalar) and len(entry.node.text) > LABEL_CHARS_MAX:
            checker.report(entry, f"{key}.{entry.key}", f"has {len(entry.node.text)} characters", allowed=f"up to {LABEL_CHARS_MAX}")
            sound = False
    names = [label_name(name) for name in found]
    if sound and len(set(names)) < len(names):
        checker.report(node, key, "names a label twice: upper and lower case are the same")
        sound = False
    return {str(label_name(name)): str(value) for name, value in sorted(found.items())} if sound else INVALID


def too_many_conditions(checker: Checker, node: SequenceNode, key: str) -> bool:
    """Whether there are; reported then."""
    if len(node.items) > CONDITIONS_MAX:
        checker.report(node, key, f"{len(node.items)} conditions are too many", allowed=f"up to {CONDITIONS_MAX}")
    return len(node.items) > CONDITIONS_MAX


def settable() -> list[str]:
    """Keys that a condition may set."""
    return [name for name in Policy.__struct_fields__ if name not in NOT_SET_BY_LABELS]


def _items(checker: Checker, node: Node, key: str, most: int, what: str) -> tuple[Node, ...]:
    items = node.items if isinstance(node, SequenceNode) else ()
    if len(items) > most:
        checker.report(node, key, f"{len(items)} {what} are too many", allowed=f"up to {most}")
    return items


def _empty_pattern(checker: Checker, node: Node | Entry, key: str) -> None:
    checker.report(node, key, "is empty", allowed="a pattern, in which * stands for any characters")
