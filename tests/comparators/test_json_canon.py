"""Canonical texts under rules."""

from typing import Any

import pytest

from comparators.json_canon import canonical_text
from comparators.json_parse import flat_plain
from harness.core.canon import Rule, RuleAction
from tests.comparators.support import use_of

RULE = RuleAction


@pytest.mark.parametrize(
    ("rule", "value", "text", "used"),
    [
        (Rule(action=RULE.IGNORE, path="$.a"), {"a": 1, "b": 2}, b'{"b":2}', {0}),
        (Rule(action=RULE.IGNORE, path="$[*]"), [1, 2], b"[null,null]", {0}),
        (Rule(action=RULE.UNORDERED), {"t": [2, 1]}, b'{"t":[1,2]}', {0}),
        (Rule(action=RULE.UNORDERED), {"t": [1, 2]}, b'{"t":[1,2]}', set()),
        (Rule(action=RULE.INT_IS_FLOAT), [1.0, 1.5, 1e300], b"[1,1.5,1e+300]", {0}),
        (Rule(action=RULE.FORMAT_ONLY), ["", "2024-05-06", 3, None], b'["string empty","string date","integer",null]', {0}),
        (Rule(action=RULE.NORMALISE, pattern=r"\d", replace="#"), {"a": "x1"}, b'{"a":"x#"}', {0}),
        (Rule(action=RULE.IGNORE, path="$.z"), {"b": {"d": 1, "c": 2}}, b'{"b":{"c":2,"d":1}}', set()),
    ],
)
def test_texts(rule: Rule, value: Any, text: bytes, used: set[int]) -> None:
    use = use_of(rule)
    marked: set[int] = set()
    assert canonical_text(value, use.root, use, marked, flat_plain) == text
    assert marked == used
    assert not use.used, "only the caller knows whether it had an effect"
