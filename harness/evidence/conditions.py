"""Conditions of a policy on the labels of the candidate: which of them apply, and what the policy is then. Pure.

A label's pattern is text in which `*` stands for any characters, whatever the case, or a comparison with a number (`>=500`). A
label that was not given counts as empty, so the pattern "" is that of its absence, which no `ai*` or `>=500` fits. One that was given
and is compared with a number, but is none, is refused: nobody can say which rules are meant for it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from harness.core.errors import UsageError
from harness.evidence.hard_rules import pattern_of
from harness.evidence.policy import Condition, Policy

CONDITIONS_MAX: Final = 256
"""Conditions of one policy."""
NOT_SET_BY_LABELS: Final = frozenset({"name", "extends", "locked", "when"})
"""Keys that say what a policy is, which no label changes."""

_COMPARISON: Final = re.compile(r"\s*(>=|<=|>|<)\s*(-?\d{1,15}(?:\.\d{1,15})?)\s*")
_NUMBER: Final = re.compile(r"\s*-?\d{1,15}(?:\.\d{1,15})?\s*")
_SHOWN_CHARS_MAX: Final = 64
"""Of a label in a message."""


class Applied(NamedTuple):
    """A policy with its conditions decided."""

    policy: Policy
    """Without conditions."""
    which: tuple[int, ...]
    """The conditions that applied, by their places, in order."""


def apply(policy: Policy, labels: Mapping[str, str]) -> Applied:
    """What the policy is for a candidate with these labels (names in lower case).

    The same for the same policy and labels. Raises UsageError where the conditions that apply do not go together, or compare a label
    with a number that is none.
    """
    fields = msgspec.structs.asdict(policy)
    which = tuple(index for index, condition in enumerate(policy.when) if fits(condition, labels))
    for index in which:
        fields.update(values_of(policy.when[index]))
    fields["when"] = ()
    found = Policy(**fields)
    if found.passes_min > found.passes_max:
        raise UsageError(
            f"the conditions {', '.join(str(index) for index in which)} of policy {policy.name} leave passes_min, {found.passes_min}, "
            f"above passes_max, {found.passes_max}",
            where="when",
            fix="let each condition that sets one of them set both",
        )
    return Applied(found, which)


def fits(condition: Condition, labels: Mapping[str, str]) -> bool:
    """Whether every pattern of a condition fits its label. Raises UsageError for a label that is to be a number and is none."""
    found = [_fits(pattern, labels.get(name, ""), name) for name, pattern in condition.labels.items()]  # each is looked at
    return all(found)


def words(condition: Condition) -> str:
    """What a condition asks for, for people."""
    return " and ".join(f"{name}: {pattern}" if pattern else f"no {name}" for name, pattern in condition.labels.items())


def values_of(condition: Condition) -> dict[str, Any]:
    """What a condition sets, as the values that a Policy holds."""
    kept = {name: value for name, value in condition.set.items() if name not in NOT_SET_BY_LABELS}
    policy = msgspec.convert(kept, Policy)
    return {name: getattr(policy, name) for name in kept}


def _fits(pattern: str, value: str, name: str) -> bool:
    comparison = _COMPARISON.fullmatch(pattern)
    if comparison is None:
        return pattern_of(pattern.casefold()).fullmatch(value.casefold()) is not None
    if not value.strip():
        return False
    if not _NUMBER.fullmatch(value):
        raise UsageError(
            f"the label {name} is {value[:_SHOWN_CHARS_MAX]!r}, which is no number, and the policy asks for {pattern.strip()}",
            where=f"labels.{name}",
            fix="give a plain number such as 512 or 0.5, of at most 15 digits before the point and behind it",
        )
    number, bound = float(value), float(comparison[2])
    match comparison[1]:
        case ">=":
            return number >= bound
        case "<=":
            return number <= bound
        case ">":
            return number > bound
    return number < bound
