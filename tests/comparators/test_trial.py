"""Trials: which pairs are compared."""

from collections.abc import Iterable

import msgspec
import pytest

from comparators.api import BodyView, RuleUse
from comparators.plan import build_plan
from comparators.trial import compare_trial
from harness.core.canon import Rule, RuleAction
from harness.core.labels import Kind, Role
from harness.core.values import Arm, Difference, Request, Trial
from tests.comparators.support import COMPARATORS, kinds, typed

IGNORE_X = Rule(action=RuleAction.IGNORE, path="$.x", endpoint="GET /a*")
UNUSED = Rule(action=RuleAction.IGNORE, path="$.never")


def trial(stable: bytes, secondary: bytes | None, candidate: bytes | None, endpoint: str = "GET /") -> Trial:
    def arm(role: Role, body: bytes | None) -> Arm | None:
        return None if body is None else Arm(role=role, exchange=typed("application/json", body))

    first = arm(Role.STABLE, stable)
    assert first is not None
    return Trial(
        id="t",
        seq=7,
        endpoint=endpoint,
        request=Request("GET", "/"),
        stable=first,
        secondary=arm(Role.SECONDARY, secondary),
        candidate=arm(Role.CANDIDATE, candidate),
    )


@pytest.mark.parametrize(
    ("bodies", "to_candidate", "to_secondary", "across"),
    [
        ((b"1", b"1", b"1"), 0, 0, 0),
        ((b"1", b"1", b"2"), 1, 0, 1),
        ((b"1", b"2", b"1"), 0, 1, 1),
        ((b"1", b"2", b"2"), 1, 1, 0),
        ((b"1", b"2", b"3"), 1, 1, 1),
        ((b"1", None, b"2"), 1, 0, 0),
        ((b"1", b"2", None), 0, 1, 0),
        ((b"1", None, None), 0, 0, 0),
    ],
)
def test_pairs(bodies: tuple[bytes, bytes | None, bytes | None], to_candidate: int, to_secondary: int, across: int) -> None:
    found = compare_trial(trial(*bodies), build_plan((), COMPARATORS))
    assert (found.trial, found.seq) == ("t", 7)
    assert (len(found.stable_candidate), len(found.stable_secondary), len(found.secondary_candidate)) == (
        to_candidate,
        to_secondary,
        across,
    )
    all_there = None not in bodies
    assert found.cross_compared == (all_there and bool(to_candidate or to_secondary))


def test_rules_of_the_endpoint_are_applied_and_named() -> None:
    plan = build_plan((UNUSED, IGNORE_X), COMPARATORS)
    bodies = b'{"x":1,"y":1}', b'{"x":2,"y":1}', b'{"x":3,"y":2}'
    found = compare_trial(trial(*bodies, endpoint="GET /a/{id}"), plan)
    assert kinds(found.stable_candidate) == {("$.y", Kind.VALUE)}
    assert found.stable_secondary == ()
    assert found.rules_used == (1,)
    assert compare_trial(trial(*bodies, endpoint="GET /b"), plan).rules_used == ()


def test_a_comparison_can_be_stored() -> None:
    found = compare_trial(trial(b'{"a":[1e400,12345678901234567890123]}', b'{"a":[NaN,"\\ud800"]}', b"[null]"), build_plan((), COMPARATORS))
    assert found.stable_secondary
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=type(found)) == found
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


class Counting:
    """Counts how often it is asked."""

    name = "counting"
    version = 1
    priority = 30
    asked = 0

    def matches(self, media_type: str) -> bool:
        return True

    def compare(self, left: BodyView, right: BodyView, rules: RuleUse) -> Iterable[Difference]:
        self.asked += 1
        return ()


def test_equal_bodies_are_not_looked_at() -> None:
    counting = Counting()
    compare_trial(trial(b"1", b"1", b"1"), build_plan((), (counting,)))
    assert counting.asked == 0
    compare_trial(trial(b"1", b"2", b"1"), build_plan((), (counting,)))
    assert counting.asked == 1
