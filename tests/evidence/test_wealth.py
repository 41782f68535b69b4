import math

import pytest

from harness.core.labels import Design, Role
from harness.evidence.hypothesis import TERM_MAX, Stake, log10_threshold, term
from harness.evidence.wealth import Wealth, latency_term


def test_the_sum_starts_at_one_and_fails_at_the_threshold() -> None:
    wealth = Wealth(0.01)
    wealth.look(0, 0)
    assert wealth.max_all == 1.0
    wealth.changed(0.1, 0.0, math.log(1_978.0))
    wealth.look(7, 1)
    assert wealth.reached_all is None
    wealth.changed(0.1, math.log(1_978.0), math.log(1_990.0))
    wealth.look(8, 1)
    wealth.look(9, 2)
    assert wealth.reached_all == (8, 1)


def test_a_failure_stays_when_the_sum_falls() -> None:
    wealth = Wealth(0.5)
    wealth.changed(1.0, 0.0, 2.0)
    wealth.look(1, 0)
    wealth.changed(1.0, 2.0, -5.0)
    wealth.look(2, 0)
    assert wealth.reached_all == wealth.reached_main == (1, 0)


def test_latency_can_be_left_out() -> None:
    wealth = Wealth(0.01)
    wealth.latency_changed(0.0, 150.0)
    wealth.look(1, 0)
    assert wealth.reached_all == (1, 0)
    assert wealth.reached_main is None


def test_between_the_passes_of_a_pair_determinism_is_left_out() -> None:
    """Who was odd in the first pass tells who is likely to change in the second: a look there must not count that bet's past wins."""
    wealth = Wealth(0.01)
    wealth.restless_changed(0.1, 0.0, math.log(1_990.0))
    wealth.pair_open = True
    wealth.look(4, 2)
    assert wealth.reached(4, 2, latency=True) is None
    assert wealth.largest(latency=True) == 1.0
    wealth.pair_open = False
    wealth.look(8, 3)
    assert wealth.reached(9, 3, latency=True) == wealth.reached(9, 3, latency=False) == (8, 3)


def test_one_hypothesis_that_reaches_the_threshold_fails_the_gate() -> None:
    """Naming a culprit is never possible without failing."""
    stake = Stake(0.03)
    wealth = Wealth(0.01)
    while not wealth.names(stake):
        before = stake.log_e
        stake.bet(Design.THREE_ARM, Role.CANDIDATE)
        wealth.changed(stake.weight, before, stake.log_e)
        wealth.look(stake.bets, 0)
    assert stake.log_e / math.log(10) >= log10_threshold(0.03, 0.01)
    assert wealth.reached_all == (stake.bets, 0)


def test_what_has_no_weight_is_not_named() -> None:
    stake = Stake(0.0)
    for _ in range(50):
        stake.bet(Design.TWO_ARM, Role.CANDIDATE)
    assert not Wealth(0.01).names(stake)
    assert log10_threshold(0.0, 0.01) == math.inf


def test_terms_are_bounded() -> None:
    assert term(1.0, 5000.0) == TERM_MAX
    assert term(0.5, 0.0) == 0.25


def test_latency_without_a_say_adds_at_most_its_start() -> None:
    stake = Stake(0.1)
    stake.bet(Design.TWO_ARM, Role.CANDIDATE)
    assert latency_term(stake.weight, stake.log_e, gates=False) == pytest.approx(0.05)
    assert latency_term(stake.weight, stake.log_e, gates=True) > 0.05


def test_a_test_without_control_fails_it_directly() -> None:
    wealth = Wealth(0.01)
    wealth.fail(5, 1)
    wealth.fail(6, 1)
    assert wealth.reached_all == wealth.reached_main == (5, 1)
