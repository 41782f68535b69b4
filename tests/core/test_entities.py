"""What names and paths identify."""

import pytest

from harness.core.entities import Entity, entity_at, entity_of_path, entity_of_word, id_entity, is_id_integer, singular


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("orders", "order"),
        ("categories", "category"),
        ("addresses", "address"),
        ("boxes", "box"),
        ("branches", "branch"),
        ("status", "status"),
        ("address", "address"),
        ("analysis", "analysis"),
        ("bus", "bus"),
        ("gas", "gas"),
        ("order", "order"),
    ],
)
def test_singular(word: str, expected: str) -> None:
    assert singular(word) == expected


@pytest.mark.parametrize(
    ("name", "entity"),
    [
        ("id", ()),
        ("ID", ()),
        ("_id", ()),
        ("ids", ()),
        ("order_id", ("order",)),
        ("orderId", ("order",)),
        ("OrderID", ("order",)),
        ("order-ids", ("order",)),
        ("shippingAddressId", ("shipping", "address")),
        ("orders_id", ("order",)),
        ("valid", None),
        ("paid", None),
        ("identity", None),
        ("", None),
        ("quantity", None),
    ],
)
def test_id_like_names(name: str, entity: Entity | None) -> None:
    assert id_entity(name) == entity


def test_words() -> None:
    assert entity_of_word("OrderItems") == entity_of_word("order-items") == ("order", "item")
    assert entity_of_word("--") == ()


@pytest.mark.parametrize(
    ("path", "entity"),
    [
        ("/orders", ("order",)),
        ("/orders/7", ("order",)),
        ("/orders/7/items", ("item",)),
        ("/orders/7/cancel", ("order",)),
        ("/users/login", ("user",)),
        ("/login", ("login",)),
        ("/api/v1/order/100/cancel", ("order",)),
        ("/api/v2", ()),
        ("/", ()),
        ("/7", ()),
        ("/order-items/7", ("order", "item")),
    ],
)
def test_paths(path: str, entity: Entity) -> None:
    assert entity_of_path(path.split("/")[1:]) == entity


@pytest.mark.parametrize(
    ("path", "wrap", "entity"),
    [
        (("id",), True, ("order",)),
        (("data", 0, "id"), True, ("order",)),
        (("items", 0, "id"), True, ("order",)),
        (("items", 0, "id"), False, ("item",)),
        (("customer", "id"), True, ("customer",)),
        (("_embedded", "customers", 0, "id"), True, ("customer",)),
        (("customer_id",), True, ("customer",)),
        (("order_ids", 3), True, ("order",)),
        (("total",), True, None),
        ((0,), True, None),
        ((), True, None),
    ],
)
def test_json_paths(path: tuple[str | int, ...], wrap: bool, entity: Entity | None) -> None:
    assert entity_at(path, ("order",), items_wrap=wrap) == entity


def test_integers_as_identifiers_are_written() -> None:
    assert [text for text in ("1", "100", "0", "-1", "007", "1.0", "", "9" * 20) if is_id_integer(text)] == ["1", "100"]
