"""Numbers and times as points on a line: which of three lies apart, and in which order they stand. Pure.

The place of a time on the line does not depend on how it is written: `2026-01-01T01:00:00+01:00` is midnight UTC.
"""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from harness.core.values import Scalar

_NUMBER: Final = re.compile(r"[+-]?\d{1,18}(?:\.\d{1,18})?")
_HTTP_DATE: Final = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
_HTTP_DATE_LENGTH: Final = len("Thu, 01 Jan 1970 00:00:00 GMT")
_DATE_LENGTH: Final = len("1970-01-01")
_MINUTES_LENGTH: Final = len("1970-01-01T00:00")
_TIME_LENGTH_MAX: Final = 40
_EPOCH_SECONDS: Final = (946_684_800, 4_102_444_800)
"""2000-01-01 and 2100-01-01: a number between them, in seconds or milliseconds, is a time."""


class Point(msgspec.Struct, frozen=True, gc=False):
    """A value on the line."""

    at: float
    """A number as it is, a time in seconds since the epoch."""
    time: bool


def point_of(value: Scalar) -> Point | None:
    """Where a value lies; None for what is neither a number nor a time. A time without an offset is taken as UTC."""
    kind = type(value)
    if kind is float or kind is int:
        return _number(value)  # type: ignore[arg-type]  # it is one
    if kind is not str:
        return None
    text: str = value  # type: ignore[assignment]  # it is one
    first = text[:1]
    if first.isdecimal():
        # What begins with a year and a dash is no number, and nothing else is a time.
        return _time(text) if text[4:5] == "-" else _number(float(text)) if _NUMBER.fullmatch(text) else None
    if first == "+" or first == "-":  # noqa: PLR1714 - this is asked of every value, and so it is faster
        return _number(float(text)) if _NUMBER.fullmatch(text) else None
    return _http_date(text) if len(text) == _HTTP_DATE_LENGTH and text[3] == "," else None


def _time(text: str) -> Point | None:
    length = len(text)
    if not _DATE_LENGTH <= length <= _TIME_LENGTH_MAX or text[7] != "-":
        return None
    if length > _DATE_LENGTH and (length < _MINUTES_LENGTH or text[10] not in "Tt " or text[13] != ":"):
        return None  # ISO 8601 has more ways to write a time: they look like other things as well
    try:
        return _moment(datetime.fromisoformat(text.replace(",", ".").upper()))
    except (ValueError, OverflowError):
        return None


def _http_date(text: str) -> Point | None:
    if not _HTTP_DATE.fullmatch(text):
        return None
    try:
        return _moment(parsedate_to_datetime(text))
    except (ValueError, OverflowError):
        return None


def _moment(moment: datetime) -> Point:
    return Point((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), time=True)


def _number(number: float) -> Point | None:
    low, high = _EPOCH_SECONDS
    if -low < number < low:
        return Point(float(number), time=False)
    if low <= number <= high:
        return Point(float(number), time=True)
    if low <= number / 1e3 <= high:
        return Point(number / 1e3, time=True)
    return Point(float(number), time=False) if math.isfinite(number) else None


def in_one_minute(first: str, second: str, third: str) -> bool:
    """Whether three texts, if they are times, are of one minute of UTC: a quick look, before anything is read."""
    return first[-1:] == second[-1:] == third[-1:] == "Z" and first[:_MINUTES_LENGTH] == second[:_MINUTES_LENGTH] == third[:_MINUTES_LENGTH]


def ranks(points: tuple[float, float, float]) -> tuple[int, int, int]:
    """How many of the others lie below each: (0, 1, 2) in some order, or with ties."""
    p, s, c = points
    return (s < p) + (c < p), (p < s) + (c < s), (p < c) + (s < c)


def farthest(points: tuple[float, float, float]) -> int | None:
    """The index of the one whose distances to the two others sum up to the most; None where two share that.

    It treats its arguments alike: moving them round moves the index with them.
    """
    low, middle, high = sorted(points)
    below, above = middle - low, high - middle
    if below == above:
        return None
    return points.index(low if below > above else high)


def further(stable: float, secondary: float, candidate: float) -> int | None:
    """Of secondary (1) and candidate (2) the one further from stable; None where both are as far. Swapping the two swaps the answer."""
    mine, others = abs(candidate - stable), abs(secondary - stable)
    return None if mine == others else (2 if mine > others else 1)
