import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.evidence import martingale as m

COUNTS = st.integers(0, 400)


def test_the_stakes_start_with_one_unit() -> None:
    assert math.isclose(sum(m.WEIGHTS), 1.0)
    assert m.log_e(0, 0, 0) == pytest.approx(0.0)
    assert m.log_pass(0, 0, 0, 0, 0.01) == pytest.approx(0.0)
    assert m.log_recurrence(0, 0, 0) == pytest.approx(0.0)
    assert m.log_rate_e(0, 0, 0.01) == pytest.approx(0.0)


@given(COUNTS, COUNTS, COUNTS)
def test_a_bet_is_fair_in_either_design(wins_three: int, wins_two: int, losses: int) -> None:
    """The mean of what comes next is what there is: E is a martingale under the null."""
    now = m.log_e(wins_three, wins_two, losses)
    lost = m.log_e(wins_three, wins_two, losses + 1) - now
    three = math.exp(m.log_e(wins_three + 1, wins_two, losses) - now) / 3 + 2 * math.exp(lost) / 3
    two = math.exp(m.log_e(wins_three, wins_two + 1, losses) - now) / 2 + math.exp(lost) / 2
    assert three == pytest.approx(1.0)
    assert two == pytest.approx(1.0)


@given(st.integers(0, 50), st.integers(0, 2000), st.sampled_from([0.001, 0.01, 0.2]), st.floats(0.0, 1.0))
def test_the_rate_test_does_not_grow_under_the_null(hits: int, misses: int, rate: float, part: float) -> None:
    p = rate * part
    now = m.log_rate_e(hits, hits + misses, rate)
    hit = math.exp(m.log_rate_e(hits + 1, hits + misses + 1, rate) - now)
    miss = math.exp(m.log_rate_e(hits, hits + misses + 1, rate) - now)
    assert p * hit + (1 - p) * miss <= 1.0 + 1e-9


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 300), st.floats(0.0, 0.3), st.floats(0.0, 0.3))
def test_a_pass_claim_does_not_grow_where_the_excess_is_delta(
    a: int, b: int, half: int, zeros: int, p_control: float, p_half: float
) -> None:
    delta = 0.01
    p_candidate = delta + p_control + p_half / 2
    trials = a + b + half + zeros
    now = m.log_pass(a, b, half, trials, delta)
    outcomes = (
        (p_candidate, m.log_pass(a + 1, b, half, trials + 1, delta)),
        (p_control, m.log_pass(a, b + 1, half, trials + 1, delta)),
        (p_half, m.log_pass(a, b, half + 1, trials + 1, delta)),
        (1 - p_candidate - p_control - p_half, m.log_pass(a, b, half, trials + 1, delta)),
    )
    assert sum(p * math.exp(value - now) for p, value in outcomes) <= 1.0 + 1e-9


@pytest.mark.parametrize(("recur", "contrary"), [(0.5, 0.0), (0.6, 0.2), (0.7, 0.3), (1.0, 0.0)])
def test_the_recurrence_test_does_not_grow_where_it_recurs(recur: float, contrary: float) -> None:
    for a, b, zeros in itertools.product(range(6), repeat=3):
        now = m.log_recurrence(a, b, a + b + zeros)
        mean = (
            recur * math.exp(m.log_recurrence(a + 1, b, a + b + zeros + 1) - now)
            + contrary * math.exp(m.log_recurrence(a, b + 1, a + b + zeros + 1) - now)
            + (1 - recur - contrary) * math.exp(m.log_recurrence(a, b, a + b + zeros + 1) - now)
        )
        assert mean <= 1.0 + 1e-9


@pytest.mark.parametrize(("target", "three", "two"), [(100, 5, 8), (400, 7, 10), (2e4, 10, 16)])
def test_how_many_one_sided_differences_are_needed(target: float, three: int, two: int) -> None:
    assert next(k for k in range(99) if m.log_e(k, 0, 0) >= math.log(target)) == three
    assert next(k for k in range(99) if m.log_e(0, k, 0) >= math.log(target)) == two


@pytest.mark.parametrize(("delta", "clean"), [(0.05, 105), (0.01, 533), (0.005, 1069), (0.001, 5355)])
def test_how_many_clean_requests_a_pass_needs(delta: float, clean: int) -> None:
    assert m.log_pass(0, 0, 0, clean, delta) >= math.log(20) > m.log_pass(0, 0, 0, clean - 1, delta)


def test_five_clean_repeats_reject_that_it_comes_back() -> None:
    assert m.log_recurrence(0, 0, 5) >= math.log(20) > m.log_recurrence(0, 0, 4)


def test_log10_is_the_natural_one_in_decimal() -> None:
    assert m.log10_e(3, 1, 2) == pytest.approx(m.log_e(3, 1, 2) / math.log(10))


def test_large_counts_do_not_overflow() -> None:
    assert m.log_e(1_000_000, 0, 0) > 1e5
    assert math.isfinite(m.log_e(0, 0, 1_000_000))


def test_the_two_sided_test_is_symmetric() -> None:
    assert m.log_two_sided(12, 3) == pytest.approx(m.log_two_sided(3, 12))
    assert m.log_two_sided(30, 0) > math.log(1000)


def test_a_rate_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        m.log_rate_e(1, 2, 0.0)


def test_the_upper_bound_is_the_rule_of_three_without_hits() -> None:
    assert m.binomial_upper(0, 300, 0.95) == pytest.approx(0.00994, abs=1e-5)
    assert m.binomial_upper(0, 0, 0.95) == 1.0
    assert m.binomial_upper(4, 4, 0.95) == 1.0


@pytest.mark.parametrize(("hits", "trials", "upper"), [(1, 10, 0.3942), (5, 48, 0.2066), (2, 1000, 0.006283), (9, 10, 0.99488)])
def test_the_upper_bound_is_that_of_clopper_and_pearson(hits: int, trials: int, upper: float) -> None:
    assert m.binomial_upper(hits, trials, 0.95) == pytest.approx(upper, abs=2e-4)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 2000))
def test_the_excess_interval_holds_the_mean_and_stays_in_range(a: int, b: int, zeros: int) -> None:
    n = a + b + zeros
    low, high = m.excess_interval(a - b, a + b, n, 0.95)
    assert -1.0 <= low <= high <= 1.0
    if n:
        assert low <= (a - b) / n <= high


def test_the_excess_interval_narrows() -> None:
    wide, narrow = m.excess_interval(0, 0, 100, 0.95), m.excess_interval(0, 0, 10_000, 0.95)
    assert narrow[1] - narrow[0] < (wide[1] - wide[0]) / 10
