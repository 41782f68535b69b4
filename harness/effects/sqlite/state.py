"""What a target's tables hold at the end of a pass: rows counted, every column digested, the first rows kept.

Blocks for as long as it reads, in one read transaction; a deadline bounds it.
"""

import math
import sqlite3
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

from harness.core import limits, limits_collectors
from harness.effects.api import TableState
from harness.effects.naming import document
from harness.effects.sqlite.database import is_busy, tables_of
from harness.effects.sqlite.triggers import Table, quoted

_BATCH: Final = 1000
_STEPS: Final = 200_000
"""Steps of SQLite's machine, some milliseconds, between two looks at the time."""
_MASK: Final = (1 << 64) - 1


class OutOfTime(Exception):  # noqa: N818 - a state, nobody's error
    """The deadline came before all was read."""


def plain(value: object) -> Any:
    """A value of SQLite's as one of JSON: blobs as `hex:` and digits, infinite numbers as text, all others as they are."""
    if isinstance(value, bytes):
        return f"hex:{value.hex()}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def read_state(
    connection: sqlite3.Connection, wanted: Callable[[str], bool], lapse: Callable[[str], None], late: Callable[[], bool]
) -> tuple[TableState, ...]:
    """All watched tables by name. `late` says whether time is up. Raises sqlite3.Error, OutOfTime."""
    # A sort or a count can take long by itself, and is interrupted then.
    connection.set_progress_handler(lambda: int(late()), _STEPS)
    connection.execute("BEGIN")
    try:
        tables, _ = tables_of(connection, wanted)
        found = [_state_of(connection, table, lapse, late) for table in tables]
        return tuple(state for state in found if state is not None)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_INTERRUPT:
            raise OutOfTime from error
        raise
    finally:
        connection.set_progress_handler(None, 0)
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _state_of(connection: sqlite3.Connection, table: Table, lapse: Callable[[str], None], late: Callable[[], bool]) -> TableState | None:
    """None, and a lapse, for a table that cannot be read here: the others can."""
    try:
        return _state(connection, table, lapse, late)
    except sqlite3.OperationalError as error:
        if is_busy(error) or late():
            raise
        # A collation of the build's own that the table itself is ordered by, say.
        lapse(f"the final state of table {table.name} cannot be read ({error})")
        return None


def _state(connection: sqlite3.Connection, table: Table, lapse: Callable[[str], None], late: Callable[[], bool]) -> TableState:
    if late():
        raise OutOfTime
    rows = int(connection.execute(f"SELECT count(*) FROM {quoted(table.name)} NOT INDEXED").fetchone()[0])  # noqa: S608 - quoted
    columns = ", ".join(quoted(column) for column in table.columns)
    digests: dict[str, str] = {}
    if rows <= limits_collectors.SQLITE_STATE_ROWS_MAX and rows * len(table.columns) <= limits_collectors.SQLITE_STATE_CELLS_MAX:
        digests = _digests(connection, table, columns, late)
    else:
        lapse(f"table {table.name} is too large for its final state to be compared by more than its number of rows")
    return TableState(table=table.name, rows=rows, digests=digests, first=_first(connection, table, columns, lapse, late))


def _digests(connection: sqlite3.Connection, table: Table, columns: str, late: Callable[[], bool]) -> dict[str, str]:
    """A column's digest is the sum of its values' hashes: the same whatever the order of the rows."""
    sums = [0] * len(table.columns)
    cursor = connection.execute(f"SELECT {columns} FROM {quoted(table.name)} NOT INDEXED")  # noqa: S608 - quoted
    while rows := cursor.fetchmany(_BATCH):
        if late():
            raise OutOfTime
        for index, values in enumerate(zip(*rows, strict=True)):
            sums[index] += sum(map(_hash, values))
    return {column: f"{total & _MASK:016x}" for column, total in zip(table.columns, sums, strict=True)}


def _hash(value: object) -> int:
    """Values of different types hash differently: 1, 1.0, '1' and x'31' are four."""
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8, person=type(value).__name__.encode()).digest(), "big")


def _first(
    connection: sqlite3.Connection, table: Table, columns: str, lapse: Callable[[str], None], late: Callable[[], bool]
) -> tuple[bytes, ...]:
    order = ", ".join(quoted(column) for column in table.key) or columns
    try:
        rows = connection.execute(
            f"SELECT {columns} FROM {quoted(table.name)} ORDER BY {order} LIMIT {limits.EFFECT_TABLE_ROWS_SHOWN_MAX}"  # noqa: S608  (names are quoted)
        ).fetchall()
    except sqlite3.OperationalError as error:
        if late():
            raise
        # A collation of the build's own, say.
        lapse(f"the first rows of table {table.name} cannot be put in order ({error})")
        return ()
    return tuple(document({column: plain(value) for column, value in zip(table.columns, row, strict=True)}) for row in rows)
