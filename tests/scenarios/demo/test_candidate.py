"""Each planted fault, provoked by itself, with what is right beside it."""

from decimal import Decimal
from random import Random
from statistics import median

import pytest

from scenarios.demo.candidate import CandidateShop
from scenarios.demo.catalogue import CATEGORIES, CURRENCIES, REGIONS, TENANTS, Currency
from scenarios.demo.outside import MAIL, PAYMENTS
from scenarios.demo.pricing import Discount, Line
from scenarios.demo.shop import InvalidInputError, Shop
from tests.scenarios.demo.playing import Client

STABLE, CANDIDATE = Shop(Random(1)), CandidateShop(Random(2))
PRODUCTS = list(STABLE.products.values())


def test_yen_in_cents() -> None:
    wrong = {
        code
        for code, currency in CURRENCIES.items()
        for product in PRODUCTS
        for quantity in (1, 7, 12, 60)
        if STABLE.quote_total(product, quantity, currency) != CANDIDATE.quote_total(product, quantity, currency)
    }
    assert wrong == {"JPY"}


def test_lost_reason() -> None:
    tea = next(product for product in PRODUCTS if product.category == "tea")
    lines = (Line(tea, 8),)
    ours, theirs = STABLE.discount(lines, TENANTS["summit"]), CANDIDATE.discount(lines, TENANTS["summit"])
    assert ours is not None
    assert theirs is not None
    assert "reason" in STABLE.discount_view(ours, 1.0)
    assert CANDIDATE.discount_view(theirs, 1.0) == {"percent": ours.percent, "amount": 1.0}
    for agreement in TENANTS.values():
        lines = (Line(PRODUCTS[0], 20),)
        assert STABLE.discount(lines, agreement) == CANDIDATE.discount(lines, agreement)


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("descending", [True, False])
def test_unstable_sort(category: str, *, descending: bool) -> None:
    found = [product for product in PRODUCTS if product.category == category]
    orders = {tuple(p.sku for p in CANDIDATE.sorted_by_price(found, CURRENCIES["EUR"], descending=descending)) for _ in range(20)}
    assert len(orders) > 10
    assert {tuple(sorted(order)) for order in orders} == {tuple(product.sku for product in found)}


def test_zero_accepted() -> None:
    assert Client("stable").ask("GET", "/quotes/40000?qty=0")[0] == 400
    status, view = Client("candidate").ask("GET", "/quotes/40000?qty=0")
    assert (status, view["quantity"]) == (200, 1)
    with pytest.raises(InvalidInputError):
        CANDIDATE.checked_quantity(-1)


def test_stock_off_by_one() -> None:
    product, region = PRODUCTS[0], REGIONS["eu-west"]
    right = STABLE.available(product, region)
    seen = [CANDIDATE.available(product, region) for _ in range(20_000)]
    assert set(seen) == {right, right - 1}
    assert 0.02 < seen.count(right - 1) / len(seen) < 0.04


def test_slow_recommendations() -> None:
    def work_ms(build: str, target: str) -> float:
        client = Client(build)
        return median(client.answer("GET", target).work_ms for _ in range(50))

    assert 29 < work_ms("candidate", "/recommendations?sku=40000") - work_ms("stable", "/recommendations?sku=40000") < 31
    assert abs(work_ms("candidate", "/products/40000") - work_ms("stable", "/products/40000")) < 1


def test_customs_forgotten() -> None:
    wrong = {name for name, region in REGIONS.items() if STABLE.delivery_days(region, 3.0) != CANDIDATE.delivery_days(region, 3.0)}
    assert wrong == {"ap-south"}


@pytest.mark.parametrize("currency", CURRENCIES.values(), ids=list(CURRENCIES))
def test_charged_twice(currency: Currency) -> None:
    amounts = [Decimal(euro) * currency.rate for euro in (1, 80, 81, 5000)]
    assert [STABLE.charge_attempts(amount, currency) for amount in amounts] == [1, 1, 1, 1]
    assert [CANDIDATE.charge_attempts(amount, currency) for amount in amounts] == [1, 1, 2, 2]


def test_mail_not_sent() -> None:
    for reason in ("20 pieces of one product", "none"):
        discount = Discount(5, reason)
        assert CANDIDATE.confirmation("1.5 EUR", discount) == STABLE.confirmation("1.5 EUR", discount) is not None
    assert CANDIDATE.confirmation("1.5 EUR", None) == STABLE.confirmation("1.5 EUR", None) == {"total": "1.5 EUR", "discount": "none"}
    assert CANDIDATE.confirmation("1.5 EUR", Discount(8, None)) is None


@pytest.mark.parametrize(
    ("build", "pieces", "services"),
    [
        ("stable", 6, [PAYMENTS, MAIL]),
        ("candidate", 6, [PAYMENTS]),
        ("stable", 60, [PAYMENTS, MAIL]),
        ("candidate", 60, [PAYMENTS, PAYMENTS]),
    ],
)
def test_what_an_order_under_an_agreement_does(build: str, pieces: int, services: list[str]) -> None:
    client = Client(build, tenant="summit")
    client.log_in()
    tea = min((product for product in PRODUCTS if product.category == "tea"), key=lambda product: product.price)
    placed = client.answer("POST", "/orders", {"lines": [{"sku": tea.sku, "quantity": pieces}]})
    assert placed.response.status == 201
    assert [call.service for call in placed.calls] == services
    charges = [call for call in placed.calls if call.service == PAYMENTS]
    assert len({header for call in charges for header in call.headers}) == len(charges), "each attempt has a key of its own"
