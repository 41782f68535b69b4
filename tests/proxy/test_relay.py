"""Trouble with stable: what the client is told, how a cut answer shows, and what becomes of the trial."""

import asyncio
import random
import socket

import pytest

from harness.core.labels import ErrorKind
from harness.core.outcomes import Tally
from harness.proxy.address import HostRule, UpstreamAddress, parse_address
from harness.proxy.capture import BodyCapture, Budget
from harness.proxy.deadlines import ClientTimeouts
from harness.proxy.dispatch import Naming, Sink
from harness.proxy.server import ProxyOptions, ProxyServer
from harness.proxy.wire import GUARD_HEADER
from tests.proxy.rig import (
    LONG_S,
    LOOPS,
    SHORT_S,
    Behaviour,
    CountingIds,
    Seen,
    SystemClock,
    Upstream,
    answers,
    get,
    hang,
    ok,
    read_answers,
    reset,
    rig,
    run,
    talk,
    until,
)

BROKEN: dict[str, tuple[Behaviour | None, int, str]] = {
    "dead": (None, 502, "upstream_unreachable"),
    "hanging": (hang, 504, "upstream_timeout"),
    "resetting": (reset, 502, "upstream_broken"),
    "closing": (answers(b"", close=True), 502, "upstream_broken"),
    "closing in the head": (answers(b"HTTP/1.1 200 OK\r\nX-", close=True), 502, "upstream_broken"),
    "garbage": (answers(b"no HTTP at all"), 502, "upstream_broken"),
    "giant head": (answers(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000), 502, "upstream_broken"),
    "interim, then nothing": (answers(b"HTTP/1.1 100 Continue\r\n\r\n", close=True), 502, "upstream_broken"),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", BROKEN)
def test_stable_without_an_answer_is_said_plainly_and_the_connection_lives_on(name: str, loop: str) -> None:
    behaviour, status, reason = BROKEN[name]
    silence_s = 0.2 if behaviour is hang else LONG_S

    async def main() -> None:
        async with rig(
            behaviour, dead_stable=behaviour is None, secondary=answers(ok()), candidate=answers(ok()), stable_silence_s=silence_s
        ) as r:
            first, second = read_answers(await r.talk(get("/"), get("/").replace(b"GET", b"HEAD")), "GET", "HEAD")
            assert first.status == second.status == status
            assert first.header(b"X-Shadowdiff-Error") == reason.encode()
            assert first.header(b"Connection") is None
            assert first.body.endswith(b"\n")
            assert r.tally.totals().refused == {reason: 2}
            assert not r.candidate.seen
            assert not r.recorded

    run(main(), loop)


CUT = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "garbage in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", CUT)
def test_an_answer_that_stable_cuts_is_cut_for_the_client_and_compared_as_an_error(name: str, loop: str) -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(CUT[name])
        await writer.drain()
        await until(sent.is_set)
        if name.startswith("garbage"):
            writer.write(b"zz\r\n")
            await reader.read()
        raise ConnectionResetError

    async def main() -> None:
        async with rig(stable, secondary=answers(ok()), candidate=answers(ok())) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(get("/"))
            got = await reader.readuntil(b"abc")
            sent.set()
            got += await reader.read()
            with pytest.raises(AssertionError, match="cut"):
                read_answers(got, "GET")
            writer.close()
            await r.settled()
            (trial,) = r.trials
            assert trial.stable.exchange.error is not None
            assert trial.stable.exchange.error.kind is (ErrorKind.GARBAGE if name.startswith("garbage") else ErrorKind.RESET)
            assert trial.candidate is not None

    sent = asyncio.Event()
    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_cut_body_without_length_is_a_reset_for_a_client_of_http_1_0(loop: str) -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(CUT["chunked"])
        await writer.drain()
        await until(sent.is_set)
        raise ConnectionResetError

    async def main() -> None:
        async with rig(stable, mirror=False) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.readuntil(b"abc")).endswith(b"abc")
            sent.set()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    sent = asyncio.Event()
    run(main(), loop)


def test_stable_silent_in_the_middle_of_an_answer_is_cut_off() -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(CUT["length"])
        await reader.read()

    async def main() -> None:
        async with rig(stable, secondary=answers(ok()), candidate=answers(ok()), stable_silence_s=SHORT_S) as r:
            with pytest.raises(AssertionError, match="cut"):
                read_answers(await r.talk(get("/")), "GET")
            await r.settled()
            assert r.trials[0].stable.exchange.error is not None
            assert r.trials[0].stable.exchange.error.kind is ErrorKind.TIMEOUT

    run(main())


def test_a_slow_but_steady_answer_outlives_the_bound_on_silence() -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.3)
            writer.write(b"x")

    async def main() -> None:
        async with rig(stable, mirror=False, stable_silence_s=2.5) as r:  # less than all pauses, and far more than one
            assert read_answers(await r.talk(get("/")), "GET")[0].body == b"x" * 10

    run(main())


def test_a_request_that_goes_wrong_after_the_answer_began_is_cut() -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(CUT["length"])
        await reader.read()

    async def main() -> None:
        async with rig(stable, eager=True, mirror=False) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await reader.readuntil(b"abc")
            writer.write(b"nonsense\r\n")
            assert await reader.read() == b""
            writer.close()
            assert r.tally.totals().refused == {"bad_request": 1}

    run(main())


def test_stable_that_dies_in_the_middle_of_an_upload() -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await reader.readexactly(1000)
        raise ConnectionResetError

    async def main() -> None:
        async with rig(stable, eager=True, mirror=False) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 502")
            assert b"Connection: close" in head
            writer.close()
            assert r.tally.totals().refused == {"upstream_broken": 1}

    run(main())


def test_uploads_wait_for_a_connection_in_bounded_memory() -> None:
    body = b"x" * 3_000_000

    async def main() -> None:
        async with rig(answers(ok()), mirror=False) as r:
            (answer,) = read_answers(await r.talk(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n" + body), "POST")
            assert answer.status == 200
            assert r.stable.seen[0].body == body

    run(main())


def test_a_copy_that_does_not_fit_in_memory_is_shed_and_the_client_has_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.proxy.server.LIVE_CAPTURE_BYTES_MAX", 100)
    post = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 200\r\n\r\n" + b"x" * 200

    async def main() -> None:
        async with rig(answers(ok(b"y" * 300)), secondary=answers(ok()), candidate=answers(ok()), allow_writes=True) as r:
            first, second = read_answers(await r.talk(post, get("/")), "POST", "GET")
            assert first.body == second.body == b"y" * 300
            await r.settled()
            assert r.tally.totals().shed == {"in_flight": 1}
            (trial,) = r.trials
            assert trial.stable.exchange.response is not None
            assert trial.stable.exchange.response.body.truncated

    run(main())


def test_the_budget_of_copies_is_given_back() -> None:
    made: list[Budget] = []

    class Noted(Budget):
        def __init__(self, bytes_max: int) -> None:
            super().__init__(bytes_max)
            made.append(self)

    async def main() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("harness.proxy.server.Budget", Noted)
            async with rig(answers(ok(b"y" * 3000)), secondary=hang, candidate=hang, shadow_timeout_s=0.1) as r:
                await r.talk(*[get("/")] * 5)
                client = socket.create_connection(("127.0.0.1", r.proxy.port))
                client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
                await until(lambda: sum(budget.held for budget in made) == 3)
                client.close()
        assert [budget.held for budget in made] == [0, 0], "of the live path, and of the shadows' answers"

    run(main())


def test_a_half_read_answer_of_a_client_that_stops_reading_is_given_up_when_stable_is_done() -> None:
    async def main() -> None:
        size = 30_000_000
        async with rig(answers(ok(b"x" * size)), mirror=False, client=ClientTimeouts(stall_s=0.3)) as r:
            client = socket.create_connection(("127.0.0.1", r.proxy.port))
            client.sendall(get("/", "Connection: close"))
            await until(lambda: r.proxy.connections == 1)
            await until(lambda: r.proxy.connections == 0)
            client.close()

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_without_shadows_and_a_recorder_nothing_is_copied_and_all_is_counted(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Upstream(answers(ok(b"plain"), ok(b"chunk").replace(b"Content-Length: 5", b"X-Y: z\r\nContent-Length:5"))) as stable:
            tally = Tally()
            server = ProxyServer(
                ProxyOptions(stable=stable.address),
                clock=SystemClock(),
                rng=random.Random(7),
                tally=tally,
                naming=Naming(endpoint_of=str, entity_of=str, ids=CountingIds()),
                sink=Sink(put=lambda _: None, has_room=lambda *_: True),
            )
            await server.start()
            monkeypatch.setattr(BodyCapture, "add", lambda *_: pytest.fail("nobody wants a copy"))
            post = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"
            pieces = [get("/"), get("/", f"{GUARD_HEADER}: 1"), post, post[:-1], post[-1:], get("/", "X-Empty:")]
            raw = await talk(server.port, *pieces, pause=True)
            assert [answer.body for answer in read_answers(raw, *["GET"] * 5)] == [b"plain", *[b"chunk"] * 4]
            assert [seen.body for seen in stable.seen] == [b"", b"", b"ab", b"ab", b""]
            await server.stop(5.0)
            assert tally.totals().skipped == {"no_shadow": 4, "loop": 1}
            assert tally.under_way == 0

    run(main(), loop)


def test_a_plain_answer_to_a_client_of_http_1_0_and_the_last_one_on_a_connection() -> None:
    async def main() -> None:
        async with rig(answers(ok(b"body", b"Connection: keep-alive", b"X-A: b")), mirror=False) as r:
            old = await r.talk(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert old == b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
            last = await r.talk(get("/", "Connection: close"), half_close=False)
            assert last == b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
            assert [exchange.response.body.data for _, exchange in r.recorded if exchange.response] == [b"body"] * 2

    run(main())


def test_stable_under_a_base_path_and_with_a_host_of_its_own_gets_plain_requests_so() -> None:
    async def main() -> None:
        def at(upstream: Upstream) -> UpstreamAddress:
            return parse_address(f"http://127.0.0.1:{upstream.port}/v2")

        async with rig(stable_at=at, stable_host=HostRule.REWRITE, secondary=answers(ok()), candidate=answers(ok())) as r:
            await r.talk(get("/a?b", "X-A: 1"))
            await r.settled()
            own = f"127.0.0.1:{r.stable.port}".encode()
            assert r.stable.seen[0].head == b"GET /v2/a?b HTTP/1.1\r\nHost: " + own + b"\r\nX-A: 1\r\n\r\n"
            assert r.candidate.seen[0].head == b"GET /a?b HTTP/1.1\r\nHost: shop.example\r\nX-A: 1\r\nx-shadowdiff-shadow: 1\r\n\r\n"
            (trial,) = r.trials
            assert trial.request.headers == (("Host", "shop.example"), ("X-A", "1"))
            assert trial.stable.exchange.request.target == "/v2/a?b"
            assert trial.stable.exchange.request.headers == (("Host", own.decode()), ("X-A", "1"))
            assert trial.candidate is not None
            assert trial.candidate.exchange.request.headers == (*trial.request.headers, (GUARD_HEADER, "1"))

    run(main())
