"""Lapses are counted, and their number is bounded."""

from harness.core.labels import Role
from harness.effects.api import Lapse
from harness.effects.postgres.lapses import FURTHER, LapseBook


def test_counts_and_what_stands() -> None:
    book = LapseBook()
    book.note("a", Role.STABLE)
    book.note("a", Role.STABLE, 2)
    book.note("a", None, blind=False)
    for _ in range(3):
        book.stand("b", Role.CANDIDATE)
    assert book.all() == (Lapse("a", 3, Role.STABLE), Lapse("a", 1, None, blind=False), Lapse("b", 1, Role.CANDIDATE))


def test_distinct_ones_are_bounded_and_none_goes_uncounted() -> None:
    book = LapseBook(distinct_max=2)
    for number in range(10):
        book.note(str(number), Role.STABLE)
    assert sum(lapse.count for lapse in book.all()) == 10
    assert book.all()[-1] == Lapse(FURTHER, 8, None)
