"""The gate's sum G = 1/2 sum of w E + 1/2 sum of w E of the confirmations, and the first moment it reached 1/alpha."""

from harness.evidence.hypothesis import Stake, term
from harness.evidence.weights import FAMILY_WEIGHTS, Family


class Wealth:
    """G, kept by its changes. It starts at 1: what has not started counts with E = 1.

    A weighted mean of supermartingales that start at 1 is one itself whatever depends on what, so the chance that G ever
    reaches 1/alpha is at most alpha. Each term is at most G, so the chance that any hypothesis that is no divergence is
    ever named (its own term reaches 1/alpha) is at most alpha in sum as well, however many others are real.
    """

    __slots__ = ("_latency", "_main", "_threshold", "max_all", "max_main", "reached_all", "reached_main")

    def __init__(self, alpha: float) -> None:
        self._threshold = 1.0 / alpha
        self._latency = 0.5 * FAMILY_WEIGHTS[Family.LATENCY]
        self._main = 1.0 - self._latency
        self.max_main = self.max_all = 1.0
        self.reached_main: tuple[int, int] | None = None
        """(trials folded, pass) when the sum reached 1/alpha with latency left out."""
        self.reached_all: tuple[int, int] | None = None

    def changed(self, weight: float, before: float, after: float) -> None:
        """A stake of this weight went from one log E to another."""
        self._main += term(weight, after) - term(weight, before)

    def latency_changed(self, before: float, after: float) -> None:
        """A latency term changed (see `latency_term`)."""
        self._latency += after - before

    def look(self, folded: int, pass_index: int) -> None:
        """Note the largest sum so far, and when the threshold was reached."""
        both = self._main + self._latency
        self.max_all = max(self.max_all, both)
        self.max_main = max(self.max_main, self._main)
        if self.reached_all is None and both >= self._threshold:
            self.reached_all = (folded, pass_index)
        if self.reached_main is None and self._main >= self._threshold:
            self.reached_main = (folded, pass_index)

    def reached(self, folded: int, pass_index: int, *, latency: bool) -> tuple[int, int] | None:
        """(trials folded, pass) when the sum reached the threshold, which may be now; with or without latency."""
        noted = self.reached_all if latency else self.reached_main
        if noted is None and self._main + (self._latency if latency else 0.0) >= self._threshold:
            return folded, pass_index
        return noted

    def largest(self, *, latency: bool) -> float:
        """The largest sum so far, now included; with or without latency."""
        return max(self.max_all, self._main + self._latency) if latency else max(self.max_main, self._main)

    def fail(self, folded: int, pass_index: int) -> None:
        """The threshold was reached by one hypothesis outside the sum (tests without a control)."""
        self.reached_main = self.reached_main or (folded, pass_index)
        self.reached_all = self.reached_all or (folded, pass_index)

    def names(self, stake: Stake) -> bool:
        """Whether a stake alone brings the sum to the threshold, now."""
        return stake.weight > 0.0 and term(stake.weight, stake.log_e) >= self._threshold


def latency_term(weight: float, log_e: float, *, gates: bool) -> float:
    """What latency adds: while it has no say at most its starting share, so that the sum is never above a true one."""
    return term(weight, log_e if gates else min(log_e, 0.0))
