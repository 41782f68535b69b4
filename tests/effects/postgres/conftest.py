"""One PostgreSQL for all tests of this folder; where there is none they are skipped by name."""

import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from harness.core.labels import Role
from harness.core.redact import Redactor
from harness.effects.api import Workplace
from harness.effects.postgres.collector import PostgresCollector
from tests.effects.postgres.server import AbsentError, PostgresServer, postgres_server

_NUMBERS = itertools.count()


class Clock:
    """The machine's."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def time(self) -> float:
        return time.time()


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    try:
        with postgres_server() as running:
            yield running
    except AbsentError as error:
        pytest.skip(f"PostgreSQL: {error}")


@pytest.fixture(params=["test_decoding", "wal2json"])
def plugin(request: pytest.FixtureRequest, server: PostgresServer) -> str:
    if not server.has_plugin(request.param):
        pytest.skip(f"{request.param} is not installed (Debian: postgresql-NN-wal2json)")
    return str(request.param)


class Databases:
    """A database of its own for each target, dropped afterwards."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._prefix = f"t{next(_NUMBERS)}"
        self.made: list[str] = []

    @property
    def dsn(self) -> str:
        return self.server.dsn(f"{self._prefix}_{{role}}")

    def name(self, role: Role = Role.STABLE) -> str:
        return f"{self._prefix}_{role}"

    def make(self, schema: str = "", *roles: Role) -> None:
        for role in roles or (Role.STABLE,):
            self.server.create_database(self.name(role), schema)
            self.made.append(self.name(role))

    def run(self, statement: str, role: Role = Role.STABLE) -> list[tuple[object, ...]]:
        return self.server.execute(statement, self.name(role))

    def drop(self) -> None:
        for name in self.made:
            self.server.drop_database(name, force=True)


@pytest.fixture
def databases(server: PostgresServer) -> Iterator[Databases]:
    made = Databases(server)
    yield made
    made.drop()


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(folder=tmp_path, clock=Clock(), rng=random.Random(), redactor=Redactor(b"key"))


Attach = Callable[..., AbstractAsyncContextManager[PostgresCollector]]


@pytest.fixture
def attached(workplace: Workplace, databases: Databases) -> Attach:
    """A collector that is attached to the databases: `async with attached(plugin="wal2json") as collector`."""

    @asynccontextmanager
    async def attach(*roles: Role, **options: object) -> AsyncIterator[PostgresCollector]:
        collector = PostgresCollector.make({"dsn": databases.dsn, **options}, workplace)
        await collector.open(roles or (Role.STABLE,))
        try:
            await collector.attach()
            yield collector
        finally:
            await collector.close()

    return attach
