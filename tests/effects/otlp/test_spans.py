"""What spans say was done: several generations of names give the same, and noise is left out."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.effects.otlp.spans import (
    CLIENT,
    KIND_NAMES,
    NEW_NAMES,
    PRODUCER,
    Doing,
    doing_of,
    host_of,
    is_read,
    is_same,
    joined,
    path_template,
    renamed,
)


def doing(attributes: dict[str, Any], kind: int = CLIENT, name: str = "span", *, error: bool = False, statements: bool = True) -> Doing:
    found = doing_of(kind, name, attributes, error=error, statements=statements)
    assert found is not None
    return found


OLD_HTTP = {
    "http.method": "POST",
    "http.url": "http://payments.test:8080/charges/42?b=1&a=2",
    "http.status_code": 201,
    "net.peer.name": "payments.test",
    "net.peer.port": 8080,
    "http.user_agent": "requests/2",
}
NEW_HTTP = {
    "http.request.method": "POST",
    "url.full": "http://payments.test:9090/charges/43?a=9&b=1",
    "http.response.status_code": 201,
    "server.address": "payments.test",
    "server.port": 9090,
    "network.peer.address": "10.0.0.1",
}


def test_http_of_two_generations() -> None:
    old, new = doing(OLD_HTTP), doing(NEW_HTTP)
    assert old == new
    assert (old.verb, old.place, old.writes) == ("CLIENT http POST", "payments.test/charges/{int}", True)
    assert old.fields == {
        "kind": "client",
        "http.request.method": "POST",
        "url.scheme": "http",
        "server.address": "payments.test",
        "url.path": "/charges/{int}",
        "url.query": ["a", "b"],
        "http.response.status_code": 201,
        "error": False,
    }


@pytest.mark.parametrize(
    "attributes",
    [
        {"http.method": "GET", "http.host": "shop.test:80", "http.target": "/a/7?x=1", "http.scheme": "http"},
        {"http.request.method": "get", "server.address": "SHOP.test", "url.path": "/a/7", "url.query": "x=1", "url.scheme": "http"},
        {"http.method": "GET", "http.url": "http://user:pw@shop.test:80/a/7?x=1#f"},
        {**OLD_HTTP, "http.request.method": "GET", "url.full": "http://shop.test/a/9?x=2", "http.response.status_code": None},
    ],
)
def test_http_in_pieces(attributes: dict[str, Any]) -> None:
    found = doing(attributes)
    assert (found.verb, found.place, found.writes) == ("CLIENT http GET", "shop.test/a/{int}", False)
    assert found.fields["url.query"] == ["x"]
    assert found.fields["url.scheme"] == "http"


def test_both_generations_at_once_give_the_new() -> None:
    given = renamed({"http.method": "GET", "http.request.method": "POST", "db.statement": "x"})
    assert given == {"http.request.method": "POST", "db.query.text": "x"}


def test_an_error_and_a_template() -> None:
    found = doing({**NEW_HTTP, "url.template": "/charges/{charge}", "http.response.status_code": "500"}, error=True)
    assert found.fields["url.path"] == "/charges/{charge}"
    assert found.fields["error"] is True
    assert found.fields["http.response.status_code"] == 500


OLD_SQL = {"db.system": "postgres", "db.statement": "INSERT INTO orders (id) VALUES (42)", "db.name": "shop_stable", "db.user": "u"}
NEW_SQL = {
    "db.system.name": "postgresql",
    "db.query.text": "insert into orders(id) values ($1)",
    "db.operation.name": "insert",
    "db.collection.name": "orders",
    "db.namespace": "shop_candidate",
    "server.address": "10.1.1.1",
}


def test_statements_of_two_generations() -> None:
    old, new = doing(OLD_SQL), doing(NEW_SQL)
    assert old == new
    assert (old.verb, old.place, old.writes) == ("CLIENT postgresql INSERT", "orders", True)
    assert old.fields["db.query.text"] == "INSERT INTO orders(id) VALUES (?)"
    assert "shop" not in str(old.fields)


def test_without_statements_only_verb_and_table_count() -> None:
    found = doing(OLD_SQL, statements=False)
    assert "db.query.text" not in found.fields
    assert (found.verb, found.place) == ("CLIENT postgresql INSERT", "orders")


@pytest.mark.parametrize(
    ("attributes", "kind", "operation", "writes"),
    [
        ({"db.system": "postgresql", "db.statement": "SELECT 1 FROM t"}, CLIENT, "CLIENT postgresql SELECT t", False),
        ({"db.system": "postgresql", "db.operation": "select", "db.sql.table": "t"}, CLIENT, "CLIENT postgresql SELECT t", False),
        ({"db.system": "postgresql", "db.statement": "COMMIT"}, CLIENT, "CLIENT postgresql COMMIT", False),
        ({"db.system": "redis", "db.statement": "HSET cart:77 ? ?"}, CLIENT, "CLIENT redis HSET cart:{int}", True),
        ({"db.system": "mongodb", "db.operation": "find", "db.mongodb.collection": "orders"}, CLIENT, "CLIENT mongodb FIND orders", False),
        ({"db.system": "mongodb", "db.operation": "insert", "db.mongodb.collection": "o"}, CLIENT, "CLIENT mongodb INSERT o", True),
        (
            {"db.system": "dynamodb", "db.operation": "PutItem", "aws.dynamodb.table_names": ["orders"], "rpc.system": "aws-api"},
            CLIENT,
            "CLIENT dynamodb PutItem orders",
            True,
        ),
        ({"messaging.system": "kafka", "messaging.destination": "orders"}, PRODUCER, "PRODUCER kafka orders", True),
        ({"messaging.system": "kafka", "messaging.destination.name": "orders"}, PRODUCER, "PRODUCER kafka orders", True),
        (
            {"messaging.system": "rabbitmq", "messaging.destination.name": "amq.gen-x", "messaging.destination.anonymous": True},
            PRODUCER,
            "PRODUCER rabbitmq (temporary)",
            True,
        ),
        (
            {"messaging.system": "aws_sqs", "messaging.destination.name": "jobs", "messaging.operation": "receive"},
            CLIENT,
            "CLIENT aws_sqs receive jobs",
            False,
        ),
        (
            {"messaging.system": "aws_sqs", "messaging.destination.name": "jobs", "messaging.operation.type": "send"},
            CLIENT,
            "CLIENT aws_sqs publish jobs",
            True,
        ),
        ({"rpc.system": "grpc", "rpc.service": "pay.Charges", "rpc.method": "Create"}, CLIENT, "CLIENT grpc pay.Charges/Create", True),
        ({"rpc.system.name": "grpc", "rpc.method": "pay.Charges/GetOne"}, CLIENT, "CLIENT grpc pay.Charges/GetOne", False),
        ({"peer.service": "ledger"}, CLIENT, "CLIENT other ledger book {int}", True),
    ],
)
def test_operations(attributes: dict[str, Any], kind: int, operation: str, writes: bool) -> None:
    found = doing(attributes, kind, "book 42")
    assert f"{found.verb} {found.place}".strip() == operation
    assert found.writes is writes


def test_codes_of_grpc_are_named() -> None:
    old = doing({"rpc.system": "grpc", "rpc.method": "a/B", "rpc.grpc.status_code": 14})
    new = doing({"rpc.system.name": "grpc", "rpc.method": "a/B", "rpc.response.status_code": "UNAVAILABLE"})
    assert old == new


def test_an_opened_connection_is_no_effect() -> None:
    assert doing_of(CLIENT, "connect", {"db.system": "postgresql", "db.name": "shop"}, error=False) is None


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("Shop.test:80", "shop.test"),
        ("[::1]:80", "::1"),
        ("::1", "::1"),
        ("user:pw@shop.test", "shop.test"),
        ("", ""),
        ("10.0.0.1:1", "10.0.0.1"),
    ],
)
def test_hosts(authority: str, host: str) -> None:
    assert host_of(authority) == host


def test_paths() -> None:
    assert path_template("/users/42/orders/3f2504e0-4f89-41d3-9a0c-0305e82c3301/") == "/users/{int}/orders/{uuid}/"
    assert path_template("/" + "a/" * 100).endswith("/a/**")


def test_one_doing_seen_twice() -> None:
    orm = doing({"db.system": "postgresql", "db.operation": "INSERT", "db.sql.table": "orders"})
    driver = doing(OLD_SQL)
    assert is_same(orm, driver)
    assert joined(orm, driver).fields["db.query.text"] == "INSERT INTO orders(id) VALUES (?)"
    assert is_same(doing(NEW_HTTP), doing(OLD_HTTP))
    assert not is_same(doing(NEW_HTTP), doing({**OLD_HTTP, "http.url": "http://elsewhere.test/"}))
    search = doing({"db.system": "elasticsearch", "db.operation": "search"})
    assert is_same(search, doing(NEW_HTTP))
    assert joined(search, doing(NEW_HTTP)) == search
    assert not is_same(doing(NEW_HTTP), driver)


def test_every_old_name_is_read_and_so_is_what_replaces_it() -> None:
    assert all(is_read(old) and is_read(new) for old, new in NEW_NAMES.items())
    assert not set(NEW_NAMES) & set(NEW_NAMES.values())
    assert not is_read("thread.id")


anything = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text(max_size=5), max_size=3))
some_attributes = st.dictionaries(st.sampled_from(sorted({*NEW_NAMES, *NEW_NAMES.values(), "messaging.system", "url.template"})), anything)


@given(st.integers(0, 9), st.text(), some_attributes, st.booleans())
def test_any_attributes_are_taken(kind: int, name: str, attributes: dict[str, Any], error: bool) -> None:
    first = doing_of(kind, name, attributes, error=error)
    assert first is None or first.fields["error"] is error
    assert first == doing_of(kind, name, dict(reversed(attributes.items())), error=error), "the order of attributes means nothing"


@given(some_attributes, some_attributes)
def test_any_two_can_be_told(one: dict[str, Any], other: dict[str, Any]) -> None:
    for kind in KIND_NAMES.values():
        outer, inner = doing_of(kind, "", one, error=False), doing_of(CLIENT, "", other, error=False)
        if outer is not None and inner is not None and is_same(outer, inner):
            assert joined(outer, inner).fields.items() >= outer.fields.items()
