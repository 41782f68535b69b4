"""How fast a client has to send, and what is not held against it. Live clients and senders of copies share the rules."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from harness.proxy import deadlines
from harness.proxy.deadlines import ClientTimeouts
from harness.proxy.ingress import ClientConnection
from tests.proxy.copies_rig import copies
from tests.proxy.rig import LONG_S, LOOPS, SHORT_S, Rig, Seen, Upstream, ok, read_answers, read_body, rig, run, turns, until

POST = b"POST /things HTTP/1.1\r\nHost: h\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
TRICKLES = {
    "length": (POST + b"Content-Length: 1000000\r\n\r\n", b"x"),
    "chunked": (POST + CHUNKED, b"1\r\nx\r\n"),
    "a chunk's extension": (POST + CHUNKED + b"1;", b"x"),
    "trailers": (POST + CHUNKED + b"1\r\nx\r\n0\r\nA: ", b"x"),
}
KINDS: dict[str, Any] = {"live": partial(rig, mirror=False), "copies": copies}
BEFORE = POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000


@contextlib.asynccontextmanager
async def served(kind: str, **timeouts: float) -> AsyncIterator[Rig]:
    """A server of the kind; no other time-out than those given comes."""
    others = dict.fromkeys(("head_s", "body_s", "idle_s", "stall_s"), LONG_S)
    async with KINDS[kind](client=ClientTimeouts(**(others | timeouts))) as r:
        yield r


async def trickle(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Send the piece a hundred times a second, or more slowly, until the answer is there."""
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(piece)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", TRICKLES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_body_that_trickles_is_refused_though_its_pieces_come_in_time(kind: str, name: str, loop: str) -> None:
    start, piece = TRICKLES[name]

    async def main() -> None:
        async with served(kind, body_bytes_per_s_min=2000, body_grace_s=0.2) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(BEFORE)  # what came of an earlier body counts for nothing
            head, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
            assert int(head.split()[1]) in {200, 202}
            await reader.readexactly(5 if b"Content-Length: 5" in rest else 0)
            writer.write(start)
            trickling = asyncio.ensure_future(trickle(writer, piece))
            (answer,) = read_answers(await reader.read(), "POST")
            trickling.cancel()
            assert (answer.status, answer.header(b"x-shadowdiff-error")) == (408, b"client_timeout")
            assert answer.header(b"connection") == b"close"
            writer.close()
            await r.settled()
            assert r.tally.totals().refused == {"client_timeout": 1}

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", KINDS)
def test_who_was_refused_and_stays_is_let_go_however_long_he_had_before(kind: str, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "LINGER_SECONDS", 0.05)

    async def main() -> None:
        async with served(kind, head_s=1000.0, idle_s=1000.0) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(b"GET / HT")
            await until(lambda: r.proxy.connections == 1)
            await turns()
            writer.write(b"nonsense\r\n\r\n")
            assert read_answers(await reader.read(), "GET")[0].status in {400, 501}
            await until(lambda: r.proxy.connections == 0)
            writer.close()

    run(main(), loop)


@pytest.mark.parametrize("kind", KINDS)
def test_the_average_counts_so_a_body_that_came_fast_may_pause(kind: str) -> None:
    async def main() -> None:
        async with served(kind, body_bytes_per_s_min=1000, body_grace_s=0.01) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(BEFORE[:-1])
            await asyncio.sleep(0.5)
            writer.write(b"x")
            writer.write_eof()
            (answer,) = read_answers(await reader.read(), "POST")
            assert answer.status in {200, 202}
            writer.close()

    run(main())


def test_who_waits_for_stables_word_before_the_body_has_not_begun_with_it() -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await asyncio.sleep(0.5)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, _ = await read_body(reader, seen.head)
        writer.write(ok(body))

    async def main() -> None:
        timeouts = ClientTimeouts(body_s=LONG_S, body_bytes_per_s_min=1e9, body_grace_s=0.1)
        async with rig(stable, eager=True, mirror=False, client=timeouts) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hello")
            writer.write_eof()
            assert read_answers(await reader.read(), "POST")[0].body == b"hello"
            writer.close()

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_time_in_which_stable_does_not_take_the_body_is_not_its_clients(loop: str) -> None:
    size = 16_000_000
    grace_s = 3.0

    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await release.wait()
        body, _ = await read_body(reader, seen.head)
        writer.write(ok(b"%d" % len(body)))

    async def main() -> None:
        timeouts = ClientTimeouts(body_s=grace_s, body_bytes_per_s_min=1e12, body_grace_s=grace_s)
        async with rig(stable, eager=True, mirror=False, client=timeouts) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
            await until(lambda: r.proxy.connections == 1)
            (connection,) = r.proxy._clients._connections
            assert isinstance(connection, ClientConnection)
            await until(lambda: connection._held)
            await asyncio.sleep(grace_s + 0.5)
            assert connection._held
            release.set()
            writer.write_eof()
            assert read_answers(await reader.read(), "POST")[0].body == b"%d" % size
            writer.close()

    release = asyncio.Event()
    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", KINDS)
def test_time_in_which_the_whole_process_stands_still_is_not_the_clients(kind: str, loop: str) -> None:
    async def main() -> None:
        async with served(kind, body_s=SHORT_S) as r:
            with socket.create_connection(("127.0.0.1", r.proxy.port)) as client:
                client.sendall(POST + b"Content-Length: 10\r\n\r\nhello")
                await until(lambda: r.tally.totals().requests == 1)
                await turns()
                client.sendall(b"hello")
                time.sleep(SHORT_S + 1.5)
                client.setblocking(False)
                got = await asyncio.get_running_loop().sock_recv(client, 1000)
                assert int(got.split()[1]) in {200, 202}
            await r.settled()
            assert r.tally.totals().refused == {}

    run(main(), loop)
