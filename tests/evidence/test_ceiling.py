"""How often something shows by witness, and whether that is beyond a ceiling."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.evidence.ceiling import Ceiling, Shares, mean_upper


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.6, 0.95])
def test_a_mean_at_the_ceiling_is_rejected_as_rarely_as_it_says(rate: float) -> None:
    """Watched at every witness, at 10 %."""
    rejected = 0
    for seed in range(100):
        rng, ceiling = random.Random(seed), Ceiling(rate)
        for _ in range(300):
            ceiling.take(float(rng.random() < rate))
        rejected += ceiling.log_e_max >= math.log(10.0)
    assert rejected <= 10


def test_a_mean_far_above_it_is_rejected_soon_and_a_ceiling_of_all_never() -> None:
    ceiling, whole = Ceiling(0.1), Ceiling(1.0)
    for _ in range(4):
        ceiling.take(0.9)
        whole.take(1.0)
    assert ceiling.log_e_max >= math.log(100.0)
    assert whole.log_e_max == 0.0


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40))
def test_the_bound_lies_above_the_mean_and_falls_with_more_witnesses(values: list[float]) -> None:
    bound = mean_upper(values, 0.975)
    assert math.fsum(values) / len(values) - 1e-9 <= bound <= 1.0
    assert mean_upper(values * 4, 0.975) <= bound + 1e-6


def test_a_pass_is_one_witness_however_many_trials_show_it() -> None:
    shares = Shares(0.2)
    for spell in range(2):
        for _ in range(1000):
            shares.saw(hit=True, spell=spell)
    assert 0.0 < shares.log_e <= math.log(5.0), "the first pass began the count, the second is one witness"
    stream = Shares(0.2)
    for _ in range(1000):
        stream.saw(hit=True, spell=None)
    assert stream.log_e > math.log(1e6)


def test_the_witness_that_begins_the_count_is_not_held_against_the_ceiling() -> None:
    shares = Shares(0.01)
    shares.saw(hit=True, spell=None)
    assert shares.log_e == 0.0


def test_passes_of_which_only_the_hits_are_told_have_their_number_of_requests() -> None:
    shares = Shares()
    for spell in (1, 3, 5, 7):
        shares.saw(hit=True, spell=spell, total=10)
        shares.saw(hit=False, spell=spell, total=10)
        shares.end()
    low, high = shares.interval(0.975)
    assert low <= 0.1 <= high < 1.0
    assert shares.hits == 4


def test_without_a_look_nothing_is_known() -> None:
    assert Shares().interval(0.975) == (0.0, 1.0)
    assert Shares().log_e == 0.0
