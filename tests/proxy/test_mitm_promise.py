"""The promises of test_promise.py, kept by the mitmproxy ingress however its clients come."""

import asyncio
import contextlib
import hashlib
import random
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from harness.core.labels import ErrorKind, Role
from harness.core.limits import CAPTURE_BODY_BYTES_MAX, STREAM_BUFFER_BYTES_MAX
from harness.core.values import Exchange, Request, Trial
from harness.proxy.mitm import MitmServer
from harness.proxy.wire import GUARD_HEADER
from tests.proxy.mitm_rig import FRONTS, H2Client, ask, h2_client, mitm_rig, trusting
from tests.proxy.rig import (
    LONG_S,
    LOOPS,
    RUN_S,
    WAIT_S,
    Answer,
    Rig,
    Seen,
    Upstream,
    answers,
    get,
    hang,
    ok,
    read_answers,
    reset,
    run,
    talk,
    until,
)
from tests.proxy.test_promise import CASES, OUTCOME, SHADOWS, shadow_timeout_s

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")  # mitmproxy's own use of it
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: Upgrade\r\n\r\n"


@pytest.fixture(scope="module")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority's directory; its key is made once."""
    return tmp_path_factory.mktemp("authority") / "made"


def as_seen(answer: Answer, front: str) -> tuple[int, list[tuple[bytes, bytes]], bytes, list[tuple[bytes, bytes]]]:
    """What must be the same directly and through the proxy: HTTP/2 has no reason phrase and writes names in lower case."""
    _, headers, body, trailers = answer.end_to_end()
    if front.startswith("h2"):
        headers, trailers = [(name.lower(), value) for name, value in headers], [(name.lower(), value) for name, value in trailers]
    return answer.status, headers, body, trailers


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("front", FRONTS)
def test_1_the_client_gets_the_same_directly_and_through_the_proxy(front: str, loop: str, confdir: Path) -> None:
    async def one(request: bytes, answer: bytes) -> tuple[bytes, list[Answer]]:
        close = answer.endswith((b"all there is", b"old")) or b"Connection: close" in answer
        async with mitm_rig(confdir, answers(answer, close=close), secondary=hang, candidate=reset, shadow_timeout_s=0.1) as r:
            return await talk(r.stable.port, request), await ask(front, r, confdir, request)

    async def main() -> None:
        for name, (request, answer) in CASES.items():
            if name == "304 with a length" and front.startswith("h2"):
                continue  # the h2 library's client takes it for a broken answer; curl is asked below
            direct, (got,) = await one(request, answer)
            (expected,) = read_answers(direct, "GET")
            assert as_seen(got, front) == as_seen(expected, front), name

    run(main(), loop)


def test_1_a_304_with_a_length_through_http2(confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, answers(CASES["304 with a length"][1])) as r:
            command = ["curl", "-sSi", "--max-time", "60", "--http2-prior-knowledge", f"http://{r.proxy.address}/"]
            ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
            assert ran.stdout.split(b"\r\n")[:3] == [b"HTTP/2 304 ", b"etag: x", b"content-length: 55"]

    run(main())


def test_1_early_hints_come_first(confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, answers(CASES["early hints first"][1])) as r, h2_client(r.proxy.port, confdir) as client:
            got = await client.ask()
            assert (got.interim, got.status, bytes(got.body)) == ([103], 200, b"hello")

    run(main())


@pytest.mark.parametrize("front", FRONTS)
def test_1_head_has_the_headers_and_no_body(front: str, confdir: Path) -> None:
    async def main() -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\n"
        async with mitm_rig(confdir, answers(answer), secondary=answers(answer), candidate=answers(answer)) as r:
            request = get("/x").replace(b"GET", b"HEAD")
            for got in await ask(front, r, confdir, request, request):
                assert (got.status, got.header(b"content-length"), got.body) == (200, b"5", b"")
            await r.settled()
            assert [arm.exchange.error for trial in r.trials for arm in trial.arms()] == [None] * 6

    run(main())


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("name", SHADOWS)
def test_1_a_shadow_in_trouble_is_an_outcome_and_the_client_sees_nothing(name: str, front: str, confdir: Path) -> None:
    role = Role.CANDIDATE if FRONTS.index(front) % 2 else Role.SECONDARY

    async def main() -> None:
        shadows: dict[str, Any] = {"secondary": SHADOWS["well"], "candidate": SHADOWS["well"]} | {role.value: SHADOWS[name]}
        async with mitm_rig(confdir, answers(ok(b"hi")), shadow_timeout_s=shadow_timeout_s(name), **shadows) as r:
            got = await ask(front, r, confdir, *[get(f"/{i}") for i in range(3)])
            assert [answer.body for answer in got] == [b"hi"] * 3
            await r.settled()
            assert sorted(trial.seq for trial in r.trials) == [0, 1, 2]
            for trial in r.trials:
                arms = {arm.role: arm.exchange for arm in trial.arms()}
                error = arms[role].error
                assert (None if error is None else error.kind) == OUTCOME[name]
                other = arms[Role.SECONDARY if role is Role.CANDIDATE else Role.CANDIDATE]
                assert other.response is not None
                assert other.response.body.data == b"well"

    run(main())


def test_1_live_latency_does_not_wait_for_a_hanging_candidate(confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, answers(ok(b"hi")), secondary=hang, candidate=hang, shadow_timeout_s=RUN_S, grace_s=0.05) as r:
            async with h2_client(r.proxy.port, confdir) as client:
                numbers = [client.begin(path=f"/{i}") for i in range(20)]
                assert [(await client.answer(number)).body for number in numbers] == [b"hi"] * 20
            await until(lambda: r.proxy.in_flight == 20)  # no candidate has answered
        assert r.tally.totals().shed == {"shutdown": 20}

    run(main())


def test_1_a_sink_and_a_recorder_that_raise_do_not_touch_the_client(confdir: Path) -> None:
    def broken_sink(trial: Trial) -> None:
        raise RuntimeError(trial.id)

    def broken_recorder(request: Request, exchange: Exchange) -> None:
        raise OSError("disk full")

    async def main() -> None:
        shadows: dict[str, Any] = {"secondary": answers(ok()), "candidate": answers(ok())}
        async with mitm_rig(confdir, answers(ok(b"hi")), put=broken_sink, on_exchange=broken_recorder, **shadows) as r:
            assert [answer.body for answer in await ask("h2", r, confdir, get("/1"), get("/2"))] == [b"hi", b"hi"]
            await r.settled()
            assert r.tally.totals().shed == {"fault": 2}

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_1_a_shadow_goes_out_only_after_the_client_has_its_answer(loop: str, confdir: Path) -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            await release.wait()
            writer.write(b"cd")

        async with (
            mitm_rig(confdir, stable, secondary=answers(ok()), candidate=answers(ok())) as r,
            h2_client(r.proxy.port, confdir) as client,
        ):
            number = client.begin()
            while client.answers[number].body != b"ab":
                await client.news()
            assert not r.candidate.seen
            assert r.proxy.in_flight == 0
            release.set()
            assert (await client.answer(number)).body == b"abcd"
            await r.settled()
            assert len(r.candidate.seen) == len(r.secondary.seen) == 1

    run(main(), loop)


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize(
    ("stable", "status", "reason"),
    [(None, 502, "upstream_unreachable"), (reset, 502, "upstream_broken"), (hang, 504, "upstream_timeout")],
)
def test_2_stable_in_trouble_is_a_refusal_with_a_reason(stable: Any, status: int, reason: str, front: str, confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, stable, dead_stable=stable is None, stable_silence_s=0.3 if stable is hang else LONG_S) as r:
            (got,) = await ask(front, r, confdir, get("/"))
            assert (got.status, got.header(b"x-shadowdiff-error")) == (status, reason.encode())
            assert r.tally.totals().refused == {reason: 1}

    run(main())


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nab", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"],
)
def test_2_an_answer_that_is_cut_does_not_look_complete(answer: bytes, confdir: Path) -> None:
    async def main() -> None:
        async with mitm_rig(confdir, answers(answer, close=True), secondary=answers(ok()), candidate=answers(ok())) as r:
            with pytest.raises(AssertionError, match="cut"):
                read_answers(await r.talk(get("/")), "GET")
            async with h2_client(r.proxy.port, confdir) as client:
                got = await client.ask()
                assert (got.status, got.ended) == (200, False)
                assert got.reset is not None
                assert (await client.ask(path="/again")).reset is not None, "the connection lives on"
            await r.settled()
            errors = [trial.stable.exchange.error for trial in r.trials]
            assert [error.kind for error in errors if error] == [ErrorKind.RESET] * 3

    run(main())


def read_strictly(port: int, context: ssl.SSLContext, request: bytes, go_on: threading.Event | None = None) -> bytes:
    """Read to the end of TLS, once told to; an end of the connection without it is an error (asyncio's TLS would not tell)."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname="shop.example", suppress_ragged_eofs=False) as sock,
    ):
        sock.sendall(request)
        assert go_on is None or go_on.wait(WAIT_S)
        out = bytearray()
        while data := sock.recv(65536):
            out += data
        return bytes(out)


def test_2_an_answer_until_close_that_is_cut_ends_without_the_end_of_tls(confdir: Path) -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n")
        await writer.drain()
        if b"broken" in seen.line:
            raise ConnectionResetError
        writer.write(b"0\r\n\r\n")

    async def main() -> None:
        async with mitm_rig(confdir, stable, mirror=False) as r:
            context = trusting(confdir, "http/1.1")
            context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)

            def read(path: str) -> bytes:
                return read_strictly(r.proxy.port, context, f"GET {path} HTTP/1.0\r\nHost: shop.example\r\n\r\n".encode())

            assert (await asyncio.to_thread(read, "/whole")).endswith(b"\r\n\r\nall"), "until close, and the end is said"
            with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
                await asyncio.to_thread(read, "/broken")

    run(main())


def test_2_requests_that_are_not_compared_have_their_reason(confdir: Path) -> None:
    async def main() -> None:
        shadows: dict[str, Any] = {"secondary": answers(ok()), "candidate": answers(ok())}
        async with mitm_rig(confdir, answers(ok()), **shadows) as r, h2_client(r.proxy.port, confdir) as client:
            assert (await client.ask("POST", "/", body=b"{}")).status == 200
            assert (await client.ask("GET", "/", (GUARD_HEADER.encode(), b"1"))).status == 200
            assert (await client.ask("GET", "/", body=b"x" * (CAPTURE_BODY_BYTES_MAX + 1))).status == 200
            assert (await client.ask("GE(T", "/")).status == 400
            assert (await client.ask("NONSUCH", "/")).status == 501
            assert (await client.ask("GET", "/a b")).status == 400
            client.connection.reset_stream(client.begin("POST", "/", end=False))
            client.flush()
            await r.settled()
            await until(lambda: r.tally.totals().requests == 7)
            assert r.tally.totals().skipped == {"loop": 1, "truncated_request": 1, "write": 1}
            assert r.tally.totals().refused == {"bad_request": 3, "client_gone": 1}
            assert not r.candidate.seen

    run(main())


@pytest.mark.parametrize("front", ["http1", "tls"])
def test_2_an_upgrade_is_relayed_and_not_mirrored(front: str, confdir: Path) -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(UPGRADED + b"hi")
        writer.write((await reader.readexactly(4)).upper())
        raise ConnectionResetError

    async def main() -> None:
        async with mitm_rig(confdir, stable, secondary=answers(ok()), candidate=answers(ok())) as r:
            how: dict[str, Any] = {} if front == "http1" else {"ssl": trusting(confdir), "server_hostname": "shop.example"}
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port, **how)
            writer.write(get("/chat", "Connection: Upgrade", "Upgrade: chat"))
            assert (await reader.readuntil(b"\r\n\r\nhi")).startswith(b"HTTP/1.1 101 ")
            writer.write(b"ping")
            assert await reader.read() == b"PING"
            writer.close()
            await r.settled()
            assert r.tally.totals().skipped == {"upgrade": 1}

    run(main())


def held_bytes(r: Rig) -> int:
    """What waits in the pipes of all clients."""
    assert isinstance(r.proxy, MitmServer)
    assert r.proxy._door is not None
    return sum(pipe.get_write_buffer_size() for handler in r.proxy._door.handlers.values() for pipe in handler._pipes)


def held_back(r: Rig) -> bool:
    """Whether a client is kept from sending more."""
    assert isinstance(r.proxy, MitmServer)
    assert r.proxy._door is not None
    return any(not pipe.reading for handler in r.proxy._door.handlers.values() for pipe in handler._pipes)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("front", ["h2", "tls"])
def test_3_a_client_that_does_not_read_stops_the_answer(front: str, loop: str, confdir: Path) -> None:
    piece, count = random.Random(1).randbytes(1 << 16), 500
    whole = hashlib.sha256(piece * count)
    sent = 0

    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (len(piece) * count))
        for _ in range(count):
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async def stalled(r: Rig) -> None:
        before = -1
        while before != sent or not sent:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.3)
        # In the way: the buffers of the sockets, a few MB on loopback.
        assert sent < len(piece) * count * 2 // 3, "the answer is held in memory"
        assert held_bytes(r) < 3 * STREAM_BUFFER_BYTES_MAX

    async def main() -> None:
        async with mitm_rig(confdir, stable, mirror=False) as r:
            if front == "h2":
                async with h2_client(r.proxy.port, confdir) as client:
                    client.reads = False
                    number = client.begin()
                    await stalled(r)
                    client.read_on()
                    body = bytes((await client.answer(number)).body)
            else:
                go_on = threading.Event()
                reading = asyncio.to_thread(read_strictly, r.proxy.port, trusting(confdir), get("/", "Connection: close"), go_on)
                task = asyncio.ensure_future(reading)
                await stalled(r)
                go_on.set()
                body = (await task).partition(b"\r\n\r\n")[2]
            assert hashlib.sha256(body).digest() == whole.digest()
            await until(lambda: bool(r.recorded))
            ((_, exchange),) = r.recorded
            assert exchange.response is not None
            assert len(exchange.response.body.data) == CAPTURE_BODY_BYTES_MAX
            assert exchange.response.body.digest == whole.hexdigest()

    run(main(), loop)


@pytest.mark.parametrize("front", ["h2", "http1"])
def test_3_a_stable_that_does_not_read_stops_the_request_and_no_other(front: str, confdir: Path) -> None:
    data = random.Random(2).randbytes(24 * (1 << 20))
    release = asyncio.Event()
    got = bytearray()

    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        if b"/upload" in seen.line:
            await release.wait()
            while len(got) < len(data):
                got.extend(await reader.read(1 << 16))
        writer.write(ok())

    async def through_h2(r: Rig, client: H2Client) -> None:
        number = client.begin("POST", "/upload", (b"content-length", b"%d" % len(data)), end=False)
        sending = asyncio.ensure_future(client.body(number, data))
        await until(lambda: held_back(r))
        assert (await client.ask("GET", "/other")).body == b"hello", "other streams go on"
        assert not sending.done()
        release.set()
        await sending
        assert (await client.answer(number)).body == b"hello"

    async def through_http1(r: Rig) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
        writer.write(get("/upload", f"Content-Length: {len(data)}").replace(b"GET", b"POST") + data)
        sending = asyncio.ensure_future(writer.drain())
        await until(lambda: held_back(r))
        assert not sending.done()
        release.set()
        await sending
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        writer.close()

    async def main() -> None:
        async with mitm_rig(confdir, stable, eager=True, mirror=False) as r:
            if front == "h2":
                async with h2_client(r.proxy.port, confdir) as client:
                    await through_h2(r, client)
            else:
                await through_http1(r)
            assert bytes(got) == data

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_many_clients_in_all_moods_add_up(loop: str, confdir: Path) -> None:
    async def client(r: Rig, number: int) -> None:
        if number % 7 == 3:
            async with h2_client(r.proxy.port, confdir) as hasty:
                hasty.begin()
            return
        got = await ask(FRONTS[number % len(FRONTS)], r, confdir, *[get(f"/{number}/{i}") for i in range(4)])
        assert [answer.body for answer in got] == [f"/{number}/{i}".encode() for i in range(4)]

    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(ok(seen.line.split()[1]))

    async def main() -> None:
        async with mitm_rig(confdir, stable, secondary=answers(ok()), candidate=reset) as r:
            await asyncio.gather(*(client(r, number) for number in range(28)))
            await r.settled()
            totals = r.tally.totals()
            assert totals.compared >= 24 * 4
            assert totals.requests == totals.compared + sum(totals.shed.values()) + sum(totals.refused.values())
            with contextlib.suppress(OSError):
                await r.talk(b"")
            await until(lambda: r.proxy.connections == 0)

    run(main(), loop)
