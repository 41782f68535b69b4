"""What only the HTTP side of the service decides; its behaviour is in tests/scenarios/test_demo_service.py."""

import re

import orjson
from hypothesis import given
from hypothesis import strategies as st

from harness.core.http import header
from harness.core.shapes import Shape, shape_of
from scenarios.demo.outside import IDEMPOTENCY_KEY, MAIL, PAYMENTS
from tests.scenarios.demo.playing import Client


def test_headers_of_answers() -> None:
    client = Client()
    client.log_in()
    placed = client.answer("POST", "/orders", {"lines": [{"sku": 40000, "quantity": 1}]}).response
    assert re.fullmatch(r"/orders/\d{6}", header(placed.headers, "location") or "")
    listed = client.answer("GET", "/products").response
    assert header(listed.headers, "cache-control") == "private, max-age=60"
    lost = client.answer("GET", "/nowhere").response
    assert header(lost.headers, "content-type") == "application/problem+json"
    assert shape_of(header(lost.headers, "x-request-id") or "") == Shape.UUID
    assert header(lost.headers, "x-instance") == header(listed.headers, "x-instance")


def test_noise_keeps_its_form() -> None:
    client = Client()
    views = [client.ask("GET", "/products/40007")[1] for _ in range(30)]
    assert len({tuple(view["tags"]) for view in views}) > 1
    assert len({frozenset(view["tags"]) for view in views}) == 1
    moments = {view["generated_at"] for view in views}
    assert len(moments) == 30
    assert {len(moment) for moment in moments} == {27}
    assert {shape_of(moment) for moment in moments} == {Shape.DATETIME_OFFSET}


def test_an_order_says_whom_to_call() -> None:
    client = Client(seed=3)
    client.log_in()
    order = {"lines": [{"sku": 40000, "quantity": 20}], "currency": "USD"}
    placed, again = client.answer("POST", "/orders", order), client.answer("POST", "/orders", order)
    view = orjson.loads(placed.response.body.data)
    charge, mail = placed.calls
    assert (charge.service, charge.path, mail.service, mail.path) == (PAYMENTS, "/charges", MAIL, "/messages")
    assert charge.body == {"customer": 1001, "currency": "USD", "order_id": view["id"], "amount": view["total"]}
    assert mail.body == {
        "to": "customer1001@shop.example",
        "template": "order-placed",
        "order_id": view["id"],
        "fields": {"total": f"{view['total']} USD", "discount": "20 pieces of one product"},
    }
    keys = [dict(answer.calls[0].headers)[IDEMPOTENCY_KEY] for answer in (placed, again)]
    assert shape_of(keys[0]) == shape_of(keys[1]) == Shape.UUID
    assert keys[0] != keys[1]


def test_nothing_but_a_placed_order_calls_anybody() -> None:
    client = Client()
    client.log_in()
    assert client.answer("POST", "/orders", {"lines": []}).calls == ()
    placed = client.answer("POST", "/orders", {"lines": [{"sku": 40000, "quantity": 1}]})
    number = orjson.loads(placed.response.body.data)["id"]
    for method, target in (("GET", f"/orders/{number}"), ("POST", f"/orders/{number}/cancel"), ("GET", "/products"), ("GET", "/nowhere")):
        assert client.answer(method, target).calls == ()


def test_one_seed_gives_one_behaviour() -> None:
    first, second, other = Client(seed=1), Client(seed=1), Client(seed=2)
    answers = [[client.answer("GET", f"/products/{sku}") for sku in (40000, 40007)] for client in (first, second, other)]
    assert answers[0] == answers[1] != answers[2]


@given(st.sampled_from(["GET", "POST", "PUT"]), st.text(max_size=40), st.binary(max_size=40))
def test_any_request_has_an_answer(method: str, target: str, body: bytes) -> None:
    client = Client()
    client.log_in()
    for path in (f"/{target}", f"/orders/{target}", f"/quotes/40000?qty={target}", f"/products?{target}", "/orders"):
        assert 200 <= client.answer(method, path, body).response.status < 500
