"""mitmproxy's messages as values and back."""

import gzip
import hashlib

import pytest
from mitmproxy import http

from harness.core import limits
from harness.effects.egress.calls import Answer
from harness.effects.egress.flows import Collected, TrailedAnswer, answer_of, failed, made, pairs, refused, response_of, seen


def request(url: str, *headers: tuple[bytes, bytes], body: bytes = b"", method: str = "POST") -> http.Request:
    made_ = http.Request.make(method, url, b"", http.Headers(headers))
    made_.data.content = body
    return made_


@pytest.mark.parametrize(
    ("url", "host", "place"),
    [
        ("http://A.test/x?y=1", "a.test", "a.test"),
        ("https://a.test/x?y=1", "a.test", "a.test"),
        ("http://a.test:443/x?y=1", "a.test", "a.test:443"),
        ("https://a.test:8443/x?y=1", "a.test", "a.test:8443"),
        ("http://[::1]:8080/x?y=1", "::1", "[::1]:8080"),
    ],
)
def test_a_request_says_where_it_goes(url: str, host: str, place: str) -> None:
    asked = request(url)
    found = seen(asked, pairs(asked.headers))
    assert (found.host, found.place, found.target) == (host, place, "/x?y=1")
    assert found.call.url == f"{url.partition(':')[0]}://{place}/x?y=1"


def test_a_client_that_resolves_names_itself_is_known_by_its_host_header() -> None:
    asked = request("http://10.0.0.1/x")
    asked.headers["host"] = "A.test"
    assert seen(asked, pairs(asked.headers)).place == "a.test"


def test_a_body_loses_its_content_coding_where_that_can_be_undone() -> None:
    packed = gzip.compress(b"hello")
    asked = request("http://a/", (b"content-encoding", b"gzip"), body=packed)
    found = seen(asked, pairs(asked.headers)).call
    assert (found.body, found.size) == (b"hello", 5)
    unknown = request("http://a/", (b"content-encoding", b"zz"), body=packed)
    assert seen(unknown, pairs(unknown.headers)).call.body == packed


def test_a_long_body_is_cut_and_digested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CAPTURE_BODY_BYTES_MAX", 4)
    asked = request("http://a/", body=b"12345")
    found = seen(asked, ())
    assert (found.call.body, found.call.size, found.digest) == (b"1234", 5, hashlib.sha256(b"12345").hexdigest())


@pytest.mark.parametrize(
    ("method", "status", "headers", "http2", "body", "length"),
    [
        ("GET", 200, (("Content-Length", "9"), ("Transfer-Encoding", "chunked"), ("Connection", "x-a"), ("X-A", "1")), False, b"abc", "3"),
        ("GET", 200, (), False, b"abc", "3"),
        ("GET", 200, (), True, b"abc", None),
        ("GET", 200, (("content-length", "3"),), True, b"abc", "3"),
        ("HEAD", 200, (("content-length", "7"),), False, b"", "7"),
        ("HEAD", 200, (), False, b"", None),
        ("GET", 204, (), False, b"", None),
        ("GET", 304, (("content-length", "7"),), False, b"", None),
        ("GET", 599, (), False, b"abc", "3"),
    ],
)
def test_taped_answers_are_framed_by_what_is_sent(
    method: str, status: int, headers: tuple[tuple[str, str], ...], http2: bool, body: bytes, length: str | None
) -> None:
    response = response_of(Answer(status=status, headers=headers, body=b"abc"), method, http2=http2)
    assert response.raw_content == body
    assert response.headers.get("content-length") == length
    assert not {"transfer-encoding", "connection", "x-a"} & {name.lower() for name in response.headers}


def test_an_answer_keeps_its_coding_and_its_trailers() -> None:
    packed = gzip.compress(b"a")
    came = http.Response.make(200, packed, {"content-encoding": "gzip"})
    came.data.content = packed
    came.trailers = http.Headers([(b"grpc-status", b"0")])
    answer = answer_of(came, packed)
    assert isinstance(answer, TrailedAnswer)
    given = response_of(answer, "POST", http2=True)
    assert given.raw_content == packed
    assert given.headers["content-encoding"] == "gzip"
    assert given.trailers["grpc-status"] == "0"
    assert response_of(answer, "POST").trailers is None


def test_errors_are_given_as_mitmproxy_gives_them() -> None:
    for answer in (Answer(error="refused"), Answer(status=200, error="not kept")):
        response = response_of(answer, "GET")
        assert response.status_code == 502
        assert answer.error.encode() in response.raw_content
    assert failed(502, "<a>").raw_content.count(b"&lt;a&gt;") == 1


def test_own_answers() -> None:
    assert refused(599, "why").raw_content == b'{"error":"shadowdiff: why"}'
    assert made(204, {"x": "ü☃"}, b"abc").raw_content == b""
    assert made(200, {"x": "☃"}, b"").headers.fields[0] == (b"x", "☃".encode())
    assert dict(made(200, {"Content-Length": "9", "connection": "close"}, b"abc").headers) == {"content-length": "3"}
    assert made(200, {}, b"abc").headers["content-length"] == "3"


def test_a_body_that_passes_through_is_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CAPTURE_BODY_BYTES_MAX", 4)
    collected = Collected()
    assert [collected(piece) for piece in (b"ab", b"cd")] == [b"ab", b"cd"]
    assert collected.body == b"abcd"
    assert collected(b"e") == b"e"
    assert collected.size == 5
    assert not collected.body
