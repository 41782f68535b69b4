"""One connection with a transport that only writes down what it is told."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from harness.core.labels import ErrorKind
from harness.core.limits import STREAM_BUFFER_BYTES_MAX
from harness.proxy.connection import READ_BYTES_PER_TURN, UpstreamConnection
from tests.proxy.rig import run
from tests.proxy.test_parsing import Told

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Transport(asyncio.Transport):
    """Writes down what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Any] = []
        self.closing = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.done.append(("limit", high))

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: Any) -> None:
        self.done.append(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.done.append("eof")

    def pause_reading(self) -> None:
        self.done.append("pause")

    def resume_reading(self) -> None:
        self.done.append("resume")

    def abort(self) -> None:
        self.closing = True
        self.done.append("abort")


class User(Told):
    """Also writes down what a connection tells."""

    def connection_read(self) -> None:
        self.events.append("read")

    def connection_switched(self, rest: bytes) -> None:
        self.events.append(("switched", rest))

    def connection_raw(self, data: bytes) -> None:
        self.events.append(("raw", data))

    def connection_failed(self, kind: ErrorKind, message: str) -> None:
        self.events.append((kind, message))

    def connection_full(self) -> None:
        self.events.append("full")

    def connection_drained(self) -> None:
        self.events.append("drained")


def with_connection(test: Callable[[UpstreamConnection, Transport, User, list[UpstreamConnection]], None]) -> None:
    async def main() -> None:
        lost: list[UpstreamConnection] = []
        connection, transport = UpstreamConnection(asyncio.get_running_loop(), lost.append), Transport()
        connection.connection_made(transport)
        assert transport.done.pop() == ("limit", STREAM_BUFFER_BYTES_MAX)
        test(connection, transport, User(), lost)

    run(main())


def test_one_exchange_after_another() -> None:
    def test(connection: UpstreamConnection, transport: Transport, user: User, lost: list[UpstreamConnection]) -> None:
        for _ in range(2):
            connection.begin(user, "GET")
            connection.write(b"request")
            connection.data_received(OK)
            connection.end()
            assert user.events[1:] == [b"ok", ("end", ())]
            assert connection.reusable
            user.events.clear()
        assert transport.done == [b"request", b"request"]

    with_connection(test)


def test_unasked_bytes_and_bytes_after_a_failure_close_it() -> None:
    def test(connection: UpstreamConnection, transport: Transport, user: User, lost: list[UpstreamConnection]) -> None:
        connection.data_received(OK)
        assert transport.done == ["abort"]
        assert not connection.reusable
        connection.write(b"late")
        connection.write_eof()
        connection.pause()
        assert transport.done == ["abort"]
        assert user.events == []

    with_connection(test)


def test_garbage_is_told_once() -> None:
    def test(connection: UpstreamConnection, transport: Transport, user: User, lost: list[UpstreamConnection]) -> None:
        connection.begin(user, "GET")
        connection.data_received(b"nonsense")
        connection.eof_received()
        connection.connection_lost(None)
        (told,) = user.events
        assert isinstance(told, tuple)
        assert told[0] is ErrorKind.GARBAGE
        assert lost == [connection]

    with_connection(test)


@pytest.mark.parametrize("clean", [True, False])
def test_a_body_until_close_needs_a_clean_end(clean: bool) -> None:
    def test(connection: UpstreamConnection, transport: Transport, user: User, lost: list[UpstreamConnection]) -> None:
        connection.begin(user, "GET")
        connection.data_received(b"HTTP/1.1 200 OK\r\n\r\nbody")
        user.events.clear()
        if clean:
            connection.eof_received()
            assert user.events == [("end", ()), "read"]
        else:
            connection.connection_lost(ConnectionResetError(104, "Connection reset by peer"))
            assert user.events == [(ErrorKind.RESET, "the connection was lost: Connection reset by peer")]
        assert not connection.reusable

    with_connection(test)


@pytest.mark.parametrize("held", [False, True])
def test_a_large_read_ends_the_turn_of_its_connection(held: bool) -> None:
    async def main() -> None:
        connection, transport = UpstreamConnection(asyncio.get_running_loop(), lambda _: None), Transport()
        connection.connection_made(transport)
        transport.done.clear()
        connection.begin(User(), "GET")
        connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n")
        connection.data_received(bytes(READ_BYTES_PER_TURN - 1))
        assert transport.done == []
        connection.data_received(bytes(READ_BYTES_PER_TURN))
        connection.data_received(bytes(READ_BYTES_PER_TURN))
        assert transport.done == ["pause"]
        if held:
            connection.pause()
        await asyncio.sleep(0)
        assert transport.done == (["pause"] if held else ["pause", "resume"])
        connection.resume()
        assert transport.done == ["pause", "resume"]

    run(main())


def test_flow_control_and_raw_bytes() -> None:
    def test(connection: UpstreamConnection, transport: Transport, user: User, lost: list[UpstreamConnection]) -> None:
        connection.pause_writing()
        connection.resume_writing()
        connection.begin(user, "GET")
        connection.pause()
        connection.pause()
        connection.resume()
        connection.resume()
        assert transport.done == ["pause", "resume"]
        connection.pause_writing()
        connection.resume_writing()
        connection.data_received(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nfirst")
        connection.data_received(b"second")
        connection.write_eof()
        connection.eof_received()
        assert user.events[:-1] == ["full", "drained", ("interim", 101), ("switched", b"first"), ("raw", b"second")]
        assert not connection.reusable

    with_connection(test)
