"""Virtualised calls: waiting for stable, changed and missing calls, which trial a call belongs to."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from harness.core import limits, limits_collectors
from harness.core.labels import Role
from harness.core.values import Effect
from harness.effects.egress import desk, tapefile, trial_tapes
from harness.effects.egress.options import Options
from tests.effects.egress import rig
from tests.effects.egress.rig import HOST, Bench, bench, run, service, upstream

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")  # mitmproxy's own use of it
BASE = f"http://{HOST}"
OTHERS = (Role.SECONDARY, Role.CANDIDATE)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to come in time comes in time on slow machines too."""
    monkeypatch.setattr(limits_collectors, "EGRESS_HOLD_SECONDS_MAX", 50.0)
    monkeypatch.setattr(limits_collectors, "EGRESS_UNTIED_HOLD_SECONDS_MAX", 50.0)


async def notes(at: Bench) -> list[tuple[Role, str, str]]:
    return [(each.role, each.effect.operation, each.effect.note) for each in await at.drained()]


def test_a_call_waits_until_stable_made_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            async with at.client(Role.STABLE) as stable, at.client(Role.CANDIDATE) as candidate:
                early = asyncio.create_task(candidate.call("POST", f"{BASE}/charges", trial, data=b"one"))
                await rig.until(lambda: not at.collector._trials.open[trial.trace].quiet, "the candidate's call came")  # type: ignore[union-attr]
                assert not early.done()
                assert await at.drained() == []
                first = await stable.call("POST", f"{BASE}/charges", trial, data=b"one")
                assert (await early).body == first.body
            assert await at.settle(trial)
            assert outside.connections == 1

    run(main)


def test_a_changed_call_gets_stables_next_answer_once_stable_is_done(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            async with at.client(Role.STABLE) as stable, at.client(Role.CANDIDATE) as candidate:
                first = await stable.call("POST", f"{BASE}/charges", trial, json={"amount": 5})
                changed = asyncio.create_task(candidate.call("POST", f"{BASE}/charges", trial, json={"amount": 6}))
                await rig.until(lambda: not at.collector._trials.open[trial.trace].quiet, "the candidate's call came")  # type: ignore[union-attr]
                at.collector.answered(trial, Role.STABLE)
                assert (await changed).body == first.body
            assert [note for _, _, note in await notes(at)] == ["", "answered from stable's call, though its content differs"]
            assert len(outside.requests) == 1

    run(main)


def test_a_call_that_stable_does_not_make_fails_when_stable_is_done(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            at.collector.answered(trial, Role.STABLE)
            async with at.client(Role.CANDIDATE) as candidate:
                answer = await candidate.call("DELETE", f"{BASE}/charges/1", trial)
            assert answer.status == 599
            assert json.loads(answer.body)["url"] == f"{BASE}/charges/1"
            assert await notes(at) == [(Role.CANDIDATE, f"DELETE {HOST}/charges/{{int}}", "no match: failed")]
            assert outside.connections == 0

    run(main)


@pytest.mark.parametrize(
    ("rule", "status", "body", "note", "connections"),
    [
        ({"unmatched": "stub", "stub_status": 202, "stub_body": "ok", "stub_headers": {"x-a": "b"}}, 202, b"ok", "no match: stub", 0),
        ({"unmatched": "pass"}, 200, None, "no match: passed on", 1),
        ({"unmatched": "fail"}, 599, None, "no match: failed", 0),
    ],
)
def test_a_host_has_its_own_rule_for_calls_without_a_match(
    tmp_path: Path, rule: dict[str, object], status: int, body: bytes | None, note: str, connections: int
) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", unmatched="stub", hosts=upstream(outside, **rule)) as at:
            trial = at.begin()
            at.collector.answered(trial, Role.STABLE)
            async with at.client(Role.CANDIDATE) as candidate:
                answer = await candidate.call("GET", f"{BASE}/rates", trial)
            assert answer.status == status
            assert body is None or (answer.body == body and answer.headers["x-a"] == "b")
            assert [text for _, _, text in await notes(at)] == [note]
            assert outside.connections == connections

    run(main)


def test_a_failure_outside_is_given_to_the_others_as_stable_got_it(tmp_path: Path) -> None:
    async def main() -> None:
        hosts = {HOST: {"upstream": f"127.0.0.1:{unused_port()}"}}
        async with bench(tmp_path, mode="virtualise", hosts=hosts) as at:
            trial = at.begin()
            async with at.client(Role.STABLE) as stable, at.client(Role.CANDIDATE) as candidate:
                first = await stable.call("GET", f"{BASE}/rates", trial)
                second = await candidate.call("GET", f"{BASE}/rates", trial)
            assert first.status == second.status == 502
            assert first.body == second.body
            assert {name.lower(): value for name, value in first.headers.items()} == {
                name.lower(): value for name, value in second.headers.items()
            }
            await rig.until(at.lapses, "the failure is told")
            said = [(lapse.what, lapse.count, lapse.role, lapse.blind) for lapse in at.collector.lapses()]
            assert said == [(f"{HOST} could not be reached: its calls were answered with 502", 1, Role.STABLE, False)]

    run(main)


def test_who_could_not_be_reached_is_told_by_host_and_target_and_how_often(tmp_path: Path) -> None:
    async def main() -> None:
        hosts = {name: {"upstream": f"127.0.0.1:{unused_port()}"} for name in (HOST, "mail.test")}
        async with bench(tmp_path, hosts=hosts) as at:
            trial = at.begin()
            async with at.client(Role.STABLE) as stable, at.client(Role.CANDIDATE) as candidate:
                for _ in range(2):
                    assert (await stable.call("GET", f"{BASE}/rates", trial)).status == 502
                assert (await candidate.call("GET", "https://mail.test/box", trial)).status == 502
            await rig.until(lambda: sum(at.lapses().values()) == 3, "all failures are told")
            said = {(lapse.what, lapse.role): lapse.count for lapse in at.collector.lapses()}
            assert said == {
                (f"{HOST} could not be reached: its calls were answered with 502", Role.STABLE): 2,
                ("mail.test could not be reached: its calls were answered with 502", Role.CANDIDATE): 1,
            }

    run(main)


def test_who_cannot_be_trusted_is_told_too_and_other_failures_are_not_taken_for_it(tmp_path: Path) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def main() -> None:
        foreign, _ = rig.authority(tmp_path)
        async with service(tls=rig.server_tls(foreign, HOST)) as outside, service(cut) as cutting:
            hosts = {**upstream(outside), "cut.test": {"upstream": f"127.0.0.1:{cutting.port}"}}
            async with bench(tmp_path, hosts=hosts) as at:
                trial = at.begin()
                async with at.client(Role.STABLE) as stable:
                    assert (await stable.call("GET", f"https://{HOST}/rates", trial)).status == 502
                    assert (await stable.call("GET", "http://cut.test/rates", trial)).status == 502
                assert await at.settle(trial)
                assert at.lapses() == {f"{HOST} could not be spoken to over TLS: its calls were answered with 502": 1}

    run(main)


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_each_call_of_stable_answers_each_target_once(tmp_path: Path) -> None:
    count = 0

    async def number(request: web.Request) -> web.StreamResponse:
        nonlocal count
        count += 1
        return web.Response(text=str(count))

    async def main() -> None:
        async with service(number) as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            async with at.client(Role.STABLE) as stable:
                for _ in range(2):
                    await stable.call("GET", f"{BASE}/next", trial)
            at.collector.answered(trial, Role.STABLE)
            for role in OTHERS:
                async with at.client(role) as build:
                    got = [await build.call("GET", f"{BASE}/next", trial) for _ in range(3)]
                assert [each.body for each in got[:2]] == [b"1", b"2"]
                assert got[2].status == 599

    run(main)


def test_with_several_open_trials_a_call_belongs_to_the_one_it_names_or_the_one_whose_tape_has_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            first, second = at.begin(1), at.begin(2)
            async with at.client(Role.STABLE) as stable, at.client(Role.CANDIDATE) as candidate:
                await stable.call("POST", f"{BASE}/a", first, data=b"1")
                await stable.call("POST", f"{BASE}/b", second, data=b"2")
                by_content = await candidate.call("POST", f"{BASE}/b", data=b"2")
                named = await candidate.call("POST", f"{BASE}/a", first, data=b"1")
            assert b"/b" in by_content.body
            assert b"/a" in named.body
            mine = [each.trace for each in await at.drained() if each.role is Role.CANDIDATE]
            assert mine == [second.trace, first.trace]
            assert len(outside.requests) == 2

    run(main)


def test_what_stable_does_outside_of_trials_answers_the_others_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            async with at.client(Role.STABLE) as stable, at.client(Role.CANDIDATE) as candidate:
                early = asyncio.create_task(candidate.call("GET", f"{BASE}/keys"))
                first = await stable.call("GET", f"{BASE}/keys")
                assert (await early).body == first.body
            assert {each.trace for each in await at.drained()} == {""}
            assert len(outside.requests) == 1

    run(main)


def test_a_late_call_is_known_for_one_of_its_ended_trial(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, hosts=upstream(outside)) as at:
            trial = at.begin(1)
            at.collector.end(trial)
            at.begin(2)
            async with at.client(Role.CANDIDATE) as candidate:
                await candidate.call("GET", f"{BASE}/late", trial)
            assert [each.trace for each in await at.drained()] == [trial.trace]

    run(main)


def test_a_trace_of_the_builds_own_means_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, hosts=upstream(outside)) as at:
            trial = at.begin(1)
            async with at.client(Role.CANDIDATE) as candidate:
                await candidate.call("GET", f"{BASE}/own", headers={"traceparent": f"00-{'9' * 32}-{'8' * 16}-01"})
            assert [each.trace for each in await at.drained()] == [trial.trace]

    run(main)


def test_a_trial_that_does_not_settle_hands_out_what_still_waits(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            async with at.client(Role.CANDIDATE) as candidate:
                waiting = asyncio.create_task(candidate.call("GET", f"{BASE}/rates", trial))
                await rig.until(lambda: not at.collector._trials.open[trial.trace].quiet, "the candidate's call came")  # type: ignore[union-attr]
                await rig.until(lambda: at.collector._desk.entries, "its effect is kept")  # type: ignore[union-attr]
                assert not await at.settle(trial, 0.01)
                assert [note for _, _, note in await notes(at)] == ["waiting for stable's call"]
                at.collector.end(trial)
                assert (await waiting).status == 599
            assert await at.drained() == []

    run(main)


def test_a_recorded_tape_answers_everybody_without_the_outside(tmp_path: Path) -> None:
    tape = tmp_path / "calls.tape"

    async def record() -> bytes:
        async with service() as outside, bench(tmp_path, mode="record", tape=str(tape), hosts=upstream(outside)) as at:
            trial = at.begin(1, "orders")
            for role in rig.ROLES:
                async with at.client(role) as build:
                    answer = await build.call("POST", f"{BASE}/charges", trial, json={"amount": 5})
            assert len(outside.requests) == 3
            return answer.body

    async def replay(body: bytes) -> None:
        async with bench(tmp_path, mode="tape", tape=str(tape)) as at:
            for number, request in ((1, "orders"), (2, "orders"), (3, "others")):
                trial = at.begin(number, request)
                for role in rig.ROLES:
                    async with at.client(role) as build:
                        assert (await build.call("POST", f"{BASE}/charges", trial, json={"amount": 5})).body == body
                assert {note for _, _, note in await notes(at)} == {"answered from the tape"}
                at.collector.end(trial)
            for _ in range(2):
                await at.collector.prepare(Role.STABLE)
                async with at.client(Role.STABLE) as build:
                    assert (await build.call("POST", f"{BASE}/charges", json={"amount": 5})).status == 200
                    assert (await build.call("POST", f"{BASE}/charges", json={"amount": 5})).status == 599

    body = run(record)

    async def main() -> None:
        await replay(body)

    run(main)


def test_a_fault_meets_all_targets_alike_before_anything_else(tmp_path: Path) -> None:
    async def main() -> None:
        faults = [{"host": "payments.*", "error": 503, "delay_ms": 5, "share": 0.5}]
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside), faults=faults) as at:
            trial = at.begin()
            statuses: dict[Role, list[int]] = {}
            for role in rig.ROLES:
                async with at.client(role) as build:
                    calls = [await build.call("GET", f"{BASE}/charges/{number}", trial) for number in range(40)]
                statuses[role] = [call.status for call in calls]
            assert statuses[Role.STABLE] == statuses[Role.SECONDARY] == statuses[Role.CANDIDATE]
            assert {200, 503} == set(statuses[Role.STABLE])
            assert len(outside.requests) == statuses[Role.STABLE].count(200)
            seen = await notes(at)
            assert len(seen) == 120
            assert sum(note == "fault: 503" for _, _, note in seen) == 3 * statuses[Role.STABLE].count(503)

    run(main)


def test_a_fault_may_only_delay(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, hosts=upstream(outside), faults=[{"delay_ms": 50}]) as at:
            async with at.client(Role.STABLE) as build:
                begun = asyncio.get_running_loop().time()
                assert (await build.call("GET", f"{BASE}/")).status == 200
                assert asyncio.get_running_loop().time() - begun >= 0.05
            assert [note for _, _, note in await notes(at)] == [""]

    run(main)


def test_a_collector_that_is_closed_leaves_nobody_waiting(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            async with at.client(Role.CANDIDATE) as candidate:
                calls = [asyncio.create_task(candidate.call("GET", f"{BASE}/{number}", trial)) for number in range(3)]
                await rig.until(lambda: len(at.collector._desk.entries) == 3, "the calls came")  # type: ignore[union-attr]
                await at.collector.close()
                ended = await asyncio.gather(*calls, return_exceptions=True)
                assert all(isinstance(each, Exception) or each.status == 599 for each in ended)  # type: ignore[union-attr]
            assert len(asyncio.all_tasks()) == 1
            assert outside.connections == 0

    run(main)


def test_what_builds_do_while_they_start_is_not_reported(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, hosts=upstream(outside)) as at, at.client(Role.STABLE) as build:
            await build.call("GET", f"{BASE}/start")
            await at.collector.attach()
            await build.call("GET", f"{BASE}/work")
            assert [operation for _, operation, _ in await notes(at)] == [f"GET {HOST}/work"]

    run(main)


def test_what_a_tape_cannot_keep_is_counted(tmp_path: Path) -> None:
    async def picture(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(range(256)), headers={"content-encoding": "zz"})

    async def main() -> None:
        options: dict[str, Any] = {"mode": "record", "tape": str(tmp_path / "calls.tape")}
        async with service(picture) as outside, bench(tmp_path, hosts=upstream(outside), **options) as at, at.client(Role.STABLE) as build:
            assert len((await build.call("GET", f"{BASE}/picture")).body) == 256
            await rig.until(at.lapses, "a lapse")
            assert at.lapses() == {"an answer was taped without its body, which cannot be redacted: on replay it is a 502": 1}
            assert not at.collector.lapses()[0].blind

    run(main)


def test_lapses_and_effects_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_collectors, "EGRESS_LAPSES_MAX", 2)
    monkeypatch.setattr(limits, "EFFECTS_UNDRAINED_MAX", 1)
    at = desk.CallDesk(Options(), trial_tapes.TrialTapes(), clock=rig.SystemClock(), seed=1, write=lambda _: None)
    for number in range(5):
        at.lapse(f"trouble {number}")
    assert {lapse.what: lapse.count for lapse in at.lapses()} == {"trouble 0": 1, "trouble 1": 1, "further troubles of outbound calls": 3}
    for _ in range(2):
        at._keep(desk.Entry(Role.STABLE, Effect(collector="http", operation="GET a/"), ""))
    assert len(at.entries) == 1
    assert sum(lapse.count for lapse in at.lapses()) == 6


def test_a_fault_of_the_harness_lets_no_call_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()
            made = at.collector._desk
            assert made is not None

            def broken(*_: object, **__: object) -> Effect:
                raise RuntimeError

            monkeypatch.setattr(made.describer, "effect", broken)
            async with at.client(Role.CANDIDATE) as candidate:
                for _ in range(5):
                    with pytest.raises(aiohttp.ClientError):
                        await candidate.call("POST", f"{BASE}/charges", trial, data=b"one")
            assert await at.settle(trial)
            assert outside.connections == 0
            assert at.lapses()["a fault of the egress proxy: RuntimeError in request"] == 5

    run(main)


def test_a_recorded_call_belongs_to_the_trial_that_made_it(tmp_path: Path) -> None:
    counted = iter(range(100))

    async def handler(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(text=str(next(counted)))

    async def main() -> None:
        path = tmp_path / "a.tape"
        async with (
            service(handler) as outside,
            bench(tmp_path, mode="record", tape=str(path), hosts=upstream(outside)) as at,
            at.client(Role.STABLE) as stable,
        ):
            # The second trial of the request does less than the others.
            for number, calls in enumerate((("/first", "/second"), ("/first",), ("/first", "/second")), 1):
                trial = at.begin(number)
                for place in calls:
                    await stable.call("GET", f"{BASE}{place}", trial)
                at.collector.end(trial)
        taped = [(call.trial, call.call.url.rpartition("/")[2], call.answer.body) for call in tapefile.read_tape(path).calls]
        assert taped == [("0", "first", b"0"), ("0", "second", b"1"), ("1", "first", b"2"), ("2", "first", b"3"), ("2", "second", b"4")]

    run(main)
