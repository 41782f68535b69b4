"""How much a target may be asked beside its traffic: never more than rate and day allow, seldomer while it suffers."""

from hypothesis import given
from hypothesis import strategies as st

from harness.core.limits import (
    BACK_OFF_EXCHANGES_MIN,
    BACK_OFF_FACTOR_MAX,
    BACK_OFF_LATENCIES_MAX,
    BACK_OFF_SPELL_SECONDS,
    RATE_BURST_SECONDS,
)
from harness.proxy.allowance import Allowance, BackOff, DailyCap

SECOND = 10**9
DAY = 86_400 * SECOND


def taken(allowance: Allowance, waits_ns: list[int]) -> list[int]:
    """When it was asked, by somebody who tries after each of these waits."""
    now, asked = 0, []
    for wait in waits_ns:
        now += wait
        if allowance.allows(now):
            allowance.take(now)
            asked.append(now)
    return asked


@given(st.floats(0.01, 100.0), st.lists(st.integers(0, 5 * SECOND), max_size=300))
def test_never_more_than_the_rate(per_s: float, waits: list[int]) -> None:
    asked = taken(Allowance(per_s, 10**6), waits)
    for first, start in enumerate(asked):
        for last in range(first, len(asked)):
            window_s = (asked[last] - start) / SECOND
            assert last - first + 1 <= (window_s + RATE_BURST_SECONDS) * per_s + 1 + 1e-6


@given(st.integers(1, 20), st.lists(st.integers(0, 6 * 3600 * SECOND), max_size=200))
def test_never_more_than_the_day_allows_in_any_24_hours(daily: int, waits: list[int]) -> None:
    allowance = Allowance(100.0, daily)
    asked = taken(allowance, waits)
    assert allowance.taken == len(asked)
    for start in asked:
        assert sum(start <= at < start + DAY for at in asked) <= daily


@given(st.integers(1, 5), st.integers(0, 3 * DAY))
def test_room_comes_back_within_25_hours(daily: int, start: int) -> None:
    cap = DailyCap(daily)
    for _ in range(daily):
        assert cap.left(start) > 0
        cap.take(start)
    assert cap.left(start) == cap.left(start + DAY - 3600 * SECOND) == 0
    assert cap.left(start + DAY + 3600 * SECOND) == daily


class Watched:
    """A target's exchanges, spell by spell."""

    def __init__(self) -> None:
        self.back_off = BackOff()
        self.now = 0

    def spell(self, latency_ms: float | None = 10.0, *, failed: float = 0.0) -> int:
        """The factor once a spell of such exchanges is over."""
        for number in range(BACK_OFF_EXCHANGES_MIN):
            self.back_off.note(self.now, latency_ms, failed=number < failed * BACK_OFF_EXCHANGES_MIN)
        self.now += int(BACK_OFF_SPELL_SECONDS * SECOND)
        self.back_off.note(self.now, 10.0, failed=False)  # the first one of the next spell ends this one
        return self.back_off.factor


def quiet(spells: int = 6) -> Watched:
    watched = Watched()
    assert {watched.spell() for _ in range(spells)} == {1}
    return watched


def test_it_doubles_while_latency_rises_and_recovers() -> None:
    watched = quiet(12)
    assert [watched.spell(30.0) for _ in range(4)] == [2, 4, 8, 16]
    assert [watched.spell() for _ in range(5)] == [8, 4, 2, 1, 1]


def test_it_doubles_while_failures_rise() -> None:
    watched = quiet(12)
    assert [watched.spell(failed=0.5) for _ in range(3)] == [2, 4, 8]
    assert [watched.spell() for _ in range(3)] == [4, 2, 1]


def test_time_outs_have_no_latency_and_still_count() -> None:
    watched = quiet(12)
    assert watched.spell(None, failed=1.0) == 2


def test_it_is_bounded_and_what_is_usual_now_is_no_rise() -> None:
    watched = quiet(12)
    factors = [watched.spell(1000.0) for _ in range(40)]
    assert max(factors) <= BACK_OFF_FACTOR_MAX
    assert factors[-1] == 1


@given(st.lists(st.tuples(st.one_of(st.none(), st.floats(0, 1e5)), st.booleans(), st.integers(0, 30 * SECOND)), max_size=400))
def test_the_factor_keeps_its_bounds_whatever_comes(exchanges: list[tuple[float | None, bool, int]]) -> None:
    back_off, now = BackOff(), 0
    for latency_ms, failed, wait in exchanges:
        now += wait
        back_off.note(now, latency_ms, failed=failed)
        assert 1 <= back_off.factor <= BACK_OFF_FACTOR_MAX
        assert back_off.factor & (back_off.factor - 1) == 0
        assert len(back_off._latencies) <= BACK_OFF_LATENCIES_MAX


def test_noise_and_a_slow_start_are_no_rise() -> None:
    watched = Watched()
    assert {watched.spell(latency) for latency in (500.0, 11.0, 9.0, 12.0, 10.0, 14.0, 8.0, 13.0)} == {1}


def test_backing_off_lengthens_the_pauses_and_ends() -> None:
    allowance = Allowance(1.0, 1000)
    allowance.back_off.factor = 8
    assert taken(allowance, [SECOND] * 32) == [SECOND, 9 * SECOND, 17 * SECOND, 25 * SECOND]
    allowance.back_off.factor = 1
    assert allowance.allows(33 * SECOND)


def test_a_day_that_is_used_up_says_so() -> None:
    allowance = Allowance(10.0, 2)
    assert not allowance.spent(0)
    assert len(taken(allowance, [SECOND] * 5)) == 2
    assert allowance.spent(5 * SECOND)
    assert not allowance.allows(5 * SECOND)


def test_what_was_asked_before_is_of_the_day() -> None:
    allowance = Allowance(100.0, 3)
    for at in (0, SECOND):
        allowance.took(at)
    assert allowance.allows(2 * SECOND), "no time is to be waited for it"
    allowance.take(2 * SECOND)
    assert allowance.spent(2 * SECOND)
    assert allowance.taken == 3
