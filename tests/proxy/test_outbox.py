"""Writes of one turn leave together, in their order, and an end or a close never overtakes them."""

import asyncio
import contextlib
from typing import cast

import pytest

from harness.proxy.outbox import WRITE_AT_ONCE_BYTES, Outbox, _Outlet
from tests.proxy.rig import LOOPS, run


class Line:
    """A real connection: what is written at one end, read at the other."""

    def __init__(self, transport: asyncio.Transport, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.transport = transport
        self.reader = reader
        self.writer = writer


async def lines(outbox: Outbox, count: int) -> tuple[list[Line], asyncio.Server]:
    arrived: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await arrived.put((reader, writer))

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    found = []
    for _ in range(count):
        port = server.sockets[0].getsockname()[1]
        transport, _protocol = await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", port)
        found.append(Line(outbox.outlet(transport), *await arrived.get()))
    return found, server


async def closed(found: list[Line], server: asyncio.Server) -> None:
    for line in found:
        line.transport.abort()
        line.writer.close()
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_written_arrives_in_order_on_each_line(loop: str) -> None:
    async def main() -> None:
        found, server = await lines(Outbox(), 3)
        for number in range(4):
            for line in found:
                line.transport.write(b"%d" % number)
        assert [line.transport.get_write_buffer_size() for line in found] == [4, 4, 4], "nothing has left within the turn"
        for line in found:
            assert await line.reader.readexactly(4) == b"0123"
        found[1].transport.write(b"later")
        assert await found[1].reader.readexactly(5) == b"later"
        await closed(found, server)

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("end", ["write_eof", "close"])
def test_an_end_comes_after_what_was_written(end: str, loop: str) -> None:
    async def main() -> None:
        found, server = await lines(Outbox(), 1)
        transport = found[0].transport
        assert transport.can_write_eof()
        transport.write(b"the last")
        getattr(transport, end)()
        assert await found[0].reader.read() == b"the last"
        await closed(found, server)

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_abort_drops_what_has_not_left(loop: str) -> None:
    async def main() -> None:
        found, server = await lines(Outbox(), 2)
        for line in found:
            line.transport.write(b"x")
        found[0].transport.abort()
        assert found[0].transport.is_closing()
        assert await found[1].reader.readexactly(1) == b"x", "the others' leaves all the same"
        with contextlib.suppress(ConnectionResetError):
            assert await found[0].reader.read() == b""
        await closed(found, server)

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_rest_is_the_transports_own(loop: str) -> None:
    async def main() -> None:
        found, server = await lines(Outbox(), 1)
        transport = found[0].transport
        transport.set_write_buffer_limits(high=1000)
        assert transport.get_write_buffer_limits()[1] == 1000
        assert transport.get_extra_info("peername")[1] == server.sockets[0].getsockname()[1]
        transport.pause_reading()
        transport.resume_reading()
        await closed(found, server)

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_large_piece_leaves_at_once_so_that_its_writer_hears_of_a_slower_reader(loop: str) -> None:
    async def main() -> None:
        found, server = await lines(Outbox(), 1)
        (line,) = found
        outlet = cast("_Outlet", cast("object", line.transport))
        line.transport.write(b"first")
        assert outlet._unsent == [b"first"]
        line.transport.write(bytes(WRITE_AT_ONCE_BYTES))
        assert outlet._unsent == []
        line.transport.write(b"last")
        assert await line.reader.readexactly(9 + WRITE_AT_ONCE_BYTES) == b"first" + bytes(WRITE_AT_ONCE_BYTES) + b"last"
        await closed(found, server)

    run(main(), loop)
