"""Which format a piece of text is written in, and when two pieces certainly are in different ones.

The rule is caution: a format difference must never come from chance. Formats that one generator can produce by luck
(hex digits that are all decimal, a float printed with fewer places) count as the same.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

_FORMAT_CHARS_MAX: Final = 8192
_REMEMBERED_CHARS_MAX: Final = 128
"""A text is in two pairs of a trial with three arms; a longer one is rare, and looked at again."""
_DIGEST_CHARS: Final = frozenset({32, 40, 56, 64, 96, 128})

_SHAPES: Final = re.compile(
    r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"|(?P<UUID>[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})"
    r"|\d{4}-\d\d-\d\d(?P<separator>[Tt ])\d\d:\d\d(?P<seconds>:\d\d(?:[.,](?P<fraction>\d{1,9}))?)?(?P<offset>[Zz]|[+-]\d\d(?::?\d\d)?)?"
    r"|(?P<date>\d{4}-\d\d-\d\d)"
    r"|(?P<http_date>(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT)"
    r"|(?P<integer>[+-]?\d+)"
    r"|(?P<decimal>[+-]?\d+\.(?P<places>\d+))"
    r"|(?P<scientific>[+-]?\d+(?:\.\d+)?[eE][+-]?\d+)"
    r"|(?P<hex>[0-9a-f]{32,128})|(?P<HEX>[0-9A-F]{32,128})"
    r"|(?P<jwt>eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*)"
    r"|(?P<url>[A-Za-z][A-Za-z0-9+.-]{1,20}://\S+)"
    r"|(?P<email>[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)"
    r"|(?P<base64>[A-Za-z0-9+/]{14,}={1,2})"
)
_NUMBERS: Final = frozenset({"integer", "decimal", "scientific"})
_HEX_DIGITS: Final = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_MAYBE_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_DIGIT: Final = re.compile(r"\d")
_FIXED_PLACES: Final = re.compile(r"[+-]?\d+\.\d+0")

_EPOCHS: Final = ((1.0, "seconds"), (1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds"))
_EPOCH_SECONDS_MIN: Final = 946_684_800
"""2000-01-01."""
_EPOCH_SECONDS_MAX: Final = 4_102_444_800
"""2100-01-01."""
_YEAR_SECONDS: Final = 366 * 86_400


def format_of(text: str) -> str:
    """A label of the text's format: `uuid`, `date-time T .3 Z`, `hex-32`, `integer`, ... or `text`."""
    return _remembered_format(text) if len(text) <= _REMEMBERED_CHARS_MAX else _format(text)


def _format(text: str) -> str:
    if not text:
        return "empty"
    match = _SHAPES.fullmatch(text) if len(text) <= _FORMAT_CHARS_MAX else None
    if match is None:
        return "text"
    name = match.lastgroup
    if match["separator"]:
        return _date_time_label(match)
    if name in {"hex", "HEX"}:
        return f"{name}-{len(text)}" if len(text) in _DIGEST_CHARS else "text"
    if name == "base64":
        return "base64" if len(text) % 4 == 0 else "text"
    return str(name)


_remembered_format: Final = lru_cache(maxsize=1024)(_format)


def _date_time_label(match: re.Match[str]) -> str:
    """With the separator, the resolution and the offset: what a reader's parser depends on."""
    return _label_of(match["separator"], bool(match["seconds"]), len(match["fraction"] or ""), match["offset"])


@lru_cache(maxsize=1024)
def _label_of(separator: str, seconds: bool, places: int, offset: str | None) -> str:
    # Writers drop trailing zeros or groups of three; only a resolution another by a factor of a thousand is a format.
    resolution = f".{(places + 2) // 3 * 3}" if places else ("" if seconds else "minutes")
    return " ".join(part for part in ("date-time", separator.strip() or "space", resolution, offset) if part)


def formats_differ(left: str, right: str) -> tuple[str, str] | None:
    """The two format labels where they certainly differ, else None."""
    a, b = format_of(left), format_of(right)
    if a == b:
        if a == "decimal" and _places(left) != _places(right) and (_fixed(left) or _fixed(right)):
            return f"{_places(left)} places", f"{_places(right)} places"
        return None
    if _by_chance(left, a, right, b) or _by_chance(right, b, left, a):
        return None
    return a, b


def _by_chance(x: str, a: str, y: str, b: str) -> bool:
    """Whether one generator may give both x (of format a) and y (of format b)."""
    if a in _NUMBERS and b in _NUMBERS:
        return not (_fixed(x) or _fixed(y))
    if a == "integer" and b.lower().startswith("hex-"):
        return len(x) == len(y)
    if a.startswith("date-time") and b.startswith("date-time"):
        return _zeros_dropped(x, y)
    if b != "text":
        return a == "base64" and b == "integer" and len(y) % 4 == 0
    if a in _NUMBERS:
        return _DIGIT.search(y) is not None or (len(x) == len(y) and len(x) <= 5)
    if a.lower().startswith("hex-"):
        return _HEX_DIGITS.fullmatch(y) is not None
    if a == "base64":
        return len(y) % 4 == 0 and _MAYBE_BASE64.fullmatch(y) is not None
    return False


def _zeros_dropped(x: str, y: str) -> bool:
    """Whether x may be a time that ended in three zeros, which its writer drops: one time in a thousand does.

    Not where y is the same moment with more places, nor where all places are gone: times written one after the other seldom agree
    so far, and a writer of six places drops all of them one time in a million.
    """
    short, long = _SHAPES.fullmatch(x), _SHAPES.fullmatch(y)
    if short is None or long is None or not short["fraction"] or not long["fraction"]:
        return False
    if (short["separator"], short["offset"]) != (long["separator"], long["offset"]):
        return False
    groups = [(len(match["fraction"]) + 2) // 3 for match in (short, long)]
    return groups[1] - groups[0] == 1 and not y.startswith(x[: short.end("fraction")])


def _places(text: str) -> int:
    return len(text) - text.index(".") - 1


def _fixed(text: str) -> bool:
    """Whether a decimal has a trailing zero that only a fixed number of places explains (`12.50`, but not `12.0`)."""
    return _FIXED_PLACES.fullmatch(text) is not None


def epochs_differ(left: float, right: float) -> tuple[str, str] | None:
    """The two units where both numbers are times since the epoch within a year of each other, in different units."""
    a, b = _epoch(left), _epoch(right)
    if a is None or b is None or a[1] == b[1] or abs(a[0] - b[0]) > _YEAR_SECONDS:
        return None
    return f"epoch {a[1]}", f"epoch {b[1]}"


def _epoch(number: float) -> tuple[float, str] | None:
    if not _EPOCH_SECONDS_MIN <= number <= _EPOCH_SECONDS_MAX * 10**9:
        return None
    for scale, unit in _EPOCHS:
        if _EPOCH_SECONDS_MIN <= number / scale <= _EPOCH_SECONDS_MAX:
            return number / scale, unit
    return None


def time_of(value: object) -> tuple[float, str] | None:
    """A time in seconds since the epoch and how it was written, or None; a time without an offset is taken as UTC."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _epoch(value)
    if not isinstance(value, str) or not 10 <= len(value) <= 40:
        return None
    label = format_of(value)
    try:
        if label == "http_date":
            return parsedate_to_datetime(value).timestamp(), "text"
        if label == "date" or label.startswith("date-time"):
            moment = datetime.fromisoformat(value.replace(",", ".").upper())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), "text"
    except (ValueError, OverflowError):
        return None
    return None
