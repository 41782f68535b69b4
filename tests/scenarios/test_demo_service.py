"""The order service's own unit tests. Both builds pass them all: this is what the candidate's author saw."""

import pytest

from tests.scenarios.demo.playing import Client

BUILDS = ("stable", "candidate")


@pytest.fixture(params=BUILDS)
def client(request: pytest.FixtureRequest) -> Client:
    return Client(request.param, seed=request.node.name)


@pytest.fixture
def customer(client: Client) -> Client:
    client.log_in()
    return client


def test_log_in_gives_a_token_and_the_customer(client: Client) -> None:
    status, view = client.ask("POST", "/login", {"customer": 1001, "passphrase": "open sesame"})
    assert status == 200
    assert len(view["token"]) == 32
    assert view["customer"] == {"number": 1001, "name": "Customer 1001", "email": "customer1001@shop.example"}


@pytest.mark.parametrize("body", [{}, {"customer": 1}, {"customer": 1001}, {"customer": 1001, "passphrase": ""}])
def test_log_in_fails(client: Client, body: dict[str, object]) -> None:
    assert client.ask("POST", "/login", body)[0] == 401


def test_products_sorted_by_price(client: Client) -> None:
    status, view = client.ask("GET", "/products?category=tea&sort=price&currency=EUR")
    assert status == 200
    prices = [item["price"] for item in view["items"]]
    assert prices == sorted(prices)
    assert view["count"] == len(prices) == 12


def test_products_sorted_by_price_descending(client: Client) -> None:
    _, view = client.ask("GET", "/products?category=gear&sort=-price")
    prices = [item["price"] for item in view["items"]]
    assert prices == sorted(prices, reverse=True)


@pytest.mark.parametrize("sort", ["sku", "name"])
def test_products_sorted_otherwise(client: Client, sort: str) -> None:
    _, view = client.ask("GET", f"/products?sort={sort}")
    values = [item[sort] for item in view["items"]]
    assert values == sorted(values)
    assert len(values) == 48


def test_a_product(client: Client) -> None:
    status, view = client.ask("GET", "/products/40007?currency=USD")
    assert status == 200
    assert (view["sku"], view["name"], view["category"], view["currency"]) == (40007, "Boreal cocoa", "cocoa", "USD")
    assert view["price"] > 0
    assert view["stock"]["available"] > 0
    assert len(set(view["tags"])) == len(view["tags"]) >= 2


@pytest.mark.parametrize("currency", ["EUR", "USD", "GBP"])
def test_a_quote(client: Client, currency: str) -> None:
    status, view = client.ask("GET", f"/quotes/40014?currency={currency}&qty=4")
    assert status == 200
    assert view["total"] == pytest.approx(4 * view["unit_price"], abs=0.03)


def test_a_quote_for_many_is_cheaper(client: Client) -> None:
    _, nine = client.ask("GET", "/quotes/40014?qty=9")
    _, ten = client.ask("GET", "/quotes/40014?qty=10")
    assert ten["total"] / 10 < nine["total"] / 9


@pytest.mark.parametrize("query", ["qty=-1", "qty=1000", "qty=many", "qty=1.5", "currency=XAU", "qty="])
def test_a_quote_for_nonsense(client: Client, query: str) -> None:
    status, view = client.ask("GET", f"/quotes/40014?{query}")
    assert status == 400
    assert view["status"] == 400


@pytest.mark.parametrize(("region", "days"), [("eu-west", 1), ("eu-north", 2), ("us-east", 6)])
def test_shipping(client: Client, region: str, days: int) -> None:
    status, view = client.ask("GET", f"/shipping?region={region}&weight=2.5")
    assert status == 200
    assert view["delivery"]["days"] == days
    assert view["price"] > 0


@pytest.mark.parametrize("query", ["region=moon&weight=1", "region=eu-west", "region=eu-west&weight=0", "weight=1"])
def test_shipping_of_nonsense(client: Client, query: str) -> None:
    assert client.ask("GET", f"/shipping?{query}")[0] == 400


def test_recommendations(client: Client) -> None:
    status, view = client.ask("GET", "/recommendations?sku=40000&limit=3")
    assert status == 200
    assert len(view["items"]) == 3
    scores = [item["score"] for item in view["items"]]
    assert scores == sorted(scores, reverse=True)
    assert 40000 not in [item["sku"] for item in view["items"]]
    assert client.ask("GET", "/recommendations?sku=40000&limit=0")[0] == 400


def test_an_order_from_placing_to_cancelling(customer: Client) -> None:
    lines = [{"sku": 40000, "quantity": 2}, {"sku": 40007, "quantity": 1}]
    status, placed = customer.ask("POST", "/orders", {"lines": lines, "currency": "GBP"})
    assert status == 201
    assert placed["total"] == placed["subtotal"] == pytest.approx(sum(line["amount"] for line in placed["lines"]))
    assert placed["discount"] is None
    assert customer.ask("GET", f"/orders/{placed['id']}") == (200, placed)
    assert customer.ask("GET", "/orders?status=open")[1]["count"] == 1
    status, cancelled = customer.ask("POST", f"/orders/{placed['id']}/cancel")
    assert (status, cancelled["refund"]) == (200, placed["total"])
    assert customer.ask("POST", f"/orders/{placed['id']}/cancel")[0] == 409
    assert customer.ask("GET", "/orders?status=open")[1] == {"count": 0, "orders": []}
    assert customer.ask("GET", "/orders")[1]["count"] == 1


def test_a_large_order_has_a_volume_discount(customer: Client) -> None:
    _, placed = customer.ask("POST", "/orders", {"lines": [{"sku": 40000, "quantity": 20}]})
    assert placed["discount"]["percent"] == 5
    assert placed["discount"]["reason"] == "20 pieces of one product"
    assert placed["total"] == pytest.approx(placed["subtotal"] - placed["discount"]["amount"])


def test_a_tenant_pays_what_was_agreed() -> None:
    for build in BUILDS:
        client = Client(build, tenant="summit")
        client.log_in()
        _, products = client.ask("GET", "/products?category=tea")
        _, placed = client.ask("POST", "/orders", {"lines": [{"sku": products["items"][0]["sku"], "quantity": 6}]})
        assert placed["discount"]["percent"] == 12
        assert placed["total"] == pytest.approx(0.88 * placed["subtotal"], abs=0.01)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        {},
        {"lines": []},
        {"lines": "x"},
        {"lines": [1]},
        {"lines": [{"sku": 1, "quantity": 1}]},
        {"lines": [{"sku": "40000", "quantity": 1}]},
        {"lines": [{"sku": 40000, "quantity": 0}]},
        {"lines": [{"sku": 40000, "quantity": -1}]},
        {"lines": [{"sku": 40000, "quantity": True}]},
        {"lines": [{"sku": 40000, "quantity": 1}] * 21},
        {"lines": [{"sku": 40000, "quantity": 1}], "currency": "XAU"},
        {"lines": [{"sku": 40000, "quantity": 1}], "currency": 7},
    ],
)
def test_an_order_of_nonsense(customer: Client, body: object) -> None:
    assert customer.ask("POST", "/orders", body)[0] == 400


def test_orders_need_a_log_in(client: Client) -> None:
    assert client.ask("GET", "/orders")[0] == 401
    assert client.ask("POST", "/orders", {"lines": []})[0] == 401
    assert client.ask("GET", "/orders/1")[0] == 401


def test_nobody_sees_the_orders_of_another(customer: Client) -> None:
    _, placed = customer.ask("POST", "/orders", {"lines": [{"sku": 40000, "quantity": 1}]})
    customer.headers = customer.headers[:2]
    customer.log_in(1002)
    assert customer.ask("GET", f"/orders/{placed['id']}")[0] == 404
    assert customer.ask("GET", "/orders")[1]["count"] == 0


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/products/1", 404),
        ("GET", "/products/1234567890", 404),
        ("GET", "/products?category=cars", 400),
        ("GET", "/products?sort=colour", 400),
        ("GET", "/recommendations?sku=x", 400),
        ("GET", "/recommendations", 404),
        ("DELETE", "/orders", 405),
    ],
)
def test_paths_and_methods(client: Client, method: str, target: str, status: int) -> None:
    assert client.ask(method, target)[0] == status


def test_unknown_tenants_regions_and_states(customer: Client) -> None:
    assert customer.ask("GET", "/orders?status=lost")[0] == 400
    customer.headers[1] = ("X-Region", "moon")
    assert customer.ask("GET", "/products/40000")[0] == 400
    customer.headers[0] = ("X-Tenant", "nobody")
    assert customer.ask("GET", "/products")[0] == 400
