"""Traces of live requests: given where there is none, left alone where there is one, and found again."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Role
from harness.core.plain import PlainAnswer, PlainExchange
from harness.core.trace import TRACING_HEADERS, parse_traceparent, span_of, trace_of, with_trace
from harness.core.values import Exchange, Request
from harness.proxy.plain import field_lines, plain_request
from harness.proxy.tracing import Tracing, carries_tracing, fields_instead, trace_fields, untraced

HEAD = b"GET /orders/1 HTTP/1.1\r\nHost: shop.test\r\nAccept: */*\r\n\r\n"


def sent(head: bytes) -> PlainExchange:
    return PlainExchange(head, PlainAnswer(b"", 0, True, ()), 0, 0, 0)


def fields(head: bytes) -> tuple[tuple[str, str], ...]:
    lines = head.decode().split("\r\n")[1:-2]
    return tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))


def test_a_request_without_tracing_gets_a_trace_that_is_found_again() -> None:
    tracing = Tracing(Random(1))
    traced = tracing.traced(HEAD)
    assert traced.startswith(HEAD[:-2])
    assert traced.endswith(b"\r\n\r\n")
    trace = tracing.given(sent(traced))
    assert trace_of(fields(traced)) == trace
    parsed = parse_traceparent(dict(fields(traced))["traceparent"])
    assert parsed == (trace, span_of(trace, Role.STABLE))


@pytest.mark.parametrize("name", sorted(TRACING_HEADERS))
def test_a_request_with_tracing_of_its_own_stays_as_it_came(name: str) -> None:
    for written in (name, name.title(), name.upper()):
        head = HEAD[:-2] + f"{written}: x\r\n\r\n".encode()
        assert Tracing(Random(1)).traced(head) == head
        assert Tracing(Random(1)).given(sent(head)) == ""
        assert carries_tracing(fields(head))
        assert Tracing(Random(1)).fields(fields(head)) == ()


def test_names_that_only_begin_or_end_alike_are_none_of_tracing() -> None:
    head = HEAD[:-2] + b"x-traceparent: 1\r\ntraceparent-x: 1\r\nX-Note: traceparent: 1\r\n\r\n"
    tracing = Tracing(Random(1))
    assert tracing.given(sent(tracing.traced(head)))


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
        assert tracing.given(sent(forged)) == ""
    other = Tracing(Random(7)).traced(HEAD)
    assert tracing.given(sent(other)) == "", "another process's"


NAMES = sorted(TRACING_HEADERS | {"accept", "x-b3", "traceparent-x", "x-note", "cookie"})
FIELDS = st.lists(st.tuples(st.sampled_from([*NAMES, *map(str.title, NAMES)]), st.from_regex(r"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)))


@given(FIELDS, st.booleans())
def test_shadows_get_the_same_fields_whether_the_request_was_plain_or_not(listed: list[tuple[str, str]], keep: bool) -> None:
    raw = HEAD[:-2] + "".join(f"{name}: {value}\r\n" for name, value in listed).encode() + b"\r\n"
    plain = plain_request(raw)
    assert plain is not None
    headers, trace = plain.head.headers, "5" * 32
    written = untraced(plain, keep=keep).raw[:-2] + field_lines(fields_instead(headers, trace, Role.CANDIDATE)) + b"\r\n"
    assert fields(written) == with_trace(headers, trace, Role.CANDIDATE, keep=keep)
    assert written.startswith(b"GET /orders/1 HTTP/1.1\r\n")
    assert untraced(plain).came == raw
