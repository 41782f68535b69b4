"""How two leaves compare: the coarsest way in which they differ, and what the rules of their place forgive."""

import math
from typing import Any, Final

from comparators.api import RuleUse
from comparators.formats import epochs_differ, formats_differ, time_of
from harness.core.canon import Place
from harness.core.labels import Kind

_LENGTH_BUCKETS_MIN: Final = 2
_LENGTH_CHARS_MIN: Final = 16

TYPE_NAMES: Final[dict[type, str]] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "float",
    str: "string",
    list: "array",
    dict: "object",
}

Verdict = tuple[Kind, str]
"""A kind and a note."""


def leaf_difference(left: Any, right: Any) -> Verdict | None:
    """How two values differ, of which at least one is no container (or they are containers of different types).

    None when they are equal: same type and value. Two NaN are equal, 0.0 and -0.0 too; 1, 1.0 and true are three values.
    """
    kind = type(left)
    if kind is not type(right):
        if left is None or right is None:
            return Kind.NULL, ""
        return Kind.TYPE, f"{TYPE_NAMES[kind]} against {TYPE_NAMES[type(right)]}"
    if left == right:
        return None
    if kind is str:
        return text_difference(left, right)
    return (Kind.VALUE, "") if kind is bool else _number_difference(left, right)


def text_difference(left: str, right: str) -> Verdict:
    """How two unequal texts differ: format, length (by a factor of about four), or value."""
    formats = formats_differ(left, right)
    if formats is not None:
        return Kind.FORMAT, f"{formats[0]} against {formats[1]}"
    a, b = len(left), len(right)
    if max(a, b) >= _LENGTH_CHARS_MIN and abs(a.bit_length() - b.bit_length()) >= _LENGTH_BUCKETS_MIN:
        return Kind.LENGTH, f"{a} characters against {b}"
    return Kind.VALUE, ""


def _number_difference(left: float, right: float) -> Verdict | None:
    finite = _is_finite(left), _is_finite(right)
    if finite == (False, False) and math.isnan(left) and math.isnan(right):
        return None
    if finite != (True, True):
        return Kind.FORMAT, f"{left} against {right}"
    units = epochs_differ(left, right)
    return (Kind.FORMAT, f"{units[0]} against {units[1]}") if units else (Kind.VALUE, "")


def _is_finite(number: float) -> bool:
    # An integer of any size is finite, also where it does not fit a float.
    return isinstance(number, int) or math.isfinite(number)


def ruled_difference(left: Any, right: Any, place: Place, use: RuleUse) -> Verdict | None:
    """As `leaf_difference`, under the rules of a place; each rule that changed the answer is marked as used."""
    plain = leaf_difference(left, right)
    if plain is None or not place.live:
        return plain
    if place.ignore >= 0:
        use.used.add(place.ignore)
        return None
    found: Verdict | None = plain
    if place.normalisers and isinstance(left, str) and isinstance(right, str):
        left, right = normalised(left, place, use), normalised(right, place, use)
        found = leaf_difference(left, right)
    if found is not None and place.int_is_float >= 0 and {type(left), type(right)} == {int, float}:
        use.used.add(place.int_is_float)
        found = None if left == right else _number_difference(left, right)
    if found is not None and place.tolerances and _tolerated(left, right, place, use):
        return None
    if found is not None and place.format_only >= 0 and found[0] in (Kind.VALUE, Kind.LENGTH):
        use.used.add(place.format_only)
        return None
    return found


def normalised(text: str, place: Place, use: RuleUse) -> str:
    """The text after the replacements of its place."""
    for normaliser in place.normalisers:
        text, count = normaliser.regex.subn(normaliser.replace, text)
        if count:
            use.used.add(normaliser.rule)
    return text


def _tolerated(left: Any, right: Any, place: Place, use: RuleUse) -> bool:
    for tolerance in place.tolerances:
        if tolerance.seconds is not None and _times_within(left, right, tolerance.seconds):
            use.used.add(tolerance.rule)
            return True
        if _is_number(left) and _is_number(right) and _numbers_within(left, right, tolerance.absolute, tolerance.relative):
            use.used.add(tolerance.rule)
            return True
    return False


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numbers_within(left: float, right: float, absolute: float | None, relative: float | None) -> bool:
    try:
        distance = abs(left - right)
        if not distance < math.inf:
            return False
        return (absolute is not None and distance <= absolute) or (
            relative is not None and distance <= relative * max(abs(left), abs(right))
        )
    except OverflowError:
        return False


def _times_within(left: object, right: object, seconds: float) -> bool:
    a, b = time_of(left), time_of(right)
    return a is not None and b is not None and a[1] == b[1] and abs(a[0] - b[0]) <= seconds
