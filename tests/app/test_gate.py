"""Gate and replay from capture file to exit code, against builds that really answer."""

import asyncio
import resource
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from harness import pipeline
from harness.app.gate import is_open, replay_and_judge, run_gate
from harness.app.signals import Stop
from harness.app.stored import judge_run
from harness.core.canon import Rule, RuleAction
from harness.core.errors import CaptureError, SetupError, ShadowdiffError, UsageError
from harness.core.labels import Aspect, Control, Design, FindingClass, Kind, ReasonCode, Role, RunMode, Severity, VerdictState
from harness.core.values import Response, body_of
from harness.evidence.policy import Policy
from harness.evidence.snapshot import EndpointState, Evidence, Interval, Snapshot
from harness.proxy import upstream
from harness.report.model import Report
from harness.settings.load import Loaded
from harness.settings.schema import EndpointSettings, ReplaySettings, Settings, StoreSettings, TargetSettings, TargetsSettings
from tests.app.support import Heard, builds, capture, evidence_threads, get, items, record_in, report_in, serving, settings, shop

SERVICE = f"{sys.executable} -P -m scenarios.demo.service --port {{port}} --build stable"


def gate(loaded: Loaded, *captures: Path, ui: Heard | None = None, verdict: bool = True) -> Callable[[], Awaitable[int]]:
    """A gate run that may not take for ever."""

    async def body() -> int:
        async with asyncio.timeout(100):
            return await run_gate(loaded, captures, ui or Heard(), verdict=verdict)

    return body


def ran(loaded: Loaded, *captures: Path, ui: Heard | None = None, verdict: bool = True) -> int:
    return asyncio.run(gate(loaded, *captures, ui=ui, verdict=verdict)())  # type: ignore[arg-type]  # an awaitable of its own


async def against(candidate: Any, out: Path, *captures: Path, ui: Heard, stable: Any = None, verdict: bool = True, **sections: Any) -> int:
    async with builds(candidate, stable=stable) as urls:
        return await gate(settings(out, urls, **sections), *captures, ui=ui, verdict=verdict)()


def codes(report: Report) -> list[ReasonCode]:
    return [reason.code for reason in report.reasons]


def test_a_build_against_itself_passes_and_leaves_a_whole_run_behind(tmp_path: Path) -> None:
    ui, out = Heard(), tmp_path / "run"
    file = capture(tmp_path / "shop.gor", items(30))
    assert asyncio.run(against(shop(), out, file, ui=ui)) == 0
    report, record = report_in(out), record_in(out)
    assert report.verdict is VerdictState.PASS
    assert report.bound is not None
    assert report.bound.requests == 30
    assert (report.passes, report.totals.requests, report.totals.compared, report.totals.diverged) == (2, 60, 60, 0)
    assert report.run.seed == 1
    assert [(c.entries, len(c.digest)) for c in report.run.provenance.captures] == [(30, 64)]
    assert {path.name for path in out.iterdir()} == {
        "run.json",
        "bets.msgpack",
        "trials.msgpack.zst",
        "report.json",
        "report.html",
        "junit.xml",
        "summary.md",
    }
    assert (record.finished, record.bets, record.bets_lost) == (True, 60, 0)
    assert ui.folder == out
    assert ("pass 2", 30, 30) in ui.steps
    assert "PASS" in ui.text
    assert str(out / "report.html") in ui.text
    assert ui.warnings == []
    assert evidence_threads() == []


def test_a_candidate_that_differs_fails_with_an_example_and_the_way_to_it(tmp_path: Path) -> None:
    ui, out = Heard(), tmp_path / "run"
    who = (("Cookie", "sessionid=0123456789abcdef0123"),)
    visit = [get("/orders", who, method="POST", body=b"{}"), get("/basket", who), get("/orders", who, method="POST"), get("/till", who)]

    async def candidate(request: web.Request) -> web.StreamResponse:
        return await shop(price=11 if request.path == "/till" else 10)(request)

    file = capture(tmp_path / "shop.gor", [*visit, get("/news", who), *items(20)])
    assert asyncio.run(against(candidate, out, file, ui=ui)) == 1
    report = report_in(out)
    assert [(f.endpoint, f.path, f.finding_class) for f in report.findings] == [("GET /till", "$.price", FindingClass.DIVERGENCE)]
    command = report.findings[0].exemplars[0].command
    assert "/basket" in command, "what the session had sent before"
    assert "/orders" not in command, "writes were not sent"
    assert "/news" not in command, "what came after"
    assert "0123456789abcdef0123" not in command
    assert "10" in report.findings[0].exemplars[0].explanation
    assert codes(report)[-1] is ReasonCode.WRITES_SKIPPED


def test_a_replay_reports_without_a_verdict(tmp_path: Path) -> None:
    ui, out = Heard(), tmp_path / "run"
    file = capture(tmp_path / "shop.gor", items(5))
    assert asyncio.run(against(shop(price=11), out, file, ui=ui, verdict=False)) == 0
    report = report_in(out)
    assert report.verdict is None
    assert report.run.mode is RunMode.REPLAY
    assert report.totals.diverged == report.totals.compared > 0


def test_trace_and_cut_requests_are_no_part_of_what_is_to_be_compared(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()

    async def stable(request: web.Request) -> web.StreamResponse:
        seen[request.method] += 1
        return await shop()(request)

    ui, out = Heard(), tmp_path / "run"
    requests = [*items(30), get("/items/1", method="TRACE"), get("/items", method="POST", body=b"{}")]
    file = capture(tmp_path / "shop.gor", requests)
    replay = ReplaySettings(state="stateless", seed=1, allow_writes=True)
    assert asyncio.run(against(shop(), out, file, ui=ui, stable=stable, replay=replay)) == 0, ui.text
    report = report_in(out)
    assert "TRACE" not in seen
    assert seen["POST"] == 2 * report.passes
    assert report.totals.skipped == {"write": report.passes}


def test_a_request_whose_body_was_cut_is_missing_from_every_pass(tmp_path: Path) -> None:
    ui, out = Heard(), tmp_path / "run"
    file = capture(tmp_path / "shop.gor", items(60))
    with file.open("ab") as more:
        more.write(b"1 " + b"f" * 32 + b" 1700000100000000000 0\n")
        more.write("POST /items HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 10\r\n\r\nabc\n🐵🙈🙉\n".encode())
    assert asyncio.run(against(shop(), out, file, ui=ui)) == 3
    report = report_in(out)
    assert report.totals.skipped == {"truncated_request": report.passes}
    assert report.totals.requests == 61 * report.passes
    assert codes(report)[0] is ReasonCode.LOW_COMPLETION


def unsendable(path: Path) -> Path:
    """A capture whose third entry is HTTP to read, and no request to send."""
    return capture(path, [*items(2), get("*"), *(get(f"/late/{number}") for number in range(40))])


def test_an_entry_that_cannot_be_sent_is_found_before_anything_is(tmp_path: Path) -> None:
    out = tmp_path / "run"
    dead = dict.fromkeys(Role, "http://127.0.0.1:9")
    with pytest.raises(CaptureError) as caught:
        ran(settings(out, dead), unsendable(tmp_path / "shop.gor"))
    assert caught.value.exit_code == 4
    assert caught.value.where == f"{tmp_path / 'shop.gor'}, entry 2"
    assert "request target '*' cannot be sent" in caught.value.what
    assert "--skip-broken" in caught.value.fix
    assert not out.exists()


def test_with_skip_broken_an_entry_that_cannot_be_sent_is_counted(tmp_path: Path) -> None:
    ui, out = Heard(), tmp_path / "run"
    replay = ReplaySettings(state="stateless", seed=1, skip_broken=True)
    assert asyncio.run(against(shop(), out, unsendable(tmp_path / "shop.gor"), ui=ui, replay=replay)) == 0, ui.text
    report = report_in(out)
    assert report.totals.skipped == {"broken_entry": 1}
    assert report.totals.compared == 42 * report.passes
    assert ReasonCode.BROKEN_ENTRIES in codes(report)
    assert any("broken entry 2 of" in blind.what for blind in report.blind)


@pytest.mark.parametrize(
    "sections",
    [
        {"policy": "no-such-policy"},
        {"rules": (Rule(action=RuleAction.TOLERANCE, path="$.["),)},
        {"endpoints": EndpointSettings(openapi="there/is/none.yaml")},
        {"targets": TargetsSettings(stable=TargetSettings(url="ftp://x"), candidate=TargetSettings(url="http://127.0.0.1:9"))},
    ],
)
def test_what_is_wrong_with_options_leaves_nothing_behind(sections: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    fields: dict[str, Any] = {
        "targets": TargetsSettings(
            stable=TargetSettings(url="http://127.0.0.1:9"), candidate=TargetSettings(url="http://127.0.0.1:9", ready_timeout_s=0.1)
        ),
        "store": StoreSettings(run_dir=str(out)),
    }
    with pytest.raises(ShadowdiffError) as caught:
        ran(Loaded(Settings(**{**fields, **sections}), {}), capture(tmp_path / "shop.gor", items(1)))
    assert caught.value.exit_code in {2, 4}
    assert not out.exists()


def test_a_run_that_never_began_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "run"
    target = TargetSettings(command=f"{sys.executable} -c \"print('no database'); raise SystemExit(7)\" {{port}}")
    chosen = Settings(targets=TargetsSettings(stable=target, candidate=target), store=StoreSettings(run_dir=str(out)))
    with pytest.raises(SetupError, match="no database"):
        ran(Loaded(chosen, {}), capture(tmp_path / "shop.gor", items(1)))
    assert not out.exists()


def test_a_run_directory_that_is_there_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "mine").write_text("x", encoding="utf-8")
    with pytest.raises(SetupError, match="there already"):
        ran(settings(out, dict.fromkeys(Role, "http://127.0.0.1:9")), capture(tmp_path / "shop.gor", items(1)))
    assert [path.name for path in out.iterdir()] == ["mine"]


def test_a_defect_in_the_harness_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where more trials come than the queue holds: nobody waits for a thread that is dead."""

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(pipeline, "compare_trial", broken)
    monkeypatch.setattr(pipeline, "COMPARE_QUEUE_BYTES_MAX", 100)
    out = tmp_path / "run"
    with pytest.raises(RuntimeError, match="a defect"):
        asyncio.run(against(shop(), out, capture(tmp_path / "shop.gor", items(60)), ui=Heard()))
    assert not record_in(out).finished
    assert not (out / "report.json").exists()
    assert evidence_threads() == []


def test_a_full_disk_loses_storage_and_not_the_verdict(tmp_path: Path) -> None:
    ui, out = Heard(), tmp_path / "run"
    file = capture(tmp_path / "shop.gor", items(40))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
    try:
        assert asyncio.run(against(shop(), out, file, ui=ui)) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be judged again in full" in ui.text
    assert any("report.html could not be written" in warning for warning in ui.warnings)
    assert not (out / "report.html").exists()
    with pytest.raises(SetupError):
        judge_run(out, None, Heard())


def interrupting(after: int, stop: Stop) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    count = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal count
        count += 1
        if count == after:
            stop.request(signal.SIGINT)
        return await shop()(request)

    return answer


def interrupted(out: Path, file: Path, *, after: int) -> tuple[Report, int]:
    async def body() -> tuple[Report, int]:
        stop = Stop()
        if not after:
            stop.request(signal.SIGINT)
        async with asyncio.timeout(100), builds(interrupting(after, stop)) as urls:
            return await replay_and_judge(settings(out, urls), [file], Heard(), stop, mode=RunMode.GATE)

    return asyncio.run(body())


def test_an_interrupted_gate_reports_what_was_done(tmp_path: Path) -> None:
    out = tmp_path / "run"
    report, code = interrupted(out, capture(tmp_path / "shop.gor", items(400)), after=100)
    assert code == 130
    assert report.verdict is VerdictState.INCONCLUSIVE
    assert ReasonCode.INTERRUPTED in codes(report)
    totals = report.totals
    assert 0 < totals.compared < 400
    assert totals.requests == 400 == totals.compared + totals.skipped["interrupted"]  # type: ignore[index]  # it is a count by reason
    assert record_in(out).finished, "a report of what was done is a whole run"
    ui = Heard()
    assert judge_run(out, None, ui) == 3
    assert "INCONCLUSIVE" in ui.text


def test_a_gate_that_is_interrupted_at_once_has_no_data(tmp_path: Path) -> None:
    report, code = interrupted(tmp_path / "run", capture(tmp_path / "shop.gor", items(5)), after=0)
    assert code == 130
    assert report.verdict is VerdictState.INCONCLUSIVE
    assert ReasonCode.NO_DATA in codes(report)
    assert report.totals.compared == 0
    assert report.totals.skipped == {"interrupted": 5}


def test_without_a_secondary_stable_is_asked_twice_and_other_hosts_are_left_out(tmp_path: Path) -> None:
    ui, out = Heard(), tmp_path / "run"
    other = get("/pixel")
    requests = [*items(25), type(other)("GET", "/pixel", (("Host", "ads.test"),), body_of(b""), "ads.test")]

    async def body() -> int:
        async with serving(shop()) as stable, serving(shop()) as candidate:
            loaded = settings(out, {Role.STABLE: stable, Role.CANDIDATE: candidate})
            return await gate(loaded, capture(tmp_path / "shop.gor", requests), ui=ui)()

    assert asyncio.run(body()) == 0, ui.text
    report = report_in(out)
    assert report.control is Control.SELF
    assert set(report.run.targets) == {Role.STABLE, Role.CANDIDATE}
    assert report.totals.skipped == {"other_host": 1}
    assert any("ads.test" in blind.what for blind in report.blind)


def test_passes_that_were_asked_for_are_sent_and_state_that_stays_is_said(tmp_path: Path) -> None:
    ui, out = Heard(), tmp_path / "run"
    replay = ReplaySettings(passes=3, speed=1000.0, seed=1)
    file = capture(tmp_path / "shop.gor", items(30), Response(200))
    assert asyncio.run(against(shop(), out, file, ui=ui, replay=replay)) == 0, ui.text
    report = report_in(out)
    assert report.passes == 3
    assert ReasonCode.NOT_FRESH in codes(report)


def test_builds_that_the_harness_starts_are_started_anew_for_each_pass(tmp_path: Path) -> None:
    ui, out = Heard(), tmp_path / "run"
    target = TargetSettings(command=SERVICE, ready="/health")
    requests = [get(f"/shipping?region=eu-west&weight={number}", (("X-Tenant", "harbor"),)) for number in range(1, 26)]
    chosen = Settings(
        targets=TargetsSettings(stable=target, candidate=target), store=StoreSettings(run_dir=str(out)), replay=ReplaySettings(seed=3)
    )
    code = ran(Loaded(chosen, {}), capture(tmp_path / "shop.gor", requests), ui=ui)
    report = report_in(out)
    assert code in {0, 3}, "the time of a quote is noise, and may stay undecided"
    assert report.control is Control.SECONDARY
    assert report.passes >= 2
    assert all(target.command == SERVICE for target in report.run.targets.values())
    assert {f.path for f in report.findings} <= {"$.quoted_at"}
    assert ReasonCode.NOT_FRESH not in codes(report)


def test_a_file_that_is_no_capture_is_named(tmp_path: Path) -> None:
    file = tmp_path / "noise.har"
    file.write_bytes(b"[]")
    with pytest.raises(CaptureError, match=r"noise\.har"):
        ran(settings(tmp_path / "run", dict.fromkeys(Role, "http://127.0.0.1:9")), file)
    assert not (tmp_path / "run").exists()


def test_usage_errors_are_usage_errors(tmp_path: Path) -> None:
    loaded = settings(tmp_path / "run", dict.fromkeys(Role, "http://127.0.0.1:9"), policy="no-such-policy")
    with pytest.raises(UsageError, match="no policy is called"):
        ran(loaded, capture(tmp_path / "shop.gor", items(1)))


@pytest.mark.parametrize(
    ("questions", "ratio", "gates", "proven", "expected"),
    [
        (0, None, False, False, False),
        (1, None, False, False, True),
        (0, 1.04, True, False, False),
        (0, 1.2, False, False, False),
        (0, 1.2, True, False, True),
        (0, 1.2, True, True, False),
    ],
)
def test_another_pass_is_sent_for_a_difference_and_for_an_endpoint_that_looks_slower(
    questions: int, ratio: float | None, gates: bool, proven: bool, expected: bool
) -> None:
    state = EndpointState(endpoint="GET /slow", compared=200, diverged=0, ratio=ratio, latency_gates=gates)
    slower = Evidence(
        id="f",
        endpoint="GET /slow",
        aspect=Aspect.LATENCY,
        path="p50",
        kind=Kind.SLOWER,
        finding_class=FindingClass.DIVERGENCE,
        severity=Severity.MAJOR,
        compared=200,
        diverged=150,
        control_diverged=0,
        log10_e=5.0,
        log10_threshold=4.5,
        rate=0.2,
        interval=Interval(0.1, 0.3, 0.95),
    )
    snapshot = Snapshot(
        seq=400,
        control=Control.SECONDARY,
        design=Design.THREE_ARM,
        passes=2,
        gate_log10=0.0,
        gate_log10_threshold=2.0,
        findings=(slower,) if proven else (),
        endpoints=(state,),
        open_questions=questions,
    )
    assert is_open(snapshot, Policy()) is expected


def test_a_build_that_does_not_start_again_ends_the_run_with_a_report_of_the_earlier_passes(tmp_path: Path) -> None:
    ui, out, once = Heard(), tmp_path / "run", tmp_path / "once"
    code = (
        "import os, pathlib, sys; here = pathlib.Path(sys.argv[1]); n = len(list(here.iterdir())); (here / str(n)).touch();"
        "n >= 2 and sys.exit('the licence has run out');"
        "os.execv(sys.executable, [sys.executable, '-P', '-m', 'scenarios.demo.service', '--port', sys.argv[2], '--build', 'stable'])"
    )
    once.mkdir()
    candidate = TargetSettings(command=f'{sys.executable} -c "{code}" {once} {{port}}', ready="/health")
    stable = TargetSettings(command=SERVICE, ready="/health")
    chosen = Settings(
        targets=TargetsSettings(stable=stable, candidate=candidate),
        store=StoreSettings(run_dir=str(out)),
        replay=ReplaySettings(seed=3, passes=4),
    )
    assert ran(Loaded(chosen, {}), capture(tmp_path / "shop.gor", items(40)), ui=ui) == 3
    report = report_in(out)
    assert (report.verdict, report.totals.compared) == (VerdictState.INCONCLUSIVE, 80)
    (said,) = [reason.message for reason in report.reasons if reason.code is ReasonCode.INTERRUPTED]
    assert "pass 3 could not begin: target candidate exited with code 1 before it was ready" in said
    assert "licence" not in said, "a build's output is for the terminal"
    assert any("the licence has run out" in said for said in ui.warnings)
    assert record_in(out).finished


def _events(every_s: float, *, names: str = "abc", end: bool = False) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A build that sends events for ever, or only these."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        number = 0
        while not end or number < len(names):
            await response.write(f"event: {names[number % len(names)]}\ndata: {number}\n\n".encode())
            number += 1
            await asyncio.sleep(every_s)
        return response

    return answer


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [(_events(0.004), 0), (_events(0.004, names="abx"), 1), (_events(0.004, end=True), 1)],
    ids=["alike", "another event", "an end"],
)
def test_trap_7_streams_without_end_are_compared_as_far_as_they_were_heard(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, candidate: Any, expected: int
) -> None:
    monkeypatch.setattr(upstream, "STREAM_SECONDS_MAX", 0.25)
    file = capture(tmp_path / "events.gor", [get(f"/events/{number}") for number in range(8)])
    ui = Heard()
    assert asyncio.run(against(candidate, tmp_path / "run", file, ui=ui, stable=_events(0.005))) == expected, ui.text
    report = report_in(tmp_path / "run")
    assert report.totals.compared == report.totals.requests
    assert not [finding for finding in report.findings if finding.aspect is Aspect.TRANSPORT]
