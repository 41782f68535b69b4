"""Calls as effects: operations without identifiers, documents with what was sent."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits
from harness.core.values import Effect, Headers
from harness.effects.egress.calls import Call
from harness.effects.egress.documents import Describer, body_value

JSON: Headers = (("Content-Type", "application/json"),)


def effect(method: str = "POST", target: str = "/a", headers: Headers = (), body: bytes = b"", digest: str = "", size: int = 0) -> Effect:
    call = Call(method=method, url=f"http://api.test{target}", headers=headers, body=body, size=size or len(body))
    return Describer(("x-tenant",)).effect(call, place="api.test", target=target, digest=digest, at_ns=5)


def document(found: Effect) -> Any:
    return orjson.loads(found.document)


@pytest.mark.parametrize(
    ("method", "target", "body", "operation"),
    [
        ("POST", "/charges/42/refunds?x=1", b"", "POST api.test/charges/{int}/refunds"),
        ("GET", "/", b"", "GET api.test/"),
        ("POST", "/graphql", b'{"query": "mutation Pay { pay }"}', "POST api.test/graphql #Pay"),
        ("OPTIONS", "*", b"", "OPTIONS api.test*"),
    ],
)
def test_operations_have_no_identifiers(method: str, target: str, body: bytes, operation: str) -> None:
    assert effect(method, target, JSON, body).operation == operation


def test_safe_methods_write_nothing() -> None:
    assert [effect(method).writes for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PURGE")] == [False] * 3 + [
        True
    ] * 5


def test_a_document_has_headers_of_interest_and_no_secrets() -> None:
    headers = (("Authorization", "Bearer x"), ("Cookie", "a=b"), ("User-Agent", "u"), ("X-Tenant", "1"), ("X-Tenant", "2"), *JSON)
    assert document(effect(headers=headers))["headers"] == {"x-tenant": ["1", "2"], "content-type": "application/json"}


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        ("application/json", b'{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("application/vnd.api+json", b"[1]", [1]),
        ("", b' {"a": 1}', {"a": 1}),
        ("application/json", b"{broken", "{broken"),
        ("text/plain", b"12", "12"),
        ("application/x-www-form-urlencoded", b"a=1&b=&a=2+3", {"a": ["1", "2 3"], "b": ""}),
        ("application/x-www-form-urlencoded", b"\xff", "hex:ff"),
        ("application/octet-stream", b"\xff\x00", "hex:ff00"),
    ],
)
def test_bodies_become_values(kind: str, body: bytes, value: object) -> None:
    assert body_value(body, (("content-type", kind),)) == value


def multipart(boundary: str, binary: bytes = b"\xff\x01") -> bytes:
    mark = f"--{boundary}".encode()
    parts = (b'form-data; name="note"\r\n\r\nline\r\nline', b'form-data; name="file"; filename="a"\r\n\r\n' + binary)
    return b"".join(b"%s\r\nContent-Disposition: %s\r\n" % (mark, part) for part in parts) + mark + b"--\r\n"


def test_the_boundary_of_a_multipart_body_does_not_matter() -> None:
    one, two = (
        document(effect(headers=(("content-type", f'multipart/form-data; boundary="{boundary}"'),), body=multipart(boundary)))
        for boundary in ("abc", "other")
    )
    assert one == two
    assert one["body"]["note"] == "line\r\nline"
    assert one["body"]["file"]["size"] == 2
    assert one["headers"] == {"content-type": "multipart/form-data"}
    other = effect(headers=(("content-type", "multipart/form-data; boundary=x"),), body=multipart("x", b"\xff\x02"))
    assert document(other)["body"] != one["body"]


def test_a_body_that_was_cut_is_its_size_and_digest() -> None:
    assert document(effect(body=b"cut", size=10, digest="d"))["body"] == {"size": 10, "sha256": "d"}


def test_what_is_nested_too_deep_to_be_written_is_text() -> None:
    body = b"[" * 500 + b"]" * 500
    assert document(effect(headers=JSON, body=body))["body"] == body.decode()


def test_too_many_operations_are_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENDPOINTS_MAX", 2)
    describer = Describer(())
    seen = [
        describer.effect(Call(method="GET", url=f"http://a/{name}"), place="a", target=f"/{name}", digest="", at_ns=0).operation
        for name in ("x", "y", "z")
    ]
    assert seen == ["GET a/x", "GET a/y", "GET a other"]


@given(
    st.binary(max_size=200), st.text(max_size=40), st.sampled_from(["application/json", "multipart/form-data; boundary=a", "text/x", ""])
)
def test_any_call_has_a_document(body: bytes, target: str, kind: str) -> None:
    wire = target.encode("utf-8", "surrogatepass").decode("latin-1")
    found = effect(target=f"/{wire}", headers=(("content-type", kind), ("x-tenant", wire)), body=body)
    assert document(found)["url"]["path"].startswith("/")
    assert len(found.document) <= limits.EFFECT_DOCUMENT_BYTES_MAX
