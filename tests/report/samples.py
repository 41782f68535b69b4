"""Runs made up for tests: one report each of pass, fail, inconclusive and replay, built by the code under test.

`python -m tests.report.samples` writes the checked-in examples, schema and golden files again.
"""

import gzip
import json

import msgspec

from harness.core.canon import Rule, RuleAction
from harness.core.labels import (
    NEXT_STEP,
    Aspect,
    Control,
    Design,
    EffectsSeen,
    ErrorKind,
    FindingClass,
    Kind,
    Occurrence,
    ReasonCode,
    Role,
    RunMode,
    Severity,
    VerdictState,
)
from harness.core.values import (
    Arm,
    Comparison,
    Difference,
    Effect,
    Exchange,
    Headers,
    Request,
    Response,
    Totals,
    TransportError,
    Trial,
    body_of,
)
from harness.evidence.policy import Policy
from harness.evidence.slice_words import sentence_of
from harness.evidence.slices import Slice
from harness.evidence.snapshot import Blocking, Bound, EndpointState, Evidence, Interval, Occurs, Reason, Snapshot, TargetLatency, Verdict
from harness.report.build import build_report, settings_used
from harness.report.exemplars import build_exemplar
from harness.report.model import Blind, CaptureFacts, Exemplar, Provenance, Report, RunFacts, TargetFacts
from tests.report.effect_samples import EFFECTS, charged_twice, doings

STABLE, CANDIDATE = "http://127.0.0.1:8101", "http://127.0.0.1:8103"
JSON_HEADERS: Headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


def evidence(
    name: str,
    endpoint: str,
    aspect: Aspect,
    path: str,
    kind: Kind,
    *,
    finding_class: FindingClass = FindingClass.DIVERGENCE,
    severity: Severity = Severity.MAJOR,
    compared: int = 60,
    diverged: int = 60,
    control: int = 0,
    log10_e: float = 12.4,
    more_requests: int | None = None,
    confirmed: int = 0,
    repeats: int = 0,
    confined: Slice | None = None,
    occurs: Occurs | None = None,
) -> Evidence:
    rate = (diverged - control) / compared
    return Evidence(
        id=name,
        endpoint=endpoint,
        aspect=aspect,
        path=path,
        kind=kind,
        finding_class=finding_class,
        severity=severity,
        compared=compared,
        diverged=diverged,
        control_diverged=control,
        log10_e=log10_e,
        log10_threshold=3.7,
        rate=rate,
        interval=Interval(max(0.0, rate - 0.06), min(1.0, rate + 0.04), 0.95),
        decided_at=41 if finding_class is FindingClass.DIVERGENCE else None,
        decided_pass=1 if finding_class is FindingClass.DIVERGENCE else None,
        exemplars=(f"t-{name}",),
        more_requests=more_requests,
        confirmed=confirmed,
        repeats=repeats,
        slice=confined,
        occurs=occurs,
    )


def response(status: int, document: object, headers: Headers = JSON_HEADERS) -> Response:
    return Response(status, headers, body_of(json.dumps(document, separators=(",", ":")).encode()), "OK")


def arm(role: Role, request: Request, answer: Response | None, latency_ms: float, error: TransportError | None = None) -> Arm:
    exchange = Exchange(request=request, response=answer, error=error, started_ns=1_000, ended_ns=1_000 + int(latency_ms * 1e6))
    return Arm(role=role, exchange=exchange)


def trial(
    name: str,
    endpoint: str,
    request: Request,
    stable: Response,
    candidate: Response | None,
    secondary: Response | None = None,
    error: TransportError | None = None,
) -> Trial:
    return Trial(
        id=f"t-{name}",
        seq=7,
        endpoint=endpoint,
        request=request,
        stable=arm(Role.STABLE, request, stable, 11.2),
        candidate=arm(Role.CANDIDATE, request, candidate, 12.9, error),
        secondary=arm(Role.SECONDARY, request, secondary or stable, 11.0),
    )


def order(total: object, request_id: str, *, extra: dict[str, object] | None = None) -> dict[str, object]:
    items = [
        {"sku": f"SKU-{number:03}", "quantity": 1 + number % 3, "price": {"amount": 1250 + number, "currency": "JPY"}}
        for number in range(9)
    ]
    return {
        "id": "ord_00418",
        "tenant": "acme-tokyo",
        "request_id": request_id,
        "items": items,
        "total": total,
        "placed_at": "2024-05-14T09:31:07Z",
        **(extra or {}),
    }


GET_ORDER = Request(
    "GET",
    "/orders/418?expand=items",
    (("Host", "shop.example"), ("Accept", "application/json"), ("Authorization", "[redacted]"), ("Accept-Encoding", "gzip")),
    host="shop.example",
)
POST_ORDER = Request(
    "POST",
    "/orders",
    (("Host", "shop.example"), ("Content-Type", "application/json")),
    body_of(b'{"items":[{"sku":"SKU-001","quantity":-1}]}'),
    "shop.example",
)

IN_YEN = Slice(
    attribute="json.currency",
    value="JPY",
    diverged=8,
    compared=8,
    elsewhere_diverged=0,
    elsewhere_compared=28,
    low=0.42,
    high=1.0,
    sentence=sentence_of("json.currency", "JPY", (8, 8, 0, 28)),
)
FINDINGS = (
    evidence(
        "f1c0ffee01", "GET /orders/{int}", Aspect.BODY, "$.total.amount", Kind.VALUE, severity=Severity.MAJOR, diverged=14, compared=14
    ),
    evidence("f1c0ffee02", "POST /orders", Aspect.STATUS, "$", Kind.CODE, severity=Severity.CRITICAL, compared=36, diverged=9, log10_e=5.1),
    evidence(
        "f1c0ffee03", "GET /orders", Aspect.BODY, "$.orders", Kind.ORDER, severity=Severity.MINOR, compared=48, diverged=31, control=1
    ),
    evidence("f1c0ffee04", "GET /quotes/{token}", Aspect.LATENCY, "$", Kind.SLOWER, severity=Severity.MAJOR, compared=240, diverged=201),
    evidence(
        "f1c0ffee05",
        "GET /orders/{int}",
        Aspect.BODY,
        "$.discount",
        Kind.MISSING,
        finding_class=FindingClass.UNDECIDED,
        compared=60,
        diverged=1,
        log10_e=0.4,
        more_requests=180,
        confirmed=2,
        repeats=3,
    ),
    evidence("f1c0ffee06", "GET /health", Aspect.TRANSPORT, "$", Kind.ERROR, severity=Severity.CRITICAL, compared=12, diverged=12),
    evidence(
        "f1c0ffee07",
        "POST /orders",
        Aspect.EFFECTS,
        "$['http POST payments.test/charge']",
        Kind.DUPLICATED,
        severity=Severity.CRITICAL,
        compared=36,
        diverged=11,
        log10_e=6.2,
    ),
    evidence(
        "f1c0ffee08",
        "POST /orders",
        Aspect.EFFECTS,
        "$['postgres INSERT public.orders'].new.total",
        Kind.VALUE,
        compared=36,
        diverged=8,
        confined=IN_YEN,
        occurs=Occurs(when=Occurrence.ONLY_UNDER_LOAD, parallel=9, parallel_shown=9, alone=3),
    ),
)
NOISE = tuple(
    evidence(
        f"n0{index}", "GET /orders/{int}", aspect, path, Kind.VALUE, finding_class=FindingClass.NOISE, diverged=2, control=58, log10_e=-0.3
    )
    for index, (aspect, path) in enumerate(((Aspect.BODY, "$.request_id"), (Aspect.BODY, "$.placed_at"), (Aspect.HEADERS, "x-request-id")))
)


def doing(shown: Trial, stable: tuple[Effect, ...], candidate: tuple[Effect, ...], secondary: tuple[Effect, ...] = ()) -> Trial:
    """The trial with what its targets did."""
    assert shown.candidate is not None
    assert shown.secondary is not None
    return msgspec.structs.replace(
        shown,
        stable=msgspec.structs.replace(shown.stable, effects=stable),
        candidate=msgspec.structs.replace(shown.candidate, effects=candidate),
        secondary=msgspec.structs.replace(shown.secondary, effects=secondary),
        effects_seen=EffectsSeen.COMPLETE,
    )


def exemplars() -> list[Exemplar]:
    """Redacted trials of the findings above, as the pipeline would hand them in."""
    created = doing(
        trial(
            "f1c0ffee02", "POST /orders", POST_ORDER, response(422, {"error": "quantity must be positive"}), response(201, order({}, "r"))
        ),
        (),
        doings("k-1"),
    )
    charged = doing(
        trial("f1c0ffee07", "POST /orders", POST_ORDER, response(201, {"id": "ord_00419"}), response(201, {"id": "ord_00419"})),
        doings("2c2b3c92-71d2-4a38-9d0e-5a1f3c8e7b10"),
        charged_twice("b7e0a3d4-90aa-4c1b-8f52-0e6d9a7c3f21", "f19d6c58-4b1e-4f7a-a3c0-8d2e5b9f6074"),
        doings("5d8f1e07-c41f-4e6b-b2a9-7c3d0f4e8a65", note="answered from stable's call, though its content differs"),
    )
    stored = doing(
        trial("f1c0ffee08", "POST /orders", POST_ORDER, response(201, {"id": "ord_00420"}), response(201, {"id": "ord_00420"})),
        doings("k-0001"),
        doings("k-0001", total=125_000, note="from the tape"),
        doings("k-0001", note="from the tape"),
    )
    total = trial(
        "f1c0ffee01",
        "GET /orders/{int}",
        GET_ORDER,
        response(200, order({"amount": "11286", "currency": "JPY"}, "8d1f")),
        response(200, order({"amount": "11286.00", "currency": "JPY"}, "77ab")),
        response(200, order({"amount": "11286", "currency": "JPY"}, "c04e")),
    )
    squeezed = gzip.compress(json.dumps({"orders": [{"id": number} for number in (3, 1, 2)]}).encode(), mtime=0)
    listing = trial(
        "f1c0ffee03",
        "GET /orders",
        Request("GET", "/orders?sort=total", (), host="shop.example"),
        response(200, {"orders": [{"id": number} for number in (1, 2, 3)]}),
        Response(200, (*JSON_HEADERS, ("Content-Encoding", "gzip")), body_of(squeezed)),
    )
    discount = trial(
        "f1c0ffee05",
        "GET /orders/{int}",
        GET_ORDER,
        response(200, order(1, "1", extra={"discount": {"code": "SPRING"}})),
        response(200, order(1, "2")),
    )
    dead = trial(
        "f1c0ffee06",
        "GET /health",
        Request("GET", "/health", (), host="shop.example"),
        Response(200, (("Content-Type", "text/plain"),), body_of(b"ok\n")),
        None,
        error=TransportError(ErrorKind.RESET, "after 0 bytes"),
    )
    places = {
        "f1c0ffee01": (total, Difference(Aspect.BODY, "$.total.amount", Kind.VALUE, "11286", "11286.00", "$.total.amount"), ()),
        "f1c0ffee02": (created, Difference(Aspect.STATUS, "$", Kind.CODE, 422, 201), ()),
        "f1c0ffee03": (listing, Difference(Aspect.BODY, "$.orders", Kind.ORDER, "1, 2, 3", "3, 1, 2"), ()),
        "f1c0ffee05": (discount, Difference(Aspect.BODY, "$.discount", Kind.MISSING, "object", None, "$.discount"), (POST_ORDER,)),
        "f1c0ffee06": (dead, Difference(Aspect.TRANSPORT, "$", Kind.ERROR, None, "reset"), ()),
        "f1c0ffee07": (charged, Difference(Aspect.EFFECTS, "$['http POST payments.test/charge']", Kind.DUPLICATED, 1, 2), ()),
        "f1c0ffee08": (
            stored,
            Difference(Aspect.EFFECTS, "$['postgres INSERT public.orders'].new.total", Kind.VALUE, 1250, 125_000),
            (),
        ),
    }
    by_id = {finding.id: finding for finding in FINDINGS}
    made = []
    for name, (shown, difference, earlier) in places.items():
        comparison = Comparison(trial=shown.id, seq=shown.seq, stable_candidate=(difference,))
        made.append(build_exemplar(by_id[name], shown, comparison, stable=STABLE, candidate=CANDIDATE, earlier=earlier))
    return made


def endpoint(name: str, compared: int, diverged: int, p50: float, slow: float = 1.0, bound: float | None = None) -> EndpointState:
    def quantiles(factor: float) -> TargetLatency:
        return TargetLatency(round(p50 * factor, 2), round(p50 * 1.6 * factor, 2), round(p50 * 3.1 * factor, 2))

    return EndpointState(
        endpoint=name,
        compared=compared,
        diverged=diverged,
        bound=bound,
        latency={"stable": quantiles(1.0), "secondary": quantiles(0.98), "candidate": quantiles(slow)},
        ratio=slow,
        interval=Interval(slow - 0.03, slow + 0.04, 0.95),
        latency_gates=compared >= 100,
        statuses={"stable": {"2xx": compared - 2, "4xx": 2}, "secondary": {"2xx": compared - 2, "4xx": 2}, "candidate": {"2xx": compared}},
    )


def run_facts(name: str, mode: RunMode = RunMode.GATE) -> RunFacts:
    return RunFacts(
        id=f"20240514-093107-{name}",
        started="2024-05-14T09:31:07Z",
        seconds=41.2,
        mode=mode,
        targets={
            Role.STABLE: TargetFacts(address=STABLE, command="orders --port {port}"),
            Role.SECONDARY: TargetFacts(address="http://127.0.0.1:8102", command="orders --port {port}"),
            Role.CANDIDATE: TargetFacts(address=CANDIDATE, command="orders-next --port {port}"),
        },
        build="orders-next 2.4.0-rc1",
        seed=7,
        version="0.1.0",
        provenance=Provenance(
            command_line="shadowdiff gate morning.har --stable 'cmd:orders --port {port}'",
            captures=(CaptureFacts(file="morning.har", format="har", entries=412, digest="ab" * 32),),
            comparators={"json": "1"},
            formats={"har": "1"},
            python="3.11.7",
            platform="Linux x86_64",
        ),
    )


def reason(code: ReasonCode, message: str, finding: str | None = None) -> Reason:
    return Reason(code=code, message=message, finding=finding, next_step=NEXT_STEP[code])


def snapshot(findings: tuple[Evidence, ...], endpoints: tuple[EndpointState, ...], noise: tuple[Evidence, ...] = ()) -> Snapshot:
    return Snapshot(
        seq=410,
        control=Control.SECONDARY,
        design=Design.THREE_ARM,
        passes=2,
        gate_log10=9.0 if findings else 0.1,
        gate_log10_threshold=2.0,
        findings=findings,
        noise=noise,
        endpoints=endpoints,
        compared_in_passes={0: 205, 1: 205},
    )


RULES = (
    Rule(action=RuleAction.IGNORE, path="$.placed_at", endpoint="GET /orders*", why="clock"),
    Rule(action=RuleAction.UNORDERED, path="$.tags", key=None),
)
SETTINGS = settings_used(
    {
        "gate.passes": ("auto", "default"),
        "admin.token": ("hunter2", "SHADOWDIFF_ADMIN_TOKEN"),
        "targets.stable.url": ("http://me:pw@127.0.0.1:8101", "shadowdiff.yaml:4"),
    }
)
ENDPOINTS = (
    endpoint("GET /orders/{int}", 120, 62, 11.0, bound=None),
    endpoint("POST /orders", 36, 9, 24.0, 1.01),
    endpoint("GET /orders", 48, 31, 42.0, 0.97),
    endpoint("GET /quotes/{token}", 240, 0, 8.2, 1.34, bound=0.0124),
    endpoint("GET /health", 12, 12, 0.7),
)


def fail_report() -> Report:
    verdict = Verdict(
        state=VerdictState.FAIL,
        reasons=(
            reason(ReasonCode.DIVERGENCE, "POST /orders answers with another status code in 9 of 36 requests", "f1c0ffee02"),
            reason(ReasonCode.DIVERGENCE, "POST /orders does POST payments.test/charge more often in 11 of 36 requests", "f1c0ffee07"),
            reason(ReasonCode.DIVERGENCE, "GET /orders/{int} has another $.total.amount in 14 of 14 requests", "f1c0ffee01"),
            reason(ReasonCode.LATENCY, "GET /quotes/{token} is 34 % slower at the median", "f1c0ffee04"),
            reason(ReasonCode.WRITES_SKIPPED, "12 writes were not sent to secondary and candidate"),
        ),
        blocking=(Blocking("GET /orders/{int} body $.discount missing", 180),),
    )
    return build_report(
        run=run_facts("fail"),
        policy=Policy(),
        snapshot=snapshot(FINDINGS, ENDPOINTS, NOISE),
        verdict=verdict,
        totals=Totals(
            requests=480,
            compared=456,
            diverged=114,
            skipped={"write": 12, "other_host": 8},
            shed={"in_flight": 4},
            errors={"candidate": 12},
        ),
        rules=RULES,
        rules_used=(0,),
        exemplars=exemplars(),
        blind=(Blind(what="trials that were not kept on disk", count=3),),
        settings=SETTINGS,
        effects=EFFECTS,
    )


def pass_report() -> Report:
    verdict = Verdict(
        state=VerdictState.PASS,
        reasons=(reason(ReasonCode.CLAIM_REACHED, "All 412 requests of the capture were compared in 2 passes without a divergence"),),
        bound=Bound(
            requests=412,
            rate=0.0073,
            level=0.95,
            sentence="412 requests without a difference: with 95 % confidence fewer than 0.7 % of such requests differ.",
        ),
    )
    return build_report(
        run=run_facts("pass"),
        policy=Policy(),
        snapshot=snapshot(
            (), (endpoint("GET /orders/{int}", 300, 0, 11.0, bound=0.0099), endpoint("GET /health", 112, 0, 0.7, bound=0.0264)), NOISE
        ),
        verdict=verdict,
        totals=Totals(requests=412, compared=412, diverged=300),
        settings=SETTINGS,
    )


def inconclusive_report() -> Report:
    verdict = Verdict(
        state=VerdictState.INCONCLUSIVE,
        reasons=(
            reason(ReasonCode.VACUOUS_AUTH, "Stable answers 96 % of the requests with 401 or 403"),
            reason(ReasonCode.TRAFFIC_NOT_REPRODUCED, "Stable's status differs from the recorded one in 91 % of the requests"),
        ),
        blocking=(Blocking("status of the run", None),),
    )
    state = snapshot((), (EndpointState(endpoint="GET /orders/{int}", compared=48, diverged=0, statuses={"stable": {"4xx": 48}}),))
    return build_report(
        run=run_facts("inconclusive"),
        policy=Policy(),
        snapshot=Snapshot(
            **{name: getattr(state, name) for name in state.__struct_fields__ if name not in ("vacuous", "vacuous_trials")},
            vacuous={"GET /orders/{int}": "vacuous_auth"},
            vacuous_trials=48,
        ),
        verdict=verdict,
        totals=Totals(requests=52, compared=48, diverged=0, skipped={"write": 4}),
    )


def replay_report() -> Report:
    return build_report(
        run=run_facts("replay", RunMode.REPLAY),
        policy=Policy(),
        snapshot=snapshot((), (endpoint("GET /health", 12, 0, 0.7),)),
        verdict=None,
        totals=Totals(requests=12, compared=12),
    )


REPORTS = {"pass": pass_report, "fail": fail_report, "inconclusive": inconclusive_report}
