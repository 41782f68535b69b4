"""What a policy may change of one that it extends, where that locks a key: only what makes it stricter.

The table says for each key which direction that is. A key that the table does not have cannot be changed at all where it is
locked, so that a new key is never looser than it looks. Pure; knows no file.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from harness.evidence.policy import CoverageWanted, WhatBlocks


class Stricter(StrEnum):
    """How a key gets stricter."""

    LOWER = "lower"
    HIGHER = "higher"
    NEVER = "never"
    """Neither direction is: any change is refused."""
    MORE = "more"
    """A list that may be added to."""
    BLOCKS = "blocks"
    COVERAGE = "coverage"
    WHEN = "when"


STRICTER: Final = {
    "preset": Stricter.NEVER,
    "alpha": Stricter.NEVER,
    "beta": Stricter.LOWER,
    "delta": Stricter.LOWER,
    "delta_status": Stricter.LOWER,
    "eps0": Stricter.LOWER,
    "latency_tolerance": Stricter.LOWER,
    "latency_requests_min": Stricter.LOWER,
    "completed_share_min": Stricter.HIGHER,
    "not_reproduced_share_max": Stricter.LOWER,
    "noisy_share": Stricter.HIGHER,
    "passes_min": Stricter.HIGHER,
    "passes_max": Stricter.NEVER,
    "latency_budgets": Stricter.MORE,
    "effects": Stricter.MORE,
    "require_effects": Stricter.MORE,
    "effects_seen_share_min": Stricter.HIGHER,
    "blocks": Stricter.BLOCKS,
    "coverage": Stricter.COVERAGE,
    "when": Stricter.WHEN,
    "allow_self_accepted": Stricter.NEVER,
}
"""By key. `noisy_share`: a field above it is left out of the claims of a pass, so the higher it is the fewer are left out."""
NOT_LOCKED: Final = frozenset({"name", "extends", "locked"})
"""Keys that make no policy stricter or looser. What is locked stays so."""


def loosened(key: str, before: Any, after: Any) -> str:
    """What is looser, or may be, in a value over the one before it, as the end of a sentence; empty where nothing is.

    Values are those of harness.evidence.policy.Policy.
    """
    match STRICTER.get(key, Stricter.NEVER):
        case Stricter.LOWER:
            return f"{after:g} is more than {before:g}" if after > before else ""
        case Stricter.HIGHER:
            return f"{after:g} is less than {before:g}" if after < before else ""
        case Stricter.MORE:
            gone = [item for item in before if item not in after]
            return f"{_shown(gone[0])} is taken out" if gone else ""
        case Stricter.BLOCKS:
            return _unblocked(before, after)
        case Stricter.COVERAGE:
            return _covers_less(before, after)
        case Stricter.WHEN:
            return "" if after[: len(before)] == before else "the conditions that it has must come first, as they are"
    return "" if after == before else f"{_shown(after)} is not {_shown(before)}"


def _unblocked(before: tuple[WhatBlocks, ...], after: tuple[WhatBlocks, ...]) -> str:
    """A place that blocks by the rules before must do so by those after: each rule by which one does not block is one of those
    before, and the blocking rules that came before it still do. Then what it decides was decided so before."""
    for index, rule in enumerate(after):
        if rule.block:
            continue
        if rule not in before:
            return f"rule {index} makes places not block"
        missing = [one for one in before[: before.index(rule)] if one.block and one not in after[:index]]
        if missing:
            return f"rule {index} makes places not block for want of {_shown(missing[0])} before it"
    return ""


def _covers_less(before: CoverageWanted, after: CoverageWanted) -> str:
    for key in ("endpoints", "methods"):
        gone = [item for item in getattr(before, key) if item not in getattr(after, key)]
        if gone:
            return f"{key}: {_shown(gone[0])} is taken out"
    if after.requests_min < before.requests_min:
        return f"requests_min: {after.requests_min} is less than {before.requests_min}"
    return ""


def _shown(value: Any) -> str:
    plain = msgspec.to_builtins(value)
    if isinstance(plain, dict):
        plain = {name: item for name, item in plain.items() if item not in (None, "", "*")}
    return msgspec.json.encode(plain).decode()
