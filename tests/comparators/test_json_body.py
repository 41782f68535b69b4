"""JSON bodies: the table of the module's docstring, paths and addresses, arrays, rules."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.api import BodyView
from comparators.json_body import COMPARATOR
from harness.core import limits
from harness.core.canon import Rule, RuleAction
from harness.core.labels import Kind
from tests.comparators.support import json_differences, kinds, mirrored, plain, use_of

NESTED = limits.JSON_DEPTH_MAX + 30


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (b'{"a":1, "b":2}', b'{ "b" : 2,\n"a":1 }', set()),
        (b'"\\u00fc"', '"ü"'.encode(), set()),
        (b"1e2", b"100.0", set()),
        (b"[0.0]", b"[-0.0]", set()),
        (b'{"x":[0.0,{"a":1}]}', b'{"x":[-0.0,{"a":1}]}', set()),
        (b"1", b"1.0", {("$", Kind.TYPE)}),
        (b'{"x":{"y":[1,2]}}', b'{"x":{"y":[1.0,2]}}', {("$.x.y[*]", Kind.TYPE)}),
        (b'[{"a":true}]', b'[{"a":1}]', {("$[*].a", Kind.TYPE)}),
        (b"123456789012345678901", b"123456789012345678902", {("$", Kind.VALUE)}),
        (b"18446744073709551616", b"18446744073709551616.0", {("$", Kind.TYPE)}),
        (b"[NaN]", b"[ NaN]", set()),
        (b'{"a":[NaN,{"b":NaN}]}', b'{"a":[NaN,{"b": NaN}]}', set()),
        (b"[NaN,1.5]", b"[1.5,NaN]", {("$", Kind.ORDER)}),
        (b"[NaN]", b"[null]", {("$[*]", Kind.NULL)}),
        (b"[NaN]", b"[1.0]", {("$[*]", Kind.FORMAT)}),
        (b'{"a":1,"a":2}', b'{"a":2}', {("$.a", Kind.DUPLICATE_KEY)}),
        (b'{"a":1,"a":{"b":2}}', b'{"a":{"b":3}}', {("$.a", Kind.DUPLICATE_KEY)}),
        (b'{"a":1,"a":2}', b'{"a":1,"a":3}', {("$.a", Kind.DUPLICATE_KEY)}),
        (b'{"a":1,"a":2}', b'{"a":1, "a":2}', set()),
        (b'{"a":2,"a":2}', b'{"a":2}', set()),
        (b'\xef\xbb\xbf{"a":1}', b'{"a":2}', {("$", Kind.FORMAT), ("$.a", Kind.VALUE)}),
        ('{"a":1}'.encode("utf-16"), b'{"a":1}', {("$", Kind.FORMAT)}),
        (b'{"a":"\xff"}', b'{"a":"x"}', {("$", Kind.MALFORMED)}),
        (b'{"a":"\xff"}', b'{"a":"\xfe"}', {("$.a", Kind.VALUE)}),
        (b'{"a":"\xff"}', b'{"a": "\xff"}', set()),
        (b"{", b"{}", {("$", Kind.MALFORMED)}),
        (b"<html>", b"<html><b>", {("$.line", Kind.VALUE)}),
        (b'{"a":"\\ud800"}', b'{"a":"\\ud801"}', {("$.a", Kind.VALUE)}),
        (b'{"\\ud800":1}', b'{"\\ud800":2}', {("$['\\\\ud800']", Kind.VALUE)}),
        (b"[" * NESTED + b"]" * NESTED, b"[" * NESTED + b"1" + b"]" * NESTED, {("$.line", Kind.VALUE)}),
        (b"[" * 5000 + b"]" * 5000, b"[" * 5000 + b"1" + b"]" * 5000, {("$.line", Kind.VALUE)}),
    ],
)
def test_the_table(left: bytes, right: bytes, expected: set[tuple[str, Kind]]) -> None:
    found = json_differences(left, right)
    assert kinds(found) == expected
    assert plain(json_differences(right, left)) == mirrored(found)


def test_deep_bodies_that_differ_near_the_top_are_compared_as_json() -> None:
    depth = limits.JSON_DEPTH_MAX + 20
    left, right = ([1, json.loads("[" * depth + "]" * depth)] for _ in range(2))
    right[0] = 2
    assert kinds(json_differences(left, right)) == {("$[*]", Kind.VALUE)}


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1, 2, 3], [3, 1, 2], {("$", Kind.ORDER)}),
        ([1, 2], [1, 2, 3], {("$", Kind.LENGTH)}),
        ([1, 2, 3], [0, 1, 2, 3], {("$", Kind.LENGTH)}),
        ([1, 2, 3, 4], [1, 9, 4], {("$", Kind.LENGTH), ("$[*]", Kind.VALUE)}),
        ([1, 1, 2], [1, 2, 2], {("$[*]", Kind.VALUE)}),
        ([1, True], [True, 1], {("$", Kind.ORDER)}),
        ([1, True], [1.0, True], {("$[*]", Kind.TYPE)}),
        ([[1, 2], [3]], [[2, 1], [3]], {("$[*]", Kind.ORDER)}),
        ([{"a": 1}, {"a": 2}], [{"a": 2}, {"a": 1}], {("$", Kind.ORDER)}),
        ([{"a": 1}, {"a": 2}], [{"a": 2}, {"a": 3}], {("$[*].a", Kind.VALUE)}),
        ({"a": None}, {}, {("$.a", Kind.MISSING)}),
        ({}, {"a": None}, {("$.a", Kind.EXTRA)}),
        ({"a": None}, {"a": 1}, {("$.a", Kind.NULL)}),
        ({"a": []}, {"a": {}}, {("$.a", Kind.TYPE)}),
        ({"100": {"n": 1}, "200": {"n": 1}}, {"100": {"n": 2}, "200": {"n": "1"}}, {("$.*.n", Kind.VALUE), ("$.*.n", Kind.TYPE)}),
        ({"a": {"b": 1}, "c": [{}]}, {"a": {"b": 1}, "c": [{}], "d": 1}, {("$.d", Kind.EXTRA)}),
    ],
)
def test_arrays_and_objects(left: Any, right: Any, expected: set[tuple[str, Kind]]) -> None:
    found = json_differences(left, right)
    assert kinds(found) == expected
    assert plain(json_differences(right, left)) == mirrored(found)


def test_the_first_occurrence_is_shown_and_the_others_counted() -> None:
    left = {"items": [{"price": {"amount": i}} for i in range(6)]}
    right = {"items": [{"price": {"amount": i + (i > 1)}} for i in range(6)]}
    (only,) = json_differences(left, right)
    assert (only.path, only.where, only.left, only.right, only.note) == (
        "$.items[*].price.amount",
        "$.items[2].price.amount",
        2,
        3,
        "and 3 more",
    )


RULE = RuleAction


@pytest.mark.parametrize(
    ("rules", "left", "right", "expected", "used"),
    [
        ([Rule(action=RULE.IGNORE, path="$.a")], {"a": 1, "b": 1}, {"b": 2}, {("$.b", Kind.VALUE)}, {0}),
        ([Rule(action=RULE.IGNORE, path="$.a")], {"a": {"x": 1}}, {"a": {"x": 2}}, set(), {0}),
        ([Rule(action=RULE.IGNORE, path="$.a")], {"a": 1, "b": 1}, {"a": 1, "b": 2}, {("$.b", Kind.VALUE)}, set()),
        (
            [Rule(action=RULE.IGNORE, path="$.by.123.n")],
            {"by": {"123": {"n": 1}, "456": {"n": 1}}},
            {"by": {"123": {"n": 2}, "456": {"n": 1}}},
            set(),
            {0},
        ),
        (
            [Rule(action=RULE.IGNORE, path="$..at")],
            [{"at": 1, "k": 1}, {"at": 2, "k": 2}],
            [{"at": 3, "k": 2}, {"at": 4, "k": 1}],
            {("$", Kind.ORDER)},
            None,
        ),
        ([Rule(action=RULE.IGNORE, path="$..at")], [{"at": 1, "k": 1}, {"at": 2, "k": 2}], [{"at": 3, "k": 1}], {("$", Kind.LENGTH)}, {0}),
        ([Rule(action=RULE.IGNORE, path="$[*]")], [1, 2], [1, 3], set(), {0}),
        ([Rule(action=RULE.INT_IS_FLOAT)], {"a": [1, 2]}, {"a": [2.0, 1]}, {("$.a", Kind.ORDER)}, None),
        ([Rule(action=RULE.INT_IS_FLOAT)], {"a": [1, 2]}, {"a": [1.0, 2]}, set(), {0}),
        ([Rule(action=RULE.FORMAT_ONLY, path="$.a")], {"a": [1, 2]}, {"a": [2, 1]}, set(), {0}),
        ([Rule(action=RULE.FORMAT_ONLY, path="$.a")], {"a": [1, 2]}, {"a": [1]}, set(), {0}),
        ([Rule(action=RULE.FORMAT_ONLY, path="$.a.**")], {"a": ["x", "y", None]}, {"a": ["p", "q", None]}, set(), {0}),
        ([Rule(action=RULE.NORMALISE, path="$[*]", pattern=r"\d")], ["a1", "b2"], ["b3", "a4"], {("$", Kind.ORDER)}, None),
        ([Rule(action=RULE.TOLERANCE, path="$[*]", absolute=1)], [1, 5], [2, 5], set(), {0}),
        ([Rule(action=RULE.UNORDERED, path="$.t")], {"t": [1, 2]}, {"t": [2, 1]}, set(), {0}),
        ([Rule(action=RULE.UNORDERED, path="$.t")], {"t": [1, 2]}, {"t": [1, 3]}, {("$.t[*]", Kind.VALUE)}, set()),
        ([Rule(action=RULE.UNORDERED, path="$.t")], {"t": [1, 2]}, {"t": [2]}, {("$.t", Kind.LENGTH)}, {0}),
        (
            [Rule(action=RULE.UNORDERED, path="$.x[*].t")],
            {"x": [{"t": [1, 2]}, {"t": [3]}]},
            {"x": [{"t": [3]}, {"t": [2, 1]}]},
            {("$.x", Kind.ORDER)},
            None,
        ),
        (
            [Rule(action=RULE.UNORDERED, path="$", key="id")],
            [{"id": 1, "v": 1}, {"id": 2, "v": 2}],
            [{"id": 2, "v": 3}, {"id": 1, "v": 1}],
            {("$[*].v", Kind.VALUE)},
            {0},
        ),
        (
            [Rule(action=RULE.UNORDERED, path="$", key="id")],
            [{"id": 1}, {"id": 2}],
            [{"id": 2}, {"id": 3}],
            {("$[*]", Kind.MISSING), ("$[*]", Kind.EXTRA)},
            {0},
        ),
        ([Rule(action=RULE.UNORDERED, path="$", key="id"), Rule(action=RULE.IGNORE, path="$[*]")], [{"id": 1}], [], set(), {0, 1}),
    ],
)
def test_rules(rules: list[Rule], left: Any, right: Any, expected: set[tuple[str, Kind]], used: set[int] | None) -> None:
    use = use_of(*rules)
    assert kinds(json_differences(left, right, use=use)) == expected
    assert used is None or use.used == used
    assert kinds(json_differences(right, left, use=use_of(*rules))) == {
        (p, {"missing": Kind.EXTRA, "extra": Kind.MISSING}.get(k, k)) for p, k in expected
    }


def test_a_rule_that_lets_the_recursion_grow_falls_back_to_text() -> None:
    depth = limits.JSON_DEPTH_MAX - 1
    left, right = b"[" * depth + b"1,2" + b"]" * depth, b"[" * depth + b"1,3" + b"]" * depth
    found = json_differences(left, right, Rule(action=RuleAction.UNORDERED))
    assert found


def test_a_body_is_parsed_once_for_all_its_pairs() -> None:
    one, other = BodyView(b'{"a":1}'), BodyView(b'{"a":2}')
    list(COMPARATOR.compare(one, other, use_of()))
    kept = one.memo["json"]
    list(COMPARATOR.compare(one, BodyView(b'{"a":3}'), use_of()))
    assert one.memo["json"] is kept


def test_media_types() -> None:
    assert COMPARATOR.matches("application/json")
    assert COMPARATOR.matches("application/problem+json")
    assert not COMPARATOR.matches("text/html")


MESS = st.text('[]{}",:01.eE-+ntfaluNIi \\ü', max_size=30).map(str.encode) | st.binary(max_size=30)


@given(MESS, MESS)
def test_any_two_bodies_have_a_symmetric_result(left: bytes, right: bytes) -> None:
    found = json_differences(left, right)
    assert mirrored(found) == plain(json_differences(right, left))
    if left == right:
        assert found == ()
