"""The SQL of triggers: whatever a table is called and holds, the log says what was written."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits_collectors
from harness.effects.sqlite import triggers
from harness.effects.sqlite.triggers import LOG, Table, is_virtual, log_table, quoted, shadows_of, wider

NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), min_size=1, max_size=12)
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=20),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=20),
)


def _logged(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return connection.execute(f"SELECT shape, op, v0, v1 FROM {LOG} WHERE id > {triggers.FIRST} ORDER BY id").fetchall()


@given(name=NAMES, columns=st.lists(NAMES, min_size=2, max_size=2, unique_by=str.casefold), old=VALUES, new=VALUES)
def test_any_name_and_any_value(name: str, columns: list[str], old: object, new: object) -> None:
    if name.lower().startswith("sqlite_"):
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE {quoted(name)} ({quoted(columns[0])}, {quoted(columns[1])})")
        for statement in [*log_table(2), *triggers.triggers(Table(name, tuple(columns)), 5)]:
            connection.execute(statement)
        connection.execute(f"INSERT INTO {quoted(name)} VALUES (?, 1)", (old,))
        connection.execute(f"UPDATE {quoted(name)} SET {quoted(columns[0])} = ?", (new,))
        connection.execute(f"DELETE FROM {quoted(name)}")
        got = _logged(connection)
    expected = [(5, "i", old, 1), (5, "o", old, 1), (5, "u", new, 1), (5, "d", new, 1)]
    assert got == expected
    assert [type(row[2]) for row in got] == [type(row[2]) for row in expected]


def test_a_log_that_becomes_wider() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in [*log_table(1), *wider(1, 3)]:
            connection.execute(statement)
        assert [row[1] for row in connection.execute(f"PRAGMA table_info({LOG})")] == ["id", "shape", "op", "v0", "v1", "v2"]
    assert wider(3, 2) == []


def test_the_log_keeps_its_last_rows_and_dense_ids() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (x)")
        for statement in [*log_table(1), *triggers.triggers(Table("t", ("x",)), 1)]:
            connection.execute(statement)
        count = limits_collectors.SQLITE_LOG_ROWS_MAX + 100
        connection.executemany("INSERT INTO t VALUES (?)", ((index,) for index in range(count)))
        assert connection.execute(f"SELECT min(id), max(id), count(*), max(v0) FROM {LOG}").fetchone() == (
            triggers.FIRST + 101,
            triggers.FIRST + count,
            limits_collectors.SQLITE_LOG_ROWS_MAX,
            count - 1,
        )


@pytest.mark.parametrize(
    ("sql", "virtual"),
    [
        ("CREATE VIRTUAL TABLE a USING fts5(b)", True),
        ("create\n virtual\ttable a using rtree(id, x, y)", True),
        ("CREATE TABLE virtual (a)", False),
        ("", False),
    ],
)
def test_virtual_tables_are_told_by_their_statement(sql: str, virtual: bool) -> None:
    assert is_virtual(sql) is virtual


@pytest.mark.parametrize("module", ["fts5(body)", "fts4(body)", "rtree(id, a, b)"])
def test_shadow_tables_are_those_that_sqlite_makes(module: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE docs_orders (x)")
        connection.execute(f"CREATE VIRTUAL TABLE docs USING {module}")
        names = frozenset(name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
    assert shadows_of("docs", names) == names - {"docs", "docs_orders"}


def test_shadow_tables_of_vectors() -> None:
    names = frozenset({"v", "v_chunks", "v_rowids", "v_vector_chunks00", "v_vectors"})
    assert shadows_of("v", names) == {"v_chunks", "v_rowids", "v_vector_chunks00"}
