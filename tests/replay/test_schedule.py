import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.core.values import Headers
from replay.schedule import parse_speed, plan
from replay.sessions import group_sessions
from tests.replay.build import entry, request


@pytest.mark.parametrize(("text", "speed"), [("max", None), (" MAX ", None), ("2", 2.0), ("0.5x", 0.5), ("10X", 10.0)])
def test_speeds_are_read(text: str, speed: float | None) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["", "fast", "0", "-1", "nan", "inf", "1e9", "x"])
def test_nonsense_speeds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="speed"):
        parse_speed(text)


def cookie(value: str) -> Headers:
    return (("Cookie", f"sid={value}"),)


def test_due_times_keep_the_recorded_distances() -> None:
    entries = [
        entry(request(headers=cookie("bobby")), offset_s=1.0),
        entry(request(headers=cookie("alice")), offset_s=0.0),
        entry(request(headers=cookie("bobby")), offset_s=4.0),
    ]
    (alice, bobby) = plan(group_sessions(entries), 2.0)
    assert [step.due_ns for step in bobby.steps] == [500_000_000, 2_000_000_000]
    assert [step.position for step in bobby.steps] == [0, 2]
    assert alice.steps[0].due_ns == 0


def test_at_full_speed_the_capture_order_decides() -> None:
    entries = [entry(request(headers=cookie(name)), offset_s=9.0 - at) for at, name in enumerate(["alice", "bobby", "alice"])]
    found = plan(group_sessions(entries), None)
    assert [session.key for session in found] == ["s0", "s1"]
    assert {step.due_ns for session in found for step in session.steps} == {0}


@given(st.lists(st.tuples(st.floats(0, 1e6), st.sampled_from("abc")), max_size=20), st.none() | st.floats(0.001, 10_000))
def test_order_inside_a_session_is_kept(raw: list[tuple[float, str]], speed: float | None) -> None:
    entries = [entry(request(headers=cookie(name * 4)), offset_s=offset) for offset, name in raw]
    found = plan(group_sessions(entries), speed)
    assert sum(len(session.steps) for session in found) == len(entries)
    for session in found:
        dues = [step.due_ns for step in session.steps]
        assert dues == sorted(dues)
        positions = [step.position for step in session.steps]
        assert positions == sorted(positions)
    firsts = [(session.steps[0].due_ns, session.steps[0].position) for session in found]
    assert firsts == sorted(firsts)
