import math

import pytest

from harness.core.labels import Aspect, Design, Kind, Role
from harness.evidence.bets import Bet
from harness.evidence.hypothesis import Hypothesis, PoolState, Stake
from harness.evidence.keys import KeyBudget
from harness.evidence.martingale import log_e
from harness.evidence.weights import Pool


def hypothesis() -> Hypothesis:
    return Hypothesis("GET /a", Aspect.BODY, "$.x", Kind.VALUE, KeyBudget())


def bet(odd: Role | None, key: int = 1, path: str = "$.x") -> Bet:
    return Bet(Aspect.BODY, path, Kind.VALUE, odd, odd is not Role.CANDIDATE, odd is not Role.SECONDARY, key)


def test_a_stake_remembers_its_best_moment() -> None:
    stake = Stake(0.1)
    for odd in (*[Role.CANDIDATE] * 3, Role.STABLE, Role.SECONDARY):
        stake.bet(Design.THREE_ARM, odd)
    assert stake.log_e < stake.log_e_max
    assert stake.log_e_max > math.log(10)


@pytest.mark.parametrize(("design", "most"), [(Design.THREE_ARM, 3.0), (Design.TWO_ARM, 2.0)])
def test_a_spell_pays_as_one_game_whatever_repeats_itself_in_it(design: Design, most: float) -> None:
    """One arm is odd all through a spell, drawn anew for each: no mean factor is above 1, and none above the fair odds."""
    roles = [Role.CANDIDATE, Role.SECONDARY, Role.STABLE][: 3 if design is Design.THREE_ARM else 2]
    for sightings in (1, 2, 30, 500):
        factors = []
        for odd in roles:
            stake = Stake(0.1)
            stake.bet(design, Role.CANDIDATE)
            before = stake.log_e
            for _ in range(sightings):
                stake.bet(design, odd, 1)
            factors.append(math.exp(stake.log_e - before))
        assert sum(factors) / len(factors) == pytest.approx(1.0)
        assert max(factors) <= most + 1e-9


def test_a_bet_in_a_spell_of_its_own_pays_as_one_without() -> None:
    alone, grouped = Stake(0.1), Stake(0.1)
    for spell, odd in enumerate((Role.CANDIDATE, Role.STABLE, Role.CANDIDATE, Role.CANDIDATE, Role.SECONDARY)):
        alone.bet(Design.THREE_ARM, odd)
        grouped.bet(Design.THREE_ARM, odd, spell)
    assert grouped.log_e == pytest.approx(alone.log_e)
    assert alone.log_e == pytest.approx(log_e(3, 0, 2))
    assert (alone.bets, alone.wins) == (5, 3)


def test_counts_are_kept_by_what_the_control_did() -> None:
    h = hypothesis()
    h.count(bet(Role.CANDIDATE), Design.THREE_ARM, first=True)
    h.count(bet(Role.CANDIDATE), Design.THREE_ARM, first=False)
    h.count(bet(Role.STABLE), Design.THREE_ARM, first=True)
    h.count(bet(Role.SECONDARY), Design.TWO_ARM, first=True)
    h.count(bet(None), Design.THREE_ARM, first=True)
    assert (h.alone, h.first) == (2, 1)
    assert (h.control_half, h.control_half_first, h.odd_control, h.control_first) == (1, 1, 1, 1)
    assert h.control == 3


@pytest.mark.parametrize(("control", "compared", "noisy"), [(2, 10, False), (3, 10, True), (3, 60, False), (4, 79, True)])
def test_a_path_is_noisy_by_what_its_control_does(control: int, compared: int, noisy: bool) -> None:
    h = hypothesis()
    h.control = control
    assert h.noisy(compared, 0.05) is noisy


def test_a_decision_is_the_first_one() -> None:
    h = hypothesis()
    h.decide(5, 1)
    h.decide(9, 2)
    assert (h.decided_at, h.decided_pass) == (5, 1)


def test_a_pool_bets_once_for_an_answer_and_only_where_all_agree() -> None:
    pool = PoolState(Pool.COARSE, 0.1, KeyBudget())
    assert pool.agreed([bet(Role.CANDIDATE, 1), bet(Role.CANDIDATE, 2)]) is Role.CANDIDATE
    assert pool.agreed([bet(Role.CANDIDATE, 1)]) is None
    assert pool.agreed([bet(Role.CANDIDATE, 3), bet(Role.STABLE, 4)]) is None
    assert pool.agreed([bet(Role.CANDIDATE, 5), bet(Role.SECONDARY, 5, "$.y")]) is None
    assert pool.agreed([bet(Role.CANDIDATE, 1), bet(Role.STABLE, 6)]) is Role.STABLE


def test_a_pool_counts_the_candidate_wherever_it_stands_alone() -> None:
    pool = PoolState(Pool.COARSE, 0.1, KeyBudget())
    pool.count([bet(Role.SECONDARY), bet(Role.CANDIDATE)], Design.TWO_ARM)
    pool.count([bet(Role.SECONDARY)], Design.TWO_ARM)
    pool.count([bet(Role.STABLE)], Design.THREE_ARM)
    assert (pool.first, pool.control, pool.control_half) == (1, 1, 1)
