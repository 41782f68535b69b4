"""A writer in a process of its own, and a collector around its database."""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest

from harness.core.labels import Role
from harness.core.redact import Redactor
from harness.effects.api import Observed, OpenTrial, Workplace
from harness.effects.sqlite.collector import SqliteCollector

T = TypeVar("T")
TRIAL = OpenTrial(trace="a" * 32, roles=(Role.STABLE,), request="r")


class Clock:
    """The machine's own."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def time(self) -> float:
        return time.time()


class Writer:
    """A process with a connection to a database. `busy_s` is how long it waits for a lock."""

    def __init__(self, path: Path, busy_s: float = 30.0) -> None:
        script = Path(__file__).with_name("writer.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(path), str(busy_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, sql: str, *parameters: object) -> dict[str, Any]:
        """One statement's outcome, whatever it is."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([sql, parameters]) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def do(self, *statements: str) -> dict[str, Any]:
        """Statements that must succeed; the last one's outcome."""
        answer: dict[str, Any] = {}
        for sql in statements:
            answer = self.ask(sql)
            assert "error" not in answer, (sql, answer)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


class Rig:
    """A collector on one target whose build is the writer; everything on one event loop."""

    def __init__(self, folder: Path, **options: object) -> None:
        workplace = Workplace(folder=folder, clock=Clock(), rng=random.Random(1), redactor=Redactor(b"k" * 32))
        self.collector = SqliteCollector.make(options, workplace)
        self.loop = asyncio.new_event_loop()
        self.run(self.collector.open([Role.STABLE]))
        self.path = Path(self.collector.names(Role.STABLE)["sqlite"])
        self.writers: list[Writer] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def started(self, *statements: str, busy_s: float = 30.0) -> Writer:
        """The build, started on a fresh copy, ready after its own statements, and watched."""
        self.run(self.collector.prepare(Role.STABLE))
        writer = self.writer(busy_s)
        writer.do(*statements)
        self.run(self.collector.attach())
        return writer

    def writer(self, busy_s: float = 30.0) -> Writer:
        self.writers.append(Writer(self.path, busy_s))
        return self.writers[-1]

    def seen(self) -> list[tuple[str, Any]]:
        """Operations and documents since the last time."""
        assert self.run(self.collector.settle(TRIAL, time.monotonic_ns() + 60 * 10**9))
        return [(one.effect.operation, orjson.loads(one.effect.document)) for one in self.drained()]

    def drained(self) -> list[Observed]:
        return self.run(self.collector.drain())

    def lapses(self) -> list[str]:
        return [lapse.what for lapse in self.collector.lapses()]

    def close(self) -> None:
        self.run(self.collector.close())
        for writer in self.writers:
            writer.close()
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Makes rigs, each in a folder of its own."""
    made: list[Rig] = []

    def make(**options: object) -> Rig:
        folder = tmp_path / f"rig{len(made)}"
        folder.mkdir()
        made.append(Rig(folder, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
