"""The gate's sum G = 1/2 sum of w E + 1/2 sum of w E of the confirmations, and the first moment it reached 1/alpha."""

from harness.evidence.hypothesis import Stake, term
from harness.evidence.weights import FAMILY_WEIGHTS, LATENCY_SHARES, Family, LatencyPart


class Wealth:
    """G, kept by its changes. It starts at 1: what has not started counts with E = 1.

    A weighted mean of supermartingales that start at 1 is one itself whatever depends on what, so the chance that G ever
    reaches 1/alpha is at most alpha. Each term is at most G, so the chance that any hypothesis that is no divergence is
    ever named (its own term reaches 1/alpha) is at most alpha in sum as well, however many others are real.

    Determinism bets on pairs of passes. Who was odd in the first pass of a pair tells who is likely to change in the second, so a
    look between the two knows more than the bet was made with: it leaves determinism out. Then the mean of the sum at the first
    moment that it reaches 1/alpha is still at most 1: of all the rest as before, and of determinism at most what it has at the end
    of that pair.
    """

    __slots__ = (
        "_latency",
        "_main",
        "_restless",
        "_tails",
        "_threshold",
        "max_all",
        "max_main",
        "max_median",
        "pair_open",
        "reached_all",
        "reached_main",
        "reached_median",
    )

    def __init__(self, alpha: float) -> None:
        self._threshold = 1.0 / alpha
        latency = 0.5 * FAMILY_WEIGHTS[Family.LATENCY]
        self._restless = 0.5 * FAMILY_WEIGHTS[Family.DETERMINISM]
        self._main = 1.0 - latency - self._restless
        self.pair_open = False
        """The pass under way, or over last, is the first of a pair."""
        self._latency = latency * LATENCY_SHARES[LatencyPart.MEDIAN]
        self._tails = latency - self._latency
        """Of latency, tails and budgets: stable and secondary can be alike in their medians and not in these."""
        self.max_main = self.max_median = self.max_all = 1.0
        self.reached_main: tuple[int, int] | None = None
        """(trials folded, pass) when the sum reached 1/alpha with latency left out."""
        self.reached_median: tuple[int, int] | None = None
        """The same with tails and budgets left out."""
        self.reached_all: tuple[int, int] | None = None

    def changed(self, weight: float, before: float, after: float) -> None:
        """A stake of this weight went from one log E to another."""
        self._main += term(weight, after) - term(weight, before)

    def restless_changed(self, weight: float, before: float, after: float) -> None:
        """The same of a stake on determinism."""
        self._restless += term(weight, after) - term(weight, before)

    def latency_changed(self, before: float, after: float) -> None:
        """A latency term of a median changed (see `latency_term`)."""
        self._latency += after - before

    def tails_changed(self, before: float, after: float) -> None:
        """A latency term of a tail or a budget changed."""
        self._tails += after - before

    def look(self, folded: int, pass_index: int) -> None:
        """Note the largest sum so far, and when the threshold was reached."""
        main = self._main if self.pair_open else self._main + self._restless
        median = main + self._latency
        every = median + self._tails
        self.max_all = max(self.max_all, every)
        self.max_median = max(self.max_median, median)
        self.max_main = max(self.max_main, main)
        if self.reached_all is None and every >= self._threshold:
            self.reached_all = (folded, pass_index)
        if self.reached_median is None and median >= self._threshold:
            self.reached_median = (folded, pass_index)
        if self.reached_main is None and main >= self._threshold:
            self.reached_main = (folded, pass_index)

    def reached(self, folded: int, pass_index: int, *, latency: bool, tails: bool = True) -> tuple[int, int] | None:
        """(trials folded, pass) when the sum reached the threshold, which may be now; with or without latency, or its tails."""
        noted = (self.reached_all if tails else self.reached_median) if latency else self.reached_main
        if noted is None and self._sum(latency=latency, tails=tails) >= self._threshold:
            return folded, pass_index
        return noted

    def largest(self, *, latency: bool, tails: bool = True) -> float:
        """The largest sum so far, now included; with or without latency, or its tails."""
        noted = (self.max_all if tails else self.max_median) if latency else self.max_main
        return max(noted, self._sum(latency=latency, tails=tails))

    def _sum(self, *, latency: bool, tails: bool) -> float:
        main = self._main if self.pair_open else self._main + self._restless
        if not latency:
            return main
        return main + self._latency + (self._tails if tails else 0.0)

    def fail(self, folded: int, pass_index: int) -> None:
        """The threshold was reached by one hypothesis outside the sum (tests without a control)."""
        self.reached_main = self.reached_main or (folded, pass_index)
        self.reached_median = self.reached_median or (folded, pass_index)
        self.reached_all = self.reached_all or (folded, pass_index)

    def names(self, stake: Stake) -> bool:
        """Whether a stake alone brings the sum to the threshold, now."""
        return self.reached_by(stake.weight, stake.log_e)

    def reached_by(self, weight: float, log_e: float) -> bool:
        """Whether something of this weight and log E alone brings the sum to the threshold."""
        return weight > 0.0 and term(weight, log_e) >= self._threshold


def latency_term(weight: float, log_e: float, *, gates: bool) -> float:
    """What latency adds: while it has no say at most its starting share, so that the sum is never above a true one."""
    return term(weight, log_e if gates else min(log_e, 0.0))
