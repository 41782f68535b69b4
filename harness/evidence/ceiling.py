"""How often something shows, by witness, and whether that is beyond a ceiling. Pure, bounded.

A pass from fresh state is one, or a block of requests that follow each other, with its share of trials: within it one cause may
show in any number of them. Where nothing hangs together a trial is one by itself.

Both the test and the bound are bets on the mean of values from 0 to 1 (Waudby-Smith & Ramdas 2024, "Estimating means of bounded
random variables by betting"): against "the mean is at most m, whatever went before" each witness x pays 1 + stake (x - m)/m with
stakes below 1, whose mean is at most 1 then. So the chance that the product ever reaches 1/level is at most level (Ville).
"""

import math
from typing import Final

from harness.evidence.martingale import binomial_upper, log_sum

_STAKES: Final = (0.02, 0.1, 0.3, 0.6, 0.95)
_SHARES_MAX: Final = 64
"""Shares of passes that are kept for the bound; the mean of further ones is not asked for."""


class Ceiling:
    """The evidence against "the mean is at most `rate`". A rate of 1 cannot be exceeded."""

    __slots__ = ("_logs", "_rate", "log_e_max")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._logs = [-math.log(len(_STAKES))] * len(_STAKES)
        self.log_e_max = 0.0
        """Natural log of the largest evidence so far."""

    def take(self, share: float) -> None:
        """The next witness, from 0 to 1."""
        if not 0.0 < self._rate < 1.0:
            return
        excess = (share - self._rate) / self._rate
        self._logs = [log + math.log1p(stake * excess) for log, stake in zip(self._logs, _STAKES, strict=True)]
        self.log_e_max = max(self.log_e_max, log_sum(self._logs))

    def with_one_more(self, share: float) -> float:
        """The largest evidence if the witness under way were over."""
        ahead = Ceiling(self._rate)
        ahead._logs, ahead.log_e_max = list(self._logs), self.log_e_max
        ahead.take(share)
        return ahead.log_e_max


class Shares:
    """Counts by witness, and the ceiling they are held to, if there is one."""

    __slots__ = ("_begun", "_hits", "_looks", "_shares", "_spell", "_spells", "ceiling", "hits", "looks")

    def __init__(self, ceiling: float | None = None) -> None:
        self.ceiling = None if ceiling is None else Ceiling(ceiling)
        self.hits = self.looks = 0
        self._shares: list[float] = []
        self._spell: int | None = None
        self._hits = self._looks = 0
        """Of the spell under way."""
        self._spells = 0
        self._begun = False

    def saw(self, *, hit: bool, spell: int | None, total: int | None = None) -> None:
        """One look. `spell` is the pass, None where each look is a witness; `total` the looks of the whole spell where the others
        are not told.

        The first witness begins the count and is not held against the ceiling: that there is a count at all hangs on it.
        """
        self.hits += hit
        self.looks += total is None
        if spell is None:
            if self.ceiling is not None and self._begun:
                self.ceiling.take(float(hit))
            self._begun = True
            return
        if spell != self._spell:
            self.end()
            self._spell = spell
        self._hits += hit
        self._looks = total if total is not None else self._looks + 1

    def took(self, share: float) -> None:
        """A whole spell, of which `share` showed it."""
        if len(self._shares) < _SHARES_MAX:
            self._shares.append(share)
        if self.ceiling is not None:
            self.ceiling.take(share)

    def end(self) -> None:
        """The spell is over."""
        if self._spell is None or not self._looks:
            return
        share = self._share()
        if len(self._shares) < _SHARES_MAX:
            self._shares.append(share)
        if self.ceiling is not None and self._spells:
            self.ceiling.take(share)
        self._spells += 1
        self._spell, self._hits, self._looks = None, 0, 0

    def interval(self, level: float) -> tuple[float, float]:
        """The rate, with chance `level` at each end, from all witnesses; the spell under way counts as if it were over."""
        shares = [*self._shares, self._share()] if self._looks else self._shares
        if shares:
            return 1.0 - mean_upper([1.0 - share for share in shares], level), mean_upper(shares, level)
        return 1.0 - binomial_upper(self.looks - self.hits, self.looks, level), binomial_upper(self.hits, self.looks, level)

    @property
    def log_e(self) -> float:
        """Natural log of the largest evidence that it shows more often than the ceiling says; 0 without one."""
        if self.ceiling is None:
            return 0.0
        return self.ceiling.with_one_more(self._share()) if self._looks and self._spells else self.ceiling.log_e_max

    def _share(self) -> float:
        return min(1.0, self._hits / max(1, self._looks))


def mean_upper(values: list[float], level: float) -> float:
    """An upper bound of the mean of values from 0 to 1: every larger mean is rejected by the bet above, at 1 - `level`."""
    if not values:
        return 1.0
    needed = -math.log(1.0 - level)
    low, high = math.fsum(values) / len(values), 1.0
    for _ in range(40):
        middle = (low + high) / 2.0
        test = Ceiling(1.0 - middle)
        for value in values:
            test.take(1.0 - value)
        if test.log_e_max >= needed:
            high = middle
        else:
            low = middle
    return high
