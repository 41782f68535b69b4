"""The layers by themselves: what a client's events become, without sockets. Whole connections are in test_mitm and its siblings."""

import asyncio
from typing import Any

import pytest
from mitmproxy.proxy import commands, events

from harness.proxy.mitm_flow import ConnectLayer, FrontTls, Http1Layer, PipeReady
from tests.proxy.mitm_layers import Connection, a_context, data, in_loop
from tests.proxy.rig import run


def test_http1_is_bytes() -> None:
    def test() -> None:
        owner = Connection()
        http1 = Http1Layer(a_context(), owner)
        client = http1.context.client
        list(http1.handle_event(events.Start()))
        native = owner.natives[0]
        list(http1.handle_event(data(client, b"GET")))
        assert native.got == b"GET"
        native.transport.write(b"x" * 100_000)
        native.transport.write(b"y")
        ready = PipeReady(owner.woken[-1])
        (sent,) = http1.handle_event(ready)
        assert (sent.connection, len(sent.data)) == (client, 100_000)
        native.transport.write_eof()
        sent, closed = http1.handle_event(ready)
        assert (sent.data, closed.half_close) == (b"y", True)
        assert list(http1.handle_event(ready)) == []
        native.transport.close()
        (closed,) = http1.handle_event(ready)
        assert type(closed) is commands.CloseConnection
        assert list(http1.handle_event(data(client, b"late"))) == []
        assert native.got == b"GET"

    in_loop(test)


def test_http1_that_is_cut() -> None:
    def test() -> None:
        owner = Connection()
        around = a_context()
        tls = FrontTls(around)
        http1 = Http1Layer(around, owner)
        list(http1.handle_event(events.Start()))
        owner.natives[0].transport.abort()
        (closed,) = http1.handle_event(PipeReady(owner.woken[-1]))
        assert isinstance(closed, commands.CloseConnection)
        assert (owner.cuts, tls.truncated) == (1, True)

    in_loop(test)


@pytest.mark.parametrize("gone", [True, False])
def test_http1_whose_client_ends(gone: bool) -> None:
    async def main() -> None:
        owner = Connection()
        owner.gone = gone
        http1 = Http1Layer(a_context(), owner)
        list(http1.handle_event(events.Start()))
        list(http1.handle_event(events.ConnectionClosed(http1.context.client)))
        await asyncio.sleep(0)
        (lost,) = owner.natives[0].lost
        assert isinstance(lost, ConnectionResetError) is gone

    run(main())


def test_a_tunnel_byte_by_byte() -> None:
    raw = b"CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nHost: x\r\n\r\n"
    tunnel = ConnectLayer(a_context())
    client = tunnel.context.client
    out: list[Any] = []
    for at in range(len(raw)):
        assert not out
        out += tunnel.handle_event(data(client, raw[at : at + 1]))
    assert out[0].data == b"HTTP/1.1 200 Connection established\r\n\r\n"
    assert tunnel.context.server.address == ("2001:db8::1", 8443)


def test_a_tunnel_whose_client_goes() -> None:
    tunnel = ConnectLayer(a_context())
    (closed,) = tunnel.handle_event(events.ConnectionClosed(tunnel.context.client))
    assert isinstance(closed, commands.CloseConnection)
