"""Latency budgets: quantiles against the control, and in milliseconds."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Control
from harness.evidence.budgets import BudgetChannel, Budgets, ShareStake, budget_path
from harness.evidence.histogram import LogHistogram
from harness.evidence.latency import REPLAY_BLOCK
from harness.evidence.ledger import Ledger
from harness.evidence.policy import LatencyBudget, Policy
from tests.sim.world import Answer, fold_all

INCREASE = LatencyBudget(endpoint="GET /items*", quantile=0.9, max_increase=0.1)
ABSOLUTE = LatencyBudget(endpoint="GET /items*", quantile=0.9, max_ms=30.0)


def run(
    budget: LatencyBudget, *, seed: int = 1, count: int = 900, slow: float = 1.0, alpha: float = 0.01, control: Control = Control.SECONDARY
) -> Ledger:
    """Answers of 20 ms with jitter; the slowest fifth of the candidate's is slower by a factor."""
    rng = random.Random(seed)
    ledger = Ledger(Policy(alpha=alpha, latency_budgets=(budget,), latency_tolerance=10.0), endpoints=("GET /items/{int}",))

    def answer(seq: int) -> Answer:
        a, b, c = (20.0 * rng.lognormvariate(0, 0.1) for _ in range(3))
        return Answer(entity=f"/{seq}", latency_ms=(a, b, c * (slow if c > 21.5 else 1.0)), at_s=seq * 0.06, control=control)

    fold_all(ledger, (answer(seq) for seq in range(count)))
    return ledger


@pytest.mark.parametrize(("budget", "path"), [(INCREASE, "budget p90 +10%"), (ABSOLUTE, "budget p90 30ms")])
def test_a_quantile_beyond_its_budget_is_found(budget: LatencyBudget, path: str) -> None:
    snapshot = run(budget, slow=1.45).snapshot()
    finding = next(f for f in snapshot.findings if f.path == path)
    assert budget_path(budget) == path
    assert snapshot.failed_at is not None
    assert finding.latency is not None
    assert finding.latency.channel.threshold_ms is not None
    assert finding.latency.channel.threshold_ms == pytest.approx(30.0 if budget.max_ms else 25.0, rel=0.05)
    assert finding.latency.channel.share > finding.latency.channel.share_control


@pytest.mark.parametrize("budget", [INCREASE, ABSOLUTE])
def test_what_keeps_its_budget_does_not_alarm(budget: LatencyBudget) -> None:
    assert sum(run(budget, seed=seed, count=400, alpha=0.2).failed() is not None for seed in range(20)) <= 2


def test_an_increase_within_the_budget_is_none() -> None:
    found = run(LatencyBudget(quantile=0.9, max_increase=0.6), slow=1.3).snapshot()
    (channel,) = (c for c in found.endpoints[0].latency_channels if c.path == "budget p90 +60%")
    assert channel.blocks > 5
    assert channel.log10_e < 0.5


def test_a_budget_in_milliseconds_asks_no_control() -> None:
    ledger = run(ABSOLUTE, slow=1.45, control=Control.SELF)
    assert [f.path for f in ledger.snapshot().findings if f.aspect == "latency"] == ["budget p90 30ms"]
    assert not [f for f in run(INCREASE, slow=1.45, control=Control.SELF).snapshot().findings if f.aspect == "latency"]


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0.0, 1.0), st.sampled_from([0.001, 0.01, 0.1, 0.5]))
def test_a_block_never_pays_more_than_elevenfold_and_a_fair_one_not_at_all(before: int, answers: int, part: float, rate: float) -> None:
    stake = ShareStake(0.1, rate)
    stake.block(before, before)
    assert stake.log_e == 0.0, "the first block only says how large a block is"
    answers = min(answers, stake.answers_max)
    slow = round(part * answers)
    stake.block(slow, answers)
    assert -math.inf < stake.log_e <= 2.4
    assert (stake.log_e > 0.0) == (slow > rate * answers)


def answers_one_after_the_other(slow_share: float, seed: int, count: int) -> BudgetChannel:
    """A promise of 1 %, watched by a client that waits for each answer: a slow one of 2 s ends its block by the clock."""
    rng = random.Random(seed)
    channel = BudgetChannel(LatencyBudget(quantile=0.99, max_ms=300.0), 0.0075)
    at_ms = 0.0
    for _ in range(count):
        took_ms = 2000.0 if rng.random() < slow_share else 10.0 * rng.lognormvariate(0, 0.1)
        if channel.add(took_ms, None, int(at_ms * 1e6), (REPLAY_BLOCK.pairs_min, REPLAY_BLOCK.seconds_min)):
            channel.settle((LogHistogram(), LogHistogram()))
        at_ms += took_ms
    return channel


@pytest.mark.parametrize(("slow_share", "broken"), [(0.007, False), (0.01, False), (0.02, True)])
def test_a_slow_answer_that_ends_its_own_block_breaks_no_promise_that_is_kept(slow_share: float, broken: bool) -> None:
    threshold = math.log(2.0 / (0.01 * 0.0075))
    ended = [answers_one_after_the_other(slow_share, seed, 12_000) for seed in range(12)]
    assert [channel.stake.log_e_max >= threshold for channel in ended] == [broken] * 12
    for channel in ended:
        rate, low, high = channel.excess(0.95)
        assert low <= slow_share <= high
        assert rate == pytest.approx(slow_share, abs=0.004)
        assert high < 0.12


def test_a_block_ends_at_the_latest_at_the_number_that_was_fixed_before_it_began() -> None:
    channel = BudgetChannel(LatencyBudget(quantile=0.99, max_ms=300.0), 0.1)
    sizes: list[int] = []
    for index in range(10_000):
        # A hundred answers a second, and then ten thousand: no clock ends a block of those.
        at_s = index / 100 if index < 100 else 1.0 + index / 1e6
        if channel.add(5.0, None, int(at_s * 1e9), (20, 1.0)):
            sizes.append(channel.compared - sum(sizes))
            channel.settle((LogHistogram(), LogHistogram()))
    assert sizes[:4] == [101, 202, 404, 808]


def test_a_limit_that_is_stated_twice_counts_once() -> None:
    budgets = Budgets((INCREASE, LatencyBudget(endpoint="*", quantile=0.9, max_increase=0.1), ABSOLUTE))
    channels = budgets.channels("GET /items/{int}", 0.3)
    assert [channel.path for channel in channels] == ["budget p90 +10%", "budget p90 30ms"]
    assert sum(channel.stake.weight for channel in channels) == pytest.approx(0.2)
    assert budgets.channels("POST /x", 0.3)[0].path == "budget p90 +10%"
