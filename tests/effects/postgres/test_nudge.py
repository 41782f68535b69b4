"""The server's notes: given when rows change, not oftener than said, given up when they cannot be had."""

import asyncio
import random
import time

from harness.effects.postgres.nudge import Nudge
from tests.effects.postgres.conftest import Clock, Databases


def notes(dsn: str, moves: list[int], seconds: float) -> int:
    async def main() -> int:
        nudge = Nudge(dsn, "test_decoding", Clock(), random.Random(), seconds)
        end = time.monotonic() + 60
        for number, moved in enumerate(moves):
            nudge.at(moved)
            while nudge.busy:
                assert time.monotonic() < end, "a note never came"
                await asyncio.sleep(0.01)
            assert nudge.given <= number + 1
        await nudge.stop()
        return nudge.given

    return asyncio.run(main())


def test_one_note_for_each_time_that_rows_changed(databases: Databases) -> None:
    databases.make()
    dsn = databases.server.dsn(databases.name())
    assert notes(dsn, [0, 1, 1, 5, 5], 0.0) == 2
    assert databases.run(f"select 1 from pg_replication_slots where database = '{databases.name()}'") == []


def test_not_oftener_than_said(databases: Databases) -> None:
    databases.make()
    assert notes(databases.server.dsn(databases.name()), [1, 2, 3], 3600.0) == 0


def test_what_fails_is_given_up(databases: Databases) -> None:
    assert notes(databases.server.dsn("nosuch"), [1, 2, 3, 4, 5], 0.0) == 0
