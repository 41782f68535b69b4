"""The short form of the streams that are judged by others as well: ours has to hold here, whatever theirs says."""

import random

import pytest

from tests.sim import peers
from tests.sim.beside import ROWS, Row, _noisy, allowed, cell, ours, played

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_ours_ends_as_it_should(row: Row) -> None:
    result = played(row, ours, row.runs_short)
    assert allowed(row, result), cell(result)


def test_watched_under_noise_diffys_rule_alarms_and_ours_does_not() -> None:
    """The reason for all of this."""
    noise = next(row for row in ROWS if row.name == "nothing wrong, 50 fields, 1 % noise")
    assert played(noise, peers.diffy, 3).alarms == 3
    assert played(noise, ours, 3).alarms == 0


@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_quiet_fields_are_passed_over_without_changing_how_often_the_others_may_differ(noise: float) -> None:
    rng = random.Random(1)
    found = sum(len(list(_noisy(rng, 100, noise))) for _ in range(400))
    expected = 40_000 * (1 - (1 - noise) ** 3)
    assert abs(found - expected) < 6 * expected**0.5
