"""Latency budgets of a policy: what an endpoint's quantile may be, against the control or in milliseconds.

Against the control (`max_increase`): t is the quantile of what stable and secondary took before the block began, so a
pair says D = [candidate > (1 + increase) t] - [control > t]. Whatever t is, D is at most
[candidate > T] - [control > T] with T = (1 + increase) t, which is antisymmetric; so a bet on the sign of a block's sum is
at most fair for a candidate that behaves like its control (as for the median, see `harness.evidence.latency`).

In milliseconds (`max_ms`): the promise is that an answer is slower with a chance of at most 1 - quantile. X is the share
of a block's answers that are slower, and the bet pays 1 + stake (X - (1 - quantile)), at most elevenfold a block: fair or
worse whenever the promise holds block by block (Waudby-Smith & Ramdas 2024, betting on the mean of bounded values). It asks no
control: it fails a candidate that breaks the promise even where stable breaks it too. Its share of alpha is the budgets', so that
the stated error rate is that of failing a candidate that behaves like stable and keeps its promises.
"""

import math
from typing import Final

from harness.evidence.hard_rules import pattern_of
from harness.evidence.histogram import LogHistogram, quantile_of
from harness.evidence.hypothesis import Stake
from harness.evidence.martingale import log_sum
from harness.evidence.policy import LatencyBudget
from harness.evidence.tails import Channel

LATENCY_BUDGETS_MAX: Final = 32
"""Latency budgets in one policy."""
_STAKE_MAX: Final = 10.0
_LOSS_MAX: Final = 0.9
_PARTS: Final = (1.0, 0.5, 0.25, 0.1)


def budget_path(budget: LatencyBudget) -> str:
    """What a finding on a budget is called: `budget p99 +10%`, `budget p99 300ms`."""
    limit = f"{budget.max_ms:g}ms" if budget.max_ms is not None else f"+{100.0 * (budget.max_increase or 0.0):g}%"
    return f"budget p{100.0 * budget.quantile:g} {limit}"


class ShareStake(Stake):
    """Bets on "the mean share of slow answers in a block is at most `rate`"."""

    __slots__ = ("_logs", "_rate", "_stakes")

    def __init__(self, weight: float, rate: float) -> None:
        super().__init__(weight)
        self._rate = rate
        top = min(_STAKE_MAX, _LOSS_MAX / rate)
        self._stakes = tuple(top * part for part in _PARTS)
        self._logs = [-math.log(len(_PARTS))] * len(_PARTS)

    def share(self, share: float) -> None:
        """The next block's share, from 0 to 1."""
        self.bets += 1
        self.wins += share > self._rate
        self._best = self.log_e_max
        self._logs = [log + math.log1p(stake * (share - self._rate)) for log, stake in zip(self._logs, self._stakes, strict=True)]
        self.log_e = log_sum(self._logs)


class BudgetChannel(Channel):
    """One budget at one endpoint."""

    __slots__ = ("_began_ns", "_pairs", "budget", "compared", "threshold_ms")

    def __init__(self, budget: LatencyBudget, weight: float) -> None:
        rate = 1.0 - budget.quantile
        super().__init__(budget_path(budget), Stake(weight) if budget.max_ms is None else ShareStake(weight, rate))
        self.budget = budget
        self.compared = 0
        """Pairs, or answers of the candidate where the limit is absolute."""
        self.threshold_ms: float | None = budget.max_ms
        """What the candidate must not be above; None until enough is known of the control."""
        self._pairs = self._began_ns = 0

    def add(self, candidate: float, control: float | None, at_ns: int, size: tuple[int, float]) -> bool:
        """Take what a trial took (control: None where there is none); whether the block, of so many pairs and seconds, is now over."""
        if control is None and self.budget.max_ms is None:
            return False
        if not self._pairs:
            self._began_ns = at_ns
        self._pairs += 1
        self.compared += 1
        limit = self.threshold_ms
        if limit is not None:
            over = candidate > limit
            over_control = control is not None and control * (1.0 + (self.budget.max_increase or 0.0)) > limit
            self.over += over
            self.over_control += over_control
            self.lead += over - (over_control and self.budget.max_ms is None)
        return self._pairs >= size[0] and abs(at_ns - self._began_ns) >= size[1] * 1e9

    def settle(self, control: tuple[LogHistogram, LogHistogram]) -> bool:
        """The block is over: bet, and read the threshold for the next one from what the control took until now."""
        pairs, self._pairs = self._pairs, 0
        if isinstance(self.stake, ShareStake):
            share, self.lead = self.lead / pairs, 0
            self.stake.share(share)
            self.note(share)
            return True
        bet = self.threshold_ms is not None and self.close(pairs)
        if sum(arm.count for arm in control) * (1.0 - self.budget.quantile) >= 1.0:
            self.threshold_ms = quantile_of(control, self.budget.quantile) * (1.0 + (self.budget.max_increase or 0.0))
        return bet


class Budgets:
    """The latency budgets of a policy."""

    def __init__(self, budgets: tuple[LatencyBudget, ...]) -> None:
        self._budgets = tuple((pattern_of(budget.endpoint), budget) for budget in budgets)

    def channels(self, endpoint: str, weight: float) -> tuple[BudgetChannel, ...]:
        """Those of an endpoint, to be asked for once; `weight` is what all budgets of the policy together may use there. A limit that is
        stated twice counts once."""
        found: dict[str, BudgetChannel] = {}
        for pattern, budget in self._budgets:
            path = budget_path(budget)
            if path not in found and pattern.fullmatch(endpoint):
                found[path] = BudgetChannel(budget, weight / len(self._budgets))
        return tuple(found.values())
