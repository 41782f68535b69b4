"""Clients for the mitmproxy ingress (HTTP/1.1 over TLS, HTTP/2 with and without TLS), and the proxy around which they stand."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import msgspec

from harness.proxy.address import UpstreamAddress
from harness.proxy.mitm import MitmOptions, MitmServer
from harness.proxy.server import ProxyOptions
from tests.proxy.rig import Answer, Behaviour, Rig, read_answers, rig

FRONTS = ("http1", "tls", "h2c", "h2")
"""How a client may come: HTTP/1.1 and HTTP/2, each without and with TLS."""
GOAWAY = 7
"""A frame's type."""
Pairs = list[tuple[bytes, bytes]]


def mitm_rig(
    confdir: Path,
    stable: Behaviour | None = None,
    *,
    mode: str = "reverse",
    http3: bool = False,
    candidate_at: UpstreamAddress | None = None,
    **options: Any,
) -> contextlib.AbstractAsyncContextManager[Rig]:
    """As `rig`, with the mitmproxy ingress. `candidate_at` is asked instead of the candidate that behaves as told."""

    def make(told: ProxyOptions, **around: Any) -> MitmServer:
        told = told if candidate_at is None else msgspec.structs.replace(told, candidate=candidate_at)
        return MitmServer(told, mitm=MitmOptions(confdir=str(confdir), mode=mode, http3=http3), **around)

    return rig(stable, make=make, **options)


def trusting(confdir: Path, *alpn: str) -> ssl.SSLContext:
    """TLS settings of a client that trusts the authority."""
    context = ssl.create_default_context(cafile=confdir / "mitmproxy-ca-cert.pem")
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


@dataclass
class H2Answer:
    """An answer as an HTTP/2 client sees it."""

    status: int = 0
    headers: Pairs = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: Pairs = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    reset: int | None = None
    ended: bool = False

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)


class H2Client:
    """One HTTP/2 connection. With `reads` off it gives the server no more room than it had at first."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.connection.initiate_connection()
        self.answers: dict[int, H2Answer] = {}
        self.reads = True
        self.goaway = False
        self.closed = False
        self._unread: list[tuple[int, int]] = []
        self._news = asyncio.Event()
        self.flush()
        self._task = asyncio.get_running_loop().create_task(self._receive())

    def flush(self) -> None:
        """Send what is waiting."""
        self._writer.write(self.connection.data_to_send())

    def begin(self, method: str = "GET", path: str = "/", *pairs: tuple[bytes, bytes], host: str = "shop.example", end: bool = True) -> int:
        """Send a head; the stream's number."""
        number: int = self.connection.get_next_available_stream_id()
        self.answers[number] = H2Answer()
        head = [(b":method", method.encode()), (b":scheme", b"https"), (b":authority", host.encode()), (b":path", path.encode("latin-1"))]
        self.connection.send_headers(number, [*head, *pairs], end_stream=end)
        self.flush()
        return number

    async def body(self, number: int, data: bytes, *, end: bool = True) -> None:
        """Send a body as the server gives room. Raises ConnectionResetError where the connection ends before."""
        at = 0
        while at < len(data):
            if self.closed:
                raise ConnectionResetError
            room = min(self.connection.local_flow_control_window(number), self.connection.max_outbound_frame_size)
            if not room:
                await self.news()
                continue
            self.connection.send_data(number, data[at : at + room])
            at += room
            self.flush()
            await self._writer.drain()
        if end:
            self.connection.end_stream(number)
            self.flush()

    async def answer(self, number: int) -> H2Answer:
        """The answer once it has ended, was reset, or the connection is over."""
        got = self.answers[number]
        while not (got.ended or got.reset is not None or self.closed):
            await self.news()
        return got

    async def ask(self, method: str = "GET", path: str = "/", *pairs: tuple[bytes, bytes], body: bytes = b"", **how: Any) -> H2Answer:
        """A request and its answer."""
        number = self.begin(method, path, *pairs, end=not body, **how)
        if body:
            await self.body(number, body)
        return await self.answer(number)

    async def news(self) -> None:
        """Wait for anything from the server."""
        self._news.clear()
        if not self.closed:
            await self._news.wait()

    def read_on(self) -> None:
        """Give the server room for what came, and from now on."""
        self.reads = True
        for size, number in self._unread:
            self.connection.acknowledge_received_data(size, number)
        self._unread.clear()
        self.flush()

    async def close(self) -> None:
        self._task.cancel()
        self._writer.close()
        await asyncio.gather(self._task, self._writer.wait_closed(), return_exceptions=True)

    async def _receive(self) -> None:
        try:
            while True:
                frame = await self._reader.readexactly(9)
                frame += await self._reader.readexactly(int.from_bytes(frame[:3], "big"))
                if frame[3] == GOAWAY:
                    # The library would take it for the end of all streams, not only of new ones (RFC 9113 6.8).
                    self.goaway = True
                    self._news.set()
                    continue
                for event in self.connection.receive_data(frame):
                    self._on(event)
                self.flush()
                self._news.set()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed = True
            self._news.set()

    def _on(self, event: Any) -> None:
        got = self.answers.get(getattr(event, "stream_id", 0))
        if got is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            got.interim.append(int(dict(event.headers)[b":status"]))
        elif isinstance(event, h2.events.ResponseReceived):
            got.status = int(event.headers[0][1])
            got.headers = [tuple(pair) for pair in event.headers[1:]]
        elif isinstance(event, h2.events.DataReceived):
            got.body += event.data
            if self.reads:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            else:
                self._unread.append((event.flow_controlled_length, event.stream_id))
        elif isinstance(event, h2.events.TrailersReceived):
            got.trailers = [tuple(pair) for pair in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            got.ended = True
        elif isinstance(event, h2.events.StreamReset):
            got.reset = event.error_code


@contextlib.asynccontextmanager
async def h2_client(port: int, confdir: Path | None, name: str = "shop.example") -> AsyncIterator[H2Client]:
    """A connection; over TLS where the authority's directory is given."""
    how: dict[str, Any] = {} if confdir is None else {"ssl": trusting(confdir, "h2"), "server_hostname": name}
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **how)
    client = H2Client(reader, writer)
    try:
        yield client
    finally:
        await client.close()


async def tls_talk(port: int, confdir: Path, *pieces: bytes) -> bytes:
    """Send the pieces over TLS, which must close the connection, and read to its end."""
    context = trusting(confdir, "http/1.1")
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="shop.example")
    try:
        writer.write(b"".join(pieces))
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(front: str, r: Rig, confdir: Path, *requests: bytes) -> list[Answer]:
    """The answers to plain requests without a body, however the client comes; those of HTTP/2 are put as HTTP/1.1 has them."""
    methods = [request.split(b" ")[0].decode() for request in requests]
    if front == "http1":
        return read_answers(await r.talk(*requests), *methods)
    if front == "tls":
        last = requests[-1].replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        return read_answers(await tls_talk(r.proxy.port, confdir, *requests[:-1], last), *methods)
    async with h2_client(r.proxy.port, confdir if front == "h2" else None) as client:
        numbers = []
        for request in requests:
            method, path, _ = request.split(b"\r\n")[0].decode("latin-1").split(" ")
            lines = [line.partition(b":") for line in request.split(b"\r\n")[1:-2]]
            pairs = [(name.lower(), value.strip()) for name, _, value in lines if name.lower() not in {b"host", b"connection"}]
            numbers.append(client.begin(method, path, *pairs))
        out = []
        for number in numbers:
            got = await client.answer(number)
            assert got.ended, got
            out.append(Answer(b"HTTP/2 %d" % got.status, got.headers, bytes(got.body), got.trailers))
        return out
