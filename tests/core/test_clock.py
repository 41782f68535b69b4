"""Time, chance and names are passed in: what stands behind the protocols in a run, and in a test that repeats one."""

import random
import time

from harness.app.parts import CountedIds, SystemClock
from harness.core.clock import Clock, Ids, Rng


class Ticking:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def time(self) -> float:
        return 1_700_000_000 + self.now_ns / 1e9


def milliseconds(clock: Clock) -> float:
    started_ns = clock.monotonic_ns()
    return (clock.monotonic_ns() - started_ns) / 1e6


def test_differences_of_the_monotonic_clock_are_times() -> None:
    assert milliseconds(Ticking()) == 1
    assert 0 <= milliseconds(SystemClock()) < 60_000


def test_the_machines_clock_tells_the_time() -> None:
    assert abs(SystemClock().time() - time.time()) < 60


def drawn(rng: Rng) -> tuple[list[object], float, int]:
    cards: list[object] = list(range(20))
    rng.shuffle(cards)
    return cards, rng.random(), rng.randrange(6)


def test_chance_is_repeated_by_its_seed() -> None:
    first, again, other = (drawn(random.Random(seed)) for seed in ("7/live", "7/live", "7/pass0"))
    assert first == again != other
    assert sorted(map(str, first[0])) == sorted(map(str, range(20)))
    assert 0 <= first[1] < 1
    assert first[2] in range(6)


def names(ids: Ids, count: int) -> list[str]:
    return [ids.next_id() for _ in range(count)]


def test_ids_are_unique_and_safe_in_a_file_name() -> None:
    found = names(CountedIds(), 1000)
    assert len(set(found)) == 1000
    assert all(name.isalnum() and len(name) < 16 for name in found)
    assert names(CountedIds(), 3) == found[:3]
