"""A connection that takes copies: what is answered, what is refused, what is handed on, and how long it waits."""

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.labels import SkipReason
from harness.core.limits import HEAD_BYTES_MAX, LINGER_BYTES_MAX, REQUEST_BODY_BYTES_MAX
from harness.core.outcomes import Tally
from harness.proxy import deadlines
from harness.proxy.capture import Budget
from harness.proxy.clients import Clients
from harness.proxy.copies_ingress import Copy, CopyConnection, Inbox
from harness.proxy.deadlines import ClientTimeouts
from tests.proxy.copies_rig import accepted
from tests.proxy.rig import LONG_S, LOOPS, SHORT_S, get, read_answers, run, talk, until

POST = b"POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n"
WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket")
ROOM = 4096
"""Bytes that the system shall hold on each side of a connection, so that a sender that takes no answers is noticed soon."""


class Box:
    """A server of such connections; each copy is settled as skipped."""

    def __init__(self, inbox: Inbox, clients: Clients, taken: list[Copy]) -> None:
        self.port = 0
        self.connections: list[CopyConnection] = []
        self.tally = inbox.tally
        self.budget = inbox.budget
        self.clients = clients
        self.taken = taken

    @property
    def refused(self) -> dict[str, int]:
        return self.tally.totals().refused

    async def settled(self) -> None:
        """Until nobody is connected."""
        await until(lambda: len(self.clients) == 0)


@contextlib.asynccontextmanager
async def box(*, budget: int = 1 << 20, room: int = 0, **timeouts: float) -> AsyncIterator[Box]:
    """On leaving, everything that entered was settled, and no byte is held.

    `room` bounds the bytes of answers that the system takes of a connection; it takes millions otherwise.
    """
    taken: list[Copy] = []

    def take(copy: Copy) -> None:
        taken.append(copy)
        made.tally.skipped(SkipReason.NO_SHADOW)

    def connection() -> CopyConnection:
        made.connections.append(CopyConnection(inbox, ClientTimeouts(**timeouts), made.clients))
        return made.connections[-1]

    inbox = Inbox(tally=Tally(), budget=Budget(budget), take=take)
    made = Box(inbox, Clients(), taken)
    listener = socket.create_server(("127.0.0.1", 0))
    if room:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)  # each connection inherits it
    made.port = listener.getsockname()[1]
    server = await asyncio.get_running_loop().create_server(connection, sock=listener)
    try:
        yield made
    finally:
        server.close()
        await made.clients.stop(LONG_S)
        await server.wait_closed()
    assert made.tally.under_way == 0, made.tally.totals()
    assert inbox.budget.held == 0
    assert len(made.clients) == 0


@pytest.mark.parametrize("loop", LOOPS)
def test_pipelined_requests_are_answered_in_order_and_handed_on_whole(loop: str) -> None:
    async def main() -> None:
        async with box() as b:
            head, last = get("/4").replace(b"GET", b"HEAD"), get("/5", "Connection: close")
            raw = await talk(b.port, get("/1") + POST % 2 + CHUNKED + head + last + get("/6"))
            found = accepted(raw, "GET", "POST", "POST", "HEAD", "GET")
            assert [answer.header(b"connection") for answer in found] == [None, None, None, None, b"close"]
            assert [(copy.head.target, copy.body.data) for copy in b.taken] == [
                ("/1", b""),
                ("/2", b"hello"),
                ("/c", b"hello"),
                ("/4", b""),
                ("/5", b""),
            ], "nothing after the request that said it was the last"

    run(main(), loop)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 400), max_size=12))
def test_it_does_not_matter_how_the_bytes_are_cut(cuts: list[int]) -> None:
    stream = get("/1") + POST % 2 + CHUNKED + get("/4", *WEBSOCKET) + POST % 5
    edges = sorted({0, len(stream), *[cut % len(stream) for cut in cuts]})

    async def main() -> None:
        async with box() as b:
            accepted(await talk(b.port, *[stream[i:j] for i, j in itertools.pairwise(edges)], pause=True), *["GET"] * 5)
            assert [copy.head.target for copy in b.taken] == ["/1", "/2", "/c", "/4", "/5"]
            assert b"".join(copy.body.data for copy in b.taken) == b"hello" * 3

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_byte_by_byte(loop: str) -> None:
    async def main() -> None:
        async with box() as b:
            stream = get("/1") + CHUNKED
            accepted(await talk(b.port, *[stream[i : i + 1] for i in range(len(stream))], pause=True), "GET", "POST")
            assert b.taken[1].body.data == b"hello"

    run(main(), loop)


def test_the_answer_is_sent_before_anything_is_done_with_the_copy() -> None:
    async def main() -> None:
        clients, tally, answered = Clients(), Tally(), list[bytes]()

        def take(copy: Copy) -> None:
            tally.skipped(SkipReason.NO_SHADOW)
            answered.append(ours.recv(100))  # does not wait: what is not there by now raises

        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        inbox = Inbox(tally=tally, budget=Budget(9), take=take)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: CopyConnection(inbox, ClientTimeouts(), clients), theirs)
        ours.send(get())
        await until(lambda: bool(answered))
        assert answered == [b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"]
        ours.close()
        await until(lambda: len(clients) == 0)

    run(main())


def test_http_1_0_is_kept_only_where_it_asks() -> None:
    async def main() -> None:
        async with box() as b:
            (closed,) = accepted(await talk(b.port, b"GET / HTTP/1.0\r\n\r\n" + get(), half_close=False), "GET")
            assert closed.header(b"connection") == b"close"
            kept = accepted(await talk(b.port, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + get()), "GET", "GET")
            assert [answer.header(b"connection") for answer in kept] == [b"keep-alive", None]
            assert len(b.taken) == 3

    run(main())


def test_who_waits_for_a_word_before_the_body_gets_it() -> None:
    async def main() -> None:
        async with box() as b:
            head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", b.port)
            writer.write(head)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hi")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")
            writer.write(head + b"hi" + head.replace(b"2", b"0") + head.replace(b"1.1", b"1.0") + b"hi")
            writer.write_eof()
            assert (await reader.read()).count(b"100 Continue") == 0, "nobody waits for one there"
            writer.close()
            assert len(b.taken) == 4

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n", 431, "head_too_large"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (REQUEST_BODY_BYTES_MAX + 1), 413, "body_too_large"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request"),
        (b"HEAD / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 501, "connect"),
        (b"nonsense\r\n\r\n", 501, "bad_request"),
    ],
)
def test_what_is_refused_is_refused_as_at_the_normal_ingress(raw: bytes, status: int, reason: str, loop: str) -> None:
    async def main() -> None:
        async with box() as b:
            out = await talk(b.port, get("/before") + raw, get("/after"), half_close=False)
            before, refused = read_answers(out, "GET", "HEAD" if raw.startswith(b"HEAD") else "GET")
            assert (before.status, refused.status, refused.header(b"connection")) == (202, status, b"close")
            assert refused.header(b"x-shadowdiff-error") == reason.encode()
            await b.settled()
            assert b.refused == {reason: 1}
            assert [copy.head.target for copy in b.taken] == ["/before"]

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("part", [b"GET / HT", POST[:-1] % 1])
def test_a_request_that_comes_too_slowly_is_refused(part: bytes, loop: str) -> None:
    async def main() -> None:
        async with box(head_s=0.05, body_s=0.05) as b:
            (answer,) = read_answers(await talk(b.port, part, half_close=False), "GET")
            assert (answer.status, answer.header(b"x-shadowdiff-error")) == (408, b"client_timeout")
            await b.settled()
            assert b.refused == {"client_timeout": 1}

    run(main(), loop)


def test_a_head_has_one_time_limit_however_it_trickles() -> None:
    async def main() -> None:
        async with box(head_s=0.3) as b:
            reader, writer = await asyncio.open_connection("127.0.0.1", b.port)
            writer.write(get() + b"GET / HTTP/1.1\r\nX: ")

            async def trickle() -> None:
                while True:
                    writer.write(b"x")
                    await asyncio.sleep(0.01)

            trickling = asyncio.ensure_future(trickle())
            raw = await reader.read()
            trickling.cancel()
            writer.close()
            assert [answer.status for answer in read_answers(raw, "GET", "GET")] == [202, 408]
            assert b.refused == {"client_timeout": 1}

    run(main())


def test_an_idle_connection_is_closed_and_counts_nothing() -> None:
    async def main() -> None:
        async with box(idle_s=SHORT_S) as b:
            assert await talk(b.port, half_close=False) == b""
            accepted(await talk(b.port, get(), half_close=False), "GET")
            await b.settled()
            assert b.tally.totals().requests == 1

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_sender_that_takes_no_answers_is_read_no_further_and_then_dropped(loop: str) -> None:
    async def main() -> None:
        async with box(stall_s=0.2, room=ROOM) as b:
            with socket.socket() as sender:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
                sender.connect(("127.0.0.1", b.port))
                sender.setblocking(False)

                async def send() -> None:
                    while True:
                        await asyncio.get_running_loop().sock_sendall(sender, get() * 1000)

                with pytest.raises(OSError, match=r"reset|pipe|Reset|Broken"):
                    await send()
            await b.settled()
            assert b.taken
            assert set(b.refused) <= {"client_gone"}

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_sender_that_catches_up_is_served_on(loop: str) -> None:
    count, batch = 20_000, 1000
    answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"

    async def main() -> None:
        async with box(room=ROOM) as b:
            sender = socket.socket()
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
            sender.connect(("127.0.0.1", b.port))
            reader, writer = await asyncio.open_connection(sock=sender, limit=2048)

            async def send() -> None:
                for _ in range(count // batch):
                    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * batch)
                    await writer.drain()

            sending = asyncio.ensure_future(send())
            await until(lambda: bool(b.connections) and b.connections[0].full)
            got = 0
            while got < len(answer) * count:
                got += len(await reader.read(1 << 16))
            await sending
            writer.close()
            assert got == len(answer) * count
            assert len(b.taken) == count

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("part", [b"GET / HT", POST[:-1] % 1])
@pytest.mark.parametrize("hard", [False, True])
def test_a_sender_that_goes_in_the_middle_is_counted(part: bytes, hard: bool, loop: str) -> None:
    async def main() -> None:
        async with box() as b:
            reader, writer = await asyncio.open_connection("127.0.0.1", b.port)
            writer.write(get() + part)
            await reader.readuntil(b"\r\n\r\n")
            if hard:
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.write_eof()
                (answer,) = read_answers(await reader.read(), "GET")
                assert answer.status == 400
                writer.close()
            await b.settled()
            assert b.refused == {"client_gone": 1}
            assert len(b.taken) == 1

    run(main(), loop)


def test_input_after_a_refusal_is_thrown_away_up_to_a_bound() -> None:
    async def main() -> None:
        async with box() as b:
            reader, writer = await asyncio.open_connection("127.0.0.1", b.port)
            writer.write(b"nonsense\r\n\r\n")
            assert b" 501 " in await reader.read()
            with contextlib.suppress(OSError):
                for _ in range(LINGER_BYTES_MAX // 65536 + 2):
                    writer.write(bytes(65536))
                    await writer.drain()
            await b.settled()
            writer.close()
            assert b.tally.totals().requests == 1

    run(main())


def test_a_refused_sender_that_stays_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "LINGER_SECONDS", 0.05)

    async def main() -> None:
        async with box() as b:
            reader, writer = await asyncio.open_connection("127.0.0.1", b.port)
            writer.write(b"nonsense\r\n\r\n")
            assert b" 501 " in await reader.read()
            await b.settled()
            writer.close()

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_stopping_takes_the_request_that_is_coming_in(loop: str) -> None:
    async def main() -> None:
        async with box() as b:
            idle_reader, idle = await asyncio.open_connection("127.0.0.1", b.port)
            reader, writer = await asyncio.open_connection("127.0.0.1", b.port)
            writer.write(get("/1") + POST[:-1] % 2)
            await reader.readuntil(b"\r\n\r\n")
            await until(lambda: len(b.clients) == 2)
            stopping = asyncio.ensure_future(b.clients.stop(LONG_S))
            assert await idle_reader.read() == b""
            writer.write(b"o" + get("/3"))
            second, third = accepted(await reader.read(), "POST", "GET")
            assert (second.header(b"connection"), third.header(b"connection")) == (None, b"close")
            writer.close()
            idle.close()
            await stopping

    run(main(), loop)


def test_what_does_not_come_in_time_when_stopping_is_counted() -> None:
    async def main() -> None:
        async with box() as b:
            reader, writer = await asyncio.open_connection("127.0.0.1", b.port)
            writer.write(get("/1") + POST[:-1] % 2)
            await reader.readuntil(b"\r\n\r\n")
            await b.clients.stop(0.05)
            assert b.refused == {"shutdown": 1}
            writer.close()

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_connection_that_is_told_of_late_does_not_hold_up_the_stop(loop: str) -> None:
    async def main() -> None:
        async with box() as b:
            reader, writer = await asyncio.open_connection("127.0.0.1", b.port)
            writer.write(POST[:-1] % 1)
            await until(lambda: b.budget.held > 0)
            stopping = asyncio.ensure_future(b.clients.stop(LONG_S))
            await asyncio.sleep(0)
            late_reader, late = await asyncio.open_connection("127.0.0.1", b.port)
            busy_reader, busy = await asyncio.open_connection("127.0.0.1", b.port)
            busy.write(get())
            assert await late_reader.read() == b""
            assert b" 202 " in await busy_reader.read()
            writer.write(b"o")
            assert b" 202 " in await reader.read()
            for each in (writer, late, busy):
                each.close()
            await stopping

    run(main(), loop)


def test_bodies_beyond_the_bound_on_memory_are_marked() -> None:
    async def main() -> None:
        async with box(budget=7) as b:
            accepted(await talk(b.port, POST % 1 + CHUNKED), "POST", "POST")
            assert [copy.starved for copy in b.taken] == [False, False]
            first_reader, first = await asyncio.open_connection("127.0.0.1", b.port)
            first.write(POST[:-1] % 3)
            await until(lambda: b.budget.held == 4)
            accepted(await talk(b.port, POST % 4), "POST")
            assert (b.taken[-1].starved, b.taken[-1].body.truncated) == (True, True)
            first.write(b"o")
            await first_reader.readuntil(b"\r\n\r\n")
            assert (b.taken[-1].starved, b.taken[-1].body.data) == (False, b"hello")
            first.close()

    run(main())


def test_a_switch_of_protocols_is_declined() -> None:
    async def main() -> None:
        async with box() as b:
            switch = get("/ws", *WEBSOCKET)
            accepted(await talk(b.port, switch + switch + get("/2") + get("/3", "Connection: Upgrade", "Upgrade: h2c")), *["GET"] * 4)
            assert [copy.head.upgrade for copy in b.taken] == [True, True, False, False]

    run(main())
