from harness.core.values import Body, Request, body_of
from replay.prepare import sendable


def headers(request: Request) -> list[str]:
    return [f"{name}: {value}" for name, value in sendable(request).headers]


def test_hop_by_hop_headers_and_expect_are_taken_off() -> None:
    request = Request(
        "GET",
        "/",
        (
            ("Host", "a"),
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "5"),
            ("TE", "trailers"),
            ("Expect", "100-continue"),
            ("Accept-Encoding", "gzip"),
        ),
    )
    assert headers(request) == ["Host: a", "Accept-Encoding: gzip"]


def test_the_length_is_that_of_the_body() -> None:
    request = Request("POST", "/", (("content-length", "99"), ("A", "b"), ("Content-Length", "98")), body_of(b"abc"))
    assert headers(request) == ["content-length: 3", "A: b"]
    chunked = Request("POST", "/", (("Transfer-Encoding", "chunked"), ("A", "b")), body_of(b"abc"))
    assert headers(chunked) == ["A: b", "Content-Length: 3"]


def test_a_length_stands_only_where_it_is_needed() -> None:
    assert headers(Request("GET", "/")) == []
    assert headers(Request("POST", "/")) == ["Content-Length: 0"]
    assert headers(Request("DELETE", "/", (), Body(b"x", 1))) == ["Content-Length: 1"]


def test_a_request_that_is_fit_is_the_same_object() -> None:
    request = Request("GET", "/", (("Host", "a"),))
    assert sendable(request) is request
