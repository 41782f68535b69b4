"""Latency: quantiles per target, the paired ratio of candidate to control, and its bets, one a block.

Slow moments come in bursts, so that requests that follow each other are not separate witnesses: all pairs of a block
make one bet, the sign of their sum. The candidate is paired with the secondary, never with stable where that went first.

Of the median, a pair says +1 where the candidate is slower by more than the tolerance, and -1 otherwise. That is at most the
antisymmetric bet on which of the two is slower, so its stake never grows faster than a fair one's among builds alike. Tails and
budgets bet beside it, each with its own share of the family's weight (`LATENCY_SHARES`).
"""

import math
import statistics
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from harness.core.labels import Control, Design, Role
from harness.core.limits import LATENCY_BLOCK_PAIRS_MAX
from harness.evidence.bets import TrialBets
from harness.evidence.budgets import BudgetChannel, Budgets
from harness.evidence.histogram import LogHistogram
from harness.evidence.hypothesis import Stake
from harness.evidence.martingale import log_sum, log_two_sided
from harness.evidence.policy import LatencyBudget
from harness.evidence.snapshot import Interval, TargetLatency
from harness.evidence.tails import SHOWN_LOG_E, Channel, SlowTrials, Tails, reach_of
from harness.evidence.wealth import latency_term
from harness.evidence.weights import LATENCY_SHARES, POOLED_SHARE, LatencyPart

# Members that are asked for in every trial: looking them up by their enumeration takes longer than what is done with them.
_PAIRED: Final = Control.SECONDARY
_THREE_ARM: Final = Design.THREE_ARM
INVALID_LOG_E: Final = math.log(1000.0)
"""Evidence at which stable and secondary count as unlike in speed (error rate .001)."""
INTERVAL_LEVEL: Final = 0.95
MEDIAN_PATH: Final = "p50"
RATIO_MAX: Final = 1e6
"""What no ratio that is told apart lies above."""


class BlockRule(msgspec.Struct, frozen=True):
    """A block is closed once it has both: so many pairs, and so long a time."""

    pairs_min: int
    seconds_min: float
    stream: bool = False
    """Of a stream, in which a slow-down may begin late."""


REPLAY_BLOCK: Final = BlockRule(20, 1.0)
LIVE_BLOCK: Final = BlockRule(100, 10.0, stream=True)


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

    __slots__ = (
        "arms",
        "beyond",
        "block",
        "blocks",
        "budgets",
        "pairs",
        "ratios",
        "said",
        "slow",
        "slower",
        "slower_control",
        "stake",
        "tails",
    )

    def __init__(self, rule: BlockRule, weight: float, budgets: tuple[BudgetChannel, ...] = ()) -> None:
        """`weight` is the endpoint's for latency as a whole; `budgets` bring their own."""
        self.arms = (LogHistogram(), LogHistogram(), LogHistogram())
        """Stable, secondary, candidate."""
        self.beyond: float | None = None
        """How many times the control's time counts as slower, where a slow-down was accepted."""
        self.block = Block(rule)
        self.blocks = LogHistogram()
        """Median ratios of the closed blocks."""
        self.ratios = LogHistogram()
        """Ratios of all pairs."""
        self.stake = Stake(weight * LATENCY_SHARES[LatencyPart.MEDIAN], stream=rule.stream)
        self.tails = Tails(weight * LATENCY_SHARES[LatencyPart.TAILS], stream=rule.stream)
        self.budgets = budgets
        self.slow = SlowTrials()
        self.pairs = self.slower = self.slower_control = 0
        beyond = sum(channel.stake.weight for channel in (*self.tails.channels, *budgets))
        self.said = (latency_term(self.stake.weight, 0.0, gates=False), latency_term(beyond, 0.0, gates=False))
        """What it adds to the gate's sum at present: by its median, and by tails and budgets."""

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
        """Confidence sequence of the median ratio of blocks, to the width of a bucket.

        A block's median lies above a ratio where most of its pairs do, so these are the ratios that the block bets themselves, played
        for each of them, have not rejected.
        """
        found = self.blocks.interval_of_median(INTERVAL_LEVEL)
        return None if found is None else Interval(found[0], found[1], INTERVAL_LEVEL)


class LatencyBook:
    """Latency of a run: the pools over all endpoints that gate, and the check of stable against secondary."""

    def __init__(
        self, rule: BlockRule, tolerance: float, requests_min: int, pool_weight: float, budgets: tuple[LatencyBudget, ...] = ()
    ) -> None:
        self.rule = rule
        self.beyond = 1.0 + tolerance
        self._requests_min = requests_min
        self._budgets = Budgets(budgets, stream=rule.stream)
        self._budget_size = (rule.pairs_min, rule.seconds_min)
        self.pool = Stake(pool_weight * LATENCY_SHARES[LatencyPart.MEDIAN], stream=rule.stream)
        self.pool_tails = Tails(pool_weight * LATENCY_SHARES[LatencyPart.TAILS], stream=rule.stream)
        beyond = pool_weight * LATENCY_SHARES[LatencyPart.TAILS]
        self._said = (latency_term(self.pool.weight, 0.0, gates=False), latency_term(beyond, 0.0, gates=False))
        self._pool_block = Block(rule)
        self._pool_pairs = 0
        self._check_block = Block(rule)
        self._check = [0, 0]
        self._check_pairs = 0
        self._check_tails = Tails(0.0)
        self.valid = True
        """Stable and secondary are alike in speed; otherwise latency has no say at all."""
        self._tails_alike = True
        self.shown: list[str] = []
        """Paths of which the trial folded last is worth keeping as an example."""

    @property
    def tails_valid(self) -> bool:
        """Stable and secondary are alike in their tails as well; otherwise tails and budgets have no say."""
        return self.valid and self._tails_alike

    def enter(self, name: str, weight: float) -> EndpointLatency:
        """A new endpoint with its weight. Budgets have no pool, so they have that part as well."""
        budgets = self._budgets.channels(name, weight * LATENCY_SHARES[LatencyPart.BUDGETS] / (1.0 - POOLED_SHARE))
        return EndpointLatency(self.rule, weight, budgets)

    def accept(self, endpoint: EndpointLatency, ceiling: float | None, tails: Mapping[str, float]) -> None:
        """What was accepted of a new endpoint: the largest ratio of its median, and the shares of its tails, by path.

        The games go on with the ratio in place of none, and the tolerance on top. "The candidate takes more than r times the control's
        time" with r above 1 says less against it than with r = 1, so the bets stay at most fair for a candidate that behaves like its
        control, and for one that is slower by what was accepted.
        """
        if ceiling is not None:
            endpoint.beyond = max(1.0, ceiling) * self.beyond
        for channel in endpoint.tails.channels:
            if channel.path in tails:
                channel.hold(tails[channel.path])

    def gates(self, endpoint: EndpointLatency) -> bool:
        """Whether there were enough pairs for a say."""
        return endpoint.pairs >= self._requests_min

    def channel_gates(self, endpoint: EndpointLatency, channel: Channel) -> bool:
        """Whether a tail or budget had enough pairs, or answers, for a say."""
        return (channel.compared if isinstance(channel, BudgetChannel) else endpoint.pairs) >= self._requests_min

    def channels(self, endpoint: EndpointLatency) -> Iterator[Channel]:
        """Tails and budgets of an endpoint that have a say, and the tails of the pool."""
        for channel in (*endpoint.tails.channels, *endpoint.budgets):
            if self.channel_gates(endpoint, channel):
                yield channel
        yield from self.pool_tails.channels

    def fold(self, bets: TrialBets, endpoint: EndpointLatency) -> bool:
        """Take a trial; whether something of the endpoint or of the pools changed. Warm-up requests do not count at all."""
        if self.shown:
            self.shown = []
        if bets.warm_up:
            return False
        stable = bets.stable.latency_ms
        secondary = bets.secondary.latency_ms if bets.secondary is not None else None
        candidate = bets.candidate.latency_ms if bets.candidate is not None else None
        arms = endpoint.arms
        if stable is not None:
            arms[0].add(stable)
        if secondary is not None:
            arms[1].add(secondary)
        if candidate is not None:
            arms[2].add(candidate)
        paired = bets.control is _PAIRED
        changed = False
        if endpoint.budgets and candidate is not None:
            changed = self._budget(candidate, secondary if paired else None, bets, endpoint)
        if not paired or secondary is None:
            return changed
        if bets.design is _THREE_ARM and stable is not None:
            self._check_pair(stable, secondary, bets.started_ns)
        return (candidate is not None and self._pair(candidate, secondary, bets, endpoint)) or changed

    def changes(self, endpoint: EndpointLatency) -> tuple[float, float]:
        """By how much the endpoint and the pools changed the gate's sum since they were asked last: by medians, and by the rest."""
        own, pool = endpoint.said, self._said
        endpoint.said = (
            latency_term(endpoint.stake.weight, endpoint.stake.log_e, gates=self.gates(endpoint)),
            sum(
                latency_term(channel.stake.weight, channel.stake.log_e, gates=self.channel_gates(endpoint, channel) and not channel.held)
                for channel in (*endpoint.tails.channels, *endpoint.budgets)
            ),
        )
        self._said = (
            latency_term(self.pool.weight, self.pool.log_e, gates=True),
            sum(latency_term(channel.stake.weight, channel.stake.log_e, gates=True) for channel in self.pool_tails.channels),
        )
        return endpoint.said[0] - own[0] + self._said[0] - pool[0], endpoint.said[1] - own[1] + self._said[1] - pool[1]

    def _budget(self, candidate: float, control: float | None, bets: TrialBets, endpoint: EndpointLatency) -> bool:
        changed = False
        for channel in endpoint.budgets:
            over = channel.over
            closed = channel.add(candidate, control, bets.started_ns, self._budget_size)
            if channel.over > over and bets.at_hand and channel.offer(bets.trial):
                self.shown.append(channel.path)
            if closed:
                changed |= channel.settle((endpoint.arms[0], endpoint.arms[1]))
            changed |= channel.compared == self._requests_min
        return changed

    def _pair(self, candidate: float, secondary: float, bets: TrialBets, endpoint: EndpointLatency) -> bool:
        at_ns = bets.started_ns
        beyond = self.beyond if endpoint.beyond is None else endpoint.beyond
        sign = 1 if candidate > secondary * beyond else -1
        endpoint.pairs += 1
        endpoint.slower_control += secondary > candidate * beyond
        if sign > 0:
            endpoint.slower += 1
            if bets.at_hand and endpoint.stake.log_e >= SHOWN_LOG_E and endpoint.slow.offer(bets.trial):
                self.shown.append(MEDIAN_PATH)
        reach = reach_of(candidate / beyond, secondary)  # a slow-down that is tolerated must not show as a tail
        if reach:
            endpoint.tails.add(reach)
            for channel in endpoint.tails.channels[: max(0, reach)]:
                if bets.at_hand and channel.offer(bets.trial):
                    self.shown.append(channel.path)
        ratio = candidate / secondary if secondary > 0.0 else 1.0
        endpoint.ratios.add(ratio)
        changed = endpoint.pairs == self._requests_min
        closed = endpoint.block.add(sign, ratio, at_ns)
        if closed is not None:
            endpoint.blocks.add(closed[1])
            endpoint.slow.close(closed[1] if closed[0] > 0 else 0.0)
            changed |= _bet(endpoint.stake, closed[0], endpoint.pairs)
            changed |= endpoint.tails.close(endpoint.pairs)
        if self.gates(endpoint):
            self._pool_pairs += 1
            if reach and not endpoint.tails.held:
                self.pool_tails.add(reach)
            pooled = self._pool_block.add(sign, ratio, at_ns)
            if pooled is not None:
                changed |= _bet(self.pool, pooled[0], self._pool_pairs)
                changed |= self.pool_tails.close(self._pool_pairs)
        return changed

    def _check_pair(self, stable: float, secondary: float, at_ns: int) -> None:
        sign = (secondary > stable * self.beyond) - (stable > secondary * self.beyond)
        self._check_pairs += 1
        if reach := reach_of(secondary, stable):
            self._check_tails.add(reach)
        closed = self._check_block.add(sign, 1.0, at_ns)
        if closed is None:
            return
        if closed[0]:
            self._check[closed[0] < 0] += 1
            if log_two_sided(*self._check) >= INVALID_LOG_E:
                self.valid = False
        if self._tails_alike and self._check_tails.close(self._check_pairs):
            stakes = [channel.stake for channel in self._check_tails.channels]
            evidence = log_sum([log_two_sided(stake.wins, stake.bets - stake.wins) for stake in stakes])
            self._tails_alike = evidence - math.log(len(stakes)) < INVALID_LOG_E


def _bet(stake: Stake, sign: int, observed: int) -> bool:
    if sign:
        stake.bet(Design.TWO_ARM, Role.CANDIDATE if sign > 0 else Role.SECONDARY, observed=observed)
    return sign != 0
