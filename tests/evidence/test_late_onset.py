"""A difference that begins late is found about as soon as one at the start, and restarts win nothing by themselves."""

import math
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.labels import Design, Role
from harness.evidence.budgets import ShareStake
from harness.evidence.hypothesis import Stake
from harness.evidence.late_onset import LATE_SHARE, RESTART_OBSERVATIONS, due, kept_back, log_laid
from harness.evidence.ledger import Ledger
from harness.evidence.martingale import log_rate_e, log_sum
from harness.evidence.policy import Policy
from tests.sim.world import Answer, Three, bets, flips, watch

OUTCOMES = st.lists(st.tuples(st.integers(0, 3 * RESTART_OBSERVATIONS), st.booleans()), min_size=1, max_size=40)
"""How many requests later than the bet before, and whether the candidate is the odd one."""


def odd(won: bool) -> Role:
    return Role.CANDIDATE if won else Role.SECONDARY


def test_what_restarts_lay_on_the_stakes_is_what_was_kept_back() -> None:
    assert kept_back(0) == LATE_SHARE
    assert math.exp(log_laid(0, 1)) == pytest.approx(LATE_SHARE / 2)
    assert sum(LATE_SHARE / (k * (k + 1)) for k in range(1, 8)) == pytest.approx(LATE_SHARE - kept_back(7))
    assert math.exp(log_laid(2, 7)) == pytest.approx(sum(LATE_SHARE / (k * (k + 1)) for k in range(3, 8)))
    assert [due(observed) for observed in (0, 9_999, 10_000, 30_001)] == [0, 0, 1, 3]


@settings(max_examples=100, deadline=None)
@given(outcomes=OUTCOMES)
def test_all_restarts_together_are_one_stake_exactly(outcomes: list[tuple[int, bool]]) -> None:
    """The stake beside the sum that it stands for: a game of its own from the start and from each restart."""
    merged, games = Stake(0.1, stream=True), [(Stake(0.1), 1.0 - LATE_SHARE)]
    observed = 0
    for later, won in outcomes:
        before = due(observed)
        observed += later
        games += [(Stake(0.1), LATE_SHARE / (k * (k + 1))) for k in range(before + 1, due(observed) + 1)]
        merged.bet(Design.TWO_ARM, odd(won), observed=observed)
        for game, _ in games:
            game.bet(Design.TWO_ARM, odd(won))
        expected = log_sum([math.log(kept_back(due(observed))), *[game.log_e + math.log(share) for game, share in games]])
        assert merged.log_e == pytest.approx(expected, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(outcomes=OUTCOMES, later=st.integers(0, 200_000), design=st.sampled_from((Design.TWO_ARM, Design.THREE_ARM)))
def test_a_bet_after_restarts_is_fair(outcomes: list[tuple[int, bool]], later: int, design: Design) -> None:
    def stake() -> tuple[Stake, int]:
        made, observed = Stake(0.1, stream=True), 0
        for gap, won in outcomes:
            observed += gap
            made.bet(design, odd(won), observed=observed)
        return made, observed

    arms = (Role.CANDIDATE, Role.SECONDARY) if design is Design.TWO_ARM else tuple(Role)
    before = stake()[0].log_e
    after = []
    for arm in arms:
        made, observed = stake()
        made.bet(design, arm, observed=observed + later)
        after.append(math.exp(made.log_e - before))
    assert sum(after) / len(after) == pytest.approx(1.0)


def test_a_start_loses_a_tenth_and_no_more() -> None:
    plain, stream = Stake(0.1), Stake(0.1, stream=True)
    for _ in range(12):
        plain.bet(Design.TWO_ARM, Role.CANDIDATE)
        stream.bet(Design.TWO_ARM, Role.CANDIDATE, observed=500)
    assert math.log(1.0 - LATE_SHARE) < stream.log_e - plain.log_e < 0.0


def after_noise(seed: int, noise: float, wrong: float, *, stream: bool, onset: int = 50_000) -> int:
    """How many requests after the onset E reaches 5,000: before it each arm is another one in `noise` of the answers, then the
    candidate is wrong in `wrong` of them as well."""
    rng = random.Random(seed)
    stake = Stake(0.1, stream=stream)
    observed = 0
    while True:
        rate = wrong if observed >= onset else 0.0
        chances = ((1.0 - (1.0 - noise) * (1.0 - rate)) * (1.0 - noise), noise * (1.0 - noise) * (1.0 - rate))
        observed = min(observed + 1 + int(math.log(1.0 - rng.random()) / math.log(1.0 - sum(chances))), observed + 10**9)
        if rate == 0.0 and observed > onset:
            observed = onset
            continue
        stake.bet(Design.TWO_ARM, odd(rng.random() * sum(chances) < chances[0]), observed=observed)
        if stake.log_e >= math.log(5_000.0):
            return observed - onset


@pytest.mark.parametrize(("noise", "wrong", "found", "without"), [(0.01, 0.2, 250, 500), (0.05, 0.2, 400, 1200), (0.05, 1.0, 40, 250)])
def test_a_difference_that_begins_at_request_50000_is_found_soon(noise: float, wrong: float, found: int, without: int) -> None:
    """Late onset: with restarts within `found` requests in each of ten runs, without them not within `without` in any."""
    assert all(0 < after_noise(seed, noise, wrong, stream=True) <= found for seed in range(10))
    assert all(after_noise(seed, noise, wrong, stream=False) > without for seed in range(10))


def noisy(seed: int, count: int, *, wrong_from: int) -> Iterator[Answer]:
    rng = random.Random(seed)
    for seq in range(count):
        stable, secondary, candidate = flips(rng, 0.05)
        values: dict[str, Three] = {"$.flag": (stable, secondary, "wrong" if seq >= wrong_from else candidate)}
        yield Answer(entity=f"/items/{seq}", values=values, design=Design.TWO_ARM, at_s=seq * 0.02, latency_ms=(5.0, 5.0, 5.0))


def test_a_stream_notices_what_begins_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole ledger, with restarts every 1,000 requests to keep it short."""
    monkeypatch.setattr("harness.evidence.late_onset.RESTART_OBSERVATIONS", 1000)
    late = watch(Ledger(Policy(preset="rollout"), live=True), noisy(1, 12_000, wrong_from=10_000))
    assert late is not None
    assert late - 10_000 <= 40
    replayed = watch(Ledger(Policy(preset="rollout"), live=False), noisy(1, 12_000, wrong_from=10_000))
    assert replayed is None or replayed - 10_000 > 80, "a capture that is replayed begins with its differences: no restarts"


def test_a_slow_down_that_begins_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An honest candidate loses at every block: without restarts nothing is left to bet with."""

    def blocks(*, restarts: bool) -> int | None:
        monkeypatch.setattr("harness.evidence.late_onset.RESTART_OBSERVATIONS", 10_000 if restarts else 10**9)
        rng = random.Random(1)

        def stream() -> Iterator[Answer]:
            for seq in range(45_000):
                a, b, c = (rng.lognormvariate(1.6, 0.2) for _ in range(3))
                slow = 2.0 if seq >= 40_000 else 1.0
                yield Answer(entity="/items", latency_ms=(a, b, c * slow), design=Design.TWO_ARM, at_s=seq * 0.1)

        return watch(Ledger(Policy(preset="rollout"), live=True), stream())

    found = blocks(restarts=True)
    assert found is not None
    without = blocks(restarts=False)
    assert without is None or without - 40_000 > 2 * (found - 40_000)


def test_folding_again_gives_the_same_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.evidence.late_onset.RESTART_OBSERVATIONS", 100)
    kept = [bets(seq, answer) for seq, answer in enumerate(noisy(2, 900, wrong_from=700))]
    first, second = (Ledger(Policy(preset="rollout"), live=True) for _ in range(2))
    for one in kept:
        first.fold(one)
        first.snapshot()
    for one in kept:
        second.fold(one)
    assert first.snapshot() == second.snapshot()


def test_a_promise_on_latency_is_watched_late_too() -> None:
    """Budgets in milliseconds have their own stakes: kept within for 500,000 answers, broken then."""

    def blocks(stream: bool) -> int:
        stake = ShareStake(0.1, 0.01, stream=stream)
        for block in range(5_000):
            stake.block(0, 100, block * 100)
        for block in range(5_000):
            stake.block(20, 100, 500_000 + block * 100)
            if stake.log_e >= math.log(5_000.0):
                return block + 1
        return 5_001

    assert blocks(stream=True) <= 20
    assert blocks(stream=False) > 50


@settings(max_examples=100, deadline=None)
@given(gaps=st.lists(st.integers(1, 3 * RESTART_OBSERVATIONS), min_size=1, max_size=12))
def test_without_a_control_restarts_are_one_stake_exactly_too(gaps: list[int]) -> None:
    stake, trials, hits = Stake(0.1, stream=True), 0, list[int]()
    for gap in gaps:
        trials += gap
        hits.append(trials)
        stake.hit(trials, 0.01)
        restarts = due(trials - 1)
        expected = [math.log(kept_back(restarts)), math.log(1.0 - LATE_SHARE) + log_rate_e(len(hits), trials, 0.01)]
        for k in range(1, restarts + 1):
            later = [hit for hit in hits if hit > k * RESTART_OBSERVATIONS]
            share = math.log(LATE_SHARE / (k * (k + 1)))
            expected.append(share + log_rate_e(len(later), trials - k * RESTART_OBSERVATIONS, 0.01))
        assert stake.log_e == pytest.approx(log_sum(expected), rel=1e-9, abs=1e-7)


def test_without_a_control_what_begins_after_a_long_quiet_is_found() -> None:
    """Once at the start, then nothing for 200,000 requests, then in a tenth of them."""

    def sightings(*, stream: bool) -> int:
        stake = Stake(0.1, stream=stream)
        stake.hit(1, 0.01)
        for count in range(1, 2_000):
            stake.hit(200_000 + 10 * count, 0.01)
            if stake.log_e >= math.log(5_000.0):
                return count
        return 2_000

    assert sightings(stream=True) <= 25
    assert sightings(stream=False) > 100
