"""Who is let in by the mitmproxy ingress, and until when."""

import asyncio
import contextlib
import random
import socket
from pathlib import Path
from typing import Any

import pytest

from harness.proxy.address import parse_address
from harness.proxy.clients import LATE_SECONDS
from tests.proxy.mitm_rig import h2_client, mitm_rig
from tests.proxy.rig import LONG_S, LOOPS, answers, get, hang, ok, read_answers, run, until

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")  # mitmproxy's own use of it

WINDOW_BYTES = 65_535
"""Of a stream, where the client says nothing else (RFC 9113 6.9.2)."""


@pytest.fixture(scope="module")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority's directory; its key is made once."""
    return tmp_path_factory.mktemp("authority") / "made"


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("failure", [OSError("not redirected"), RuntimeError("not found")])
def test_redirected_connections(failure: Exception, loop: str, confdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's answer (SO_ORIGINAL_DST) alone is made up here; tests/e2e/test_mitm_redirect.py has a real one."""
    asked: list[Any] = []

    def original(sock: Any) -> tuple[str, int]:
        asked.append(sock.getsockname()[1])
        if len(asked) > 1:
            raise failure
        return "192.0.2.7", 443

    async def main() -> None:
        monkeypatch.setattr("mitmproxy.platform.original_addr", original)
        async with mitm_rig(confdir, answers(ok(b"hi")), mode="transparent", mirror=False) as r:
            async with h2_client(r.proxy.port, confdir, name="192.0.2.7") as client:
                assert bytes((await client.ask()).body) == b"hi"
            got = await r.talk(get("/"))
            assert read_answers(got, "GET")[0].body == b"hi", "a client that came without a redirect is served too"
            assert asked == [r.proxy.port] * 2

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_target_that_is_the_proxy_itself_is_told_and_not_served(loop: str, confdir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Stable's answer would come back as the candidate's."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
        own = parse_address(f"http://127.0.0.1:{port}")
        async with mitm_rig(confdir, answers(ok()), secondary=answers(ok()), candidate_at=own, listen_port=port) as r:
            assert read_answers(await r.talk(get("/")), "GET")[0].body == b"hello"
            await r.settled()
            totals = r.tally.totals()
            assert (totals.requests, totals.compared, totals.errors) == (1, 1, {"candidate": 1})
            assert "came back to this proxy (occurrence 1)" in caplog.text

    run(main(), loop)


def test_connections_that_say_nothing_are_not_without_number(confdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr("harness.proxy.mitm_door.CLIENTS_TURNED_AWAY_MAX", 2)
        async with mitm_rig(confdir, answers(ok()), mirror=False, clients_max=3) as r:
            silent = [await asyncio.open_connection("127.0.0.1", r.proxy.port) for _ in range(5)]
            await until(lambda: r.proxy.connections == 5)
            with contextlib.suppress(OSError):
                assert await r.talk(get("/")) == b""
            await until(lambda: r.tally.totals().refused == {"too_many_clients": 1})
            for _, writer in silent:
                writer.close()
            await until(lambda: r.proxy.connections == 0)
            assert read_answers(await r.talk(get("/")), "GET")[0].body == b"hello"

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_request_that_is_on_its_way_when_the_server_stops_is_answered(loop: str, confdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is idle then, and the news of the end has not reached the client."""

    async def main() -> None:
        monkeypatch.setattr("harness.proxy.mitm_door.LATE_SECONDS", 5.0)
        async with mitm_rig(confdir, answers(ok()), mirror=False) as r, h2_client(r.proxy.port, confdir) as client:
            assert (await client.ask()).status == 200
            stopping = asyncio.ensure_future(r.proxy.stop(LONG_S))
            while not client.goaway:
                await client.news()
            assert bytes((await client.ask(path="/late")).body) == b"hello"
            assert not client.closed
            await stopping
            assert r.tally.totals().skipped == {"no_shadow": 2}

    run(main(), loop)


def test_a_silent_connection_does_not_hold_up_the_end_for_longer_than_the_grace(confdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr("harness.proxy.mitm_door.LATE_SECONDS", 3600.0)
        async with mitm_rig(confdir, hang, mirror=False) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            await until(lambda: r.proxy.connections == 1)
            await r.proxy.stop(0.1)
            assert await reader.read() == b""
            writer.close()

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_an_answer_that_the_client_takes_slowly_is_whole_when_the_server_stops(loop: str, confdir: Path) -> None:
    """All of it has left stable and the native path, and the end of it waits for the client's window."""
    body = random.Random(3).randbytes(100_000)

    async def main() -> None:
        async with mitm_rig(confdir, answers(ok(body)), mirror=False) as r, h2_client(r.proxy.port, confdir) as client:
            client.reads = False
            number = client.begin()
            await until(lambda: len(client.answers[number].body) == WINDOW_BYTES and bool(r.recorded))
            stopping = asyncio.ensure_future(r.proxy.stop(LONG_S))
            while not client.goaway:
                await client.news()
            await asyncio.sleep(3 * LATE_SECONDS)  # what is wrong to close is closed by now; more would show no less
            client.read_on()
            got = await client.answer(number)
            assert (got.ended, bytes(got.body)) == (True, body)
            await stopping

    run(main(), loop)
