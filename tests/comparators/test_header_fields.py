"""Single header fields, each in its own way."""

import pytest

from harness.core.labels import Kind
from tests.comparators.support import compared, exchange, header_differences, kinds

DATE = "Mon, 06 May 2024 07:00:00 GMT"


@pytest.mark.parametrize(
    ("name", "left", "right", "expected"),
    [
        ("Vary", "Origin, Accept", "accept,origin", set()),
        ("Vary", "Origin", "Origin, Cookie", {("vary.cookie", Kind.EXTRA)}),
        ("Allow", "GET, HEAD", "HEAD, GET", set()),
        ("Allow", "GET, get", "GET", {("allow.get", Kind.MISSING)}),
        ("Access-Control-Allow-Headers", "X-A, x-b", "X-B,X-A", set()),
        ("Access-Control-Allow-Methods", "GET,PUT", "GET", {("access-control-allow-methods.PUT", Kind.MISSING)}),
        ("Cache-Control", "max-age=60, Private", "private,max-age=60", set()),
        ("Cache-Control", "max-age=60", "max-age=90", {("cache-control.max-age", Kind.VALUE)}),
        ("Cache-Control", "no-store", "no-cache", {("cache-control.no-store", Kind.MISSING), ("cache-control.no-cache", Kind.EXTRA)}),
        ("Cache-Control", 'private="a,b", x', 'x, private="a,b"', set()),
        ("Strict-Transport-Security", "max-age=1; includeSubDomains", "max-age=1;includesubdomains", set()),
        ("Content-Security-Policy", "script-src 'self' 'nonce-abc'", "script-src 'self' 'nonce-def'", set()),
        (
            "Content-Security-Policy",
            "default-src 'self'; img-src *",
            "default-src 'self'",
            {("content-security-policy.img-src", Kind.MISSING)},
        ),
        ("Content-Type", "text/html; charset=UTF-8", "Text/HTML;charset=utf-8", set()),
        ("Content-Type", "text/html", "text/plain", {("content-type", Kind.MEDIA_TYPE)}),
        ("Content-Type", "text/html; charset=utf-8", "text/html", {("content-type.charset", Kind.MISSING)}),
        ("Content-Type", "multipart/x; boundary=a", "multipart/x; boundary=b", set()),
        ("ETag", '"a"', '"a"', set()),
        ("ETag", '"a"', '"b"', {("etag", Kind.VALUE)}),
        ("ETag", 'W/"a"', '"a"', {("etag", Kind.FORMAT)}),
        ("Expires", "Mon, 06 May 2024 08:00:00 GMT", "Mon, 06 May 2024 08:00:01 GMT", set()),
        ("Expires", "Mon, 06 May 2024 08:00:00 GMT", "Mon, 06 May 2024 09:00:00 GMT", {("expires", Kind.VALUE)}),
        ("Expires", "0", "-1", {("expires", Kind.VALUE)}),
        ("Link", '</b>; rel="next", </a>; rel=prev', "</a>; rel=prev, </b>;rel=next", set()),
        ("Link", "</b>; rel=next", "</c>; rel=next", {("link.next", Kind.VALUE)}),
        ("Link", "</a>; rel=next", "</a>; rel=last", {("link.next", Kind.MISSING), ("link.last", Kind.EXTRA)}),
        ("Link", "</a>; rel=item, </b>; rel=item", "</a>; rel=item", {("link.item", Kind.LENGTH)}),
        ("Link", "</a,b;c>", "</a,b;d>", {("link.none", Kind.VALUE)}),
        ("X-Frame-Options", "DENY", "deny", set()),
        ("X-Request-Count", "1", "2", {("x-request-count", Kind.VALUE)}),
        ("X-Thing", "1", "0f8fad5b-d9cb-469f-a165-70867728950e", {("x-thing", Kind.FORMAT)}),
        ("X-Thing", "a", "A", {("x-thing", Kind.VALUE)}),
        ("Vary", '"' * 9_000 + ",x", "x", {("vary['" + '"' * 120 + "…']", Kind.MISSING)}),
        ("Location", "/orders/1", "/orders/2", {("location.path", Kind.VALUE)}),
        ("Location", "/orders/1", "/orders/0f8fad5b-d9cb-469f-a165-70867728950e", {("location.path", Kind.FORMAT)}),
        ("Location", "/orders/1", "/orders/1/items", {("location.path", Kind.LENGTH)}),
        ("Location", "/a?x=1&y=2", "/a?y=2&x=1", set()),
        ("Location", "/a?x=1", "/a?x=2&z=1", {("location.query.x", Kind.VALUE), ("location.query.z", Kind.EXTRA)}),
        ("Location", "/a#x", "/a#y", {("location.fragment", Kind.VALUE)}),
        ("Location", "https://a.example/x", "http://A.example/x", {("location.scheme", Kind.VALUE)}),
        ("Location", "https://a.example/x", "https://b.example/x", {("location.host", Kind.VALUE)}),
        ("Location", "https://a.example/x", "/x", {("location.host", Kind.MISSING), ("location.scheme", Kind.MISSING)}),
        ("Location", "http://[bad", "http://[worse", {("location", Kind.VALUE)}),
    ],
)
def test_one_field(name: str, left: str, right: str, expected: set[tuple[str, Kind]]) -> None:
    assert header_differences((("Date", DATE), (name, left)), (("Date", DATE), (name, right))) == expected


def test_several_lines_are_one_field() -> None:
    assert header_differences((("Vary", "a"), ("vary", "b")), (("Vary", "b, a"),)) == set()


def test_a_target_s_own_host_counts_as_none() -> None:
    one = exchange(b"", ("Location", "http://127.0.0.1:8001/x"), host="127.0.0.1:8001")
    other = exchange(b"", ("Location", "http://127.0.0.1:8002/x"), host="127.0.0.1:8002")
    relative = exchange(b"", ("Location", "/x"), host="127.0.0.1:8003")
    assert compared(one, other) == compared(one, relative) == ()
    elsewhere = exchange(b"", ("Location", "http://127.0.0.1:8001/x"), host="127.0.0.1:8002")
    assert kinds(compared(relative, elsewhere)) == {("location.host", Kind.EXTRA), ("location.scheme", Kind.EXTRA)}
