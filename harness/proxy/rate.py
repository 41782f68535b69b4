"""A cap on how often something may happen. Pure: the time is handed in."""

from harness.core.limits import RATE_BURST_SECONDS


class RateCap:
    """At most `per_s` a second, `burst_s` seconds' worth of them at once after a pause.

    A token bucket kept as the time at which the next one is due (GCRA, ITU-T I.371): in any W seconds at most
    `(W + burst_s) * per_s + 1`.
    """

    __slots__ = ("_burst_ns", "_due_ns", "_interval_ns")

    def __init__(self, per_s: float, burst_s: float = RATE_BURST_SECONDS) -> None:
        """`per_s` is above 0."""
        self._interval_ns = 1e9 / per_s
        self._burst_ns = burst_s * 1e9
        self._due_ns = float("-inf")

    def allows(self, now_ns: int) -> bool:
        """Whether one more may happen now. Changes nothing."""
        return self._due_ns - self._burst_ns <= now_ns

    def take(self, now_ns: int) -> None:
        """One that is allowed happens."""
        self._due_ns = max(self._due_ns, now_ns) + self._interval_ns
