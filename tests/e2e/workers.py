"""The worker processes of a running proxy, found from outside, and clients that check each answer while workers die."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.e2e.live import report_of
from tests.e2e.targets import ANSWERS, request

WAIT_S = 120.0


def processes() -> dict[int, tuple[int, str]]:
    """Parent and command line of every process that is no zombie. Those of others may have arguments in any coding."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                state, parent = (entry / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()[:2]
                if state != "Z":
                    found[int(entry.name)] = (int(parent), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1"))
    return found


def workers(proxy: int, kind: str) -> list[int]:
    """Process ids of a proxy's `ingress` or `compare` workers, the eldest first."""
    return sorted(pid for pid, (parent, command) in processes().items() if parent == proxy and f"harness.app.{kind}_worker" in command)


def alive(pids: list[int]) -> list[int]:
    """Those of them that still run."""
    return [pid for pid in processes() if pid in pids]


async def until(condition: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def replaced(proxy: int, kind: str, gone: int, count: int) -> None:
    """Until there are `count` workers again without the one that is gone."""
    await until(lambda: gone not in workers(proxy, kind) and len(workers(proxy, kind)) == count, f"no {kind} worker came back")


def counted(out: Path) -> dict[str, Any]:
    """The totals of a report, in which every request has exactly one outcome."""
    totals: dict[str, Any] = report_of(out)["totals"]
    outcomes = totals["compared"] + sum(sum(totals[group].values()) for group in ("shed", "skipped", "refused"))
    assert totals["requests"] == outcomes, totals
    return totals


class Clients:
    """Connections that ask one request after another, and compare each answer with stable's."""

    def __init__(self, port: int, paths: tuple[str, ...]) -> None:
        self._port = port
        self._paths = paths
        self._ended = False
        self.answered = 0
        self.broken = 0
        """Connections that broke before the whole answer was there; the request is not asked again."""
        self.sent = 0

    async def ask_for_ever(self) -> None:
        """One connection, and another where it breaks."""
        while not self._ended:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                while not self._ended:
                    await self.ask(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                self.broken += 1
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request; fails where the answer is another than stable's."""
        path = self._paths[self.sent % len(self._paths)]
        self.sent += 1
        writer.write(request(f"{path}?n={self.sent}"))
        await writer.drain()
        head, _, body = ANSWERS[path].partition(b"\r\n\r\n")
        got = await reader.readuntil(b"\r\n\r\n")
        assert got == head + b"\r\n\r\n", got
        assert await reader.readexactly(len(body)) == body
        self.answered += 1

    async def answered_more(self, count: int) -> None:
        """Until so many further requests were answered."""
        aim = self.answered + count
        await until(lambda: self.answered >= aim, f"{self.answered} answers where {aim} were waited for")

    def end(self) -> None:
        """Ask nothing more."""
        self._ended = True


@asynccontextmanager
async def asking(port: int, connections: int = 8, paths: tuple[str, ...] = ("/plain",)) -> AsyncIterator[Clients]:
    """Clients that ask until the block is left, and an error where an answer was wrong."""
    clients = Clients(port, paths)
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(clients.ask_for_ever())
        try:
            yield clients
        finally:
            clients.end()


def left_behind(folder: Path) -> list[str]:
    """What a run left in the folder for temporary files."""
    return sorted(path.name for path in folder.iterdir())


def send(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each."""
    for pid in pids:
        os.kill(pid, number)
