"""What a report reads of latency: words and effect sizes beside the evidence."""

import random

from harness.evidence.latency_standing import latency_words
from harness.evidence.ledger import Ledger
from harness.evidence.policy import LatencyBudget, Policy
from harness.evidence.snapshot import Snapshot
from tests.sim.world import Answer, fold_all


def slow(share: float, factor: float, *budgets: LatencyBudget) -> Snapshot:
    rng = random.Random(2)
    ledger = Ledger(Policy(latency_budgets=budgets), endpoints=("GET /items/{int}",))

    def answer(seq: int) -> Answer:
        a, b, c = (20 * rng.lognormvariate(0, 0.05) for _ in range(3))
        return Answer(entity=f"/{seq}", latency_ms=(a, b, c * (factor if rng.random() < share else 1.0)), at_s=seq * 0.06)

    fold_all(ledger, (answer(seq) for seq in range(1200)))
    return ledger.snapshot()


def test_a_tail_is_told_by_its_blocks_and_shares() -> None:
    finding = next(f for f in slow(0.05, 3.0).findings if f.path == "tail2x")
    words = latency_words(finding)
    assert "more of the candidate's answers than of the control's took over 2 times the other's time" in words
    assert finding.latency is not None
    channel = finding.latency.channel
    assert f"in {channel.blocks_slower} of {channel.blocks} blocks" in words
    assert finding.latency.candidate is not None
    assert finding.latency.control is not None
    assert finding.latency.candidate.p99_ms > 2 * finding.latency.control.p99_ms


def test_a_budget_is_told_by_its_limit() -> None:
    finding = next(f for f in slow(0.2, 3.0, LatencyBudget(quantile=0.95, max_ms=40)).findings if f.path == "budget p95 40ms")
    assert "budget p95 40ms is exceeded in" in latency_words(finding)
    assert "over 40 ms" in latency_words(finding)


def test_the_median_is_told_as_before_and_its_examples_are_of_slow_blocks() -> None:
    finding = next(f for f in slow(1.0, 1.4).findings if f.path == "p50")
    assert "the candidate's median latency is " in latency_words(finding)
    assert 1 <= len(finding.exemplars) <= 3


def test_pools_of_tails_are_named() -> None:
    names = [pool.name for pool in slow(0.0, 1.0).pools]
    assert {"latency", "latency_tail1.5x", "latency_tail2x", "latency_tail4x"} <= set(names)
