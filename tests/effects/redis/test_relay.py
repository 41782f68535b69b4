"""The relay itself: bytes untouched, slow readers, ends and resets, on both event loops."""

import asyncio
import contextlib
import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from harness.effects.redis.relay import Client, Upstream
from harness.effects.redis.tracker import Done
from tests.effects.redis.conftest import packed, until

Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Loop:
    """Both kinds that the harness runs on."""
    made: Loop = request.param
    return made


class _Watcher:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.lapses: list[tuple[str, bool]] = []

    def done(self, done: list[Done]) -> None:
        self.keys += [one.write.key for one in done]

    def lapse(self, what: str, blind: bool) -> None:
        self.lapses.append((what, blind))


class _Scene:
    """A server that is a function, the relay before it, and the relay's port."""

    def __init__(self) -> None:
        self.watcher = _Watcher()
        self.clients: dict[Client, asyncio.Task[None]] = {}
        self.port = 0
        self.server_port = 0

    @contextlib.asynccontextmanager
    async def relay(self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any] | None, database: int = -1) -> Any:
        async with contextlib.AsyncExitStack() as stack:
            # Without a server the port is one that nobody listens on: bound, and not listening.
            server = await asyncio.start_server(serve or self._refuse, "127.0.0.1", 0)
            self.server_port = server.sockets[0].getsockname()[1]
            if serve is None:
                server.close()
                await server.wait_closed()
            upstream = Upstream(host="127.0.0.1", port=self.server_port, database=database)
            make = lambda: Client(upstream, self.watcher, self.clients.__setitem__, self._gone)  # noqa: E731
            relay = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
            self.port = relay.sockets[0].getsockname()[1]
            stack.callback(server.close)
            try:
                yield self
            finally:
                relay.close()
                for client in list(self.clients):
                    client.abort()
                await until(lambda: not self.clients)

    def _gone(self, client: Client) -> None:
        self.clients.pop(client, None)

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nobody listens")

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def _run(loop: Loop, scene: Any) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scene)


def test_any_bytes_pass_untouched_in_both_directions(loop: Loop) -> None:
    """Garbage too: what cannot be followed is passed on all the same."""
    there, back = random.Random(1).randbytes(3_000_000), random.Random(2).randbytes(3_000_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(back)
        got = await reader.readexactly(len(there))
        writer.write(hashlib.sha256(got).digest())
        await _closed(writer)

    async def scene() -> None:
        async with _Scene().relay(serve) as one:
            reader, writer = await one.connect()
            writer.write(there)
            got = await reader.readexactly(len(back) + 32)
            assert got == back + hashlib.sha256(there).digest()
            assert await reader.read() == b""
            await _closed(writer)
            assert any(blind for _, blind in one.watcher.lapses)

    _run(loop, scene())


def test_a_server_that_is_down_resets_the_build(loop: Loop) -> None:
    async def scene() -> None:
        async with _Scene().relay(None) as one:
            reader, writer = await one.connect()
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            await _closed(writer)
            await until(lambda: not one.clients)
            ((what, blind),) = one.watcher.lapses
            assert f"127.0.0.1:{one.server_port}" in what
            assert not blind

    _run(loop, scene())


@pytest.mark.parametrize("slow", ["client", "server"])
def test_a_slow_reader_is_waited_for(loop: Loop, slow: str) -> None:
    """What one side does not read may not pile up in the relay."""
    offered = 0
    over: asyncio.Event

    async def pour(writer: asyncio.StreamWriter) -> None:
        nonlocal offered
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"+" + b"x" * 65534 + b"\r\n")
                await writer.drain()
                offered += 65537

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if slow == "client":
            await pour(writer)
        else:
            await over.wait()
            await _closed(writer)

    async def scene() -> None:
        nonlocal over
        over = asyncio.Event()
        async with _Scene().relay(serve) as one:
            reader, writer = await one.connect()
            task = asyncio.create_task(pour(writer)) if slow == "server" else None
            # It stands still once the buffers of the system and of the streams are full.
            before = -1
            while before != offered or not offered:
                before = offered
                await asyncio.sleep(0.5)
            assert offered < 64 * 2**20
            (client,) = one.clients
            assert client._transport is not None
            assert client._server is not None
            assert client._server._transport is not None
            assert client._transport.get_write_buffer_size() < 2**20
            assert client._server._transport.get_write_buffer_size() < 2**20
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            else:
                got = 0
                while got < 2 * before:
                    got += len(await reader.read(2**20))
            over.set()
            client.abort()
            await _closed(writer)

    _run(loop, scene())


def test_a_build_that_leaves_without_reading_has_its_writes_seen(loop: Loop) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.write(b"+OK\r\n" * 2)
        await _closed(writer)

    async def scene() -> None:
        async with _Scene().relay(serve) as one:
            _, writer = await one.connect()
            writer.write(packed("SET", "a", 1) + packed("SET", "b", 1))
            await _closed(writer)
            await until(lambda: not one.clients)
            assert (one.watcher.keys, one.watcher.lapses) == (["a", "b"], [])

    _run(loop, scene())


def test_a_server_that_ends_the_connection(loop: Loop) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"-ERR bye\r\n")
        await _closed(writer)

    async def scene() -> None:
        async with _Scene().relay(serve) as one:
            reader, writer = await one.connect()
            writer.write(packed("SET", "a", 1) * 2)
            assert await reader.read() == b"-ERR bye\r\n"
            await _closed(writer)
            await until(lambda: not one.clients)
            assert one.watcher.keys == []
            ((what, blind),) = one.watcher.lapses
            assert "whether they were done is not known" in what
            assert blind

    _run(loop, scene())


@pytest.mark.parametrize("pieces", [[b"+OK\r\n"], [b"+", b"OK\r", b"\n"]])
def test_a_database_is_selected_before_the_build_is_heard(loop: Loop, pieces: list[bytes]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(packed("SELECT", 3))) == packed("SELECT", 3)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.write(await reader.readexactly(4))
        await _closed(writer)

    async def scene() -> None:
        async with _Scene().relay(serve, database=3) as one:
            reader, writer = await one.connect()
            writer.write(b"+hi\n")
            assert await reader.read() == b"+hi\n"
            await _closed(writer)

    _run(loop, scene())


def test_a_database_that_cannot_be_selected_resets_the_build(loop: Loop) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-NOAUTH Authentication required.\r\n")
        await reader.read()
        await _closed(writer)

    async def scene() -> None:
        async with _Scene().relay(serve, database=3) as one:
            reader, writer = await one.connect()
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            await _closed(writer)
            ((what, _),) = one.watcher.lapses
            assert "SELECT 3: NOAUTH" in what

    _run(loop, scene())


def test_a_fault_in_the_watching_does_not_end_the_builds_connection(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"v\r\n"):
            writer.write(b"+OK\r\n")

    async def main() -> None:
        scene = _Scene()

        def broken(done: list[Done]) -> None:
            raise RuntimeError(len(done))

        monkeypatch.setattr(scene.watcher, "done", broken)
        async with scene.relay(serve):
            reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
            for _ in range(2):
                writer.write(packed("SET", "k", "v"))
                assert await reader.readexactly(5) == b"+OK\r\n"
            await until(lambda: bool(scene.watcher.lapses))
            writer.close()
        what = "a fault of the relay (RuntimeError): the connection was not watched any further"
        assert scene.watcher.lapses == [(what, True)]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
