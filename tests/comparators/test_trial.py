"""Trials: which pairs are compared."""

import gc
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators import exchange as exchange_module
from comparators.api import BodyView, RuleUse
from comparators.exchange import compare_exchanges
from comparators.plan import build_plan
from comparators.trial import compare_trial
from harness.core.canon import Rule, RuleAction
from harness.core.labels import Aspect, Kind, Role
from harness.core.values import Arm, Comparison, Difference, Exchange, Headers, Request, Trial
from harness.evidence.bets import bets_of
from tests.comparators.support import COMPARATORS, exchange, kinds, typed

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


RULES = (
    Rule(action=RuleAction.IGNORE, path="$.x"),
    Rule(action=RuleAction.FORMAT_ONLY, path="$.when"),
    Rule(action=RuleAction.TOLERANCE, path="$.n", absolute=1.0),
    Rule(action=RuleAction.INT_IS_FLOAT, path="$.n"),
    Rule(action=RuleAction.UNORDERED, path="$.list"),
    Rule(action=RuleAction.NORMALISE, path="etag", aspect=Aspect.HEADERS, pattern="[0-9]+", replace="n"),
    Rule(action=RuleAction.IGNORE, path="x-build", aspect=Aspect.HEADERS),
)
BODIES = st.sampled_from(
    [
        b'{"x":1,"when":"2024-01-01","n":1,"list":[1,2]}',
        b'{"x":2,"when":"2024-01-02","n":1.0,"list":[2,1]}',
        b'{"x":1,"when":"2024-01-01","n":2,"list":[1,2]}',
        b'{ "x": 1, "when": "2024-01-01", "n": 3, "list": [1, 2] }',
        b"[[1],[2]]",
        b"not JSON",
        b"",
    ]
)
FIELDS: dict[str, list[str]] = {
    "Date": ["Mon, 06 May 2024 10:00:00 GMT", "Mon, 06 May 2024 10:00:01 GMT"],
    "ETag": ['"1"', '"2"', '"x"'],
    "X-Build": ["1", "2"],
    "Content-Type": ["application/json", "application/json; charset=utf-8", "text/plain"],
    "Content-Encoding": ["identity", "gzip"],
    "Content-Length": ["1", "2"],
    "Set-Cookie": ["a=1", "b=2"],
}


@st.composite
def fields(draw: st.DrawFn) -> Headers:
    """Mostly the same fields in the same order; sometimes others, repeated, in another case or order."""
    names = draw(st.just(list(FIELDS)) | st.lists(st.sampled_from(list(FIELDS)), max_size=9))
    found = [(name, draw(st.sampled_from(FIELDS[name]))) for name in names]
    return tuple((name.lower(), value) if draw(st.integers(0, 9)) == 0 else (name, value) for name, value in found)


@st.composite
def answers(draw: st.DrawFn) -> Exchange:
    status, method = draw(st.sampled_from([200, 200, 200, 201, 204, 404])), draw(st.sampled_from(["GET", "GET", "GET", "HEAD"]))
    return exchange(draw(BODIES), *draw(fields()), status=status, method=method)


def three(stable: Exchange, secondary: Exchange, candidate: Exchange) -> Trial:
    arms = zip(Role, (stable, secondary, candidate), strict=True)
    first, second, third = (Arm(role=role, exchange=answer) for role, answer in arms)
    return Trial(id="t", seq=7, endpoint="GET /", request=Request("GET", "/"), stable=first, secondary=second, candidate=third)


@given(st.lists(answers(), min_size=1, max_size=3), st.data())
def test_what_the_pairs_share_changes_nothing(some: list[Exchange], data: st.DataObject) -> None:
    """Each pair alone, with every header field looked at, finds the same; so do the bets, and the same rules had an effect."""
    one = three(*(data.draw(st.sampled_from(some)) for _ in Role))
    plan = build_plan(RULES, COMPARATORS)
    found = compare_trial(one, plan)
    used: set[int] = set()

    def alone(left: Arm | None, right: Arm | None) -> tuple[Difference, ...]:
        assert left is not None
        assert right is not None
        return compare_exchanges(left.exchange, right.exchange, endpoint, used)

    endpoint = plan.for_endpoint("GET /")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange_module, "headers_may_differ", lambda *_, **__: True)
        patch.setattr("comparators.headers.names_apart", all_names)
        patch.setattr(exchange_module, "names_apart", all_names)
        to_candidate, to_secondary = alone(one.stable, one.candidate), alone(one.stable, one.secondary)
        across = alone(one.secondary, one.candidate) if to_candidate or to_secondary else ()
    slowly = Comparison(
        trial="t",
        seq=7,
        stable_candidate=to_candidate,
        stable_secondary=to_secondary,
        secondary_candidate=across,
        cross_compared=bool(to_candidate or to_secondary),
        rules_used=tuple(sorted(used)),
    )
    assert found == slowly
    assert bets_of(one, found) == bets_of(one, slowly)


def all_names(left: Headers, right: Headers) -> set[str]:
    """What `names_apart` says when it does not look."""
    return {name.lower() for name, _ in (*left, *right)}


def test_a_trial_leaves_no_cycles() -> None:
    """What is freed at once keeps the memory of a comparing process small and warm."""
    plan = build_plan(RULES, COMPARATORS)
    trials: list[Any] = [trial(b'{"n":1}', b'{"n":5}', b'{"n":9}'), trial(b'{"n":1}', b'{"n":1}', b'{"n":9}'), trial(b"1", b"1", b"1")]
    for one in trials:
        compare_trial(one, plan)
    gc.collect()
    gc.disable()
    try:
        for one in trials:
            compare_trial(one, plan)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_bodies_that_are_alike_are_compared_once() -> None:
    counting = Finding()
    found = compare_trial(trial(b"1", b"1", b"2"), build_plan((), (counting,)))
    assert counting.asked == 1
    assert found.stable_candidate == found.secondary_candidate != ()


class Finding(Counting):
    """Finds one difference each time."""

    def compare(self, left: BodyView, right: BodyView, rules: RuleUse) -> Iterable[Difference]:
        self.asked += 1
        return (Difference(Aspect.BODY, "$", Kind.VALUE, 1, 2),)
