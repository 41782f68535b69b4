"""The stable build's decisions."""

from decimal import Decimal
from random import Random

import pytest

from scenarios.demo.catalogue import CURRENCIES, REGIONS, TENANTS
from scenarios.demo.pricing import Discount, Line
from scenarios.demo.shop import InvalidInputError, Shop


@pytest.fixture
def shop() -> Shop:
    return Shop(Random(1))


def test_ties_in_price_are_in_order_of_number(shop: Shop) -> None:
    found = list(shop.products.values())
    up = shop.sorted_by_price(found[::-1], CURRENCIES["JPY"], descending=False)
    down = shop.sorted_by_price(found, CURRENCIES["JPY"], descending=True)
    assert up == sorted(found, key=lambda product: (product.price, product.sku))
    assert down == sorted(found, key=lambda product: (-product.price, product.sku))


def test_a_quote_in_yen_is_whole(shop: Shop) -> None:
    totals = [shop.quote_total(product, 3, CURRENCIES["JPY"]) for product in shop.products.values()]
    assert all(type(total) is int for total in totals)


@pytest.mark.parametrize("quantity", [0, -1])
def test_no_quote_for_nothing(shop: Shop, quantity: int) -> None:
    with pytest.raises(InvalidInputError, match="1 or more"):
        shop.checked_quantity(quantity)


def test_an_agreement_goes_before_the_volume(shop: Shop) -> None:
    tea = next(product for product in shop.products.values() if product.category == "tea")
    assert shop.discount((Line(tea, 60),), TENANTS["summit"]) == Discount(12, "Agreement SM-0417: 12 % on 60 pieces of tea")
    assert shop.discount((Line(tea, 60),), TENANTS["meadow"]) == Discount(10, "60 pieces of one product")
    assert shop.discount((Line(tea, 2),), TENANTS["summit"]) is None


def test_delivery_takes_longer_through_customs_and_for_heavy_parcels(shop: Shop) -> None:
    assert [shop.delivery_days(region, 1.0) for region in REGIONS.values()] == [2, 1, 6, 9]
    assert shop.delivery_days(REGIONS["eu-west"], 30.0) == 4


def test_an_order_is_charged_once_and_confirmed(shop: Shop) -> None:
    assert shop.charge_attempts(Decimal(100_000), CURRENCIES["EUR"]) == 1
    assert shop.confirmation("9.5 EUR", Discount(5, "many")) == {"total": "9.5 EUR", "discount": "many"}
    assert shop.confirmation("9.5 EUR", None) == {"total": "9.5 EUR", "discount": "none"}
