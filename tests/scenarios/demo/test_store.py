"""What the service remembers."""

from random import Random

import pytest

from scenarios.demo import store as store_module
from scenarios.demo.store import Order, Store


def test_orders_belong_to_a_log_in() -> None:
    store = Store(Random(1))
    mine, theirs = store.log_in(1001), store.log_in(1001)
    assert mine != theirs
    assert (store.customer_of(mine), store.customer_of("x")) == (1001, None)
    first, second = Order(store.next_order_id(), mine, {}), Order(store.next_order_id(), mine, {})
    store.keep(first)
    store.keep(second)
    assert store.orders(mine) == [first, second]
    assert store.orders(theirs) == []
    assert store.order(first.id, mine) == first
    assert store.order(first.id, theirs) is None
    assert store.order(1, mine) is None


def test_two_instances_number_their_orders_differently() -> None:
    first, second = Store(Random(1)), Store(Random(2))
    numbers = [first.next_order_id() for _ in range(50)]
    assert numbers == sorted(set(numbers))
    assert not set(numbers) & {second.next_order_id() for _ in range(50)}
    assert all(100_000 <= number < 1_000_000 for number in numbers)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "ORDERS_MAX", 3)
    monkeypatch.setattr(store_module, "LOGINS_MAX", 2)
    store = Store(Random(1))
    tokens = [store.log_in(1001) for _ in range(3)]
    assert [store.customer_of(token) for token in tokens] == [None, 1001, 1001]
    for number in range(5):
        store.keep(Order(number, tokens[2], {}))
    assert [order.id for order in store.orders(tokens[2])] == [2, 3, 4]
