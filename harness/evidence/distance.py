"""Numbers and times as points on a line: which of three lies apart, and in which order they stand. Pure.

The place of a time on the line does not depend on how it is written: `2026-01-01T01:00:00+01:00` is midnight UTC.
"""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from harness.core.values import Scalar

_NUMBER: Final = re.compile(r"[+-]?\d{1,18}(?:\.\d{1,18})?")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d.{0,24})?")
_HTTP_DATE: Final = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
_EPOCH_SECONDS: Final = (946_684_800, 4_102_444_800)
"""2000-01-01 and 2100-01-01: a number between them, in seconds or milliseconds, is a time."""


class Point(NamedTuple):
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
    if _NUMBER.fullmatch(text):
        return _number(float(text))
    if len(text) < 10 or len(text) > 40:
        return None
    try:
        if _TIME.fullmatch(text):
            moment = datetime.fromisoformat(text.replace(",", ".").upper())
        elif _HTTP_DATE.fullmatch(text):
            moment = parsedate_to_datetime(text)
        else:
            return None
        return Point((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), time=True)
    except (ValueError, OverflowError):
        return None


def _number(number: float) -> Point | None:
    if not math.isfinite(number):
        return None
    low, high = _EPOCH_SECONDS
    if low <= number <= high:
        return Point(float(number), time=True)
    if low <= number / 1e3 <= high:
        return Point(number / 1e3, time=True)
    return Point(float(number), time=False)


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
