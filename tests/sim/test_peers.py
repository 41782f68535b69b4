"""The rules of others, as they say what they are: else the comparison beside them would be worth nothing."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim import peers
from tests.sim.peers import Counts
from tests.sim.world import Answer

pytestmark = pytest.mark.sim

samples = st.lists(st.floats(0, 100).map(lambda value: round(value, 2)), min_size=2, max_size=12)


@pytest.mark.parametrize(
    ("raw", "noise", "total", "kept"),
    [
        (3, 2, 100, False),  # 20 % of both together is not more than 20 %
        (4, 2, 100, True),
        (2, 2, 100, False),
        (1, 3, 100, False),
        (1, 0, 3_333, True),
        (1, 0, 3_334, False),  # 0.03 % of the requests is not more than 0.03 %
    ],
)
def test_diffys_rule(raw: int, noise: int, total: int, kept: bool) -> None:
    assert peers.keeps(Counts(raw, noise), total) is kept


def test_diffy_is_asked_again_and_again() -> None:
    quiet = [Answer(values={"$.a": ("1", "1", "1")})] * 60
    assert peers.diffy(quiet) is None
    assert peers.diffy([*quiet, Answer(values={"$.a": ("1", "1", "2")}), *quiet]) == 61
    assert peers.diffy([Answer(values={"$.a": ("1", "2", "2")})] * 100) is None, "as often as secondary"


@settings(max_examples=60)
@given(samples, samples)
def test_the_shift_is_the_median_of_all_differences(control: list[float], experiment: list[float]) -> None:
    differences = np.sort(np.subtract.outer(np.asarray(experiment), np.asarray(control)).ravel())
    found = peers.shift(np.sort(np.asarray(control)), np.sort(np.asarray(experiment)))
    middle = len(differences) // 2
    assert differences[(len(differences) - 1) // 2] - 1e-3 <= found <= differences[middle] + 1e-3


def test_the_p_value_is_the_normal_approximations() -> None:
    """Ten against ten without a tie, U = 80: z = (80 - 50 - 0.5) / sqrt(10 * 10 * 21 / 12) = 2.230, of which the upper tail is 0.01287."""
    control = np.asarray([1, 2, 3, 4, 5, 6, 7, 14, 15, 18], dtype=float)
    experiment = np.asarray([8, 9, 10, 11, 12, 13, 16, 17, 19, 20], dtype=float)
    assert int((experiment[:, None] > control).sum()) == 80
    assert peers.p_greater(control, experiment) == pytest.approx(0.01287, abs=1e-5)
    assert peers.p_greater(np.ones(5), np.ones(5)) == 1.0


def test_the_mann_whitney_test_finds_a_slower_candidate_and_is_asked_every_hundred_requests() -> None:
    rng = random.Random(1)
    slow = [Answer(latency_ms=(5.0, rng.lognormvariate(1.6, 0.2), rng.lognormvariate(1.9, 0.2))) for _ in range(300)]
    assert peers.mann_whitney(slow) == 100
    same = [Answer(latency_ms=(5.0, value, value)) for value in (rng.lognormvariate(1.6, 0.2) for _ in range(300))]
    assert peers.mann_whitney(same) is None
