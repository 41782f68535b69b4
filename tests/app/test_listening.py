"""Listening for clients: one address for any number of workers, and never a share of somebody else's."""

import asyncio
import socket

import pytest

from harness.app import listening as module
from harness.app.listening import freed_sockets, listening_sockets
from harness.core.errors import SetupError


def closing(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize("count", [1, 3])
def test_all_listen_on_one_address(count: int) -> None:
    sockets = listening_sockets("127.0.0.1", 0, count)
    try:
        assert len({sock.getsockname() for sock in sockets}) == 1
        assert len(sockets) == count
        assert not any(sock.get_inheritable() for sock in sockets)
        with socket.create_connection(sockets[0].getsockname(), timeout=5):
            pass
    finally:
        closing(sockets)


def test_the_address_of_a_closed_one_can_be_had_again() -> None:
    first = listening_sockets("127.0.0.1", 0, 2)
    port = first[0].getsockname()[1]
    closing(first)
    closing(listening_sockets("127.0.0.1", port, 2))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("theirs", [1, 2], ids=["alone", "shared"])
def test_an_address_that_another_harness_serves_is_refused(theirs: int, count: int) -> None:
    taken = listening_sockets("127.0.0.1", 0, theirs)
    try:
        port = taken[0].getsockname()[1]
        with pytest.raises(SetupError, match="cannot listen") as caught:
            listening_sockets("127.0.0.1", port, count)
        assert caught.value.where == f"127.0.0.1:{port}"
    finally:
        closing(taken)


def test_a_host_that_is_none_is_refused() -> None:
    with pytest.raises(SetupError, match="cannot listen"):
        listening_sockets("256.0.0.1", 0, 1)


def test_ipv6_with_and_without_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    for host in ("::1", "[::1]"):
        try:
            (sock,) = listening_sockets(host, 0, 1)
        except SetupError:
            pytest.skip("no IPv6 loopback here")
        assert sock.family == socket.AF_INET6
        sock.close()


def test_where_one_of_several_cannot_be_had_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []
    real = module._listening

    def failing(host: str, port: int, *, shared: bool) -> socket.socket:
        if len(opened) == 3:
            raise OSError(24, "Too many open files")
        opened.append(real(host, port, shared=shared))
        return opened[-1]

    monkeypatch.setattr(module, "_listening", failing)
    with pytest.raises(SetupError, match="Too many open files"):
        listening_sockets("127.0.0.1", 0, 3)
    assert [sock.fileno() for sock in opened] == [-1, -1, -1]


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_what_is_no_name_of_a_host_is_refused_in_words(host: str) -> None:
    with pytest.raises(SetupError, match="not the name of a host") as caught:
        listening_sockets(host, 0, 1)
    assert caught.value.where == f"{host}:0"


def test_an_address_that_is_let_go_of_is_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
    (holder,) = listening_sockets("127.0.0.1", 0, 1)
    port = holder.getsockname()[1]

    async def body() -> None:
        with pytest.raises(SetupError):
            await freed_sockets("127.0.0.1", port, 1, 0.0)
        asyncio.get_running_loop().call_later(0.05, holder.close)
        closing(await freed_sockets("127.0.0.1", port, 1, 60.0))

    asyncio.run(body())
