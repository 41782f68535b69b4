"""One target's SQLite file while its build runs: the triggers put in, kept in step with the schema, and their log read.

All calls block for as long as SQLite needs (never for a lock: there is no busy time-out here, a locked database raises Busy and is
tried again later), and none is safe to make from two threads at once. Nothing here writes while the build is at work, but for
putting triggers in after the schema changed.
"""

import os
import sqlite3
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from harness.core import limits_collectors
from harness.core.entities import entity_of_word, id_entity
from harness.effects.naming import text_of
from harness.effects.sqlite import triggers
from harness.effects.sqlite.triggers import DELETED, FIRST, INSERTED, LOG, OLD, PREFIX, UPDATED, Table, quoted

_HIDDEN: Final = frozenset({1, 2})
"""Columns of a virtual table's own, and generated ones that are not stored."""

_REPLACED: Final = "the file of the database was replaced while it was watched: what was written to the old one since the last look is lost"
_GONE: Final = "the log of changes was dropped while it was watched: what was in it since the last look is lost"

Row = dict[str, Any]


class Busy(Exception):  # noqa: N818 - a state, nobody's error
    """The build holds a lock; try again later."""


class Look(Enum):
    """What a cheap look at the file says."""

    SAME = "same"
    CHANGED = "changed"
    MISSING = "missing"
    """There is no file yet (or no longer)."""


class Change(msgspec.Struct, frozen=True):
    """One row that a build changed."""

    table: str
    op: str
    new: Row | None
    old: Row | None
    generated: tuple[str, ...] = ()
    """Columns of a new row that SQLite may have numbered itself."""


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection in autocommit mode that never waits for a lock. `mode` is that of SQLite's URIs. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=0, isolation_level=None, check_same_thread=False)
    connection.text_factory = text_of
    return connection


def is_busy(error: sqlite3.Error) -> bool:
    """Whether an error says that somebody else holds a lock."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _raised(error: sqlite3.Error) -> Exception:
    return Busy() if is_busy(error) else error


def tables_of(connection: sqlite3.Connection, wanted: Callable[[str], bool]) -> tuple[list[Table], list[str]]:
    """The tables that can be watched, and what cannot be seen of others, for people. Raises sqlite3.Error."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    names = frozenset(name for name, _ in rows)
    virtual = {name for name, sql in rows if triggers.is_virtual(sql or "")}
    shadows: set[str] = set()
    for name in virtual:
        shadows |= triggers.shadows_of(name, names)
    found, unseen = [], []
    for name, _ in rows:
        if name.startswith(("sqlite_", PREFIX)) or name in shadows or not wanted(name):
            continue
        if name in virtual:
            unseen.append(f"virtual table {name}: its changes cannot be seen; name it in ignore_tables if they need not be")
            continue
        info = connection.execute(f"PRAGMA table_xinfo({quoted(name)})").fetchall()
        columns = tuple(column[1] for column in info if column[6] not in _HIDDEN)
        key = tuple(column[1] for column in sorted(info, key=lambda column: column[5]) if column[5])
        if len(columns) > limits_collectors.SQLITE_COLUMNS_MAX:
            unseen.append(f"table {name}: it has too many columns to be watched")
            continue
        found.append(Table(name, columns, key, _generated(connection, name, info)))
    return [_with_own_keys(table, found) for table in found], unseen


def _with_own_keys(table: Table, tables: list[Table]) -> Table:
    """`settings.user_id`, where there is a table `users`: the key of a user's row, which nobody made for this one."""
    entity = id_entity(table.generated[0]) if table.generated else None
    own = entity_of_word(table.name)
    if not entity or own[-len(entity) :] == entity or entity[-len(own) :] == own:
        return table
    if any(other.generated and entity_of_word(other.name) == entity for other in tables):
        return msgspec.structs.replace(table, generated=())
    return table


def _generated(connection: sqlite3.Connection, table: str, info: list[Any]) -> tuple[str, ...]:
    """The INTEGER PRIMARY KEY. One that is no rowid (WITHOUT ROWID, DESC) has an index of its own, and numbers are not made for it."""
    keys = [column for column in info if column[5]]
    if len(keys) != 1 or keys[0][2].upper() != "INTEGER":
        return ()
    indexes = connection.execute(f"PRAGMA index_list({quoted(table)})").fetchall()
    return () if any(index[3] == "pk" for index in indexes) else (keys[0][1],)


class Database:
    """The file of one target. `lapse(what, count, blind)` is told what cannot be seen."""

    def __init__(self, path: Path, wanted: Callable[[str], bool], lapse: Callable[[str, int, bool], None]) -> None:
        self._path = path
        self._wanted = wanted
        self._lapse = lapse
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] = (0, 0)
        self._shapes: dict[int, Table] = {}
        """Every number that was ever given out for this file: rows logged before a change of the schema are read with it."""
        self._live: dict[str, int] = {}
        """Table -> the number that its triggers log now."""
        self._told: set[str] = set()
        self._width = 0
        self._last = 0
        self._data_version = -1
        self._schema_version = -1
        self._old: Row | None = None
        self._changes: list[Change] = []

    def take(self) -> list[Change]:
        """What was read and not yet taken."""
        taken, self._changes = self._changes, []
        return taken

    def attach(self, *, late: bool = False) -> bool:
        """Put the triggers in; returns whether there is a file. Raises Busy or sqlite3.Error.

        `late`: the watching has begun, so rows that are there already were not seen.
        """
        self.detach()
        try:
            found = os.stat(self._path)  # noqa: PTH116 - called before every look
            self._connection = connect(self._path, "rw")
        except OSError:
            return False
        self._file = (found.st_dev, found.st_ino)
        try:
            self._data_version = self._version("data_version")
            self._install(fresh=True, late=late)
        except sqlite3.Error as error:
            self.detach()
            raise _raised(error) from error
        return True

    def detach(self) -> None:
        """Let go of the file. Triggers and log stay in it: taking them out could meet the build's locks."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._shapes, self._live, self._old = {}, {}, None
        self._last = self._width = 0

    def look(self) -> Look:
        """Whether somebody wrote since the last read; takes microseconds. Raises Busy or sqlite3.Error."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 - called before every look
        except OSError:
            return Look.MISSING
        if self._connection is None or (found.st_dev, found.st_ino) != self._file:
            return Look.CHANGED
        try:
            return Look.SAME if self._version("data_version") == self._data_version else Look.CHANGED
        except sqlite3.Error as error:
            raise _raised(error) from error

    def read(self) -> None:
        """Read what was logged, to be taken, and put triggers in anew where the schema changed. Raises Busy or sqlite3.Error.

        What was read before it raised can be taken all the same.
        """
        if self._connection is None or self._is_other_file():
            if self._connection is not None:
                # It is not read any more: SQLite would take the new file's journal for its own.
                self._lapse(_REPLACED, 1, True)
            self.attach(late=True)
            return
        try:
            version = self._version("data_version")
            changed = self._version("schema_version") != self._schema_version
            self._read_log(lost=changed)
            if changed:
                self._install(fresh=False, late=True)
            self._data_version = version
        except sqlite3.Error as error:
            raise _raised(error) from error

    def _is_other_file(self) -> bool:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - as above
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != self._file

    def _version(self, which: str) -> int:
        assert self._connection is not None
        return int(self._connection.execute(f"PRAGMA {which}").fetchone()[0])

    def _read_log(self, *, lost: bool) -> None:
        """`lost`: the schema changed, so that the log itself may be gone."""
        assert self._connection is not None
        if not self._live:
            return
        try:
            self._see_emptied()
        except sqlite3.OperationalError as error:
            if is_busy(error) or not lost:
                raise
            self._lapse(_GONE, 1, True)
            return
        while True:
            rows = self._connection.execute(
                f"SELECT * FROM {LOG} WHERE id > ? ORDER BY id LIMIT {limits_collectors.SQLITE_READ_ROWS_MAX}",  # noqa: S608 - constants
                (self._last,),
            ).fetchall()
            if not rows:
                return
            if gap := rows[0][0] - self._last - 1:
                self._lapse("more rows changed between two looks than the log holds: the first are lost", gap, True)
                self._old = None
            self._last = rows[-1][0]
            for row in rows:
                self._file_row(row)
            if len(rows) < limits_collectors.SQLITE_READ_ROWS_MAX:
                return

    def _see_emptied(self) -> None:
        """A build that empties every table it finds empties the log too."""
        assert self._connection is not None
        first, last = self._connection.execute(
            f"SELECT (SELECT min(id) FROM {LOG}), (SELECT max(id) FROM {LOG})"  # noqa: S608 - constants
        ).fetchone()
        if (first or 0) < FIRST <= self._last or (last or 0) < self._last:
            self._lapse("the build emptied the log of its changes: some may be lost", 1, True)
            self._last = last if (first or 0) >= FIRST else 0  # an older copy of the file was put in its place, or it begins anew
            self._old = None

    def _file_row(self, row: tuple[Any, ...]) -> None:
        _, shape, op, *values = row
        table = self._shapes.get(shape)
        if table is None:
            self._lapse("rows of the log that are none of this run's", 1, True)
            return
        named = dict(zip(table.columns, values, strict=False))
        if op == OLD:
            self._old = named
        elif op == UPDATED:
            self._changes.append(Change(table.name, op, named, self._old))
            self._old = None
        elif op == DELETED:
            self._changes.append(Change(table.name, op, None, named))
        else:
            self._changes.append(Change(table.name, op, named, None, table.generated))

    def _install(self, *, fresh: bool, late: bool) -> None:
        """Bring the triggers in step with the tables, in one transaction. `fresh`: what an earlier run left is taken out first."""
        connection = self._connection
        assert connection is not None
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            # It stays untouched, even by a transaction: a build may yet look whether it has to fill it.
            self._live, self._schema_version = {}, self._version("schema_version")
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            if fresh:
                self._clear(connection)
            tables, unseen = tables_of(connection, self._wanted)
            width = self._make_log(connection, tables)
            live, made = self._replace(connection, tables)
            filled = [table for table in made if late and _is_filled(connection, table)]
            schema_version = self._version("schema_version")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._width, self._live, self._schema_version = width, live, schema_version
        for what in unseen:
            if what not in self._told:
                self._told.add(what)
                self._lapse(what, 1, True)
        for table in filled:
            self._lapse(f"table {table} was made or altered while it was watched: what was written before that is not seen", 1, True)

    def _clear(self, connection: sqlite3.Connection) -> None:
        for kind, name in connection.execute("SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'table')").fetchall():
            if name.startswith(PREFIX):
                connection.execute(f"DROP {'TRIGGER' if kind == 'trigger' else 'TABLE'} IF EXISTS {quoted(name)}")

    def _make_log(self, connection: sqlite3.Connection, tables: list[Table]) -> int:
        needed = max((len(table.columns) for table in tables), default=0)
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (LOG,)).fetchone() is None:
            for statement in triggers.log_table(needed):
                connection.execute(statement)
            self._last = FIRST
            return needed
        for statement in triggers.wider(self._width, needed):
            connection.execute(statement)
        return max(needed, self._width)

    def _replace(self, connection: sqlite3.Connection, tables: list[Table]) -> tuple[dict[str, int], list[str]]:
        """New triggers where a table is new or no longer what its triggers were made for, and those tables."""
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'") if name.startswith(PREFIX)}
        live: dict[str, int] = {}
        made: list[str] = []
        for table in tables:
            before = self._live.get(table.name)
            if before is not None and self._shapes[before] == table and there.issuperset(triggers.trigger_names(before)):
                live[table.name] = before
                continue
            shape = len(self._shapes) + 1
            self._shapes[shape] = table
            for statement in triggers.triggers(table, shape):
                connection.execute(statement)
            live[table.name] = shape
            made.append(table.name)
        keep = {name for shape in live.values() for name in triggers.trigger_names(shape)}
        for name in sorted(there - keep):
            connection.execute(f"DROP TRIGGER {quoted(name)}")
        return live, made


def _is_filled(connection: sqlite3.Connection, table: str) -> bool:
    """Whether there are rows, as far as can be known: a collation of the build's own may keep us from looking."""
    try:
        return bool(connection.execute(f"SELECT EXISTS (SELECT 1 FROM {quoted(table)} NOT INDEXED)").fetchone()[0])  # noqa: S608 - quoted
    except sqlite3.OperationalError as error:
        if is_busy(error):
            raise
        return True


__all__ = ["DELETED", "INSERTED", "UPDATED", "Busy", "Change", "Database", "Look", "connect", "is_busy", "tables_of"]
