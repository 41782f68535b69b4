"""A real redis-server, a raw client of our own, and a collector before the server."""

import asyncio
import contextlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.core.labels import Role
from harness.core.redact import Redactor
from harness.effects.api import OpenTrial, Workplace
from harness.effects.redis.collector import RedisCollector

TRIAL = OpenTrial(trace="a" * 32, roles=(Role.STABLE,), request="r")
PATIENCE_S = 60.0


class Clock:
    """The machine's own."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def time(self) -> float:
        return time.time()


class Failed(Exception):  # noqa: N818 - a reply
    """An error reply."""


class Raw:
    """A client that sends what it is told and reads replies of RESP2 and RESP3."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *args: object) -> None:
        """A command, without waiting for its reply."""
        self.writer.write(packed(*args))

    async def do(self, *args: object) -> Any:
        """A command's reply."""
        self.send(*args)
        return await self.reply()

    async def reply(self) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await self._read()

    async def _read(self) -> Any:
        line = (await self.reader.readuntil(b"\r\n"))[:-2]
        kind, rest = line[:1], line[1:]
        match kind:
            case b"-":
                return Failed(rest.decode())
            case b"+":
                return rest.decode()
            case b":":
                return int(rest)
            case b"_":
                return None
            case b"$" | b"=":
                if rest == b"-1":
                    return None
                return (await self.reader.readexactly(int(rest) + 2))[:-2]
            case b"*" | b"~" | b">":
                return None if rest == b"-1" else [await self._read() for _ in range(int(rest))]
            case b"%":
                return {await self._read(): await self._read() for _ in range(int(rest))}
        raise AssertionError(line)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def packed(*args: object) -> bytes:
    """A command as RESP."""
    parts = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


async def connected(address: str) -> Raw:
    """A client at HOST:PORT or unix:/PATH."""
    if address.startswith("unix:"):
        return Raw(*await asyncio.open_unix_connection(address.removeprefix("unix:"), limit=2**26))
    host, _, port = address.rpartition(":")
    return Raw(*await asyncio.open_connection(host, int(port), limit=2**26))


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that holds nothing on disk."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed: run sh tests/prepare.sh")
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "s"
    command = [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            asyncio.run(_ready(process, path))
            yield f"unix:{path}"
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(60)


async def _ready(process: "subprocess.Popen[bytes]", path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, "redis-server ended"
        assert time.monotonic() < deadline
        try:
            client = await connected(f"unix:{path}")
        except OSError:
            await asyncio.sleep(0.02)
            continue
        assert await client.do("PING") == "PONG"
        await client.close()
        return


class Rig:
    """A collector that is open, and clients through its relays."""

    def __init__(self, collector: RedisCollector) -> None:
        self.collector = collector
        self._clients: list[Raw] = []

    async def client(self, role: Role = Role.STABLE) -> Raw:
        self._clients.append(await connected(self.collector.names(role)["redis"]))
        return self._clients[-1]

    async def direct(self, address: str) -> Raw:
        self._clients.append(await connected(address))
        return self._clients[-1]

    async def seen(self) -> list[tuple[str, Any]]:
        """Operations and documents since the last time."""
        assert await self.collector.settle(TRIAL, time.monotonic_ns() + int(PATIENCE_S * 1e9))
        return [(one.effect.operation, orjson.loads(one.effect.document)) for one in await self.collector.drain()]

    def lapses(self) -> list[str]:
        return [lapse.what for lapse in self.collector.lapses()]

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        await self.collector.close()


def collector_of(folder: Path, options: Mapping[str, object]) -> RedisCollector:
    """A collector that is not open."""
    workplace = Workplace(folder=folder, clock=Clock(), rng=random.Random(1), redactor=Redactor(b"k" * 32))
    return RedisCollector.make(options, workplace)


@contextlib.asynccontextmanager
async def rig_of(folder: Path, *roles: Role, **options: object) -> AsyncIterator[Rig]:
    """A collector that is open and attached."""
    collector = collector_of(folder, options)
    rig = Rig(collector)
    try:
        await collector.open(roles or [Role.STABLE])
        await collector.attach()
        yield rig
    finally:
        await rig.close()


Scene = Callable[[Rig], Awaitable[None]]
Play = Callable[[Scene], Rig]


@pytest.fixture
def play(redis_server: str, tmp_path: Path) -> Play:
    """Runs a scene with a collector before an empty server."""

    def run(scene: Scene) -> Rig:
        async def main() -> Rig:
            server = await connected(redis_server)
            await server.do("FLUSHALL")
            await server.close()
            async with rig_of(tmp_path, upstream=redis_server) as rig:
                await scene(rig)
                return rig

        return asyncio.run(main())

    return run
