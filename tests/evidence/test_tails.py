"""Tails of latency: bets in blocks, antisymmetric and bounded; what is found, and what is not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Design
from harness.core.limits import EXEMPLARS_PER_FINDING_MAX
from harness.evidence.bets import decode_bets, encode_bets
from harness.evidence.latency import EndpointLatency, LatencyBook
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.tails import OFFERED_MAX, SlowTrials, Tails, reach_of
from tests.sim.scenarios import latency_bursts
from tests.sim.world import Answer, bets, fold_all

TIMES = st.floats(0.0, 1e5)


@given(TIMES, TIMES)
def test_a_tail_is_antisymmetric(one: float, other: float) -> None:
    assert reach_of(one, other) == -reach_of(other, one)


@given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=60))
def test_swapping_the_arms_swaps_wins_and_losses(pairs: list[tuple[float, float]]) -> None:
    first, second = Tails(0.1), Tails(0.1)
    for count, (one, other) in enumerate(pairs, start=1):
        first.add(reach_of(one, other))
        second.add(reach_of(other, one))
        if count % 5 == 0:
            first.close(count)
            second.close(count)
    for a, b in zip(first.channels, second.channels, strict=True):
        assert (a.over, a.over_control, a.stake.wins) == (b.over_control, b.over, b.stake.bets - b.stake.wins)


@given(st.lists(st.booleans(), max_size=300))
def test_examples_are_bounded_and_of_the_slowest_blocks(closes: list[bool]) -> None:
    slow, offered, waiting = SlowTrials(), 0, ""
    seen: list[tuple[float, str]] = []
    for number, close in enumerate(closes):
        if slow.offer(f"t{number}"):
            offered += 1
            waiting = f"t{number}"
        if close:
            slow.close(number + 1.0)
            seen += [(number + 1.0, waiting)] if waiting else []
            waiting = ""
    assert offered <= OFFERED_MAX
    assert list(slow.ids()) == [name for _, name in sorted(seen, reverse=True)[:EXEMPLARS_PER_FINDING_MAX]]


def run(seed: int, count: int, *, candidate: float = 0.0, stable: float = 0.0, policy: Policy | None = None) -> Ledger:
    """Answers of 20 ms; a share of those of the candidate, or of stable, is five times slower."""
    rng = random.Random(seed)
    ledger = Ledger(policy or Policy(), endpoints=("GET /items/{int}",))

    def answer(seq: int) -> Answer:
        a, b, c = (20 * rng.lognormvariate(0, 0.05) for _ in range(3))
        a *= 5.0 if rng.random() < stable else 1.0
        c *= 5.0 if rng.random() < candidate else 1.0
        return Answer(entity=f"/{seq}", latency_ms=(a, b, c), at_s=seq * 0.06)

    fold_all(ledger, (answer(seq) for seq in range(count)))
    return ledger


@pytest.mark.parametrize("seed", range(5))
def test_one_slow_answer_in_fifty_is_found_within_1600_pairs_where_the_median_is_the_same(seed: int) -> None:
    snapshot = run(seed, 1600, candidate=0.02).snapshot()
    assert snapshot.failed_at is not None
    assert {f.path for f in snapshot.findings} <= {"tail1.5x", "tail2x", "tail4x"}
    assert snapshot.findings
    finding = snapshot.findings[0]
    assert finding.latency is not None
    assert finding.latency.ratio == pytest.approx(1.0, abs=0.03)
    assert finding.latency.channel.share == pytest.approx(0.02, abs=0.012)
    assert finding.interval.low <= finding.rate <= finding.interval.high
    assert 1 <= len(finding.exemplars) <= EXEMPLARS_PER_FINDING_MAX
    channels = {c.path: c for c in snapshot.endpoints[0].latency_channels}
    assert list(channels) == ["p50", "tail1.5x", "tail2x", "tail4x"]
    assert channels[finding.path].log10_e == finding.log10_e


def test_bursts_and_jitter_do_not_alarm() -> None:
    """A/A at alpha 20 %, 100 short runs, each arm slow by itself for a fifth of the time."""
    policy = Policy(alpha=0.2)
    replays = [latency_bursts(seed, policy, live=False, length_s=0.3, per_second=100.0, count=1200) for seed in range(60)]
    live = [latency_bursts(seed, policy, live=True, length_s=2.0, count=1500) for seed in range(40)]
    assert sum(one.failed for one in replays + live) <= 6


def test_spells_that_all_share_do_not_alarm() -> None:
    failed = 0
    for seed in range(20):
        rng = random.Random(seed)
        ledger = Ledger(Policy(alpha=0.2), endpoints=("GET /items/{int}",))
        answers = []
        for seq in range(800):
            slow = 8.0 if seq // 40 % 5 == 0 else 1.0
            times = tuple(5.0 * slow * rng.lognormvariate(0, 0.4) for _ in range(3))
            answers.append(Answer(entity=f"/{seq}", latency_ms=(times[0], times[1], times[2]), at_s=seq * 0.06))
        fold_all(ledger, answers)
        failed += ledger.failed() is not None
    assert failed <= 2


def test_unlike_tails_of_stable_and_secondary_are_invalid_not_failed() -> None:
    snapshot = run(1, 1600, candidate=0.05, stable=0.05).snapshot()
    assert snapshot.latency_valid
    assert not snapshot.latency_tails_valid
    assert snapshot.failed_at is None
    assert not [f for f in snapshot.findings if f.aspect == "latency"]


def test_judging_again_gives_the_same_bit_for_bit() -> None:
    rng = random.Random(4)
    trials = [
        bets(seq, Answer(entity=f"/{seq}", latency_ms=(5.0, 5.0, 5.0 * rng.choice((1.0, 1.0, 7.0))), at_s=seq * 0.06)) for seq in range(600)
    ]
    first, second = Ledger(Policy()), Ledger(Policy())
    shown = [first.fold(one) for one in trials]
    assert shown == [second.fold(decode_bets(encode_bets(one))) for one in trials]
    assert first.snapshot() == second.snapshot()
    assert any(shown)


def test_without_a_second_instance_tails_have_no_pairs() -> None:
    book = LatencyBook(Ledger(Policy()).latency.rule, 0.05, 1, 0.1)
    endpoint = EndpointLatency(book.rule, 0.1)
    one = bets(0, Answer(latency_ms=(5.0, 5.0, 50.0), design=Design.TWO_ARM))
    book.fold(type(one)(**{**{f: getattr(one, f) for f in one.__struct_fields__}, "secondary": None}), endpoint)
    assert endpoint.tails.channels[0].over == 0


@pytest.mark.parametrize(("factor", "fails"), [(1.05, False), (1.3, True)])
def test_a_slow_down_that_is_tolerated_is_no_tail(factor: float, fails: bool) -> None:
    """All of the candidate's answers take 5 % longer, and times scatter: its tail is fuller, and not against the policy."""
    rng = random.Random(1)
    ledger = Ledger(Policy(latency_tolerance=0.05), endpoints=("GET /items/{int}",))

    def answer(seq: int) -> Answer:
        a, b, c = (20 * rng.lognormvariate(0, 0.25) for _ in range(3))
        return Answer(entity=f"/items/{seq}", latency_ms=(a, b, c * factor), at_s=seq * 0.05)

    fold_all(ledger, map(answer, range(9000)))
    assert (ledger.failed() is not None) is fails
