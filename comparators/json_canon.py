"""The canonical text of a value under rules: equal texts mean that the rules see no difference. Tolerances are not applied."""

from typing import Any

from comparators.api import RuleUse
from comparators.formats import format_of
from comparators.json_parse import Flat
from comparators.leaves import TYPE_NAMES, normalised
from harness.core.canon import Place


def canonical_text(value: Any, place: Place, use: RuleUse, used: set[int], flat: Flat) -> bytes:
    """Text of the value as the rules see it; adds to `used` the rules that changed something."""
    if not place.live:
        return flat(value)
    return flat(_canonical(value, place, RuleUse(use.rules, used), flat))


def _canonical(value: Any, place: Place, use: RuleUse, flat: Flat) -> Any:
    if not place.live:
        return value
    if place.ignore >= 0:
        use.used.add(place.ignore)
        return None
    if isinstance(value, dict):
        members = {}
        for key, member in value.items():
            below = use.step(place, key)
            if below.ignore >= 0:
                use.used.add(below.ignore)
            else:
                members[key] = _canonical(member, below, use, flat)
        return members
    if isinstance(value, list):
        items = [_canonical(item, use.step(place, index), use, flat) for index, item in enumerate(value)]
        if place.unordered is None:
            return items
        ordered = sorted(items, key=flat)
        if ordered != items:
            use.used.add(place.unordered.rule)
        return ordered
    return _canonical_leaf(value, place, use)


def _canonical_leaf(value: Any, place: Place, use: RuleUse) -> Any:
    if isinstance(value, str):
        value = normalised(value, place, use)
    if place.int_is_float >= 0 and isinstance(value, float) and value.is_integer():
        use.used.add(place.int_is_float)
        value = int(value) if abs(value) < 2**53 else value
    if place.format_only >= 0 and value is not None:
        use.used.add(place.format_only)
        name = TYPE_NAMES[type(value)]
        return f"{name} {format_of(value)}" if isinstance(value, str) else name
    return value
