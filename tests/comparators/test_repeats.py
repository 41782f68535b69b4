"""What an arm said in the pass before is compared with what it says now; in disjoint pairs, from fresh state, within bounds."""

import msgspec
import pytest

from comparators.plan import build_plan
from comparators.registry import load_comparators
from comparators.repeats import Repeats
from harness.core.labels import Kind, Role
from harness.core.values import Arm, Body, CaptureRef, Exchange, Request, Response, Trial

PLAN = build_plan((), load_comparators())


def trial(pass_index: int, *bodies: bytes, entry: int = 0) -> Trial:
    """Stable's, secondary's, candidate's answer."""

    def arm(role: Role, body: bytes) -> Arm:
        request = Request("GET", "/x")
        headers = (("Content-Type", "application/json"),)
        response = Response(200, headers, Body(data=body, size=len(body)))
        return Arm(role=role, exchange=Exchange(request=request, response=response))

    stable, secondary, candidate = (arm(role, body) for role, body in zip(Role, bodies, strict=True))
    return Trial(
        id=f"{entry}.{pass_index}",
        seq=pass_index,
        endpoint="GET /x",
        request=Request("GET", "/x"),
        stable=stable,
        secondary=secondary,
        candidate=candidate,
        pass_index=pass_index,
        fresh=True,
        capture=CaptureRef("a.har", entry),
    )


ONE, TWO = b'{"a":1,"b":1}', b'{"a":2,"b":1}'


def test_an_arm_that_answers_otherwise_than_in_the_pass_before_is_told_with_how() -> None:
    repeats = Repeats()
    assert repeats.compare(trial(0, ONE, ONE, ONE), PLAN) == ()
    (again,) = repeats.compare(trial(1, ONE, ONE, TWO), PLAN)
    assert again.role is Role.CANDIDATE
    (difference,) = again.differences
    assert (difference.path, difference.kind, difference.left, difference.right) == ("$.a", Kind.VALUE, 1, 2)


def test_each_answer_takes_part_once() -> None:
    repeats = Repeats()
    seen = [repeats.compare(trial(index, ONE, ONE, (ONE, TWO)[index % 2]), PLAN) for index in range(4)]
    assert [len(again) for again in seen] == [0, 1, 0, 1], "the second is not compared with the third"


@pytest.mark.parametrize(
    "change",
    [{"fresh": False}, {"tainted": True}, {"repeat_of": "t"}, {"capture": None}, {"candidate": None}, {"pass_index": 3}],
    ids=lambda change: next(iter(change)),
)
def test_what_is_no_like_pair_is_not_compared(change: dict[str, object]) -> None:
    repeats = Repeats()
    repeats.compare(trial(0, ONE, ONE, ONE), PLAN)
    assert repeats.compare(msgspec.structs.replace(trial(1, ONE, ONE, TWO), **change), PLAN) == ()


@pytest.mark.parametrize("bounds", [{"requests_max": 2}, {"bytes_max": 2 * 3 * (2048 + len(ONE))}])
def test_beyond_the_bounds_nothing_is_kept_and_what_was_compared_makes_room(bounds: dict[str, int]) -> None:
    repeats = Repeats(**bounds)
    for index in (0, 2):
        for entry in range(3):
            repeats.compare(trial(index, ONE, ONE, ONE, entry=entry), PLAN)
        assert len(repeats._kept) == 2
        found = [repeats.compare(trial(index + 1, ONE, ONE, TWO, entry=entry), PLAN) for entry in range(3)]
        assert [len(again) for again in found] == [1, 1, 0]
        assert (repeats._kept, repeats._bytes) == ({}, 0)
