"""One target's watch: fetches that are shared, kept to bounds, and never raise."""

import asyncio
import random
import time

import pytest

from harness.core.labels import Role
from harness.effects.naming import Operations
from harness.effects.postgres.lapses import LapseBook
from harness.effects.postgres.options import read_options
from harness.effects.postgres.watch import Watch
from tests.effects.postgres.conftest import Clock, Databases

TABLE = "create table t (a int primary key, b text)"


def made(databases: Databases, lapses: LapseBook, **given: object) -> Watch:
    options = read_options({"dsn": databases.dsn, **given})
    return Watch(Role.STABLE, options, clock=Clock(), rng=random.Random(), lapses=lapses, operations=Operations())


def test_those_who_ask_while_one_waits_share_its_fetch(databases: Databases) -> None:
    databases.make(TABLE)

    async def main() -> None:
        watch = made(databases, LapseBook())
        await watch.connect()
        await watch.start()
        first, second = watch.fetch(), watch.fetch()
        assert first is second
        while watch.fetch() is first:  # until it is under way: from then on it may be too early for who asks
            await asyncio.sleep(0)
        databases.run("insert into t values (1)")
        assert await watch.fetch()
        assert len(watch.take()) == 1
        await watch.stop()

    asyncio.run(main())


def test_who_gives_up_waiting_loses_nothing(databases: Databases) -> None:
    databases.make(TABLE)

    async def main() -> None:
        lapses = LapseBook()
        watch = made(databases, lapses)
        await watch.connect()
        await watch.start()
        found = 0
        for number in range(100):
            databases.run(f"insert into t values ({number})")
            await asyncio.wait({watch.fetch()}, timeout=0)
            found += len(watch.take())
        assert await watch.fetch()
        assert found + len(watch.take()) == 100
        assert lapses.all() == ()
        await watch.stop()

    asyncio.run(main())


def test_documents_that_wait_are_bounded_in_size(databases: Databases) -> None:
    databases.make(TABLE)

    async def main() -> None:
        lapses = LapseBook()
        watch = made(databases, lapses)
        await watch.connect()
        await watch.start()
        databases.run("insert into t select n, repeat('x', 200000) from generate_series(1, 400) n")
        assert await watch.fetch()
        held = watch.take()
        assert 0 < sum(len(one.effect.document) for one in held) <= 32 * 1024 * 1024
        assert len(held) < 400
        assert sum(lapse.count for lapse in lapses.all()) >= 400 - len(held)
        await watch.stop()

    asyncio.run(main())


def test_a_database_that_is_gone_never_raises(databases: Databases) -> None:
    databases.make(TABLE)

    async def main() -> None:
        lapses = LapseBook()
        watch = made(databases, lapses)
        await watch.connect()
        await watch.start()
        databases.run("select pg_terminate_backend(active_pid) from pg_replication_slots where active_pid is not null")
        end = time.monotonic() + 60
        while databases.server.execute("select 1 from pg_replication_slots where active"):
            assert time.monotonic() < end
        databases.server.drop_database(databases.name(), force=True)
        for _ in range(3):
            assert not await watch.fetch()
        assert watch.take() == []
        await watch.stop()
        (lapse,) = lapses.all()
        assert lapse.what.startswith("row changes after ")
        assert lapse.blind

    asyncio.run(main())


def test_a_fault_in_reading_changes_is_a_lapse_and_the_watch_goes_on(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    databases.make(TABLE)

    async def main() -> None:
        lapses = LapseBook()
        watch = made(databases, lapses)
        await watch.connect()
        await watch.start()

        def broken(*_: object) -> bytes:
            raise AssertionError

        with monkeypatch.context() as patched:
            patched.setattr("harness.effects.postgres.watch.document_of", broken)
            databases.run("insert into t values (1)")
            assert not await watch.fetch()
        databases.run("insert into t values (2)")
        assert await watch.fetch()
        assert len(watch.take()) == 1
        what = "row changes were fetched and lost by a fault of the harness (AssertionError)"
        assert [(lapse.what, lapse.count, lapse.blind) for lapse in lapses.all()] == [(what, 1, True)]
        await watch.stop()

    asyncio.run(main())
