"""The gRPC side of OTLP: unary `Export` calls over HTTP/2 without TLS.

A gRPC client keeps nothing of an endpoint but host and port, so each target has a port of its own. Metrics and logs are taken and
dropped. What does not speak the protocol is refused as the protocol says, or cut; a peer can hold no more than the bounds allow.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from harness.core import limits
from harness.core.errors import SetupError
from harness.core.labels import Role
from harness.effects.otlp.intake import (
    BAD,
    BUSY,
    CUT,
    INTERNAL,
    INVALID_ARGUMENT,
    REJECTED,
    UNIMPLEMENTED,
    Intake,
    Parcel,
    Refused,
    check_size,
    too_slow,
)

_SERVICES: Final = b"/opentelemetry.proto.collector."
_TRACES: Final = _SERVICES + b"trace.v1.TraceService/Export"
_DROPPED: Final = frozenset({_SERVICES + b"metrics.v1.MetricsService/Export", _SERVICES + b"logs.v1.LogsService/Export"})
_FORMATS: Final = frozenset({b"application/grpc", b"application/grpc+proto"})
_PREFIX_BYTES: Final = 5
"""Before a message: whether it is compressed (1), and its length (4)."""
_SHUTDOWN_SECONDS: Final = 1.0


class GrpcReceiver:
    """An OTLP/gRPC server with a port for each role. Hosts without brackets; port 0 takes a free one."""

    def __init__(self, addresses: Callable[[Role], tuple[str, int]], intake: Intake) -> None:
        self._address = addresses
        self.intake = intake
        self.connections: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._servers: dict[Role, asyncio.Server] = {}

    async def open(self, roles: Collection[Role]) -> None:
        """Listen. Raises SetupError where an address cannot be taken."""
        loop = asyncio.get_running_loop()
        for role in roles:
            host, port = self._address(role)
            try:
                self._servers[role] = await loop.create_server(lambda role=role: _Connection(self, role), host, port)  # type: ignore[misc]
            except OSError as error:
                await self.close()
                raise SetupError(
                    f"the gRPC receiver of spans for {role} cannot listen: {error.strerror or error}",
                    where=f"{host}:{port}",
                    fix="give another effects.otlp.grpc_listen",
                ) from error

    def url(self, role: Role) -> str:
        """The endpoint of a role's exporter, as builds on this machine reach it."""
        host, port = self._address(role)
        if role in self._servers:
            port = int(self._servers[role].sockets[0].getsockname()[1])
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def close(self) -> None:
        """Stop listening; exports that have come are still handed on. May be called twice, and where it never listened."""
        servers, self._servers = self._servers, {}
        for server in servers.values():
            server.close()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=_SHUTDOWN_SECONDS)
        for connection in list(self.connections):
            connection.cut()
        for task in self.tasks:
            task.cancel()
        for server in servers.values():
            await server.wait_closed()


class _Call:
    """One call on a connection."""

    __slots__ = ("coding", "compressed", "head", "left", "parcel", "timer", "traces")

    def __init__(self, parcel: Parcel, timer: asyncio.TimerHandle, coding: str, *, traces: bool) -> None:
        self.parcel = parcel
        self.timer = timer
        self.coding = coding
        self.traces = traces
        self.head = b""
        self.compressed = False
        self.left = 0
        """Bytes of the message still to come."""

    def add(self, data: bytes) -> None:
        """A piece of the call's one message. Raises Refused."""
        if not self.traces:
            return
        if wanted := _PREFIX_BYTES - len(self.head):
            self.head, data = self.head + data[:wanted], data[wanted:]
            if len(self.head) < _PREFIX_BYTES:
                return
            self.left = int.from_bytes(self.head[1:], "big")
            self.compressed = self.head[0] == 1
            if self.head[0] > 1 or (self.compressed and self.coding in {"", "identity"}):
                raise Refused(400, INTERNAL, "a compressed message of no grpc-encoding", BAD)
            check_size(self.left)
        if len(data) > self.left:
            raise Refused(400, INVALID_ARGUMENT, "more than one message", BAD)
        self.left -= len(data)
        self.parcel.add(data)

    def ended(self) -> None:
        """Raises Refused where the message is not whole."""
        if self.traces and (len(self.head) < _PREFIX_BYTES or self.left):
            raise Refused(400, INVALID_ARGUMENT, "the message is not whole", BAD)

    def close(self) -> None:
        self.timer.cancel()
        self.parcel.close()


class _Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, receiver: GrpcReceiver, role: Role) -> None:
        self._receiver = receiver
        self._intake = receiver.intake
        self._role = role
        self._calls: dict[int, _Call] = {}
        self._answers: dict[int, bytes] = {}
        """By stream, those that wait for the client to give room."""
        self._transport: asyncio.Transport | None = None
        self._http2 = H2Connection(H2Configuration(client_side=False, header_encoding=False))
        # From the start, not once they are acknowledged: what is less than agreed on harms nobody.
        first = {
            SettingCodes.MAX_CONCURRENT_STREAMS: limits.HTTP2_STREAMS_MAX,
            SettingCodes.INITIAL_WINDOW_SIZE: limits.STREAM_BUFFER_BYTES_MAX,
            SettingCodes.MAX_HEADER_LIST_SIZE: limits.HEAD_BYTES_MAX,
        }
        self._http2.local_settings = Settings(client=False, initial_values=first)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if len(self._receiver.connections) >= limits.SPAN_CONNECTIONS_MAX:
            self._intake.refused[BUSY, self._role] += 1
            transport.abort()
            return
        self._receiver.connections.add(self)
        self._transport = transport
        self._http2.initiate_connection()
        self._http2.increment_flow_control_window(limits.STREAM_BUFFER_BYTES_MAX)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._receiver.connections.discard(self)
        for stream in list(self._calls):
            self._broke_off(stream)
        self._answers.clear()

    def cut(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        try:
            events = self._http2.receive_data(data)
        except ProtocolError:
            self._intake.refused[BAD, self._role] += 1
            self._flush()
            self._transport.close()
            return
        for event in events:
            try:
                self._on(event)
            except Refused as refused:
                self._refuse(event.stream_id, refused)
        self._answer()
        self._flush()

    def _on(self, event: Any) -> None:
        """What a client did. Raises Refused for a call that is not taken."""
        if isinstance(event, RequestReceived):
            self._begin(event.stream_id, dict(event.headers))
        elif isinstance(event, DataReceived):
            with suppress(ProtocolError):  # the client said good-bye in the same breath
                self._http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if call := self._calls.get(event.stream_id):
                call.add(event.data)
        elif isinstance(event, StreamEnded):
            if call := self._calls.get(event.stream_id):
                call.ended()
                call.timer.cancel()
                task = asyncio.get_running_loop().create_task(self._hand_on(event.stream_id, self._calls.pop(event.stream_id)))
                self._receiver.tasks.add(task)
                task.add_done_callback(self._receiver.tasks.discard)
        elif isinstance(event, StreamReset):
            self._answers.pop(event.stream_id, None)
            self._broke_off(event.stream_id)

    def _begin(self, stream: int, headers: Mapping[bytes, bytes]) -> None:
        if headers.get(b"content-type", b"").partition(b";")[0].strip() not in _FORMATS:
            raise Refused(415, INVALID_ARGUMENT, "send application/grpc", BAD)
        path = headers.get(b":path")
        if headers.get(b":method") != b"POST" or (path != _TRACES and path not in _DROPPED):
            raise Refused(404, UNIMPLEMENTED, "there is only Export of traces, metrics and logs", "")  # no lapse: it carried no spans
        timer = asyncio.get_running_loop().call_later(limits.SPAN_EXPORT_SECONDS_MAX, self._late, stream)
        coding = headers.get(b"grpc-encoding", b"").decode("ascii", "replace")
        self._calls[stream] = _Call(self._intake.parcel(), timer, coding, traces=path == _TRACES)

    def _late(self, stream: int) -> None:
        self._refuse(stream, too_slow())
        self._flush()

    def _broke_off(self, stream: int) -> None:
        if (call := self._calls.get(stream)) and call.traces:
            self._intake.refused[CUT, self._role] += 1
        self._drop(stream)

    def _drop(self, stream: int) -> None:
        if call := self._calls.pop(stream, None):
            call.close()

    async def _hand_on(self, stream: int, call: _Call) -> None:
        response = ExportTraceServiceResponse()
        try:
            with call.parcel as parcel:
                if call.traces and (rejected := await parcel.hand_on(self._role, (call.coding,) if call.compressed else ())):
                    response.partial_success.rejected_spans = rejected
                    response.partial_success.error_message = REJECTED
        except Refused as refused:
            self._refuse(stream, refused)
        else:
            message = response.SerializeToString()
            self._answers[stream] = b"\0" + len(message).to_bytes(4, "big") + message
            self._answer()
        self._flush()

    def _answer(self) -> None:
        """Send what there is room for."""
        for stream, message in list(self._answers.items()):
            try:
                if self._http2.local_flow_control_window(stream) < len(message):
                    continue
                del self._answers[stream]
                self._http2.send_headers(stream, ((":status", "200"), ("content-type", "application/grpc")))
                self._http2.send_data(stream, message)
                self._http2.send_headers(stream, (("grpc-status", "0"),), end_stream=True)
            except ProtocolError:  # the stream or the connection is gone meanwhile
                self._answers.pop(stream, None)

    def _refuse(self, stream: int, refused: Refused) -> None:
        """An answer that is nothing but its end, whatever of the call is still to come."""
        self._drop(stream)
        if refused.lapse:
            self._intake.refused[refused.lapse, self._role] += 1
        status = "415" if refused.status == 415 and refused.code == INVALID_ARGUMENT else "200"
        headers = [(":status", status), ("content-type", "application/grpc"), ("grpc-status", str(refused.code))]
        headers += [("grpc-message", quote(str(refused)[:100], safe=" /,'")), ("grpc-accept-encoding", "identity,gzip,deflate")]
        with suppress(ProtocolError):  # it is closed already, from both sides or by the client
            self._http2.send_headers(stream, headers, end_stream=True)
            self._http2.reset_stream(stream)

    def _flush(self) -> None:
        data = self._http2.data_to_send()
        if self._transport is None:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > limits.STREAM_BUFFER_BYTES_MAX:
            self._transport.abort()  # it makes us speak and does not listen
