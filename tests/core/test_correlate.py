"""Identifier correlation: flows as they are replayed, the traps, and properties of the map."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.correlate import IdMap, LearnResult
from harness.core.http import header, header_values
from harness.core.redact import Redactor
from harness.core.values import Body, Headers, Request, Response, body_of

JSON: Headers = (("Content-Type", "application/json"),)
UUID_A, UUID_B = "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "7d444840-9dc0-41d1-b245-5ffdce74fad2"
UUID_C = "9b2f1c34-0a1b-4c2d-8e3f-123456789abc"
TOKEN_A, TOKEN_B = "x9f8Kd72LmQp04Zt", "Qw3rT7yU1iOp9aSd"
JWT_A = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.aaaaNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
JWT_B = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.bbbbNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


def answer(document: Any, *headers: tuple[str, str], status: int = 200) -> Response:
    return Response(status, (*JSON, *headers), body_of(json.dumps(document).encode()))


def post(target: str, document: Any = None, *headers: tuple[str, str]) -> Request:
    body = body_of(json.dumps(document).encode()) if document is not None else Body()
    return Request("POST", target, (*JSON, *headers), body)


def get(target: str, *headers: tuple[str, str]) -> Request:
    return Request("GET", target, headers)


def document_of(message: Request | Response) -> Any:
    return json.loads(message.body.data)


def test_login_then_create_then_read() -> None:
    ids = IdMap()
    login = post("/login", {"user": "ann", "password": "pw"})
    learned = ids.learn(
        login,
        answer({"access_token": JWT_A, "user": {"id": 7, "name": "Ann"}}, ("Set-Cookie", "sid=abcdefgh11; Path=/")),
        answer({"access_token": JWT_B, "user": {"id": 9, "name": "Ann"}}, ("Set-Cookie", "sid=zyxwvuts22; Path=/")),
    )
    assert learned == LearnResult(mapped=3)

    create = post(
        "/users/7/orders",
        {"user_id": 7, "quantity": 7, "sku": "A-1"},
        ("Authorization", f"Bearer {JWT_A}"),
        ("Cookie", "sid=abcdefgh11; x=1"),
    )
    sent, count = ids.rewrite_request(create)
    assert count == 4
    assert sent.target == "/users/9/orders"
    assert document_of(sent) == {"user_id": 9, "quantity": 7, "sku": "A-1"}
    assert header(sent.headers, "authorization") == f"Bearer {JWT_B}"
    assert header(sent.headers, "cookie") == "sid=zyxwvuts22; x=1"

    recorded = answer({"id": 100, "ref": UUID_A, "user_id": 7, "total": 100}, ("Location", "/users/7/orders/100"), status=201)
    live = answer({"id": 205, "ref": UUID_B, "user_id": 9, "total": 100}, ("Location", "http://live:8080/users/9/orders/205"), status=201)
    learned = ids.learn(create, recorded, live)
    assert learned.mapped == 2
    assert not learned.contradictions
    restored, count = ids.restore_response(live, create)
    assert document_of(restored) == document_of(recorded)
    assert header(restored.headers, "location") == "http://live:8080/users/7/orders/100"
    assert count == 5

    read, _ = ids.rewrite_request(get(f"/orders/100?ref={UUID_A}&page=100&ids=100,101", ("Referer", "http://h/orders/100")))
    assert read.target == f"/orders/205?ref={UUID_B}&page=100&ids=205,101"
    assert header(read.headers, "referer") == "http://h/orders/205"


def test_a_redacted_recording() -> None:
    redactor = Redactor(b"key")
    login = redactor.request(post("/login", {"user": "ann", "password": "pw"}))
    recorded = redactor.response(answer({"token": JWT_A, "expires_in": 60}, ("Set-Cookie", f"sid={TOKEN_A}; Path=/")))
    later = redactor.request(get("/me", ("Authorization", f"Bearer {JWT_A}"), ("Cookie", f"sid={TOKEN_A}")))
    ids = IdMap()
    assert ids.learn(login, recorded, answer({"token": JWT_B, "expires_in": 60}, ("Set-Cookie", "sid=s%3Alive; Path=/"))).mapped == 2
    sent, count = ids.rewrite_request(later)
    assert count == 2
    assert header(sent.headers, "authorization") == f"Bearer {JWT_B}"
    assert header(sent.headers, "cookie") == "sid=s%3Alive"


def test_a_contradiction_is_reported_and_the_first_mapping_kept() -> None:
    ids = IdMap()
    ids.learn(post("/orders"), answer({"id": UUID_A}), answer({"id": UUID_B}))
    result = ids.learn(get("/orders"), answer([{"id": UUID_A}]), answer([{"id": UUID_C}]))
    assert result.mapped == 0
    (contradiction,) = result.contradictions
    assert (contradiction.recorded, contradiction.live, contradiction.known) == (UUID_A, UUID_C, UUID_B)
    assert ids.rewrite_request(get(f"/o/{UUID_A}"))[0].target == f"/o/{UUID_B}"
    # Two recorded identifiers for one live one: a build that gives an id twice.
    result = ids.learn(post("/orders"), answer({"id": UUID_C}), answer({"id": UUID_B}))
    assert [c.known for c in result.contradictions] == [UUID_A]
    assert len(ids) == 1
    # The pair known already is no news.
    assert ids.learn(get("/orders"), answer({"id": UUID_A}), answer({"id": UUID_B})) == LearnResult()


@pytest.mark.parametrize(
    "request_",
    [
        get(f"/things/{UUID_A}"),
        get(f"/things?x={UUID_A}"),
        get("/things", ("X-Request", UUID_A)),
        get("/things", ("Cookie", f"a={UUID_A}")),
        post("/things", {"deep": [{"x": UUID_A}]}),
        Request("POST", "/things", (("Content-Type", "application/x-www-form-urlencoded"),), body_of(f"a={UUID_A}".encode())),
        get(f"/things/{UUID_B}"),
    ],
)
def test_what_the_request_supplied_is_never_mapped(request_: Request) -> None:
    assert IdMap().learn(request_, answer({"echo": UUID_A}), answer({"echo": UUID_B})).mapped == 0


def test_a_supplied_integer_counts_with_its_entity() -> None:
    ids = IdMap()
    create = post("/orders", {"customer_id": 5, "quantity": 100})
    assert ids.learn(create, answer({"id": 100, "customer_id": 5}), answer({"id": 101, "customer_id": 6})).mapped == 1
    assert ids.rewrite_request(post("/x", {"customer_id": 5, "order_id": 100}))[0].body.data == b'{"customer_id": 5, "order_id": 101}'


def test_nothing_is_learned_from_answers_of_unequal_status() -> None:
    ids = IdMap()
    assert ids.learn(post("/orders"), answer({"id": UUID_A}, status=201), answer({"id": UUID_B}, status=500)) == LearnResult(aligned=False)
    assert len(ids) == 0


def test_a_reordered_list_is_no_mapping() -> None:
    recorded, live = answer([{"id": UUID_A}, {"id": UUID_B}]), answer([{"id": UUID_B}, {"id": UUID_A}])
    assert IdMap().learn(get("/orders"), recorded, live).mapped == 0
    assert IdMap().learn(get("/orders"), answer({"ids": [1, 2, 3]}), answer({"ids": [1, 3, 2]})).mapped == 0


def test_arrays_align_only_at_equal_length() -> None:
    assert IdMap().learn(get("/o"), answer([{"id": UUID_A}]), answer([{"id": UUID_B}])).mapped == 1
    result = IdMap().learn(get("/o"), answer([{"id": UUID_A}]), answer([{"id": UUID_B}, {"id": UUID_C}]))
    assert (result.mapped, result.lost) == (0, 1)


def test_a_value_that_another_arm_repeats_is_not_made_anew() -> None:
    recorded, live = answer({"sku": "SKU-12", "id": UUID_A}), answer({"sku": "SKU-13", "id": UUID_B})
    control = answer({"sku": "SKU-12", "id": UUID_C})
    assert IdMap().learn(get("/o/1"), recorded, live).mapped == 2
    ids = IdMap()
    assert ids.learn(get("/o/1"), recorded, live, control).mapped == 1
    assert b"SKU-13" in ids.restore_response(live)[0].body.data
    assert IdMap().learn(get("/o/1"), recorded, live, answer({}, status=500)).mapped == 2


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        ({"state": "pending_payment"}, {"state": "payment_pending"}),
        ({"price": 100}, {"price": 101}),
        ({"at": "2024-01-31T10:00:00Z"}, {"at": "2024-01-31T10:00:01Z"}),
        ({"mail": "a@example.com"}, {"mail": "b@example.com"}),
        ({"id": UUID_A}, {"id": 5}),
        ({"id": UUID_A}, {"id": None}),
        ({"id": UUID_A}, {"id": ""}),
        ({"id": "ord_1"}, {"id": "inv_1"}),
        ({"id": -5}, {"id": -6}),
        ({"id": True}, {"id": False}),
        ({"id": "short"}, {"id": "trohs"}),
        ({"id": 1.5}, {"id": 2.5}),
        ({"checksum": "3f2a9b1c3f2a9b1c"}, {"checksum": "4f2a9b1c3f2a9b1d"}),
        ({"etag": TOKEN_A}, {"etag": TOKEN_B}),
        ({"text": "a b c d 1"}, {"text": "a b c d 2"}),
        ({"id": "blue-shirt-2"}, {"id": "green-shirt-2"}),
        ({"id": "pending_review"}, {"id": "already_paid"}),
        ({"error_code": "INVALID_STATE"}, {"error_code": "VALIDATION_FAILED"}),
        ({"token": "two words"}, {"token": "words twofold"}),
        ([1, 2], [3, 4]),
        ({"a": "redacted-0a1b2c3d4e5f"}, {"a": "short"}),
        ({"a": "redacted-0a1b2c3d4e5f"}, {"a": "two words and more"}),
    ],
)
def test_what_is_no_identifier_is_not_mapped(recorded: Any, live: Any) -> None:
    assert IdMap().learn(get("/orders/7"), answer(recorded), answer(live)).mapped == 0


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        ({"a": "ord_1"}, {"a": "ord_2"}),
        ({"a": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, {"a": "01BX5ZZKBKACTAV9WEVGEMMVRZ"}),
        ({"a": "3f2a9b1c3f2a9b1c"}, {"a": "4f2a9b1c3f2a9b1d"}),
        ({"a": TOKEN_A}, {"a": "3f2a9b1c3f2a9b1c"}),
        ({"token": "kJhGfDsAqWeRtYui"}, {"token": "x9f8Kd72LmQp04Zt"}),
        ({"id": "abcd1234"}, {"id": "efgh5678"}),
        ({"cursor": "abcdefghij"}, {"cursor": "klmnopqrst"}),
        ({"id": "12345678901234567890"}, {"id": "12345678901234567891"}),
        ({"orderId": "12"}, {"orderId": "13"}),
        ({"id": 12}, {"id": 13}),
        ({"data": {"id": 12}}, {"data": {"id": 13}}),
        ({"items": [{"id": 12}]}, {"items": [{"id": 13}]}),
        ({"a": "redacted-0a1b2c3d4e5f"}, {"a": "anything-else"}),
        ({"href": "/orders/12"}, {"href": "/orders/13"}),
        ({"href": f"https://h/x?c={UUID_A}"}, {"href": f"https://h/x?c={UUID_B}"}),
    ],
)
def test_what_is_an_identifier_is_mapped_and_turned_back(recorded: Any, live: Any) -> None:
    ids = IdMap()
    request = get("/orders")
    assert ids.learn(request, answer(recorded), answer(live)).mapped == 1
    assert document_of(ids.restore_response(answer(live), request)[0]) == recorded


def test_integers_are_kept_per_entity() -> None:
    ids = IdMap()
    ids.learn(
        post("/orders"),
        answer({"id": 100, "items": [{"id": 3}], "customer": {"id": 8}}),
        answer({"id": 200, "items": [{"id": 4}], "customer": {"id": 9}}),
    )
    request = post(
        "/customers/100/orders/100/items/3?order_id=100&id=3&item=3",
        {"orderId": 100, "order_ids": [100, 8], "customerId": 100, "billing_customer_id": "8", "count": 100, "id": 3, "price": 3},
    )
    sent, _ = ids.rewrite_request(request)
    assert sent.target == "/customers/100/orders/200/items/4?order_id=200&id=4&item=3"
    assert document_of(sent) == {
        "orderId": 200,
        "order_ids": [200, 8],
        "customerId": 100,
        "billing_customer_id": "9",
        "count": 100,
        "id": 4,
        "price": 3,
    }
    back, _ = ids.restore_response(Response(200, sent.headers, sent.body), sent)
    assert document_of(back) == document_of(request)


def test_an_answer_alone_belongs_to_the_request_last_learned_from() -> None:
    ids = IdMap()
    live = answer({"id": 200})
    ids.learn(post("/orders"), answer({"id": 100}), live)
    assert document_of(ids.restore_response(live)[0]) == {"id": 100}
    ids.learn(get("/customers"), answer({}), answer({}))
    assert ids.restore_response(live)[0] is live
    assert document_of(ids.restore_response(live, get("/orders/200"))[0]) == {"id": 100}


def test_long_values_are_found_inside_others_and_short_ones_are_not() -> None:
    ids = IdMap()
    ids.learn(post("/x"), answer({"a": UUID_A, "b": "ord_12"}), answer({"a": UUID_B, "b": "ord_34"}))
    request = post("/x", {"m": f"see {UUID_A}, not x{UUID_A} and ord_12", "u": "/a/ord_12/b", "n": "ord_12"}, ("X-Trace", f"t-{UUID_A}"))
    sent, count = ids.rewrite_request(request)
    assert document_of(sent) == {"m": f"see {UUID_B}, not x{UUID_A} and ord_12", "u": "/a/ord_34/b", "n": "ord_34"}
    assert header(sent.headers, "x-trace") == f"t-{UUID_B}"
    assert count == 4


def test_text_and_markup_are_restored_by_word() -> None:
    ids = IdMap()
    ids.learn(post("/orders"), answer({"id": 12, "ref": "ord_12", "t": TOKEN_A}), answer({"id": 34, "ref": "ord_34", "t": TOKEN_B}))
    page = f'<a href="/orders/34?x=34">ord_34 xord_34 my_ord_34</a> {TOKEN_B} {TOKEN_A}'
    response = Response(
        200, (("Content-Type", "text/html"), ("Content-Length", str(len(page))), ("Link", "</orders/34>; rel=next")), body_of(page.encode())
    )
    restored, count = ids.restore_response(response)
    expected = f'<a href="/orders/12?x=34">ord_12 xord_34 my_ord_34</a> {TOKEN_A} {TOKEN_A}'
    assert restored.body.data.decode() == expected
    assert header(restored.headers, "content-length") == str(len(expected))
    assert header(restored.headers, "link") == "</orders/12>; rel=next"
    assert count == 2


def test_coded_bodies_are_read_and_given_back_as_identity() -> None:
    ids = IdMap()

    def coded(document: Any) -> Response:
        data = gzip.compress(json.dumps(document).encode())
        return Response(200, (*JSON, ("Content-Encoding", "gzip"), ("Content-Length", str(len(data)))), body_of(data))

    assert ids.learn(post("/x"), answer({"id": UUID_A}), coded({"id": UUID_B})).mapped == 1
    restored, _ = ids.restore_response(coded({"id": UUID_B, "n": 1}))
    assert document_of(restored) == {"id": UUID_A, "n": 1}
    assert header(restored.headers, "content-encoding") is None
    assert header(restored.headers, "content-length") == str(len(restored.body.data))
    other = coded({"id": UUID_C})
    assert ids.restore_response(other) == (other, 0)
    unreadable = Response(200, (*JSON, ("Content-Encoding", "br")), body_of(UUID_B.encode()))
    assert ids.restore_response(unreadable)[0] is unreadable


def test_forms_multipart_and_escaped_values() -> None:
    ids = IdMap()
    ids.learn(post("/x"), answer({"csrf_token": "ab/cd+efgh=", "id": UUID_A}), answer({"csrf_token": "zy/xw+vutsrq=", "id": UUID_B}))
    form = Request(
        "POST",
        "/x?t=ab%2Fcd%2Befgh%3D",
        (("Content-Type", "application/x-www-form-urlencoded"), ("Content-Length", "27")),
        body_of(b"t=ab%2Fcd%2Befgh%3D&a=b%20c&"),
    )
    sent, _ = ids.rewrite_request(form)
    assert sent.body.data == b"t=zy%2Fxw%2Bvutsrq%3D&a=b%20c&"
    assert sent.target == "/x?t=zy%2Fxw%2Bvutsrq%3D"
    assert header(sent.headers, "content-length") == str(len(sent.body.data))
    slashed = Request("POST", "/x", JSON, body_of(b'{"t": "ab\\/cd+efgh="}'))
    assert document_of(ids.rewrite_request(slashed)[0]) == {"t": "zy/xw+vutsrq="}
    part = f'--B\r\nContent-Disposition: form-data; name="id"\r\n\r\n{UUID_A}\r\n--B--\r\n'
    upload = Request("POST", "/x", (("Content-Type", "multipart/form-data; boundary=B"),), body_of(part.encode()))
    assert UUID_B.encode() in ids.rewrite_request(upload)[0].body.data
    picture = Request("POST", "/x", (("Content-Type", "image/png"),), body_of(UUID_A.encode()))
    assert ids.rewrite_request(picture) == (picture, 0)
    lines = Request("POST", "/x", (("Content-Type", "application/x-ndjson"),), body_of(f'{{"a":"{UUID_A}"}}\n{{"a":1}}\n'.encode()))
    assert ids.rewrite_request(lines)[0].body.data == f'{{"a":"{UUID_B}"}}\n{{"a":1}}\n'.encode()
    broken = Request("POST", "/x", JSON, body_of(f'{{"a": {UUID_A}'.encode()))
    assert ids.rewrite_request(broken)[0].body.data == f'{{"a": {UUID_B}'.encode()


def test_headers_that_hand_out_tokens() -> None:
    ids = IdMap()
    recorded = Response(
        204,
        (
            ("X-CSRF-Token", TOKEN_A),
            ("Authorization", f"Bearer {JWT_A}"),
            ("X-Request-Id", UUID_A),
            ("Set-Cookie", 'q="abcdefgh12"; Path=/'),
            ("Set-Cookie", "flag"),
        ),
    )
    live = Response(
        204,
        (
            ("X-CSRF-Token", TOKEN_B),
            ("Authorization", f"Bearer {JWT_B}"),
            ("X-Request-Id", UUID_B),
            ("Set-Cookie", 'q="hgfedcba21"; Path=/'),
            ("Set-Cookie", "flag"),
        ),
    )
    assert ids.learn(get("/csrf"), recorded, live).mapped == 3
    restored, _ = ids.restore_response(live)
    assert header(restored.headers, "x-csrf-token") == TOKEN_A
    assert header(restored.headers, "x-request-id") == UUID_B
    assert header_values(restored.headers, "set-cookie") == ['q="abcdefgh12"; Path=/', "flag"]
    sent, _ = ids.rewrite_request(get("/", ("Cookie", 'q="abcdefgh12"; empty='), ("Accept", TOKEN_A), ("X-Custom", TOKEN_A)))
    assert sent.headers == (("Cookie", 'q="hgfedcba21"; empty='), ("Accept", TOKEN_A), ("X-Custom", TOKEN_B))


def test_lost_identifiers_taint() -> None:
    ids = IdMap()
    assert ids.learn(post("/o"), answer({"id": UUID_A, "name": "n"}), answer({"error": "x"})).lost == 1
    assert ids.learn(post("/o"), answer({"id": UUID_A}), answer({"order": UUID_A})).lost == 0
    ids.learn(post("/o"), answer({"id": UUID_A}), answer({"id": UUID_B}))
    assert ids.learn(post("/o"), answer({"id": UUID_A}), answer({})).lost == 0


def test_unreadable_answers_teach_nothing() -> None:
    for data in (b"", b"{", b'"', b"\xff", b"nul"):
        response = Response(200, JSON, body_of(data))
        assert IdMap().learn(get("/"), response, response) == LearnResult()
        assert IdMap().learn(get("/"), answer({"id": "x"}), response).mapped == 0
    cut = Response(200, JSON, Body(b'{"id": "' + UUID_B.encode() + b'"}', 100))
    assert IdMap().learn(get("/"), answer({"id": UUID_A}), cut).mapped == 0
    deep = Response(200, JSON, body_of(b"[" * 300 + b'{"id":"' + UUID_A.encode() + b'"}' + b"]" * 300))
    assert IdMap().learn(get("/"), deep, answer({})) == LearnResult()


def test_the_map_is_bounded_and_keeps_what_is_used() -> None:
    ids = IdMap(identifiers_max=3)

    def create(number: int) -> None:
        ids.learn(post("/things"), answer({"ref": f"ref_{number:04}"}), answer({"ref": f"ref_{number + 5000:04}"}))

    create(0)
    for number in range(1, 50):
        ids.rewrite_request(get("/things/ref_0000"))
        create(number)
        assert len(ids) <= 3
    assert ids.rewrite_request(get("/things/ref_0000"))[0].target == "/things/ref_5000"
    assert ids.rewrite_request(get("/things/ref_0001"))[1] == 0
    assert ids.restore_response(answer({"x": "ref_5001"}))[1] == 0


def test_no_mapping_costs_nothing_and_gives_the_same_object() -> None:
    request, response = get("/orders/1", ("Cookie", "a=b")), answer({"id": 1})
    ids = IdMap()
    assert ids.rewrite_request(request)[0] is request
    assert ids.restore_response(response)[0] is response
    ids.learn(post("/x"), answer({"id": 1}), answer({"id": 2}))
    assert ids.rewrite_request(request)[0] is request
    other = get("/orders/2%20", ("Cookie", "a=b"))
    assert ids.rewrite_request(other)[0] is other
    number = answer({"id": 2, "n": 2})
    assert ids.restore_response(number, get("/orders/2"))[0] is number


# Properties

IDS = st.lists(st.uuids().map(str), min_size=2, max_size=10, unique=True).filter(lambda ids: len(ids) % 2 == 0)
FILL = st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.text(max_size=12), st.just("a/b?c=d&e%2F"))


@settings(max_examples=100, deadline=None)
@given(ids=IDS, data=st.data())
def test_restore_undoes_rewrite(ids: list[str], data: st.DataObject) -> None:
    recorded, live = ids[::2], ids[1::2]
    mapping = IdMap()
    assert mapping.learn(post("/x"), answer({"ids": recorded}), answer({"ids": live})).mapped == len(recorded)
    leaf = st.one_of(FILL, st.sampled_from(recorded), st.sampled_from(recorded).map(lambda text: f"see:{text};{text}"))
    document = data.draw(
        st.recursive(
            leaf, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4), max_leaves=12
        )
    )
    indent = data.draw(st.sampled_from([None, 1]))
    body = json.dumps(document, indent=indent, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    request = Request("POST", "/x/" + data.draw(st.sampled_from(recorded)), (*JSON, ("Cookie", f"a={recorded[0]}")), body_of(body))
    sent, count = mapping.rewrite_request(request)
    assert count >= 2
    assert not any(text in repr(sent) for text in recorded)
    restored, _ = mapping.restore_response(Response(200, JSON, sent.body))
    assert restored.body.data == body
    again, none = mapping.rewrite_request(sent)
    assert (again, none) == (sent, 0)
    assert again is sent


@settings(max_examples=200, deadline=None)
@given(
    target=st.text(alphabet="/?&=;%2F#abc123.:@", max_size=60),
    data=st.binary(max_size=100) | st.text(alphabet='{}[]",:id12 ', max_size=60).map(str.encode),
    media_type=st.sampled_from(["", "application/json", "text/html", "application/x-www-form-urlencoded", "image/png", "a/b"]),
    value=st.text(st.characters(max_codepoint=255), max_size=30),
)
def test_arbitrary_messages_never_raise(target: str, data: bytes, media_type: str, value: str) -> None:
    headers = (("Content-Type", media_type), ("Cookie", value), ("Set-Cookie", value), ("Location", target), ("X-Token", value))
    request, response = Request("POST", target, headers, body_of(data)), Response(200, headers, body_of(data))
    ids = IdMap()
    ids.learn(post("/a"), answer({"id": 12, "t": TOKEN_A, "a": "abcdefgh1"}), answer({"id": 1, "t": TOKEN_B, "a": "abcdefgh2"}))
    ids.learn(request, response, answer({"id": 1}))
    ids.rewrite_request(request)
    ids.restore_response(response, request)
