"""A collector holds so many effects and so many bytes, and no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits
from harness.core.values import Effect
from harness.effects.room import Room


def effect(size: int) -> Effect:
    return Effect(collector="http", operation="GET a", document=b"x" * size)


def test_the_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EFFECTS_UNDRAINED_MAX", 2)
    room = Room()
    assert [room.takes(effect(1)) for _ in range(3)] == [True, True, False]
    room.leave(effect(1))
    assert room.takes(effect(1))
    room.clear()
    assert room.takes(effect(1))


def test_the_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EFFECTS_UNDRAINED_BYTES_MAX", 10)
    room = Room()
    assert [room.takes(effect(size)) for size in (6, 5, 4)] == [True, False, True]
    room.clear()
    assert room.takes(effect(10))


@given(st.lists(st.integers(0, 40), max_size=40))
def test_what_has_left_makes_room(sizes: list[int]) -> None:
    room, held = Room(), list[Effect]()
    for size in sizes:
        one = effect(size)
        assert room.takes(one)
        held.append(one)
    for one in held:
        room.leave(one)
    assert room.takes(effect(limits.EFFECTS_UNDRAINED_BYTES_MAX))
