import msgspec
import pytest

from harness.core.labels import Aspect, FindingClass, Kind, Severity
from harness.core.limits import ROOTS_PER_ENDPOINT_MAX
from harness.evidence.findings import finding_id, severity_of
from harness.evidence.roots import Shown, with_roots
from harness.evidence.snapshot import Evidence, Interval

SAME = Shown(frozenset(range(10)))


def finding(
    path: str,
    aspect: Aspect = Aspect.BODY,
    kind: Kind = Kind.VALUE,
    *,
    endpoint: str = "POST /orders",
    root: str | None = None,
    log10_e: float = 3.0,
    finding_class: FindingClass = FindingClass.DIVERGENCE,
) -> Evidence:
    return Evidence(
        id=finding_id(endpoint, aspect, path, kind),
        endpoint=endpoint,
        aspect=aspect,
        path=path,
        kind=kind,
        finding_class=finding_class,
        severity=severity_of(aspect, kind, path),
        compared=20,
        diverged=10,
        control_diverged=0,
        log10_e=log10_e,
        log10_threshold=2.0,
        rate=0.5,
        interval=Interval(0.1, 0.9, 0.95),
        root=root,
    )


def roots(findings: list[Evidence], shown: dict[str, Shown] | None = None) -> dict[str, str | None]:
    grouped = with_roots(findings, {one.id: SAME for one in findings} if shown is None else shown)
    assert [one.id for one in grouped] == [one.id for one in findings]
    return {one.path: one.root for one in grouped}


def test_findings_that_the_same_requests_show_are_grouped_below_the_gravest_and_coarsest() -> None:
    status = finding("$", Aspect.STATUS, Kind.CODE)
    deep, order = finding("$.a.b"), finding("$.list", kind=Kind.ORDER, log10_e=9.0)
    missing = finding("$.total", kind=Kind.MISSING)
    assert status.severity is Severity.CRITICAL
    found = roots([deep, order, missing, status])
    assert found == {"$": None, "$.a.b": status.id, "$.list": status.id, "$.total": status.id}
    assert roots([deep, order, missing]) == {"$.total": None, "$.a.b": missing.id, "$.list": missing.id}


def test_nearly_the_same_requests_are_the_same_and_others_are_not() -> None:
    one, other = finding("$.a"), finding("$.b")
    ten = Shown(frozenset(range(10)))
    for size, grouped in ((9, True), (8, False)):
        found = roots([one, other], {one.id: ten, other.id: Shown(frozenset(range(size)))})
        assert (found["$.b"] == one.id or found["$.a"] == other.id) is grouped
    assert roots([one, other], {one.id: ten, other.id: Shown(frozenset(range(5, 15)))}) == {"$.a": None, "$.b": None}


@pytest.mark.parametrize("shown", [Shown(frozenset({1, 2})), Shown(frozenset())])
def test_two_requests_may_be_the_same_by_chance(shown: Shown) -> None:
    one, other = finding("$.a"), finding("$.b")
    assert roots([one, other], {one.id: shown, other.id: shown}) == {"$.a": None, "$.b": None}


def test_what_is_remembered_of_many_requests_is_compared_with_its_like_only() -> None:
    one, other = finding("$.a"), finding("$.b")
    assert roots([one, other], {one.id: SAME, other.id: Shown(SAME.requests, more=True)}) == {"$.a": None, "$.b": None}


def test_other_endpoints_and_noise_are_not_grouped() -> None:
    one, other = finding("$.a"), finding("$.b", endpoint="GET /orders")
    noise = finding("$.c", finding_class=FindingClass.NOISE)
    assert roots([one, other, noise]) == {"$.a": None, "$.b": None, "$.c": None}


def test_an_undecided_finding_heads_no_divergence() -> None:
    status = finding("$", Aspect.STATUS, Kind.CODE, finding_class=FindingClass.UNDECIDED)
    body = finding("$.a")
    assert roots([status, body]) == {"$": body.id, "$.a": None}


def test_a_failed_creation_and_its_followers_have_one_root() -> None:
    """The creation's body hangs on its status; the session's later 404s follow from the body, so from the status too."""
    status = finding("$", Aspect.STATUS, Kind.CODE)
    body = finding("$.id", root=status.id)
    followers = [finding("$", Aspect.STATUS, Kind.CODE, endpoint=f"GET /orders/{n}", root=body.id) for n in range(3)]
    grouped = with_roots([status, body, *followers], {})
    assert [one.root for one in grouped] == [None, status.id, status.id, status.id, status.id]


def test_a_root_that_is_not_listed_stays_named() -> None:
    assert roots([finding("$.a", root="elsewhere")]) == {"$.a": "elsewhere"}


def test_findings_that_follow_from_each_other_are_left_as_they_are() -> None:
    one = finding("$.a")
    other = finding("$.b", root=one.id)
    one = msgspec.structs.replace(one, root=other.id)
    assert roots([one, other]) == {"$.a": other.id, "$.b": one.id}


def test_the_groups_of_an_endpoint_are_bounded() -> None:
    findings = [finding(f"$.p{n:03}") for n in range(ROOTS_PER_ENDPOINT_MAX + 4)]
    shown = {one.id: Shown(frozenset(range(10 * n, 10 * n + 5))) for n, one in enumerate(findings)}
    shown[findings[-1].id] = shown[findings[-2].id] = Shown(frozenset({-1, -2, -3, -4, -5}))
    assert set(roots(findings, shown).values()) <= {None, findings[-1].id, findings[-2].id}
