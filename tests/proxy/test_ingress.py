"""The client's side: framing, pipelining, refusals, time-outs, half-closed and vanishing clients, back-pressure."""

import asyncio
import contextlib
import hashlib
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.limits import CAPTURE_BODY_BYTES_MAX, HEAD_BYTES_MAX, REQUEST_BODY_BYTES_MAX, STREAM_BUFFER_BYTES_MAX
from harness.proxy import deadlines
from harness.proxy.address import parse_address
from harness.proxy.deadlines import ClientTimeouts
from harness.proxy.ingress import ClientConnection
from tests.proxy.rig import LOOPS, SHORT_S, Seen, Upstream, answers, get, hang, ok, read_answers, read_body, rig, run, turns, until

POST = b"POST /things HTTP/1.1\r\nHost: h\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

SMUGGLING: dict[str, bytes] = {
    "length and coding (RFC 9112 6.1)": POST + b"Content-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n",
    "coding and length (6.1)": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths (6.3)": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "two equal lengths (6.3)": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "list of lengths (6.3)": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "signed length": POST + b"Content-Length: +5\r\n\r\nhello",
    "negative length": POST + b"Content-Length: -5\r\n\r\nhello",
    "hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "spaced length": POST + b"Content-Length: 1 2\r\n\r\nhello",
    "empty length": POST + b"Content-Length:\r\n\r\n",
    "huge length": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "coding twice": POST + b"Transfer-Encoding: chunked\r\n" + CHUNKED + b"0\r\n\r\n",
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "coding after vertical tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "coding in HTTP/1.0 (6.1)": b"POST / HTTP/1.0\r\nHost: h\r\n" + CHUNKED + b"0\r\n\r\n",
    "space before colon (5.1)": POST + b"Content-Length : 5\r\n\r\nhello",
    "obs-fold (5.2)": POST + b"X-A: b\r\n c\r\n\r\n",
    "leading space in first field (2.2)": b"GET / HTTP/1.1\r\n Host: h\r\n\r\n",
    "bare LF in head (2.2)": b"GET / HTTP/1.1\nHost: h\n\n",
    "bare LF after a field": POST + b"X-A: b\nContent-Length: 0\r\n\r\n",
    "bare CR in value (2.2)": POST + b"X-A: b\rX-B: c\r\n\r\n",
    "NUL in value": POST + b"X-A: b\x00c\r\n\r\n",
    "no colon": POST + b"X-A\r\n\r\n",
    "empty field name": POST + b": b\r\n\r\n",
    "no host (3.2)": b"GET / HTTP/1.1\r\nX-A: b\r\n\r\n",
    "two hosts (3.2)": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "chunk size signed (7.1)": POST + CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n",
    "chunk size with 0x": POST + CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "chunk size with space": POST + CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "chunk size too large": POST + CHUNKED + b"11111111111111111\r\nabc\r\n0\r\n\r\n",
    "chunk size empty": POST + CHUNKED + b"\r\nabc\r\n0\r\n\r\n",
    "chunk longer than said": POST + CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
    "chunk ended by LF": POST + CHUNKED + b"3\nabc\n0\n\n",
    "LF in chunk extension": POST + CHUNKED + b"3;a=\nb\r\nabc\r\n0\r\n\r\n",
    "folded trailer": POST + CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n",
    "length in trailer": POST + CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: h\r\n\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "RTSP": b"DESCRIBE / RTSP/1.0\r\n\r\n",
    "space in target": b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
    "control in target": b"GET /a\x7f HTTP/1.1\r\nHost: h\r\n\r\n",
    "star for GET": b"GET * HTTP/1.1\r\nHost: h\r\n\r\n",
    "absolute form of another scheme": b"GET ftp://a/b HTTP/1.1\r\nHost: h\r\n\r\n",
    "unknown method": b"FROBNICATE / HTTP/1.1\r\nHost: h\r\n\r\n",
    "method in lower case": b"get / HTTP/1.1\r\nHost: h\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 40,
}


@pytest.mark.parametrize("name", SMUGGLING)
@pytest.mark.parametrize("bytewise", [False, True])
def test_what_could_be_read_in_two_ways_is_refused_and_closed(name: str, bytewise: bool) -> None:
    async def main() -> None:
        async with rig(answers(ok())) as r:
            raw = SMUGGLING[name] + get("/smuggled")
            pieces = [raw[i : i + 1] for i in range(len(raw))] if bytewise else [raw]
            got = await r.talk(*pieces, pause=bytewise)
            (answer,) = read_answers(got, "GET")
            assert answer.status in {400, 501, 505}
            assert answer.header(b"x-shadowdiff-error") == b"bad_request"
            assert answer.header(b"connection") == b"close"
            assert all(seen.line.startswith(b"POST /things") for seen in r.stable.seen), "nothing was smuggled"
            assert not any(seen.body for seen in r.stable.seen)
            assert r.tally.totals().refused == {"bad_request": 1}

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_refusal_is_answered_after_the_requests_before_it(loop: str) -> None:
    async def main() -> None:
        async with rig(answers(ok(b"one"), ok(b"two"))) as r:
            raw = await r.talk(get("/1") + get("/2") + b"GET / HTTP/1.1\r\nHost : h\r\n\r\n" + get("/4"))
            first, second, third = read_answers(raw, "GET", "GET", "GET")
            assert (first.body, second.body, third.status) == (b"one", b"two", 400)
            await r.settled()
            assert r.tally.totals().requests == 3

    run(main(), loop)


def test_connect_is_refused() -> None:
    async def main() -> None:
        async with rig() as r:
            (answer,) = read_answers(await r.talk(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), "GET")
            assert answer.status == 501
            assert r.tally.totals().refused == {"connect": 1}

    run(main())


@pytest.mark.parametrize(
    "head",
    [
        get("/", "X-Big: " + "a" * HEAD_BYTES_MAX),
        get("/" + "a" * HEAD_BYTES_MAX),
        get("/", *[f"X-{i}: {'a' * 1000}" for i in range(70)]),
        b"GET / HTTP/1.1\r\nHost: h\r\nX-Endless: " + b"a" * 400_000,
    ],
    ids=["one field", "target", "many fields", "endless"],
)
def test_large_heads_are_refused_with_431_and_long_targets_with_414(head: bytes) -> None:
    async def main() -> None:
        async with rig() as r:
            (answer,) = read_answers(await r.talk(head), "GET")
            assert answer.status == (414 if head.startswith(b"GET /aa") else 431)
            assert r.tally.totals().refused == {"head_too_large": 1}
            assert not r.stable.seen

    run(main())


def test_a_head_at_the_bound_passes() -> None:
    async def main() -> None:
        async with rig() as r:
            (answer,) = read_answers(await r.talk(get("/", "X-Big: " + "a" * (HEAD_BYTES_MAX - 200))), "GET")
            assert answer.status == 200

    run(main())


def test_large_bodies_are_refused_with_413() -> None:
    async def main() -> None:
        async with rig() as r:
            raw = await r.talk(POST + f"Content-Length: {REQUEST_BODY_BYTES_MAX + 1}\r\n\r\n".encode() + b"x" * 1000, half_close=False)
            assert read_answers(raw, "POST")[0].status == 413
            assert r.tally.totals().refused == {"body_too_large": 1}
            assert not r.stable.seen

    run(main())


def test_chunked_bodies_beyond_the_bound_and_bodies_that_are_all_framing_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.proxy.parsing.REQUEST_BODY_BYTES_MAX", 10_000)

    async def main() -> None:
        async with rig() as r:
            raw = await r.talk(POST + CHUNKED + b"2000\r\n" + b"x" * 0x2000 + b"\r\n2000\r\n" + b"x" * 0x2000 + b"\r\n", half_close=False)
            assert read_answers(raw, "POST")[0].status == 413
            pieces = [POST + CHUNKED, *[b"1;" + b"e" * 30_000 + b"\r\nx\r\n"] * 8]
            raw = await r.talk(*pieces, half_close=False)
            assert read_answers(raw, "POST")[0].status == 400

    run(main())


BODIES = {
    "length": (POST + b"Content-Length: 11\r\n\r\nhello world", b"hello world"),
    "no body": (POST + b"Content-Length: 0\r\n\r\n", b""),
    "no framing": (POST + b"\r\n", b""),
    "chunked": (POST + CHUNKED + b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n", b"hello world"),
    "chunked with trailers": (POST + b"Trailer: X-Sum\r\n" + CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 9\r\nHost: evil\r\n\r\n", b"hello"),
    "upgrade to HTTP/2 offered": (
        POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nContent-Length: 5\r\n\r\nhello",
        b"hello",
    ),
    "upgrade offered, chunked": (
        POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + CHUNKED + b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
        b"hello",
    ),
    "upgrade offered, no body": (get("/", "Connection: Upgrade", "Upgrade: h2c"), b""),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", BODIES)
def test_request_bodies_arrive_whole_or_byte_by_byte(name: str, loop: str) -> None:
    raw, body = BODIES[name]

    async def main() -> None:
        async with rig(answers(ok()), allow_writes=True, secondary=answers(ok()), candidate=answers(ok())) as r:
            await r.talk(raw, raw)
            await r.talk(*[raw[i : i + 1] for i in range(len(raw))], pause=True)
            await r.settled()
            for target in (r.stable, r.secondary, r.candidate):
                assert [seen.body for seen in target.seen] == [body] * 3
            assert {trial.request.body.data for trial in r.trials} == {body}
            if name == "chunked with trailers":
                assert b"\r\nTrailer: X-Sum\r\n" in r.stable.seen[0].head
                assert r.stable.seen[0].raw_body.endswith(b"0\r\nX-Sum: 9\r\n\r\n")

    run(main(), loop)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=12).map(sorted), loop=st.sampled_from(sorted(LOOPS)))
def test_however_the_bytes_are_split_the_answers_are_the_same(cuts: list[int], loop: str) -> None:
    raw = get("/first") + BODIES["chunked with trailers"][0] + BODIES["upgrade offered, chunked"][0] + get("/last", "Connection: close")
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    async def main() -> None:
        async with rig(answers(ok(b"1"), ok(b"2"), ok(b"3"), ok(b"4")), mirror=False) as r:
            got = read_answers(await r.talk(*pieces, pause=True), "GET", "POST", "POST", "GET")
            assert [answer.body for answer in got] == [b"1", b"2", b"3", b"4"]
            assert [seen.body for seen in r.stable.seen] == [b"", b"hello", b"hello", b""]
            assert [seen.line.split()[1] for seen in r.stable.seen] == [b"/first", b"/things", b"/things", b"/last"]

    run(main(), loop)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"GET / HTTP/1.1\r\n", POST, POST + CHUNKED]))
def test_no_input_harms_the_proxy(noise: bytes, start: bytes) -> None:
    async def main() -> None:
        async with rig(mirror=False) as r:
            await r.talk(start + noise)
            assert read_answers(await r.talk(get("/")), "GET")[0].body == b"hello"

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_many_pipelined_requests_are_answered_in_order(loop: str) -> None:
    async def echo(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(ok(seen.line.split()[1]))

    async def main() -> None:
        async with rig(echo, secondary=echo, candidate=echo) as r:
            count = 300
            raw = await r.talk(b"".join(get(f"/{i}") for i in range(count)))
            assert [answer.body for answer in read_answers(raw, *["GET"] * count)] == [b"/%d" % i for i in range(count)]
            await r.settled()
            assert r.tally.totals().requests == count

    run(main(), loop)


def test_pipelined_uploads_wait_in_bounded_memory() -> None:
    body = b"x" * 2_000_000

    async def main() -> None:
        async with rig(hang, mirror=False, stable_silence_s=SHORT_S) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(get("/hanging") + b"".join([POST + b"Content-Length: %d\r\n\r\n" % len(body) + body] * 4))
            await until(lambda: len(r.stable.seen) == 1)
            await asyncio.sleep(0.1)
            assert writer.transport.get_write_buffer_size() > 1_000_000, "the proxy reads no further"
            raw = await reader.readuntil(b"\r\n\r\n")
            assert raw.startswith(b"HTTP/1.1 504")
            writer.transport.abort()

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("answer_first", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_expect_100_continue_is_between_client_and_stable(answer_first: bytes, loop: str) -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        assert (b"Expect", b"100-continue") in seen.headers
        if not answer_first:
            writer.write(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            raise ConnectionResetError
        writer.write(answer_first)
        body, _ = await read_body(reader, seen.head)
        writer.write(ok(body))

    async def main() -> None:
        async with rig(stable, eager=True, allow_writes=True, secondary=answers(ok()), candidate=answers(ok())) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            if answer_first:
                assert head == answer_first
                writer.write(b"hello")
                assert (await reader.readuntil(b"hello")).endswith(b"\r\n\r\nhello")
                await r.settled()
                assert [name.lower() for name, _ in r.candidate.seen[0].headers].count(b"expect") == 0
                assert r.candidate.seen[0].body == b"hello"
            else:
                assert head.startswith(b"HTTP/1.1 417")
                assert await reader.read() == b""
                assert r.tally.totals().skipped == {"truncated_request": 1}
            writer.close()

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_answer_before_the_request_ends_reaches_the_client_and_closes(loop: str) -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        await reader.read()

    async def main() -> None:
        async with rig(stable, eager=True) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(POST + b"Content-Length: 500000\r\n\r\n" + b"x" * 1000)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 403")
            assert b"Connection: close" in head
            assert await reader.read() == b"no"
            with contextlib.suppress(ConnectionError):
                for _ in range(400):
                    writer.write(b"x" * 10_000)  # input after the answer is thrown away, up to a bound
                    await writer.drain()
            writer.transport.abort()
            await r.settled()
            assert r.tally.totals().skipped == {"truncated_request": 1}
            assert not r.recorded

    run(main(), loop)


def test_hop_by_hop_headers_go_both_ways() -> None:
    async def main() -> None:
        answer = ok(
            b"x", b"Connection: X-Gone, keep-alive", b"X-Gone: 1", b"Keep-Alive: timeout=5", b"Proxy-Authenticate: Basic", b"X-Kept: 1"
        )
        async with rig(answers(answer)) as r:
            lines = [
                "Connection: x-gone, Host",
                "X-Gone: 1",
                "Keep-Alive: 5",
                "TE: trailers, gzip;q=0.5",
                "Proxy-Authorization: secret",
                "X-Kept: 1",
            ]
            (got,) = read_answers(await r.talk(get("/", *lines)), "GET")
            assert [name for name, _ in got.headers] == [b"X-Kept", b"Content-Length", b"Connection"]
            assert r.stable.seen[0].headers == [(b"Host", b"shop.example"), (b"TE", b"trailers"), (b"Connection", b"TE"), (b"X-Kept", b"1")]

    run(main())


def test_absolute_form_names_the_host() -> None:
    async def main() -> None:
        async with rig(secondary=answers(ok()), candidate=answers(ok())) as r:
            raw = b"GET http://User@Example.COM:81?q=1 HTTP/1.1\r\nHost: other\r\n\r\n"
            raw += b"OPTIONS http://a HTTP/1.1\r\nHost: b\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n"
            read_answers(await r.talk(raw), "GET", "OPTIONS", "OPTIONS")
            assert r.stable.seen[0].head == b"GET /?q=1 HTTP/1.1\r\nHost: example.com:81\r\n\r\n"
            assert [seen.line for seen in r.stable.seen[1:]] == [b"OPTIONS * HTTP/1.1"] * 2
            await r.settled()
            assert next(trial for trial in r.trials if trial.entity == "/?q=1").request.host == "example.com:81"
            assert min(seen.head for seen in r.candidate.seen).startswith(b"GET /?q=1 HTTP/1.1\r\nHost: example.com:81\r\n")

    run(main())


def test_http_1_0_clients() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"

    async def main() -> None:
        async with rig(answers(ok(b"one"), chunked), mirror=False) as r:
            raw = await r.talk(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n", half_close=False)
            first, second = read_answers(raw, "GET", "GET")
            assert (first.body, first.header(b"connection")) == (b"one", b"keep-alive")
            assert (second.body, second.header(b"transfer-encoding")) == (b"hello", None)
            assert r.stable.seen[0].headers == [(b"Host", f"127.0.0.1:{r.stable.port}".encode())]

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_ten_megabytes_stream_both_ways_with_back_pressure(loop: str) -> None:
    size = 10_000_000
    body = bytes(i * 7 % 251 for i in range(1000)) * (size // 1000)

    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        got, _ = await read_body(reader, seen.head)
        assert got == body
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(0, size, 50_000):
            writer.write(b"%x\r\n" % 50_000 + got[i : i + 50_000] + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async def main() -> None:
        async with rig(stable, eager=True, allow_writes=True, secondary=answers(ok()), candidate=answers(ok())) as r:
            raw = await r.talk(POST + b"Content-Length: %d\r\n\r\n" % size, body)
            (answer,) = read_answers(raw, "POST")
            assert answer.body == body
            await r.settled()
            assert r.tally.totals().skipped == {"truncated_request": 1}
            ((request, exchange),) = r.recorded
            assert exchange.response is not None
            for kept in (request.body, exchange.response.body):
                assert (len(kept.data), kept.size, kept.digest) == (CAPTURE_BODY_BYTES_MAX, size, hashlib.sha256(body).hexdigest())

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_does_not_read_stops_stable_and_is_given_up(loop: str) -> None:
    written = 0

    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500000000\r\n\r\n")
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()
            written += 100_000

    async def main() -> None:
        async with rig(stable, client=ClientTimeouts(stall_s=0.4)) as r:
            raw = socket.create_connection(("127.0.0.1", r.proxy.port))
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            raw.sendall(get("/"))
            await until(lambda: r.tally.totals().refused == {"client_gone": 1})
            assert written < 100_000_000, "stable was paused, not drained into memory"
            raw.close()

    run(main(), loop)


def test_an_upstream_that_does_not_read_stops_the_client() -> None:
    async def main() -> None:
        async with rig(hang_unread, eager=True, stable_silence_s=0.6, allow_writes=True) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            size = 60_000_000
            writer.write(POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 504")
            assert writer.transport.get_write_buffer_size() > size // 2
            writer.transport.abort()
            assert r.tally.totals().refused == {"upstream_timeout": 1}

    async def hang_unread(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await asyncio.sleep(3600)

    run(main())


def test_a_slow_head_and_a_slow_body_get_408_and_an_idle_connection_is_closed() -> None:
    async def main() -> None:
        times = ClientTimeouts(head_s=SHORT_S, body_s=SHORT_S, idle_s=SHORT_S)
        async with rig(client=times, mirror=False) as r:
            head, body, idle = await asyncio.gather(
                r.talk(b"GET / HT", half_close=False),
                r.talk(POST + b"Content-Length: 5\r\n\r\nab", half_close=False),
                r.talk(half_close=False),
            )
            assert read_answers(head, "GET")[0].status == 408
            assert read_answers(body, "POST")[0].status == 408
            assert idle == b""
            kept = await r.talk(get("/"), half_close=False)
            assert read_answers(kept, "GET")[0].status == 200
            assert r.tally.totals().refused == {"client_timeout": 2}

    run(main())


def test_a_head_that_trickles_is_not_given_more_time() -> None:
    async def main() -> None:
        async with rig(client=ClientTimeouts(head_s=0.3), mirror=False) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            answer = asyncio.ensure_future(reader.read())
            writer.write(b"GET / HTTP/1.1\r\nX: ")
            for _ in range(200):
                if answer.done():
                    break
                with contextlib.suppress(ConnectionError):
                    writer.write(b"x")
                await asyncio.sleep(0.01)
            writer.write_eof()
            assert b" 408 " in await answer
            writer.close()

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("raw", "counted"),
    [(b"", {}), (b"GET / HTTP/1.1\r\nHo", {"client_gone": 1}), (POST + b"Content-Length: 9\r\n\r\nab", {"client_gone": 1})],
    ids=["nothing", "half a head", "half a body"],
)
@pytest.mark.parametrize("hard", [False, True])
def test_clients_that_go_before_their_request_is_complete(raw: bytes, counted: dict[str, int], hard: bool, loop: str) -> None:
    async def main() -> None:
        async with rig(mirror=False) as r:
            client = socket.create_connection(("127.0.0.1", r.proxy.port))
            client.sendall(raw)
            await until(lambda: r.proxy.connections == 1)
            await turns()
            if hard:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            await until(lambda: r.proxy.connections == 0)
            assert r.tally.totals().refused == counted
            assert not r.recorded

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_answer_that_comes_with_the_clients_end_reaches_it(loop: str) -> None:
    """In one turn of the loop, as it happens where stable is another process."""

    async def main() -> None:
        own = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            listener.setblocking(False)
            client.setblocking(False)
            address = parse_address(f"http://127.0.0.1:{listener.getsockname()[1]}")
            async with rig(stable_at=lambda _: address, mirror=False) as r:
                await own.sock_connect(client, ("127.0.0.1", r.proxy.port))
                await own.sock_sendall(client, get("/"))
                stable, _ = await own.sock_accept(listener)
                with stable:
                    assert await own.sock_recv(stable, 65536)
                    stable.send(ok())
                    client.shutdown(socket.SHUT_WR)
                    assert await own.sock_recv(client, 65536) == ok()
                    assert await own.sock_recv(client, 65536) == b""

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_closes_after_its_last_answer_is_let_go_at_once(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "LINGER_SECONDS", 3600.0)

    async def main() -> None:
        async with rig(mirror=False) as r:
            read_answers(await r.talk(get("/", "Connection: close"), half_close=False), "GET")
            await until(lambda: r.proxy.connections == 0)

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_resets_while_it_waits_is_counted(loop: str) -> None:
    async def main() -> None:
        async with rig(hang) as r:
            client = socket.create_connection(("127.0.0.1", r.proxy.port))
            client.sendall(get("/1") + get("/2"))
            await until(lambda: len(r.stable.seen) == 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            await until(lambda: r.tally.totals().refused == {"client_gone": 2})

    run(main(), loop)


def test_memory_bound_of_one_direction_is_what_the_limits_say() -> None:
    async def main() -> None:
        async with rig(mirror=False) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            await until(lambda: r.proxy.connections == 1)
            (connection,) = r.proxy._clients._connections
            assert isinstance(connection, ClientConnection)
            transport = connection._transport
            assert transport is not None
            assert transport.get_write_buffer_limits()[1] == STREAM_BUFFER_BYTES_MAX
            writer.close()
            assert await reader.read() == b""

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_websocket_is_relayed_to_stable_and_counted_as_not_mirrored(loop: str) -> None:
    async def stable(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        assert (b"Upgrade", b"websocket") in seen.headers
        assert (b"Connection", b"Upgrade") in seen.headers
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Key: 1\r\n\r\nwelcome")
        while data := await reader.read(1000):
            writer.write(data.upper())
        raise ConnectionResetError

    async def main() -> None:
        async with rig(stable, secondary=answers(ok()), candidate=answers(ok())) as r:
            reader, writer = await asyncio.open_connection("127.0.0.1", r.proxy.port)
            writer.write(get("/ws", "Upgrade: websocket", "Connection: keep-alive, Upgrade") + b"early ")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head == b"HTTP/1.1 101 Switching Protocols\r\nX-Key: 1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            assert await reader.readexactly(13) == b"welcomeEARLY "
            writer.write(b"late")
            assert await reader.readexactly(4) == b"LATE"
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            assert r.tally.totals().skipped == {"upgrade": 1}
            assert not r.candidate.seen

    run(main(), loop)


def test_an_upgrade_that_stable_ignores_leaves_the_connection_in_use() -> None:
    async def main() -> None:
        async with rig(answers(ok(b"plain"), ok(b"next"))) as r:
            raw = await r.talk(get("/ws", "Upgrade: websocket", "Connection: Upgrade") + get("/next"))
            assert [answer.body for answer in read_answers(raw, "GET", "GET")] == [b"plain", b"next"]
            await r.settled()
            assert r.tally.totals().skipped == {"upgrade": 1}

    run(main())


def test_a_switch_that_nobody_asked_for_is_a_broken_answer() -> None:
    async def main() -> None:
        async with rig(answers(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), mirror=False) as r:
            assert read_answers(await r.talk(get("/")), "GET")[0].status == 502

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_too_many_is_told_so_and_counted_and_those_before_it_are_served(loop: str) -> None:
    async def main() -> None:
        async with rig(mirror=False, clients_max=2) as r:
            first, second = [await asyncio.open_connection("127.0.0.1", r.proxy.port) for _ in range(2)]
            await until(lambda: r.proxy.connections == 2)
            for _ in range(3):
                (answer,) = read_answers(await r.talk(get("/")), "GET")
                assert (answer.status, answer.header(b"X-Shadowdiff-Error")) == (503, b"too_many_clients")
                assert answer.header(b"Connection") == b"close"
            for reader, writer in (first, second):
                writer.write(get("/", "Connection: close"))
                assert read_answers(await reader.read(), "GET")[0].status == 200
                writer.close()
            await until(lambda: r.proxy.connections == 0)
            assert read_answers(await r.talk(get("/")), "GET")[0].status == 200
            assert len(r.stable.seen) == 3
            assert r.tally.totals().refused == {"too_many_clients": 3}

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_crowd_beyond_the_cap_is_cut_and_counted(monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    monkeypatch.setattr("harness.proxy.clients.CLIENTS_TURNED_AWAY_MAX", 2)

    async def main() -> None:
        async with rig(mirror=False, clients_max=1) as r:
            clients = [await asyncio.open_connection("127.0.0.1", r.proxy.port) for _ in range(6)]
            await until(lambda: r.tally.totals().refused == {"too_many_clients": 5})
            await until(lambda: r.proxy.connections == 3)
            for _, writer in clients:
                writer.close()

    run(main(), loop)
