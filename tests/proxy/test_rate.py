"""The cap on a rate: never more than it says, and no less than it could."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.proxy.rate import RateCap

MS = 1_000_000


def taken(cap: RateCap, times_ns: list[int]) -> list[int]:
    """When something happened, of those who asked at these times."""
    found = []
    for now_ns in times_ns:
        if cap.allows(now_ns):
            cap.take(now_ns)
            found.append(now_ns)
    return found


@given(
    st.floats(0.5, 2000, allow_nan=False),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.lists(st.integers(0, 300 * MS), min_size=1, max_size=300),
)
def test_no_window_sees_more_than_the_rate_and_the_burst(per_s: float, burst_s: float, gaps_ns: list[int]) -> None:
    now_ns, asked = 10**15, []
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        asked.append(now_ns)
    times = taken(RateCap(per_s, burst_s), asked)
    assert times[0] == asked[0], "the first one always may"
    for first in range(0, len(times), 7):
        for last in range(first, len(times), 5):
            window_s = (times[last] - times[first]) / 1e9
            assert last - first + 1 <= (window_s + burst_s) * per_s + 1 + 1e-3


@pytest.mark.parametrize("per_s", [3.0, 50.0, 999.0])
def test_who_asks_all_the_time_gets_the_whole_rate(per_s: float) -> None:
    times = taken(RateCap(per_s), list(range(0, 10_000 * MS, MS // 2)))
    assert per_s * 10 - 1 <= len(times) <= per_s * 10.1 + 1


def test_a_pause_saves_up_no_more_than_the_burst() -> None:
    cap = RateCap(100, burst_s=0.1)
    taken(cap, [0])
    assert len(taken(cap, [3600 * 10**9] * 1000)) == 11


def test_asking_changes_nothing() -> None:
    cap = RateCap(1, burst_s=0)
    cap.take(0)
    assert [cap.allows(999 * MS) for _ in range(5)] == [False] * 5
    assert [cap.allows(1000 * MS) for _ in range(5)] == [True] * 5
