"""Messages of HTTP/2 and HTTP/3 as HTTP/1.1 has them: never two requests from one, nothing added, nothing lost."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.values import Headers
from harness.proxy import wire
from harness.proxy.mitm_message import end_to_end, framing_of, http1_head, pairs
from harness.proxy.parsing import RequestParser
from harness.proxy.wire import Framing, Refused, RequestHead

AUTHORITY = b"shop.example"


def head(*fields: tuple[bytes, bytes], authority: bytes = AUTHORITY, bodiless: bool = True) -> list[tuple[str, str]]:
    return http1_head(b"GET", b"/", authority, fields, bodiless=bodiless)[2]


def test_the_host_comes_first_and_the_order_stays() -> None:
    assert head((b"b", b"1"), (b"a", b""), (b"b", b"2")) == [("host", "shop.example"), ("b", "1"), ("a", ""), ("b", "2")]
    assert head((b"b", b"1"), (b"Host", b"Shop.example")) == [("host", "shop.example"), ("b", "1")]
    assert head((b"host", b"other"), authority=b"") == [("host", "other")]


def test_crumbs_of_cookies_are_joined() -> None:
    """RFC 9113 8.2.3."""
    assert head((b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")) == [("host", "shop.example"), ("cookie", "a=1; b=2"), ("x", "y")]


def test_only_trailers_may_be_asked_for() -> None:
    """RFC 9113 8.2.2."""
    assert head((b"te", b"trailers")) == [("host", "shop.example"), ("te", "trailers")]
    assert head((b"te", b"gzip")) == [("host", "shop.example")]


@pytest.mark.parametrize(
    ("length", "bodiless", "expected"),
    [
        (b"", True, (Framing.NONE, 0)),
        (b"", False, (Framing.CHUNKED, 0)),
        (b"7", False, (Framing.LENGTH, 7)),
        (b"0", True, (Framing.LENGTH, 0)),
        (b"x", False, (Framing.LENGTH, 0)),
    ],
)
def test_how_the_body_ends(length: bytes, bodiless: bool, expected: tuple[Framing, int]) -> None:
    fields = [(b"content-length", length)] if length else []
    assert framing_of(head(*fields, bodiless=bodiless)) == expected


@pytest.mark.parametrize(
    "fields",
    [
        [(b"connection", b"close")],
        [(b"transfer-encoding", b"chunked")],
        [(b"upgrade", b"h2c")],
        [(b"proxy-connection", b"x")],
        [(b"host", b"other.example")],
        [(b"a", b"b\r\nc: d")],
        [(b"a b", b"c")],
        [(b"content-length", b"5")],
    ],
)
def test_what_has_no_meaning_is_refused(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Refused) as refused:
        head(*fields)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("method", "path", "authority"),
    [
        (b"GE T", b"/", AUTHORITY),
        (b"GET", b"/a b", AUTHORITY),
        (b"GET", b"x", AUTHORITY),
        (b"CONNECT", b"/", AUTHORITY),
        (b"GET", b"/", b""),
    ],
)
def test_a_request_that_cannot_be_written_is_refused(method: bytes, path: bytes, authority: bytes) -> None:
    with pytest.raises(Refused):
        http1_head(method, path, authority, [], bodiless=True)


def test_an_answers_headers() -> None:
    got = end_to_end((("Connection", "x"), ("X-A", " b "), ("Trailer", "X-S"), ("Transfer-Encoding", "chunked"), ("x-a", "c")))
    assert got == [("x-a", "b"), ("trailer", "X-S"), ("x-a", "c")]


class Receiver:
    def __init__(self) -> None:
        self.heads: list[RequestHead] = []
        self.body = b""
        self.ended = 0
        self.trailers: Headers = ()

    def request_head(self, head: RequestHead) -> None:
        self.heads.append(head)

    def request_body(self, data: bytes) -> None:
        self.body += data

    def request_end(self, trailers: Headers) -> None:
        self.ended += 1
        self.trailers = trailers


LATIN = st.binary(max_size=12)
NAMES = st.sampled_from([b"host", b"cookie", b"te", b"content-length", b"transfer-encoding", b"x-a", b"a\r\nb", b":path", b""]) | LATIN
VALUES = st.sampled_from([b"5", b"0", b"05", b"5, 5", b"trailers", b"chunked", b"a\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"\n"]) | LATIN


@given(
    method=st.sampled_from([b"GET", b"POST", b"get", b"GET / HTTP/1.1\r\n\r\nGET"]) | LATIN,
    path=st.sampled_from([b"/", b"*", b"/a b", b"/ HTTP/1.1\r\nx: y"]) | LATIN,
    authority=st.sampled_from([AUTHORITY, b"", b"a\r\nb: c"]) | LATIN,
    fields=st.lists(st.tuples(NAMES, VALUES), max_size=5),
    body=st.binary(max_size=20),
)
def test_one_request_is_never_two_on_the_wire(
    method: bytes, path: bytes, authority: bytes, fields: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """What follows the head is sent only as far as its framing allows, as the layer does it."""
    try:
        verb, target, headers = http1_head(method, path, authority, fields, bodiless=not body)
    except Refused:
        return
    framing, length = framing_of(headers)
    raw = wire.request_bytes(verb, target, headers)
    if framing is Framing.CHUNKED:
        raw += wire.chunk(body) + wire.last_chunk()
    elif framing is Framing.LENGTH:
        raw += body[:length]
    receiver = Receiver()
    with contextlib.suppress(Refused):
        RequestParser(receiver).feed(raw)
    assert len(receiver.heads) <= 1
    if receiver.ended:
        (got,) = receiver.heads
        assert (got.method, got.target) == (verb, target)
        assert got.headers == tuple((name, value.strip(" \t")) for name, value in headers)
        assert body.startswith(receiver.body)


@given(st.lists(st.tuples(LATIN, LATIN), max_size=4))
def test_fields_are_kept_as_they_are(fields: list[tuple[bytes, bytes]]) -> None:
    assert [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs(fields)] == fields
