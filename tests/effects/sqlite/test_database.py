"""One file: the cheap look, and changes that are not lost when a lock comes in between."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.core import limits_collectors
from harness.effects.sqlite.database import Busy, Database, Look, connect, is_busy, tables_of


@pytest.fixture
def build(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (x, y)")
        yield connection


def _database(tmp_path: Path, told: list[str]) -> Database:
    return Database(tmp_path / "a.db", lambda _: True, lambda what, count, blind: told.append(what))


def test_a_look_says_whether_anything_changed(tmp_path: Path, build: sqlite3.Connection) -> None:
    database = _database(tmp_path, [])
    assert database.look() is Look.CHANGED
    assert database.attach()
    assert database.look() is Look.SAME
    build.execute("SELECT * FROM t").fetchall()
    assert database.look() is Look.SAME
    build.execute("INSERT INTO t VALUES (1, 2)")
    assert database.look() is Look.CHANGED
    database.read()
    assert database.look() is Look.SAME
    assert [change.new for change in database.take()] == [{"x": 1, "y": 2}]
    assert database.take() == []
    database.detach()
    assert Database(tmp_path / "b.db", lambda _: True, print).look() is Look.MISSING


def test_changes_read_before_a_lock_are_kept(tmp_path: Path, build: sqlite3.Connection) -> None:
    """The schema changed and a writer is at work: the log can be read (WAL), new triggers have to wait."""
    build.execute("PRAGMA journal_mode = wal")
    told: list[str] = []
    database = _database(tmp_path, told)
    database.attach()
    build.execute("INSERT INTO t VALUES (1, 2)")
    build.execute("CREATE TABLE u (z)")
    build.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy):
        database.read()
    assert [change.table for change in database.take()] == ["t"]
    assert database.look() is Look.CHANGED
    build.execute("COMMIT")
    database.read()
    build.execute("INSERT INTO u VALUES (3)")
    database.read()
    assert [change.new for change in database.take()] == [{"z": 3}]
    assert told == []
    database.detach()


def test_many_rows_are_read_in_pieces(tmp_path: Path, build: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece may end between the two rows of an update."""
    monkeypatch.setattr(limits_collectors, "SQLITE_READ_ROWS_MAX", 3)
    database = _database(tmp_path, [])
    database.attach()
    build.execute("INSERT INTO t VALUES (1, 1), (2, 2)")
    build.execute("UPDATE t SET y = y + 10")
    database.read()
    assert [(change.op, change.old, change.new) for change in database.take()] == [
        ("i", None, {"x": 1, "y": 1}),
        ("i", None, {"x": 2, "y": 2}),
        ("u", {"x": 1, "y": 1}, {"x": 1, "y": 11}),
        ("u", {"x": 2, "y": 2}, {"x": 2, "y": 12}),
    ]
    database.detach()


def test_an_error_that_is_no_lock_is_raised_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"no database" * 500)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        _database(tmp_path, []).attach()
    assert not is_busy(caught.value)


def test_tables_with_too_many_columns_are_named(tmp_path: Path, build: sqlite3.Connection) -> None:
    build.execute(f"CREATE TABLE huge ({', '.join(f'c{i}' for i in range(1995))})")
    with closing(connect(tmp_path / "a.db", "ro")) as connection:
        found, unseen = tables_of(connection, lambda _: True)
    assert [table.name for table in found] == ["t"]
    assert unseen == ["table huge: it has too many columns to be watched"]
