"""The order service's own decisions, as the stable build makes them. It knows nothing of HTTP."""

from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import Any

from scenarios.demo.catalogue import Agreement, Currency, Product, Region, products, stock_of
from scenarios.demo.pricing import Discount, Line, agreement_pieces, less, number, price_in, rounded, volume_percent


class InvalidInputError(ValueError):
    """The request asks for something that cannot be; the text is for the client."""


class Shop:
    """The stable build. `chance` stands for whatever varies from one process and request to the next."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.products = products()

    def sorted_by_price(self, found: Sequence[Product], currency: Currency, *, descending: bool) -> list[Product]:
        """Cheapest (or dearest) first; products of one price by number."""
        sign = -1 if descending else 1
        return sorted(found, key=lambda product: (sign * price_in(product, currency), product.sku))

    def available(self, product: Product, region: Region) -> int:
        """Pieces that can be ordered from the region's warehouse."""
        return stock_of(product, region)

    def checked_quantity(self, quantity: int) -> int:
        """The quantity of a quote. Raises InvalidInputError."""
        if quantity < 1:
            raise InvalidInputError("quantity must be 1 or more")
        return quantity

    def quote_total(self, product: Product, quantity: int, currency: Currency) -> int | float:
        """Price of many pieces: converted and rounded once, at the end."""
        total = less(product.price * currency.rate * quantity, volume_percent(quantity))
        return number(rounded(total, currency.decimals), currency)

    def discount(self, lines: tuple[Line, ...], agreement: Agreement | None) -> Discount | None:
        """What an order gets off: the tenant's agreement, else the volume discount of its largest line."""
        pieces = agreement_pieces(lines, agreement)
        if pieces and agreement is not None:
            reason = f"Agreement {agreement.code}: {agreement.percent} % on {pieces} pieces of {agreement.category}"
            return Discount(agreement.percent, reason)
        largest = max(line.quantity for line in lines)
        percent = volume_percent(largest)
        return Discount(percent, f"{largest} pieces of one product") if percent else None

    def discount_view(self, discount: Discount, amount: int | float) -> dict[str, Any]:
        """A discount as shown."""
        return {"percent": discount.percent, "amount": amount, "reason": discount.reason}

    def charge_attempts(self, amount: Decimal, currency: Currency) -> int:
        """How often an order's charge is sent to the payment service."""
        del amount, currency
        return 1

    def confirmation(self, total: str, discount: Discount | None) -> dict[str, str | None] | None:
        """What the confirmation mail is filled in with; None where none is sent."""
        return {"total": total, "discount": discount.reason if discount else "none"}

    def delivery_days(self, region: Region, weight_kg: float) -> int:
        """Working days until delivery: the way, customs, and one more for each started 10 kg beyond the first."""
        return region.days + region.customs_days + int(weight_kg // 10)

    def recommended(self, product: Product, limit: int) -> list[tuple[Product, Decimal]]:
        """Products that go with one, best first, with a score from 0 to 1."""
        scored = [(other, self._score(product, other)) for other in self.products.values() if other.sku != product.sku]
        scored.sort(key=lambda pair: (-pair[1], pair[0].sku))
        return scored[:limit]

    def recommendation_work_ms(self) -> float:
        """What finding recommendations takes, on top of answering any request."""
        return self.chance.uniform(1.0, 2.0)

    def _score(self, product: Product, other: Product) -> Decimal:
        shared = len(set(product.tags) & set(other.tags))
        nearness = Decimal(1) / (1 + abs(product.price - other.price))
        return rounded(Decimal(shared) / 10 + nearness / 2, 3)
