import base64
import gzip
import zlib
from typing import Any

import pytest

from harness.core.http import header, header_values
from harness.core.values import Request, Response
from replay.formats import har_entry
from replay.formats.har_entry import client_of, read_request, read_response
from replay.formats.message import MessageError


def ask(**fields: Any) -> Request:
    return read_request({"method": "POST", "url": "http://shop.test/a", **fields})


def answer(method: str = "GET", **fields: Any) -> Response:
    found = read_response({"status": 200, **fields}, method)
    assert found is not None
    return found


def named(**pairs: str) -> list[dict[str, str]]:
    return [{"name": name.replace("_", "-"), "value": value} for name, value in pairs.items()]


def test_pseudo_headers_are_dropped_and_name_the_host() -> None:
    headers = [
        {"name": ":authority", "value": "Api.Test"},
        {"name": ":method", "value": "POST"},
        {"name": "accept", "value": "*/*"},
    ]
    request = ask(headers=headers)
    assert request.headers == (("accept", "*/*"),)
    assert request.host == "api.test"
    assert ask(headers=named(host="Real.Test")).host == "real.test"
    assert ask().host == "shop.test"


def test_headers_as_an_object_and_header_values_beyond_latin_1() -> None:
    assert ask(headers={"X-A": "1", "X-B": None}).headers == (("X-A", "1"), ("X-B", ""))
    assert ask(headers=named(X="日")).headers == (("X", "日".encode().decode("latin-1")),)


def test_cookies_in_the_list_only_become_a_header() -> None:
    request = ask(cookies=[{"name": "a", "value": "1"}, {"name": "b", "value": "2"}, {"name": "", "value": "x"}])
    assert header(request.headers, "cookie") == "a=1; b=2"
    both = ask(headers=named(Cookie="c=3"), cookies=[{"name": "a", "value": "1"}])
    assert header_values(both.headers, "cookie") == ["c=3"]


def test_set_cookies_come_from_the_list_or_are_split() -> None:
    cookie = {"name": "sid", "value": "x1", "path": "/", "httpOnly": True, "secure": True, "sameSite": "Lax", "domain": "a;b"}
    assert header_values(answer(cookies=[cookie]).headers, "set-cookie") == ["sid=x1; Path=/; SameSite=Lax; Secure; HttpOnly"]
    assert header_values(answer(headers=[{"name": "Set-Cookie", "value": "a=1\nb=2"}]).headers, "set-cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("post", "expected"),
    [
        ({"text": "a=1", "mimeType": "application/x-www-form-urlencoded"}, b"a=1"),
        ({"text": "é", "mimeType": "text/plain"}, "é".encode()),
        ({"text": "é", "mimeType": "text/plain; charset=iso-8859-1"}, b"\xe9"),
        ({"text": "日", "mimeType": "text/plain; charset=iso-8859-1"}, "日".encode()),
        ({"text": "x", "mimeType": "text/plain; charset=nonsense"}, b"x"),
        ({"text": "\ud800", "mimeType": "text/plain"}, b"\xed\xa0\x80"),
        ({"text": base64.b64encode(b"\x00\xff").decode(), "encoding": "base64", "mimeType": "x/y"}, b"\x00\xff"),
        ({"text": "Content-Type: a/b\r\nContent-Length: 3\r\n\r\nabc", "mimeType": "a/b"}, b"abc"),
        ({"params": [{"name": "a b", "value": "ü&"}], "mimeType": "application/x-www-form-urlencoded"}, b"a+b=%C3%BC%26"),
        ({"params": [{"name": "a", "value": "x%20y"}], "mimeType": "application/x-www-form-urlencoded"}, b"a=x%20y"),
        ({"params": [{"name": "a", "value": "100% sure"}], "mimeType": "application/x-www-form-urlencoded"}, b"a=100%25+sure"),
        ({"params": [], "text": "", "mimeType": ""}, b""),
        ({"mimeType": "x/y"}, b""),
    ],
)
def test_bodies_are_as_they_were_sent(post: dict[str, Any], expected: bytes) -> None:
    request = ask(postData=post)
    assert request.body.data == expected
    assert not request.body.truncated


def test_the_declared_size_tells_the_encoding() -> None:
    latin = ask(postData={"text": "\x80\xff", "mimeType": "x/y"}, headers=named(Content_Length="2"))
    assert latin.body.data == b"\x80\xff"
    raw_form = {"params": named(a="x/y"), "mimeType": "application/x-www-form-urlencoded"}
    assert ask(postData=raw_form, bodySize=5).body.data == b"a=x/y"
    assert ask(postData=raw_form).body.data == b"a=x%2Fy"


def test_a_multipart_form_is_rebuilt() -> None:
    params = [
        {"name": 'f"', "fileName": "x.txt", "contentType": "text/plain", "value": "hi"},
        {"name": "b", "value": "2"},
    ]
    post = {"mimeType": "multipart/form-data; boundary=XyZ", "params": params}
    request = ask(postData=post, headers=[{"name": "Content-Type", "value": "multipart/form-data; boundary=XyZ"}])
    assert request.body.data == (
        b'--XyZ\r\nContent-Disposition: form-data; name="f%22"; filename="x.txt"\r\nContent-Type: text/plain\r\n\r\nhi\r\n'
        b'--XyZ\r\nContent-Disposition: form-data; name="b"\r\n\r\n2\r\n--XyZ--\r\n'
    )
    bare = ask(postData={"mimeType": "multipart/form-data", "params": params})
    boundary = (header(bare.headers, "content-type") or "").partition("boundary=")[2]
    assert boundary
    assert bare.body.data.startswith(f"--{boundary}".encode())


def test_a_body_that_was_not_logged_is_truncated() -> None:
    assert ask(headers=named(Content_Length="12")).body.truncated
    assert ask(bodySize=12).body.truncated
    assert ask(bodySize=12, postData={"mimeType": "x/y", "text": "only this"}).body.truncated
    assert not ask(bodySize=-1).body.truncated
    assert not ask(bodySize=2, postData={"text": "longer", "mimeType": ""}).body.truncated


def test_a_type_is_added_where_only_the_log_has_it() -> None:
    assert header(ask(postData={"text": "{}", "mimeType": "application/json"}).headers, "content-type") == "application/json"


def test_chunked_uploads_get_a_length() -> None:
    request = ask(headers=named(Transfer_Encoding="chunked"), postData={"text": "abc", "mimeType": "x/y"})
    assert header(request.headers, "content-length") == "3"
    assert header(request.headers, "transfer-encoding") is None


def test_an_upload_logged_decoded_loses_its_coding() -> None:
    request = ask(headers=named(Content_Encoding="gzip", Content_Length="40"), postData={"text": "abc", "mimeType": "x/y"})
    assert header(request.headers, "content-encoding") is None
    assert not request.body.truncated


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "G T"},
        {"url": "http:///x"},
        {"headers": [7]},
        {"headers": 7},
        {"headers": [{"name": "a\nb", "value": "x"}]},
        {"headers": [{"name": "A", "value": "x\ny"}]},
        {"postData": {"text": "a", "encoding": "base64"}},
        {"postData": {"text": "é", "encoding": "base64"}},
        {"postData": {"params": [{"value": "x"}]}},
    ],
)
def test_requests_that_cannot_be_sent_are_said(fields: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        ask(**fields)


def test_a_body_beyond_the_bound_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(har_entry, "CAPTURE_RECORD_BYTES_MAX", 3)
    with pytest.raises(MessageError, match="larger"):
        ask(postData={"text": "abcd", "mimeType": ""})


def test_websocket_urls_are_http_requests() -> None:
    assert read_request({"method": "get", "url": "wss://shop.test/ws"}).method == "GET"


@pytest.mark.parametrize("status", [0, -1, None, ""])
def test_no_status_is_no_answer(status: object) -> None:
    assert read_response({"status": status}, "GET") is None
    assert read_response(None, "GET") is None


@pytest.mark.parametrize("raw", [7, {"status": "abc"}, {"status": True}, {"status": 9}, {"status": [1]}])
def test_nonsense_answers_are_said(raw: object) -> None:
    with pytest.raises(MessageError):
        read_response(raw, "GET")


def test_a_status_in_text_is_read() -> None:
    assert answer(status="404").status == 404


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd"])
def test_decoded_content_loses_its_coding_and_gets_its_length(coding: str) -> None:
    headers = named(Content_Encoding=coding, Content_Length="9")
    found = answer(headers=headers, content={"text": "hello hello hello", "size": 17}, bodySize=9)
    assert found.headers == (("Content-Length", "17"),)
    assert found.body.data == b"hello hello hello"


@pytest.mark.parametrize(
    ("coding", "coded"),
    [("gzip", gzip.compress(b"hello", mtime=0)), ("deflate", zlib.compress(b"hello")), ("br", b"\x0b\x02\x80hello\x03")],
)
def test_content_that_is_still_coded_keeps_its_coding(coding: str, coded: bytes) -> None:
    content = {"text": base64.b64encode(coded).decode(), "encoding": "base64", "size": 5}
    found = answer(headers=named(Content_Encoding=coding), content=content, bodySize=len(coded))
    assert header(found.headers, "content-encoding") == coding
    assert found.body.data == coded


def test_content_in_its_charset_and_without_text() -> None:
    latin = answer(content={"text": "é", "size": 1, "mimeType": "text/html; charset=iso-8859-1"})
    assert latin.body.data == b"\xe9"
    assert answer(content={"size": 77}).body.truncated
    assert answer(content={"text": "", "size": 77}).body.truncated
    assert not answer(content=7).body.truncated
    assert answer(headers=named(Transfer_Encoding="chunked"), content={"text": "ab"}).headers == (("Content-Length", "2"),)


def test_answers_without_a_body_keep_their_headers() -> None:
    assert answer("HEAD", headers=named(Content_Length="9"), content={"text": "x"}).body.size == 0
    assert answer(status=304, content={"text": "x", "size": 1}).body.size == 0


def test_a_reason_holds_no_line_end() -> None:
    assert answer(statusText="a\nb").reason == "a b"


def test_clients() -> None:
    assert client_of({"connection": 443}) == "443"
    assert client_of({"connection": True}) == ""
