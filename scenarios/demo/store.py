"""What one process of the order service remembers: log-ins and orders, in memory, within bounds."""

from random import Random
from typing import Any, Final

import msgspec

ORDERS_MAX: Final = 50_000
LOGINS_MAX: Final = 50_000


class Order(msgspec.Struct, frozen=True):
    """A placed order. `view` is what its owner is shown."""

    id: int
    token: str
    view: dict[str, Any]


class Store:
    """Log-ins by token and orders by number; the oldest go when there are too many.

    Order numbers start anywhere and leave gaps, as with a database sequence: two instances give the same order
    different numbers. An order belongs to the log-in that placed it, so no session sees another's.
    """

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._next_order = chance.randrange(100_000, 450_000)
        self._customers: dict[str, int] = {}
        self._orders: dict[int, Order] = {}

    def log_in(self, customer: int) -> str:
        """A new token for the customer."""
        token = f"{self._chance.getrandbits(128):032x}"
        self._customers[token] = customer
        _drop_oldest(self._customers, LOGINS_MAX)
        return token

    def customer_of(self, token: str) -> int | None:
        """Who holds the token."""
        return self._customers.get(token)

    def next_order_id(self) -> int:
        """A number that no other order of this process has."""
        self._next_order += self._chance.randint(1, 9)
        return self._next_order

    def keep(self, order: Order) -> None:
        """Remember an order, or its new state."""
        self._orders[order.id] = order
        _drop_oldest(self._orders, ORDERS_MAX)

    def order(self, number: int, token: str) -> Order | None:
        """The order, for the log-in that placed it only."""
        found = self._orders.get(number)
        return found if found is not None and found.token == token else None

    def orders(self, token: str) -> list[Order]:
        """All orders of a log-in, oldest first."""
        return [order for order in self._orders.values() if order.token == token]


def _drop_oldest(kept: dict[Any, Any], count_max: int) -> None:
    while len(kept) > count_max:
        kept.pop(next(iter(kept)))
