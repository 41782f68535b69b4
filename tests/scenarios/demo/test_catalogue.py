"""The catalogue is the same in every process and has what the planted faults need."""

from collections import Counter

from scenarios.demo.catalogue import CATEGORIES, CURRENCIES, PRODUCTS_PER_CATEGORY, REGIONS, products, stock_of


def test_products_are_the_same_each_time() -> None:
    assert products() == products()
    assert products() is not products()
    assert list(products()) == sorted(products())


def test_every_category_has_ties_in_price() -> None:
    for category in CATEGORIES:
        prices = Counter(product.price for product in products().values() if product.category == category)
        assert prices.total() == PRODUCTS_PER_CATEGORY
        assert max(prices.values()) >= 3
        assert len(prices) >= 2


def test_one_currency_has_no_smaller_unit() -> None:
    assert [code for code, currency in CURRENCIES.items() if currency.decimals == 0] == ["JPY"]


def test_stock_depends_on_product_and_warehouse_only() -> None:
    every = [(product, region) for product in products().values() for region in REGIONS.values()]
    stocks = [stock_of(product, region) for product, region in every]
    assert stocks == [stock_of(product, region) for product, region in every]
    assert min(stocks) >= 12
    assert len(set(stocks)) > 50
