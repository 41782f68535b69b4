"""The average rate of a body, over the time in which its sender could send."""

from hypothesis import given
from hypothesis import strategies as st

from harness.proxy.pace import Pace

STEPS = st.lists(st.tuples(st.sampled_from(["read", "hold"]), st.integers(0, 20)), max_size=30)


def test_nothing_is_asked_in_the_beginning_and_then_the_average_counts() -> None:
    pace = Pace(100.0, bytes_per_s_min=10, grace_s=5.0)
    assert pace.left_s(100.0, 0) == 5.0
    assert pace.left_s(103.0, 0) == 2.0
    assert pace.left_s(105.0, 0) == 0.0
    assert pace.left_s(105.0, 49) == 0.0
    assert pace.left_s(105.0, 100) == 5.0, "what came soon counts for later"
    assert pace.left_s(111.0, 100) == -1.0


def test_time_in_which_it_is_not_read_does_not_count() -> None:
    pace = Pace(0.0, bytes_per_s_min=10, grace_s=5.0)
    pace.hold(3.0)
    assert pace.left_s(1000.0, 0) == 2.0
    pace.hold(2000.0)
    pace.go_on(3000.0)
    pace.go_on(3001.0)
    assert pace.left_s(3001.0, 0) == 1.0


@given(STEPS, st.integers(1, 100), st.integers(1, 20), st.integers(0, 4000))
def test_it_is_too_slow_when_the_average_is_below_the_bound_after_the_grace(
    steps: list[tuple[str, int]], rate: int, grace_s: int, received: int
) -> None:
    now_s, spent_s, reading = 0, 0, True
    pace = Pace(0.0, bytes_per_s_min=rate, grace_s=grace_s)
    for what, seconds in steps:
        if (what == "read") is not reading:
            reading = not reading
            (pace.go_on if reading else pace.hold)(now_s)
        now_s += seconds
        spent_s += seconds if reading else 0
        too_slow = spent_s >= grace_s and received <= rate * spent_s
        left_s = pace.left_s(now_s, received)
        if abs(left_s) > 1e-6:
            assert (left_s < 0) is too_slow
