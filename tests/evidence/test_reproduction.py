import pytest

from harness.core.labels import ReasonCode
from harness.evidence.reproduction import Exercise, Reproduction
from tests.sim.world import Answer, bets


def exercise(statuses: list[int], recorded: list[int | None]) -> Exercise:
    found = Exercise()
    for status, then in zip(statuses, recorded, strict=True):
        found.fold(bets(0, Answer(status=(status, status, status), recorded=then)))
    return found


@pytest.mark.parametrize(
    ("statuses", "recorded", "code"),
    [
        ([401] * 9 + [200], [200] * 10, ReasonCode.VACUOUS_AUTH),
        ([403] * 5 + [401] * 5, [200] * 10, ReasonCode.VACUOUS_AUTH),
        ([404] * 10, [200] * 10, ReasonCode.VACUOUS_DATA),
        ([429] * 4 + [503] * 4 + [0] * 2, [200] * 10, ReasonCode.VACUOUS_ERRORS),
        ([404] * 8 + [200] * 2, [200] * 10, None),
        ([404] * 10, [404] * 10, None),
        ([404] * 10, [404] * 8 + [200] * 2, ReasonCode.VACUOUS_DATA),
        ([404] * 10, [None] * 10, ReasonCode.VACUOUS_DATA),
        ([400] * 10, [200] * 10, None),
        ([], [], None),
    ],
)
def test_when_an_endpoint_was_not_exercised(statuses: list[int], recorded: list[int | None], code: ReasonCode | None) -> None:
    assert exercise(statuses, recorded).vacuous() is code


def test_status_classes_are_counted_by_role() -> None:
    found = Exercise()
    found.fold(bets(0, Answer(status=(200, 204, 0))))
    found.fold(bets(1, Answer(status=(302, 200, 999))))
    assert found.statuses() == {"stable": {"2xx": 1, "3xx": 1}, "secondary": {"2xx": 2}, "candidate": {"error": 2}}


def test_mismatches_are_of_classes() -> None:
    found = Reproduction()
    found.fold(bets(0, Answer(status=(200, 204, 500), recorded=201)))
    found.fold(bets(1, Answer(status=(404, 404, 404), recorded=200)))
    found.fold(bets(2, Answer(status=(200, 500, 200))))
    assert (found.recorded, found.mismatch_recorded, found.with_control, found.mismatch_control) == (2, 1, 3, 1)
