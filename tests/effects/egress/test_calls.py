"""Canonical forms: what means the same looks the same, what differs differs, and anything may come."""

import gzip

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.values import Headers
from harness.effects.egress.calls import Call, canonical, encoded, endpoint_of, host_of, key_of, plain_body, split_url

JSON_TYPE = (("Content-Type", "application/json"),)
FORM_TYPE = (("content-type", "application/x-www-form-urlencoded; charset=utf-8"),)


def call(url: str = "http://api.test/", body: bytes = b"", headers: Headers = (), method: str = "POST", size: int | None = None) -> Call:
    return Call(method=method, url=url, headers=headers, body=body, size=len(body) if size is None else size)


def multipart(boundary: str, *parts: tuple[str, bytes]) -> Call:
    mark = f"--{boundary}".encode()
    pieces = [b'%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (mark, name.encode(), data) for name, data in parts]
    return call(body=b"".join(pieces) + mark + b"--\r\n", headers=(("Content-Type", f'multipart/form-data; boundary="{boundary}"'),))


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://API.test:80/x", "api.test"),
        ("https://api.test:443/x", "api.test"),
        ("https://api.test:0443/x", "api.test"),
        ("http://api.test:443/x", "api.test:443"),
        ("http://api.test:/x", "api.test"),
        ("http://api.test./x", "api.test"),
        ("http://user:pass@api.test/x", "api.test"),
        ("http://[::1]:8080/x", "[::1]:8080"),
        ("http://[0:0:0:0:0:0:0:1]/x", "[::1]"),
        ("http://[2001:DB8::1]:80/x", "[2001:db8::1]"),
        ("http://[nonsense]/x", "[nonsense]"),
        ("http://müller.example/x", "xn--mller-kva.example"),
        ("http://xn--mller-kva.example/x", "xn--mller-kva.example"),
        ("http://m%C3%BCller.example/x", "xn--mller-kva.example"),
        ("http://a:b:c/x", "a:b:c"),
        ("/only/a/path", ""),
        ("", ""),
    ],
)
def test_an_authority_is_written_one_way(url: str, authority: str) -> None:
    assert split_url(url).authority == authority


def test_the_parts_of_a_url() -> None:
    url = split_url("https://api.test/a%2Fb//c;v=1?q=1&q=2#part")
    assert (url.scheme, url.host, url.port, url.query) == ("https", "api.test", "", "q=1&q=2")
    assert url.segments == ("a%2Fb", "", "c;v=1")
    assert split_url("http://api.test?q").segments == split_url("http://api.test/?q").segments


def test_the_host_of_a_call_has_no_port() -> None:
    assert host_of(call("http://Api.test:8080/")) == "api.test"


SAME = [
    (call("http://a.test/?x=1&y=2"), call("http://a.test:80/?y=2&x=1#frag")),
    (call("http://a.test/%7Eme/a%20b?q=a+b"), call("http://a.test/~me/a b?q=a%20b")),
    (call("http://a.test/?x"), call("http://a.test/?x=&")),
    (call(method="post"), call(method="POST")),
    (call(body=b'{"a":1,"b":[1,2]}', headers=JSON_TYPE), call(body=b'{ "b": [1, 2], "a": 1 }', headers=JSON_TYPE)),
    (call(body=b'{"a":1}'), call(body=b'\xef\xbb\xbf{"a":1}', headers=JSON_TYPE)),
    (call(body=b'"\\u00e4"', headers=JSON_TYPE), call(body='"ä"'.encode(), headers=JSON_TYPE)),
    (call(body=b"a=1&b=x+y", headers=FORM_TYPE), call(body=b"b=x%20y&a=1", headers=FORM_TYPE)),
    (multipart("one", ("a", b"1"), ("b", b"\xff")), multipart("other-7", ("b", b"\xff"), ("a", b"1"))),
    (multipart("one", ("a", b'{"x":1,"y":2}')), multipart("two", ("a", b'{"y":2,"x":1}'))),
    (
        call(body=gzip.compress(b'{"a":1}'), headers=(*JSON_TYPE, ("Content-Encoding", "gzip"))),
        call(body=b'{"a": 1}', headers=(*JSON_TYPE, ("Content-Encoding", "gzip"))),
    ),
    (
        call(body=b'{"a":1}\n{"b":2}\n', headers=(("Content-Type", "application/x-ndjson"),)),
        call(body=b'{"a": 1}\r\n\n{"b": 2}', headers=(("Content-Type", "application/x-ndjson"),)),
    ),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_what_means_the_same_has_one_key(one: Call, two: Call) -> None:
    assert canonical(one) == canonical(two)
    assert key_of(canonical(one)) == key_of(canonical(two))


OTHER = [
    (call("http://a.test/?x=1&x=2"), call("http://a.test/?x=2&x=1")),
    (call("http://a.test/a%2Fb"), call("http://a.test/a/b")),
    (call("http://a.test/"), call("https://a.test/")),
    (call("http://a.test/"), call("http://a.test:81/")),
    (call(method="GET"), call(method="HEAD")),
    (call(body=b"[1,2]"), call(body=b"[2,1]")),
    (call(body=b'{"a":1}'), call(body=b'{"a":"1"}')),
    (call(body=b'{"a":1}'), call(body=b'{"a":true}')),
    (call(body=b'{"a":100000000000000000000000001}'), call(body=b'{"a":100000000000000000000000002}')),
    (call(body=b"\xff\x00"), call(body=b"\xff\x01")),
    (call(body=b""), call(body=b"x")),
    (call(body=b"beginning", size=100), call(body=b"beginning", size=101)),
    (multipart("one", ("a", b"1")), multipart("one", ("a", b"2"))),
]


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_what_differs_has_another_key(one: Call, two: Call) -> None:
    assert key_of(canonical(one)) != key_of(canonical(two))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{broken", JSON_TYPE),
        (b"[" * 100_000, JSON_TYPE),
        (b"[" * 500 + b"]" * 500, JSON_TYPE),
        (b"9" * 10_000, JSON_TYPE),
        (b'"\\ud800"', JSON_TYPE),
        (b"\xff=\xfe&%ff=%", FORM_TYPE),
        (b"no parts", (("Content-Type", "multipart/form-data; boundary=x"),)),
        (b"--x\r\nno head--x", (("Content-Type", "multipart/mixed; boundary=x"),)),
        (b"\x1f\x8bnot gzip", (("Content-Encoding", "gzip, unknown"),)),
        ("ünïcode".encode("latin-1"), (("Content-Type", "text/plain; charset=latin-1"),)),
    ],
)
def test_a_body_that_cannot_be_read_is_still_told_from_another(body: bytes, headers: Headers) -> None:
    assert key_of(canonical(call(body=body, headers=headers))) != key_of(canonical(call(body=body + b"!", headers=headers)))


@pytest.mark.parametrize(("depth", "kind"), [(100, "json"), (150, "json"), (300, "text")])
def test_a_document_that_is_too_deep_is_text(depth: int, kind: str) -> None:
    assert list(canonical(call(body=b"[" * depth + b"]" * depth))["body"]) == [kind]
    assert list(canonical(call(body=b"[" + b",".join([b"{}"] * depth) + b"]"))["body"]) == ["json"]


def test_the_boundary_is_found_in_the_body_where_the_header_has_another() -> None:
    sent = multipart("real", ("a", b"1"))
    other = msgspec.structs.replace(sent, headers=(("Content-Type", "multipart/form-data; boundary=redacted-0123456789ab"),))
    assert canonical(sent) == canonical(other)


def test_a_coded_body_that_is_cut_stays_as_it_is() -> None:
    packed = gzip.compress(b"x" * 1000)
    assert plain_body(call(body=packed[:-9], headers=(("content-encoding", "gzip"),))) == packed[:-9]


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (call("http://pay.test/charges/17?x=1"), "POST pay.test/charges/{int}"),
        (call("http://pay.test:8080/charges/17"), "POST pay.test:8080/charges/{int}"),
        (call("http://pay.test"), "POST pay.test/"),
        (call("http://g.test/graphql", b'{"query":"query Orders { a }"}'), "POST g.test/graphql #Orders"),
        (
            call("http://g.test/graphql", gzip.compress(b'{"query":"query Orders { a }"}'), (("Content-Encoding", "gzip"),)),
            "POST g.test/graphql #Orders",
        ),
    ],
)
def test_the_endpoint_of_a_call(sent: Call, name: str) -> None:
    assert endpoint_of(sent) == name


def test_open_segments_are_no_part_of_an_endpoint() -> None:
    assert endpoint_of(call("http://a.test/users/bob/x"), frozenset({1})) == endpoint_of(call("http://a.test/users/eve/x"), frozenset({1}))


def test_endpoints_are_told_apart_however_many_there_are() -> None:
    assert len({endpoint_of(call(f"http://a.test/{chr(97 + n % 26)}{chr(97 + n // 26)}x")) for n in range(600)}) == 600


HEADER_TEXT = st.text(st.characters(max_codepoint=255), max_size=20)
ANY_TYPE = st.sampled_from(
    [
        "",
        "application/json",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "text/xml",
        "image/png",
    ]
)
ANY_CALL = st.builds(
    lambda method, url, kind, coded, body, more: Call(
        method=method, url=url, headers=(("Content-Type", kind), ("Content-Encoding", coded)), body=body, size=len(body) + more
    ),
    st.text(max_size=8),
    st.one_of(st.text(max_size=60), st.text(max_size=40).map("http://".__add__), st.text(max_size=40).map("https://a.test/".__add__)),
    ANY_TYPE,
    st.sampled_from(["", "gzip", "br", "identity"]),
    st.one_of(
        st.binary(max_size=80),
        st.text('{}[]",:0a-&=% \\u\n', max_size=60).map(str.encode),
        st.binary(max_size=30).map(lambda data: b"--b\r\n\r\n" + data + b"\r\n--b--"),
    ),
    st.sampled_from([0, 0, 0, 5]),
)


@given(sent=ANY_CALL)
def test_every_call_has_a_form_that_can_be_written(sent: Call) -> None:
    assert msgspec.json.decode(encoded(canonical(sent))) == canonical(sent)
    assert endpoint_of(sent) == endpoint_of(sent)
    assert "/" in endpoint_of(sent) or "*" in endpoint_of(sent)


@given(pairs=st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=6), data=st.data())
def test_the_order_of_names_does_not_count(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    from urllib.parse import quote_plus  # noqa: PLC0415

    fields = {name: value for name, value in pairs if name or value}
    shuffled = data.draw(st.permutations(list(fields.items())))

    def query(items: list[tuple[str, str]]) -> str:
        return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in items)

    one, two = query(list(fields.items())), query(list(shuffled))
    assert canonical(call(f"http://a.test/?{one}")) == canonical(call(f"http://a.test/?{two}"))
    form = [call(body=text.encode(), headers=FORM_TYPE) for text in (one, two)]
    assert canonical(form[0]) == canonical(form[1])
