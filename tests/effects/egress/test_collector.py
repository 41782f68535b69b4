"""The collector of outbound calls, from a build's call to the effect: real services, real clients, all modes."""

import asyncio
import subprocess
import sys
from pathlib import Path
from random import Random

import msgspec
import pytest
from aiohttp import web
from mitmproxy import ctx

from harness.core.errors import SetupError, UsageError
from harness.core.labels import Role
from harness.core.redact import Redactor
from harness.effects.api import OpenTrial, Workplace
from harness.effects.egress.collector import EgressCollector
from tests.effects.egress.rig import HOST, LOOPS, ROLES, SystemClock, bench, document, echo, run, service, until, upstream

URL = f"http://{HOST}/charges/42?currency=eur&a=1&a=2"


def test_observed_calls_go_outside_and_are_recorded(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, hosts=upstream(outside)) as at:
            trial = at.begin()
            for role in ROLES:
                async with at.client(role) as build:
                    answer = await build.call("POST", URL, trial, json={"amount": 5})
                    assert answer.status == 200
            assert await at.settle(trial)
            seen = await at.drained()
            assert [each.role for each in seen] == list(ROLES)
            assert {each.trace for each in seen} == {trial.trace}
            (operation,) = {each.effect.operation for each in seen}
            assert operation == f"POST {HOST}/charges/{{int}}"
            (text,) = {each.effect.document for each in seen}
            assert text
            assert document(seen[0].effect) == {
                "url": {"path": "/charges/42", "query": {"currency": "eur", "a": ["1", "2"]}},
                "headers": {"content-type": "application/json"},
                "body": {"amount": 5},
            }
            assert all(each.effect.writes and each.effect.collector == "http" and not each.effect.note for each in seen)
            assert len(outside.requests) == 3
            assert await at.drained() == []
            assert at.lapses() == {}

    run(main)


@pytest.mark.parametrize("loop", LOOPS)
def test_virtualised_calls_of_others_never_reach_outside(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, mode="virtualise", hosts=upstream(outside)) as at:
            trial = at.begin()

            async def arm(role: Role) -> bytes:
                async with at.client(role) as build:
                    answer = await build.call("POST", URL, trial, json={"amount": 5})
                at.collector.answered(trial, role)
                return answer.body

            answers = await asyncio.gather(*(arm(role) for role in reversed(ROLES)))
            assert len(set(answers)) == 1
            assert await at.settle(trial)
            assert outside.connections == 1
            assert outside.requests == [("POST", "/charges/42?currency=eur&a=1&a=2")]
            notes = {each.role: each.effect.note for each in await at.drained()}
            assert notes == {
                Role.STABLE: "",
                Role.SECONDARY: "answered from stable's call",
                Role.CANDIDATE: "answered from stable's call",
            }

    run(main, loop)


def test_another_mitmproxy_in_the_process_keeps_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = object()
    monkeypatch.setattr(ctx, "options", others, raising=False)

    async def main() -> None:
        async with service() as outside, bench(tmp_path, hosts=upstream(outside), verify_upstream=False) as at:
            async with at.client(Role.STABLE) as build:
                assert (await build.call("GET", URL)).status == 200
            assert ctx.options is others

    run(main)


def test_what_builds_are_given(tmp_path: Path) -> None:
    async def main() -> None:
        async with bench(tmp_path, mode="virtualise") as at:
            assert at.collector.favours_stable
            assert at.collector.mode == "virtualise"
            names, env = at.collector.names(Role.CANDIDATE), at.collector.env(Role.CANDIDATE)
            assert {env[name] for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")} == {names["egress"]}
            assert len({at.url(role) for role in ROLES}) == 3
            own = Path(names["ca"]).read_text()
            assert env["NODE_EXTRA_CA_CERTS"] == names["ca"]
            for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
                bundle = Path(env[name]).read_text()
                assert own.strip() in bundle
                assert bundle.count("BEGIN CERTIFICATE") > 1
            assert env["NO_PROXY"] == env["no_proxy"] == "", "an exception of the harness's own environment would be a real call"

    run(main)


def test_options_are_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"effects\.http\.mode"):
        run(lambda: bench(tmp_path, mode="replay").__aenter__())


def test_a_tape_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"missing\.tape"):
        run(lambda: bench(tmp_path, mode="tape", tape=str(tmp_path / "missing.tape")).__aenter__())


def test_a_recording_that_cannot_begin_leaves_an_earlier_tape_alone(tmp_path: Path) -> None:
    earlier = tmp_path / "calls.tape"
    earlier.write_text("earlier")

    async def main() -> None:
        with pytest.raises(SetupError, match="cannot listen"):
            async with bench(tmp_path, mode="record", tape=str(earlier), listen={"candidate": "192.0.2.1:9"}):
                pass

    run(main)
    assert earlier.read_text() == "earlier"


def test_a_folder_that_cannot_hold_an_authority_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("a file")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "mitmproxy-ca.pem").write_text("nothing")

    async def main(folder: str) -> None:
        with pytest.raises(SetupError, match="the certificate authority cannot be used"):
            async with bench(tmp_path, ca=str(tmp_path / folder)):
                pass

    run(lambda: main("ca"))
    run(lambda: main("broken"))


def test_mitmproxy_is_imported_when_it_is_needed() -> None:
    code = "import sys, harness.effects.egress.collector; sys.exit('mitmproxy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "tape", "tape": "t"}, "mode tape"),
        ({"mode": "record", "tape": "t"}, "mode record"),
        ({"faults": [{"error": 500}]}, "faults"),
    ],
)
def test_what_live_traffic_cannot_have_is_refused(tmp_path: Path, options: dict[str, object], said: str) -> None:
    place = Workplace(folder=tmp_path, clock=SystemClock(), rng=Random(1), redactor=Redactor(b"key"), live=True)
    with pytest.raises(UsageError, match=said):
        EgressCollector.make(options, place)
    EgressCollector.make(options, msgspec.structs.replace(place, live=False))


def test_live_calls_are_named_by_their_trace_without_an_announcement(tmp_path: Path) -> None:
    async def main() -> None:
        async with service() as outside, bench(tmp_path, live=True, mode="virtualise", hosts=upstream(outside)) as at:
            assert at.collector.delay_s > 0
            one = OpenTrial(trace=f"{5:032x}", roles=ROLES, request="")
            answers = []
            for role in ROLES:
                async with at.client(role) as build:
                    answers.append((await build.call("POST", URL, one, json={"amount": 5})).body)
            async with at.client(Role.CANDIDATE) as build:
                assert (await build.call("POST", URL, one, json={"amount": 5})).status == 599
            assert len(set(answers)) == 1
            assert len(outside.requests) == 1
            seen = await at.drained()
            assert [(each.role, each.trace) for each in seen] == [(role, one.trace) for role in (*ROLES, Role.CANDIDATE)]
            assert [each.effect.note for each in seen] == ["", *["answered from stable's call"] * 2, "no match: failed"]

    run(main)


def test_a_live_call_that_waits_for_stables_answer_is_told_before_it_is_answered(tmp_path: Path) -> None:
    async def main() -> None:
        free = asyncio.Event()

        async def hanging(request: web.Request) -> web.StreamResponse:
            await free.wait()
            return await echo(request)

        one = OpenTrial(trace=f"{6:032x}", roles=ROLES, request="")
        async with (
            service(hanging) as outside,
            bench(tmp_path, live=True, mode="virtualise", hosts=upstream(outside)) as at,
            at.client(Role.STABLE) as stable,
            at.client(Role.CANDIDATE) as candidate,
        ):
            real = asyncio.create_task(stable.call("POST", URL, one, json={"amount": 5}))
            await until(lambda: outside.requests, "stable's call is outside")
            waits = asyncio.create_task(candidate.call("POST", URL, one, json={"amount": 5}))
            seen = await at.drained()
            while len(seen) < 2:
                await asyncio.sleep(0.005)
                seen += await at.drained()
            assert [each.role for each in seen] == [Role.STABLE, Role.CANDIDATE]
            free.set()
            assert (await real).status == 200
            assert (await waits).status in {200, 599}, "599 where the machine was slower than the wait"
            assert await at.drained() == []

    run(main)
