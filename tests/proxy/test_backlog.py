"""The end of a listening socket: who is connected by then is served, and nobody else comes in."""

import asyncio
import errno
import select
import socket
from pathlib import Path

import pytest

from harness.proxy.backlog import begin_no_more, emptied, waiting
from tests.proxy.rig import LOOPS, run

COUNT = 60
GREETING = b"good day"


def listening(family: socket.AddressFamily) -> socket.socket:
    """A socket that listens and that nobody accepts on."""
    sock = socket.socket(family)
    try:
        sock.bind(("127.0.0.1" if family is socket.AF_INET else "::1", 0))
    except OSError:
        sock.close()
        pytest.skip("no IPv6 here")
    sock.listen(COUNT)
    sock.setblocking(False)
    return sock


def closed(sock: socket.socket) -> None:
    """Filter the socket, or skip the test where the kernel cannot."""
    if not begin_no_more(sock):
        pytest.skip("this system has no filters for listening sockets")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_after_it_no_connection_begins_and_those_there_are_live_on(family: socket.AddressFamily) -> None:
    with listening(family) as sock:
        where = sock.getsockname()[:2]
        with socket.create_connection(where) as first, socket.create_connection(where) as second:
            closed(sock)
            with socket.socket(family) as late:
                late.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    late.connect(where)
            first.sendall(b"early")
            ours, theirs = sock.accept()[0], sock.accept()[0]
            with ours, theirs:
                with pytest.raises(BlockingIOError):
                    sock.accept()
                sock.close()
                for client, server in ((first, ours), (second, theirs)):
                    server.settimeout(10)
                    client.settimeout(10)
                    server.sendall(b"hello")
                    assert client.recv(100) == b"hello"
                assert ours.recv(100) == b"early"


def test_who_is_not_let_in_is_refused_once_the_socket_is_closed() -> None:
    with listening(socket.AF_INET) as sock, socket.socket() as late:
        where = sock.getsockname()
        closed(sock)
        late.setblocking(False)
        assert late.connect_ex(where) != 0
        sock.close()
        assert select.select([], [late], [], 60)[1], "the kernel tries again after a second"
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_a_unix_socket_has_no_such_filter(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as client:
        sock.bind(str(tmp_path / "s"))
        sock.listen()
        assert not begin_no_more(sock)
        client.connect(str(tmp_path / "s"))
        assert waiting(sock)


def test_a_socket_that_takes_no_filter_stays_as_it_is() -> None:
    with listening(socket.AF_INET) as sock:
        gone = sock.dup()
        gone.close()
        assert not begin_no_more(gone)
        assert not waiting(sock)
        with socket.create_connection(sock.getsockname()):
            assert waiting(sock)
            sock.accept()[0].close()
            assert not waiting(sock)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_all_who_wait_are_accepted_before_the_end(loop: str, seconds: float) -> None:
    greeted = 0

    class Greet(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            nonlocal greeted
            greeted += 1
            transport.write(GREETING)  # type: ignore[attr-defined]  # asyncio's transports can write
            transport.close()

    async def main() -> None:
        sock = listening(socket.AF_INET)
        server = await asyncio.get_running_loop().create_server(Greet, sock=sock, backlog=COUNT)
        clients = [socket.create_connection(sock.getsockname()) for _ in range(COUNT)]  # the loop stands still meanwhile
        closed(sock)
        await emptied(server.sockets, seconds)
        server.close()
        assert greeted == COUNT
        await server.wait_closed()
        for client in clients:
            with client:
                client.settimeout(10)
                got = b""
                while data := client.recv(100):
                    got += data
                assert got == GREETING

    run(main(), loop)


def test_where_nobody_accepts_it_comes_to_an_end() -> None:
    async def main() -> None:
        with listening(socket.AF_INET) as sock, socket.create_connection(sock.getsockname()):
            await emptied([sock], 0.0)
            assert waiting(sock)

    run(main())
