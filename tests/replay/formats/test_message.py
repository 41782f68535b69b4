import pytest

from harness.core.limits import CAPTURE_BODY_BYTES_MAX
from replay.formats.message import (
    MessageError,
    NotHttpError,
    body_kept,
    clean_target,
    dechunk,
    parse_request,
    parse_response,
    split_url,
    unchunked,
    valid_headers,
)


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_request_is_read_with_full_and_bare_line_ends(end: bytes) -> None:
    data = end.join([b"POST /a?b=1 HTTP/1.1", b"Host: Shop.Test:80", b"Content-Length: 3", b"X-Two:  b ", b"", b"abc"])
    request = parse_request(data)
    assert (request.method, request.target, request.host, request.body.data) == ("POST", "/a?b=1", "shop.test:80", b"abc")
    assert request.headers == (("Host", "Shop.Test:80"), ("Content-Length", "3"), ("X-Two", "b"))


def test_a_folded_header_is_joined() -> None:
    assert parse_request(b"GET / HTTP/1.1\r\nA: b\r\n  c\r\n\r\n").headers == (("A", "b c"),)


def test_absolute_form_gives_host_and_origin_form() -> None:
    request = parse_request(b"GET http://me@Shop.Test:8080/x?y#z HTTP/1.1\r\nHost: other\r\n\r\n")
    assert (request.host, request.target) == ("shop.test:8080", "/x?y")


def test_a_head_without_its_empty_line_is_read_when_nothing_follows() -> None:
    assert parse_request(b"GET /x HTTP/1.1\nHost: a\n").host == "a"


def test_a_body_without_length_is_kept_for_writes_and_dropped_for_reads() -> None:
    assert parse_request(b"POST / HTTP/1.1\r\n\r\nabc").body.data == b"abc"
    assert parse_request(b"POST / HTTP/1.1\r\n\r\n\r\n").body.data == b""
    assert parse_request(b"GET / HTTP/1.1\r\n\r\nabc").body.data == b""


def test_a_short_body_is_truncated_and_a_long_one_cut() -> None:
    short = parse_request(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc").body
    assert short.truncated
    assert short.size == 9
    assert parse_request(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nabc").body.data == b"ab"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / FTP/1\r\n\r\n",
        b"G T / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: x\0y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a",
        b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET http:///x HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_said(data: bytes) -> None:
    with pytest.raises(MessageError):
        parse_request(data)


def test_connect_is_not_http_traffic() -> None:
    with pytest.raises(NotHttpError):
        parse_request(b"CONNECT a:443 HTTP/1.1\r\n\r\n")


def test_interim_answers_are_dropped_and_the_final_one_read() -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
    answer = parse_response(data, "POST")
    assert (answer.status, answer.reason, answer.body.data) == (201, "Created", b"ok")


def test_chunks_are_undone_and_trailers_kept() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nSum: 5\r\n\r\n"
    answer = parse_response(data, "GET")
    assert answer.body.data == b"abcde"
    assert not answer.body.truncated
    assert answer.headers == (("Content-Length", "5"), ("A", "b"))
    assert answer.trailers == (("Sum", "5"),)


@pytest.mark.parametrize("data", [b"5\r\nab", b"2\r\nab\r\n", b"2\r\nabX", b"2\r\nab\r\nzz"])
def test_unfinished_chunks_give_what_is_there(data: bytes) -> None:
    body, complete, trailers = dechunk(data)
    assert (body, complete, trailers) == (b"ab", False, ())
    answer = parse_response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data, "GET")
    assert answer.body.truncated


def test_a_body_whose_chunks_were_undone_by_the_recorder_is_taken_as_it_is() -> None:
    answer = parse_response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", "GET")
    assert answer.body.data == b"{}"
    assert answer.headers == (("Content-Length", "2"),)


def test_a_bad_trailer_ends_the_trailers() -> None:
    assert dechunk(b"0\r\nA: b\r\nno trailer\r\n\r\n") == (b"", True, (("A", "b"),))


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204), ("GET", 101)])
def test_answers_without_a_body_keep_their_length_header(method: str, status: int) -> None:
    answer = parse_response(f"HTTP/1.1 {status}\r\nContent-Length: 9\r\n\r\nxx".encode(), method)
    assert answer.headers == (("Content-Length", "9"),)
    assert answer.body.size == 0


def test_an_answer_without_length_has_all_that_follows() -> None:
    assert parse_response(b"HTTP/1.0 200 OK\n\nabc", "GET").body.data == b"abc"


@pytest.mark.parametrize("data", [b"HTTP/1.1 OK\r\n\r\n", b"HTTP/1.1 099 x\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"nonsense\n\n"])
def test_what_is_no_answer_is_said(data: bytes) -> None:
    with pytest.raises(MessageError):
        parse_response(data, "GET")


def test_large_answers_are_cut_and_digested() -> None:
    data = b"x" * (CAPTURE_BODY_BYTES_MAX + 1)
    kept = body_kept(data)
    assert kept.truncated
    assert (len(kept.data), kept.size, len(kept.digest)) == (CAPTURE_BODY_BYTES_MAX, len(data), 64)
    assert body_kept(data, len(data) + 5).digest == ""


def test_targets_are_made_fit_for_the_wire() -> None:
    assert clean_target("/a b/é?q=ü#frag") == "/a%20b/%C3%A9?q=%C3%BC"
    assert clean_target("") == "/"
    assert clean_target("*") == "*"
    assert clean_target("/\ud800").startswith("/%")


def test_urls_are_split() -> None:
    assert split_url(" HTTPS://user:pw@Shop.Test?x=1 ") == ("shop.test", "/?x=1")
    for url in ("data:text/plain,x", "about:blank", "nothing"):
        with pytest.raises(NotHttpError):
            split_url(url)


def test_unchunked_puts_one_length_in_the_place_of_the_coding() -> None:
    assert unchunked((("transfer-encoding", "chunked"), ("A", "b"), ("Content-Length", "1")), 7) == (("content-length", "7"), ("A", "b"))
    assert unchunked((("A", "b"),), 7) == (("A", "b"), ("Content-Length", "7"))


def test_header_values_hold_no_line_ends() -> None:
    with pytest.raises(MessageError):
        valid_headers([("A", "b\nc")])
