"""How a value is written, finer than its format: precision, length, characters. Pure.

Values that are new in every answer are compared by this. A label need not be certain (a number with three places ends in a
zero one time in ten): which arm's label stands alone is a bet, and chance stands alone in each arm as often.
"""

import re
from typing import Final

from harness.core.values import Scalar

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER: Final = re.compile(r"[+-]?\d+(?:\.\d+)?")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d([Tt ])\d\d:\d\d(:\d\d)?(?:[.,](\d+))?(.{0,6})")
_SPACE: Final = re.compile(r"\s")
_FEW: Final = 8
"""A random identifier of 32 hex digits has so few different ones less than once in a million."""
_LONG: Final = 256
_DIGITS_SHOWN_MAX: Final = 13

Style = tuple[str | int, ...]


def style_of(value: Scalar) -> Style:
    """A label of how the value is written."""
    if isinstance(value, bool) or value is None:
        return ("plain",)
    if isinstance(value, int):
        return ("integer", _trailing_zeros(str(value)))
    if isinstance(value, float):
        return _float(repr(value))
    return _text(value)


def _float(text: str) -> Style:
    if "e" in text or "n" in text:
        return ("scientific",)
    if len(text.lstrip("-0.")) > _DIGITS_SHOWN_MAX:
        return ("float",)  # as it was computed: how many places it has depends on how large it is
    return ("float", len(text) - text.index(".") - 1) if not text.endswith(".0") else ("float", 0)


def _trailing_zeros(digits: str) -> int:
    return len(digits) - len(digits.rstrip("0"))


def _text(text: str) -> Style:
    if _UUID.fullmatch(text):
        # The version, and whether it is drawn or counted up from zeros.
        return ("uuid", text[14], text.isupper(), len(set(text)) - 1 <= _FEW)
    if match := _TIME.fullmatch(text):
        return ("time", match[1], bool(match[2]), len(match[3] or ""), _trailing_zeros(match[3] or ""), match[4][:1])
    if _NUMBER.fullmatch(text):
        places = len(text) - text.index(".") - 1 if "." in text else 0
        return ("number", places)
    if len(text) > _LONG or _SPACE.search(text):
        return ("text", len(text).bit_length())
    return ("token", _alphabet(text), len(text), len(text) > 2 * _FEW and len(set(text)) <= _FEW)


def _alphabet(text: str) -> str:
    characters = set(text)
    for name, allowed in _ALPHABETS:
        if characters <= allowed:
            return name
    return "other"


_DIGITS: Final = frozenset("0123456789")
_LOWER: Final = frozenset("abcdefghijklmnopqrstuvwxyz")
_UPPER: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_ALPHABETS: Final = (
    ("digits", _DIGITS),
    ("hex", _DIGITS | frozenset("abcdef")),
    ("HEX", _DIGITS | frozenset("ABCDEF")),
    ("lower", _DIGITS | _LOWER),
    ("upper", _DIGITS | _UPPER),
    ("alphanumeric", _DIGITS | _LOWER | _UPPER),
    ("base64", _DIGITS | _LOWER | _UPPER | frozenset("+/=")),
    ("base64url", _DIGITS | _LOWER | _UPPER | frozenset("-_=")),
)
