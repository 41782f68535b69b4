"""Whole exchanges: what is compared with what, and that nothing stops a run."""

import gzip
import json
from collections.abc import Iterable
from typing import Any

import brotli
import msgspec
import pytest
import zstandard
from hypothesis import given

from comparators.api import BodyView, RuleUse
from comparators.exchange import Side, compare_exchanges, sniffed
from comparators.plan import build_plan
from harness.core import limits
from harness.core.canon import Rule, RuleAction, rule_problems
from harness.core.labels import Aspect, ErrorKind, Kind
from harness.core.values import Body, Difference, Exchange, Request, TransportError
from tests.comparators.support import compared, encoded, exchange, kinds, mirrored, pairs, plain, plan_of, typed, with_response

JSON = "application/json"


def labelled(differences: Iterable[Difference]) -> set[tuple[Aspect, str, Kind]]:
    return {(d.aspect, d.path, d.kind) for d in differences}


def both_ways(left: Exchange, right: Exchange, *rules: Rule) -> set[tuple[Aspect, str, Kind]]:
    found = compared(left, right, *rules)
    assert plain(compared(right, left, *rules)) == mirrored(found)
    return labelled(found)


def test_equal_exchanges() -> None:
    assert compared(typed(JSON, b"{}"), typed(JSON, b"{}")) == ()


def test_an_error_ends_the_comparison() -> None:
    failed = Exchange(request=Request("GET", "/"), error=TransportError(ErrorKind.TIMEOUT))
    assert both_ways(typed(JSON, b"{}"), failed) == {(Aspect.TRANSPORT, "$", Kind.ERROR)}
    assert both_ways(failed, failed) == set()
    half = msgspec.structs.replace(typed(JSON, b"{}"), error=TransportError(ErrorKind.RESET))
    assert both_ways(typed(JSON, b"{}"), half) == {(Aspect.TRANSPORT, "$", Kind.ERROR)}
    ignored = Rule(action=RuleAction.IGNORE, aspect=Aspect.TRANSPORT)
    assert both_ways(typed(JSON, b"{}"), failed, ignored) == set()


def test_every_aspect_is_compared() -> None:
    found = both_ways(typed(JSON, b'{"a":1}', ("X-A", "1")), typed(JSON, b'{"a":2}', ("X-A", "2"), status=201))
    assert found == {(Aspect.STATUS, "$", Kind.CODE), (Aspect.HEADERS, "x-a", Kind.VALUE), (Aspect.BODY, "$.a", Kind.VALUE)}
    assert both_ways(typed(JSON, b"{}"), typed(JSON, b"{}", status=201), Rule(action=RuleAction.IGNORE, aspect=Aspect.STATUS)) == set()


def test_an_answer_of_another_class_is_another_document() -> None:
    left, right = typed(JSON, b'{"a":1}', ("X-A", "1")), typed(JSON, b'{"error":"no"}', ("X-A", "2"), status=500)
    assert both_ways(left, right) == {(Aspect.STATUS, "$", Kind.CODE)}
    tolerated = Rule(action=RuleAction.IGNORE, aspect=Aspect.STATUS)
    below = {(Aspect.HEADERS, "x-a", Kind.VALUE), (Aspect.BODY, "$.a", Kind.MISSING), (Aspect.BODY, "$.error", Kind.EXTRA)}
    assert both_ways(left, right, tolerated) == below, "who accepts the status has the rest compared"


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (typed(JSON, b"{}"), typed("application/problem+json", b'{"a":1}'), {("content-type", Kind.MEDIA_TYPE), ("$.a", Kind.EXTRA)}),
        (typed(JSON, b"{}"), typed("text/html", b"<p>"), {("content-type", Kind.MEDIA_TYPE), ("$", Kind.MEDIA_TYPE)}),
        (typed("image/png", b"a"), typed("image/gif", b"b"), {("content-type", Kind.MEDIA_TYPE), ("$", Kind.MEDIA_TYPE)}),
        (typed("image/png", b"a"), typed("image/png", b"b"), {("$", Kind.VALUE)}),
        (typed("text/html", b"a"), typed("text/plain", b"b"), {("content-type", Kind.MEDIA_TYPE), ("$.line", Kind.VALUE)}),
        (exchange(b'{"a":1}'), exchange(b'{"a":2}'), {("$.a", Kind.VALUE)}),
        (exchange(b"{nope"), exchange(b"{nope!"), {("$.line", Kind.VALUE)}),
        (exchange(b"\xff\x00"), exchange(b"\xff\x01"), {("$", Kind.VALUE)}),
        (typed(JSON, b'{"a":1}'), exchange(b'{"a":2}'), {("content-type", Kind.MISSING), ("$.a", Kind.VALUE)}),
        (typed(JSON, b'{"a":1}'), typed(JSON, b""), {("$", Kind.MISSING)}),
        (typed("text/plain", b"ab"), typed("text/plain", b""), {("$", Kind.MISSING)}),
        (typed(JSON, b"1"), typed("text/plain", b"1"), {("content-type", Kind.MEDIA_TYPE), ("$", Kind.MEDIA_TYPE)}),
        (typed(JSON, b""), typed("text/plain", b""), {("content-type", Kind.MEDIA_TYPE)}),
    ],
)
def test_media_types(left: Exchange, right: Exchange, expected: set[tuple[str, Kind]]) -> None:
    assert {(path, kind) for _, path, kind in both_ways(left, right)} == expected


@pytest.mark.parametrize("left", [exchange(b"a", method="HEAD"), exchange(b"a", status=204), exchange(b"a", status=304)])
def test_answers_without_a_body(left: Exchange) -> None:
    assert both_ways(left, with_response(left, body=Body(b"b", 1))) == set()


CODERS: dict[str, Any] = {"gzip": gzip.compress, "br": brotli.compress, "zstd": zstandard.compress}


@pytest.mark.parametrize("name", CODERS)
def test_a_content_coding_is_no_difference_of_the_body(name: str) -> None:
    coded = typed(JSON, CODERS[name](b'{"a":1}'), ("Content-Encoding", name))
    assert both_ways(typed(JSON, b'{"a":1}'), coded) == {(Aspect.HEADERS, "content-encoding", Kind.EXTRA)}
    other = typed(JSON, CODERS[name](b'{"a":2}'), ("Content-Encoding", name))
    assert both_ways(coded, other) == {(Aspect.BODY, "$.a", Kind.VALUE)}


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (("gzip", b"garbage"), ("gzip", gzip.compress(b"a")), Kind.MALFORMED),
        (("gzip", b"garbage"), ("gzip", b"rubbish"), Kind.VALUE),
        (("odd", b"a"), ("odd", b"b"), Kind.VALUE),
        (("odd", b"a"), ("gzip", gzip.compress(b"a")), Kind.MEDIA_TYPE),
        (("odd", gzip.compress(b"a")), ("odd, identity", gzip.compress(b"a")), None),
        (("gzip", gzip.compress(b"")), ("gzip", gzip.compress(b"", 1, mtime=5)), None),
    ],
)
def test_broken_and_unknown_codings(left: tuple[str, bytes], right: tuple[str, bytes], expected: Kind | None) -> None:
    one, other = (typed("text/plain", data, ("Content-Encoding", name)) for name, data in (left, right))
    found = {kind for aspect, _, kind in both_ways(one, other) if aspect is Aspect.BODY}
    assert found == (set() if expected is None else {expected})


def cut(data: bytes, size: int, digest: str = "d") -> Exchange:
    return with_response(typed(JSON, b""), body=Body(data, size, digest))


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (cut(b'{"a":[1,', 900, "x"), cut(b'{"a":[1,', 900, "x"), set()),
        (cut(b'{"a":[1,', 900, "x"), cut(b'{"a":[1,', 900, "y"), {("$", Kind.VALUE)}),
        (cut(b'{"a":[1,', 900), cut(b'{"a":[1,', 9_000), {("$", Kind.LENGTH)}),
        (cut(b'{"a":[1,', 900), cut(b'{"a":[2,', 900), {("$.line", Kind.VALUE)}),
        (cut(b'{"a":[1,', 900), typed(JSON, b'{"a":[2]}'), {("$.line", Kind.VALUE), ("$", Kind.LENGTH)}),
    ],
)
def test_truncated_bodies(left: Exchange, right: Exchange, expected: set[tuple[str, Kind]]) -> None:
    assert {(path, kind) for _, path, kind in both_ways(left, right)} == expected


def test_truncated_coded_bodies_are_compared_by_their_beginning() -> None:
    whole = json.dumps({"n": list(range(3_000))}).encode()
    first, second = (gzip.compress(whole, level) for level in (1, 9))
    headers = (("Content-Type", JSON), ("Content-Encoding", "gzip"))
    one, other = (
        with_response(exchange(), headers=headers, body=Body(data[:2_000], len(data), str(len(data)))) for data in (first, second)
    )
    assert both_ways(one, other) == set()


def test_a_body_beyond_the_decoded_bound_is_compared_by_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DECODED_BODY_BYTES_MAX", 10)
    one, other = (typed("text/plain", gzip.compress(b"x" * 20 + end), ("Content-Encoding", "gzip")) for end in (b"a", b"b"))
    assert both_ways(one, other) == set()
    third = typed("text/plain", gzip.compress(b"y" * 20), ("Content-Encoding", "gzip"))
    assert both_ways(one, third) == {(Aspect.BODY, "$.line", Kind.VALUE)}


class Odd:
    """A plug-in that takes one type and fails, or returns what a rule forgives."""

    name = "odd"
    version = 3
    priority = 30

    def __init__(self, found: tuple[Difference, ...] | None = None) -> None:
        self.found = found

    def matches(self, media_type: str) -> bool:
        return media_type == "application/odd"

    def compare(self, left: BodyView, right: BodyView, rules: RuleUse) -> Iterable[Difference]:
        if self.found is None:
            raise RuntimeError("a secret")
        return self.found


def test_a_comparator_that_raises_is_named_and_the_others_go_on() -> None:
    plan = build_plan((), (Odd(),)).for_endpoint("GET /")
    found = compare_exchanges(typed("application/odd", b"a", ("X-A", "1")), typed("application/odd", b"b", ("X-A", "2")), plan)
    assert labelled(found) == {(Aspect.HEADERS, "x-a", Kind.VALUE), (Aspect.BODY, "$", Kind.UNCOMPARABLE)}
    assert found[-1].note == "comparator `odd` failed: RuntimeError"


@pytest.mark.parametrize(
    ("rules", "expected", "used"),
    [
        ((), {("$.x.y", Kind.VALUE), ("$.z", Kind.TYPE)}, set()),
        ((Rule(action=RuleAction.IGNORE, path="$.x"),), {("$.z", Kind.TYPE)}, {0}),
        ((Rule(action=RuleAction.FORMAT_ONLY),), {("$.z", Kind.TYPE)}, {0}),
    ],
)
def test_rules_work_on_what_a_plug_in_returns(rules: tuple[Rule, ...], expected: set[tuple[str, Kind]], used: set[int]) -> None:
    odd = Odd((Difference(Aspect.BODY, "$.x.y", Kind.VALUE), Difference(Aspect.BODY, "$.z", Kind.TYPE)))
    seen: set[int] = set()
    plan = build_plan(rules, (odd,)).for_endpoint("GET /")
    assert kinds(compare_exchanges(typed("application/odd", b"a"), typed("application/odd", b"b"), plan, seen)) == expected
    assert seen == used


def test_nothing_compares_a_type_that_no_comparator_takes() -> None:
    plan = build_plan((), ()).for_endpoint("GET /")
    assert kinds(compare_exchanges(typed("x/y", b"a"), typed("x/y", b"b"), plan)) == {("$", Kind.MEDIA_TYPE)}


def test_the_number_of_differences_is_bounded() -> None:
    left = {f"k{i}x": i for i in range(1_000)}
    right = {f"k{i}x": i + 1 for i in range(1_000)}
    found = compared(typed(JSON, encoded(left)), typed(JSON, encoded(right), status=201))
    assert len(found) == limits.DIFFERENCES_PER_PAIR_MAX
    assert found[0].aspect is Aspect.STATUS
    assert "left out" in found[-1].note


@given(pairs())
def test_symmetric(pair: tuple[Any, Any]) -> None:
    both_ways(typed(JSON, encoded(pair[0])), typed(JSON, encoded(pair[1])))


def test_a_side_without_an_answer_has_an_empty_body() -> None:
    side = Side(Exchange(request=Request("GET", "/")))
    assert side.answer is None
    assert not side.has_body
    assert side.decoded().data == b""
    assert side.view().data == b""


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b' {"a":1}', JSON),
        (b"[1", "text/plain"),
        (b"hello", "text/plain"),
        (b"\xff", "application/octet-stream"),
        (b"a\x00b", "application/octet-stream"),
    ],
)
def test_sniffing(data: bytes, media_type: str) -> None:
    assert sniffed(data) == media_type


def test_the_plan_of_an_endpoint_is_found_again() -> None:
    plan = plan_of()
    first = plan.comparator_for(JSON)
    assert first is not None
    assert first is plan.comparator_for(JSON)


def test_a_path_beyond_its_bound_is_looked_up_in_rules_too() -> None:
    """It ends in the middle of a quoted key."""

    def nested(value: Any) -> bytes:
        for _ in range(6):
            value = {"it's " * 20: value}
        return json.dumps(value).encode()

    ignored = Rule(action=RuleAction.IGNORE, path="$.x")
    (found,) = compared(typed("application/json", nested(1)), typed("application/json", nested(2)), ignored)
    assert len(found.path) == limits.PATH_CHARS_MAX
    assert found.path.endswith("…")
    assert rule_problems(Rule(action=RuleAction.IGNORE, path=found.path)), "no path that could be read as it stands"
