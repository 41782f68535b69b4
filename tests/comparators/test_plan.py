"""Plans."""

import pytest

from comparators.plan import Plan, build_plan
from harness.core.canon import Rule, RuleAction
from harness.core.errors import UsageError
from tests.comparators.support import COMPARATORS


def test_the_first_that_takes_a_type_is_chosen() -> None:
    plan = build_plan((), COMPARATORS)
    names = {
        kind: plan.comparator_for(kind)
        for kind in ("application/json", "text/html", "image/png", "application/jsonl", "application/x-www-form-urlencoded")
    }
    assert [getattr(found, "name", "") for found in names.values()] == ["json", "text", "binary", "ndjson", "form"]


def test_a_wrong_rule_is_an_error_at_the_start() -> None:
    with pytest.raises(UsageError):
        build_plan([Rule(action=RuleAction.TOLERANCE)], COMPARATORS)


def test_memory_of_types_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "_TYPES_MAX", 4)
    plan = build_plan((), ())
    for number in range(20):
        assert plan.for_endpoint("GET /").comparator_for(f"x/{number}") is None
    assert len(plan._by_type) <= 4


def test_the_effects_whose_order_matters() -> None:
    assert build_plan((), ()).for_endpoint("GET /").ordered == ()
    assert build_plan((), (), ("POST *",)).for_endpoint("GET /").ordered == ("POST *",)
