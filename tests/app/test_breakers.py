"""Breakers cross from ingress workers to the supervisor by their slots; openings are counted once over many lives."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.app.breakers import show, together
from harness.app.members import Place
from harness.bus.slots import Slots
from harness.core.labels import Role
from harness.counters import TargetBreakers
from harness.proxy.breaker import BreakerState


@contextmanager
def places(count: int) -> Iterator[list[Place]]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as sockets:
        yield [Place(sockets.enter_context(socket.socket()), Path(folder) / f"counts-{number}") for number in range(count)]


def test_where_there_is_no_breaker_nothing_is_said_of_it() -> None:
    with places(2) as rows:
        assert together(rows) == {}
        show(rows[0].slots, {})
        assert together(rows) == {}
        show(rows[1].slots, {Role.CANDIDATE: (BreakerState.CLOSED, 0)})
        assert together(rows) == {"candidate": TargetBreakers(closed=1)}


def test_one_that_was_taken_away_by_a_reload_is_told_of_by_how_often_it_opened() -> None:
    with places(1) as (place,):
        show(place.slots, {Role.SECONDARY: (BreakerState.OPEN, 3)})
        show(place.slots, {})
        assert together([place]) == {"secondary": TargetBreakers(opened=3)}


STANDS = st.tuples(st.sampled_from(BreakerState), st.integers(0, 9))
LIVES = st.lists(st.fixed_dictionaries({}, optional={Role.SECONDARY: STANDS, Role.CANDIDATE: STANDS}), min_size=1, max_size=4)


@given(workers=st.lists(LIVES, min_size=1, max_size=4))
def test_states_are_those_of_now_and_openings_those_of_all_lives(
    workers: list[list[dict[Role, tuple[BreakerState, int]]]],
) -> None:
    with places(len(workers)) as rows:
        for place, lives in zip(rows, workers, strict=True):
            for number, life in enumerate(lives):
                if number:
                    place.vacated()
                show(Slots(place.path), life)
        found = together(rows)
        for role in (Role.SECONDARY, Role.CANDIDATE):
            states = [lives[-1][role][0] for lives in workers if role in lives[-1]]
            opened = sum(life[role][1] for lives in workers for life in lives if role in life)
            expected = TargetBreakers(
                closed=states.count(BreakerState.CLOSED),
                open=states.count(BreakerState.OPEN),
                probing=states.count(BreakerState.PROBING),
                opened=opened,
            )
            assert found.get(role.value, TargetBreakers()) == expected
