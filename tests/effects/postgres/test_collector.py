"""What the collector says of row changes in a real PostgreSQL, of what it cannot see, and of servers that are not as they should be."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson
import psycopg
import pytest

from harness.core import limits, limits_collectors
from harness.core.errors import SetupError, UsageError
from harness.core.labels import Role
from harness.effects.api import OpenTrial, Workplace
from harness.effects.postgres import options
from harness.effects.postgres.collector import PostgresCollector
from tests.effects.postgres.conftest import Attach, Databases
from tests.effects.postgres.server import PostgresServer, postgres_server

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER_TRACE = "1bf7651916cd43dd8448eb211c80319d"
ORDERS = "create table orders (id serial primary key, item text, price numeric(10, 2), tags jsonb)"
FULL = f"{ORDERS}; alter table orders replica identity full"
SECONDS = 60.0
"""How long a test waits for what has to come."""


def trial(*roles: Role) -> OpenTrial:
    return OpenTrial(trace=TRACE, roles=roles or (Role.STABLE,), request="r")


async def seen(collector: PostgresCollector) -> list[tuple[str, Any]]:
    return [(one.effect.operation, orjson.loads(one.effect.document)) for one in await collector.drain()]


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """What a condition gives once it gives something."""
    end = time.monotonic() + SECONDS
    while not (found := await condition()):
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.02)
    return found


def run(main: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(main())  # type: ignore[arg-type]  # a coroutine function


def test_inserts_updates_deletes_and_truncates_in_commit_order(attached: Attach, databases: Databases, plugin: str) -> None:
    databases.make(FULL)
    databases.run("insert into orders (item) values ('before')")

    async def main() -> None:
        async with attached(plugin=plugin) as collector:
            assert collector.mode == plugin
            assert await seen(collector) == []
            databases.run("insert into orders (item, price, tags) values ('book', 12.5, '{\"new\": [1, null]}')")
            databases.run("update orders set item = 'pen', tags = null where id = 2")
            databases.run("delete from orders where id = 2")
            databases.run("truncate orders")
            book = {"id": 2, "item": "book", "price": "12.50", "tags": {"new": [1, None]}}
            pen = book | {"item": "pen", "tags": None}
            assert await seen(collector) == [
                ("INSERT public.orders", {"row": book}),
                ("UPDATE public.orders", {"row": pen, "changed": {"item": "book", "tags": {"new": [1, None]}}}),
                ("DELETE public.orders", {"old": pen}),
                ("TRUNCATE public.orders", {}),
            ]
            assert await seen(collector) == []
            assert collector.lapses() == ()

    run(main)


def test_effects_say_what_they_are(attached: Attach, databases: Databases) -> None:
    databases.make(ORDERS)

    async def main() -> None:
        async with attached() as collector:
            before = time.monotonic_ns()
            databases.run("insert into orders (item) values ('book')")
            (one,) = await collector.drain()
            assert (one.role, one.trace, one.effect.collector, one.effect.writes) == (Role.STABLE, "", "postgres", True)
            assert before <= one.effect.at_ns <= time.monotonic_ns()

    run(main)


def test_what_is_rolled_back_did_not_happen(attached: Attach, databases: Databases, plugin: str) -> None:
    databases.make(ORDERS)

    async def main() -> None:
        async with attached(plugin=plugin) as collector:
            with psycopg.connect(databases.server.dsn(databases.name())) as open_one:
                open_one.execute("insert into orders (item) values ('lost')")
                open_one.execute("savepoint inner_one")
                assert await seen(collector) == []
                open_one.rollback()
                open_one.execute("insert into orders (item) values ('kept')")
                open_one.execute("savepoint inner_one")
                open_one.execute("insert into orders (item) values ('lost as well')")
                open_one.execute("rollback to inner_one")
                assert await seen(collector) == []
                open_one.commit()
            assert [document["row"]["item"] for _, document in await seen(collector)] == ["kept"]

    run(main)


def test_what_is_committed_but_not_yet_on_disk_is_seen_as_well(attached: Attach, databases: Databases, plugin: str) -> None:
    databases.make(ORDERS)

    async def main() -> None:
        async with attached(plugin=plugin) as collector:
            with psycopg.connect(databases.server.dsn(databases.name()), autocommit=True) as build:
                build.execute("set synchronous_commit = off")
                for _ in range(20):
                    build.execute("insert into orders (item) values ('a')")
                    assert len(await collector.drain()) == 1

    run(main)


def test_order_is_that_of_commits(attached: Attach, databases: Databases) -> None:
    databases.make(ORDERS)

    async def main() -> None:
        async with attached() as collector:
            with psycopg.connect(databases.server.dsn(databases.name())) as slow:
                slow.execute("insert into orders (item) values ('first made')")
                databases.run("insert into orders (item) values ('first committed')")
                slow.execute("insert into orders (item) values ('last made')")
                slow.commit()
            items = [document["row"]["item"] for _, document in await seen(collector)]
            assert items == ["first committed", "first made", "last made"]

    run(main)


@pytest.mark.parametrize("content", [TRACE, f"00-{TRACE}-b7ad6b7169203331-01", f" {TRACE.upper()} "])
def test_a_message_ties_the_rows_of_its_transaction(attached: Attach, databases: Databases, plugin: str, content: str) -> None:
    databases.make(ORDERS)

    async def main() -> None:
        async with attached(plugin=plugin) as collector:
            with psycopg.connect(databases.server.dsn(databases.name())) as build:
                build.execute("insert into orders (item) values ('a')")
                build.execute("select pg_logical_emit_message(true, 'shadowdiff', %s)", (content,))
                build.execute("insert into orders (item) values ('b')")
                build.commit()
                build.execute("insert into orders (item) values ('c')")
            assert [one.trace for one in await collector.drain()] == [TRACE, TRACE, ""]
            assert collector.lapses() == ()

    run(main)


def test_transactions_of_many_trials_at_once_are_told_apart(attached: Attach, databases: Databases, plugin: str) -> None:
    databases.make(ORDERS)

    async def main() -> None:
        async with attached(plugin=plugin) as collector:
            builds = [await psycopg.AsyncConnection.connect(databases.server.dsn(databases.name())) for _ in range(4)]
            for number in range(20):
                build = builds[number % 4]
                await build.execute("select pg_logical_emit_message(true, 'shadowdiff', %s)", (f"{number + 1:032x}",))
                await build.execute("insert into orders (item) values (%s)", (f"{number + 1:032x}",))
                if number >= 3:
                    await builds[(number - 3) % 4].commit()
            for build in builds:
                await build.commit()
                await build.close()
            found = await collector.drain()
            assert len(found) == 20
            assert all(one.trace == orjson.loads(one.effect.document)["row"]["item"] for one in found)

    run(main)


def test_other_messages_tie_nothing(attached: Attach, databases: Databases, plugin: str) -> None:
    databases.make(ORDERS)

    async def main() -> None:
        async with attached(plugin=plugin) as collector:
            with psycopg.connect(databases.server.dsn(databases.name())) as build:
                build.execute("select pg_logical_emit_message(true, 'another', %s)", (TRACE,))
                build.execute("select pg_logical_emit_message(true, 'another', '\\x00ff8000'::bytea)")
                build.execute("select pg_logical_emit_message(false, 'shadowdiff', %s)", (TRACE,))
                build.execute("select pg_logical_emit_message(true, 'shadowdiff', 'no trace')")
                build.execute("insert into orders (item) values ('a')")
            assert [one.trace for one in await collector.drain()] == [""]
            (lapse,) = collector.lapses()
            assert "neither a trace id nor a traceparent" in lapse.what
            assert not lapse.blind

    run(main)


def test_targets_are_drained_together_each_under_its_role(attached: Attach, databases: Databases) -> None:
    databases.make(ORDERS, *Role)

    async def main() -> None:
        async with attached(*Role) as collector:
            for role in Role:
                databases.run(f"insert into orders (item) values ('{role}')", role)
            found = await collector.drain()
            assert [(one.role, orjson.loads(one.effect.document)["row"]["item"]) for one in found] == [(role, role) for role in Role]

    run(main)


def test_only_watched_tables_and_the_whole_of_partitioned_ones(attached: Attach, databases: Databases, plugin: str) -> None:
    parts = (
        "create table days (id int, day date, primary key (id, day)) partition by range (day);"
        "create table days_1 partition of days for values from ('2020-01-01') to ('2021-01-01');"
        "create table days_2 partition of days for values from ('2021-01-01') to ('2022-01-01');"
    )
    databases.make(f"{ORDERS}; {parts} create table audit (id int primary key); create schema other; create table other.orders (id int)")

    async def main() -> None:
        async with attached(plugin=plugin, tables=["days", "public.*"], ignore_tables=["aud*"]) as collector:
            databases.run("insert into audit values (1)")
            databases.run("insert into other.orders values (1)")
            databases.run("insert into days values (1, '2020-05-05')")
            databases.run("truncate days")
            databases.run("insert into orders (item) values ('a')")
            operations = [operation for operation, _ in await seen(collector)]
            assert operations == ["INSERT public.days", "TRUNCATE public.days", "INSERT public.orders"]
            assert collector.lapses() == ()

    run(main)


def test_a_settled_trial_is_drained_without_another_round_trip(attached: Attach, databases: Databases) -> None:
    databases.make(ORDERS)

    async def main() -> None:
        async with attached() as collector:
            for _ in range(20):
                databases.run("insert into orders (item) values ('answered')")
                assert await collector.settle(trial(), time.monotonic_ns() + int(SECONDS * 1e9))
                assert len(await collector.drain()) == 1
            databases.run("insert into orders (item) values ('in the background')")
            assert len(await collector.drain()) == 1

    run(main)


def test_a_deadline_that_has_passed_is_not_waited_for_and_nothing_is_lost(attached: Attach, databases: Databases) -> None:
    databases.make(ORDERS)

    async def main() -> None:
        async with attached() as collector:
            databases.run("insert into orders (item) values ('late')")
            assert not await collector.settle(trial(), time.monotonic_ns())
            assert len(await until(lambda: seen(collector))) == 1
            assert collector.lapses() == ()

    run(main)


def test_a_lost_connection_is_a_lapse_and_watching_goes_on(attached: Attach, databases: Databases, plugin: str) -> None:
    databases.make(ORDERS)

    async def main() -> None:
        async with attached(plugin=plugin) as collector:
            databases.run("select pg_terminate_backend(active_pid) from pg_replication_slots where active_pid is not null")
            databases.run("insert into orders (item) values ('lost')")
            assert not await collector.settle(trial(), time.monotonic_ns() + int(SECONDS * 1e9))

            async def back() -> bool:
                return await collector.settle(trial(), time.monotonic_ns() + int(SECONDS * 1e9))

            await until(back)
            assert await collector.drain() == []
            databases.run("insert into orders (item) values ('seen')")
            assert [document["row"]["item"] for _, document in await seen(collector)] == ["seen"]
            (lapse,) = collector.lapses()
            assert lapse.what.startswith("row changes between ")
            assert "were not seen: terminating connection" in lapse.what
            assert (lapse.role, lapse.blind) == (Role.STABLE, True)

    run(main)


def test_a_server_that_stops_is_a_lapse_and_the_run_goes_on(workplace: Workplace) -> None:
    with postgres_server() as own:
        own.create_database("stable", ORDERS)

        async def main() -> None:
            collector = PostgresCollector.make({"dsn": own.dsn("{role}")}, workplace)
            await collector.open([Role.STABLE])
            await collector.attach()
            own.stop("immediate")
            assert await collector.drain() == []
            assert not await collector.settle(trial(), time.monotonic_ns() + int(SECONDS * 1e9))
            assert await collector.final_state(Role.STABLE) == ()
            await collector.close()
            lapses = [lapse.what for lapse in collector.lapses()]
            assert any(what.startswith("row changes after ") for what in lapses), lapses
            assert any("tables at the end of a pass could not be read" in what for what in lapses), lapses

        run(main)


def test_detached_databases_can_be_dropped_and_attached_to_again(attached: Attach, databases: Databases) -> None:
    databases.make(ORDERS, *Role)

    async def main() -> None:
        async with attached(*Role) as collector:
            for _ in range(2):
                for role in Role:
                    databases.run("insert into orders (item) values ('a')", role)
                assert len(await collector.drain()) == 3
                await collector.detach()
                assert databases.server.execute("select slot_name from pg_replication_slots") == []
                assert await collector.drain() == []
                assert not await collector.settle(trial(), time.monotonic_ns() + int(SECONDS * 1e9))
                for role in Role:
                    databases.server.drop_database(databases.name(role))
                    databases.server.create_database(databases.name(role), ORDERS)
                await collector.attach()

    run(main)


def test_slots_left_behind_are_dropped_and_those_of_others_are_not(attached: Attach, databases: Databases) -> None:
    databases.make(ORDERS)
    server = databases.server
    databases.run("select pg_create_logical_replication_slot('shadowdiff_00000000_stable', 'test_decoding')")
    databases.run("select pg_create_logical_replication_slot('shadowdiff_reports', 'test_decoding')")
    try:

        async def main() -> None:
            async with attached():
                names = {str(name) for (name,) in server.execute("select slot_name from pg_replication_slots")}
                assert "shadowdiff_reports" in names
                assert "shadowdiff_00000000_stable" not in names
                assert len(names) == 2

        run(main)
    finally:
        databases.run("select pg_drop_replication_slot('shadowdiff_reports')")


def test_the_log_is_not_held_back_while_nobody_drains(databases: Databases, workplace: Workplace) -> None:
    databases.make(ORDERS)

    async def main() -> None:
        collector = PostgresCollector(options.read_options({"dsn": databases.dsn}), workplace, keep_alive_seconds=0.05)
        await collector.open([Role.STABLE])
        try:
            await collector.attach()
            databases.run("insert into orders (item) values ('a')")
            ((position,),) = databases.run("select pg_current_wal_insert_lsn()::text")

            async def released() -> list[tuple[object, ...]]:
                found = f"select 1 from pg_replication_slots where confirmed_flush_lsn >= '{position}' and database = '{databases.name()}'"
                return databases.run(found)

            await until(released)
            assert len(await collector.drain()) == 1
        finally:
            await collector.close()

    run(main)


def test_what_nobody_drains_is_bounded(attached: Attach, databases: Databases, plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    databases.make(ORDERS)
    monkeypatch.setattr(limits, "EFFECTS_UNDRAINED_MAX", 10)

    async def main() -> None:
        async with attached(plugin=plugin) as collector:
            for _ in range(2):
                databases.run("insert into orders (item) select 'x' from generate_series(1, 8)")
                await collector.settle(trial(), time.monotonic_ns() + int(SECONDS * 1e9))
            assert len(await collector.drain()) == 10
            (lapse,) = collector.lapses()
            assert ("left out" in lapse.what, lapse.count, lapse.blind) == (True, 6, True)

    run(main)


@pytest.mark.parametrize("bound", ["rows", "bytes"])
def test_a_transaction_beyond_the_bounds_is_cut_by_the_server(
    attached: Attach, databases: Databases, plugin: str, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    databases.make(ORDERS)
    if bound == "rows":
        monkeypatch.setattr(limits, "EFFECTS_UNDRAINED_MAX", 10)
    else:
        monkeypatch.setattr(limits_collectors, "POSTGRES_FETCH_BYTES_MAX", 1_000)

    async def main() -> None:
        async with attached(plugin=plugin) as collector:
            databases.run("insert into orders (item) select 'x' from generate_series(1, 100)")
            count = len(await collector.drain())
            assert 1 <= count <= 10
            (lapse,) = collector.lapses()
            assert ("very large transaction" in lapse.what, lapse.blind) == (True, True)
            assert 100 - count <= lapse.count <= 102 - count  # one plugin has rows for begin and commit
            databases.run("insert into orders (item) values ('after')")
            assert [document["row"]["item"] for _, document in await seen(collector)] == ["after"]

    run(main)


def test_many_transactions_are_fetched_in_parts_and_none_is_missed(
    attached: Attach, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases.make(ORDERS)
    monkeypatch.setattr(limits_collectors, "POSTGRES_FETCH_CHANGES", 7)

    async def main() -> None:
        async with attached() as collector:
            with psycopg.connect(databases.server.dsn(databases.name()), autocommit=True) as build:
                for number in range(50):
                    build.execute("insert into orders (item) values (%s)", (str(number),))
            assert [document["row"]["item"] for _, document in await seen(collector)] == [str(number) for number in range(50)]

    run(main)


def test_tables_whose_changes_are_seen_in_part_are_named(attached: Attach, databases: Databases, plugin: str) -> None:
    databases.make("create table keyless (a int); create unlogged table fleeting (a int primary key)")

    async def main() -> None:
        async with attached(plugin=plugin, tables=["keyless", "fleeting", "gone*"]) as collector:
            for _ in range(2):
                await collector.attach()  # the next pass: found again, said once
            lapses = {lapse.what: (lapse.blind, lapse.count) for lapse in collector.lapses()}
            keyless, fleeting, gone = lapses
            assert "public.keyless" in keyless
            assert lapses[keyless] == (plugin == "wal2json", 1)
            assert "unlogged tables: public.fleeting" in fleeting
            assert "'gone*'" in gone
            databases.run("insert into keyless values (1)")
            databases.run("update keyless set a = 2")
            databases.run("delete from keyless")
            found = [("INSERT public.keyless", {"row": {"a": 1}})]
            if plugin == "test_decoding":
                found += [("UPDATE public.keyless", {"row": {"a": 2}}), ("DELETE public.keyless", {})]
            assert await seen(collector) == found

    run(main)


def test_tables_made_or_changed_under_way_are_known_at_once(attached: Attach, databases: Databases, plugin: str) -> None:
    databases.make(ORDERS)

    async def main() -> None:
        async with attached(plugin=plugin) as collector:
            databases.run("create table later (id int primary key, a text); alter table later replica identity full")
            databases.run("insert into later values (1)")
            databases.run("alter table later add column b int; insert into later values (2, 'x', 3)")
            databases.run("update later set b = null where id = 2")
            databases.run("create table brief (a int); insert into brief values (1)")
            databases.run("drop table brief")
            assert await seen(collector) == [
                ("INSERT public.later", {"row": {"id": 1, "a": None}}),
                ("INSERT public.later", {"row": {"id": 2, "a": "x", "b": 3}}),
                ("UPDATE public.later", {"row": {"id": 2, "a": "x", "b": None}, "changed": {"b": 3}}),
                ("INSERT public.brief", {"row": {"a": 1}}),
            ]
            assert collector.lapses() == ()

    run(main)


@pytest.fixture(scope="module")
def replica_only() -> Iterator[PostgresServer]:
    with postgres_server(wal_level="replica") as server:
        yield server


def refused(workplace: Workplace, *roles: Role, **given: object) -> SetupError:
    async def main() -> None:
        collector = PostgresCollector.make(given, workplace)
        try:
            await collector.open(roles or (Role.STABLE,))
            await collector.attach()
        finally:
            await collector.close()

    with pytest.raises(SetupError) as caught:
        run(main)
    assert caught.value.where.startswith("effects.postgres")
    assert caught.value.fix
    return caught.value


def test_a_server_without_a_logical_log_is_refused(workplace: Workplace, server: PostgresServer, replica_only: PostgresServer) -> None:
    error = refused(workplace, dsn=replica_only.dsn())
    assert "wal_level = replica" in str(error)
    assert "set wal_level = logical in its postgresql.conf and start it again" in str(error)


def test_one_database_for_two_targets_is_refused(workplace: Workplace, server: PostgresServer) -> None:
    error = refused(workplace, Role.STABLE, Role.CANDIDATE, dsn=server.dsn())
    assert "stable and candidate use the same database" in str(error)


def test_the_server_says_why_it_lets_nobody_in_and_no_password_is_shown(workplace: Workplace, server: PostgresServer) -> None:
    missing = refused(workplace, dsn=server.dsn("nosuch_{role}"))
    assert 'database "nosuch_stable" does not exist' in str(missing)
    server.execute("drop role if exists shy")
    server.execute("create role shy login password 'right'")
    wrong = refused(workplace, dsn=server.dsn(user="shy", password="wr0ng-s3cret"))
    assert "password authentication failed" in str(wrong)
    assert "wr0ng" not in str(wrong)
    assert "user=shy" in str(wrong)
    powerless = refused(workplace, dsn=server.dsn(user="shy", password="right"))
    assert "ALTER ROLE name REPLICATION" in str(powerless)
    assert "right" not in str(powerless).replace("give the user the right", "")
    unreadable = refused(workplace, dsn="host=localhost password=wr0ng s3cret")
    assert "cannot be read" in str(unreadable)
    assert "s3cret" not in str(unreadable)
    assert "wr0ng" not in str(unreadable)
    nobody = refused(workplace, dsn="postgresql://user:wr0ng@127.0.0.1:1/x")
    assert "refused" in str(nobody)
    assert "wr0ng" not in str(nobody)


def test_a_role_with_replication_is_enough(workplace: Workplace, databases: Databases) -> None:
    databases.make(ORDERS)
    server = databases.server
    server.execute("drop role if exists watcher")
    server.execute("create role watcher login replication password 'w'")
    databases.run("grant select on orders to watcher")

    async def main() -> None:
        collector = PostgresCollector.make({"dsn": server.dsn(databases.name(), "watcher", "w")}, workplace)
        await collector.open([Role.STABLE])
        try:
            await collector.attach()
            databases.run("insert into orders (item) values ('a')")
            assert len(await collector.drain()) == 1
            assert [state.rows for state in await collector.final_state(Role.STABLE)] == [1]
        finally:
            await collector.close()

    run(main)
    databases.run("revoke select on orders from watcher")


def test_no_free_slot_is_refused_with_what_to_do(workplace: Workplace, server: PostgresServer) -> None:
    with postgres_server(settings=["max_replication_slots = 1"]) as own:
        own.create_database("stable", ORDERS)
        own.create_database("candidate", ORDERS)
        error = refused(workplace, Role.STABLE, Role.CANDIDATE, dsn=own.dsn("{role}"))
        assert "all replication slots are in use" in str(error)
        assert "raise max_replication_slots" in str(error)
        assert own.execute("select 1 from pg_replication_slots") == []


def test_a_plugin_that_the_server_has_not_got_is_refused_with_what_to_do(workplace: Workplace, server: PostgresServer) -> None:
    if not server.execute("select 1 from pg_settings where name = 'output_plugin_libraries'"):
        pytest.skip("this PostgreSQL has no output_plugin_libraries")
    with postgres_server(settings=["output_plugin_libraries = 'pgoutput'"], allow_plugins=False) as own:
        error = refused(workplace, dsn=own.dsn(), plugin="wal2json")
        assert "may not be used as an output plugin" in str(error)
        assert "output_plugin_libraries" in str(error)
        assert "may not be used" in str(refused(workplace, dsn=own.dsn()))


def test_auto_takes_what_the_server_allows(workplace: Workplace, server: PostgresServer) -> None:
    if not server.has_plugin("wal2json") or not server.execute("select 1 from pg_settings where name = 'output_plugin_libraries'"):
        pytest.skip("wal2json or output_plugin_libraries is missing")
    with postgres_server(settings=["output_plugin_libraries = 'wal2json'"], allow_plugins=False) as own:

        async def main() -> None:
            collector = PostgresCollector.make({"dsn": own.dsn()}, workplace)
            await collector.open([Role.STABLE])
            await collector.attach()
            assert collector.mode == "wal2json"
            await collector.close()

        run(main)


def test_a_transaction_that_stays_open_is_named_as_the_reason(
    workplace: Workplace, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases.make(ORDERS)
    monkeypatch.setattr(limits_collectors, "POSTGRES_SLOT_SECONDS_MAX", 1)
    with psycopg.connect(databases.server.dsn(databases.name())) as build:
        build.execute("insert into orders (item) values ('open')")
        error = refused(workplace, dsn=databases.dsn)
    assert "a transaction has been open all the time" in str(error)


def test_without_psycopg_the_extra_is_named(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "harness.effects.postgres.link", None)
    assert "shadowdiff[postgres]" in str(refused(workplace, dsn="postgresql://localhost/x"))


def test_the_module_needs_no_psycopg() -> None:
    program = "import sys; sys.modules['psycopg'] = None; import harness.effects.postgres.collector"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_options_are_read_and_given_on(workplace: Workplace) -> None:
    collector = PostgresCollector.make({"dsn": "host=h dbname=shop_{role}"}, workplace)
    assert collector.names(Role.CANDIDATE) == {"postgres": "host=h dbname=shop_candidate"}
    with pytest.raises(UsageError, match=r'effects\.postgres\.dns: unknown key, did you mean "dsn"'):
        PostgresCollector.make({"dns": "x"}, workplace)
    error = refused(workplace, Role.STABLE, Role.CANDIDATE, dsn_of={"stable": "host=h"})
    assert "reach the database of candidate" in str(error)


def test_the_final_state_can_be_left_out(attached: Attach, databases: Databases) -> None:
    databases.make(ORDERS)

    async def main() -> None:
        async with attached(final_state=False) as collector:
            assert await collector.final_state(Role.STABLE) == ()
        async with attached() as collector:
            assert [state.table for state in await collector.final_state(Role.STABLE)] == ["public.orders"]

    run(main)


def test_the_server_notes_its_transactions_so_that_fetching_stays_cheap(
    attached: Attach, databases: Databases, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases.make(ORDERS)
    monkeypatch.setattr(limits_collectors, "POSTGRES_NUDGE_SECONDS", 0.0)

    async def main() -> None:
        async with attached(plugin=plugin) as collector:
            query = f"select restart_lsn::text from pg_replication_slots where database = '{databases.name()}' and slot_name like '%stable'"
            ((first,),) = databases.run(query)

            async def moved() -> bool:
                databases.run("insert into orders (item) values ('a')")
                assert len(await collector.drain()) == 1
                return databases.run(query) != [(first,)]

            await until(moved)
            assert collector.lapses() == ()

    run(main)


def test_bounds_fit_each_other() -> None:
    assert limits_collectors.POSTGRES_TABLE_SECONDS_MAX < limits_collectors.POSTGRES_STATE_SECONDS_MAX
    assert limits_collectors.POSTGRES_RECONNECT_SECONDS < limits_collectors.POSTGRES_DRAIN_SECONDS_MAX


def test_which_columns_the_server_numbers_itself(attached: Attach, databases: Databases, plugin: str) -> None:
    databases.make(
        "create table serials (line bigserial, a int default 7, id serial primary key);"
        "create table always (id int generated always as identity primary key, a int);"
        "create table mostly (a int, id int generated by default as identity primary key);"
        "create sequence numbers; create table texts (id text primary key default 'T-' || nextval('numbers'), a int);"
        "create table given (id int primary key, a int default 7, at timestamptz default now());"
        "create table whole (id serial, a int, primary key (id, a)) partition by list (a); create table part partition of whole default;"
        'create schema "Odd s"; create table "Odd s"."Odd t" ("Odd id" serial primary key, a int)'
    )

    async def main() -> None:
        async with attached(plugin=plugin) as collector:
            databases.run("create table later (id serial primary key, a int)")
            for table in ("serials", "always", "mostly", "texts", "whole", '"Odd s"."Odd t"', "later"):
                databases.run(f"insert into {table} (a) values (1)")
            databases.run("insert into given values (1)")
            databases.run("update serials set a = 2")
            databases.run("delete from serials")
            found = [(one.effect.operation.removeprefix("INSERT "), one.effect.keys) for one in await collector.drain()]
            assert found == [
                ("public.serials", ("id", "line")),
                ("public.always", ("id",)),
                ("public.mostly", ("id",)),
                ("public.texts", ("id",)),
                ("public.whole", ("id",)),
                ("Odd s.Odd t", ("Odd id",)),
                ("public.later", ("id",)),
                ("public.given", ()),
                ("UPDATE public.serials", ()),
                ("DELETE public.serials", ()),
            ]

    run(main)


def test_an_attach_that_is_cancelled_while_it_waits_for_a_transaction_ends_soon_and_leaves_no_slot(
    workplace: Workplace, databases: Databases
) -> None:
    databases.make(ORDERS, Role.STABLE, Role.CANDIDATE)

    async def main() -> None:
        collector = PostgresCollector.make({"dsn": databases.dsn}, workplace)
        await collector.open((Role.STABLE, Role.CANDIDATE))
        with psycopg.connect(databases.server.dsn(databases.name())) as open_one:
            open_one.execute("insert into orders (item) values ('never committed')")
            attaching = asyncio.create_task(collector.attach())

            async def waits() -> bool:
                asked = "query like '%pg_create_logical_replication_slot%' and state = 'active' and pid <> pg_backend_pid()"
                found = databases.run(f"select 1 from pg_stat_activity where {asked}")
                return bool(found)

            await until(waits)
            attaching.cancel()
            began = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await attaching
            assert time.monotonic() - began < limits_collectors.POSTGRES_SLOT_SECONDS_MAX / 2, "it does not wait for the transaction"
            await collector.close()

            async def gone() -> bool:
                return not databases.run(f"select 1 from pg_replication_slots where database like '{databases.name()[:-6]}%'")

            await until(gone)
            open_one.rollback()

    run(main)
