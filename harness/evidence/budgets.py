"""Latency budgets of a policy: what an endpoint's quantile may be, against the control or in milliseconds.

Against the control (`max_increase`): t is the quantile of what stable and secondary took before the block began, so a
pair says D = [candidate > (1 + increase) t] - [control > t]. Whatever t is, D is at most
[candidate > T] - [control > T] with T = (1 + increase) t, which is antisymmetric; so a bet on the sign of a block's sum is
at most fair for a candidate that behaves like its control (as for the median, see `harness.evidence.latency`).

In milliseconds (`max_ms`): the promise is that an answer is slower with a chance of at most r = 1 - quantile. Where requests wait for
answers, one slow answer ends its own block by the clock, so the number of answers in a block hangs on what they were, and the mean of
the blocks' shares lies above r where the promise is kept. So a block is no share of its own length: N is fixed before it begins, it
ends at the N-th answer at the latest, and with `slow` of its `answers` above the limit the bet pays 1 + stake (slow - r answers) / N,
at most elevenfold. While each answer's chance given the past is at most r, the sum of (slow or not) - r over the answers is a
supermartingale; a block ends at a moment that is told by what came until then, after at most N of them, so the sum is at most 0 in
the mean at its end (optional stopping), and the bet at most 1. It stays above 0, since stake r is at most 0.9 and answers / N at most
1; and a pay that is cut at elevenfold is only smaller. The same holds where slow answers hang together within a block, as long as a
block has at most r times as many of them as answers in the mean (Waudby-Smith & Ramdas 2024, betting on the mean of bounded values).
It asks no control: it fails a candidate that breaks the promise even where stable breaks it too. Its share of alpha is the budgets',
so that the stated error rate is that of failing a candidate that behaves like stable and keeps its promises.
"""

import math
import operator
from typing import Final

from harness.evidence.hard_rules import pattern_of
from harness.evidence.histogram import LogHistogram, quantile_of
from harness.evidence.hypothesis import Stake
from harness.evidence.martingale import excess_interval, log_sum
from harness.evidence.policy import LatencyBudget
from harness.evidence.tails import Channel

LATENCY_BUDGETS_MAX: Final = 32
"""Latency budgets in one policy."""
ROOM: Final = 2
"""How many times as many answers as the block before a block may have: with fewer it would often end before its time, with more
each bet would be smaller."""
_STAKE_MAX: Final = 100.0
_PAY_MAX: Final = 11.0
"""A block's pay at most: a single slow spell must not decide."""
_LOSS_MAX: Final = 0.9
_PARTS: Final = (1.0, 0.5, 0.25, 0.1)


def budget_path(budget: LatencyBudget) -> str:
    """What a finding on a budget is called: `budget p99 +10%`, `budget p99 300ms`."""
    limit = f"{budget.max_ms:g}ms" if budget.max_ms is not None else f"+{100.0 * (budget.max_increase or 0.0):g}%"
    return f"budget p{100.0 * budget.quantile:g} {limit}"


class ShareStake(Stake):
    """Bets on "an answer is slow with a chance of at most `rate`, whatever came before"."""

    __slots__ = ("_cross", "_rate", "_sizes", "_sizes_squared", "_slow", "_slow_squared", "_stakes", "answers_max")

    def __init__(self, weight: float, rate: float, *, stream: bool = False) -> None:
        super().__init__(weight, stream=stream, start=(-math.log(len(_PARTS)),) * len(_PARTS))
        self._rate = rate
        top = min(_STAKE_MAX, _LOSS_MAX / rate)
        self._stakes = tuple(top * part for part in _PARTS)
        self.answers_max = 0
        """Answers at which the block under way ends at the latest. 0: the first block only says how many there are in a block."""
        self._slow = self._sizes = self._slow_squared = self._sizes_squared = self._cross = 0.0

    def block(self, slow: int, answers: int, before: int = 0) -> None:
        """The block is over, with so many slow ones among its answers; `before` it there were so many answers. How many there are
        now is no part of when restarts are due, as it hangs on the block's own outcome."""
        room, self.answers_max = self.answers_max, ROOM * answers
        if not room:
            return
        self._restart(before)
        self.bets += 1
        self.wins += slow > self._rate * answers
        self._best = self.log_e_max
        lead = (slow - self._rate * answers) / room
        pays = (math.log(min(_PAY_MAX, 1.0 + stake * lead)) for stake in self._stakes)
        self._now = tuple(map(operator.add, self._now, pays))
        self.log_e = log_sum(self._now + self._kept_back)
        own, size = slow / room, answers / room
        self._slow, self._slow_squared = self._slow + own, self._slow_squared + own * own
        self._sizes, self._sizes_squared = self._sizes + size, self._sizes_squared + size * size
        self._cross += own * size

    def interval(self, level: float) -> tuple[float, float]:
        """A confidence sequence for the chance of a slow answer: the rates for which the blocks are no evidence, played as above."""
        if not self._sizes:
            return 0.0, 1.0
        middle = self._slow / self._sizes
        return self._end(middle, 0.0, level), self._end(middle, 1.0, level)

    def _end(self, inside: float, outside: float, level: float) -> float:
        for _ in range(40):
            rate = (inside + outside) / 2.0
            squares = self._slow_squared - 2.0 * rate * self._cross + rate * rate * self._sizes_squared
            low, high = excess_interval(self._slow - rate * self._sizes, max(0.0, squares), self.bets, level)
            inside, outside = (rate, outside) if low <= 0.0 <= high else (inside, rate)
        return outside


class BudgetChannel(Channel):
    """One budget at one endpoint."""

    __slots__ = ("_began_ns", "_pairs", "budget", "compared", "threshold_ms")

    def __init__(self, budget: LatencyBudget, weight: float, *, stream: bool = False) -> None:
        rate = 1.0 - budget.quantile
        stake = Stake(weight, stream=stream) if budget.max_ms is None else ShareStake(weight, rate, stream=stream)
        super().__init__(budget_path(budget), stake)
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
        if isinstance(self.stake, ShareStake) and self._pairs == self.stake.answers_max:
            return True
        return self._pairs >= size[0] and abs(at_ns - self._began_ns) >= size[1] * 1e9

    def settle(self, control: tuple[LogHistogram, LogHistogram]) -> bool:
        """The block is over: bet, and read the threshold for the next one from what the control took until now."""
        pairs, self._pairs = self._pairs, 0
        if isinstance(self.stake, ShareStake):
            slow, self.lead = self.lead, 0
            self.stake.block(slow, pairs, self.compared - pairs)
            self.note(slow / pairs)
            return True
        bet = self.threshold_ms is not None and self.close(pairs, self.compared)
        if sum(arm.count for arm in control) * (1.0 - self.budget.quantile) >= 1.0:
            self.threshold_ms = quantile_of(control, self.budget.quantile) * (1.0 + (self.budget.max_increase or 0.0))
        return bet

    def excess(self, level: float) -> tuple[float, float, float]:
        """How far the candidate is beyond, as a share of the answers, with an interval that holds at every look."""
        if isinstance(self.stake, ShareStake):
            return (self.over / max(1, self.compared), *self.stake.interval(level))
        return super().excess(level)


class Budgets:
    """The latency budgets of a policy."""

    def __init__(self, budgets: tuple[LatencyBudget, ...], *, stream: bool = False) -> None:
        self._stream = stream
        self._budgets = tuple((pattern_of(budget.endpoint), budget) for budget in budgets)

    def channels(self, endpoint: str, weight: float) -> tuple[BudgetChannel, ...]:
        """Those of an endpoint, to be asked for once; `weight` is what all budgets of the policy together may use there. A limit that is
        stated twice counts once."""
        found: dict[str, BudgetChannel] = {}
        for pattern, budget in self._budgets:
            path = budget_path(budget)
            if path not in found and pattern.fullmatch(endpoint):
                found[path] = BudgetChannel(budget, weight / len(self._budgets), stream=self._stream)
        return tuple(found.values())
