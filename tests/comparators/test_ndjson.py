"""JSON lines and sequences."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.api import BodyView
from comparators.ndjson import COMPARATOR
from harness.core import limits
from harness.core.canon import Rule, RuleAction
from harness.core.labels import Kind
from tests.comparators.support import kinds, mirrored, pairs, plain, use_of


def differences(left: bytes, right: bytes, *rules: Rule, media_type: str = "application/x-ndjson") -> tuple[Any, ...]:
    return tuple(COMPARATOR.compare(BodyView(left, media_type), BodyView(right, media_type), use_of(*rules)))


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (b'{"a":1}\n{"b":2}\n', b'{"a": 1}\r\n\r\n{"b":2}', set()),
        (b'{"a":1}\n', b'{"a":2}\n', {("$[*].a", Kind.VALUE)}),
        (b"1\n2\n", b"2\n1\n", {("$", Kind.ORDER)}),
        (b"1\n2\n", b"1\n", {("$", Kind.LENGTH)}),
        (b"1\n{\n", b"1\n2\n", {("$[*]", Kind.MALFORMED)}),
        (b"{\n", b"[\n", {("$[*]", Kind.VALUE)}),
        (b"NaN\n1\n", b"NaN\n2\n", {("$[*]", Kind.VALUE)}),
        (b"\xef\xbb\xbf1\n", b"1\n", set()),
        (b"[" * 9000 + b"]" * 9000 + b"\n1", b"2\n1", {("$.line", Kind.FORMAT)}),
    ],
)
def test_lines(left: bytes, right: bytes, expected: set[tuple[str, Kind]]) -> None:
    found = differences(left, right)
    assert kinds(found) == expected
    assert plain(differences(right, left)) == mirrored(found)


def test_deep_lines_that_differ_at_the_bottom() -> None:
    depth = limits.JSON_DEPTH_MAX + 10
    left, right = (b"[" * depth + digit + b"]" * depth for digit in (b"1", b"2"))
    assert kinds(differences(left, right)) == {("$.line", Kind.VALUE)}


def test_records() -> None:
    left, right = b'\x1e{"a":1}\n\x1e{"b":\n2}\n', b'\x1e{"a":1}\n\x1e{"b":3}\n'
    assert kinds(differences(left, right, media_type="application/json-seq")) == {("$[*].b", Kind.VALUE)}


def test_where_and_rules() -> None:
    (only,) = differences(b'{"a":1}\n{"a":1}\n', b'{"a":1}\n{"a":2}\n')
    assert only.where == "$[1].a"
    assert not differences(b'{"a":1}\n', b'{"a":2}\n', Rule(action=RuleAction.IGNORE, path="$[*].a"))


def test_media_types() -> None:
    assert COMPARATOR.matches("application/jsonl")
    assert COMPARATOR.matches("application/json-seq")
    assert not COMPARATOR.matches("application/json")


@given(st.lists(pairs(), max_size=4))
def test_symmetric(documents: list[tuple[Any, Any]]) -> None:
    left, right = (b"\n".join(json.dumps(pair[side]).encode() for pair in documents) for side in (0, 1))
    assert plain(differences(right, left)) == mirrored(differences(left, right))
