"""Traces of live requests: given where there is none, left alone where there is one, and found again."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Role
from harness.core.plain import PlainAnswer, PlainExchange
from harness.core.trace import TRACING_HEADERS, parse_traceparent, span_of, trace_of, with_trace
from harness.core.values import Exchange, Request
from harness.proxy.plain import field_bytes, plain_request
from harness.proxy.tracing import Tracing, carries_tracing, senders, trace_fields, trace_lines

HEAD = b"GET /orders/1 HTTP/1.1\r\nHost: shop.test\r\nAccept: */*\r\n\r\n"


def sent(head: bytes, trace: str = "") -> PlainExchange:
    return PlainExchange(head, PlainAnswer(b"", 0, True, ()), 0, 0, 0, trace)


def read(head: bytes) -> Exchange:
    """The same where the answer was not plain."""
    return Exchange(request=Request("GET", "/orders/1", fields(head)))


def fields(head: bytes) -> tuple[tuple[str, str], ...]:
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))


def test_a_request_without_tracing_gets_a_trace_that_is_found_again() -> None:
    tracing = Tracing(Random(1))
    traced, trace, _ = tracing.traced(HEAD, HEAD)
    assert traced.startswith(HEAD[:-2])
    assert traced.endswith(b"\r\n\r\n")
    assert trace_of(fields(traced)) == trace
    assert tracing.given(sent(traced, trace)) == tracing.given(read(traced)) == trace
    parsed = parse_traceparent(dict(fields(traced))["traceparent"])
    assert parsed == (trace, span_of(trace, Role.STABLE))


@pytest.mark.parametrize("name", sorted(TRACING_HEADERS))
def test_a_request_with_tracing_of_its_own_stays_as_it_came(name: str) -> None:
    for written in (name, name.title(), name.upper()):
        head = HEAD[:-2] + f"{written}: x\r\n\r\n".encode()
        assert Tracing(Random(1)).traced(head, head) == (head, "", len(HEAD) - 3)
        assert Tracing(Random(1)).given(sent(head)) == Tracing(Random(1)).given(read(head)) == ""
        assert carries_tracing(fields(head))
        assert Tracing(Random(1)).fields(fields(head)) == ()


def test_names_that_only_begin_or_end_alike_are_none_of_tracing() -> None:
    head = HEAD[:-2] + b"x-traceparent: 1\r\ntraceparent-x: 1\r\nX-Note: traceparent: 1\r\n\r\n"
    tracing = Tracing(Random(1))
    assert tracing.given(sent(*tracing.traced(head, head)[:2]))


@given(st.integers(0, 2**32))
def test_traces_differ_and_arms_are_told_apart(seed: int) -> None:
    tracing = Tracing(Random(seed))
    one, other = tracing.new(), tracing.new()
    assert one != other
    assert len({span_of(one, role) for role in Role}) == 3
    for role in Role:
        assert parse_traceparent(dict(trace_fields(one, role))["traceparent"]) == (one, span_of(one, role))


def test_the_trace_of_a_request_that_was_not_plain_is_found_before_the_mark() -> None:
    tracing = Tracing(Random(2))
    given_fields = tracing.fields((("Accept", "*/*"),))
    for after in ((), (("X-Shadowdiff", "1"),)):
        request = Request("GET", "/", (("Accept", "*/*"), *given_fields, *after))
        assert tracing.given(Exchange(request=request)) == trace_of(request.headers)
    assert tracing.given(Exchange(request=Request("GET", "/", (("Accept", "*/*"),)))) == ""
    assert tracing.given(Exchange(request=Request("GET", "/"))) == ""


def test_what_a_client_sends_last_is_not_taken_for_ours() -> None:
    tracing = Tracing(Random(1))
    for name in (b"X-Baggage", b"baggage"):
        forged = HEAD[:-2] + name + b": shadowdiff.trace=" + b"1" * 32 + b"\r\n\r\n"
        assert tracing.given(sent(forged)) == tracing.given(read(forged)) == ""
    other, _, _ = Tracing(Random(7)).traced(HEAD, HEAD)
    assert tracing.given(read(other)) == "", "another process's"


NAMES = sorted(TRACING_HEADERS | {"accept", "x-b3", "traceparent-x", "x-note", "cookie"})
TRACES = st.text("0123456789abcdef", min_size=32, max_size=32)
PARENTS = st.builds("00-{}-{}-01".format, TRACES | st.just("0" * 32), st.sampled_from(["00f067aa0ba902b7", "0" * 16, "00F067AA0BA902B7"]))
MEMBERS = st.sampled_from(["tenant=a;p=1", " flag = on ", "", "name=\xe9", "shadowdiff.tracer=1"]) | st.builds(
    "shadowdiff.trace = {}".format, TRACES
)
VALUES = st.from_regex(r"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)
FIELDS = st.lists(
    st.tuples(st.sampled_from([*NAMES, *map(str.title, NAMES)]), VALUES)
    | st.tuples(st.sampled_from(["traceparent", "Traceparent", "TraceParent"]), PARENTS)
    | st.tuples(st.sampled_from(["baggage", "Baggage"]), st.lists(MEMBERS).map(",".join).map(str.strip).filter(bool)),
    max_size=6,
)


@given(FIELDS, st.booleans(), st.booleans(), st.booleans())
def test_shadows_get_the_same_fields_whether_the_request_was_plain_or_not(
    listed: list[tuple[str, str]], keep: bool, looked: bool, kept_alive: bool
) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in listed).encode("latin-1")
    came = HEAD[:-2] + (b"Connection: keep-alive\r\n" if kept_alive else b"") + lines + b"\r\n"
    plain = plain_request(came)
    assert plain is not None
    headers, trace = tuple(pair for pair in plain.head.headers if pair[0] != "Connection"), "5" * 32
    _, given_trace, at = Tracing(Random(1)).traced(plain.raw, plain.raw)
    assert bool(given_trace) is (at == 0) is not carries_tracing(headers)
    found = senders(plain, at if looked else 0, keep=keep)
    for role in Role:
        written = found.plain.raw[:-2] + trace_lines(trace, role, found.beside) + b"\r\n"
        assert fields(written) == with_trace(headers, trace, role, keep=keep)
        assert written.startswith(b"GET /orders/1 HTTP/1.1\r\n")
    assert found.plain.came == came
    assert found.trace == trace_of(headers)


@given(TRACES, st.sampled_from(Role))
def test_lines_say_what_fields_say(trace: str, role: Role) -> None:
    assert trace_lines(trace, role) == field_bytes(trace_fields(trace, role))


@given(st.integers(0, 2**32))
def test_a_trace_is_a_tag_and_a_number_in_hexadecimal_digits(seed: int) -> None:
    drawn = Random(seed)
    expected = f"{drawn.getrandbits(32):08x}{drawn.getrandbits(96):024x}"
    assert Tracing(Random(seed)).new() == expected


def test_where_tracing_begins_is_told_of_the_request_as_it_was_read() -> None:
    raw = HEAD[:-2] + b"X-Note: 1\r\nB3: 0\r\nHost-Of: x\r\n\r\n"
    longer = raw.replace(b"shop.test", b"another-shop.test")
    sent_on, trace, at = Tracing(Random(1)).traced(longer, raw)
    assert (sent_on, trace) == (longer, "")
    assert raw[at:].startswith(b"\nB3: 0\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        b"traceparent: 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01\r\n",
        b"Traceparent: 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01\r\nX-B3-TraceId: 1\r\n",
        b"traceparent: 00-" + b"0" * 32 + b"-" + b"2" * 16 + b"-01\r\n",
        b"traceparent: 00-" + b"1" * 32 + b"-" + b"0" * 16 + b"-01\r\n",
        b"traceparent: cc-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01-more\r\n",
        b"traceparent: 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01\r\ntraceparent: 00-" + b"3" * 32 + b"-" + b"2" * 16 + b"-01\r\n",
        b"traceparent: 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01\r\nbaggage: tenant=a,shadowdiff.trace=" + b"4" * 32 + b"\r\n",
        b"sentry-trace: 1\r\n",
    ],
)
def test_the_senders_trace_is_what_the_fields_say(lines: bytes) -> None:
    plain = plain_request(HEAD[:-2] + lines + b"\r\n")
    assert plain is not None
    for at in (0, len(HEAD) - 3):
        assert senders(plain, at).trace == trace_of(plain.head.headers)
