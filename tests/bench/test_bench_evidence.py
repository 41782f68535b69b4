"""The benchmark measures what it says."""

import pytest

from comparators.plan import build_plan
from comparators.registry import load_comparators
from comparators.trial import compare_trial
from harness.core.labels import Design
from tests.bench import bench_evidence


@pytest.mark.parametrize("noisy", [0, 8])
def test_as_many_leaves_differ_as_it_says(noisy: int) -> None:
    found = compare_trial(bench_evidence.trial(1, noisy, Design.THREE_ARM), build_plan((), load_comparators()))
    paths = {difference.path for difference in (*found.stable_candidate, *found.stable_secondary)}
    categories = noisy // 4
    assert noisy - categories <= len(paths) <= noisy


def test_every_stage_is_measured() -> None:
    cost = bench_evidence.measure(8, Design.TWO_ARM, count=5)
    assert min(cost) >= 0.0
