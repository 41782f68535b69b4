"""The SQL by which a watched SQLite database keeps a log of its own rows: one table, three triggers for each table. Pure.

The triggers run inside the build, with whatever SQLite library it has, so they may use nothing that could fail there and make the
build's statement fail with it: no JSON functions (absent from old libraries, and they refuse blobs), and no AUTOINCREMENT (it would
make a table of SQLite's own). VIRTUAL generated columns are left out: they follow from the others, and the functions that compute
them may be the build's own. Values are logged as they are, in as many columns as the widest table has.
"""

import re
from typing import Final

import msgspec

from harness.core import limits_collectors

PREFIX: Final = "_shadowdiff_"
LOG: Final = "_shadowdiff_log"

FIRST: Final = 1 << 40
"""The id of the log's first row. In a log that a build has emptied ids begin with 1, so that this can be told."""

INSERTED: Final = "i"
OLD: Final = "o"
"""The row before an update; the row with UPDATED comes right behind it."""
UPDATED: Final = "u"
DELETED: Final = "d"

_VIRTUAL: Final = re.compile(r"\s*create\s+virtual\s+table\b", re.IGNORECASE)
_SHADOW_SUFFIXES: Final = (
    *("content", "segments", "segdir", "docsize", "stat", "data", "idx", "config"),  # FTS3, FTS4, FTS5
    *("node", "rowid", "parent"),  # R*Tree
    *("chunks", "rowids", "info", "auxiliary"),  # vectors (sqlite-vec)
)


class Table(msgspec.Struct, frozen=True):
    """A table as far as it is watched."""

    name: str
    columns: tuple[str, ...]
    """All but generated ones that are not stored."""
    key: tuple[str, ...] = ()
    """Columns of the primary key, in its order."""
    generated: tuple[str, ...] = ()
    """The column that is another name of the rowid, which SQLite numbers itself."""


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def is_virtual(sql: str) -> bool:
    """Whether a statement of sqlite_master made a virtual table."""
    return _VIRTUAL.match(sql) is not None


def shadows_of(virtual: str, names: frozenset[str]) -> frozenset[str]:
    """The tables in which a virtual table keeps its own data."""
    mine = f"{virtual}_"
    return frozenset(name for name in names if name.startswith(mine) and _is_suffix(name[len(mine) :]))


def _is_suffix(text: str) -> bool:
    return text in _SHADOW_SUFFIXES or text.rstrip("0123456789") in {"vector_chunks", "metadatachunks", "metadatatext"}


def log_table(width: int) -> list[str]:
    """The statements that make the log, for tables of up to `width` columns. Its first row says nothing."""
    columns = "".join(f", v{index}" for index in range(width))
    return [
        f"CREATE TABLE {LOG} (id INTEGER PRIMARY KEY, shape, op{columns})",
        f"INSERT INTO {LOG} (id) VALUES ({FIRST})",  # noqa: S608 - constants
    ]


def wider(width: int, needed: int) -> list[str]:
    """The statements that bring a log of `width` columns to `needed`."""
    return [f"ALTER TABLE {LOG} ADD COLUMN v{index}" for index in range(width, needed)]


def trigger_names(shape: int) -> tuple[str, str, str]:
    """The names of the triggers that log a table under a number."""
    return (f"{PREFIX}{shape}_{INSERTED}", f"{PREFIX}{shape}_{UPDATED}", f"{PREFIX}{shape}_{DELETED}")


def triggers(table: Table, shape: int) -> list[str]:
    """The statements that make them. `shape` stands in each row of the log for the table and its columns as they are now."""
    inserted, updated, deleted = trigger_names(shape)
    on = quoted(table.name)
    new = _row("NEW", table, shape, INSERTED)
    old = _row("OLD", table, shape, DELETED)
    both = _row("OLD", table, shape, OLD) + _row("NEW", table, shape, UPDATED)
    return [
        f"CREATE TRIGGER {inserted} AFTER INSERT ON {on} BEGIN {new}{_TRIM} END",
        f"CREATE TRIGGER {updated} AFTER UPDATE ON {on} BEGIN {both}{_TRIM} END",
        f"CREATE TRIGGER {deleted} AFTER DELETE ON {on} BEGIN {old}{_TRIM} END",
    ]


# Never the last row: the next id is the highest one plus 1, so ids stay dense and a gap says how much was pushed out.
_TRIM: Final = f"DELETE FROM {LOG} WHERE id <= (SELECT max(id) FROM {LOG}) - {limits_collectors.SQLITE_LOG_ROWS_MAX};"  # noqa: S608 - constants


def _row(which: str, table: Table, shape: int, op: str) -> str:
    into = "".join(f", v{index}" for index in range(len(table.columns)))
    values = "".join(f", {_value(f'{which}.{quoted(column)}')}" for column in table.columns)
    return f"INSERT INTO {LOG} (shape, op{into}) VALUES ({shape}, '{op}'{values});"  # noqa: S608 - names are quoted


def _value(column: str) -> str:
    """The value itself, a long one cut: nothing that a build stores may make the log many times as large as its data."""
    cut = limits_collectors.SQLITE_VALUE_CHARS_MAX
    return (
        f"CASE WHEN length({column}) > {cut} THEN CASE typeof({column}) "
        f"WHEN 'blob' THEN 'hex:' || hex(substr({column}, 1, {cut // 2})) || '… ' || length({column}) || ' bytes' "
        f"ELSE substr({column}, 1, {cut}) || '… ' || length({column}) || ' characters' END ELSE {column} END"
    )
