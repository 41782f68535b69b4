"""Money."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.demo.catalogue import CURRENCIES, TENANTS, Currency, Product, products
from scenarios.demo.pricing import Line, agreement_pieces, less, number, price_in, rounded, volume_percent

PRODUCTS = tuple(products().values())


@given(st.decimals("0", "10000", places=5), st.integers(0, 3))
def test_rounding_is_to_the_nearest(amount: Decimal, decimals: int) -> None:
    result = rounded(amount, decimals)
    assert abs(result - amount) * 2 <= Decimal(1).scaleb(-decimals)
    assert rounded(result, decimals) == result


def test_half_goes_up() -> None:
    assert rounded(Decimal("2.345"), 2) == Decimal("2.35")
    assert rounded(Decimal("0.5"), 0) == 1


@given(st.sampled_from(PRODUCTS), st.sampled_from(tuple(CURRENCIES.values())))
def test_amounts_are_whole_where_the_currency_is(product: Product, currency: Currency) -> None:
    assert isinstance(number(price_in(product, currency), currency), float if currency.decimals else int)


@pytest.mark.parametrize(("quantity", "percent"), [(1, 0), (9, 0), (10, 5), (49, 5), (50, 10), (999, 10)])
def test_volume(quantity: int, percent: int) -> None:
    assert volume_percent(quantity) == percent
    assert less(Decimal(100), percent) == 100 - percent


def test_agreements_cover_their_category_from_their_minimum_on() -> None:
    agreement = TENANTS["harbor"]
    assert agreement is not None
    coffee = next(product for product in PRODUCTS if product.category == "coffee")
    gear = next(product for product in PRODUCTS if product.category == "gear")
    assert agreement_pieces((Line(coffee, 3), Line(coffee, 2), Line(gear, 90)), agreement) == 5
    assert agreement_pieces((Line(coffee, 4),), agreement) == 0
    assert agreement_pieces((Line(coffee, 40),), None) == 0
