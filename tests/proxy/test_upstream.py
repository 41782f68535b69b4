"""The pool and its exchanges: outcomes of trouble, reuse and retry, TLS, Unix sockets, Host and base path."""

import asyncio
import contextlib
import gc
import hashlib
import shutil
import ssl
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.core.errors import SetupError
from harness.core.labels import ErrorKind
from harness.core.limits import CAPTURE_BODY_BYTES_MAX
from harness.core.plain import AnyExchange, opened_exchange
from harness.core.values import Exchange, Request, body_of
from harness.proxy import upstream as upstream_module
from harness.proxy.address import HostRule, parse_address
from harness.proxy.capture import BodyCapture, Budget
from harness.proxy.connection import UpstreamConnection
from harness.proxy.upstream import UpstreamPool
from harness.proxy.wire import UnsendableRequestError
from tests.proxy.rig import LONG_S, LOOPS, Behaviour, Seen, SystemClock, Upstream, answers, hang, ok, reset, run, slowly, until

GET = Request(method="GET", target="/a?b=c", headers=(("Host", "shop.example"), ("X-A", "1"), ("x-a", "2")), host="shop.example")
POST = Request(method="POST", target="/a", headers=(("Host", "h"), ("Content-Length", "99")), body=body_of(b"hello"), host="h")


@contextlib.asynccontextmanager
async def pool_to(upstream: Upstream, **options: Any) -> AsyncIterator[UpstreamPool]:
    settings: dict[str, Any] = {"connect_timeout_s": LONG_S, "exchange_timeout_s": LONG_S, "clock": SystemClock()} | options
    pool = UpstreamPool(settings.pop("target", upstream.address), **settings)
    try:
        yield pool
    finally:
        await pool.close()
        assert pool.connections == 0


def with_pool(
    behaviour: Behaviour | None, test: Callable[[UpstreamPool, Upstream], Awaitable[None]], loop: str = "asyncio", **options: Any
) -> None:
    async def main() -> None:
        async with Upstream(behaviour) as upstream, pool_to(upstream, **options) as pool:
            await test(pool, upstream)

    run(main(), loop)


def kind(exchange: Exchange) -> ErrorKind | None:
    return None if exchange.error is None else exchange.error.kind


@pytest.mark.parametrize("loop", LOOPS)
def test_an_answer_is_kept_as_it_was_on_the_wire(loop: str) -> None:
    raw = b"HTTP/1.1 201 Made It\r\nX-B: caf\xe9\r\nset-cookie: a\r\nSet-Cookie: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw += b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"

    async def test(pool: UpstreamPool, upstream: Upstream) -> None:
        exchange = await pool.send(GET)
        response = exchange.response
        assert response is not None
        assert (response.status, response.reason, response.body, response.trailers) == (201, "Made It", body_of(b"abc"), (("X-T", "1"),))
        assert response.headers[:3] == (("X-B", "café"), ("set-cookie", "a"), ("Set-Cookie", "b"))
        assert exchange.started_ns < exchange.first_byte_ns <= exchange.ended_ns
        assert upstream.seen[0].head == f"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:{upstream.port}\r\nX-A: 1\r\nx-a: 2\r\n\r\n".encode()
        assert exchange.request.headers == (("Host", f"127.0.0.1:{upstream.port}"), ("X-A", "1"), ("x-a", "2"))

    with_pool(answers(raw), test, loop)


TROUBLE: dict[str, tuple[Behaviour | None, ErrorKind]] = {
    "dead": (None, ErrorKind.REFUSED),
    "hanging": (hang, ErrorKind.TIMEOUT),
    "crawling": (slowly(ok(), 0.05), ErrorKind.TIMEOUT),
    "resetting": (reset, ErrorKind.RESET),
    "closing": (answers(b"", close=True), ErrorKind.RESET),
    "closing in the head": (answers(b"HTTP/1.1 200 OK\r\nX-A", close=True), ErrorKind.RESET),
    "closing in the body": (answers(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", close=True), ErrorKind.RESET),
    "closing in a chunk": (answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab", close=True), ErrorKind.RESET),
    "garbage": (answers(b"hello there\r\n\r\n"), ErrorKind.GARBAGE),
    "HTTP/2": (answers(b"HTTP/2.0 200 OK\r\n\r\n"), ErrorKind.GARBAGE),
    "bad chunk": (answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n"), ErrorKind.GARBAGE),
    "unknown coding": (answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab"), ErrorKind.GARBAGE),
    "odd length": (answers(b"HTTP/1.1 200 OK\r\nContent-Length: 1234567890123456789\r\n\r\n"), ErrorKind.GARBAGE),
    "two framings": (answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"), ErrorKind.GARBAGE),
    "bare LF": (answers(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"), ErrorKind.GARBAGE),
    "unasked switch": (answers(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), ErrorKind.GARBAGE),
    "endless interim": (answers(b"HTTP/1.1 102 Processing\r\n\r\n" * 30), ErrorKind.GARBAGE),
    "all framing": (answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 2_000_000), ErrorKind.GARBAGE),
    "giant field": (answers(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000), ErrorKind.TOO_LARGE),
    "giant reason": (answers(b"HTTP/1.1 200 " + b"x" * 300_000), ErrorKind.TOO_LARGE),
    "many fields": (answers(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 30_000 + b"\r\n"), ErrorKind.TOO_LARGE),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", TROUBLE)
def test_trouble_is_an_outcome_of_its_kind(name: str, loop: str) -> None:
    behaviour, expected = TROUBLE[name]

    async def test(pool: UpstreamPool, _: Upstream) -> None:
        exchange = await pool.send(GET)
        assert kind(exchange) is expected
        assert exchange.response is None
        assert exchange.ended_ns > exchange.started_ns
        assert exchange.error is not None
        assert exchange.error.message
        assert pool.idle == 0

    with_pool(behaviour, test, loop, exchange_timeout_s=0.3 if expected is ErrorKind.TIMEOUT else LONG_S)


def test_bytes_after_an_answer_end_the_connection_and_not_the_answer() -> None:
    for extra in (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"junk"):

        async def test(pool: UpstreamPool, upstream: Upstream) -> None:
            for _ in range(2):
                exchange = await pool.send(GET)
                assert exchange.response is not None
                assert exchange.response.body.data == b"hello"
            assert upstream.connections == 2

        with_pool(answers(ok() + extra), test)


def test_a_body_after_head_ends_the_connection_and_not_the_answer() -> None:
    async def test(pool: UpstreamPool, upstream: Upstream) -> None:
        for _ in range(2):
            exchange = await pool.send(msgspec.structs.replace(GET, method="HEAD"))
            assert exchange.response is not None
            assert exchange.response.body.size == 0
        assert upstream.connections == 2

    with_pool(answers(ok(b"should not be here")), test)


def test_unasked_bytes_on_an_idle_connection_close_it() -> None:
    async def late(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(ok())
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")

    async def test(pool: UpstreamPool, _: Upstream) -> None:
        assert kind(await pool.send(GET)) is None
        await until(lambda: pool._take(100) is None)
        assert kind(await pool.send(GET)) is None

    with_pool(late, test)


def test_a_large_body_is_kept_in_part_with_size_and_digest_of_the_whole() -> None:
    body = b"0123456789" * 600_000

    async def test(pool: UpstreamPool, _: Upstream) -> None:
        exchange = await pool.send(GET)
        assert exchange.response is not None
        kept = exchange.response.body
        assert (len(kept.data), kept.size, kept.digest) == (CAPTURE_BODY_BYTES_MAX, len(body), hashlib.sha256(body).hexdigest())

    with_pool(answers(ok(body)), test)


async def endless(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
    """An answer that never ends, as fast as it is taken."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize("loop", LOOPS)
def test_an_answer_beyond_its_bound_is_given_up_and_nothing_of_it_is_kept(loop: str) -> None:
    async def test(pool: UpstreamPool, _: Upstream) -> None:
        done: list[AnyExchange] = []
        pool.submit(GET, done.append, answer_bytes_max=1_000_000)
        await until(lambda: bool(done))
        ended = opened_exchange(done[0], GET)
        assert (kind(ended), ended.response) == (ErrorKind.TOO_LARGE, None)
        assert not [one for one in gc.get_objects() if isinstance(one, BodyCapture) and one.size]

    gc.collect()
    gc.disable()  # what only a collection of cycles would free is held for as long as the process pleases
    try:
        with_pool(endless, test, loop, exchange_timeout_s=1000.0)
    finally:
        gc.enable()


def test_answers_under_way_share_one_bound_on_what_is_kept_of_them() -> None:
    budget = Budget(150_000)
    body = bytes(range(256)) * 400

    async def test(pool: UpstreamPool, _: Upstream) -> None:
        exchanges = await asyncio.gather(*[pool.send(GET) for _ in range(4)])
        bodies = [exchange.response.body for exchange in exchanges if exchange.response is not None]
        assert [one.size for one in bodies] == [len(body)] * 4
        assert any(one.truncated for one in bodies), "more come at once than may be kept whole"
        assert {one.digest for one in bodies if one.truncated} == {hashlib.sha256(body).hexdigest()}
        assert budget.held == 0
        whole = (await pool.send(GET)).response
        assert whole is not None
        assert whole.body.data == body, "one alone has room"

    async def together(upstream: Upstream, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _seen: Seen) -> None:
        raw = ok(body)
        writer.write(raw[: len(raw) // 2])
        while upstream.connections < 4:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        writer.write(raw[len(raw) // 2 :])
        await writer.drain()

    with_pool(together, test, budget=budget)


def test_a_long_answer_lets_others_have_their_turn() -> None:
    async def test(pool: UpstreamPool, _: Upstream) -> None:
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            asyncio.get_running_loop().call_soon(turn)

        done: list[AnyExchange] = []
        pool.submit(GET, done.append, answer_bytes_max=8_000_000)
        sizes: list[int] = []
        read = UpstreamConnection.data_received

        def counted(self: UpstreamConnection, data: bytes) -> None:
            sizes.append(turns)
            read(self, data)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(UpstreamConnection, "data_received", counted)
            turn()
            await until(lambda: bool(done))
        assert max(Counter(sizes).values()) <= 2, "reads of one turn of the loop"

    with_pool(endless, test, "uvloop", exchange_timeout_s=1000.0)


@pytest.mark.parametrize("loop", LOOPS)
def test_connections_are_used_again_and_idle_ones_are_bounded(loop: str) -> None:
    async def test(pool: UpstreamPool, upstream: Upstream) -> None:
        for _ in range(3):
            await pool.send(GET)
        assert upstream.connections == 1
        await asyncio.gather(*[pool.send(GET) for _ in range(6)])
        assert pool.idle == 2
        await until(lambda: pool.connections == 2)

    with_pool(answers(ok()), test, loop, idle_connections_max=2)


def test_a_connection_that_was_idle_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(pool: UpstreamPool, upstream: Upstream) -> None:
        await pool.send(GET)
        monkeypatch.setattr(upstream_module, "IDLE_SECONDS_MAX_UNSAFE", -1.0)
        await pool.send(POST)
        assert upstream.connections == 2
        await pool.send(GET)
        assert upstream.connections == 2
        monkeypatch.setattr(upstream_module, "IDLE_SECONDS_MAX", -1.0)
        await pool.send(GET)
        assert upstream.connections == 3

    with_pool(answers(ok()), test)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_stale_connection_is_retried_once_for_safe_methods_only(method: str, loop: str) -> None:
    async def behave(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        if len(upstream.seen) == 2:
            raise ConnectionResetError  # closes without a byte, as a server does whose keep-alive time ran out
        writer.write(ok())

    async def test(pool: UpstreamPool, upstream: Upstream) -> None:
        await pool.send(GET)
        exchange = await pool.send(msgspec.structs.replace(POST, method=method))
        if method == "GET":
            assert kind(exchange) is None
            assert [seen.body for seen in upstream.seen] == [b"", b"hello", b"hello"]
        else:
            assert kind(exchange) is ErrorKind.RESET
            assert len(upstream.seen) == 2

    with_pool(behave, test, loop)


def test_a_new_connection_that_closes_is_not_retried() -> None:
    async def test(pool: UpstreamPool, upstream: Upstream) -> None:
        assert kind(await pool.send(GET)) is ErrorKind.RESET
        assert len(upstream.seen) == 1

    with_pool(answers(b"", close=True), test)


def test_framing_of_buffered_requests() -> None:
    async def test(pool: UpstreamPool, upstream: Upstream) -> None:
        chunked = msgspec.structs.replace(POST, headers=(("Host", "h"), ("Transfer-Encoding", "chunked"), ("Expect", "100-continue")))
        bare = msgspec.structs.replace(POST, headers=())
        for request in (POST, chunked, bare):
            assert kind(await pool.send(request, extra=(("X-Guard", "1"),))) is None
        with_length, with_chunks, added = upstream.seen
        assert (b"Content-Length", b"5") in with_length.headers
        assert with_chunks.raw_body == b"5\r\nhello\r\n0\r\n\r\n"
        assert b"Expect" not in with_chunks.head
        assert added.headers == [(b"Host", b"h"), (b"Content-Length", b"5"), (b"X-Guard", b"1")]

    with_pool(answers(ok()), test, host=HostRule.KEEP)


def test_host_and_base_path() -> None:
    async def main() -> None:
        async with Upstream(answers(ok())) as upstream:
            target = parse_address(f"http://127.0.0.1:{upstream.port}/v2/")
            async with pool_to(upstream, target=target, host=HostRule.KEEP) as pool:
                await pool.send(GET)
                await pool.send(msgspec.structs.replace(GET, headers=(), host=""))
                await pool.send(msgspec.structs.replace(GET, method="OPTIONS", target="*"))
            assert [seen.line for seen in upstream.seen] == [b"GET /v2/a?b=c HTTP/1.1"] * 2 + [b"OPTIONS * HTTP/1.1"]
            own = f"127.0.0.1:{upstream.port}".encode()
            assert [seen.headers[0][1] for seen in upstream.seen] == [b"shop.example", own, b"shop.example"]

    run(main())


@pytest.mark.parametrize(
    "request_",
    [
        msgspec.structs.replace(GET, headers=(("X-A", "b\r\nX-Evil: 1"),)),
        msgspec.structs.replace(GET, headers=((":path", "/"),)),
        msgspec.structs.replace(GET, headers=(("X A", "b"),)),
        msgspec.structs.replace(GET, headers=(("X-A", "\u20ac"),)),
        msgspec.structs.replace(GET, target="/a b"),
        msgspec.structs.replace(GET, target="a"),
        msgspec.structs.replace(GET, target="*"),
        msgspec.structs.replace(GET, method="G T"),
        msgspec.structs.replace(GET, method="CONNECT"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_sent(request_: Request) -> None:
    async def test(pool: UpstreamPool, upstream: Upstream) -> None:
        with pytest.raises(UnsendableRequestError):
            await pool.send(request_)
        assert upstream.connections == 0

    with_pool(answers(ok()), test)


@pytest.mark.parametrize("loop", LOOPS)
def test_cancelling_and_closing_give_exchanges_up(loop: str) -> None:
    async def test(pool: UpstreamPool, upstream: Upstream) -> None:
        task = asyncio.ensure_future(pool.send(GET))
        await until(lambda: len(upstream.seen) == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: pool.connections == 0)
        waiting = [asyncio.ensure_future(pool.send(GET)) for _ in range(2)]
        await until(lambda: len(upstream.seen) == 3)
        await pool.close()
        assert [kind(exchange) for exchange in await asyncio.gather(*waiting)] == [ErrorKind.RESET] * 2
        assert kind(await pool.send(GET)) is ErrorKind.REFUSED

    with_pool(hang, test, loop)


def test_a_call_given_up_while_connecting_leaves_its_connection_to_others() -> None:
    async def test(pool: UpstreamPool, upstream: Upstream) -> None:
        pool.submit(GET, lambda _: pytest.fail("given up before it was sent")).abort()
        call = pool.submit(GET, lambda _: pytest.fail("given up"))
        await asyncio.sleep(0)
        call.abort()
        await until(lambda: pool.idle == 1)
        assert kind(await pool.send(GET)) is None
        assert upstream.connections == 1

    with_pool(answers(ok()), test)


def test_a_connection_that_cannot_be_made_in_time() -> None:
    async def test(pool: UpstreamPool, _: Upstream) -> None:
        exchange = await pool.send(GET)
        assert kind(exchange) is ErrorKind.TIMEOUT
        assert exchange.error is not None
        assert "no connection" in exchange.error.message

    with_pool(answers(ok()), test, connect_timeout_s=0.0)


def test_a_host_name_that_does_not_exist_is_refused() -> None:
    target = parse_address("http://" + "a" * 70 + ".invalid:1")  # a label too long: no resolver is asked

    async def test(pool: UpstreamPool, _: Upstream) -> None:
        assert kind(await pool.send(GET)) is ErrorKind.REFUSED

    with_pool(answers(ok()), test, target=target)


@pytest.mark.parametrize("loop", LOOPS)
def test_unix_sockets(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        async with Upstream(answers(ok()), unix=str(tmp_path / "s")) as upstream, pool_to(upstream) as pool:
            assert kind(await pool.send(GET)) is None
            assert (b"Host", b"localhost") in upstream.seen[0].headers

    run(main(), loop)


def test_ipv6_literals() -> None:
    async def main() -> None:
        try:
            server = await asyncio.start_server(lambda reader, writer: writer.close(), "::1", 0)
        except OSError:
            pytest.skip("no IPv6 here")
        port = server.sockets[0].getsockname()[1]
        async with Upstream(None) as upstream, pool_to(upstream, target=parse_address(f"http://[::1]:{port}")) as pool:
            assert pool.host_for("") == f"[::1]:{port}"
            assert kind(await pool.send(GET)) is ErrorKind.RESET
        server.close()
        await server.wait_closed()

    run(main())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=shop.test", "-addext", "subjectAltName=DNS:shop.test"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    return folder


@contextlib.asynccontextmanager
async def plain_speaker() -> AsyncIterator[Upstream]:
    """A server that greets in plain text, whoever comes."""

    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        writer.close()

    greeter = Upstream(None)
    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    greeter.port = server.sockets[0].getsockname()[1]
    yield greeter
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("loop", LOOPS)
def test_tls_verifies_with_an_own_ca_and_a_name(certificate: Path, loop: str) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    ca = str(certificate / "cert.pem")

    async def outcome(upstream: Upstream, **options: Any) -> ErrorKind | None:
        target = parse_address(f"https://127.0.0.1:{upstream.port}", **options)
        async with pool_to(upstream, target=target) as pool:
            return kind(await pool.send(GET))

    async def main() -> None:
        async with Upstream(answers(ok()), tls=server_side) as upstream, plain_speaker() as talking:
            assert await outcome(upstream, ca_file=ca, server_name="shop.test") is None
            assert await outcome(upstream, ca_file=ca) is ErrorKind.TLS
            assert await outcome(upstream, server_name="shop.test") is ErrorKind.TLS
            assert await outcome(upstream, verify=False) is None
            assert await outcome(talking, ca_file=ca) is ErrorKind.TLS

    run(main(), loop)


def test_an_unusable_ca_file_is_a_set_up_error(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nothing of use")

    async def main() -> None:
        for name in ("bad.pem", "missing.pem"):
            target = parse_address("https://a", ca_file=str(tmp_path / name))
            with pytest.raises(SetupError, match="CA file"):
                UpstreamPool(target, connect_timeout_s=1, exchange_timeout_s=1, clock=SystemClock())

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stream_without_end_is_an_answer_as_far_as_it_was_heard(monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    monkeypatch.setattr(upstream_module, "STREAM_SECONDS_MAX", 0.3)

    async def for_ever(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"data: 1\n\n")
                await writer.drain()
                await asyncio.sleep(0.02)

    async def test(pool: UpstreamPool, upstream: Upstream) -> None:
        exchange = await pool.send(GET)
        assert exchange.error is None
        assert exchange.response is not None
        assert exchange.response.body.open
        assert exchange.response.body.data.startswith(b"data: 1\n\n")
        assert not pool.calls.all()

    with_pool(for_ever, test, loop)


def test_a_stream_that_ends_or_breaks_is_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def test(pool: UpstreamPool, upstream: Upstream) -> None:
        whole = await pool.send(GET)
        assert whole.response is not None
        assert not whole.response.body.open
        assert kind(await pool.send(GET)) is ErrorKind.RESET

    async def once_whole(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        end = b"0\r\n\r\n" if len(upstream.seen) == 1 else b""
        writer.write(head + b"9\r\ndata: 1\n\n\r\n" + end)
        await writer.drain()
        if not end:
            await reset(upstream, reader, writer, seen)

    with_pool(once_whole, test)
