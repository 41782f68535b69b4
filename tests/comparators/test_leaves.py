"""Leaves: the coarsest difference of two values, and what each rule forgives."""

import math
from typing import Any

import pytest

from comparators.leaves import leaf_difference, ruled_difference
from harness.core.canon import Rule, RuleAction
from harness.core.labels import Kind
from tests.comparators.support import use_of


@pytest.mark.parametrize(
    ("left", "right", "kind"),
    [
        (1, 1, None),
        (1, 1.0, Kind.TYPE),
        (1, True, Kind.TYPE),
        (0, False, Kind.TYPE),
        (1, "1", Kind.TYPE),
        ([], {}, Kind.TYPE),
        (None, 0, Kind.NULL),
        ({}, None, Kind.NULL),
        (None, None, None),
        (True, False, Kind.VALUE),
        (0.0, -0.0, None),
        (1.5, 2.5, Kind.VALUE),
        (math.nan, math.nan, None),
        (math.inf, math.inf, None),
        (math.nan, math.inf, Kind.FORMAT),
        (math.nan, 1.5, Kind.FORMAT),
        (math.inf, -math.inf, Kind.FORMAT),
        (10**400, 10**400 + 1, Kind.VALUE),
        (1_714_979_289, 1_714_979_289_000, Kind.FORMAT),
        ("a", "b", Kind.VALUE),
        ("a", "", Kind.FORMAT),
        ("short", "x" * 100, Kind.LENGTH),
        ("a", "abcd", Kind.VALUE),
        ("x" * 20, "y" * 40, Kind.VALUE),
    ],
)
def test_two_leaves(left: Any, right: Any, kind: Kind | None) -> None:
    for found in (leaf_difference(left, right), leaf_difference(right, left)):
        assert (found[0] if found else None) == kind


def rule(action: RuleAction, **fields: Any) -> Rule:
    return Rule(action=action, path="$", **fields)


TOLERANCE = RuleAction.TOLERANCE


@pytest.mark.parametrize(
    ("rules", "left", "right", "kind", "used"),
    [
        ([rule(RuleAction.IGNORE)], 1, "x", None, {0}),
        ([rule(RuleAction.INT_IS_FLOAT)], 1, 1.0, None, {0}),
        ([rule(RuleAction.INT_IS_FLOAT)], 1, 1.5, Kind.VALUE, {0}),
        ([rule(RuleAction.INT_IS_FLOAT)], 1, True, Kind.TYPE, set()),
        ([rule(TOLERANCE, absolute=0.5)], 1.0, 1.5, None, {0}),
        ([rule(TOLERANCE, absolute=0.5)], 1, 1.25, None, {0}),
        ([rule(TOLERANCE, absolute=0.5)], 1.0, 1.6, Kind.VALUE, set()),
        ([rule(TOLERANCE, relative=0.1)], 100, 109, None, {0}),
        ([rule(TOLERANCE, relative=0.1)], 100, 112, Kind.VALUE, set()),
        ([rule(TOLERANCE, absolute=9e9)], True, 2, Kind.TYPE, set()),
        ([rule(TOLERANCE, absolute=9e9)], math.inf, 1.5, Kind.FORMAT, set()),
        ([rule(TOLERANCE, relative=0.1)], 10**400, 1.5, Kind.TYPE, set()),
        ([rule(TOLERANCE, absolute=9e9)], "1", "2", Kind.VALUE, set()),
        ([rule(TOLERANCE, seconds=2)], "2024-05-06T07:08:09Z", "2024-05-06T07:08:11Z", None, {0}),
        ([rule(TOLERANCE, seconds=2)], "2024-05-06T07:08:09Z", "2024-05-06T09:08:09+02:00", None, {0}),
        ([rule(TOLERANCE, seconds=2)], "2024-05-06T07:08:09Z", "2024-05-06T07:08:12Z", Kind.VALUE, set()),
        ([rule(TOLERANCE, seconds=2)], 1_714_979_289, 1_714_979_290, None, {0}),
        ([rule(TOLERANCE, seconds=2)], 1_714_979_289, 1_714_979_289_000, Kind.FORMAT, set()),
        ([rule(TOLERANCE, absolute=0.1), rule(TOLERANCE, relative=0.5)], 10, 14, None, {1}),
        ([rule(RuleAction.FORMAT_ONLY)], "a", "b", None, {0}),
        ([rule(RuleAction.FORMAT_ONLY)], "a", "x" * 100, None, {0}),
        ([rule(RuleAction.FORMAT_ONLY)], "a", "2024-05-06", Kind.FORMAT, set()),
        ([rule(RuleAction.FORMAT_ONLY)], 1, "x", Kind.TYPE, set()),
        ([rule(RuleAction.NORMALISE, pattern=r"\d+", replace="N")], "order 1", "order 2", None, {0}),
        ([rule(RuleAction.NORMALISE, pattern=r"\d+", replace="N")], "order 1", "basket 2", Kind.VALUE, {0}),
        ([rule(RuleAction.NORMALISE, pattern=r"\d+")], 1, 2, Kind.VALUE, set()),
        ([rule(RuleAction.NORMALISE, pattern="x")], "a", "b", Kind.VALUE, set()),
        ([], 1, 2, Kind.VALUE, set()),
    ],
)
def test_leaves_under_rules(rules: list[Rule], left: Any, right: Any, kind: Kind | None, used: set[int]) -> None:
    for a, b in ((left, right), (right, left)):
        use = use_of(*rules)
        found = ruled_difference(a, b, use.root, use)
        assert (found[0] if found else None) == kind
        assert use.used == used


def test_no_rule_is_used_where_nothing_differs() -> None:
    use = use_of(rule(RuleAction.IGNORE), rule(RuleAction.FORMAT_ONLY))
    assert ruled_difference("a", "a", use.root, use) is None
    assert not use.used
