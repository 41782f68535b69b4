"""Minimum coverage: below it a run is inconclusive, and says what is missing."""

import pytest

from harness.core.labels import NEXT_STEP, ReasonCode, VerdictState
from harness.evidence.policy import CoverageWanted, Policy
from tests.evidence.test_gate import codes, judged
from tests.evidence.test_ledger import passes

CLEAN = passes(2, size=48, wrong=())


@pytest.mark.parametrize(
    ("wanted", "missing"),
    [
        (CoverageWanted(endpoints=("GET /items/*",), methods=("GET",), requests_min=48), ""),
        (CoverageWanted(endpoints=("GET /items/*", "POST /orders*")), "no compared endpoint is POST /orders*"),
        (CoverageWanted(methods=("GET", "POST")), "no compared request was POST"),
        (CoverageWanted(requests_min=49), "48 requests compared, 49 needed"),
    ],
)
def test_below_the_minimum_coverage_a_run_is_inconclusive(wanted: CoverageWanted, missing: str) -> None:
    verdict = judged(CLEAN, Policy(coverage=wanted))
    if not missing:
        assert verdict.state is VerdictState.PASS
        return
    assert verdict.state is VerdictState.INCONCLUSIVE
    assert codes(verdict) == [ReasonCode.TOO_LITTLE_COVERAGE]
    assert missing in verdict.reasons[0].message
    assert verdict.reasons[0].next_step == NEXT_STEP[ReasonCode.TOO_LITTLE_COVERAGE]


def test_requests_are_counted_once_however_many_passes() -> None:
    policy = Policy(coverage=CoverageWanted(requests_min=49))
    assert judged(passes(12, size=48, wrong=()), policy).state is VerdictState.INCONCLUSIVE


def test_a_failure_stays_one() -> None:
    assert judged(passes(9), Policy(coverage=CoverageWanted(requests_min=1000))).state is VerdictState.FAIL
