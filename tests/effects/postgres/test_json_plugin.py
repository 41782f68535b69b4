"""Objects of wal2json read, and both plugins against each other: the same changes at a real server give the same effects."""

import asyncio
import itertools
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from harness.core.errors import SetupError
from harness.effects.postgres.changes import Action, Cell, Change, Message, Sort
from harness.effects.postgres.collector import PostgresCollector
from harness.effects.postgres.json_plugin import read
from tests.effects.postgres.conftest import Attach, Databases
from tests.effects.postgres.server import PostgresServer

WIDE = """
create type mood as enum ('sad', 'ok'); create type "Odd ""type" as (a int, b text);
create domain positive as int check (value > 0); create domain document as jsonb;
create table k (id serial primary key, i2 int2, i8 int8, f4 float4, f8 float8, n numeric(12, 2), nn numeric, b bool, t text,
  vc varchar(10), c char(5), "by" bytea, j json, jb jsonb, ts timestamp(3), tz timestamptz, d date, iv interval, u uuid, ia int[],
  ta text[], bi bit(3), vb varbit, m mood, p positive, dj document, o oid, mo money, x xml, r int4range, cp "Odd ""type",
  g int generated always as (id * 2) stored, "We""ird: x[y]" text, dropped int);
alter table k drop column dropped
"""
CHANGES = [
    """insert into k (i2, i8, f4, f8, n, nn, b, t, vc, c, "by", j, jb, ts, tz, d, iv, u, ia, ta, bi, vb, m, p, dj, o, mo, x, r, cp,
    "We""ird: x[y]") values (1, 9223372036854775807, 0.1, 1e300, 12.50, 1e50, true, E'it''s "q" \\\\ back\\nline é', 'vc', 'c',
    '\\x00ff', '{"a": 1.0, "a": 2}', '{"a": [1, null]}', '2020-01-01 10:00:00.5', '2020-01-01 10:00:00+02', '2020-01-01',
    '1 day 02:00', '6ecd8c99-4036-403d-bf84-cf8400f67836', '{1,2}', '{a,"b c",NULL}', '101', '1', 'ok', 5, '[1]', 77, '12.5',
    '<a/>', '[1,5)', '(1,"x y")', '')""",
    "insert into k default values",
    "update k set t = 'x' where id = 1",
    "update k set id = 10 where id = 1",
    "delete from k where id = 10",
    "alter table k replica identity full",
    "update k set t = 'y', b = false",
    "update k set t = t",
    "update k set t = null, jb = '{}'",
    "delete from k",
    "create table big (id int primary key, body text, s text); alter table big alter body set storage external",
    "insert into big values (1, repeat('q', 10000), null)",
    "update big set s = 'u'",
    "alter table big replica identity full",
    "update big set s = null",
    "update big set s = 'v'",
    "delete from big",
    "create table two (a int not null, b int not null, c int, primary key (b, a)); insert into two values (1, 2, 3)",
    "update two set b = 7; update two set c = 8; delete from two",
    "create table named (a int not null unique, b int); alter table named replica identity using index named_a_key",
    "insert into named values (1, 2); update named set a = 2; update named set b = null; delete from named",
    "insert into k (t) select 'many' from generate_series(1, 3)",
    "truncate k, big restart identity cascade",
]


def test_objects() -> None:
    columns = '[{"name":"id","typeoid":23,"value":1},{"name":"n","typeoid":1700,"value":12.50},{"name":"b","typeoid":16,"value":true}]'
    new = {"id": Cell(Sort.INTEGER, "1"), "n": Cell(Sort.TEXT, "12.50"), "b": Cell(Sort.BOOLEAN, "true")}
    key = '[{"name":"by","typeoid":17,"value":"00ff"},{"name":"j","typeoid":3802,"value":"{}"},{"name":"t","typeoid":25,"value":null}]'
    old = {"by": Cell(Sort.TEXT, "\\x00ff"), "j": Cell(Sort.JSON, "{}"), "t": Cell(Sort.TEXT, None)}
    assert read(f'{{"action":"I","schema":"s","table":"t","columns":{columns}}}') == (Change(Action.INSERT, "s", "t", new, {}),)
    both = f'{{"action":"U","schema":"s","table":"t","columns":{columns},"identity":{key}}}'
    assert read(both) == (Change(Action.UPDATE, "s", "t", new, old),)
    assert read(f'{{"action":"D","schema":"s","table":"t","identity":{key}}}') == (Change(Action.DELETE, "s", "t", {}, old),)
    assert read('{"action":"T","schema":"s","table":"t"}') == (Change(Action.TRUNCATE, "s", "t", {}, {}),)
    assert read('{"action":"M","transactional":true,"prefix":"shadowdiff","content":"x"}') == (Message("x"),)
    assert read('{"action":"M","transactional":false,"prefix":"shadowdiff","content":"x"}') == ()
    assert read('{"action":"M","transactional":true,"prefix":"shadowdiff2","content":"x"}') == ()
    assert read('{"action":"C"}') == ()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", '{"action":"I"}', '{"action":"M"}', '{"action":"I","schema":"s","table":"t","columns":[1]}']
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"wal2json|Expecting"):
        read(text)


async def drained(collector: PostgresCollector) -> list[tuple[str, Any, str]]:
    return [(one.effect.operation, orjson.loads(one.effect.document), one.trace) for one in await collector.drain()]


def test_both_plugins_give_the_same_effects(attached: Attach, databases: Databases) -> None:
    databases.make(WIDE)

    async def main() -> None:
        try:
            async with attached(plugin="test_decoding") as one, attached(plugin="wal2json") as other:
                found = []
                for change in CHANGES:
                    databases.run(change)
                    effects = await drained(one)
                    assert await drained(other) == effects, change
                    found.extend(effects)
                assert len(found) == 27
                assert one.lapses() == other.lapses() == ()
                first = found[0][1]["row"]
                assert first["i8"] == 9223372036854775807
                assert (first["n"], first["f4"], first["f8"], first["b"], first["o"]) == ("12.50", 0.1, 1e300, True, 77)
                assert (first["by"], first["bi"], first["jb"], first["dj"]) == ("\\x00ff", "101", {"a": [1, None]}, "[1]")
                assert (first["tz"], first["c"], first["cp"], first["g"]) == ("2020-01-01 08:00:00+00", "c    ", '(1,"x y")', 2)
                assert set(found[1][1]["row"].values()) == {2, 4, None}
        except SetupError as error:
            pytest.skip(str(error))

    asyncio.run(main())


_VALUES = st.fixed_dictionaries(
    {
        "t": st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        "i": st.none() | st.integers(-(2**63), 2**63 - 1),
        "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "n": st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=3),
        "y": st.none() | st.binary(max_size=20),
        "b": st.none() | st.booleans(),
        "j": st.none()
        | st.recursive(st.none() | st.integers(-9, 9) | st.text("ab'\"\\ :[]"), st.lists, max_leaves=5).map(
            lambda value: orjson.dumps(value).decode()
        ),
    }
)
_NAMES = itertools.count()


@settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    before=_VALUES,
    after=_VALUES,
    full=st.booleans(),
    column=st.text(st.characters(exclude_characters="\0%", codec="ascii"), min_size=1, max_size=20),
)
def test_both_plugins_give_the_same_effects_for_any_values(
    server: PostgresServer, attached: Attach, databases: Databases, before: dict[str, Any], after: dict[str, Any], full: bool, column: str
) -> None:
    if not server.has_plugin("wal2json"):
        pytest.skip("wal2json is not installed (Debian: postgresql-NN-wal2json)")
    if not databases.made:
        databases.make()
    table = sql.Identifier(f"T {next(_NAMES)}{column}"[:30])
    odd = sql.Identifier(f"{column}_")
    schema = sql.SQL("create table {} (id int primary key, t text, i int8, f float8, n numeric, y bytea, b bool, j jsonb, {} text)")
    names = list(before)
    setting = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in names)
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    values = sql.SQL(", ").join(map(sql.Placeholder, names))

    async def main() -> None:
        with psycopg.connect(server.dsn(databases.name()), autocommit=True) as build:
            build.execute(schema.format(table, odd))
            if full:
                build.execute(sql.SQL("alter table {} replica identity full").format(table))
            async with attached(plugin="test_decoding") as one, attached(plugin="wal2json") as other:
                build.execute(sql.SQL("insert into {} (id, {}) values (1, {})").format(table, columns, values), before)
                build.execute(sql.SQL("update {} set {}").format(table, setting), after)
                build.execute(sql.SQL("update {} set {} = 'x', id = 2").format(table, odd))
                build.execute(sql.SQL("delete from {}").format(table))
                effects = await drained(one)
                assert len(effects) == 4
                assert effects[0][1]["row"]["t"] == before["t"]
                assert effects[1][1]["row"]["i"] == after["i"]
                assert effects[1][1]["row"]["f"] == after["f"]
                assert await drained(other) == effects
                assert one.lapses() == other.lapses() == ()

    asyncio.run(main())
