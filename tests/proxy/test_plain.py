"""Plain messages against the general reading: whatever is taken for plain is the same message, and the same bytes go on."""

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from harness.core.limits import PLAIN_HEAD_BYTES_MAX, PLAIN_HEADS_MAX
from harness.core.plain import PlainAnswer, read_answer, read_request
from harness.core.values import Body, Request, Response
from harness.proxy import wire
from harness.proxy.capture import NOTHING
from harness.proxy.parsing import AnswerParser, RequestParser
from harness.proxy.plain import KnownHeads, PlainRequest, closing, field_lines, plain_answer, plain_request, read_head, readdressed
from harness.proxy.wire import AnswerHead, BrokenAnswer, Framing, Refused, RequestHead
from tests.proxy.test_parsing import Told

NAMES = st.sampled_from(
    (
        *("Accept", "x-a", "X-A", "A", "Cookie", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE", "Trailer", "Expect"),
        *("Upgrade", "Connection", "Content-Length", "Transfer-Encoding", "Host", "X-Shadowdiff-Shadow", "", "X A", "X\xe4", "A:b"),
    )
)
VALUES = st.one_of(
    st.sampled_from(
        ["", "x", "a: b", "keep-alive", "close", "Close, x-a", "upgrade", "websocket", "chunked", "3", "0", "03", "3, 3", "h", "1"]
    ),
    st.text(st.characters(max_codepoint=255), max_size=12),
)
SEPARATORS = st.sampled_from([": "] * 12 + [":", ":  ", ":\t", " : "])
ENDS = st.sampled_from(["\r\n"] * 20 + [" \r\n", "\t\r\n", "\n", "\r", "\r\n ", "\r\r\n"])
LINES = st.builds(lambda name, separator, value, end: f"{name}{separator}{value}{end}", NAMES, SEPARATORS, VALUES, ENDS)
ORDINARY = st.sampled_from(
    ["Accept: a\r\n", "Connection: keep-alive\r\n", "X-Connection: keep-alive\r\n", "x-b: c: d\r\n", "Keep-Alive: 5\r\n"]
)
BODIES = st.sampled_from(["", "abc", "\r\n\r\n", "\r\nConnection: keep-alive\r\n", "\xff\x00", "x\r\n\r\nGET / HTTP/1.1\r\n\r\n"])


@st.composite
def messages(draw: st.DrawFn, *, first: st.SearchStrategy[str], always: st.SearchStrategy[str]) -> bytes:
    """Messages of which many are plain, and many nearly so."""
    body = draw(BODIES)
    lines = draw(st.lists(st.one_of(ORDINARY, ORDINARY, ORDINARY, LINES), max_size=6))
    lines.insert(draw(st.integers(0, len(lines))), draw(always))
    if draw(st.integers(0, 3)) or body:
        lines.insert(draw(st.integers(0, len(lines))), f"Content-Length: {len(body) + draw(st.sampled_from([0] * 9 + [1, -1]))}\r\n")
    return (draw(first) + "".join(lines) + "\r\n" + body).encode("latin-1")


REQUESTS = messages(
    first=st.sampled_from(["GET /a?b=c HTTP/1.1\r\n"] * 6 + ["POST / HTTP/1.1\r\n"] * 3)
    | st.builds(
        "{} {} HTTP/{}\r\n".format,
        st.sampled_from(["GET", "HEAD", "OPTIONS", "get", "DELETE", "CONNECT"]),
        st.sampled_from(["/", "*", "/a b", "http://h/", "/#f", "/\x7f", "//x"]),
        st.sampled_from(["1.1", "1.0", "2.0"]),
    ),
    always=st.sampled_from(["Host: h:1\r\n"] * 9 + ["Host: a/b\r\n", "Host:\r\n", "X: y\r\n", "hOST: h\r\n"]),
)
ANSWERS = messages(
    first=st.sampled_from(["HTTP/1.1 200 OK\r\n"] * 6)
    | st.builds(
        "HTTP/{} {}{}\r\n".format,
        st.sampled_from(["1.1", "1.0"]),
        st.integers(100, 600),
        st.sampled_from(["", " ", " \x01", " No", " \xe4"]),
    ),
    always=st.sampled_from(["Date: now\r\n", "Connection: close\r\n", "X: y\r\n"]),
)


def body_of(events: list[object]) -> bytes:
    return b"".join(part for part in events if isinstance(part, bytes))


@settings(max_examples=300)
@given(REQUESTS)
def test_a_plain_request_is_what_the_general_reading_finds(data: bytes) -> None:
    plain = RequestParser(Told()).plain(data)
    event(f"plain: {plain is not None}")
    if plain is None:
        return
    told = Told()
    parser = RequestParser(told)
    parser.feed(data)
    assert not parser.mid_message
    assert [part for part in told.events if not isinstance(part, bytes)] == [plain.head, ("end", ())]
    assert body_of(told.events) == plain.body
    head = plain.head
    headers = wire.forwarded(head.headers, framing=head.framing, length=head.length, host=head.authority)
    assert wire.request_bytes(head.method, head.target, headers) == plain.raw
    assert plain.came == data[: data.index(b"\r\n\r\n") + 4]
    assert plain.host.lower() == f"host: {head.authority}\r\n".encode("latin-1").lower()
    for came, fields in ((plain.came, head.headers), (plain.raw, tuple(headers))):
        assert read_request(came, NOTHING, "h") == Request(head.method, head.target, fields, NOTHING, "h")
    moved = wire.forwarded(head.headers, framing=head.framing, length=head.length, host="o:9")
    assert readdressed(plain, "o:9", "/v2") == wire.request_bytes(head.method, "/v2" + head.target, moved)
    assert readdressed(plain, head.authority, "") == plain.raw


@settings(max_examples=300)
@given(ANSWERS)
def test_a_plain_answer_is_what_the_general_reading_finds(data: bytes) -> None:
    fast, told, general = AnswerParser(), Told(), AnswerParser()
    fast.expect("GET", Told())
    plain = fast.plain(data)
    event(f"plain: {plain is not None}")
    if plain is None:
        return
    general.expect("GET", told)
    general.feed(data)
    head, body = read_head(plain), data[plain.head_bytes :]
    assert [part for part in told.events if not isinstance(part, bytes)] == [head, ("end", ())]
    assert body_of(told.events) == body
    assert read_answer(data, plain.head_bytes) == Response(head.status, head.headers, Body(body, len(body)), head.reason)
    assert fast.reusable is general.reusable is plain.keep_alive
    headers = wire.forwarded(head.headers, framing=head.framing, length=head.length)
    assert plain.raw() == wire.answer_bytes(head.status, head.reason, headers) + body
    assert closing(plain) == wire.answer_bytes(head.status, head.reason, [*headers, ("Connection", "close")]) + body


@given(st.lists(ANSWERS, min_size=2, max_size=5), st.lists(BODIES, min_size=2, max_size=5))
def test_heads_that_are_known_change_nothing(pieces: list[bytes], bodies: list[str]) -> None:
    known = KnownHeads()
    heads = [piece.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for piece in pieces]
    for data in [*pieces, *(head + body.encode("latin-1") for head in heads for body in bodies), *pieces]:
        parser, other = AnswerParser(), AnswerParser(known)
        parser.expect("GET", Told())
        other.expect("GET", Told())
        assert other.plain(data) == parser.plain(data)
        assert other.reusable is parser.reusable


def test_few_heads_are_known() -> None:
    known = KnownHeads()
    for number in range(PLAIN_HEADS_MAX + 10):
        answer = plain_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nA: %d\r\n\r\nx" % number)
        assert answer is not None
        known.add(answer)
        assert known.find(answer.data) == answer
        assert known.find(answer.data + b"x") is None
    assert len(known._known) <= PLAIN_HEADS_MAX


@given(st.lists(REQUESTS, min_size=2, max_size=3))
def test_a_parser_reads_on_after_a_plain_request_as_after_any(pieces: list[bytes]) -> None:
    def told_by(*, plain: bool) -> list[object]:
        told = Told()
        parser = RequestParser(told)
        try:
            for piece in pieces:
                found = parser.plain(piece) if plain else None
                if found is None:
                    parser.feed(piece)
                else:
                    told.events += [found.head, *([found.body] if found.body else []), ("end", ())]
        except Refused as refused:
            told.events.append(refused.status)
        return [*told.events, parser.mid_message, parser.has_ended()]

    assert told_by(plain=True) == told_by(plain=False)


@given(st.lists(ANSWERS, min_size=2, max_size=3))
def test_a_connection_reads_on_after_a_plain_answer_as_after_any(pieces: list[bytes]) -> None:
    def told_by(*, plain: bool, again: bool = False) -> list[object]:
        told, parser = Told(), AnswerParser()
        try:
            for piece in pieces:
                if not parser.reusable:
                    break
                other = AnswerParser()
                other.expect("GET", Told())
                parser.expect("GET", told, other.plain(pieces[0]) if again else None)
                found = parser.plain(piece) if plain else None
                if found is None:
                    parser.feed(piece)
                else:
                    body = piece[found.head_bytes :]
                    told.events += [read_head(found), *([body] if body else []), ("end", ())]
        except BrokenAnswer as broken:
            told.events.append(broken.kind)
        return [*told.events, parser.reusable]

    assert told_by(plain=True) == told_by(plain=True, again=True) == told_by(plain=False)


def request(*lines: str, first: str = "GET / HTTP/1.1", body: str = "") -> bytes:
    return "\r\n".join([first, *lines, "", body]).encode("latin-1")


@pytest.mark.parametrize(
    "data",
    [
        request("Host: h"),
        request("Host: h", "Connection: Keep-Alive", "Cookie: a=b; c=d"),
        request("host: h", "Content-Length: 3", first="POST /x?y HTTP/1.1", body="abc"),
        request("A: b", "Host: [::1]:80", "Connection: close", "Keep-Alive: 5"),
    ],
)
def test_ordinary_requests_are_plain(data: bytes) -> None:
    assert isinstance(RequestParser(Told()).plain(data), PlainRequest)


@pytest.mark.parametrize(
    "data",
    [
        request("Host: h") + request("Host: h"),
        request("Host: h")[:-1],
        request("Host: h", "X: y", first="OPTIONS / HTTP/1.1"),
        request("Host: h", first="GET http://h/ HTTP/1.1"),
        request("Host: h", first="GET / HTTP/1.0"),
        request("Host: h", "Expect: 100-continue"),
        request("Host: h", "Connection: x-a", "x-a: 1"),
        request("Host: h", "Connection: Upgrade", "Upgrade: websocket"),
        request("Host: h", "TE: trailers"),
        request("Host: h", "Host: h"),
        request("X: y"),
        request("Host: a@b"),
        request("Host: h", "a:b: c"),
        request("Host: h", "a:b", "b: c"),
        request("Host: h", "a: b", " c: d"),
        request("Host: h", "a: b\nc: d"),
        request("Host: h", "a: b\rc: d"),
        request("Host: h", "Content-Length: 3", body="ab"),
        request("Host: h", "Content-Length: 3", body="abcd"),
        request("Host: h", "Content-Length: 03", body="abc"),
        request("Host: h", "Content-Length: +3", body="abc"),
        request("Host: h", "Content-Length: 3", "Content-Length: 3", body="abc"),
        request("Host: h", "Content-Length: 3", "Transfer-Encoding: chunked", body="abc"),
        request("Host: h", "a: " + "b" * PLAIN_HEAD_BYTES_MAX),
        b"\r\n\r\n" + request("Host: h"),
        b"\n" * 8000 + b"\r\n\r\n",
    ],
)
def test_what_needs_a_second_look_is_not_plain(data: bytes) -> None:
    assert RequestParser(Told()).plain(data) is None


SERVERS = {
    "Node": ("OK", ["Content-Type: text/plain", "Content-Length: 2", "Date: now", "Connection: keep-alive", "Keep-Alive: timeout=5"]),
    "Node, the last one": ("OK", ["Content-Type: text/plain", "Content-Length: 2", "Date: now", "Connection: close"]),
    "nginx": ("OK", ["Server: nginx/1.27.2", "Date: now", "Content-Type: text/html", "Content-Length: 2", "Connection: keep-alive"]),
    "nginx, with the time said": ("OK", ["Server: nginx", "Content-Length: 2", "Connection: keep-alive", "Keep-Alive: timeout=65"]),
    "Apache": ("OK", ["Server: Apache/2.4", "Content-Length: 2", "Keep-Alive: timeout=5, max=100", "Connection: Keep-Alive", "Vary: *"]),
    "Apache, the last one": ("Not Found", ["Server: Apache", "Content-Length: 2", "Connection: close", "Content-Type: text/html"]),
    "gunicorn": ("OK", ["Server: gunicorn", "Date: now", "Connection: keep-alive", "Content-Type: text/html", "Content-Length: 2"]),
    "gunicorn, the last one": ("OK", ["Server: gunicorn", "Date: now", "Connection: close", "Content-Length: 2"]),
    "uvicorn": ("OK", ["date: now", "server: uvicorn", "content-length: 2", "content-type: application/json"]),
    "uvicorn, the last one": ("OK", ["date: now", "server: uvicorn", "content-length: 2", "connection: close"]),
    "Go": ("Internal Server Error", ["Content-Type: text/plain; charset=utf-8", "X-Content-Type-Options: nosniff", "Content-Length: 2"]),
    "Go, the last one": ("OK", ["Content-Length: 2", "Connection: close"]),
    "Tomcat": (
        "",
        ["Content-Type: application/json", "Content-Length: 2", "Date: now", "Keep-Alive: timeout=60", "Connection: keep-alive"],
    ),
    "Tomcat, the last one": ("", ["Content-Type: application/json", "Content-Length: 2", "Date: now", "Connection: close"]),
    "Envoy": (
        "OK",
        ["content-length: 2", "x-envoy-upstream-service-time: 3", "server: envoy", "transaction: x", "user: y", "pragma: no-cache"],
    ),
}
"""Reason and fields as these servers write them. The last one on a connection says `close`."""


@pytest.mark.parametrize("name", SERVERS)
def test_what_common_servers_answer_is_plain(name: str) -> None:
    reason, fields = SERVERS[name]
    parser = AnswerParser()
    parser.expect("GET", Told())
    plain = parser.plain(request(*fields, first=f"HTTP/1.1 200 {reason}", body="ok"))
    assert plain is not None
    assert plain.keep_alive is parser.reusable is ("last" not in name)
    gone = ("connection", "keep-alive")
    on = [field for field in fields if field.partition(":")[0].lower() not in gone]
    assert plain.raw() == request(*on, first=f"HTTP/1.1 200 {reason}", body="ok")


@pytest.mark.parametrize(
    ("lines", "keep_alive"),
    [
        (["Host: h", "User-Agent: curl/8.5.0", "Accept: */*"], True),
        (["Host: h", "Connection: keep-alive", "Cache-Control: max-age=0", "Upgrade-Insecure-Requests: 1", "TE-X: y"], True),
        (["host: h", "connection: keep-alive", "accept: */*", "user-agent: node", "keep-alive: timeout=5"], True),
        (["Host: h", "User-Agent: Go-http-client/1.1", "Accept-Encoding: gzip"], True),
        (["User-Agent: Java/21", "Host: h", "Accept: */*; q=.2", "Connection: keep-alive"], True),
        (["Host: h", "Connection: Keep-Alive", "Accept-Encoding: gzip", "User-Agent: okhttp/4.12.0"], True),
        (["X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1", "Host: h", "Connection: close", "X-Shadow: 1"], False),
    ],
    ids=["curl", "browser", "Node", "Go", "Java", "OkHttp", "nginx"],
)
def test_what_common_clients_ask_is_plain(lines: list[str], keep_alive: bool) -> None:
    plain = RequestParser(Told()).plain(request(*lines))
    assert plain is not None
    assert plain.head.keep_alive is keep_alive


def test_an_answer_like_another_ends_its_connection_too_and_is_not_held_by_it() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    like = plain_answer(data)
    assert like is not None
    parser = AnswerParser()
    parser.expect("GET", Told(), like)
    assert parser.plain(data) is like
    assert not parser.reusable
    assert parser._like is None, "an idle connection would hold it"
    other = AnswerParser()
    other.expect("GET", Told(), like)
    assert other.plain(data.replace(b"close", b"chunk")) is None
    assert other._like is None


@pytest.mark.parametrize("status", ["100 Continue", "103 Hints", "204 No", "304 Not", "600 What", "200", "200 O\tK", "200 \x01"])
def test_answers_that_are_not_plain(status: str) -> None:
    assert plain_answer(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")) is None
    assert plain_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") is not None


def test_an_answer_to_head_is_never_plain() -> None:
    parser = AnswerParser()
    parser.expect("HEAD", Told())
    assert parser.plain(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") is None


def test_nothing_is_plain_in_the_middle_of_a_message_or_after_the_last_one() -> None:
    parser = RequestParser(Told())
    parser.feed(b"GET / HT")
    assert parser.plain(request("Host: h")) is None
    parser = RequestParser(Told())
    assert parser.plain(request("Host: h", "Connection: close")) is not None
    assert parser.has_ended()
    assert parser.plain(request("Host: h")) is None


def test_llhttp_has_the_last_word() -> None:
    data = b"GET / HTTP/1.1\r\nHost: h\r\nA: b\x01\r\n\r\n"
    assert plain_request(data) is not None
    parser = RequestParser(Told())
    assert parser.plain(data) is None
    assert parser.plain(request("Host: h")) is not None
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: b\x01\r\n\r\n"
    answers = AnswerParser()
    answers.expect("GET", Told())
    assert plain_answer(answer) is not None
    assert answers.plain(answer) is None


def test_a_line_of_the_head_is_not_taken_out_of_a_body_or_of_another_line() -> None:
    body = b"\r\nConnection: keep-alive\r\n"
    head = b"HTTP/1.1 200 OK\r\nX-Connection: keep-alive\r\nContent-Length: %d\r\n" % len(body)
    plain = plain_answer(head + b"Connection: keep-alive\r\nConnection-X: keep-alive\r\n\r\n" + body)
    assert isinstance(plain, PlainAnswer)
    assert plain.raw() == head + b"Connection-X: keep-alive\r\n\r\n" + body


def test_lines_of_fields() -> None:
    assert field_lines((("a", "b"), ("c", "d"))) == b"a: b\r\nc: d\r\n"
    assert field_lines(()) == b""


def test_heads_say_what_was_read() -> None:
    plain = plain_request(request("Host: H:1", "Content-Length: 2", first="PUT /x HTTP/1.1", body="ab"))
    assert plain is not None
    assert plain.head == RequestHead(
        method="PUT",
        target="/x",
        headers=(("Host", "H:1"), ("Content-Length", "2")),
        authority="H:1",
        framing=Framing.LENGTH,
        length=2,
        http10=False,
        keep_alive=True,
    )
    answer = plain_answer(b"HTTP/1.1 503 Not Now\r\nContent-Length: 1\r\n\r\nx")
    assert answer is not None
    assert read_head(answer) == AnswerHead(
        status=503, reason="Not Now", headers=(("Content-Length", "1"),), framing=Framing.LENGTH, length=1, keep_alive=True
    )
