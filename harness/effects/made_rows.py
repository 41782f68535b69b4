"""Which rows that the targets made in one trial are the same row, made three times. Pure.

Rows with the same values first, in their order; of the rest those with the most equal values, then those that came at the same
turn. No target is favoured: whoever plays which part, the same rows are found to be one.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from harness.core import limits
from harness.core.labels import Role


class Cell(NamedTuple):
    """One value of a row, without the keys that the store made."""

    column: str
    text: bytes
    refers: bool = False
    """It holds the key of another row, so that its text may be another one at each target."""


Cells = frozenset[Cell]
Slot = dict[Role, int]
"""One row: its position among each target's rows; without the targets that did not make it."""


def slots_of(rows: Mapping[Role, Sequence[Cells]]) -> list[Slot]:
    """The rows by what they are, in the order in which they were first made. Every row of every target is in exactly one."""
    slots, rest = _equal(rows)
    if max((len(left) for left in rest.values()), default=0) > limits.MADE_ROWS_COMPARED_MAX:
        slots += _by_turn(rest)
    else:
        slots += _by_likeness(rows, rest)
    return sorted(slots, key=lambda slot: (min(slot.values()), sorted(slot.values())))


def _equal(rows: Mapping[Role, Sequence[Cells]]) -> tuple[list[Slot], dict[Role, list[int]]]:
    """Rows that every target made with the same values, and the positions of the others."""
    classes: defaultdict[Cells, dict[Role, deque[int]]] = defaultdict(lambda: {role: deque() for role in rows})
    for role, found in rows.items():
        for position, cells in enumerate(found):
            classes[cells][role].append(position)
    slots: list[Slot] = []
    for members in classes.values():
        while all(members.values()):
            slots.append({role: positions.popleft() for role, positions in members.items()})
    taken = {role: {slot[role] for slot in slots} for role in rows}
    return slots, {role: [position for position in range(len(found)) if position not in taken[role]] for role, found in rows.items()}


def _by_turn(rest: Mapping[Role, list[int]]) -> list[Slot]:
    turns = max(map(len, rest.values()))
    return [{role: left[turn] for role, left in rest.items() if turn < len(left)} for turn in range(turns)]


def _by_likeness(rows: Mapping[Role, Sequence[Cells]], rest: Mapping[Role, Collection[int]]) -> list[Slot]:
    """The likest two are joined first, as long as no target has two rows in one."""
    slots: dict[tuple[Role, int], Slot] = {(role, position): {role: position} for role, left in rest.items() for position in left}
    # Where nothing else decides, what the rows hold does, not whose they are.
    plain = {(role, at): tuple(sorted((cell.column, cell.text) for cell in rows[role][at] if not cell.refers)) for role, at in slots}
    order = {content: rank for rank, content in enumerate(sorted(set(plain.values())))}
    edges = []
    for one, other in combinations(rest, 2):
        for i in rest[one]:
            for j in rest[other]:
                alike = len(rows[one][i] & rows[other][j])
                low, high = sorted((order[plain[one, i]], order[plain[other, j]]))
                edges.append((-alike, abs(i - j), min(i, j), low, high, (one, i), (other, j)))
    for *_, x, y in sorted(edges):
        first, second = slots[x], slots[y]
        if first.keys().isdisjoint(second):
            first.update(second)
            for node in second.items():
                slots[node] = first
    return list({id(slot): slot for slot in slots.values()}.values())
