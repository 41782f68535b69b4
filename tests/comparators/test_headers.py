"""Which header fields count at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.headers import VOLATILE, names_apart
from harness.core.canon import Rule, RuleAction
from harness.core.http import HOP_BY_HOP
from harness.core.labels import Aspect, Kind
from harness.core.values import Headers
from tests.comparators.support import compared, exchange, header_differences, kinds, mirrored, plain, with_response


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP | VOLATILE.keys()))
def test_what_does_not_count(name: str) -> None:
    assert header_differences(((name.title(), "a"),), ()) == set()
    assert VOLATILE.get(name, "hop-by-hop")


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ((("Server", "a"),), (("server", "a"),), set()),
        ((("Server", "a"),), (), {("server", Kind.MISSING)}),
        ((), (("X-New", "a"),), {("x-new", Kind.EXTRA)}),
        ((("X-A", "1"), ("X-B", "2")), (("X-B", "2"), ("X-A", "1")), set()),
        ((("X-A", "1"), ("X-A", "2")), (("X-A", "2"), ("X-A", "1")), {("x-a", Kind.VALUE)}),
        ((("Content-Length", "5"),), (("Content-Length", "6"),), set()),
    ],
)
def test_fields(left: Headers, right: Headers, expected: set[tuple[str, Kind]]) -> None:
    assert header_differences(left, right) == expected


def test_content_length_counts_only_where_no_body_is_compared() -> None:
    one, other = (exchange(b"", ("Content-Length", length), method="HEAD") for length in ("5", "6"))
    assert kinds(compared(one, other)) == {("content-length", Kind.VALUE)}
    coded = exchange(b"", ("Content-Length", "6"), ("Content-Encoding", "gzip"), method="HEAD")
    assert kinds(compared(one, coded)) == {("content-encoding", Kind.EXTRA)}


def test_trailers() -> None:
    left, right = (with_response(exchange(b"x"), trailers=(("Grpc-Status", status), ("Date", status))) for status in ("0", "13"))
    assert kinds(compared(left, right)) == {("trailers.grpc-status", Kind.VALUE)}
    assert kinds(compared(left, exchange(b"x"))) == {("trailers.grpc-status", Kind.MISSING)}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(action=RuleAction.IGNORE, aspect=Aspect.HEADERS, path="X-Build"), set()),
        (Rule(action=RuleAction.IGNORE, aspect=Aspect.HEADERS, path="x-*"), set()),
        (Rule(action=RuleAction.IGNORE, aspect=Aspect.HEADERS), set()),
        (Rule(action=RuleAction.FORMAT_ONLY, aspect=Aspect.HEADERS, path="x-build"), set()),
        (Rule(action=RuleAction.NORMALISE, aspect=Aspect.HEADERS, path="x-build", pattern="[0-9]+"), set()),
        (Rule(action=RuleAction.IGNORE, aspect=Aspect.BODY), {("x-build", Kind.VALUE)}),
    ],
)
def test_rules(rule: Rule, expected: set[tuple[str, Kind]]) -> None:
    assert header_differences((("X-Build", "v1"),), (("X-Build", "v2"),), rule) == expected


NAMES = st.sampled_from(["Vary", "Set-Cookie", "Location", "Link", "Cache-Control", "ETag", "Expires", "Content-Type", "X-Any", "Date"])
VALUES = st.text('ab12,;="<>/?#&: \\üW', max_size=20)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5).map(tuple)


@given(HEADERS, HEADERS)
def test_any_headers_have_a_symmetric_result(left: Headers, right: Headers) -> None:
    one, other = exchange(b"", *left), exchange(b"", *right)
    found = compared(one, other)
    assert not any(d.kind is Kind.UNCOMPARABLE for d in found)
    assert plain(compared(other, one)) == mirrored(found)


FEW_HEADERS = st.lists(st.tuples(st.sampled_from(["Date", "date", "X-A", "X-B"]), st.sampled_from(["1", "2"])), max_size=5).map(tuple)


@given(FEW_HEADERS, FEW_HEADERS)
def test_a_field_that_is_not_named_has_the_same_values(left: Headers, right: Headers) -> None:
    apart = names_apart(left, right)
    assert apart == names_apart(right, left)
    assert names_apart(left, left) == set()

    def rest(headers: Headers) -> dict[str, list[str]]:
        names = {name.lower() for name, _ in headers} - apart
        return {wanted: [value for name, value in headers if name.lower() == wanted] for wanted in names}

    assert rest(left) == rest(right)
