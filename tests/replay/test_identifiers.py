import gzip
import json

import pytest

from harness.core.values import Body, Response, body_of
from replay.identifiers import (
    Issued,
    cookies_of,
    is_identifier,
    is_session_cookie,
    issued_values,
    set_cookies_of,
    teaches,
    token_of,
    used_values,
)
from tests.replay.build import request, response

UUID = "3f2c8a4e-7d1b-4c55-9a0e-2b6f1d8c9e01"
TOKEN = "q7Rt2mZx9LpW4vKd8sHc"


def test_identifiers_are_told_from_words_numbers_and_dates() -> None:
    assert all(is_identifier(text) for text in (UUID, TOKEN, "ord_12345", "deadbeef12345678", "01ARZ3NDEKTSV4RRFFQ69G5FAV"))
    assert not any(
        is_identifier(text) for text in ("", "true", "7", "2024-01-31", "how-to-install-python-3", "1.5", "me@x.test", "hello world")
    )


def test_session_cookies_go_by_name() -> None:
    assert is_session_cookie("JSESSIONID", "abcd")
    assert is_session_cookie("connect.sid", "s:12")
    assert not is_session_cookie("theme", "dark")
    assert not is_session_cookie("session", "true")
    assert not is_session_cookie("side", "left")


def test_cookies_are_split() -> None:
    headers = (("Cookie", 'a=1; b="2"; c; d='), ("cookie", "e=x=y"))
    assert list(set_cookies_of((("Set-Cookie", 'a="1"; Path=/'), ("Set-Cookie", "b="), ("X", "c=2")))) == [("a", "1")]
    assert list(cookies_of(headers)) == [("a", "1"), ("b", "2"), ("e", "x=y")]


def test_a_token_loses_its_scheme() -> None:
    assert token_of("Bearer abc") == token_of(" abc ") == "abc"


def test_a_request_uses_what_stands_in_its_places() -> None:
    sent = request(
        "POST",
        f"/orders/100/items/{UUID}?customer_id=7&page=3&id=9&cursor={TOKEN}",
        {"product_id": 5, "count": 6, "note": "hello", "nested": [{"ref": "ord_99182"}], "flag": True},
        headers=(("Cookie", "sid=1234; theme=dark"), ("Authorization", f"Bearer {TOKEN}x1"), ("X-CSRF-Token", "a1b2c3d4e5f6a7b8")),
    )
    assert used_values(sent) == {
        "order#100",
        UUID,
        "customer#7",
        "item#9",
        TOKEN,
        "product#5",
        "ord_99182",
        "cookie sid=1234",
        f"{TOKEN}x1",
        "a1b2c3d4e5f6a7b8",
    }


def test_forms_and_cookies_count_too() -> None:
    sent = request("POST", "/pay", b"order_id=4&t=" + TOKEN.encode(), headers=(("Content-Type", "application/x-www-form-urlencoded"),))
    assert used_values(sent) == {"order#4", TOKEN}
    assert used_values(request(headers=(("Cookie", f"x={TOKEN}"),))) == {TOKEN}
    assert used_values(request("POST", "/", b"{broken", headers=(("Content-Type", "application/json"),))) == set()


def test_a_creation_issues_what_it_made() -> None:
    answer = response(
        201, {"id": 100, "total": 12, "lines": [{"id": 7, "sku": "ab"}], "token": TOKEN}, headers=(("Location", "/orders/100"),)
    )
    found = issued_values(request("POST", "/orders"), answer)
    assert set(found) == {Issued("order#100", True), Issued("line#7", True), Issued(TOKEN, True)}


def test_a_read_issues_tokens_and_no_integers() -> None:
    found = issued_values(request("GET", "/orders"), response(200, {"id": 100, "token": TOKEN}))
    assert found == [Issued(TOKEN, False)]


def test_cookies_and_token_headers_are_made_by_any_answer() -> None:
    headers = (
        ("Set-Cookie", f'sid="{TOKEN}"; Path=/'),
        ("Set-Cookie", "session=abcd"),
        ("Set-Cookie", "theme=dark"),
        ("X-Auth-Token", UUID),
    )
    found = issued_values(request(), response(headers=headers))
    assert set(found) == {Issued(TOKEN, True), Issued(f"cookie sid={TOKEN}", True), Issued("cookie session=abcd", True), Issued(UUID, True)}


def test_what_the_request_supplied_is_not_issued() -> None:
    assert issued_values(request("PUT", f"/orders/{UUID}"), response(200, {"id": UUID})) == []


def test_only_what_is_wanted_is_looked_for() -> None:
    answer = response(201, {"a": UUID, "b": TOKEN, "id": 3}, headers=(("Set-Cookie", "x=plain"),))
    assert issued_values(request("POST", "/orders"), answer, {TOKEN}) == [Issued(TOKEN, True)]
    assert issued_values(request("POST", "/orders"), answer, {"plain"}) == [Issued("plain", True)]


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_pages_are_searched_for_tokens(coding: str) -> None:
    page = f'<input name="csrf" value="{TOKEN}">'.encode()
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/html"),)
    if coding:
        page, headers = gzip.compress(page), (*headers, ("Content-Encoding", coding))
    assert issued_values(request(), Response(200, headers, body_of(page))) == [Issued(TOKEN, False)]


def test_bodies_that_cannot_be_read_issue_nothing() -> None:
    kind = (("Content-Type", "application/json"),)
    for body in (Body(), Body(b'{"a":"' + UUID.encode() + b'"}', 9999), body_of(b"{broken")):
        assert issued_values(request(), Response(200, kind, body)) == []
    assert issued_values(request(), Response(200, (("Content-Type", "image/png"),), body_of(UUID.encode()))) == []


def test_large_and_deep_documents_are_bounded() -> None:
    deep: object = UUID
    for _ in range(100):
        deep = [deep]
    many = [f"{at:032x}" for at in range(5000)]
    for document in (deep, many):
        body = body_of(json.dumps(document).encode())
        assert len(issued_values(request(), Response(200, (("Content-Type", "application/json"),), body))) <= 512


def test_writes_cookies_and_tokens_teach() -> None:
    nobody: frozenset[str] = frozenset()
    assert teaches(request("POST", "/x"), response(), nobody)
    assert teaches(request(), response(headers=(("Set-Cookie", "a=b"),)), nobody)
    assert teaches(request(), response(headers=(("X-CSRF-Token", "a"),)), nobody)


def test_a_read_teaches_what_a_later_request_uses() -> None:
    later = used_values(request("POST", "/orders/7/pay", {"code": "abcdefgh"}), loosely=True)
    page = request(target="/page")
    assert not teaches(page, response(200, {"code": "abcdefgh"}), frozenset())
    assert teaches(page, response(200, {"code": "abcdefgh"}), later)
    assert teaches(request(target="/orders"), response(200, [{"id": 7}]), later)
    assert teaches(page, response(302, headers=(("Location", "/step/abcdefgh"),)), later)
    assert not teaches(page, response(200, {"code": "somebody-else"}), later)
    assert not teaches(request(target="/orders/7"), response(200, {"id": 7}), later)
