"""Connections, slots and what is said of their failures."""

import asyncio

import psycopg
import pytest

from harness.core.errors import SetupError
from harness.core.labels import Role
from harness.effects.postgres.changes import Identity
from harness.effects.postgres.link import Link, check_dsn, shown, words
from tests.effects.postgres.conftest import Databases

SCHEMA = """
create table keyed (b int, a int, c text, primary key (b, a) include (c)); create table keyless (a int);
create table whole (a int primary key); alter table whole replica identity full;
create table none (a int primary key); alter table none replica identity nothing;
create table named (a int not null unique, b int); alter table named replica identity using index named_a_key;
create table late (a int primary key deferrable); create unlogged table fleeting (a json);
create table parts (a int) partition by list (a); create table part_1 partition of parts for values in (1);
create view seen as select 1; create temp table temporary (a int)
"""


def test_what_the_catalogue_says(databases: Databases) -> None:
    databases.make(SCHEMA)

    async def main() -> None:
        link = await Link.connect(databases.server.dsn(databases.name()))
        tables = {table.name: table for table in await link.tables()}
        await link.close()
        assert set(tables) == {"keyed", "keyless", "whole", "none", "named", "late", "fleeting", "parts", "part_1"}
        assert tables["keyed"].columns == (("b", "23"), ("a", "23"), ("c", "25"))
        assert (tables["keyed"].identity, tables["keyed"].key, tables["keyed"].primary) == (Identity.KEY, ("b", "a"), ("b", "a"))
        assert (tables["named"].identity, tables["named"].key, tables["named"].primary) == (Identity.KEY, ("a",), ())
        identities = {name: table.identity for name, table in tables.items()}
        assert [identities[name] for name in ("whole", "none", "keyless", "late")] == [Identity.FULL, *[Identity.NONE] * 3]
        assert tables["fleeting"].unlogged
        assert (tables["parts"].whole, tables["part_1"].part, tables["part_1"].shown) == (True, True, "public.parts")

    asyncio.run(main())


def test_places_tell_databases_apart(databases: Databases) -> None:
    databases.make("", Role.STABLE, Role.CANDIDATE)

    async def main() -> None:
        places = []
        for role in (Role.STABLE, Role.STABLE, Role.CANDIDATE):
            link = await Link.connect(databases.server.dsn(databases.name(role)))
            places.append(await link.place())
            await link.close()
        assert places[0] == places[1]
        assert places[0] != places[2]
        assert places[0].server == places[2].server
        assert places[0].wal_level == "logical"

    asyncio.run(main())


def test_values_are_written_the_same_way_whatever_a_database_has_set(databases: Databases) -> None:
    databases.make("create table t (a timestamptz, b interval, c bytea, d float8, e date)")
    for setting in (
        "datestyle = 'german'",
        "intervalstyle = 'iso_8601'",
        "timezone = 'Asia/Tokyo'",
        "bytea_output = 'escape'",
        "extra_float_digits = -10",
    ):
        databases.run(f"alter database {databases.name()} set {setting}")

    async def main() -> None:
        link = await Link.connect(databases.server.dsn(databases.name()))
        await link.create_slot("shadowdiff_test_values", "test_decoding")
        databases.run("insert into t values ('2020-01-01 10:00+00', '1 day', '\\x00', 0.1234567890123456, '2020-02-01')")
        rows = b" ".join(row.data for row in (await link.changes()).rows)
        for text in (b"'2020-01-01 10:00:00+00'", b"'1 day'", b"'\\x00'", b":0.1234567890123456 ", b"'2020-02-01'"):
            assert text in rows
        await link.close()

    asyncio.run(main())


def test_a_slot_is_gone_with_its_connection(databases: Databases) -> None:
    databases.make()

    async def main() -> None:
        link = await Link.connect(databases.server.dsn(databases.name()))
        await link.create_slot("shadowdiff_test_gone", "test_decoding")
        assert databases.run("select temporary from pg_replication_slots where slot_name = 'shadowdiff_test_gone'") == [(True,)]
        await link.drop_slot()
        await link.drop_slot()
        assert databases.run("select 1 from pg_replication_slots where slot_name = 'shadowdiff_test_gone'") == []
        await link.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "dsn", ["host=h password=s3cret dbname=d user=u", "postgresql://u:s3cret@h/d", "postgresql://u@h/d?password=s3cret&sslmode=disable"]
)
def test_passwords_are_never_shown(dsn: str) -> None:
    assert shown(dsn) == "host=h dbname=d user=u"
    assert words(psycopg.OperationalError(f"cannot use {dsn}\nat all"), dsn) == f"cannot use {dsn.replace('s3cret', '***')} at all"


@pytest.mark.parametrize("dsn", ["password=a s3cret", "postgresql://u:s3cret@h:port:x/d?nonsense=s3cret", "passwort=s3cret"])
def test_unreadable_connection_strings_are_refused_unseen(dsn: str) -> None:
    with pytest.raises(SetupError) as caught:
        check_dsn(dsn, Role.STABLE)
    assert "s3cret" not in str(caught.value)
    assert shown(dsn) == "(unreadable)"
