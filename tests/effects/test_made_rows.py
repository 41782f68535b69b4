"""Rows that several targets made in one trial, laid side by side."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits
from harness.core.labels import Role
from harness.effects.made_rows import Cell, Cells, Slot, slots_of

S, A, C = Role.STABLE, Role.SECONDARY, Role.CANDIDATE
Rows = dict[Role, list[Cells]]


def row(**values: object) -> Cells:
    return frozenset(Cell(column, str(value).encode()) for column, value in values.items())


LAMP, DESK = row(sku="lamp", quantity=1), row(sku="desk", quantity=2)


def test_the_same_rows_in_another_order() -> None:
    assert slots_of({S: [LAMP, DESK], A: [LAMP, DESK], C: [DESK, LAMP]}) == [{S: 0, A: 0, C: 1}, {S: 1, A: 1, C: 0}]


def test_a_row_that_one_target_does_not_make_is_nobody_elses() -> None:
    assert slots_of({S: [LAMP, DESK], A: [LAMP, DESK], C: [DESK]}) == [{S: 0, A: 0}, {S: 1, A: 1, C: 0}]
    assert slots_of({S: [LAMP, DESK], A: [LAMP, DESK], C: []}) == [{S: 0, A: 0}, {S: 1, A: 1}]


def test_a_row_made_twice_leaves_the_next_one_where_it_is() -> None:
    assert slots_of({S: [LAMP, DESK], A: [LAMP, DESK], C: [LAMP, LAMP, DESK]}) == [{S: 0, A: 0, C: 0}, {C: 1}, {S: 1, A: 1, C: 2}]


def test_values_made_anew_by_each_target_do_not_hide_which_is_which() -> None:
    rows = {
        S: [row(sku="lamp", at=1), row(sku="desk", at=2)],
        A: [row(sku="lamp", at=3), row(sku="desk", at=4)],
        C: [row(sku="lamp", at=5), row(sku="lamp", at=6), row(sku="desk", at=7)],
    }
    assert slots_of(rows) == [{S: 0, A: 0, C: 0}, {C: 1}, {S: 1, A: 1, C: 2}]


def test_a_row_with_another_value_is_still_the_same_one() -> None:
    three = row(sku="desk", quantity=3)
    assert slots_of({S: [LAMP, DESK], A: [LAMP, DESK], C: [LAMP, three]}) == [{S: 0, A: 0, C: 0}, {S: 1, A: 1, C: 1}]
    assert slots_of({S: [row(a=1)], A: [row(a=2)], C: [row(a=3)]}) == [{S: 0, A: 0, C: 0}]


def test_rows_without_anything_in_common_are_taken_by_their_turn() -> None:
    assert slots_of({S: [row(a=1), row(a=2)], A: [], C: [row(a=9), row(a=0)]}) == [{S: 0, C: 0}, {S: 1, C: 1}]


def test_many_rows_that_are_unlike_are_taken_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MADE_ROWS_COMPARED_MAX", 1)
    rows = {S: [row(a=1), LAMP, row(b=1)], C: [LAMP, row(b=2), row(a=2), row(c=1)]}
    assert slots_of(rows) == [{S: 1, C: 0}, {S: 0, C: 1}, {S: 2, C: 2}, {C: 3}]


CELLS = st.builds(lambda sku, at: row(sku=sku, at=at), st.integers(0, 2), st.integers(0, 3))
ROWS = st.fixed_dictionaries({S: st.lists(CELLS, max_size=4), A: st.lists(CELLS, max_size=4), C: st.lists(CELLS, max_size=4)})


def seen(slots: list[Slot], rows: Rows) -> list[list[tuple[Role, list[Cell]]]]:
    """Slots by the values of their rows: rows with equal values stand for each other."""
    return sorted(sorted((role, sorted(rows[role][position])) for role, position in slot.items()) for slot in slots)


@given(ROWS)
def test_every_row_is_in_exactly_one_and_no_target_is_favoured(rows: Rows) -> None:
    slots = slots_of(rows)
    assert sorted((role, position) for slot in slots for role, position in slot.items()) == [
        (role, position) for role in sorted(rows) for position in range(len(rows[role]))
    ]
    assert len(slots) >= max(map(len, rows.values()))
    for roles in permutations(rows):
        as_other = dict(zip(rows, roles, strict=True))
        turned = {as_other[role]: found for role, found in rows.items()}
        back = [{role: slot[as_other[role]] for role in rows if as_other[role] in slot} for slot in slots_of(turned)]
        assert seen(back, rows) == seen(slots, rows)


REFERRING = st.builds(
    lambda sku, of: frozenset({Cell("sku", str(sku).encode()), Cell("of", str(of).encode(), refers=True)}),
    st.integers(0, 1),
    st.integers(0, 3),
)
SOME = st.lists(REFERRING, max_size=3)


@given(st.fixed_dictionaries({S: SOME, A: SOME, C: SOME}), st.permutations(range(4)))
def test_what_references_are_called_does_not_matter(rows: Rows, names: list[int]) -> None:
    def renamed(cells: Cells) -> Cells:
        return frozenset(cell._replace(text=str(names[int(cell.text)]).encode()) if cell.refers else cell for cell in cells)

    assert slots_of({role: [renamed(cells) for cells in found] for role, found in rows.items()}) == slots_of(rows)
