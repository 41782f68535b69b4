"""Urlencoded forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.api import BodyView
from comparators.form import COMPARATOR
from harness.core.canon import Rule, RuleAction
from harness.core.labels import Kind
from tests.comparators.support import kinds, mirrored, plain, use_of


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (b"a=1&b=2", b"b=2&a=1", set()),
        (b"a=x+y", b"a=x%20y", set()),
        (b"a=1", b"a=1\r\n", set()),
        (b"a=1", b"a=2", {("$.a", Kind.VALUE)}),
        (b"a=1", b"a=", {("$.a", Kind.FORMAT)}),
        (b"a=", b"", {("$.a", Kind.MISSING)}),
        (b"a=1&a=2", b"a=2&a=1", {("$.a", Kind.ORDER)}),
        (b"a=1&a=2", b"a=1", {("$.a", Kind.LENGTH)}),
        (b"a=%ff", b"a=%fe", {("$.a", Kind.VALUE)}),
        (b"a.b=1", b"a.b=2", {("$['a.b']", Kind.VALUE)}),
    ],
)
def test_fields(left: bytes, right: bytes, expected: set[tuple[str, Kind]]) -> None:
    found = tuple(COMPARATOR.compare(BodyView(left), BodyView(right), use_of()))
    assert kinds(found) == expected
    assert plain(COMPARATOR.compare(BodyView(right), BodyView(left), use_of())) == mirrored(found)


def test_rules() -> None:
    use = use_of(Rule(action=RuleAction.IGNORE, path="$.token"))
    assert not tuple(COMPARATOR.compare(BodyView(b"token=1"), BodyView(b"token=2"), use))
    assert use.used == {0}


def test_media_type() -> None:
    assert COMPARATOR.matches("application/x-www-form-urlencoded")
    assert not COMPARATOR.matches("multipart/form-data")


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_symmetric_for_any_bytes(left: bytes, right: bytes) -> None:
    found = tuple(COMPARATOR.compare(BodyView(left), BodyView(right), use_of()))
    assert plain(COMPARATOR.compare(BodyView(right), BodyView(left), use_of())) == mirrored(found)
