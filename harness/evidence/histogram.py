"""Counts in logarithmic buckets: quantiles, and a confidence sequence of the median, in bounded space."""

import math
from collections import Counter
from collections.abc import Sequence
from math import floor, log
from typing import Final

from harness.evidence.martingale import log_two_sided

_GROWTH: Final = math.log(1.01)
_BUCKET_MAX: Final = 1400
"""Buckets reach from about one millionth to one million."""


class LogHistogram:
    """Counts in buckets 1 % wide: quantiles to within half a per cent, in bounded space."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0

    def add(self, value: float) -> None:
        """Count a value; anything not above 0 falls into the lowest bucket."""
        bucket = floor(log(value) / _GROWTH) if value > 0.0 else -_BUCKET_MAX
        if not -_BUCKET_MAX <= bucket <= _BUCKET_MAX:
            bucket = _BUCKET_MAX if bucket > 0 else -_BUCKET_MAX
        counts = self._counts
        counts[bucket] = counts.get(bucket, 0) + 1
        self.count += 1

    def quantile(self, share: float) -> float:
        """The middle of the bucket in which the quantile lies; the histogram must not be empty."""
        return quantile_of((self,), share)

    def counts(self) -> dict[int, int]:
        """By bucket."""
        return self._counts

    def interval_of_median(self, level: float) -> tuple[float, float] | None:
        """The medians that no bet on "above or below" has rejected so far; None where none is rejected on a side.

        The test of every median at once: for each edge of a bucket, values above against values below are the bets of a fair coin if
        that edge is the median. So the interval covers the median with chance `level` at every look together, not only at one (a
        confidence sequence by inverting tests; Howard & Ramdas 2022 have others for quantiles).
        """
        needed = -math.log(1.0 - level)
        below = 0
        low = high = None
        for bucket in sorted(self._counts):
            if self.count - below > below and log_two_sided(self.count - below, below) >= needed:
                low = math.exp(bucket * _GROWTH)
            below += self._counts[bucket]
            if below > self.count - below and log_two_sided(self.count - below, below) >= needed:
                high = math.exp((bucket + 1) * _GROWTH)
                break
        return None if low is None or high is None else (low, high)


def quantile_of(histograms: Sequence[LogHistogram], share: float) -> float:
    """The quantile of all values of several histograms, as the middle of its bucket; one of them must not be empty."""
    if len(histograms) == 1:
        counts = histograms[0].counts()
    else:
        merged: Counter[int] = Counter()
        for histogram in histograms:
            merged.update(histogram.counts())
        counts = merged
    rank = max(1, math.ceil(share * sum(histogram.count for histogram in histograms)))
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank:
            return math.exp((bucket + 0.5) * _GROWTH)
    raise ValueError("a quantile of nothing")
