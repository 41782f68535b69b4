"""Tells people when stable cannot be reached, once when it begins and once when it ends. Values only: counts go in, sentences come out.

Clients then get their answers from the proxy (502, 504), which is counted for each request; an operator must not have
to look at counts to see it.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from harness.core.labels import RefusedReason
from harness.core.limits import STABLE_BACK_SECONDS, STABLE_FAILURES_MIN

_STATUS: Final = {RefusedReason.UPSTREAM_UNREACHABLE: 502, RefusedReason.UPSTREAM_BROKEN: 502, RefusedReason.UPSTREAM_TIMEOUT: 504}
_SAID: Final = {
    RefusedReason.UPSTREAM_UNREACHABLE: "stable cannot be reached",
    RefusedReason.UPSTREAM_BROKEN: "stable breaks off its answers",
    RefusedReason.UPSTREAM_TIMEOUT: "stable does not answer in time",
}


class Outage:
    """Looks at the counts of a run now and then.

    Stable is out when more requests fail for its sake than are answered, be it a single one that finds no connection or
    STABLE_FAILURES_MIN that fail otherwise. It is back when more are answered than fail, for STABLE_BACK_SECONDS.
    """

    def __init__(self, now_s: float, notice: Callable[[str], None]) -> None:
        """Times are of a monotonic clock, in seconds. `notice` tells people."""
        self._notice = notice
        self._looked_s = now_s
        self._answered = 0
        self._refused: Counter[RefusedReason] = Counter()
        self._failed: Counter[RefusedReason] = Counter()
        """Since it began, or may have begun."""
        self._since_s = now_s
        self._said = False
        self._back_s: float | None = None
        """Since when more are answered than fail."""

    def look(self, now_s: float, answered: int, refused: Mapping[str, int]) -> None:
        """`answered` requests had stable's answer so far, and so many were refused, by reason."""
        counts = Counter({reason: refused.get(reason, 0) for reason in _STATUS})
        news = counts - self._refused
        good, bad = max(0, answered - self._answered), news.total()
        before_s, self._looked_s = self._looked_s, now_s
        self._answered, self._refused = answered, counts
        if bad and not self._failed:
            self._since_s = before_s
        self._failed += news
        if bad > good:
            self._back_s = None
            if not self._said and (self._failed[RefusedReason.UPSTREAM_UNREACHABLE] or self._failed.total() >= STABLE_FAILURES_MIN):
                self._begins()
        elif good > bad and not self._said:
            self._failed.clear()
        elif good > bad and self._back_s is None:
            self._back_s = before_s
        if self._said and self._back_s is not None and now_s - self._back_s >= STABLE_BACK_SECONDS:
            self._notice(f"stable answers again, after {self._back_s - self._since_s:.0f} s; {self._meanwhile()}")
            self._over()

    def end(self) -> None:
        """Nothing more is counted: say what is still open."""
        if self._said:
            until = "until the end" if self._back_s is None else f"for {self._back_s - self._since_s:.0f} s"
            self._notice(f"stable was out {until}; {self._meanwhile()}")
            self._over()

    def _begins(self) -> None:
        self._said = True
        reason = max(_STATUS, key=lambda one: self._failed[one])
        self._notice(f"{_SAID[reason]}; clients get the proxy's own answer instead ({_STATUS[reason]})")

    def _over(self) -> None:
        self._said, self._back_s = False, None
        self._failed.clear()

    def _meanwhile(self) -> str:
        by_status: Counter[int] = Counter()
        for reason, count in self._failed.items():
            by_status[_STATUS[reason]] += count
        each = " and ".join(f"{count} with {status}" for status, count in sorted(by_status.items()))
        requests = "1 request was" if self._failed.total() == 1 else f"{self._failed.total()} requests were"
        return f"{requests} answered by the proxy meanwhile, {each}"
