"""The layers by themselves: what a client's events become, without sockets. Whole connections are in test_mitm and its siblings."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from mitmproxy import http, options
from mitmproxy.connection import Client, ConnectionState
from mitmproxy.proxy import commands, context, events, layer, layers
from mitmproxy.proxy.layers.http import (
    DropStream,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)

from harness.core.labels import RefusedReason
from harness.proxy.mitm_flow import Chooser, ConnectLayer, FrontLayer, FrontTls, Http1Layer, PipeReady, StreamLayer
from harness.proxy.mitm_pipe import Pipe
from tests.proxy.rig import run


class Native(asyncio.Protocol):
    """The other end of a pipe."""

    def __init__(self) -> None:
        self.got = b""
        self.lost: list[Exception | None] = []
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Connection:
    """The connection that the layers belong to."""

    def __init__(self) -> None:
        self.stopping = False
        self.natives: list[Native] = []
        self.woken: list[Pipe] = []
        self.refusals: list[RefusedReason] = []
        self.cuts = 0
        self.gone = False

    def pipe(self, *, plain: bool = False, multiplexed: bool = False) -> Pipe:
        return Pipe(self.wake, half_close=not multiplexed)

    def connect(self, pipe: Pipe) -> None:
        self.natives.append(Native())
        pipe.connect(self.natives[-1])

    def wake(self, pipe: Pipe) -> None:
        self.woken.append(pipe)

    def broken(self) -> bool:
        return self.gone

    def cut(self) -> None:
        self.cuts += 1

    def refused(self, reason: RefusedReason) -> None:
        self.refusals.append(reason)


def a_context() -> Any:
    told = options.Options()
    for name in ("validate_inbound_headers", "normalize_outbound_headers"):
        told.add_option(name, bool, True, "")
    told.add_option("proxy_debug", bool, False, "")
    told.add_option("connection_strategy", str, "lazy", "")
    client = Client(peername=("192.0.2.1", 5), sockname=("192.0.2.2", 443), timestamp_start=0.0, state=ConnectionState.OPEN)
    made = context.Context(client, told)
    layers.modes.HttpProxy(made)  # what every connection begins with
    return made


class Stream:
    """A StreamLayer, its front and its native end."""

    def __init__(self) -> None:
        self.connection = Connection()
        self.front = FrontLayer(a_context(), self.connection)
        self.layer = StreamLayer(self.front.context.fork(), 1, self.front)

    @property
    def native(self) -> Native:
        return self.connection.natives[0]

    def tell(self, event: Any) -> list[Any]:
        """What comes of an event: events for the client, and other commands."""
        return [getattr(command, "event", command) for command in self.layer.handle_event(event)]

    def ready(self) -> list[Any]:
        return self.tell(PipeReady(self.connection.woken[-1]))

    def begin(self, *fields: tuple[bytes, bytes], end: bool = False) -> list[Any]:
        request = http.Request("", 0, b"POST", b"https", b"shop.example", b"/", b"HTTP/2.0", http.Headers(fields), None, None, 0.0, None)
        return self.tell(RequestHeaders(1, request, end_stream=end))


def in_loop(test: Callable[[], None]) -> None:
    """Pipes belong to a running loop."""

    async def main() -> None:
        test()

    run(main())


def test_a_stream_is_an_exchange_of_its_own() -> None:
    def test() -> None:
        stream = Stream()
        assert stream.begin() == []
        stream.tell(RequestData(1, b"body"))
        stream.tell(RequestData(1, b""))
        stream.tell(RequestTrailers(1, http.Headers([(b"x-sum", b"1")])))
        stream.tell(RequestEndOfMessage(1))
        head = b"POST / HTTP/1.1\r\nhost: shop.example\r\ntransfer-encoding: chunked\r\n\r\n"
        assert stream.native.got == head + b"4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n"
        stream.native.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        told = stream.ready()
        assert [type(each) for each in told] == [ResponseHeaders, ResponseData, ResponseEndOfMessage, DropStream]
        assert stream.native.lost == [None]

    in_loop(test)


@pytest.mark.parametrize(("body", "ends"), [(b"longer", False), (b"abc", True)])
def test_a_body_of_another_length_ends_the_exchange(body: bytes, ends: bool) -> None:
    def test() -> None:
        stream = Stream()
        stream.begin((b"content-length", b"4"))
        told = stream.tell(RequestData(1, body))
        if ends:
            assert told == []
            told = stream.tell(RequestEndOfMessage(1))
        assert isinstance(told[0], ResponseProtocolError)
        assert stream.native.got.endswith(b"\r\n\r\n" if not ends else b"abc"), "what is too much is not passed on"
        assert isinstance(stream.native.lost[0], ConnectionResetError)
        assert stream.tell(RequestData(1, b"more")) == []

    in_loop(test)


def test_an_answer_before_the_requests_end() -> None:
    def test() -> None:
        stream = Stream()
        stream.begin((b"content-length", b"40"))
        stream.native.transport.write(b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        stream.native.transport.close()
        told = stream.ready()
        assert [type(each) for each in told] == [ResponseHeaders, ResponseEndOfMessage]
        assert told[0].end_stream
        assert stream.tell(RequestData(1, b"x" * 39)) == []
        assert [type(each) for each in stream.tell(RequestEndOfMessage(1))] == [DropStream]
        assert not stream.front.streams_of

    in_loop(test)


@pytest.mark.parametrize("raw", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", b"nonsense\r\n\r\n", b""])
def test_half_an_answer_resets_the_stream(raw: bytes) -> None:
    def test() -> None:
        stream = Stream()
        stream.begin(end=True)
        stream.tell(RequestEndOfMessage(1))
        stream.native.transport.write(raw)
        stream.native.transport.close()
        told = stream.ready()
        assert any(isinstance(each, ResponseProtocolError) for each in told)
        assert not any(isinstance(each, ResponseEndOfMessage) for each in told)
        assert not stream.front.streams_of

    in_loop(test)


def test_a_client_that_resets_a_stream_is_gone_from_it() -> None:
    def test() -> None:
        stream = Stream()
        stream.begin()
        assert [type(each) for each in stream.tell(RequestProtocolError(1, "reset"))] == [DropStream]
        assert isinstance(stream.native.lost[0], ConnectionResetError)

    in_loop(test)


def test_what_cannot_be_sent_on_is_counted_and_answered() -> None:
    def test() -> None:
        refused, stopping = Stream(), Stream()
        stopping.connection.stopping = True
        told = refused.begin((b"connection", b"close"))
        assert (told[0].response.status_code, refused.connection.refusals) == (400, [RefusedReason.BAD_REQUEST])
        assert [type(each) for each in told] == [ResponseHeaders, ResponseData, ResponseEndOfMessage]
        assert refused.tell(RequestData(1, b"x")) == []
        assert [type(each) for each in refused.tell(RequestEndOfMessage(1))] == [DropStream]
        told = stopping.begin()
        assert (told[0].response.status_code, stopping.connection.refusals) == (503, [RefusedReason.SHUTDOWN])
        assert not stopping.connection.natives

    in_loop(test)


def data(connection: Any, raw: bytes) -> events.DataReceived:
    return events.DataReceived(connection, raw)


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


@pytest.mark.parametrize(
    ("raw", "explicit", "expected", "needed"),
    [
        (b"GET / HTTP/1.1\r\n", False, Http1Layer, 1),
        (b"\x16\x03\x01\x02\x00", False, FrontTls, 1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", False, FrontLayer, 24),
        (b"PRINT / HTTP/1.1\r\n", False, Http1Layer, 4),
        (b"PUT / HTTP/1.1\r\n", False, Http1Layer, 2),
        (b"CONNECT x:1 HTTP/1.1\r\n", True, ConnectLayer, 8),
        (b"CONNECT x:1 HTTP/1.1\r\n", False, Http1Layer, 1),
        (b"COPY / HTTP/1.1\r\n", True, Http1Layer, 3),
        (random.Random(1).randbytes(9), True, Http1Layer, 1),
    ],
)
def test_what_follows_is_told_by_the_first_bytes(raw: bytes, explicit: bool, expected: type, needed: int) -> None:
    owner = Connection()
    for count in range(len(raw) + 1):
        asked = layer.NextLayer(a_context())
        asked.events = [data(asked.context.client, raw[at : at + 1]) for at in range(count)]
        Chooser(lambda _: owner, explicit=explicit).next_layer(asked)
        assert type(asked.layer) is (expected if count >= needed else type(None)), count


def test_a_second_tunnel_within_a_tunnel_is_left_to_the_native_path() -> None:
    asked = layer.NextLayer(a_context())
    ConnectLayer(asked.context)
    asked.events = [data(asked.context.client, b"CONNECT x:1 HTTP/1.1\r\n")]
    Chooser(lambda _: Connection(), explicit=True).next_layer(asked)
    assert type(asked.layer) is Http1Layer


def test_the_owner_is_asked_for_by_the_client() -> None:
    asked = layer.NextLayer(a_context())
    asked.events = [data(asked.context.client, b"G")]
    seen: list[Any] = []

    def owner_of(client: Any) -> Connection:
        seen.append(client)
        return Connection()

    Chooser(owner_of, explicit=False).next_layer(asked)
    assert seen == [asked.context.client]
    assert not isinstance(asked.layer, layers.TCPLayer)
