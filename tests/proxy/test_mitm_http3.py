"""HTTP/3 through the mitmproxy ingress, asked with aioquic's client: the same promises."""

import asyncio
import contextlib
import hashlib
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

from tests.proxy.mitm_rig import H2Answer, mitm_rig
from tests.proxy.rig import LOOPS, WAIT_S, Seen, Upstream, answers, get, hang, ok, read_answers, reset, run, talk, until
from tests.proxy.test_promise import CASES

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")  # mitmproxy's own use of it


@pytest.fixture(scope="module")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority's directory; its key is made once."""
    return tmp_path_factory.mktemp("authority") / "made"


class H3Client(QuicConnectionProtocol):  # type: ignore[misc]  # aioquic has types for nobody
    """One HTTP/3 connection. While it is deaf, what comes is lost."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._http = H3Connection(self._quic)
        self._answers: dict[int, H2Answer] = {}
        self._news = asyncio.Event()
        self.deaf = False

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self.deaf:
            super().datagram_received(data, addr)

    def quic_event_received(self, event: Any) -> None:
        for each in self._http.handle_event(event):
            got = self._answers[each.stream_id]
            if isinstance(each, HeadersReceived) and got.status:
                got.trailers = each.headers
            elif isinstance(each, HeadersReceived):
                got.status, got.headers = int(each.headers[0][1]), each.headers[1:]
            elif isinstance(each, DataReceived):
                got.body += each.data
            got.ended = got.ended or each.stream_ended
        self._news.set()

    def begin(self, method: str, path: str, *pairs: tuple[bytes, bytes], body: bytes = b"") -> H2Answer:
        """Send a request; its answer, still to come."""
        number = self._quic.get_next_available_stream_id()
        got = self._answers[number] = H2Answer()
        head = [(b":method", method.encode()), (b":scheme", b"https"), (b":authority", b"shop.example"), (b":path", path.encode())]
        self._http.send_headers(number, [*head, *pairs], end_stream=not body)
        if body:
            self._http.send_data(number, body, end_stream=True)
        self.transmit()
        return got

    async def ask(self, method: str, path: str, *pairs: tuple[bytes, bytes], body: bytes = b"") -> H2Answer:
        """A request and its answer."""
        got = self.begin(method, path, *pairs, body=body)
        async with asyncio.timeout(WAIT_S):
            while not got.ended:
                self._news.clear()
                await self._news.wait()
        return got


@contextlib.asynccontextmanager
async def h3_client(port: int, confdir: Path) -> AsyncIterator[H3Client]:
    """A connection that trusts the authority."""
    told = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="shop.example")
    told.load_verify_locations(str(confdir / "mitmproxy-ca-cert.pem"))
    async with connect("127.0.0.1", port, configuration=told, create_protocol=H3Client) as client:
        yield client


@pytest.mark.parametrize("loop", LOOPS)
def test_the_client_gets_the_same_directly_and_through_the_proxy(loop: str, confdir: Path) -> None:
    async def main() -> None:
        for name, (request, answer) in CASES.items():
            if name == "304 with a length":
                continue  # aioquic's client takes it for a broken answer
            close = answer.endswith((b"all there is", b"old")) or b"Connection: close" in answer
            told: dict[str, Any] = {"secondary": hang, "candidate": reset, "shadow_timeout_s": 0.1, "http3": True}
            async with mitm_rig(confdir, answers(answer, close=close), **told) as r:
                (expected,) = read_answers(await talk(r.stable.port, request), "GET")
                async with h3_client(r.proxy.port, confdir) as client:
                    te = ((b"te", b"trailers"),) if b"TE:" in request else ()
                    got = await client.ask("GET", request.split(b" ")[1].decode(), *te)
            _, headers, body, trailers = expected.end_to_end()
            assert got.status == expected.status, name
            assert got.headers == [(key.lower(), value) for key, value in headers], name
            assert bytes(got.body) == body, name
            assert got.trailers == [(key.lower(), value) for key, value in trailers], name

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_each_request_has_one_outcome(loop: str, confdir: Path) -> None:
    async def main() -> None:
        shadows: dict[str, Any] = {"secondary": answers(ok()), "candidate": None}
        async with mitm_rig(confdir, answers(ok()), http3=True, **shadows) as r:
            async with h3_client(r.proxy.port, confdir) as client:
                assert [(await client.ask("GET", f"/{i}")).status for i in range(3)] == [200] * 3
                assert (await client.ask("POST", "/", body=b"body")).status == 200
                assert (await client.ask("GE(T", "/")).status == 400
            assert read_answers(await r.talk(get("/")), "GET")[0].status == 200, "the TCP port serves as ever"
            await r.settled()
            totals = r.tally.totals()
            assert (totals.compared, totals.errors) == (4, {"candidate": 4})
            assert (totals.skipped, totals.refused) == ({"write": 1}, {"bad_request": 1})
            assert r.stable.seen[3].body == b"body"

    run(main(), loop)


def test_a_client_that_takes_nothing_stops_the_answer(confdir: Path) -> None:
    piece, count = random.Random(1).randbytes(1 << 16), 120
    sent = 0

    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        nonlocal sent
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(piece))  # the system would hold megabytes
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(piece) * count))
        for _ in range(count):
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async def main() -> None:
        async with mitm_rig(confdir, stable, http3=True, mirror=False) as r, h3_client(r.proxy.port, confdir) as client:
            got = client.begin("GET", "/")
            await until(lambda: len(got.body) > len(piece))
            client.deaf = True
            before = -1
            while before != sent:  # until nothing moves any more
                before = sent
                await asyncio.sleep(0.3)
            assert sent < len(piece) * count * 2 // 3, "the answer is held in memory"
            client.deaf = False
            await until(lambda: got.ended)
            assert hashlib.sha256(got.body).digest() == hashlib.sha256(piece * count).digest()

    run(main())


def test_stopping_ends_the_connections(confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, hang, http3=True) as r, h3_client(r.proxy.port, confdir) as client:
            client.begin("GET", "/")
            await until(lambda: len(r.stable.seen) == 1)
            await r.proxy.stop(0.1)
            assert r.tally.totals().refused == {"shutdown": 1}
            assert r.proxy.connections == 0

    run(main())
