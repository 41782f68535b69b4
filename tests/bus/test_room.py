"""Who finds room when comparison falls behind: rare endpoints always, frequent ones last of all, and never beyond the bounds."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from harness.bus.room import FairRoom

ENDPOINTS = st.sampled_from(["GET /a", "GET /b", "GET /c", "GET /d"])
STEPS = st.lists(st.tuples(st.sampled_from(["begin", "end", "done"]), ENDPOINTS, st.integers(0, 300)), max_size=200)


@given(steps=STEPS)
def test_bounds_and_counts_hold_in_any_order(steps: list[tuple[str, str, int]]) -> None:
    """As the dispatcher has it: asked before sending, at most `held_back` under way, and what was sent always enters."""
    room = FairRoom(20, 1000, held_back=4)
    under_way: list[tuple[str, int]] = []
    held: list[tuple[str, int]] = []
    for what, endpoint, size in steps:
        if what == "begin" and len(under_way) < 4 and room.admits(endpoint, size):
            under_way.append((endpoint, size))
        elif what == "end" and under_way:
            held.append(under_way.pop(size % len(under_way)))
            room.enter(*held[-1])
        elif what == "done" and held:
            room.leave(*held.pop(size % len(held)))
        assert room.trials == len(held) <= 20
        assert room.bytes == sum(size for _, size in held)
        assert room.bytes <= 1000 + 4 * 300, "no more than what was under way comes on top"
    for endpoint, size in held:
        room.leave(endpoint, size)
    assert (room.trials, room.bytes) == (0, 0)
    assert room.admits("GET /a", 10**9), "an empty buffer takes anything"


@given(asked=st.lists(st.tuples(ENDPOINTS, st.integers(1, 20)), max_size=300))
def test_a_rare_endpoint_finds_room_whatever_four_others_do(asked: list[tuple[str, int]]) -> None:
    room = FairRoom(128, 12_800, held_back=0)
    for endpoint, size in asked:
        if room.admits(endpoint, size):
            room.enter(endpoint, size)
    assert room.admits("GET /rare", 100)


def test_the_most_frequent_is_shed_first() -> None:
    room, shed = FairRoom(100, 10**6, held_back=0), Counter[str]()
    for number in range(600):
        endpoint = "GET /rare" if number % 30 == 0 else "GET /often"
        if room.admits(endpoint, 1):
            room.enter(endpoint, 1)
        else:
            shed[endpoint] += 1
    assert shed["GET /often"] > 500
    assert shed["GET /rare"] == 0


def test_one_endpoint_may_hold_half_and_bytes_count_like_trials() -> None:
    trials = FairRoom(100, 10**9, held_back=0)
    while trials.admits("GET /a", 1):
        trials.enter("GET /a", 1)
    assert trials.trials == 50
    size = FairRoom(10**9, 1000, held_back=0)
    while size.admits("GET /a", 10):
        size.enter("GET /a", 10)
    assert size.bytes == 500
    assert not size.admits("GET /b", 501)
    assert size.admits("GET /b", 500)


def test_places_are_held_back_for_what_is_under_way() -> None:
    room = FairRoom(20, 10**6, held_back=4)
    number = 0
    while room.admits(f"GET /{number}", 1):
        room.enter(f"GET /{number}", 1)
        number += 1
    assert room.trials == 16
    for late in range(4):
        room.enter(f"GET /late{late}", 1)
    assert room.trials == 20
