"""Endpoint templates: one table of targets, rules before shapes, operations, bounds."""

import gzip
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core import limits
from harness.core.endpoint import NO_RULES, EndpointMapper, EndpointRules, entity_of, path_of, templates_from_openapi
from harness.core.errors import UsageError
from harness.core.values import Body, Request, body_of

UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


def endpoint(target: str, method: str = "GET", rules: EndpointRules = NO_RULES) -> str:
    return EndpointMapper(rules).endpoint(Request(method, target))


TARGETS = {
    "/": "/",
    "": "/",
    "*": "*",
    "/orders": "/orders",
    "/orders/": "/orders/",
    "/orders/100": "/orders/{int}",
    "/orders/100?page=2#x": "/orders/{int}",
    f"/orders/{UUID}/items/7": "/orders/{uuid}/items/{int}",
    "/c/3f2a9b1c": "/c/{hex}",
    "/u/01ARZ3NDEKTSV4RRFFQ69G5FAV": "/u/{ulid}",
    "/days/2024-01-31": "/days/{date}",
    "/users/bob@example.com": "/users/{email}",
    "/users/bob%40example.com": "/users/{email}",
    "/users/r-0a1b2c3d4e5f@redacted.invalid": "/users/{email}",
    "/t/V1StGXR8_Z5jdHi6B-myT": "/t/{token}",
    "/t/redacted-0a1b2c3d4e5f": "/t/{token}",
    "/orders/ord_123": "/orders/{id}",
    "/invoices/INV-00042": "/invoices/{id}",
    "/v1/how-to-install-python-3": "/v1/how-to-install-python-3",
    "/a//b///c": "/a/b/c",
    "//": "/",
    "/a;jsessionid=1/b;v=2": "/a/b",
    "/;x": "/",
    "http://h:1/orders/1?x": "/orders/{int}",
    "http://h": "/",
    "orders/1": "/orders/{int}",
    "/a%20b/caf%C3%A9": "/a%20b/caf%C3%A9",
    "/caf\u00e9": "/caf%C3%A9",
    "/a%2Fb": "/a%2Fb",
    "/Orders(12)/Lines('AB')": "/Orders({int})/Lines({id})",
    "/items/12:cancel": "/items/{int}:cancel",
    "/items/1,2,3": "/items/{int}",
    "/items/red,blue": "/items/red,blue",
    "/img/123.png": "/img/{int}.png",
    "/static/app.3f2a9b1c.min.js": "/static/app.{hex}.min.js",
    "/static/index-BX3k2l9a.js": "/static/index-{token}.js",
    "/static/jquery-3.6.0.min.js": "/static/jquery-3.6.0.min.js",
    "/docs/report_2024.pdf": "/docs/{id}.pdf",
    "/api/1.0/x": "/api/1.0/x",
    "/" + "w" * 200: "/{text}",
    "/a" * 40: "/a" * limits.TARGET_SEGMENTS_MAX + "/**",
}


@pytest.mark.parametrize(("target", "template"), TARGETS.items())
def test_segment_shapes(target: str, template: str) -> None:
    assert endpoint(target) == f"GET {template}"


def test_methods() -> None:
    assert endpoint("/a", "PROPFIND") == "PROPFIND /a"
    assert endpoint("/a", "BAD METHOD") == "INVALID /a"
    assert endpoint("/a", "X" * 100) == "INVALID /a"


def test_the_host_stands_in_front_where_several_are_mapped() -> None:
    request = Request("GET", "/a/1", host="b.example")
    assert EndpointMapper(hosts=["a.example", "b.example"]).endpoint(request) == "b.example GET /a/{int}"
    assert EndpointMapper(hosts=["b.example"]).endpoint(request) == "GET /a/{int}"


def test_configured_templates_come_first_in_their_order() -> None:
    rules = EndpointRules(
        templates=("/orders/latest", "POST /orders/{order}", "/orders/{id}", "/users/*/posts", "/files/**", "/a/{x}.{y}", "/{any}/end"),
        openapi=("/orders/{openapi}", "/users/{u}"),
    )
    mapper = EndpointMapper(rules)
    for target, template in {
        "/orders/latest": "/orders/latest",
        "/orders/1": "/orders/{id}",
        "/users/bob/posts": "/users/*/posts",
        "/users/bob": "/users/{u}",
        "/files": "/files/**",
        "/files/a/b/c": "/files/**",
        "/a/x.y": "/a/{x}.{y}",
        "/a/xy": "/a/xy",
        "/q/end": "/{any}/end",
        "/orders/": "/orders/",
        "/else/1": "/else/{int}",
    }.items():
        assert mapper.endpoint(Request("GET", target)) == f"GET {template}"
    assert mapper.endpoint(Request("POST", "/orders/1")) == "POST /orders/{order}"


def test_a_template_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="does not begin with /") as caught:
        EndpointMapper(EndpointRules(templates=("orders/{id}",)))
    assert caught.value.exit_code == 2
    assert "hint" in str(caught.value)


def test_openapi_paths() -> None:
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "servers": [
            {
                "url": "https://{region}.example.com/{base}/",
                "variables": {"region": {"default": "eu"}, "base": {"default": "v1"}, "odd": 3},
            },
            {"url": "/v1"},
            {"url": "relative"},
            {"url": "https://[broken/v9"},
            {"nothing": 1},
        ],
        "paths": {
            "/orders/{orderId}": {"get": {}},
            "/orders/mine": {"get": {}},
            "/up": {"servers": [{"url": "https://up.example.com"}]},
            "x-extension": {},
            5: {},
        },
    }
    templates = templates_from_openapi(document)
    assert templates[:3] == ["/v1/orders/{orderId}", "/relative/orders/{orderId}", "/v9/orders/{orderId}"]
    assert "/up" in templates
    mapper = EndpointMapper(EndpointRules(openapi=tuple(templates)))
    assert mapper.endpoint(Request("GET", "/v1/orders/mine")) == "GET /v1/orders/mine"
    assert mapper.endpoint(Request("GET", "/v1/orders/whatever")) == "GET /v1/orders/{orderId}"
    assert mapper.endpoint(Request("GET", "/orders/whatever")) == "GET /orders/whatever"
    assert templates_from_openapi({"swagger": "2.0", "basePath": "/api/", "paths": {"/a": {}}}) == ["/api/a"]
    assert templates_from_openapi({"paths": {"/a": {}}, "servers": "odd"}) == ["/a"]


@pytest.mark.parametrize("document", [{}, {"paths": []}, [], None, "x"])
def test_a_document_without_paths_is_refused(document: Any) -> None:
    with pytest.raises(UsageError, match="no paths"):
        templates_from_openapi(document)


OPERATIONS: list[tuple[Any, str]] = [
    ({"query": "query GetUser($id: ID!) { user(id: $id) { name } }"}, "GetUser"),
    ({"query": "query A {a} query B {b}", "operationName": "B"}, "B"),
    ({"query": "query A {a}", "operationName": "not a name"}, "A"),
    ({"query": "# query Comment\nmutation Save @x { save }"}, "Save"),
    ({"query": "fragment F on User { name } query Q { user { ...F } }"}, "Q"),
    ({"query": '\ufeff subscription S($t: String = "{ query Z") { s }'}, "S"),
    ({"query": '"""query Doc {"""\nquery Q {a}'}, ""),
    ({"query": "shoes"}, ""),
    ({"query": "query shoes"}, ""),
    ({"query": 5}, ""),
    ({"query": "{ a }", "operationName": "x" * 90}, "x" * 55 + "-"),
    ({"operationName": "Saved", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab"}}}, "Saved"),
    ({"extensions": {"persistedQuery": {"sha256Hash": "ab"}}}, "persisted-"),
    ({"extensions": {"persistedQuery": 1}}, ""),
    ([{"query": "query B {b}"}, {"query": "query A {a}"}, {"query": "query A {a}"}, 7], "A+B"),
    ({"jsonrpc": "2.0", "method": "orders.list", "id": 1}, "orders.list"),
    ({"jsonrpc": "2.0", "method": ""}, ""),
    ({"jsonrpc": "2.0", "result": 1}, ""),
    ([{"jsonrpc": "2.0", "method": "b"}, {"jsonrpc": "2.0", "method": "a"}], "a+b"),
    ([{"jsonrpc": "2.0", "method": f"m{n}"} for n in range(20)], "m0+m1+m10+m11+m12+m13+m14+m15+..."),
    ("jsonrpc", ""),
    (5, ""),
]


@pytest.mark.parametrize(("document", "operation"), OPERATIONS)
def test_operations(document: Any, operation: str) -> None:
    name = EndpointMapper().endpoint(Request("POST", "/rpc", body=body_of(json.dumps(document).encode())))
    if operation.endswith("-"):
        assert name.startswith(f"POST /rpc #{operation}")
        assert len(name) < 80
    else:
        assert name == (f"POST /rpc #{operation}" if operation else "POST /rpc")


@pytest.mark.parametrize("query", ["{ a }", "query { a }", "query($x: Int) { a }", "mutation @d { a }", "fragment F on A { b }"])
def test_anonymous_operations_have_their_type_and_a_stable_hash(query: str) -> None:
    names = {
        EndpointMapper().endpoint(Request("POST", "/graphql", body=body_of(json.dumps({"query": text}).encode())))
        for text in (query, query.replace(" ", "\n  "))
    }
    (name,) = names
    kind = "mutation" if query.startswith("mutation") else "query"
    assert name.startswith(f"POST /graphql #{kind}-")
    other = EndpointMapper().endpoint(Request("POST", "/graphql", body=body_of(json.dumps({"query": query.replace("a", "z")}).encode())))
    assert other != name or "a" not in query


def test_a_method_that_is_no_name_is_a_hash() -> None:
    name = EndpointMapper().endpoint(Request("POST", "/", body=body_of(b'{"jsonrpc":"2.0","method":"a b #c"}')))
    assert name.startswith("POST / #")
    assert len(name) == len("POST / #") + 8


def test_bodies_that_are_not_read_for_operations() -> None:
    data = b'{"jsonrpc":"2.0","method":"a"}'
    for request, operation in (
        (Request("POST", "/", (("Content-Encoding", "gzip"),), body_of(gzip.compress(data))), " #a"),
        (Request("POST", "/", (("Content-Encoding", "gzip"),), body_of(data)), " #a"),
        (Request("POST", "/", body=Body(data, 1000)), ""),
        (Request("POST", "/", body=body_of(data[:-1])), ""),
        (Request("GET", "/", body=body_of(data)), ""),
        (Request("DELETE", "/", body=body_of(data)), ""),
    ):
        assert EndpointMapper().endpoint(request) == f"{request.method} /{operation}"


def test_graphql_over_get() -> None:
    assert endpoint("/graphql?operationName=GetUser&variables=%7B%7D") == "GET /graphql #GetUser"
    assert endpoint("/graphql/?query=query+Named+%7Ba%7D") == "GET /graphql/ #Named"
    assert endpoint("/graphql?query=shoes&x") == "GET /graphql"
    assert endpoint("/search?operationName=GetUser") == "GET /search"


def test_endpoints_are_bounded_and_counted() -> None:
    mapper = EndpointMapper()
    for number in range(limits.ENDPOINTS_MAX + 10):
        name = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        mapper.endpoint(Request("GET", f"/{name}"))
    assert mapper.overflowed == 10
    assert mapper.endpoint(Request("GET", "/one-more")) == limits.OTHER_ENDPOINT
    assert mapper.endpoint(Request("GET", "/a")) == "GET /a"


def test_long_paths_are_not_remembered_and_still_named() -> None:
    assert endpoint("/" + "a1b/" * 300).endswith("/**")


@pytest.mark.parametrize(
    ("target", "path"),
    [("*", "*"), ("/a?b#c", "/a"), ("/a#b?c", "/a"), ("https://h/a?b", "/a"), ("https://h?b", "/"), ("h:443", "/h:443")],
)
def test_paths(target: str, path: str) -> None:
    assert path_of(target) == path


def test_entities() -> None:
    one = entity_of(Request("GET", "/orders/100?b=2&a=1"))
    assert one == entity_of(Request("GET", "/orders/100?a=1&b=2#x")) == "GET /orders/100?a=1&b=2"
    assert entity_of(Request("GET", "/orders/101?a=1&b=2")) != one
    body = Request("POST", "/orders", body=body_of(b"1"))
    assert entity_of(body) == entity_of(body)
    assert entity_of(body).startswith("POST /orders ")
    assert entity_of(body) != entity_of(Request("POST", "/orders", body=body_of(b"2")))
    cut = [entity_of(Request("POST", "/orders", body=Body(b"1", 10, digest))) for digest in ("x", "y")]
    assert cut[0] != cut[1]
    long = entity_of(Request("GET", "/" + "a" * 5000))
    assert len(long) < 120
    assert long != entity_of(Request("GET", "/" + "a" * 5001))


@settings(max_examples=300, deadline=None)
@given(
    target=st.text(st.characters(max_codepoint=255), max_size=80) | st.text(alphabet="/a1-%2F.;:?#(),@_", max_size=60),
    method=st.text(max_size=5),
    data=st.binary(max_size=40) | st.sampled_from([b'{"query":"{"}', b'{"jsonrpc":1,"method":"x"}', b'[{"query":"query"}]']),
)
def test_every_request_has_one_endpoint_and_it_is_a_function_of_the_request(target: str, method: str, data: bytes) -> None:
    request = Request(method, target, body=body_of(data))
    fresh, used = EndpointMapper(), EndpointMapper()
    used.endpoint(Request("GET", "/something/else"))
    name = fresh.endpoint(request)
    assert name == used.endpoint(request) == fresh.endpoint(request)
    assert name.split(" ", 1)[1].startswith(("/", "*"))
    assert len(name) < 32 + limits.TARGET_SEGMENTS_MAX * (3 * limits.SEGMENT_CHARS_MAX + 1) + 700
    assert entity_of(request)


def test_a_known_path_is_named_quickly() -> None:
    mapper = EndpointMapper()
    request = Request("GET", f"/orders/{UUID}/items/7?x=1", tuple(("a", "b") for _ in range(10)))
    mapper.endpoint(request)
    best_s = min(_seconds(mapper, request) for _ in range(10))
    assert best_s / 2000 < 10e-6


def _seconds(mapper: EndpointMapper, request: Request) -> float:
    start = time.process_time()
    for _ in range(2000):
        mapper.endpoint(request)
    return time.process_time() - start
