import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.attributes import IN_FLIGHT, PRESENT, AttributeReader
from harness.core.labels import Control, Design, Role
from harness.core.limits import (
    ATTRIBUTE_NAME_CHARS_MAX,
    ATTRIBUTE_VALUE_CHARS_MAX,
    ATTRIBUTES_CACHED_MAX,
    ATTRIBUTES_PER_TRIAL_MAX,
    ATTRIBUTES_SAMPLED_EVERY,
)
from harness.core.plain import PlainArm, PlainTrial
from harness.core.redact import RedactionRules, Redactor
from harness.core.values import Arm, Exchange, Headers, Request, Response, Trial, body_of

JSON: Headers = (("Content-Type", "application/json; charset=utf-8"),)
UUID = "0b7f2f4e-6d0a-4d3c-9e0b-2f1f4a5d6c7e"
CARD = "4111111111111111"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl"


def reader(*, every: int = 1, bodies: bool = True, rules: RedactionRules | None = None) -> AttributeReader:
    return AttributeReader(Redactor(b"key", rules or RedactionRules()), every=every, bodies=bodies)


def trial(
    target: str = "/orders",
    headers: Headers = (),
    body: object = None,
    *,
    method: str = "GET",
    answer: Response | None = None,
    candidate: Response | None = None,
    in_flight: int = 1,
) -> Trial:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(method, target, headers, body_of(data))

    def arm(role: Role, response: Response | None) -> Arm:
        return Arm(role=role, exchange=Exchange(request=request, response=response))

    return Trial(
        id="t1",
        seq=0,
        endpoint="GET /orders",
        request=request,
        stable=arm(Role.STABLE, answer or Response(200)),
        candidate=arm(Role.CANDIDATE, candidate or answer or Response(200)),
        in_flight=in_flight,
    )


def read(one: Trial, *, bodies: bool = True) -> dict[str, str]:
    return dict(reader(bodies=bodies).of(one))


def test_attributes_are_those_of_the_request_and_of_stables_answer() -> None:
    one = trial(
        "/orders?currency=JPY&page=2#x",
        (*JSON, ("X-Region", "eu-west-1"), ("Cookie", "theme=dark; beta=1")),
        {"customer": {"kind": "premium", "vip": True}, "note": None, "lines": [{"sku": "a"}]},
        method="POST",
        answer=Response(201, JSON, body_of(b'{"state":"open"}')),
        in_flight=11,
    )
    assert read(one) == {
        "method": "POST",
        "query.currency": "JPY",
        "query.page": "2",
        "header.content-type": "application/json; charset=utf-8",
        "header.x-region": "eu-west-1",
        "cookie.theme": PRESENT,
        "cookie.beta": PRESENT,
        "json.customer.kind": "premium",
        "json.customer.vip": "true",
        "json.note": "null",
        "answer.status": "201",
        "answer.content-type": "application/json",
        "answer.json.state": "open",
        IN_FLIGHT: "8",
    }


def test_fields_of_forms_are_read_and_those_of_answers_only_where_they_come_with_bodies() -> None:
    form = (("Content-Type", "application/x-www-form-urlencoded"),)
    assert read(trial("/", form, b"plan=pro+plus&x=%C3%A4", method="POST"))["form.plan"] == "pro plus"
    answered = trial(answer=Response(200, JSON, body_of(b'{"state":"open"}')))
    assert "answer.json.state" not in read(answered, bodies=False)


def test_an_attribute_never_depends_on_the_candidate() -> None:
    one = trial(candidate=Response(500, JSON, body_of(b'{"state":"broken"}')))
    assert read(one) == read(trial())


@pytest.mark.parametrize(
    "value",
    ["2026-01-31", "2026-01-31T10:00:00Z", "1767225600", UUID, "x" * (ATTRIBUTE_VALUE_CHARS_MAX + 1), "12345678", "19.99"],
)
def test_what_is_new_in_each_request_is_left_out_by_its_form(value: str) -> None:
    assert read(trial(f"/?q={value}"))["query.q"] == PRESENT


def test_identifiers_of_groups_of_requests_are_kept() -> None:
    found = read(trial("/", (*JSON, ("X-Tenant-Id", UUID)), {"tenant_id": UUID}, method="POST"))
    assert (found["header.x-tenant-id"], found["json.tenant_id"]) == (UUID, UUID)


def test_what_belongs_to_a_connection_or_to_one_request_is_no_attribute() -> None:
    headers = (("X-Request-Id", "abc"), ("Content-Length", "0"), ("traceparent", "00-1-2-01"), ("X-Forwarded-For", "10.0.0.1"))
    assert set(read(trial("/", headers))) == {"method", "answer.status", IN_FLIGHT}


SECRETS = ("hunter2hunter2", TOKEN, CARD, "ann@shop.example")


def test_secrets_never_appear_and_equal_ones_stay_equal() -> None:
    one = trial(
        f"/?password=hunter2hunter2&q={TOKEN}&tenant=ann@shop.example",
        (*JSON, ("Authorization", "Bearer hunter2hunter2"), ("X-Api-Key", "hunter2hunter2"), ("Cookie", f"sid={TOKEN}; {TOKEN}=1")),
        {"card": CARD, "account": CARD, "auth": {"pin": "hunter2hunter2"}, "ann@shop.example": "x", TOKEN: "y"},
        method="POST",
        answer=Response(200, JSON, body_of(json.dumps({"token": "hunter2hunter2", "account": CARD}).encode())),
    )
    found = read(one)
    said = repr(found)
    assert not [secret for secret in SECRETS if secret in said]
    assert found["header.authorization"].startswith("Bearer redacted-")
    assert found["header.x-api-key"] == found["query.password"]
    assert found["json.account"] == found["answer.json.account"] != CARD


def test_names_that_a_user_calls_secret_are_hidden() -> None:
    found = dict(reader(rules=RedactionRules(names=("x-region",))).of(trial("/", (("X-Region", "JP"),))))
    assert found["header.x-region"].startswith("redacted-")


def test_bare_words_of_ours_are_not_values_of_theirs() -> None:
    found = read(trial("/?a=absent&b=present&c="))
    assert (found["query.a"], found["query.b"], found["query.c"]) == ('"absent"', '"present"', '""')


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=90), inner, max_size=40),
    max_leaves=60,
)


@given(
    st.text(max_size=200),
    st.lists(st.tuples(st.text(max_size=90), st.text(max_size=200)), max_size=60),
    NESTED | st.binary(max_size=60),
    st.integers(-1, 2**40),
)
def test_whatever_comes_the_attributes_are_bounded(target: str, headers: list[tuple[str, str]], body: object, in_flight: int) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    one = trial("/?" + target, (*JSON, *headers), data, method="POST", answer=Response(200, JSON, body_of(data)), in_flight=in_flight)
    found = reader().of(one)
    assert len(found) <= ATTRIBUTES_PER_TRIAL_MAX + 1
    assert found == tuple(sorted(found))
    assert len(dict(found)) == len(found)
    for name, value in found:
        assert len(name) <= ATTRIBUTE_NAME_CHARS_MAX + len("answer.json.")
        assert len(value) <= ATTRIBUTE_VALUE_CHARS_MAX + 2


def test_the_memory_of_a_reader_is_bounded() -> None:
    one = reader()
    for number in range(ATTRIBUTES_CACHED_MAX + 500):
        one.of(trial(f"/?n={number}"))
    assert len(one._known) <= ATTRIBUTES_CACHED_MAX


def test_the_sample_looks_at_nothing_but_the_number_and_meets_no_rhythm() -> None:
    every = ATTRIBUTES_SAMPLED_EVERY
    one = reader(every=every)
    weights = [one.weight(number) for number in range(1000 * every)]
    assert (set(weights), weights.count(every)) == ({0, every}, 1000)
    for rhythm in (2, 3, 8, 16, 64, 100):
        assert weights[::rhythm].count(every) == pytest.approx(1000 / rhythm, abs=1)
    assert {reader().weight(number) for number in range(100)} == {1}


def test_plain_trials_have_the_attributes_of_their_heads() -> None:
    head = b"GET /x?currency=JPY HTTP/1.1\r\nHost: shop.test\r\nX-Region: JP\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    arm = PlainArm(head, answer, len(answer), True, 0, 0, 1, 2)
    plain = PlainTrial(
        "t", 0, "GET /x", head, "shop.test", b"", arm, None, None, Control.SECONDARY, Design.TWO_ARM, (Role.STABLE,), "", "", 3, False
    )
    assert dict(reader(bodies=False).of(plain)) == {
        "method": "GET",
        "query.currency": "JPY",
        "header.host": "shop.test",
        "header.x-region": "JP",
        "answer.status": "200",
        "answer.content-type": "text/html",
        IN_FLIGHT: "2",
    }
