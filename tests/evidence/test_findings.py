import pytest

from harness.core.labels import Aspect, FindingClass, Kind, Severity
from harness.evidence.findings import finding_id, gravest_first, severity_of
from harness.evidence.snapshot import Evidence, Interval


def test_an_id_is_the_same_from_run_to_run() -> None:
    assert finding_id("GET /a", Aspect.BODY, "$.x", Kind.NULL) == "ec554f008e72"
    assert finding_id("GET /a", Aspect.BODY, "$.x", Kind.VALUE) != "ec554f008e72"
    assert len(finding_id("GET /\ud800", Aspect.BODY, "$", Kind.TYPE)) == 12


@pytest.mark.parametrize(
    ("aspect", "kind", "severity"),
    [
        (Aspect.STATUS, Kind.CODE, Severity.CRITICAL),
        (Aspect.TRANSPORT, Kind.ERROR, Severity.CRITICAL),
        (Aspect.EFFECTS, Kind.MISSING, Severity.CRITICAL),
        (Aspect.BODY, Kind.MISSING, Severity.MAJOR),
        (Aspect.BODY, Kind.VALUE, Severity.MAJOR),
        (Aspect.BODY, Kind.ORDER, Severity.MINOR),
        (Aspect.HEADERS, Kind.VALUE, Severity.MINOR),
        (Aspect.HEADERS, Kind.EXTRA, Severity.MINOR),
        (Aspect.HEADERS, Kind.MISSING, Severity.MAJOR),
        (Aspect.LATENCY, Kind.SLOWER, Severity.MAJOR),
    ],
)
def test_how_grave_it_is(aspect: Aspect, kind: Kind, severity: Severity) -> None:
    assert severity_of(aspect, kind) is severity


@pytest.mark.parametrize(
    ("path", "kind", "severity"),
    [
        ("$['http POST pay.test/charge']", Kind.DUPLICATED, Severity.CRITICAL),
        ("$['http POST pay.test/charge']", Kind.FEWER, Severity.CRITICAL),
        ("$['http POST pay.test/charge'].body.amount", Kind.VALUE, Severity.CRITICAL),
        ("$['http POST pay.test/charge'].body.items", Kind.ORDER, Severity.CRITICAL),
        ("$['postgres INSERT public.orders']", Kind.EXTRA, Severity.CRITICAL),
        ("$['http GET rates.test/today']", Kind.EXTRA, Severity.MAJOR),
        ("$['otlp SELECT orders'].query", Kind.VALUE, Severity.MAJOR),
        ("$", Kind.ORDER, Severity.MAJOR),
        ("$", Kind.UNCOMPARABLE, Severity.CRITICAL),
    ],
)
def test_how_grave_an_effect_is(path: str, kind: Kind, severity: Severity) -> None:
    assert severity_of(Aspect.EFFECTS, kind, path) is severity


def test_every_pair_has_a_severity() -> None:
    assert all(severity_of(aspect, kind) in Severity for aspect in Aspect for kind in Kind)


def evidence(name: str, found: FindingClass, severity: Severity, log10_e: float) -> Evidence:
    return Evidence(
        id=name,
        endpoint="GET /",
        aspect=Aspect.BODY,
        path="$",
        kind=Kind.VALUE,
        finding_class=found,
        severity=severity,
        compared=1,
        diverged=1,
        control_diverged=0,
        log10_e=log10_e,
        log10_threshold=4.0,
        rate=1.0,
        interval=Interval(0.0, 1.0, 0.95),
    )


def test_divergence_comes_first_then_the_grave_then_the_certain() -> None:
    listed = [
        evidence("d", FindingClass.NOISE, Severity.CRITICAL, 9.0),
        evidence("c", FindingClass.UNDECIDED, Severity.CRITICAL, 1.0),
        evidence("b", FindingClass.DIVERGENCE, Severity.MINOR, 5.0),
        evidence("a2", FindingClass.DIVERGENCE, Severity.MAJOR, 5.0),
        evidence("a1", FindingClass.DIVERGENCE, Severity.MAJOR, 6.0),
    ]
    assert [e.id for e in sorted(listed, key=gravest_first)] == ["a1", "a2", "b", "c", "d"]
