"""The streams of HTTP/2 and HTTP/3 by themselves, without sockets. Whole connections are in test_mitm and its siblings."""

from typing import Any

import pytest
from mitmproxy import http
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
from harness.proxy.mitm_flow import PipeReady
from harness.proxy.mitm_streams import FrontLayer, StreamLayer
from tests.proxy.mitm_layers import Connection, Native, a_context, in_loop


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
