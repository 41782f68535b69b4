"""HTTP/2 and HTTP/3 of a client: each request an HTTP/1.1 exchange of its own over a pipe (RFC 9113 8, RFC 9114 4).

No stream sends more than the native path takes, and none is sent more than its client takes. This module opens no sockets.
"""

import struct
from typing import Any

from mitmproxy import http
from mitmproxy.proxy import commands, events, layer, layers
from mitmproxy.proxy.layers.http import (
    DropStream,
    HTTPMode,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
    SendHttp,
)
from mitmproxy.proxy.layers.http._http2 import Http2Server
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

from harness.core.labels import RefusedReason
from harness.core.limits import FRONT_PIECE_BYTES_MAX, HTTP2_STREAMS_MAX, STREAM_BUFFER_BYTES_MAX
from harness.core.values import Headers
from harness.proxy import wire
from harness.proxy.mitm_flow import Commands, Owner, PipeReady
from harness.proxy.mitm_message import end_to_end, framing_of, http1_head, pairs
from harness.proxy.mitm_pipe import Pipe
from harness.proxy.parsing import AnswerParser
from harness.proxy.wire import AnswerHead, BrokenAnswer, Framing, Refused

NO_ANSWER = 444
"""mitmproxy's code for an error of which the client is sent no page."""
_GO_AWAY = struct.pack(">I", 8)[1:] + b"\x07\x00" + struct.pack(">III", 0, 2**31 - 1, 0)
"""A GOAWAY frame that takes no stream back: no more requests, please, and those under way are answered (RFC 9113 6.8)."""


class PacedConnection(BufferedH2Connection):  # type: ignore[misc]  # mitmproxy's classes are untyped
    """HTTP/2 with windows that close: a stream whose request cannot be taken is given no room to send more (RFC 9113 5.2)."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.local_settings.initial_window_size = STREAM_BUFFER_BYTES_MAX
        self.local_settings.max_concurrent_streams = HTTP2_STREAMS_MAX
        self.local_settings.acknowledge()
        self._held: dict[int, int] = {}

    def acknowledge_received_data(self, acknowledged_size: int, stream_id: int) -> None:
        if stream_id in self._held:
            self._held[stream_id] += acknowledged_size
        else:
            super().acknowledge_received_data(acknowledged_size, stream_id)

    def hold(self, stream_id: int) -> None:
        """Give the stream no more room."""
        self._held.setdefault(stream_id, 0)

    def unhold(self, stream_id: int) -> None:
        """Give it the room that was kept back."""
        if size := self._held.pop(stream_id, 0):
            super().acknowledge_received_data(size, stream_id)

    def unsent(self, stream_id: int) -> int:
        """Bytes that wait for the client to give room."""
        return sum(len(piece.data) for piece in self.stream_buffers.get(stream_id, ()))


class FrontHttp2(Http2Server):  # type: ignore[misc]  # mitmproxy's classes are untyped
    """mitmproxy's HTTP/2 to the client, paced."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.h2_conn = PacedConnection(self.h2_conf)


class FrontQuic(layers.ClientQuicLayer):  # type: ignore[misc]  # mitmproxy's classes are untyped
    """QUIC to the client. Each datagram may acknowledge what was sent, and so make room for more of an answer."""

    def __init__(self, context: Any, owner: Owner) -> None:
        super().__init__(context)
        self._front = FrontLayer(context, owner, self)
        self.child_layer = self._front

    def _handle_event(self, event: Any) -> Commands:
        yield from super()._handle_event(event)
        if not isinstance(event, PipeReady):
            self._front.wake_waiting()

    def unsent(self, stream_id: int) -> int:
        """Bytes of an answer that the client has not acknowledged."""
        stream = self.quic._streams.get(stream_id) if self.quic is not None else None
        return 0 if stream is None else len(stream.sender._buffer)


class FrontLayer(layers.HttpLayer):  # type: ignore[misc]  # mitmproxy's classes are untyped
    """An HTTP/2 or HTTP/3 connection. Its streams go to the native path, each over a pipe of its own."""

    def __init__(self, context: Any, owner: Owner, quic: FrontQuic | None = None) -> None:
        super().__init__(context, HTTPMode.transparent)
        self.owner = owner
        self._quic = quic
        self.paced: PacedConnection | None = None
        self.streams_of: dict[Pipe, StreamLayer] = {}

    def _handle_event(self, event: Any) -> Commands:
        if isinstance(event, PipeReady):
            if event.pipe is None:
                if self.paced is not None:
                    yield commands.SendData(self.context.client, _GO_AWAY)
            elif (stream := self.streams_of.get(event.pipe)) is not None:
                yield from self.event_to_child(stream, event)
            return
        if isinstance(event, events.Start) and self.context.client.alpn == b"h2":
            server = FrontHttp2(self.context.fork())
            self.paced = server.h2_conn
            self.connections[self.context.client] = server
        yield from super()._handle_event(event)
        self.wake_waiting()

    def wake_waiting(self) -> None:
        """The client may have given room for what waits."""
        for pipe in self.streams_of:
            if pipe.get_write_buffer_size():
                self.owner.wake(pipe)

    def make_stream(self, stream_id: int) -> Commands:
        stream = self.streams[stream_id] = StreamLayer(self.context.fork(), stream_id, self)
        yield from self.event_to_child(stream, events.Start())

    def has_room(self, stream_id: int) -> bool:
        """Whether the client takes more of this stream's answer now."""
        return self.unsent(stream_id) < (1 if self.paced is not None else STREAM_BUFFER_BYTES_MAX)

    def unsent(self, stream_id: int) -> int:
        """Bytes of this stream's answer that left the native path, and that the client has given no room for, or not acknowledged."""
        if self.paced is not None:
            return self.paced.unsent(stream_id)
        return 0 if self._quic is None else self._quic.unsent(stream_id)

    def regulate(self, stream_id: int, *, reading: bool) -> Commands:
        """Let the client send more of this stream's request, or not."""
        if self.paced is None:
            return
        if not reading:
            self.paced.hold(stream_id)
            return
        self.paced.unhold(stream_id)
        if data := self.paced.data_to_send():
            yield commands.SendData(self.context.client, data)


class StreamLayer(layer.Layer):  # type: ignore[misc]  # mitmproxy's classes are untyped
    """One request of HTTP/2 or HTTP/3: written as HTTP/1.1 into a pipe, its answer read back from there."""

    def __init__(self, context: Any, stream_id: int, front: FrontLayer) -> None:
        super().__init__(context)
        self._id = stream_id
        self._front = front
        self._pipe: Pipe | None = None
        self._parser = AnswerParser()
        self._out: list[Any] = []
        self._framing = Framing.NONE
        self._left = 0
        self._trailers: Headers = ()
        self._requested = False
        self._answered = False
        self._reset = False

    def _handle_event(self, event: Any) -> Commands:
        if isinstance(event, RequestHeaders):
            yield from self._begin(event)
        elif isinstance(event, RequestProtocolError):
            self._reset = True
            self._finish(ConnectionResetError("the client reset the stream"))
            yield DropStream(self._id)
        elif self._reset:
            return
        elif isinstance(event, RequestData):
            yield from self._body(event.data)
        elif isinstance(event, RequestTrailers):
            self._trailers = pairs(event.trailers.fields)
        elif isinstance(event, RequestEndOfMessage):
            self._requested = True
            yield from self._end()
        elif isinstance(event, PipeReady) and self._pipe is not None:
            yield from self._pass_on(self._pipe)

    def _begin(self, event: RequestHeaders) -> Commands:
        owner = self._front.owner
        data = event.request.data
        try:
            if owner.stopping:
                raise Refused(503, RefusedReason.SHUTDOWN, "the service is restarting")
            method, target, headers = http1_head(data.method, data.path, data.authority, data.headers.fields, bodiless=event.end_stream)
        except Refused as refused:
            owner.refused(refused.reason)
            yield from self._refuse(refused)
            return
        self._framing, self._left = framing_of(headers)
        self._parser.expect(method, self)
        self._pipe = owner.pipe(multiplexed=True)
        self._front.streams_of[self._pipe] = self
        owner.connect(self._pipe)
        self._pipe.feed(wire.request_bytes(method, target, headers))

    def _refuse(self, refused: Refused) -> Commands:
        self._answered = True
        body = f"{refused.message}\n".encode()
        headers = [
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", str(len(body))),
            (wire.ERROR_HEADER, str(refused.reason)),
        ]
        yield self._to_client(ResponseHeaders(self._id, _response(refused.status, headers), end_stream=False))
        yield self._to_client(ResponseData(self._id, body))
        yield self._to_client(ResponseEndOfMessage(self._id))

    def _body(self, data: bytes) -> Commands:
        if self._pipe is None or not data:
            return
        if self._framing is Framing.CHUNKED:
            self._pipe.feed(wire.chunk(data))
            return
        self._left -= len(data)
        if self._left < 0:  # what is too much would be read as another request (RFC 9113 8.1.1)
            yield from self._break("the body is longer than its Content-Length")
        else:
            self._pipe.feed(data)

    def _end(self) -> Commands:
        if self._pipe is not None:
            if self._framing is Framing.CHUNKED:
                self._pipe.feed(wire.last_chunk(self._trailers))
            elif self._left and not self._answered:
                yield from self._break("the body is shorter than its Content-Length")
                return
        if self._answered and not self._front.unsent(self._id):
            self._finish(None)
            yield DropStream(self._id)

    def _break(self, message: str) -> Commands:
        """The exchange cannot go on: the client sees its stream reset."""
        self._reset = True
        self._finish(ConnectionResetError(message))
        yield self._to_client(ResponseProtocolError(self._id, message, NO_ANSWER))
        yield DropStream(self._id)

    def _pass_on(self, pipe: Pipe) -> Commands:
        yield from self._front.regulate(self._id, reading=pipe.reading or self._answered)
        while not self._answered and pipe.waiting and self._front.has_room(self._id):
            try:
                self._parser.feed(pipe.take(FRONT_PIECE_BYTES_MAX))
            except BrokenAnswer as broken:
                yield from self._break(broken.message)
                return
            out, self._out = self._out, []
            for event in out:
                yield self._to_client(event)
        unsent = self._front.unsent(self._id)
        pipe.owe(unsent)
        if self._answered and not (unsent and pipe.over):
            if self._requested and not unsent:
                self._finish(None)
                yield DropStream(self._id)
        elif pipe.over:
            yield from self._break("the answer was cut")

    def answer_interim(self, head: AnswerHead) -> None:
        if self._front.paced is not None:  # aioquic's HTTP/3 cannot say an interim answer
            self._out.append(ResponseHeaders(self._id, _response(head.status, end_to_end(head.headers)), end_stream=False))

    def answer_head(self, head: AnswerHead) -> None:
        bodiless = head.framing is Framing.NONE or (head.framing is Framing.LENGTH and not head.length)
        self._out.append(ResponseHeaders(self._id, _response(head.status, end_to_end(head.headers)), end_stream=bodiless))

    def answer_body(self, data: bytes) -> None:
        self._out.append(ResponseData(self._id, data))

    def answer_end(self, trailers: Headers) -> None:
        self._answered = True
        if trailers:
            fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in trailers]
            self._out.append(ResponseTrailers(self._id, http.Headers(fields)))
        self._out.append(ResponseEndOfMessage(self._id))

    def _to_client(self, event: Any) -> SendHttp:
        return SendHttp(event, self.context.client)

    def _finish(self, error: Exception | None) -> None:
        if self._pipe is not None:
            self._front.streams_of.pop(self._pipe, None)
            self._pipe.lost(error)


def _response(status: int, headers: list[tuple[str, str]]) -> http.Response:
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return http.Response(b"HTTP/2.0", status, b"", http.Headers(fields), None, None, 0.0, None)
