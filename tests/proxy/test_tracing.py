"""Traces of live requests: given where there is none, left alone where there is one, and found again."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Role
from harness.core.plain import PlainAnswer, PlainExchange
from harness.core.trace import TRACING_HEADERS, parse_traceparent, span_of, trace_of, with_trace
from harness.core.values import Exchange, Request
from harness.proxy.plain import plain_request
from harness.proxy.tracing import Tracing, carries_tracing, senders, trace_fields

HEAD = b"GET /orders/1 HTTP/1.1\r\nHost: shop.test\r\nAccept: */*\r\n\r\n"


def sent(head: bytes, trace: str = "") -> PlainExchange:
    return PlainExchange(head, PlainAnswer(b"", 0, True, ()), 0, 0, 0, trace)


def read(head: bytes) -> Exchange:
    """The same where the answer was not plain."""
    return Exchange(request=Request("GET", "/orders/1", fields(head)))


def fields(head: bytes) -> tuple[tuple[str, str], ...]:
    lines = head.decode().split("\r\n")[1:-2]
    return tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))


def test_a_request_without_tracing_gets_a_trace_that_is_found_again() -> None:
    tracing = Tracing(Random(1))
    traced, trace = tracing.traced(HEAD)
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
        assert Tracing(Random(1)).traced(head) == (head, "")
        assert Tracing(Random(1)).given(sent(head)) == Tracing(Random(1)).given(read(head)) == ""
        assert carries_tracing(fields(head))
        assert Tracing(Random(1)).fields(fields(head)) == ()


def test_names_that_only_begin_or_end_alike_are_none_of_tracing() -> None:
    head = HEAD[:-2] + b"x-traceparent: 1\r\ntraceparent-x: 1\r\nX-Note: traceparent: 1\r\n\r\n"
    tracing = Tracing(Random(1))
    assert tracing.given(sent(*tracing.traced(head)))


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
    other, _ = Tracing(Random(7)).traced(HEAD)
    assert tracing.given(read(other)) == "", "another process's"


NAMES = sorted(TRACING_HEADERS | {"accept", "x-b3", "traceparent-x", "x-note", "cookie"})
FIELDS = st.lists(st.tuples(st.sampled_from([*NAMES, *map(str.title, NAMES)]), st.from_regex(r"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)))


@given(FIELDS, st.booleans())
def test_shadows_get_the_same_fields_whether_the_request_was_plain_or_not(listed: list[tuple[str, str]], keep: bool) -> None:
    raw = HEAD[:-2] + "".join(f"{name}: {value}\r\n" for name, value in listed).encode() + b"\r\n"
    plain = plain_request(raw)
    assert plain is not None
    headers, trace = plain.head.headers, "5" * 32
    found = senders(plain, keep=keep)
    written = found.plain.raw[:-2] + found.lines(trace, Role.CANDIDATE) + b"\r\n"
    assert fields(written) == with_trace(headers, trace, Role.CANDIDATE, keep=keep)
    assert written.startswith(b"GET /orders/1 HTTP/1.1\r\n")
    assert found.plain.came == raw
    assert found.trace == trace_of(headers)


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
    assert senders(plain).trace == trace_of(plain.head.headers)
