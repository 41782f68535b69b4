import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.evidence.distance import farthest, further, point_of, ranks

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.mark.parametrize(
    ("value", "at", "time"),
    [
        (3, 3.0, False),
        ("12.50", 12.5, False),
        ("2026-01-01T00:00:00Z", 1767225600.0, True),
        ("2026-01-01T09:00:00+09:00", 1767225600.0, True),
        ("2026-01-01 00:00:00", 1767225600.0, True),
        ("Thu, 01 Jan 2026 00:00:00 GMT", 1767225600.0, True),
        (1767225600, 1767225600.0, True),
        (1767225600000, 1767225600.0, True),
    ],
)
def test_numbers_and_times_are_points(value: str | float, at: float, time: bool) -> None:
    point = point_of(value)
    assert point is not None
    assert (point.at, point.time) == (at, time)


@pytest.mark.parametrize("value", [True, None, "abc", "", "2026-13-01T00:00:00Z", "9" * 30, float("inf")])
def test_other_values_are_none(value: str | float | None) -> None:
    assert point_of(value) is None


@given(st.tuples(NUMBERS, NUMBERS, NUMBERS), st.permutations(range(3)))
def test_moving_the_arms_round_moves_who_lies_apart(points: tuple[float, float, float], order: list[int]) -> None:
    moved = (points[order[0]], points[order[1]], points[order[2]])
    odd, after = farthest(points), farthest(moved)
    assert (odd is None) is (after is None)
    assert odd is None or after is None or points[odd] == moved[after]
    assert [ranks(points)[i] for i in order] == list(ranks(moved))


@given(NUMBERS, NUMBERS, NUMBERS)
def test_swapping_candidate_and_secondary_swaps_who_is_further(p: float, s: float, c: float) -> None:
    swapped = {None: None, 1: 2, 2: 1}
    assert further(p, c, s) == swapped[further(p, s, c)]


def test_the_far_one() -> None:
    assert farthest((1.0, 2.0, 9.0)) == 2
    assert farthest((1.0, 2.0, 3.0)) is None
    assert further(0.0, -1.0, 2.0) == 2
