"""Unordered matching: which elements belong together."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.json_parse import flat_plain
from comparators.matching import match
from harness.core import limits
from harness.core.canon import Rule, RuleAction
from tests.comparators.support import DOCUMENTS, use_of


def matched(left: list[Any], right: list[Any], key: str | None = None, *rules: Rule) -> tuple[set[tuple[int, int]], list[int], list[int]]:
    use = use_of(Rule(action=RuleAction.UNORDERED, path="$", key=key), *rules)
    pairs, alone_left, alone_right = match(left, right, use.root, use, flat_plain)
    return set(pairs), alone_left, alone_right


@pytest.mark.parametrize(
    ("left", "right", "key", "expected"),
    [
        ([1, 2, 3], [3, 1, 2], None, ({(0, 1), (1, 2), (2, 0)}, [], [])),
        ([1, 1, 2], [1, 2, 2], None, ({(0, 0), (2, 1), (1, 2)}, [], [])),
        ([1], [1, 5], None, ({(0, 0)}, [], [1])),
        ([{"id": 1}, {"id": 2}], [{"id": 2}, {"id": 3}], "id", ({(1, 0)}, [0], [1])),
        ([{"id": 1, "v": 1}, {"id": 1, "v": 2}], [{"id": 1, "v": 3}], "id", ({(0, 0)}, [1], [])),
        ([{"id": 1}, 7], [7, {"id": 1}], "id", ({(0, 1), (1, 0)}, [], [])),
    ],
)
def test_pairs(left: list[Any], right: list[Any], key: str | None, expected: tuple[set[tuple[int, int]], list[int], list[int]]) -> None:
    assert matched(left, right, key) == expected


def test_structured_elements_are_paired_by_likeness() -> None:
    left = [{"name": "ann", "city": "rome", "age": 1, "zip": 5}, {"name": "bob", "city": "oslo", "age": 2, "zip": 6}]
    right = [{"name": "bob", "city": "oslo", "age": 3, "zip": 6}, {"name": "ann", "city": "rome", "age": 1, "zip": 7}]
    assert matched(left, right) == ({(0, 1), (1, 0)}, [], [])


def test_what_a_rule_ignores_does_not_keep_elements_apart() -> None:
    rule = Rule(action=RuleAction.IGNORE, path="$[*].at")
    left, right = [{"k": 1, "at": 5}, {"k": 2, "at": 6}], [{"k": 2, "at": 7}, {"k": 1, "at": 8}]
    assert matched(left, right, None, rule) == ({(0, 1), (1, 0)}, [], [])


def test_many_elements_without_a_partner_are_paired_in_canonical_order() -> None:
    count = limits.UNORDERED_PAIRS_MAX + 6
    left, right = [{"k": i} for i in range(100, 100 + count)], [{"k": i} for i in reversed(range(300, 300 + count))]
    pairs, alone_left, alone_right = matched(left, right)
    assert pairs == {(i, count - 1 - i) for i in range(count)}
    assert alone_left == alone_right == []


@given(st.lists(DOCUMENTS, max_size=5), st.lists(DOCUMENTS, max_size=5), st.sampled_from([None, "id"]))
def test_swapping_the_sides_keeps_the_pairs(left: list[Any], right: list[Any], key: str | None) -> None:
    pairs, alone_left, alone_right = matched(left, right, key)
    texts = {(flat_plain(left[i]), flat_plain(right[j])) for i, j in pairs}
    back, back_left, back_right = matched(right, left, key)
    assert {(flat_plain(left[i]), flat_plain(right[j])) for j, i in back} == texts
    assert (len(back_left), len(back_right)) == (len(alone_right), len(alone_left))
    assert sorted([i for i, _ in pairs] + alone_left) == list(range(len(left)))
    assert sorted([j for _, j in pairs] + alone_right) == list(range(len(right)))
    if key is None:
        assert not (alone_left and alone_right)
