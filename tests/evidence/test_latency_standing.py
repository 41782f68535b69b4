"""What a report reads of latency: words and effect sizes beside the evidence."""

import random

import msgspec
import pytest

from harness.evidence.latency_standing import latency_words
from harness.evidence.ledger import Ledger
from harness.evidence.policy import LatencyBudget, Policy
from harness.evidence.snapshot import Snapshot
from tests.sim.world import Answer, bets, fold_all


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


@pytest.mark.parametrize("budgets", [(), (LatencyBudget(quantile=0.95, max_ms=40),), (LatencyBudget(quantile=0.95, max_increase=0.1),)])
def test_findings_name_only_requests_that_can_be_kept_and_each_is_asked_for(budgets: tuple[LatencyBudget, ...]) -> None:
    """In live traffic a trial without a difference is not handed on: one in seven differs here, and is."""
    rng = random.Random(4)
    ledger = Ledger(Policy(latency_budgets=budgets), endpoints=("GET /items/{int}",))
    asked: set[str] = set()
    for seq in range(1500):
        a, b, c = (20 * rng.lognormvariate(0, 0.05) for _ in range(3))
        slow = c * (3.0 if rng.random() < 0.6 else 1.0)
        answer = Answer(entity=f"/{seq}", latency_ms=(a, b, slow), at_s=seq * 0.06)
        if ledger.fold(msgspec.structs.replace(bets(seq, answer), at_hand=not seq % 7)):
            asked.add(f"t{seq}")
    found = [finding for finding in ledger.snapshot().findings if finding.aspect == "latency"]
    assert {"p50", "tail1.5x", "tail2x"} <= {finding.path for finding in found}
    assert len(found) == 3 + len(budgets)
    for finding in found:
        assert finding.exemplars, finding.path
        assert all(not int(name[1:]) % 7 for name in finding.exemplars)
        assert asked.issuperset(finding.exemplars)


def test_tails_follow_from_the_median_or_else_from_the_lowest_tail() -> None:
    def roots(snapshot: Snapshot) -> dict[str, str | None]:
        """By path, the path of the finding that it follows from."""
        paths = {finding.id: finding.path for finding in snapshot.findings}
        return {finding.path: paths[finding.root] if finding.root else None for finding in snapshot.findings}

    assert roots(slow(1.0, 5.0)) == {"p50": None, "tail1.5x": "p50", "tail2x": "p50", "tail4x": "p50"}
    budget = LatencyBudget(quantile=0.95, max_ms=40)
    only_tails = {"tail1.5x": None, "tail2x": "tail1.5x", "tail4x": "tail1.5x", "budget p95 40ms": None}
    assert roots(slow(0.2, 5.0, budget)) == only_tails
