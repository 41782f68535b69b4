"""Compares what is stored at the targets at the end of a pass, table by table and column by column. Pure.

Columns in which stable and secondary differ hold values made anew at each target; there nothing can be said of the candidate
from one look. A table is one observation a pass, not one a request: what is found here is a hint with the rows to look at.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from harness.core.labels import Role
from harness.core.watched import TableDifference
from harness.effects.api import TableState

ABSENT: Final = "absent"
_DIGEST_CHARS: Final = 12
_ROWS_SHOWN: Final = 3

Hide = Callable[[dict[str, Any]], dict[str, Any]]
"""Redaction of one row, by the names of its columns and of what is within their values."""


class States:
    """The final states of a run, folded pass by pass. `hide` redacts a row."""

    def __init__(self, hide: Hide) -> None:
        self._hide = hide
        self._found: dict[tuple[str, str, str, bool], TableDifference] = {}
        self._passes: dict[tuple[str, str], int] = {}

    @property
    def compared(self) -> int:
        """Tables compared, over all passes."""
        return sum(self._passes.values())

    def add(self, collector: str, states: Mapping[Role, tuple[TableState, ...]], *, whole: bool = True) -> None:
        """Compare the states of one collector at the end of a pass. Not `whole`: only the tables that were seen at every target."""
        tables = {role: {state.table: state for state in found} for role, found in states.items()}
        if Role.STABLE not in tables or not any(tables.values()):
            return
        names = {table for found in tables.values() for table in found}
        if not whole:
            names.intersection_update(*tables.values())
        for name in sorted(names):
            self._passes[collector, name] = self._passes.get((collector, name), 0) + 1
            for difference in _table(collector, name, {role: found.get(name) for role, found in tables.items()}, self._hide):
                self._keep(difference)

    def differences(self) -> tuple[TableDifference, ...]:
        """All that was found; what only the candidate does first."""
        return tuple(
            TableDifference(
                collector=found.collector,
                table=found.table,
                column=found.column,
                noisy=found.noisy,
                values=found.values,
                passes=found.passes,
                passes_compared=self._passes[found.collector, found.table],
                rows=found.rows,
            )
            for _, found in sorted(self._found.items(), key=lambda item: (item[1].noisy, item[0]))
        )

    def _keep(self, found: TableDifference) -> None:
        key = (found.collector, found.table, found.column, found.noisy)
        first = self._found.get(key)
        if first is None:
            self._found[key] = found
        else:
            self._found[key] = TableDifference(
                collector=first.collector,
                table=first.table,
                column=first.column,
                noisy=first.noisy,
                values=first.values,
                passes=first.passes + 1,
                rows=first.rows,
            )


def _table(collector: str, name: str, states: dict[Role, TableState | None], hide: Hide) -> list[TableDifference]:
    counts = {role: ABSENT if state is None else str(state.rows) for role, state in states.items()}
    found = []
    if len(set(counts.values())) > 1:
        found.append(_difference(collector, name, "", counts, _rows(states, None, hide)))
    present = {role: state for role, state in states.items() if state is not None}
    if len(present) < len(states):
        return found
    for column in sorted({column for state in present.values() for column in state.digests}):
        digests = {role: state.digests.get(column, ABSENT)[:_DIGEST_CHARS] for role, state in present.items()}
        if len(set(digests.values())) > 1 and len(set(counts.values())) == 1:
            found.append(_difference(collector, name, column, digests, _rows(states, column, hide)))
    return found


def _difference(collector: str, table: str, column: str, values: dict[Role, str], rows: tuple[dict[str, str], ...]) -> TableDifference:
    """Without a secondary nobody can tell which columns are made anew at each target; the number of rows is none of them."""
    control = values.get(Role.SECONDARY)
    noisy = control != values[Role.STABLE] if control is not None else bool(column)
    shown = {str(role): value for role, value in values.items()}
    return TableDifference(collector=collector, table=table, column=column, noisy=noisy, values=shown, rows=rows)


def _rows(states: dict[Role, TableState | None], column: str | None, hide: Hide) -> tuple[dict[str, str], ...]:
    """The first rows that differ (in one column, or at all) between stable and another target, side by side."""
    read = {str(role): [orjson.loads(row) for row in state.first] for role, state in states.items() if state is not None}
    longest = max((len(rows) for rows in read.values()), default=0)
    found: list[dict[str, str]] = []
    for index in range(longest):
        at = {role: rows[index] if index < len(rows) else None for role, rows in read.items()}
        shown = [row if column is None or row is None else row.get(column) for row in at.values()]
        if any(other != shown[0] for other in shown[1:]):
            found.append({role: _text(row, hide) for role, row in at.items()})
            if len(found) == _ROWS_SHOWN:
                break
    return tuple(found)


def _text(row: dict[str, Any] | None, hide: Hide) -> str:
    return "" if row is None else orjson.dumps(hide(row)).decode()
