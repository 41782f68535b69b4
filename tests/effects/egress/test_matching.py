"""Which taped call answers: exact before generated before like, each once for each taker, at the same cost on a long tape."""

import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.limits import TAPE_ALIKE_MAX
from harness.core.redact import Redactor
from harness.core.values import Body, Headers, Request
from harness.effects.egress import calls, matching
from harness.effects.egress.calls import Answer, Call, TapedCall
from harness.effects.egress.matching import Match, Tape, call_key, endpoint_key

ME = "candidate"
JSON_TYPE = (("Content-Type", "application/json"),)
ONE = "8a6e0804-2bd0-4672-b79d-d97027f9071a"
TWO = "b2f5ff47-4366-11ee-be56-0242ac120002"


def call(url: str = "http://a.test/x", body: bytes = b"", headers: Headers = (), method: str = "POST") -> Call:
    return Call(method=method, url=url, headers=headers, body=body, size=len(body))


def taped(sent: Call, number: int = 0) -> TapedCall:
    return TapedCall(request="r", number=number, call=sent, answer=Answer(status=200, body=str(number).encode()))


def tape_of(*calls: Call) -> Tape:
    return Tape(taped(each, number) for number, each in enumerate(calls))


def took(match: Match | None) -> tuple[int, bool] | None:
    return None if match is None else (match.taped.number, match.exact)


def redacted(sent: Call) -> Call:
    new = Redactor(b"another run's key").request(Request(sent.method, sent.url, sent.headers, Body(sent.body, sent.size)))
    return msgspec.structs.replace(sent, url=new.target, headers=new.headers, body=new.body.data, size=new.body.size)


def test_headers_are_no_part_of_a_key() -> None:
    assert call_key(call(headers=(("User-Agent", "a"),))) == call_key(call(headers=(("User-Agent", "b"), ("traceparent", "c"))))


def test_the_endpoint_holds_method_host_and_template() -> None:
    assert endpoint_key(call(f"http://a.test:81/orders/{ONE}?q=1", method="GET")) == "GET a.test:81/orders/{uuid}"


def test_the_same_call_comes_first_wherever_it_stands() -> None:
    tape = tape_of(call(body=b'{"a":1}'), call(body=b'{"a":2}'), call(body=b'{"a":3}'))
    assert took(tape.take(call(body=b'{ "a": 3 }'), ME)) == (2, True)
    assert took(tape.take(call(body=b'{"a":1}'), ME)) == (0, True)


def test_equal_calls_are_taken_in_order_and_each_once() -> None:
    tape = tape_of(call(), call(), call())
    assert [took(tape.take(call(), ME)) for _ in range(4)] == [(0, True), (1, True), (2, True), None]


def test_takers_do_not_take_from_each_other() -> None:
    tape = tape_of(call())
    assert took(tape.take(call(), "candidate")) == took(tape.take(call(), "secondary")) == (0, True)
    assert tape.unused("candidate") == ()
    assert tape.unused("nobody") == (taped(call()),)
    tape.forget("candidate")
    assert tape.unused("candidate") == (taped(call()),)


GENERATED = [
    (f"http://a.test/x?id={ONE}", f"http://a.test/x?id={TWO}"),
    (f"http://a.test/files/{ONE}", f"http://a.test/files/{TWO}"),
    ("http://a.test/x?at=2024-01-31T10:00:00Z", "http://a.test/x?at=2025-02-01T11:30:00.5Z"),
    ("http://a.test/x?ts=1700000000", "http://a.test/x?ts=1800000001"),
    ("http://a.test/x?when=1700000000.25", "http://a.test/x?when=1800000001.5"),
    ("http://a.test/x?request_id=7", "http://a.test/x?request_id=8"),
]


@pytest.mark.parametrize(("one", "two"), GENERATED)
def test_values_that_identify_or_date_themselves_may_differ_in_a_url(one: str, two: str) -> None:
    tape = tape_of(call(one))
    assert took(tape.take(call(two), ME)) == (0, True)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (f'{{"id":"{ONE}","n":1}}', f'{{"n":1,"id":"{TWO}"}}'),
        ('{"idempotencyKey":"abc"}', '{"idempotencyKey":"xyz"}'),
        ('{"idempotency-key":17}', '{"idempotency-key":18}'),
        ('{"at":1700000000123}', '{"at":1800000000123}'),
        ('{"at":1700000000.5}', '{"at":1800000000.25}'),
        (f'{{"id":"{uuid.UUID(ONE).hex}"}}', f'{{"id":"{uuid.UUID(TWO).hex}"}}'),
        ('{"t":"Wed, 21 Oct 2015 07:28:00 GMT"}', '{"t":"Thu, 22 Oct 2015 07:28:00 GMT"}'),
        (f"<m id='{ONE}'><at>2024-01-31T10:00:00Z</at><n>1</n></m>", f"<m id='{TWO}'><at>2025-01-31T10:00:01Z</at><n>1</n></m>"),
    ],
)
def test_values_that_identify_or_date_themselves_may_differ_in_a_body(one: str, two: str) -> None:
    tape = tape_of(call(body=b"other"), call(body=one.encode()))
    assert took(tape.take(call(body=two.encode()), ME)) == (1, True)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (f'{{"id":"{ONE}","n":1}}', f'{{"id":"{TWO}","n":2}}'),
        (f'{{"id":"{ONE}"}}', '{"id":"bob"}'),
        (f'{{"id":"{ONE}"}}', '{"id":"2024-01-31T10:00:00Z"}'),
        ('{"order":"ord_17"}', '{"order":"ord_18"}'),
        ('{"day":"2024-01-31"}', '{"day":"2024-02-01"}'),
        ('{"amount":1700}', '{"amount":1800}'),
        (f"<m id='{ONE}'>1</m>", f"<m id='{TWO}'>2</m>"),
    ],
)
def test_content_may_not_differ_in_an_exact_match(one: str, two: str) -> None:
    tape = tape_of(call(body=one.encode()))
    assert not tape.has_exact(call(body=two.encode()), ME)
    assert took(tape.take(call(body=two.encode()), ME)) == (0, False)


def test_the_same_value_comes_before_another_generated_one() -> None:
    tape = tape_of(call(f"http://a.test/x?id={ONE}"), call(f"http://a.test/x?id={TWO}"))
    assert took(tape.take(call(f"http://a.test/x?id={TWO}"), ME)) == (1, True)
    assert took(tape.take(call(f"http://a.test/x?id={TWO}"), ME)) == (0, True)


def test_the_same_but_for_redacted_places_comes_before_another_generated_value() -> None:
    one, two = (call(body=f'{{"password":"p","id":"{each}"}}'.encode()) for each in (ONE, TWO))
    tape = tape_of(redacted(one), redacted(two))
    assert took(tape.take(two, ME)) == (1, True)
    assert took(tape.take(two, ME)) == (0, True)


@pytest.mark.parametrize("depth", [1, 190, 400, 900, 5000])
def test_deep_bodies_are_matched(depth: int) -> None:
    one, two = (call(body=b'{"a":' * depth + f'"{each}"'.encode() + b"}" * depth) for each in (ONE, TWO))
    assert took(tape_of(redacted(one), one).take(two, ME)) == (0, True)


def test_a_like_call_to_the_same_endpoint_answers_what_was_changed() -> None:
    tape = tape_of(
        call("http://a.test/orders/1", b'{"item":"pen","price":1,"to":"Ann"}'),
        call("http://a.test/orders/2", b'{"item":"cup","price":9,"to":"Bob"}'),
        call("http://a.test/orders/3", b'{"item":"cup","price":9,"to":"Cid"}'),
        call("http://a.test/users/4", b'{"item":"hat","price":9,"to":"Bob"}'),
    )
    assert took(tape.take(call("http://a.test/orders/7", b'{"item":"hat","price":9,"to":"Bob"}'), ME)) == (1, False)
    assert took(tape.take(call("http://a.test/orders/7", b'{"nothing":"alike"}'), ME)) == (0, False)
    assert took(tape.take(call("http://a.test/orders/7"), ME)) == (2, False)
    assert tape.take(call("http://a.test/orders/7"), ME) is None


@pytest.mark.parametrize(
    "other",
    [
        call("http://b.test/x"),
        call("http://a.test:81/x"),
        call("http://a.test/y"),
        call("http://a.test/x/"),
        call(method="GET"),
        call(body=b'{"query":"mutation Pay { a }"}'),
    ],
)
def test_no_call_is_answered_from_another_endpoint(other: Call) -> None:
    tape = tape_of(call())
    assert tape.take(other, ME) is None
    assert tape.unused(ME) == (taped(call()),)


def test_to_ask_takes_nothing() -> None:
    tape = tape_of(call())
    assert all(tape.has_exact(call(), ME) for _ in range(3))
    assert took(tape.take(call(), ME)) == (0, True)
    assert not tape.has_exact(call(), ME)


def test_calls_may_be_added_while_others_are_taken() -> None:
    tape = Tape()
    wanted = call(body=b'{"a":1}')
    assert not tape.has_exact(wanted, ME)
    tape.add(taped(call(body=b'{"a":0}'), 0))
    assert not tape.has_exact(wanted, ME)
    tape.add(taped(call(body=b'{"a":1}'), 1))
    assert tape.has_exact(wanted, ME)
    assert took(tape.take(wanted, ME)) == (1, True)
    assert took(tape.take(wanted, ME)) == (0, False)
    tape.add(taped(call(body=b'{"a":2}'), 2))
    assert took(tape.take(wanted, ME)) == (2, False)
    assert len(tape) == 3


CARD = "4111111111111111"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
SECRETS = [
    call("http://a.test/x?api_key=k3y&q=1"),
    call("http://a.test/x", b'{"password":"hunter2","n":1}', JSON_TYPE),
    call("http://a.test/x", b'{"pin":{"password":123456},"n":1}', JSON_TYPE),
    call("http://a.test/x", b'{"items":[{"token":"one","n":1},{"token":"two","n":2}]}', JSON_TYPE),
    call("http://a.test/x", f'{{"card":"{CARD}","n":1}}'.encode(), JSON_TYPE),
    call("http://a.test/x", f'{{"card":{CARD},"n":1}}'.encode(), JSON_TYPE),
    call("http://a.test/x", b'{"note":"write to ann@mail.example please","n":1}', JSON_TYPE),
    call("http://a.test/x", b'{"by":{"ann@mail.example":1},"n":1}', JSON_TYPE),
    call("http://a.test/x", b"password=a+b&n=1", (("Content-Type", "application/x-www-form-urlencoded"),)),
    call("http://a.test/x", f"<pay><card>{CARD}</card><n>1</n></pay>".encode(), (("Content-Type", "text/xml"),)),
    call(
        "http://a.test/x",
        b'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\nhunter2\r\n--b--\r\n',
        (("Content-Type", "multipart/form-data; boundary=b"),),
    ),
    call(f"http://a.test/reset/{JWT}/go"),
    call("http://a.test/users/ann@mail.example"),
    call("http://user:pass@a.test/x?q=1"),
    call("http://a.test/x", b"\x08\x96\x01\x12\x04\xff", (("Content-Type", "application/x-protobuf"),)),
]


@pytest.mark.parametrize("sent", SECRETS, ids=range(len(SECRETS)))
def test_redacted_places_match_anything(sent: Call) -> None:
    on_tape = redacted(sent)
    assert (on_tape.url, on_tape.body) != (sent.url, sent.body), "nothing was redacted, so nothing is tested"
    tape = tape_of(call("http://a.test/other"), on_tape)
    assert tape.has_exact(sent, ME)
    assert took(tape.take(sent, ME)) == (1, True)


@pytest.mark.parametrize(
    ("sent", "other"),
    [
        (SECRETS[0], call("http://a.test/x?api_key=k3y&q=2")),
        (SECRETS[1], call("http://a.test/x", b'{"password":"hunter2","n":2}', JSON_TYPE)),
        (SECRETS[3], call("http://a.test/x", b'{"items":[{"token":"one","n":1},{"token":"two","n":3}]}', JSON_TYPE)),
        (SECRETS[6], call("http://a.test/x", b'{"note":"write to ann@mail.example at once","n":1}', JSON_TYPE)),
        (SECRETS[9], call("http://a.test/x", f"<pay><card>{CARD}</card><n>2</n></pay>".encode(), (("Content-Type", "text/xml"),))),
    ],
)
def test_what_stands_around_a_redacted_place_counts(sent: Call, other: Call) -> None:
    tape = tape_of(redacted(sent))
    assert not tape.has_exact(other, ME)
    assert took(tape.take(other, ME)) == (0, False)


def test_a_redacted_body_with_a_new_identifier_is_the_same_call() -> None:
    sent = call(body=f'{{"password":"a","id":"{ONE}","note":"for ann@mail.example at 2024-01-31T10:00:00Z"}}'.encode())
    live = call(body=f'{{"password":"b","id":"{TWO}","note":"for bob@mail.example at 2025-01-31T10:00:00Z"}}'.encode())
    assert took(tape_of(redacted(sent)).take(live, ME)) == (0, True)


def test_placeholders_of_the_traffic_itself_are_told_apart() -> None:
    """A capture that was redacted brings placeholders into calls of the run itself."""
    ann, bob = (call(body=f'{{"token":"redacted-{digit * 12}"}}'.encode()) for digit in "ab")
    tape = tape_of(ann, bob)
    assert took(tape.take(bob, ME)) == (1, True)


def test_a_long_tape_is_searched_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is counted, not timed: no taken call may make the forms of all others again."""
    made = 0
    real = calls.canonical

    def counted(each: Call) -> dict[str, object]:
        nonlocal made
        made += 1
        return real(each)

    monkeypatch.setattr(matching, "canonical", counted)
    count = 1500
    tape = tape_of(*(call(body=b'{"n":%d,"id":"%s"}' % (n, str(uuid.UUID(int=n)).encode())) for n in range(count)))
    for n in reversed(range(count)):
        assert took(tape.take(call(body=b'{"n":%d,"id":"%s"}' % (n, str(uuid.UUID(int=n + 1)).encode())), ME)) == (n, True)
    for _ in range(count):
        assert tape.take(call(body=b'{"changed":1}'), "secondary") is not None
    assert made <= 6 * count
    assert tape.unused(ME) == tape.unused("secondary") == ()


def test_a_line_of_used_calls_is_not_walked_again_and_again() -> None:
    tape = tape_of(*(call(body=b"%d" % n) for n in range(2000)))
    for n in range(1, 2000):
        tape.take(call(body=b"%d" % n), ME)
    line = next(iter(tape._endpoints.values())).line
    state = tape._takers[ME]
    assert state.first(line, TAPE_ALIKE_MAX) == [0]
    assert len(state._left[line][0]) == 1


VALUES = st.sampled_from([1, 2, "x", "y", ONE, TWO, "2024-01-31T10:00:00Z", None])
BODIES = st.dictionaries(st.sampled_from(["a", "b", "password", "id"]), VALUES, max_size=3)
CALLS = st.builds(
    lambda path, method, body: call(f"http://a.test/{path}", msgspec.json.encode(body), JSON_TYPE, method),
    st.sampled_from(["orders/1", "orders/2", "users/1"]),
    st.sampled_from(["GET", "POST"]),
    BODIES,
)


@given(st.lists(CALLS, max_size=8), st.lists(CALLS, max_size=12), st.booleans())
def test_each_taped_call_is_used_once_and_only_for_its_endpoint(recorded: list[Call], live: list[Call], hide: bool) -> None:
    tape = tape_of(*(redacted(each) if hide else each for each in recorded))
    used: list[int] = []
    for each in live:
        before = tape.unused(ME)
        expected = tape.has_exact(each, ME)
        match = tape.take(each, ME)
        left = [one for one in before if endpoint_key(one.call) == endpoint_key(each)]
        assert (match is None) == (not left)
        if match is None:
            continue
        assert match.exact == expected
        assert match.taped in left
        same = [one for one in left if call_key(one.call) == call_key(each)]
        assert not same or match.taped == same[0]
        used.append(match.taped.number)
        assert tape.unused(ME) == tuple(one for one in before if one.number != match.taped.number)
    assert len(used) == len(set(used))


@given(st.lists(CALLS, max_size=8), st.data())
def test_what_was_recorded_is_found_again_in_any_order_also_redacted(recorded: list[Call], data: st.DataObject) -> None:
    for hide in (False, True):
        tape = tape_of(*(redacted(each) if hide else each for each in recorded))
        for each in data.draw(st.permutations(recorded)):
            match = tape.take(each, ME)
            assert match is not None
            assert match.exact or hide
        assert tape.unused(ME) == ()


SECRET = st.sampled_from(["hunter2", "ann@mail.example", "to ann@mail.example, now", JWT, "4111 1111 1111 1111", "Basic YWJjOmRlZg=="])
DOCUMENTS = st.recursive(
    st.one_of(st.none(), st.integers(), SECRET, st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["password", "token", "n", "cookie", "ann@mail.example"]), inner, max_size=3),
    ),
    max_leaves=4,
)
SECRET_URLS = st.builds(
    lambda segments, query: f"http://a.test/{'/'.join(segments)}?{query}",
    st.lists(st.sampled_from(["x", "token", "ann@mail.example", JWT, "a;token=abc", "4111111111111111", "%41"]), max_size=4),
    st.sampled_from(["", "token=abc", "q=ann@mail.example", "ann@mail.example=1", "a=1&a=Bearer+abcdefgh12345"]),
)


@given(url=SECRET_URLS, document=DOCUMENTS)
def test_whatever_is_redacted_a_call_finds_itself_exactly(url: str, document: object) -> None:
    sent = call(url, msgspec.json.encode(document), JSON_TYPE)
    assert took(tape_of(call("http://a.test/y"), redacted(sent)).take(sent, ME)) == (1, True)
