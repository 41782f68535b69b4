"""How far values are off: the whole reach, and the middle."""

import random

from harness.evidence.offs import Offs


def test_nothing_is_said_of_nothing() -> None:
    assert Offs().reach() is None
    assert Offs().middle() is None


def test_the_reach_holds_all_and_the_middle_the_median() -> None:
    rng, held = random.Random(1), 0
    for _ in range(200):
        offs = Offs()
        for _ in range(64):
            offs.add(rng.gauss(3.0, 1.0), None, time=False)
        reach, middle = offs.reach(), offs.middle()
        assert reach is not None
        assert middle is not None
        assert reach.low <= middle.low <= middle.median <= middle.high <= reach.high
        held += middle.low <= 3.0 <= middle.high
    assert held >= 198


def test_passes_that_are_off_by_different_amounts_widen_the_middle() -> None:
    offs = Offs()
    for spell, off in enumerate((1.0, 2.0, 5.0)):
        for _ in range(20):
            offs.add(off, spell, time=True)
    middle = offs.middle()
    assert middle is not None
    assert (middle.low, middle.high) == (1.0, 5.0)
    assert offs.time


def test_a_number_among_times_is_left_out_and_memory_is_bounded() -> None:
    offs = Offs()
    offs.add(3600.0, None, time=True)
    offs.add(5.0, None, time=False)
    for number in range(1000):
        offs.add(3600.0 + number, None, time=True)
    reach = offs.reach()
    assert reach is not None
    assert (reach.low, reach.high) == (3600.0, 3662.0)
