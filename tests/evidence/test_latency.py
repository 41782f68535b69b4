import random

import pytest

from harness.core.labels import Aspect, Control, Design, Kind, Role
from harness.evidence.findings import finding_id
from harness.evidence.hypothesis import Stake
from harness.evidence.latency import REPLAY_BLOCK, Block, BlockRule, EndpointLatency, LatencyBook
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from tests.sim.world import Answer, bets, fold_all

PER_REQUEST = BlockRule(1, 0.0)


def test_a_block_closes_with_enough_pairs_and_time() -> None:
    block = Block(BlockRule(3, 1.0))
    assert [block.add(1, 2.0, int(at * 1e9)) for at in (0.0, 0.1, 0.2, 0.3)] == [None] * 4
    assert block.add(-1, 1.0, int(1e9)) == (1, 2.0)
    assert block.add(-1, 1.0, int(2e9)) is None
    assert block.add(1, 1.0, int(2.5e9)) is None
    assert block.add(1, 1.0, int(3.5e9)) == (1, 1.0)


def test_a_block_without_a_majority_is_no_bet() -> None:
    block = Block(BlockRule(2, 0.0))
    block.add(1, 1.2, 0)
    assert block.add(-1, 0.8, 1) == (0, 1.0)


def play(count: int, *, policy: Policy | None = None, **changes: object) -> Ledger:
    rng = random.Random(9)
    ledger = Ledger(policy or Policy(), endpoints=("GET /items/{int}",))
    slow = changes.pop("slow", 1.0)
    first = changes.pop("stable", 1.0)
    assert isinstance(slow, float)
    assert isinstance(first, float)

    def answer(seq: int) -> Answer:
        a, b, c = (20 * rng.lognormvariate(0, 0.05) for _ in range(3))
        return Answer(entity=f"/{seq}", latency_ms=(a * first, b, c * slow), at_s=seq * 0.06, **changes)  # type: ignore[arg-type]  # of a test's choice

    fold_all(ledger, (answer(seq) for seq in range(count)))
    return ledger


def test_a_slower_candidate_is_found_and_named() -> None:
    snapshot = play(900, slow=1.3).snapshot()
    finding = next(f for f in snapshot.findings if f.path == "p50")
    assert {f.root for f in snapshot.findings if f is not finding} <= {finding.id}, "tails follow the median"
    assert finding.id == finding_id("GET /items/{int}", Aspect.LATENCY, "p50", Kind.SLOWER)
    assert (finding.aspect, finding.path, finding.kind) == ("latency", "p50", "slower")
    assert finding.interval.low <= 0.3 <= finding.interval.high
    assert finding.rate == pytest.approx(0.3, abs=0.02)
    assert snapshot.failed_at is not None
    endpoint = snapshot.endpoints[0]
    assert endpoint.latency_gates
    assert endpoint.ratio == pytest.approx(1.3, abs=0.02)
    assert endpoint.interval is not None
    assert endpoint.latency["candidate"].p50_ms == pytest.approx(26.0, rel=0.03)


def test_a_difference_within_the_tolerance_is_none() -> None:
    assert play(900, slow=1.03).snapshot().failed_at is None


def test_a_faster_candidate_is_no_finding() -> None:
    assert play(600, slow=0.5).snapshot().findings == ()


def test_few_requests_are_reported_and_do_not_gate() -> None:
    snapshot = play(600, slow=3.0, policy=Policy(latency_requests_min=601)).snapshot()
    assert snapshot.failed_at is None
    assert not snapshot.endpoints[0].latency_gates
    assert snapshot.endpoints[0].ratio == pytest.approx(3.0, abs=0.1)


def test_the_gate_speaks_at_once_when_there_are_enough() -> None:
    """Evidence of the time before counts, and never more than a true sum would have."""
    ledger = play(599, slow=3.0, policy=Policy(latency_requests_min=600))
    assert ledger.snapshot().failed_at is None
    ledger.fold(bets(599, Answer(latency_ms=(20.0, 20.0, 60.0), at_s=599 * 0.06)))
    assert ledger.snapshot().failed_at == 600


def test_growing_evidence_keeps_the_passes_going() -> None:
    assert play(170, slow=1.5).snapshot().open_questions == 1
    assert play(170).snapshot().open_questions == 0


@pytest.mark.parametrize("control", [Control.SELF, Control.NONE])
def test_without_a_second_instance_latency_has_no_say(control: Control) -> None:
    snapshot = play(600, slow=3.0, control=control).snapshot()
    assert snapshot.endpoints[0].ratio is None
    assert snapshot.failed_at is None


def test_stable_instances_that_differ_make_latency_invalid_not_failed() -> None:
    snapshot = play(900, slow=1.5, stable=1.5).snapshot()
    assert not snapshot.latency_valid
    assert snapshot.failed_at is None
    assert snapshot.findings == ()
    assert not snapshot.endpoints[0].latency_gates


def test_a_live_stable_that_went_first_is_not_compared_with_secondary() -> None:
    snapshot = play(900, stable=0.5, design=Design.TWO_ARM).snapshot()
    assert snapshot.latency_valid


def test_a_time_out_is_slow_and_another_error_says_nothing() -> None:
    book, endpoint = LatencyBook(PER_REQUEST, 0.05, 1, 0.1), EndpointLatency(PER_REQUEST, 0.1)
    book.fold(bets(0, Answer(status=(200, 200, 0), latency_ms=(5.0, 5.0, 30_000.0))), endpoint)
    assert (endpoint.pairs, endpoint.slower) == (1, 1)
    assert endpoint.stake.wins == 1
    assert book.pool.wins == 1
    refused = bets(1, Answer())
    assert refused.candidate is not None
    book.fold(type(refused)(**{f: getattr(refused, f) for f in refused.__struct_fields__ if f != "candidate"}), endpoint)
    assert endpoint.pairs == 1


def test_an_answer_in_no_time_has_a_ratio() -> None:
    book, endpoint = LatencyBook(REPLAY_BLOCK, 0.05, 1, 0.1), EndpointLatency(REPLAY_BLOCK, 0.1)
    assert endpoint.ratio() is None
    book.fold(bets(0, Answer(latency_ms=(0.0, 0.0, 0.0))), endpoint)
    assert endpoint.ratio() == pytest.approx(1.0, abs=0.01)


def test_a_stake_knows_its_bets() -> None:
    stake = Stake(0.1)
    stake.bet(Design.TWO_ARM, Role.CANDIDATE)
    stake.bet(Design.TWO_ARM, Role.SECONDARY)
    stake.hit(10, 0.01)
    assert stake.bets == 3
