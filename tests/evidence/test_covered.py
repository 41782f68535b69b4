"""Minimum coverage: below it a run is inconclusive, and says what is missing."""

import pytest

from harness.core.labels import NEXT_STEP, ReasonCode, VerdictState
from harness.evidence.policy import CoverageWanted, LatencyBudget, Policy
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


@pytest.mark.parametrize(
    ("pattern", "fits"), [("GET /items/*", True), ("*", True), ("GET /itms/*", False), ("POST /items/*", False), ("/items/*", False)]
)
@pytest.mark.parametrize(("limit", "path"), [({"max_ms": 300.0}, "budget p99 300ms"), ({"max_increase": 0.1}, "budget p99 +10%")])
def test_a_latency_budget_that_fits_no_endpoint_of_the_run_is_told(pattern: str, fits: bool, limit: dict[str, float], path: str) -> None:
    verdict = judged(CLEAN, Policy(latency_budgets=(LatencyBudget(endpoint=pattern, **limit), LatencyBudget(max_ms=1000.0))))
    assert verdict.state is VerdictState.PASS, "a note, and no doubt"
    notes = [reason.message for reason in verdict.reasons if reason.code is ReasonCode.UNUSED_RULES]
    assert notes == ([] if fits else [f"1 latency budget judged nothing, as no compared endpoint fits: {pattern} ({path})."])


def test_where_nothing_was_compared_budgets_are_not_the_trouble() -> None:
    assert codes(judged([], Policy(latency_budgets=(LatencyBudget(endpoint="GET /nowhere", max_ms=300.0),)))) == [ReasonCode.NO_DATA]
