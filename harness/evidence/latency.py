"""Latency: quantiles per target, the paired ratio of candidate to control, and its bets, one a block.

Slow moments come in bursts, so that requests that follow each other are not separate witnesses: all pairs of a block
make one bet, the sign of their sum. The candidate is paired with the secondary, never with stable where that went first.
"""

import math
import statistics
from typing import Final

import msgspec

from harness.core.labels import Control, Design, Role
from harness.core.limits import LATENCY_BLOCK_PAIRS_MAX
from harness.evidence.bets import TrialBets
from harness.evidence.hypothesis import Stake
from harness.evidence.martingale import log_two_sided
from harness.evidence.snapshot import Interval, TargetLatency

INVALID_LOG_E: Final = math.log(1000.0)
"""Evidence at which stable and secondary count as unlike in speed (error rate .001)."""
INTERVAL_LEVEL: Final = 0.95

_GROWTH: Final = math.log(1.01)
_BUCKET_MAX: Final = 1400
"""Buckets reach from about one millionth to one million."""


RATIO_MAX: Final = 1e6
"""What no ratio that is told apart lies above."""


class BlockRule(msgspec.Struct, frozen=True):
    """A block is closed once it has both: so many pairs, and so long a time."""

    pairs_min: int
    seconds_min: float


REPLAY_BLOCK: Final = BlockRule(20, 1.0)
LIVE_BLOCK: Final = BlockRule(100, 10.0)


class LogHistogram:
    """Counts in buckets 1 % wide: quantiles to within half a per cent, in bounded space."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0

    def add(self, value: float) -> None:
        """Count a value; anything not above 0 falls into the lowest bucket."""
        bucket = math.floor(math.log(value) / _GROWTH) if value > 0.0 else -_BUCKET_MAX
        if not -_BUCKET_MAX <= bucket <= _BUCKET_MAX:
            bucket = _BUCKET_MAX if bucket > 0 else -_BUCKET_MAX
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1

    def quantile(self, share: float) -> float:
        """The middle of the bucket in which the quantile lies; the histogram must not be empty."""
        rank = max(1, math.ceil(share * self.count))
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                return math.exp((bucket + 0.5) * _GROWTH)
        raise AssertionError("a quantile of nothing")

    def interval_of_median(self, level: float) -> tuple[float, float] | None:
        """The medians that no bet on "above or below" has rejected so far; None where none is rejected on a side."""
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


class Block:
    """Pairs that make one bet together."""

    __slots__ = ("_rule", "pairs", "ratios", "since_ns", "total")

    def __init__(self, rule: BlockRule) -> None:
        self._rule = rule
        self.pairs = self.total = self.since_ns = 0
        self.ratios: list[float] = []

    def add(self, sign: int, ratio: float, at_ns: int) -> tuple[int, float] | None:
        """Take a pair; when that closes the block, the sign of its sum and its median ratio."""
        if not self.pairs:
            self.since_ns = at_ns
        self.pairs += 1
        self.total += sign
        if len(self.ratios) < LATENCY_BLOCK_PAIRS_MAX:
            self.ratios.append(ratio)
        if self.pairs < self._rule.pairs_min or abs(at_ns - self.since_ns) < self._rule.seconds_min * 1e9:
            return None
        closed = ((self.total > 0) - (self.total < 0), statistics.median(self.ratios))
        self.pairs = self.total = 0
        self.ratios = []
        return closed


class EndpointLatency:
    """One endpoint's latency."""

    __slots__ = ("arms", "block", "blocks", "pairs", "ratios", "slower", "slower_control", "stake")

    def __init__(self, rule: BlockRule, weight: float) -> None:
        self.arms = (LogHistogram(), LogHistogram(), LogHistogram())
        """Stable, secondary, candidate."""
        self.block = Block(rule)
        self.blocks = LogHistogram()
        """Median ratios of the closed blocks."""
        self.ratios = LogHistogram()
        """Ratios of all pairs."""
        self.stake = Stake(weight)
        self.pairs = self.slower = self.slower_control = 0

    def quantiles(self) -> dict[str, TargetLatency]:
        """By role, for the targets that answered."""
        found = {}
        for role, arm in zip(("stable", "secondary", "candidate"), self.arms, strict=True):
            if arm.count:
                found[role] = TargetLatency(arm.quantile(0.5), arm.quantile(0.9), arm.quantile(0.99))
        return found

    def ratio(self) -> float | None:
        """Median of the paired ratios, candidate over control."""
        return self.ratios.quantile(0.5) if self.ratios.count else None

    def interval(self) -> Interval | None:
        """Confidence sequence of the median ratio of blocks, to the width of a bucket."""
        found = self.blocks.interval_of_median(INTERVAL_LEVEL)
        return None if found is None else Interval(found[0], found[1], INTERVAL_LEVEL)


class LatencyBook:
    """Latency of a run: the pool over all endpoints that gate, and the check of stable against secondary."""

    def __init__(self, rule: BlockRule, tolerance: float, requests_min: int, pool_weight: float) -> None:
        self.rule = rule
        self._beyond = 1.0 + tolerance
        self._requests_min = requests_min
        self.pool = Stake(pool_weight)
        self._pool_block = Block(rule)
        self._check_block = Block(rule)
        self._check = [0, 0]
        self.valid = True

    def gates(self, endpoint: EndpointLatency) -> bool:
        """Whether there were enough pairs for a say."""
        return endpoint.pairs >= self._requests_min

    def fold(self, bets: TrialBets, endpoint: EndpointLatency) -> bool:
        """Take a trial; whether a stake of the endpoint or of the pool changed. Warm-up requests do not count at all."""
        if bets.warm_up:
            return False
        stable = bets.stable.latency_ms
        secondary = bets.secondary.latency_ms if bets.secondary is not None else None
        candidate = bets.candidate.latency_ms if bets.candidate is not None else None
        for arm, value in zip(endpoint.arms, (stable, secondary, candidate), strict=True):
            if value is not None:
                arm.add(value)
        if bets.control is not Control.SECONDARY or secondary is None:
            return False
        if bets.design is Design.THREE_ARM and stable is not None:
            self._check_pair(stable, secondary, bets.started_ns)
        return candidate is not None and self._pair(candidate, secondary, bets.started_ns, endpoint)

    def _pair(self, candidate: float, secondary: float, at_ns: int, endpoint: EndpointLatency) -> bool:
        sign = 1 if candidate > secondary * self._beyond else -1
        endpoint.pairs += 1
        endpoint.slower += sign > 0
        endpoint.slower_control += secondary > candidate * self._beyond
        ratio = candidate / secondary if secondary > 0.0 else 1.0
        endpoint.ratios.add(ratio)
        changed = False
        closed = endpoint.block.add(sign, ratio, at_ns)
        if closed is not None:
            endpoint.blocks.add(closed[1])
            changed = _bet(endpoint.stake, closed[0])
        if self.gates(endpoint):
            pooled = self._pool_block.add(sign, ratio, at_ns)
            if pooled is not None:
                changed |= _bet(self.pool, pooled[0])
        return changed

    def _check_pair(self, stable: float, secondary: float, at_ns: int) -> None:
        sign = (secondary > stable * self._beyond) - (stable > secondary * self._beyond)
        closed = self._check_block.add(sign, 1.0, at_ns)
        if closed is not None and closed[0]:
            self._check[closed[0] < 0] += 1
            if log_two_sided(*self._check) >= INVALID_LOG_E:
                self.valid = False


def _bet(stake: Stake, sign: int) -> bool:
    if sign:
        stake.bet(Design.TWO_ARM, Role.CANDIDATE if sign > 0 else Role.SECONDARY)
    return sign != 0
