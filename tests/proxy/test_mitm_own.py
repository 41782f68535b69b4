"""Which connections are the proxy's own."""

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.proxy.mitm_own import OwnConnections
from tests.proxy.rig import LOOPS, run, until

TARGET = ("192.0.2.1", 80)


class Transport:
    """A connection as asyncio tells of it."""

    def __init__(self, sockname: Any, peername: Any = TARGET) -> None:
        self.names = {"sockname": sockname, "peername": peername}
        self.closed = False

    def get_extra_info(self, name: str) -> Any:
        return self.names.get(name)

    def is_closing(self) -> bool:
        return self.closed

    def __getattr__(self, name: str) -> Any:
        return None


@pytest.mark.parametrize("loop", LOOPS)
def test_real_connections_are_known_while_they_are_open(loop: str) -> None:
    async def main() -> None:
        peers: list[Any] = []
        server = await asyncio.start_server(lambda _, writer: peers.append(writer), "127.0.0.1", 0)
        own = OwnConnections()

        class Asking(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                own.outlet(transport)

        address = server.sockets[0].getsockname()
        transport, _ = await asyncio.get_running_loop().create_connection(Asking, *address)
        _, strange = await asyncio.open_connection(*address)
        await until(lambda: len(peers) == 2)
        near = transport.get_extra_info("sockname")
        mine, other = peers if peers[0].get_extra_info("peername") == near else peers[::-1]
        assert own.has(mine.get_extra_info("peername"), mine.get_extra_info("sockname"))
        assert not own.has(other.get_extra_info("peername"), other.get_extra_info("sockname"))
        transport.abort()
        assert not own.has(near, address)
        for writer in (strange, *peers):
            writer.close()
        server.close()

    run(main(), loop)


@pytest.mark.parametrize(
    ("sockname", "peername", "known"),
    [
        (("127.0.0.1", 5), ("::ffff:127.0.0.1", 5, 0, 0), True),
        (("2001:db8::1", 5, 0, 0), ("2001:DB8::1", 5, 0, 0), True),
        (("127.0.0.1", 5), ("127.0.0.1", 6), False),
        (("127.0.0.1", 5), ("127.0.0.2", 5), False),
        ("", ("127.0.0.1", 5), False),
        (("127.0.0.1", 5), None, False),
        (None, ("127.0.0.1", 5), False),
    ],
)
def test_addresses_in_all_forms(sockname: object, peername: object, known: bool) -> None:
    async def main() -> None:
        own = OwnConnections()
        own.outlet(cast("asyncio.Transport", Transport(sockname)))
        assert own.has(peername, TARGET) is known
        assert not own.has(peername, ("127.0.0.1", 8080)), "a client with the same port that means the proxy"

    run(main())


@given(steps=st.lists(st.tuples(st.integers(1, 200), st.booleans()), max_size=400))
def test_what_is_known_is_what_is_open_and_not_much_more_is_kept(steps: list[tuple[int, bool]]) -> None:
    async def main() -> None:
        own = OwnConnections()
        made: dict[int, Transport] = {}
        for port, opens in steps:
            if opens:
                made[port] = Transport(("127.0.0.1", port))
                own.outlet(cast("asyncio.Transport", made[port]))
            elif port in made:
                made[port].closed = True
        for port in range(1, 201):
            assert own.has(("127.0.0.1", port), TARGET) is (port in made and not made[port].closed)

    run(main())


def test_closed_ones_are_forgotten() -> None:
    async def main() -> None:
        own = OwnConnections()
        lasting = Transport(("127.0.0.1", 1))
        own.outlet(cast("asyncio.Transport", lasting))
        for port in range(2, 20_000):
            transport = Transport(("127.0.0.1", port))
            own.outlet(cast("asyncio.Transport", transport))
            transport.closed = True
            assert len(own) < 100
        assert own.has(("127.0.0.1", 1), TARGET)

    run(main())
