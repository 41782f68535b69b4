"""Real sockets around the proxy: targets that do as a test says, clients that send and read raw bytes, and an independent reader."""

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import uvloop

from harness.core.outcomes import Tally
from harness.core.plain import AnyTrial, opened
from harness.core.values import Comparison, Exchange, Request, Trial
from harness.proxy import backlog
from harness.proxy.address import UpstreamAddress, parse_address
from harness.proxy.dispatch import Naming, Sink
from harness.proxy.server import ProxyOptions, ProxyServer

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
RUN_S = 100.0
"""How long a test may run: none needs it, but a machine may be slow. Less than pytest's own bound, which names no place in the test."""
WAIT_S = 60.0
"""How long anything is waited for."""
LONG_S = 30.0
"""A time-out that must not come: longer than a busy machine holds up a process."""
SHORT_S = 2.0
"""A time-out that must come, where something else has to happen before it."""
HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"upgrade"}


def run(main: Coroutine[Any, Any, None], loop: str = "asyncio") -> None:
    """Run a test's coroutine to its end on the loop named, with a bound on its time."""

    async def bounded() -> None:
        async with asyncio.timeout(RUN_S):
            await main

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(bounded())


async def until(condition: Callable[[], bool], seconds: float = WAIT_S) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.002)


@contextlib.contextmanager
def nobody_on_the_way() -> Iterator[None]:
    """A server that is stopped in it does not wait for connections that had begun.

    For the end of a test: nobody connects by then. Tests of stopping stop their servers themselves, who wait as they do for users.
    """
    settle_s, backlog.SETTLE_SECONDS = backlog.SETTLE_SECONDS, 0.0
    try:
        yield
    finally:
        backlog.SETTLE_SECONDS = settle_s


async def turns(count: int = 20) -> None:
    """Let the loop look at its sockets this often: what was sent over loopback before has been read then."""
    await asyncio.sleep(0.02)  # a busy kernel may hand it over a little later
    for _ in range(count):
        await asyncio.sleep(0)


class SystemClock:
    """The machine's clock."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def time(self) -> float:
        return time.time()


class ManualClock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def time(self) -> float:
        return self.now_ns / 1e9


class CountingIds:
    """t0, t1, ..."""

    def __init__(self) -> None:
        self.count = 0

    def next_id(self) -> str:
        self.count += 1
        return f"t{self.count - 1}"


@dataclass
class Seen:
    """A request as a target got it."""

    head: bytes
    body: bytes
    raw_body: bytes
    connection: int

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return fields(self.head)


def fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """Header lines of a head, without its first line."""
    lines = head.rstrip(b"\r\n").split(b"\r\n")[1:]
    return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]


Behaviour = Callable[["Upstream", asyncio.StreamReader, asyncio.StreamWriter, Seen], Awaitable[None]]


class Upstream:
    """A target that reads requests itself (no parser of the proxy's) and behaves as told. A dead one only owns a free port."""

    def __init__(self, behaviour: Behaviour | None, *, eager: bool = False, tls: Any = None, unix: str = "") -> None:
        self.behaviour = behaviour
        self.eager = eager
        """Behave when the head is there; the body is then the behaviour's to read."""
        self.seen: list[Seen] = []
        self.connections = 0
        self.port = 0
        self.errors: list[BaseException] = []
        self._tls = tls
        self._unix = unix
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._reserved: socket.socket | None = None

    @property
    def address(self) -> UpstreamAddress:
        return parse_address(f"unix:{self._unix}" if self._unix else f"http://127.0.0.1:{self.port}")

    async def __aenter__(self) -> Self:
        if self.behaviour is None:
            self._reserved = socket.socket()
            self._reserved.bind(("127.0.0.1", 0))  # bound and not listening: refused
            self.port = self._reserved.getsockname()[1]
        elif self._unix:
            self._server = await asyncio.start_unix_server(self._accept, self._unix)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reserved is not None:
            self._reserved.close()
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not self.errors, self.errors

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body, raw = (b"", b"") if self.eager else await read_body(reader, head)
                seen = Seen(head, body, raw, number)
                self.seen.append(seen)
                assert self.behaviour is not None
                await self.behaviour(self, reader, writer, seen)
        except (asyncio.IncompleteReadError, OSError):
            pass
        except asyncio.CancelledError:
            pass
        except Exception as error:  # told when the target ends
            self.errors.append(error)
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()


async def read_body(reader: asyncio.StreamReader, head: bytes) -> tuple[bytes, bytes]:
    """Body and its bytes on the wire."""
    known = {name.lower(): value for name, value in fields(head)}
    if b"content-length" in known:
        body = await reader.readexactly(int(known[b"content-length"]))
        return body, body
    if known.get(b"transfer-encoding") != b"chunked":
        return b"", b""
    body = raw = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        raw += line
        size = int(line.split(b";")[0], 16)
        if not size:
            break
        data = await reader.readexactly(size + 2)
        raw += data
        body += data[:-2]
    while True:
        line = await reader.readuntil(b"\r\n")
        raw += line
        if line == b"\r\n":
            return body, raw


def answers(*raw: bytes, close: bool = False) -> Behaviour:
    """Answer with these bytes in turn (the last one for ever); then perhaps close."""

    async def behave(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(raw[min(len(upstream.seen), len(raw)) - 1])
        await writer.drain()
        if close:
            raise ConnectionResetError

    return behave


def ok(body: bytes = b"hello", *lines: bytes) -> bytes:
    """A plain answer."""
    head = b"".join(line + b"\r\n" for line in (b"HTTP/1.1 200 OK", *lines, b"Content-Length: %d" % len(body)))
    return head + b"\r\n" + body


async def hang(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
    """Never answer."""
    await reader.read()


async def reset(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
    """Reset the connection instead of an answer."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    raise ConnectionResetError


def slowly(raw: bytes, pause_s: float) -> Behaviour:
    """Answer byte by byte for the first 20, then the rest."""

    async def behave(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        for i in range(20):
            writer.write(raw[i : i + 1])
            await writer.drain()
            await asyncio.sleep(pause_s)
        writer.write(raw[20:])
        await writer.drain()

    return behave


@dataclass
class Answer:
    """An answer as a client sees it."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.line.split()[1])

    def end_to_end(self) -> tuple[bytes, list[tuple[bytes, bytes]], bytes, list[tuple[bytes, bytes]]]:
        """All that must arrive unchanged."""
        return self.line, [pair for pair in self.headers if pair[0].lower() not in HOP], self.body, self.trailers

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


def read_answers(raw: bytes, *methods: str) -> list[Answer]:
    """Take a client's whole input apart. Fails on anything incomplete or left over."""
    out: list[Answer] = []
    for method in methods:
        while True:
            head, separator, raw = raw.partition(b"\r\n\r\n")
            assert separator, f"no complete head in {head[:200]!r}"
            answer = Answer(head.split(b"\r\n")[0], fields(head), b"")
            if answer.status >= 200:
                break
        if method == "HEAD" or answer.status in {204, 304}:
            pass
        elif answer.header(b"transfer-encoding") == b"chunked":
            answer.body, answer.trailers, raw = _dechunk(raw)
        elif (length := answer.header(b"content-length")) is not None:
            answer.body, raw = raw[: int(length)], raw[int(length) :]
            assert len(answer.body) == int(length), "the body is cut"
        else:
            answer.body, raw = raw, b""
        out.append(answer)
    assert not raw, f"left over: {raw[:200]!r}"
    return out


def _dechunk(raw: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    body = b""
    while True:
        line, separator, raw = raw.partition(b"\r\n")
        assert separator, "the chunked body is cut"
        size = int(line.split(b";")[0], 16)
        if not size:
            break
        body += raw[:size]
        assert raw[size : size + 2] == b"\r\n", "the chunked body is cut"
        raw = raw[size + 2 :]
    trailers, end = b"", raw.find(b"\r\n")
    while end:
        assert end > 0, "the trailers are cut"
        trailers += raw[: end + 2]
        raw = raw[end + 2 :]
        end = raw.find(b"\r\n")
    return body, fields(b"\r\n" + trailers) if trailers else [], raw[2:]


async def talk(port: int, *pieces: bytes, pause: bool = False, half_close: bool = True) -> bytes:
    """Send the pieces over one connection and read to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if pause:
                await asyncio.sleep(0)
        if half_close:
            writer.write_eof()
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def get(path: str = "/", *lines: str) -> bytes:
    """A plain request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: shop.example", *lines, "", ""]).encode("latin-1")


class Rig:
    """A proxy between three targets. On leaving it, everything that entered has an outcome."""

    def __init__(self, proxy: ProxyServer, stable: Upstream, secondary: Upstream, candidate: Upstream) -> None:
        self.proxy = proxy
        self.stable = stable
        self.secondary = secondary
        self.candidate = candidate
        self.tally = Tally()
        self.trials: list[Trial] = []
        self.recorded: list[tuple[Request, Exchange]] = []

    async def talk(self, *pieces: bytes, pause: bool = False, half_close: bool = True) -> bytes:
        return await talk(self.proxy.port, *pieces, pause=pause, half_close=half_close)

    async def settled(self) -> None:
        """Until nothing is under way."""
        await until(lambda: self.tally.under_way == 0)


@contextlib.asynccontextmanager
async def rig(
    stable: Behaviour | None = None,
    *,
    secondary: Behaviour | None = None,
    candidate: Behaviour | None = None,
    mirror: bool = True,
    without: str = "",
    dead_stable: bool = False,
    eager: bool = False,
    stable_tls: Any = None,
    stable_at: Callable[[Upstream], UpstreamAddress] = lambda upstream: upstream.address,
    put: Callable[[Trial], None] | None = None,
    has_room: Callable[[str, int], bool] = lambda endpoint, size: True,
    on_exchange: Callable[[Request, Exchange], None] | None = None,
    endpoint_of: Callable[[Request], str] = lambda request: f"{request.method} {request.target.partition('?')[0]}",
    grace_s: float = LONG_S,
    clock: SystemClock | ManualClock | None = None,
    make: Callable[..., ProxyServer] = ProxyServer,
    **options: Any,
) -> AsyncIterator[Rig]:
    """Targets, proxy and counts. Without `mirror` there are no shadows, `without` leaves one out; one without a behaviour is dead."""
    async with (
        Upstream(None if dead_stable else stable or answers(ok()), eager=eager, tls=stable_tls) as first,
        Upstream(secondary) as second,
        Upstream(candidate) as third,
    ):
        tally, trials, recorded = Tally(), list[Trial](), list[tuple[Request, Exchange]]()

        def keep(came: AnyTrial) -> None:
            trial = opened(came)
            trials.append(trial)
            tally.compared(trial, Comparison(trial=trial.id, seq=trial.seq))

        settings: dict[str, Any] = {"shadow_timeout_s": LONG_S, "stable_silence_s": LONG_S, "connect_timeout_s": LONG_S}
        if mirror:
            settings |= {"secondary": second.address, "candidate": third.address}
        settings.pop(without, None)
        proxy = make(
            ProxyOptions(**(settings | {"stable": stable_at(first)} | options)),
            clock=clock or SystemClock(),
            rng=random.Random(7),
            tally=tally,
            naming=Naming(endpoint_of=endpoint_of, entity_of=lambda request: request.target, ids=CountingIds(), session_key=b"k"),
            sink=Sink(put=keep if put is None else lambda came: put(opened(came)), has_room=has_room),
            on_exchange=on_exchange or (lambda request, exchange: recorded.append((request, exchange))),
        )
        await proxy.start()
        made = Rig(proxy, first, second, third)
        made.tally, made.trials, made.recorded = tally, trials, recorded
        try:
            yield made
        finally:
            with nobody_on_the_way():
                await proxy.stop(grace_s)
        assert tally.under_way == 0, tally.totals()
        assert proxy.connections == 0
        assert proxy.in_flight == 0
