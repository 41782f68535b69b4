"""When stable cannot be reached: said once when it begins and once when it ends, with what clients got meanwhile."""

from hypothesis import given
from hypothesis import strategies as st

from harness.app.outage import Outage
from harness.core.limits import STABLE_BACK_SECONDS, STABLE_FAILURES_MIN

UNREACHABLE, BROKEN, TIMEOUT = "upstream_unreachable", "upstream_broken", "upstream_timeout"


class Rig:
    """Counts that grow, looked at once a second."""

    def __init__(self) -> None:
        self.now_s = 50.0
        self.notices: list[str] = []
        self.outage = Outage(self.now_s, self.notices.append)
        self.answered = 0
        self.refused = {"bad_request": 7}

    def second(self, answered: int = 0, **refused: int) -> list[str]:
        """What is said after a second in which this came."""
        self.now_s += 1.0
        self.answered += answered
        for reason, count in refused.items():
            self.refused[reason] = self.refused.get(reason, 0) + count
        before = len(self.notices)
        self.outage.look(self.now_s, self.answered, self.refused)
        return self.notices[before:]


def test_an_outage_is_said_when_it_begins_and_when_it_ends() -> None:
    r = Rig()
    assert r.second(100) == []
    assert r.second(3, upstream_unreachable=5) == ["stable cannot be reached; clients get the proxy's own answer instead (502)"]
    for _ in range(7):
        assert r.second(upstream_unreachable=10, upstream_timeout=1) == []
    assert r.second() == [], "nobody asks"
    for _ in range(int(STABLE_BACK_SECONDS) - 1):
        assert r.second(10) == []
    (said,) = r.second(10)
    assert said == "stable answers again, after 9 s; 82 requests were answered by the proxy meanwhile, 75 with 502 and 7 with 504"
    assert r.second(10) == []
    r.outage.end()
    assert len(r.notices) == 2


def test_one_request_that_finds_nobody_is_enough_where_nobody_else_asks() -> None:
    r = Rig()
    assert len(r.second(upstream_unreachable=1)) == 1
    r.outage.end()
    assert r.notices[1] == "stable was out until the end; 1 request was answered by the proxy meanwhile, 1 with 502"


def test_broken_answers_and_silence_are_none_until_there_are_some() -> None:
    for reason, what in ((BROKEN, "stable breaks off its answers"), (TIMEOUT, "stable does not answer in time")):
        r = Rig()
        for _ in range(STABLE_FAILURES_MIN - 1):
            assert r.second(**{reason: 1}) == []
        (said,) = r.second(**{reason: 1})
        assert said.startswith(what)
        r = Rig()
        for _ in range(50):
            assert r.second(5, **{reason: 4}) == [], "most requests are answered"
            assert r.second(**{reason: 1}) == []
        r.outage.end()
        assert r.notices == []


def test_a_short_recovery_is_not_said() -> None:
    r = Rig()
    assert len(r.second(upstream_unreachable=5)) == 1
    for _ in range(5):
        assert r.second(9) == []
        assert r.second(upstream_unreachable=5) == []
    r.second(9)
    r.outage.end()
    assert r.notices[1] == "stable was out for 11 s; 30 requests were answered by the proxy meanwhile, 30 with 502"


def test_other_refusals_and_counts_that_shrink_say_nothing() -> None:
    """How many are answered is known about only: it may seem to shrink."""
    r = Rig()
    assert r.second(-3, bad_request=50, shutdown=20) == []
    assert r.second(-3) == []


SECONDS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2)), max_size=40)


@given(seconds=SECONDS)
def test_beginnings_and_ends_take_turns_and_no_failure_is_told_twice(seconds: list[tuple[int, int, int]]) -> None:
    r = Rig()
    for answered, unreachable, broken in seconds:
        said = r.second(answered, upstream_unreachable=unreachable, upstream_broken=broken)
        assert len(said) <= 1
        if unreachable > answered:
            assert len(r.notices) % 2 == 1, "it is out"
    r.outage.end()
    begins = [" answer instead " in notice for notice in r.notices]
    assert begins == [number % 2 == 0 for number in range(len(begins))]
    assert len(begins) % 2 == 0
    told = sum(int(notice.split("; ")[1].split()[0]) for notice in r.notices[1::2])
    assert told <= sum(unreachable + broken for _, unreachable, broken in seconds)
