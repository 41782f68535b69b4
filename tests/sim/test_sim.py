"""The short form of the simulations. Seeds are fixed; the bounds are such that a row that holds fails with chance 1e-6."""

import pytest

from harness.evidence.policy import Policy
from tests.sim.table import ALARMS, POWER, AlarmRow, PowerRow, alarms_allowed, ended_well, needed

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("row", ALARMS, ids=lambda row: row.name)
def test_the_gate_rarely_fails_when_nothing_is_wrong(row: AlarmRow) -> None:
    policy = Policy(alpha=row.alpha)
    alarms = sum(row.play(seed, policy).failed for seed in range(row.runs_short))
    assert alarms <= alarms_allowed(row.runs_short, row.alpha)


@pytest.mark.parametrize("row", POWER, ids=lambda row: row.name)
def test_runs_end_as_they_should(row: PowerRow) -> None:
    outcomes = [row.play(seed, Policy()) for seed in range(row.runs_short)]
    assert sum(ended_well(row, outcome) for outcome in outcomes) >= needed(row, row.runs_short)


@pytest.mark.parametrize(("runs", "alpha", "allowed"), [(1, 0.01, 1), (10, 0.01, 4), (100, 0.2, 41)])
def test_the_bound_on_alarms_is_the_binomial_one(runs: int, alpha: float, allowed: int) -> None:
    assert alarms_allowed(runs, alpha) == allowed
