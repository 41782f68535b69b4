"""The final state of tables: counts, digests that do not depend on the order of rows, the first rows."""

import asyncio

import orjson
import pytest

from harness.core import limits, limits_collectors
from harness.core.labels import Role
from harness.effects.api import TableState
from harness.effects.postgres import state
from harness.effects.postgres.lapses import LapseBook
from harness.effects.postgres.options import read_options
from tests.effects.postgres.conftest import Clock, Databases

TABLE = "create table t (id int primary key, a text, j json, n numeric)"


def states(databases: Databases, role: Role = Role.STABLE, lapses: LapseBook | None = None, **given: object) -> dict[str, TableState]:
    options = read_options({"dsn": databases.dsn, **given})
    found = asyncio.run(state.tables_of(role, options, Clock(), lapses if lapses is not None else LapseBook()))
    return {one.table: one for one in found}


def test_the_same_rows_in_another_order_are_the_same_state(databases: Databases) -> None:
    databases.make(TABLE, Role.STABLE, Role.CANDIDATE)
    databases.run("insert into t values (1, 'x', '{\"k\": 1}', 1.50), (2, null, null, null), (3, '', '[]', 0)")
    databases.run("insert into t values (3, '', '[]', 0), (2, null, null, null), (1, 'x', '{\"k\": 1}', 1.50)", Role.CANDIDATE)
    one = states(databases)["public.t"]
    assert one == states(databases, Role.CANDIDATE)["public.t"]
    assert (one.rows, list(one.digests)) == (3, ["id", "a", "j", "n"])
    assert orjson.loads(one.first[0]) == {"id": 1, "a": "x", "j": {"k": 1}, "n": "1.50"}
    assert orjson.loads(one.first[1]) == {"id": 2, "a": None, "j": None, "n": None}


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        ("update t set a = 'y' where id = 1", {"a"}),
        ("update t set a = '' where id = 2", {"a"}),
        ("update t set n = 1.5 where id = 1", {"n"}),
        ("update t set a = null, j = '1' where id = 3", {"a", "j"}),
        # Two equal rows more would vanish in an exclusive or.
        ("insert into t values (4, 'z', null, null), (5, 'z', null, null)", {"id", "a", "j", "n"}),
    ],
)
def test_what_differs_is_told_by_column(databases: Databases, change: str, columns: set[str]) -> None:
    databases.make(TABLE)
    databases.run("insert into t values (1, 'x', '{\"k\": 1}', 1.50), (2, null, null, null), (3, '', '[]', 0)")
    before = states(databases)["public.t"].digests
    databases.run(change)
    after = states(databases)["public.t"].digests
    assert {name for name in before if before[name] != after[name]} == columns


def test_every_sort_of_table(databases: Databases) -> None:
    databases.make(
        "create table empty (a int); create table bare (); insert into bare default values;"
        'create table "Odd "".name" ("a ""b" point, x xml, j json); insert into "Odd "".name" values (\'(1,2)\', \'<a/>\', \'{}\');'
        "create table parts (a int) partition by list (a); create table part_1 partition of parts for values in (1);"
        "insert into parts values (1); create unlogged table fleeting (a int); create table audit (a int)"
    )
    lapses = LapseBook()
    found = states(databases, lapses=lapses, ignore_tables=["audit"])
    counts = {name: one.rows for name, one in found.items()}
    assert counts == {"public.empty": 0, "public.bare": 1, 'public.Odd ".name': 1, "public.parts": 1, "public.fleeting": 0}
    assert found["public.empty"].digests == {"a": "0" * 16}
    assert orjson.loads(found['public.Odd ".name'].first[0]) == {'a "b': "(1,2)", "x": "<a/>", "j": {}}
    assert lapses.all() == ()


def test_first_rows_are_bounded_and_by_key(databases: Databases) -> None:
    databases.make("create table t (id int primary key, a text); create table u (a text)")
    databases.run("insert into t select n, repeat('x', 1000000) from generate_series(100, 1, -1) n")
    databases.run("insert into u select n::text from generate_series(100, 1, -1) n")
    found = states(databases)
    rows = [orjson.loads(row) for row in found["public.t"].first]
    assert [row["id"] for row in rows] == list(range(1, limits.EFFECT_TABLE_ROWS_SHOWN_MAX + 1))
    assert all(len(row) <= limits.EFFECT_DOCUMENT_BYTES_MAX for row in found["public.t"].first)
    assert [orjson.loads(row)["a"] for row in found["public.u"].first][:3] == ["1", "10", "100"]


def test_a_table_that_cannot_be_read_is_a_lapse_and_the_others_are_read(databases: Databases) -> None:
    databases.make(f"{TABLE}; create table secret (a int); create table after (a int)")
    server = databases.server
    server.execute("drop role if exists reader")
    server.execute("create role reader login password 'by-the-book'")
    databases.run("grant select on t, after to reader")
    lapses = LapseBook()
    found = states(databases, lapses=lapses, dsn_of={"stable": server.dsn(databases.name(), "reader", "by-the-book")})
    databases.run("revoke select on t, after from reader")
    assert set(found) == {"public.t", "public.after"}
    (lapse,) = lapses.all()
    assert "public.secret was not compared at the end of a pass: permission denied" in lapse.what
    assert (lapse.role, lapse.blind) == (Role.STABLE, False)


def test_a_table_that_takes_too_long_is_a_lapse(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    databases.make(
        "create table a_quick (a int); create table z_quick (a int);"
        "create table slow (a int); insert into slow select generate_series(1, 2000000)"
    )
    monkeypatch.setattr(limits_collectors, "POSTGRES_TABLE_SECONDS_MAX", 0.1)
    lapses = LapseBook()
    found = states(databases, lapses=lapses)
    assert set(found) == {"public.a_quick", "public.z_quick"}
    (lapse,) = lapses.all()
    assert "public.slow was not compared at the end of a pass: canceling statement due to statement timeout" in lapse.what


def test_no_time_left_and_too_many_tables_are_lapses(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    databases.make("create table a (a int); create table b (a int)")
    monkeypatch.setattr(limits_collectors, "POSTGRES_TABLES_MAX", 1)
    lapses = LapseBook()
    assert set(states(databases, lapses=lapses)) == {"public.a"}
    assert [(lapse.what.startswith("tables beyond"), lapse.count) for lapse in lapses.all()] == [(True, 1)]
    monkeypatch.setattr(limits_collectors, "POSTGRES_STATE_SECONDS_MAX", -1.0)
    lapses = LapseBook()
    assert states(databases, lapses=lapses) == {}
    assert "no time left" in lapses.all()[-1].what
