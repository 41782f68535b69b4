"""The benchmark measures what it says: each case differs as its name says, and every trial is folded."""

import pytest

from comparators.plan import build_plan
from comparators.registry import load_comparators
from comparators.trial import compare_trial
from tests.bench import bench_trial


@pytest.mark.parametrize(
    ("case", "to_candidate", "to_secondary"), [("alike", 0, 0), ("one noisy leaf", 1, 1), ("candidate differs", 3, 0), ("all differ", 5, 2)]
)
def test_cases_differ_as_they_say(case: str, to_candidate: int, to_secondary: int) -> None:
    found = compare_trial(bench_trial.trial(case, 1), build_plan((), load_comparators()))
    assert (len(found.stable_candidate), len(found.stable_secondary)) == (to_candidate, to_secondary)


def test_every_trial_is_folded() -> None:
    ways = bench_trial.measure(rounds=2, count=3)
    assert {way.folded for way in ways.values()} == {6}
    assert all(way.microseconds(stage) >= 0.0 for way in ways.values() for stage in bench_trial.STAGES)


def test_memory_is_read_three_times() -> None:
    start, half, end = bench_trial.memory(20)
    assert 0.0 < start <= half <= end
