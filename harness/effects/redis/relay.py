"""A relay between a build and its Redis server: bytes pass untouched in both directions, each read handed on before it is looked at.

Whoever reads slowly holds up only the other side of the same connection.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import msgspec

from harness.core import limits_collectors
from harness.effects.redis.tracker import Done, Tracker

_OK: Final = b"+OK\r\n"


class Upstream(msgspec.Struct, frozen=True):
    """Where a server listens, and the logical database of the role; -1 where the build selects by itself."""

    host: str = ""
    port: int = 0
    path: str = ""
    """Of a Unix socket, instead of host and port."""
    database: int = -1

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Watcher(Protocol):
    """Who is told what passes on the connections of one role."""

    def done(self, done: list[Done]) -> None:
        """Writes that were done."""

    def lapse(self, what: str, blind: bool) -> None:
        """Something that cannot be seen."""


class Client(asyncio.Protocol):
    """A build's connection, with the one to the server behind it. `opened` and `closed` are told of its life."""

    def __init__(
        self,
        upstream: Upstream,
        watcher: Watcher,
        opened: Callable[["Client", "asyncio.Task[None]"], None],
        closed: Callable[["Client"], None],
    ) -> None:
        self._upstream = upstream
        self._watcher = watcher
        self._opened = opened
        self._closed = closed
        self._transport: asyncio.Transport | None = None
        self._server: _Server | None = None
        self._early: list[bytes] = []
        self._ended = False
        self._gone = False
        self.tracker = Tracker(watcher.lapse, max(0, upstream.database))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A build connected: nothing is read from it until there is a server to hand it to."""
        # Not isinstance: uvloop's transports are of no asyncio class.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.pause_reading()
        self._opened(self, asyncio.get_running_loop().create_task(self._connect()))

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        upstream = self._upstream
        server = _Server(self, upstream.database)
        try:
            async with asyncio.timeout(limits_collectors.REDIS_CONNECT_SECONDS_MAX):
                if upstream.path:
                    await loop.create_unix_connection(lambda: server, upstream.path)
                else:
                    await loop.create_connection(lambda: server, upstream.host, upstream.port)
                await server.ready
        except (OSError, TimeoutError) as error:
            self._watcher.lapse(f"the server at {upstream} cannot be used ({_reason(error)}): the build's connection was reset", False)
            server.abort()
            self.reset()
            return
        if self._gone:
            server.abort()
            return
        self._server = server
        for data in self._early:
            self._forward(data)
        self._early.clear()
        if self._ended:
            server.end()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Bytes of the build."""
        if self._server is None:
            self._early.append(data)
        else:
            self._forward(data)

    def _forward(self, data: bytes) -> None:
        assert self._server is not None
        self._server.write(data)
        self._watch(self.tracker.requests, data)

    def _watch(self, follow: Callable[[bytes], list[Done]], data: bytes) -> None:
        """A fault in the watching must not end the build's connection, as it would out of a protocol's callback."""
        try:
            if done := follow(data):
                self._watcher.done(done)
        except Exception as error:  # noqa: BLE001 - whatever it is, the bytes go on
            self._watcher.lapse(f"a fault of the relay ({type(error).__name__}): the connection was not watched any further", True)
            self.tracker.ended()

    def eof_received(self) -> bool:
        """The build sends no more; it may still read."""
        self._ended = True
        if self._server is not None:
            self._server.end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The build is gone. What it sent before is still done by the server, whose replies say so."""
        del exc
        self._gone = True
        if self._server is None:
            self._finish()
        else:
            self._server.end()
            self._server.resume()

    def pause_writing(self) -> None:
        """The build reads more slowly than the server sends."""
        if self._server is not None:
            self._server.pause()

    def resume_writing(self) -> None:
        """The build has caught up."""
        if self._server is not None:
            self._server.resume()

    def reset(self) -> None:
        """End it as a server that is not there would: at once, with a reset."""
        if self._transport is not None:
            sock = cast("socket.socket | None", self._transport.get_extra_info("socket"))
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def abort(self) -> None:
        """End both sides at once."""
        if self._server is not None:
            self._server.abort()
        if self._transport is not None:
            self._transport.abort()

    def from_server(self, data: bytes) -> None:
        """Bytes of the server."""
        if self._transport is not None and not self._gone:
            self._transport.write(data)
        self._watch(self.tracker.replies, data)

    def server_lost(self) -> None:
        """The server ended the connection: so is the build's, once it has what came."""
        if self._transport is not None and not self._gone:
            self._transport.close()
        self._finish()

    def server_paused(self) -> None:
        """The server reads more slowly than the build sends."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def server_resumed(self) -> None:
        """The server has caught up."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _finish(self) -> None:
        self.tracker.ended()
        self._closed(self)


class _Server(asyncio.Protocol):
    """The connection to the server. `ready` is done once the role's own database is selected."""

    def __init__(self, client: Client, database: int) -> None:
        self._client = client
        self._database = database
        self._transport: asyncio.Transport | None = None
        self._answer = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._database < 0:
            self.ready.set_result(None)
            return
        number = str(self._database).encode()
        self._transport.write(b"*2\r\n$6\r\nSELECT\r\n$%d\r\n%b\r\n" % (len(number), number))

    def data_received(self, data: bytes) -> None:
        if self.ready.done():
            self._client.from_server(data)
            return
        self._answer += data
        if b"\r\n" not in self._answer:
            return
        if self._answer == _OK:
            self.ready.set_result(None)
        else:
            said = self._answer.partition(b"\r\n")[0][1:200].decode("utf-8", "replace")
            self.ready.set_exception(ConnectionError(f"SELECT {self._database}: {said}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(exc if isinstance(exc, OSError) else ConnectionError("it closed the connection"))
            # Nobody may be waiting any more.
            self.ready.exception()
        elif self.ready.exception() is None:
            self._client.server_lost()

    def pause_writing(self) -> None:
        self._client.server_paused()

    def resume_writing(self) -> None:
        self._client.server_resumed()

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def end(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _reason(error: Any) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or error)
