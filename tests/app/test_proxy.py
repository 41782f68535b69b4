"""The live run as a whole: what it serves, what it leaves behind, and how it ends when a part of it fails."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harness.app import proxy as module
from harness.app import results
from harness.app.captures import load
from harness.app.proxy import LiveRun, run_proxy
from harness.app.signals import Stop
from harness.app.stored import judge_again, judge_run
from harness.core.canon import Rule, RuleAction
from harness.core.errors import SetupError, ShadowdiffError, UsageError
from harness.core.labels import ReasonCode, Role, RunMode, VerdictState
from harness.report.model import Report
from harness.settings.load import Loaded
from harness.settings.schema import AuditSettings, EndpointSettings, ProxySettings, TargetSettings, TargetsSettings
from tests.app.support import Heard, builds, evidence_threads, record_in, report_in, settings, shop

NOBODY = "http://127.0.0.1:9"


def live(out: Path, urls: dict[Role, str], *, sections: dict[str, Any] | None = None, **options: Any) -> Loaded:
    chosen = {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0", **options}
    return settings(out, urls, proxy=ProxySettings(**chosen), **(sections or {}))


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(100):
            await body()

    asyncio.run(bounded())
    assert evidence_threads() == []


@asynccontextmanager
async def traffic() -> AsyncIterator[Callable[[str], Awaitable[tuple[int, bytes]]]]:
    """Something that asks a URL."""
    async with aiohttp.ClientSession() as client:

        async def ask(url: str) -> tuple[int, bytes]:
            async with client.get(url, allow_redirects=False) as answer:
                return answer.status, await answer.read()

        yield ask


@asynccontextmanager
async def served(run: LiveRun) -> AsyncIterator[Callable[[], Awaitable[Report]]]:
    """A live run that serves; what is yielded stops it and gives its report."""
    stop = Stop()
    serving = asyncio.create_task(run.serve(stop))
    started = asyncio.create_task(run.serving())
    await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if serving.done():
        serving.result()  # why it does not serve

    async def end() -> Report:
        stop.request()
        return await serving

    try:
        yield end
    finally:
        stop.request()
        await asyncio.gather(serving, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_traffic_is_served_mirrored_recorded_judged_and_can_be_judged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_SECONDS", 0.02)
    out, record, ui = tmp_path / "run", tmp_path / "live.gor", Heard()
    unused = {"rules": (Rule(action=RuleAction.IGNORE, path="$.no_such_place"),)}

    async def body() -> None:
        async with builds(shop(price=11)) as urls, traffic() as ask:
            run = LiveRun(live(out, urls, record=str(record), sections=unused), ui)
            async with served(run) as end:
                for number in range(40):
                    status, answer = await ask(f"http://{run.address}/items/{number}")
                    assert (status, b'"price": 10' in answer) == (200, True), "the client has stable's answer"
                await until(lambda: run.state().requests == 40 and run.state().verdict is not None)
                admin = next(said for said in ui.infos if said.startswith("admin on ")).split()[2].rstrip(":")
                assert run.state().ready
                assert b'"run":"run"' in (await ask(f"{admin}/api/v1/verdict"))[1]
                counted = b'shadowdiff_requests_total{code_class="2xx",endpoint="GET /items/{int}",target="candidate"} 40.0'
                while counted not in (await ask(f"{admin}/metrics"))[1]:
                    await asyncio.sleep(0.02)
                while b'shadowdiff_breakers{state="closed",target="candidate"} 1.0' not in (await ask(f"{admin}/metrics"))[1]:
                    await asyncio.sleep(0.02)
                assert b'"breakers":{"secondary":{"closed":1,"open":0,' in (await ask(f"{admin}/api/v1/mirror"))[1]
                await until(lambda: run.state().verdict is not None and run.state().verdict.state is VerdictState.FAIL)  # type: ignore[union-attr]  # not None, just asked
                report = await end()
            assert not run.state().ready
            with pytest.raises(SetupError):
                assert run.address
            assert report == report_in(out)

    run(body)
    report = report_in(out)
    assert (report.verdict, report.run.mode, report.totals.compared) == (VerdictState.FAIL, RunMode.PROXY, 40)
    assert {f.path for f in report.findings} == {"$.price"}
    assert report.blind == ()
    assert [step[0] for step in ui.steps][:1] == ["requests compared"]
    recorded = load([record], skip_broken=False)
    assert [entry.request.target for entry in recorded.entries] == [f"/items/{number}" for number in range(40)]
    again, _ = judge_again(out)
    assert again.reasons == report.reasons
    assert ReasonCode.UNUSED_RULES in [reason.code for reason in again.reasons]
    assert again.findings == report.findings


@pytest.mark.parametrize(
    ("sections", "options", "what"),
    [
        ({"targets": TargetsSettings(stable=TargetSettings(command="serve {port}"))}, {}, "does not start builds"),
        ({"policy": "no-such-policy"}, {}, "no policy is called"),
        ({"endpoints": EndpointSettings(openapi="there/is/none.yaml")}, {}, "cannot be read"),
        ({}, {"admin": "0.0.0.0:0", "admin_token_env": "SHADOWDIFF_NO_SUCH_TOKEN"}, "needs a token"),
        (
            {
                "targets": TargetsSettings(
                    stable=TargetSettings(url=NOBODY),
                    secondary=TargetSettings(url=NOBODY),
                    candidate=TargetSettings(url=NOBODY, host="rewrite"),
                )
            },
            {},
            "both get the same request",
        ),
    ],
)
def test_what_is_wrong_with_options_leaves_nothing_behind(
    sections: dict[str, Any], options: dict[str, Any], what: str, tmp_path: Path
) -> None:
    out, record = tmp_path / "run", tmp_path / "live.gor"

    async def body() -> None:
        loaded = live(out, {Role.STABLE: NOBODY}, record=str(record), **options)
        with pytest.raises(ShadowdiffError, match=what):
            LiveRun(Loaded(type(loaded.settings)(**{**fields_of(loaded), **sections}), {}), Heard())

    run(body)
    assert list(tmp_path.iterdir()) == []


def fields_of(loaded: Loaded) -> dict[str, Any]:
    return {name: getattr(loaded.settings, name) for name in loaded.settings.__struct_fields__}


def test_a_recording_is_never_written_over_and_a_run_directory_neither(tmp_path: Path) -> None:
    record = tmp_path / "live.gor"

    async def body() -> None:
        record.write_bytes(b"mine")
        with pytest.raises(SetupError, match="there already"):
            LiveRun(live(tmp_path / "run", {Role.STABLE: NOBODY}, record=str(record)), Heard())
        assert record.read_bytes() == b"mine"
        assert not (tmp_path / "run").exists()
        record.unlink()
        (tmp_path / "run").mkdir()
        with pytest.raises(SetupError, match="there already"):
            LiveRun(live(tmp_path / "run", {Role.STABLE: NOBODY}, record=str(record)), Heard())
        assert not record.exists()
        with pytest.raises(SetupError, match="there already"):
            LiveRun(live(tmp_path / "run", {Role.STABLE: NOBODY}), Heard())

    run(body)


@pytest.mark.parametrize("option", ["listen", "admin"])
def test_a_port_that_is_taken_ends_the_run_with_everything_closed(option: str, tmp_path: Path) -> None:
    out = tmp_path / "run"

    async def body() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            options: dict[str, Any] = {option: f"127.0.0.1:{taken.getsockname()[1]}", "record": str(tmp_path / "live.gor")}
            run = LiveRun(live(out, {Role.STABLE: NOBODY}, **options), Heard())
            with pytest.raises(SetupError, match=r"cannot (listen|be opened)"):
                await run.serve(Stop())
        with pytest.raises(SetupError):
            assert run.address
        assert not run.state().ready

    run(body)
    assert not out.exists(), "a run that never began leaves nothing behind"


def test_clients_are_served_on_when_comparison_has_failed_and_the_run_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(module, "SNAPSHOT_SECONDS", 0.02)
    out, ui = tmp_path / "run", Heard()

    async def body() -> None:
        async with builds(shop()) as urls, traffic() as ask:
            run = LiveRun(live(out, urls, gate=True, record=str(tmp_path / "live.gor")), ui)
            async with served(run) as end:
                await ask(f"http://{run.address}/items/0")
                await until(lambda: run.state().requests == 1 and run.state().verdict is not None)
                monkeypatch.setattr(results, "decode_bets", broken)
                await ask(f"http://{run.address}/items/1")
                await until(lambda: bool(ui.warnings))
                verdict = run.state().verdict
                assert verdict is not None
                assert (verdict.state, verdict.reasons[0].code) == (VerdictState.INCONCLUSIVE, ReasonCode.UNCOMPARABLE)
                assert b'shadowdiff_verdict{state="inconclusive"} 1.0' in run.metrics()
                for number in range(20):
                    assert (await ask(f"http://{run.address}/items/{number}"))[0] == 200
                with pytest.raises(RuntimeError, match="a defect"):
                    await end()
            with pytest.raises(SetupError):
                assert run.address

    run(body)
    assert ui.warnings == ["Comparison has failed (RuntimeError); clients are served on, and nothing is judged any more."]
    assert not record_in(out).finished
    assert not (out / "report.json").exists()
    assert len(load([tmp_path / "live.gor"], skip_broken=False).entries) == 22, "recording went on"


def test_comparison_that_fails_before_anything_was_judged_is_said_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(module, "SNAPSHOT_SECONDS", 0.3)
    monkeypatch.setattr(results, "decode_bets", broken)
    ui = Heard()

    async def body() -> None:
        async with builds(shop()) as urls, traffic() as ask:
            run = LiveRun(live(tmp_path / "run", urls), ui)
            async with served(run) as end:
                await ask(f"http://{run.address}/items/0")
                await until(lambda: bool(ui.warnings))
                assert run.metrics()
                with pytest.raises(RuntimeError, match="a defect"):
                    await end()

    run(body)


@pytest.mark.parametrize(("gate", "code"), [(True, 3), (False, 0)])
def test_when_its_time_is_up_the_verdict_decides_only_where_it_is_asked_for(gate: bool, code: int, tmp_path: Path) -> None:
    out, ui = tmp_path / "run", Heard()

    async def body() -> None:
        loaded = live(out, {Role.STABLE: NOBODY}, gate=gate, duration_s=0.05, admin="")
        assert await run_proxy(loaded, ui) == code

    run(body)
    report = report_in(out)
    assert report.reasons[0].code is ReasonCode.NO_CANDIDATE
    assert any("nothing is under test" in warning for warning in ui.warnings)
    assert not any(said.startswith("admin") for said in ui.infos)
    assert record_in(out).finished
    assert judge_run(out, None, Heard()) == 3


@pytest.mark.parametrize(
    ("gate", "required", "code"), [(False, False, 0), (False, True, 4), (True, True, 3)], ids=["not required", "required", "with the gate"]
)
def test_a_verdict_that_has_to_be_in_the_audit_file_and_is_not_ends_no_run_cleanly(
    gate: bool, required: bool, code: int, tmp_path: Path
) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    ui = Heard()

    async def body() -> None:
        sections = {"audit": AuditSettings(required=required)}
        loaded = live(tmp_path / "run", {Role.STABLE: NOBODY}, gate=gate, duration_s=0.05, admin="", sections=sections)
        assert await run_proxy(loaded, ui) == code

    run(body)
    assert any("not in the audit file" in said for said in ui.warnings)


@pytest.mark.parametrize(("gate", "code"), [(True, 1), (False, 0)])
def test_a_signal_is_how_a_proxy_is_stopped(gate: bool, code: int, tmp_path: Path) -> None:
    out, ui = tmp_path / "run", Heard()

    async def body() -> None:
        async with builds(shop(price=11)) as urls, traffic() as ask:
            ending = asyncio.create_task(run_proxy(live(out, urls, gate=gate), ui))
            await until(lambda: any(said.startswith("serving on ") for said in ui.infos))
            address = next(said for said in ui.infos if said.startswith("serving on ")).split()[2]
            for number in range(30):
                assert (await ask(f"{address}/items/{number}"))[0] == 200
            os.kill(os.getpid(), signal.SIGTERM)
            assert await ending == code

    run(body)
    assert report_in(out).verdict is VerdictState.FAIL
    assert report_in(out).totals.compared == 30


def test_exchanges_that_could_not_be_recorded_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        async with builds(shop()) as urls, traffic() as ask:
            run = LiveRun(live(tmp_path / "run", urls, record=str(tmp_path / "live.gor")), Heard())
            async with served(run) as end:
                assert run._recorder is not None
                monkeypatch.setattr(run._recorder, "_encoded", broken)
                await ask(f"http://{run.address}/items/0")
                report = await end()
        assert [(blind.what, blind.count) for blind in report.blind] == [("live exchanges that could not be recorded", 1)]

    def broken(*_: object) -> bytes:
        raise ValueError("an exchange like no other")

    run(body)


def test_the_address_is_a_usage_matter(tmp_path: Path) -> None:
    async def body() -> None:
        urls = {Role.STABLE: NOBODY, Role.CANDIDATE: "http://127.0.0.1:9/?x=1"}
        with pytest.raises(UsageError):
            LiveRun(live(tmp_path / "run", urls), Heard())

    run(body)
    assert not (tmp_path / "run").exists()
