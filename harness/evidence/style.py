"""How a value is written, finer than its format: precision, length, characters. Pure.

Values that are new in every answer are compared by this. A label need not be certain (a number with three places ends in a
zero one time in ten): which arm's label stands alone is a bet, and chance stands alone in each arm as often.
"""

import re
import string
from functools import lru_cache
from typing import Final

from harness.core.values import Scalar

_UUID: Final = b"00000000-0000-0000-0000-000000000000"
_HEX_ALIKE: Final = bytes(ord("0" if chr(code) in string.hexdigits else "-" if code == ord("-") else "?") for code in range(256))
_NUMBER: Final = re.compile(r"[+-]?\d+(?:\.\d+)?")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d([Tt ])\d\d:\d\d(:\d\d)?(?:[.,](\d+))?(.{0,6})")
_DIGITS_ALIKE: Final = bytes.maketrans(b"123456789", b"000000000")
_SPACE: Final = re.compile(r"\s")
_FEW: Final = 8
"""A random identifier of 32 hex digits has so few different ones less than once in a million."""
_HALF: Final = 20
_SHORT: Final = 40
_LONG: Final = 256
_DIGITS_SHOWN_MAX: Final = 13

Style = tuple[str | int, ...]

_Layout = tuple[str, bool, tuple[int, int], int]
"""Of a time: what is before the hour, whether it has seconds, from where to where its fraction is, where its zone begins."""
_COMPUTED: Final[Style] = ("float",)
"""Of a number with as many digits as it was computed with: how many places it has depends on how large it is."""


def style_of(value: Scalar, written: str | None = None) -> Style:
    """A label of how the value is written; `written` is its repr, where that is known already."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _float(written or repr(value))
    if isinstance(value, bool) or value is None:
        return ("plain",)
    return ("integer", _trailing_zeros(str(value)))


def _float(text: str) -> Style:
    if "e" in text or "n" in text:
        return ("scientific",)
    if len(text.lstrip("-0.")) > _DIGITS_SHOWN_MAX:
        return _COMPUTED
    return ("float", len(text) - text.index(".") - 1) if not text.endswith(".0") else ("float", 0)


def _trailing_zeros(digits: str) -> int:
    return len(digits) - len(digits.rstrip("0"))


def _text(text: str) -> Style:
    length = len(text)
    if length == len(_UUID) and text.isascii() and text.encode().translate(_HEX_ALIKE) == _UUID:
        # The version, and whether it is drawn or counted up from zeros: half of it shows that of nearly all that are drawn.
        few = len(set(text[:_HALF])) - 1 <= _FEW and len(set(text)) - 1 <= _FEW
        return ("uuid", text[14], text.isupper(), few)
    first = text[:1]
    if first.isdecimal() or first in ("+", "-"):
        if text[4:5] == "-":
            known = length <= _SHORT and text.isascii()
            layout = _known_layout(text.encode().translate(_DIGITS_ALIKE)) if known else _time_layout(text)
            if layout is not None:
                space, seconds, (begin, end), zone = layout
                return ("time", space, seconds, end - begin, _trailing_zeros(text[begin:end]), text[zone : zone + 1])
        elif _NUMBER.fullmatch(text):
            places = length - text.index(".") - 1 if "." in text else 0
            return ("number", places)
    if length > _LONG or (not text.isalnum() and _SPACE.search(text)):
        return ("text", length.bit_length())
    characters = set(text)
    return ("token", _alphabet(characters), length, length > 2 * _FEW and len(characters) <= _FEW)


@lru_cache(maxsize=1024)
def _known_layout(text: bytes) -> _Layout | None:
    """That of a time all of whose digits are 0: there are few."""
    return _time_layout(text.decode("ascii"))


def _time_layout(text: str) -> _Layout | None:
    match = _TIME.fullmatch(text)
    return None if match is None else (match[1], bool(match[2]), match.span(3) if match[3] else (0, 0), match.start(4))


def _alphabet(characters: set[str]) -> str:
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
