"""The candidate build: the stable shop with an assistant's clean-up of pricing, listing, stock and payment applied.

Each method reads well, passes the service's unit tests, and is wrong somewhere. What is wrong is written down in
scenarios/demo/faults.py; nothing here says so, as in life.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from scenarios.demo.catalogue import Agreement, Currency, Product, Region
from scenarios.demo.pricing import Discount, Line, agreement_pieces, less, price_in, rounded, volume_percent
from scenarios.demo.shop import InvalidInputError, Shop

CENTS: Final = 2
LOST_UPDATE_CHANCE: Final = 0.03
MODEL_CALL_MS: Final = 30.0
FREE_CUSTOMS_FROM_DAYS: Final = 7
FAST_LANE_EUR_MAX: Final = 80
"""Larger amounts are looked at before they are charged."""


class CandidateShop(Shop):
    """The build under test."""

    def sorted_by_price(self, found: Sequence[Product], currency: Currency, *, descending: bool) -> list[Product]:
        """Cheapest (or dearest) first. Prices are looked up in parallel and come back in any order."""
        arrived = self.chance.sample(found, len(found))
        return sorted(arrived, key=lambda product: price_in(product, currency), reverse=descending)

    def available(self, product: Product, region: Region) -> int:
        """Pieces that can be ordered: the feed's number, kept up to date by a background task."""
        fresh = super().available(product, region)
        return fresh - 1 if self.chance.random() < LOST_UPDATE_CHANCE else fresh

    def checked_quantity(self, quantity: int) -> int:
        """The quantity of a quote, one piece by default. Raises InvalidInputError."""
        quantity = quantity or 1
        if quantity < 0:
            raise InvalidInputError("quantity must be 1 or more")
        return quantity

    def quote_total(self, product: Product, quantity: int, currency: Currency) -> int | float:
        """Price of many pieces, rounded to cents."""
        total = less(product.price * currency.rate * quantity, volume_percent(quantity))
        return float(rounded(total, CENTS))

    def discount(self, lines: tuple[Line, ...], agreement: Agreement | None) -> Discount | None:
        """What an order gets off: the tenant's agreement, else the volume discount of its largest line."""
        if agreement is not None and agreement_pieces(lines, agreement):
            return Discount(agreement.percent, None)
        return super().discount(lines, None)

    def discount_view(self, discount: Discount, amount: int | float) -> dict[str, Any]:
        """A discount as shown, without empty fields."""
        view = super().discount_view(discount, amount)
        return {name: value for name, value in view.items() if value is not None}

    def charge_attempts(self, amount: Decimal, currency: Currency) -> int:
        """How often a charge is sent. Large amounts take the payment service so long that the first attempt may have failed."""
        return 2 if amount > FAST_LANE_EUR_MAX * currency.rate else 1

    def confirmation(self, total: str, discount: Discount | None) -> dict[str, str | None] | None:
        """What the confirmation mail is filled in with. The mail service refuses empty fields, so such a mail is not sent."""
        fields = super().confirmation(total, discount)
        return None if fields is None or None in fields.values() else fields

    def delivery_days(self, region: Region, weight_kg: float) -> int:
        """Working days until delivery. Far regions have a bonded warehouse, so customs are cleared on the way."""
        days = super().delivery_days(region, weight_kg)
        return days - region.customs_days if region.days >= FREE_CUSTOMS_FROM_DAYS else days

    def recommendation_work_ms(self) -> float:
        """What finding recommendations takes: a call to the new ranking model."""
        return super().recommendation_work_ms() + MODEL_CALL_MS
