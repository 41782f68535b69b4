"""How much a target may be asked beside its traffic: a rate, a count a day, and a pause where it suffers. Pure: times are handed in.

What an arm has answered decides here when it is asked next, never whether an answer counts: a bet may be chosen from the
past, so evidence stays valid (harness/evidence/confirm.py).
"""

from collections import deque
from statistics import median
from typing import Final

from harness.core.labels import ErrorKind
from harness.core.limits import (
    BACK_OFF_EXCHANGES_MIN,
    BACK_OFF_FACTOR_MAX,
    BACK_OFF_LATENCIES_MAX,
    BACK_OFF_SPELL_SECONDS,
    BACK_OFF_SPELLS,
)
from harness.proxy.rate import RateCap

_HOUR_NS: Final = 3_600 * 10**9
_HOURS: Final = 24
_SPELLS_MIN: Final = 3
"""So many spells are needed before one can be worse than those before it."""
SLOWER_FACTOR: Final = 1.5
SLOWER_MS: Final = 5.0
"""A median that is both so much above that of the recent past has risen."""
ERRORS_FACTOR: Final = 2.0
ERRORS_SHARE: Final = 0.05
"""A share of failures above that of the recent past by this factor and this much has risen."""


class DailyCap:
    """At most `daily` in any 24 hours. Whole hours are remembered, so room comes back up to an hour late."""

    __slots__ = ("_daily", "_hours")

    def __init__(self, daily: int) -> None:
        self._daily = daily
        self._hours: deque[list[int]] = deque(maxlen=_HOURS + 1)
        """Hour and count, oldest first."""

    def left(self, now_ns: int) -> int:
        """How many more may happen now."""
        hour = now_ns // _HOUR_NS
        return self._daily - sum(count for at, count in self._hours if at >= hour - _HOURS)

    def take(self, now_ns: int) -> None:
        """One happens."""
        hour = now_ns // _HOUR_NS
        if not self._hours or self._hours[-1][0] < hour:
            self._hours.append([hour, 0])
        self._hours[-1][1] += 1


class BackOff:
    """Whether a target answers worse than it did lately, and how much seldomer it is to be asked for that.

    Exchanges are gathered in spells of some seconds. In one whose median latency or share of failures is above that of the
    spells before, `factor` doubles, up to a bound; in each other one it halves. What has become usual is no rise any more.
    """

    __slots__ = ("_began_ns", "_count", "_failed", "_latencies", "_past", "factor")

    def __init__(self) -> None:
        self.factor = 1
        """By how much pauses between requests are longer. Written by whoever notes exchanges, read by whoever asks."""
        self._past: deque[tuple[float, float]] = deque(maxlen=BACK_OFF_SPELLS)
        """Median latency and share of failures of the spells before."""
        self._began_ns: int | None = None
        self._count = self._failed = 0
        self._latencies: list[float] = []

    def note(self, started_ns: int, latency_ms: float | None, *, failed: bool) -> None:
        """One exchange with the target, of whatever origin. `latency_ms` is None where it has none."""
        if self._began_ns is None:
            self._began_ns = started_ns
        if started_ns - self._began_ns >= BACK_OFF_SPELL_SECONDS * 1e9 and self._count >= BACK_OFF_EXCHANGES_MIN:
            self._end_spell()
            self._began_ns = started_ns
        self._count += 1
        self._failed += failed
        if latency_ms is not None and len(self._latencies) < BACK_OFF_LATENCIES_MAX:
            self._latencies.append(latency_ms)

    def _end_spell(self) -> None:
        share = self._failed / self._count
        # Without any latency the spell says nothing of it: the usual one stands in.
        usual_ms, usual_share = self._usual()
        now_ms = median(self._latencies) if self._latencies else usual_ms
        if len(self._past) >= _SPELLS_MIN:
            slower = now_ms > usual_ms * SLOWER_FACTOR and now_ms > usual_ms + SLOWER_MS
            worse = share > usual_share * ERRORS_FACTOR and share > usual_share + ERRORS_SHARE
            self.factor = min(self.factor * 2, BACK_OFF_FACTOR_MAX) if slower or worse else max(self.factor // 2, 1)
        self._past.append((now_ms, share))
        self._count = self._failed = 0
        self._latencies = []

    def _usual(self) -> tuple[float, float]:
        if not self._past:
            return 0.0, 0.0
        return median(one for one, _ in self._past), median(one for _, one in self._past)


def suffers(error: ErrorKind | None, status: int | None) -> bool:
    """Whether an exchange says that its target suffers: no answer, or one of the kind 5xx. An answer that is too large does not."""
    return error not in (None, ErrorKind.TOO_LARGE) or (status is not None and status >= 500)


class Allowance:
    """What one target may be asked: at most `per_s` a second and `daily` in any 24 hours, seldomer while it backs off.

    In any W seconds at most `(W + RATE_BURST_SECONDS) * per_s + 1`.
    """

    __slots__ = ("_daily", "_free_ns", "_interval_ns", "_rate", "back_off", "taken")

    def __init__(self, per_s: float, daily: int) -> None:
        """Both are above 0."""
        self._rate = RateCap(per_s)
        self._interval_ns = 1e9 / per_s
        self._daily = DailyCap(daily)
        self._free_ns = float("-inf")
        """Until when it is left alone, by the factor that held when it was asked last."""
        self.back_off = BackOff()
        self.taken = 0
        """How often it was asked so far."""

    def allows(self, now_ns: int) -> bool:
        """Whether it may be asked now. Changes nothing."""
        return now_ns >= self._free_ns and self._rate.allows(now_ns) and self._daily.left(now_ns) > 0

    def spent(self, now_ns: int) -> bool:
        """Whether nothing is left of the day's."""
        return self._daily.left(now_ns) <= 0

    def took(self, at_ns: int) -> None:
        """It was asked then, by a process that is no more: that is of the day's too."""
        self._daily.take(at_ns)
        self.taken += 1

    def take(self, now_ns: int) -> None:
        """It is asked, where that is allowed."""
        self._rate.take(now_ns)
        self._daily.take(now_ns)
        factor = self.back_off.factor
        if factor > 1:
            self._free_ns = now_ns + factor * self._interval_ns
        self.taken += 1
