"""Conditions of a policy on the candidate's labels."""

import pytest

from harness.core.errors import UsageError
from harness.evidence.conditions import apply, fits, words
from harness.evidence.policy import Condition, EffectRule, Policy


def condition(labels: dict[str, str], **values: object) -> Condition:
    return Condition(labels=labels, set=values)


@pytest.mark.parametrize(
    ("pattern", "value", "fitting"),
    [
        ("ai*", "AI-assisted", True),
        ("ai*", "human", False),
        ("ai*", "", False),
        ("", "", True),
        ("", "ai", False),
        ("*", "", True),
        (">=500", "500", True),
        (">=500", "499.5", False),
        (">=500", "", False),
        (">=500", " ", False),
        ("<10", "9", True),
        ("<= 10", "11", False),
        (">1", " 2 ", True),
        ("a.c", "abc", False),
    ],
)
def test_patterns(pattern: str, value: str, fitting: bool) -> None:
    assert fits(condition({"kind": pattern}), {"kind": value}) is fitting
    if not value:
        assert fits(condition({"kind": pattern}), {}) is fitting


@pytest.mark.parametrize("value", ["lots", "12abc", "1,200", "1e3", "+600", "0x200", "nan", "inf", "6" * 16, "600 lines", "5 00"])
def test_a_label_that_is_compared_with_a_number_and_is_none_is_refused(value: str) -> None:
    policy = Policy(when=(condition({"author-kind": "ai*", "lines_changed": ">=500"}, delta=0.001),))
    for author in ("ai", "human"):
        with pytest.raises(UsageError, match=r"the label lines_changed is .* which is no number, .* asks for >=500") as caught:
            apply(policy, {"author-kind": author, "lines_changed": value})
        assert caught.value.where == "labels.lines_changed"
        assert caught.value.fix


def test_stricter_rules_apply_to_changes_written_by_ai() -> None:
    policy = Policy(when=(condition({"author-kind": "ai*"}, delta=0.001), condition({"author-kind": "ai*", "model": "big"}, delta=0.0001)))
    assert apply(policy, {}).policy == Policy()
    assert apply(policy, {"author-kind": "AI"}) == (Policy(delta=0.001), (0,))
    assert apply(policy, {"author-kind": "ai", "model": "big"}) == (Policy(delta=0.0001), (0, 1))


def test_conditions_apply_in_order_and_set_whole_values() -> None:
    rules = [{"effect": "x", "at_most": 0}]
    policy = Policy(when=(condition({"a": "*"}, delta=0.001, effects=rules), condition({"a": "*"}, delta=0.002)))
    assert apply(policy, {}).policy == Policy(delta=0.002, effects=(EffectRule(effect="x", at_most=0),))


def test_conditions_that_do_not_go_together_are_refused() -> None:
    policy = Policy(when=(condition({"a": "*"}, passes_min=9), condition({"b": "*"}, passes_max=3)))
    with pytest.raises(UsageError, match="passes_min, 9, above passes_max, 3"):
        apply(policy, {})


def test_words() -> None:
    assert words(condition({"author-kind": "ai*", "model": ""})) == "author-kind: ai* and no model"
