import math

import msgspec
import pytest

from harness.core.labels import NEXT_STEP, Aspect, FindingClass, Kind, ReasonCode, Severity, VerdictState
from harness.core.limits import REPORT_EFFECT_ROWS_MAX, REPORT_EXEMPLARS_MAX, REPORT_FINDINGS_MAX, REPORT_NOISE_MAX
from harness.core.values import Totals
from harness.core.watched import EffectsFacts, TableDifference, Unattributed
from harness.evidence.policy import Policy
from harness.evidence.snapshot import EndpointState, Evidence, Interval, Reason, Snapshot, TargetLatency, Verdict
from harness.report.build import build_report, coverage_of, policy_digest
from harness.report.model import Coverage, Exemplar, Report, encode_report
from tests.report import samples
from tests.report.effect_samples import EFFECTS


def report_of(snapshot: Snapshot, verdict: Verdict | None = None, **more: object) -> Report:
    return build_report(
        run=samples.run_facts("x"),
        policy=Policy(),
        snapshot=snapshot,
        verdict=verdict,
        totals=Totals(requests=1, compared=1),
        **more,  # type: ignore[arg-type]  # of a test's choice
    )


def finding(name: str, severity: Severity, finding_class: FindingClass, log10_e: float = 1.0) -> Evidence:
    return samples.evidence(
        name, "GET /a", Aspect.BODY, f"$.{name}", Kind.VALUE, severity=severity, finding_class=finding_class, log10_e=log10_e
    )


def test_findings_come_gravest_first() -> None:
    mixed = (
        finding("minor", Severity.MINOR, FindingClass.DIVERGENCE, 9.0),
        finding("weak", Severity.MAJOR, FindingClass.DIVERGENCE, 3.0),
        finding("undecided", Severity.MAJOR, FindingClass.UNDECIDED, 9.0),
        finding("strong", Severity.MAJOR, FindingClass.DIVERGENCE, 8.0),
        finding("critical", Severity.CRITICAL, FindingClass.UNDECIDED, 0.1),
    )
    report = report_of(samples.snapshot(mixed, ()))
    assert [view.id for view in report.findings] == ["critical", "strong", "weak", "undecided", "minor"]


def test_a_reason_without_a_next_step_gets_the_documented_one() -> None:
    verdict = Verdict(state=VerdictState.INCONCLUSIVE, reasons=(Reason(code=ReasonCode.NO_DATA, message="none"),))
    assert report_of(samples.snapshot((), ()), verdict).reasons[0].next_step == NEXT_STEP[ReasonCode.NO_DATA]


def test_numbers_that_json_does_not_know_become_finite() -> None:
    odd = msgspec.structs.replace(
        finding("odd", Severity.MAJOR, FindingClass.DIVERGENCE, math.inf), rate=math.nan, interval=Interval(-math.inf, math.inf, 0.95)
    )
    state = EndpointState(
        endpoint="GET /a", compared=1, diverged=0, latency={"stable": TargetLatency(math.inf, 1.0, math.nan)}, ratio=math.nan,
        interval=Interval(0.0, math.inf, 0.95),
    )  # fmt: skip
    report = report_of(samples.snapshot((odd,), (state,)))
    assert report.findings[0].rate == 0.0
    assert math.isfinite(report.findings[0].log10_e)
    assert b": null" not in encode_report(report).split(b'"latency"')[1].split(b'"gates"')[0]


def test_unused_rules_are_told_apart() -> None:
    report = samples.fail_report()
    assert [rule.used for rule in report.rules] == [True, False]
    assert [rule.path for rule in report.unused_rules] == ["$.tags"]


def test_exemplars_stay_with_their_finding_and_strays_are_left_out() -> None:
    exemplars = samples.exemplars()
    stray = msgspec.structs.replace(exemplars[0], finding="unknown")
    report = report_of(samples.snapshot(samples.FINDINGS, ()), exemplars=[*exemplars, stray])
    assert {exemplar.finding for view in report.findings for exemplar in view.exemplars} == {exemplar.finding for exemplar in exemplars}
    assert all(isinstance(exemplar, Exemplar) and exemplar.finding == view.id for view in report.findings for exemplar in view.exemplars)


def test_exemplars_are_bounded_and_shared_out() -> None:
    made = samples.exemplars()[0]
    many = tuple(finding(f"f{number}", Severity.MINOR, FindingClass.DIVERGENCE) for number in range(150))
    offered = [msgspec.structs.replace(made, finding=evidence.id) for evidence in many for _ in range(3)]
    report = report_of(samples.snapshot(many, ()), exemplars=offered)
    counts = [len(view.exemplars) for view in report.findings]
    assert sum(counts) == REPORT_EXEMPLARS_MAX
    assert counts == [2] * 50 + [1] * 100


def test_coverage_counts_methods_and_statuses() -> None:
    coverage = coverage_of(samples.snapshot((), samples.ENDPOINTS), not_compared=("DELETE /b",))
    assert coverage.methods == {"GET": 420, "POST": 36}
    assert coverage.status_classes == {"2xx": 446, "4xx": 10}
    assert coverage.not_compared == ("DELETE /b",)


def test_a_coverage_that_is_given_is_used() -> None:
    given = Coverage(endpoints=9, methods={}, status_classes={})
    assert report_of(samples.snapshot((), ()), coverage=given).coverage is given


def test_what_the_ledger_could_not_hold_is_blind() -> None:
    many = tuple(finding(f"f{number}", Severity.MINOR, FindingClass.DIVERGENCE) for number in range(REPORT_FINDINGS_MAX + 2))
    noise = tuple(finding(f"n{number}", Severity.MINOR, FindingClass.NOISE) for number in range(REPORT_NOISE_MAX + 3))
    state = msgspec.structs.replace(samples.snapshot(many, (), noise), pooled_hypotheses=4, latency_valid=False)
    report = report_of(state)
    assert [entry.count for entry in report.blind] == [4, None, 2, 3]
    assert len(report.findings) == REPORT_FINDINGS_MAX


def test_what_was_not_seen_of_effects_is_blind() -> None:
    report = report_of(samples.snapshot((), ()), effects=EFFECTS)
    assert report.effects == EFFECTS
    assert [(entry.what.split(":")[0], entry.count) for entry in report.blind] == [
        ("times that collector http may have missed effects", 4),
        ("effects seen by collector http that belong to no request, 1 of them because they came after their request had been judged", 3),
        ("requests judged before all their effects had come", 4),
    ]
    assert report_of(samples.snapshot((), ())).effects.watched == ()


def test_effects_beyond_the_bounds_are_counted() -> None:
    entry = Unattributed(collector="http", operation="GET a", counts={"stable": 1})
    table = TableDifference(collector="sqlite", table="orders")
    many = EffectsFacts(unattributed=(entry,) * (REPORT_EFFECT_ROWS_MAX + 7), tables=(table,) * (REPORT_EFFECT_ROWS_MAX + 8))
    report = report_of(samples.snapshot((), ()), effects=many)
    assert len(report.effects.unattributed) == len(report.effects.tables) == REPORT_EFFECT_ROWS_MAX
    assert [entry.count for entry in report.blind] == [7, 8]


@pytest.mark.parametrize("hostile", ["\ud800", "\u202etxt", "x" * 100_000, "a\nb\x00"])
def test_hostile_names_do_not_break_the_file(hostile: str) -> None:
    odd = msgspec.structs.replace(finding("odd", Severity.MAJOR, FindingClass.DIVERGENCE), endpoint=hostile, path=hostile)
    data = encode_report(report_of(samples.snapshot((odd,), (EndpointState(endpoint=hostile, compared=1, diverged=1),))))
    assert len(data) < 20_000
    assert "\u202e".encode() not in data


def test_policy_digest_follows_the_numbers() -> None:
    assert policy_digest(Policy()) == policy_digest(Policy())
    assert policy_digest(Policy()) != policy_digest(Policy(alpha=0.02))


def test_a_replay_has_no_verdict() -> None:
    report = samples.replay_report()
    assert report.verdict is None
    assert report.reasons == ()
    assert report.bound is None
