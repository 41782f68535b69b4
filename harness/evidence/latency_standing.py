"""Where the latency of an endpoint stands: findings on its median, tails and budgets, and how large they are. It changes nothing."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from harness.core.labels import Aspect, FindingClass, Kind, Severity
from harness.evidence.budgets import BudgetChannel
from harness.evidence.findings import finding_id
from harness.evidence.hypothesis import Stake, log10_threshold
from harness.evidence.latency import INTERVAL_LEVEL, MEDIAN_PATH, RATIO_MAX, EndpointLatency, LatencyBook
from harness.evidence.martingale import LN10
from harness.evidence.snapshot import Evidence, Interval, LatencyChannel, LatencyEffect, Noted, PoolEvidence
from harness.evidence.tails import TAIL_FACTORS, Channel, tail_path
from harness.evidence.weights import Pool
from harness.evidence.words import count_of, percent

if TYPE_CHECKING:
    from harness.evidence.ledger import EndpointLedger, Ledger

LATENCY_OPEN_LOG_E: Final = math.log(20.0)
"""Evidence of a slower endpoint from which on more passes are worth while."""


class LatencyStanding:
    """One look at the latency of a ledger."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger
        self._book = ledger.latency
        self._alpha = ledger.policy.alpha

    def findings(self, endpoint: "EndpointLedger") -> Iterator[Evidence]:
        """What is proven; nothing of what has no say because stable and secondary differ in it."""
        latency, book = endpoint.latency, self._book_of(endpoint)
        if book.valid and (endpoint.latency_decided_at is not None or self._as_accepted(latency)):
            yield self._median(endpoint, endpoint.latency_decided_at)
        if book.tails_valid:
            for channel in (*latency.tails.channels, *latency.budgets):
                if channel.decided is not None or (channel.held and channel.shares.log_e >= self._ledger.accepted.outside_log_e):
                    yield self._beyond(endpoint, channel, channel.decided)

    def _as_accepted(self, latency: EndpointLatency) -> bool:
        """Whether an endpoint of which a slow-down was accepted is slower beyond chance."""
        if latency.beyond is None:
            return False
        interval = latency.interval()
        return interval is not None and interval.low > self._book.beyond

    def open_questions(self, endpoint: "EndpointLedger") -> int:
        """1 where more passes could decide something of the endpoint's latency."""
        book, latency = self._book, endpoint.latency
        if not endpoint.latency_blocks:
            return 0
        found = False
        if book.valid and endpoint.latency_decided_at is None and book.gates(latency):
            found = latency.stake.log_e >= LATENCY_OPEN_LOG_E
        if book.tails_valid:
            for channel in (*latency.tails.channels, *latency.budgets):
                if channel.held:
                    found |= LATENCY_OPEN_LOG_E <= channel.shares.log_e < self._ledger.accepted.outside_log_e
                elif channel.decided is None and book.channel_gates(latency, channel):
                    found |= channel.stake.log_e >= LATENCY_OPEN_LOG_E
        return int(found)

    def channels(self, latency: EndpointLatency) -> tuple[LatencyChannel, ...]:
        """Median, tails and budgets of an endpoint that has pairs, or answers that a budget is about."""
        found = [self._median_channel(latency), *map(self._channel, _tails_of(latency))] if latency.pairs else []
        found += [self._channel((channel, channel.compared)) for channel in latency.budgets if channel.compared]
        return tuple(found)

    def pools(self) -> tuple[PoolEvidence, ...]:
        """The pools of latency that have a say."""
        book = self._book
        found = [(Pool.LATENCY.value, book.pool, self._ledger.latency_pool_decided_at)] if book.valid else []
        if book.tails_valid:
            for channel in book.pool_tails.channels:
                at = None if channel.decided is None else channel.decided[0]
                found.append((f"{Pool.LATENCY.value}_{channel.path}", channel.stake, at))
        return tuple(
            PoolEvidence(
                name=name,
                log10_e=stake.log_e_max / LN10,
                log10_threshold=log10_threshold(stake.weight, self._alpha),
                decided_at=decided_at,
            )
            for name, stake, decided_at in found
        )

    def _book_of(self, endpoint: "EndpointLedger") -> LatencyBook:
        return self._book if endpoint.latency_blocks else self._ledger.latency_aside

    def _median(self, endpoint: "EndpointLedger", decided: tuple[int, int] | None) -> Evidence:
        latency = endpoint.latency
        interval = latency.interval()
        return self._finding(
            endpoint,
            self._median_channel(latency),
            decided,
            compared=latency.pairs,
            diverged=(latency.slower, latency.slower_control),
            rate=(latency.ratio() or 1.0) - 1.0,
            interval=Interval(-1.0, RATIO_MAX, INTERVAL_LEVEL)
            if interval is None
            else Interval(interval.low - 1.0, interval.high - 1.0, interval.level),
            exemplars=latency.slow.ids(),
            expected=latency.pairs if decided is None else 0,
            noted=Noted(
                median=latency.ratio(),
                low=None if interval is None else interval.low,
                high=None if interval is None else interval.high,
            ),
        )

    def _beyond(self, endpoint: "EndpointLedger", channel: Channel, decided: tuple[int, int] | None) -> Evidence:
        compared = channel.compared if isinstance(channel, BudgetChannel) else endpoint.latency.pairs
        rate, low, high = channel.excess(INTERVAL_LEVEL)
        rate_low, rate_high = channel.shares.interval((1.0 + INTERVAL_LEVEL) / 2.0)
        return self._finding(
            endpoint,
            self._channel((channel, compared)),
            decided,
            compared=compared,
            diverged=(channel.over, channel.over_control),
            rate=rate,
            interval=Interval(low, high, INTERVAL_LEVEL),
            exemplars=channel.slow.ids(),
            expected=channel.over if channel.held else 0,
            noted=Noted(
                looks=compared,
                hits=channel.over,
                rate_low=rate_low,
                rate_high=rate_high,
                outside_log10=channel.shares.log_e / LN10,
            ),
        )

    def _finding(
        self,
        endpoint: "EndpointLedger",
        channel: LatencyChannel,
        decided: tuple[int, int] | None,
        *,
        compared: int,
        diverged: tuple[int, int],
        rate: float,
        interval: Interval,
        exemplars: tuple[str, ...],
        expected: int,
        noted: Noted,
    ) -> Evidence:
        """`expected`: how often it shows as it was accepted, where it is nothing else."""
        targets = endpoint.latency.quantiles()
        return Evidence(
            id=finding_id(endpoint.name, Aspect.LATENCY, channel.path, Kind.SLOWER),
            endpoint=endpoint.name,
            aspect=Aspect.LATENCY,
            path=channel.path,
            kind=Kind.SLOWER,
            finding_class=FindingClass.EXPECTED if expected else FindingClass.DIVERGENCE,
            severity=Severity.MAJOR,
            compared=compared,
            diverged=diverged[0],
            control_diverged=diverged[1],
            log10_e=channel.log10_e,
            log10_threshold=channel.log10_threshold,
            rate=rate,
            interval=interval,
            decided_at=None if decided is None else decided[0],
            decided_pass=None if decided is None else decided[1],
            expected=expected,
            noted=noted,
            root=_root_of(endpoint, channel.path),
            exemplars=exemplars,
            latency=LatencyEffect(
                channel=channel,
                ratio=endpoint.latency.ratio(),
                candidate=targets.get("candidate"),
                control=targets.get("secondary") or targets.get("stable"),
            ),
        )

    def _median_channel(self, latency: EndpointLatency) -> LatencyChannel:
        over = (latency.slower, latency.slower_control)
        factor = self._book.beyond if latency.beyond is None else latency.beyond
        return self._described(MEDIAN_PATH, latency.stake, over, latency.pairs, factor=factor)

    def _channel(self, counted: tuple[Channel, int]) -> LatencyChannel:
        channel, compared = counted
        over = (channel.over, channel.over_control)
        if isinstance(channel, BudgetChannel):
            return self._described(channel.path, channel.stake, over, compared, threshold_ms=channel.threshold_ms)
        return self._described(channel.path, channel.stake, over, compared, factor=_FACTORS[channel.path])

    def _described(
        self,
        path: str,
        stake: Stake,
        over: tuple[int, int],
        compared: int,
        *,
        factor: float | None = None,
        threshold_ms: float | None = None,
    ) -> LatencyChannel:
        return LatencyChannel(
            path=path,
            factor=factor,
            threshold_ms=threshold_ms,
            share=over[0] / max(1, compared),
            share_control=over[1] / max(1, compared),
            blocks=stake.bets,
            blocks_slower=stake.wins,
            log10_e=stake.log_e_max / LN10,
            log10_threshold=log10_threshold(stake.weight, self._alpha),
        )


def _root_of(endpoint: "EndpointLedger", path: str) -> str | None:
    """A slow-down shows in the median, the tails and budgets at once: the median is the root where it is proven; of tails, the lowest."""
    if path == MEDIAN_PATH:
        return None
    tails = [channel.path for channel in endpoint.latency.tails.channels if channel.decided is not None]
    root = MEDIAN_PATH if endpoint.latency_decided_at is not None else tails[0] if path in tails else path
    return None if root == path else finding_id(endpoint.name, Aspect.LATENCY, root, Kind.SLOWER)


_FACTORS: Final = {tail_path(factor): factor for factor in TAIL_FACTORS}


def _tails_of(latency: EndpointLatency) -> list[tuple[Channel, int]]:
    return [(channel, latency.pairs) for channel in latency.tails.channels]


def latency_words(finding: Evidence) -> str:
    """The sentence of a reason: what is slower, in how much of the traffic, and in how many blocks."""
    effect = finding.latency
    if finding.path == MEDIAN_PATH or effect is None:
        pairs = count_of(finding.compared, "paired request")
        return f"{finding.endpoint}: the candidate's median latency is {percent(finding.rate)} above the control's in {pairs}."
    channel = effect.channel
    shares = f"{percent(channel.share)} of {count_of(finding.compared, 'request')}, {percent(channel.share_control)} for the control"
    blocks = f"{channel.blocks_slower:,} of {count_of(channel.blocks, 'block')}"
    if channel.factor is not None:
        beyond = f"over {channel.factor:g} times the other's time"
        return f"{finding.endpoint}: in {blocks} more of the candidate's answers than of the control's took {beyond} ({shares})."
    limit = f"over {channel.threshold_ms:,.4g} ms" if channel.threshold_ms is not None else "over the limit"
    return f"{finding.endpoint}: the latency {finding.path} is exceeded in {blocks}: the candidate took {limit} in {shares}."
