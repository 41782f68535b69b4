"""The contract: views, and rules during a comparison."""

from comparators.api import BodyComparator, BodyView, RuleUse
from harness.core.canon import NOWHERE, Rule, RuleAction
from tests.comparators.support import COMPARATORS, use_of


def test_without_rules_every_place_is_nowhere() -> None:
    use = RuleUse()
    assert use.root is use.at("$.a") is use.step(use.root, "a") is NOWHERE
    assert not use.used


def test_with_rules() -> None:
    use = use_of(Rule(action=RuleAction.IGNORE, path="$.a"))
    assert use.step(use.root, "a").ignore == use.at("$.a.b").ignore == 0
    shared: set[int] = set()
    assert RuleUse(use.rules, shared).used is shared


def test_a_view() -> None:
    view = BodyView(b"x", "text/plain")
    assert (view.parameters, view.memo) == ({}, {})


def test_the_built_in_ones_keep_the_contract() -> None:
    assert all(isinstance(comparator, BodyComparator) for comparator in COMPARATORS)
    assert len({comparator.name for comparator in COMPARATORS}) == len(COMPARATORS)
