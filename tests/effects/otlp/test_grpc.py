"""OTLP over gRPC: what a client of the protocol gets, and what becomes of anything else, over real connections."""

import asyncio
import gzip
import random
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import unquote

import pytest
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from harness.core import limits
from harness.core.errors import SetupError
from harness.core.labels import Role
from harness.effects.otlp.grpc import GrpcReceiver
from harness.effects.otlp.intake import BAD, BUSY, CUT, LARGE, SLOW
from tests.effects.otlp.spanning import ROLES, Taken, call, export, server

SPANS = [server(Role.STABLE), call(2, 1)]
GOOD = export(SPANS)
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = "0", "3", "8", "12", "13", "14"


def message(body: bytes, *, compressed: int = 0) -> bytes:
    return struct.pack(">BI", compressed, len(body)) + body


class Answer:
    """What came back of one call."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.data = b""
        self.over = asyncio.Event()

    @property
    def status(self) -> str:
        return self.headers["grpc-status"]


class Client:
    """A client of HTTP/2 that can also do what none does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self.http2 = H2Connection(H2Configuration(header_encoding="utf-8", validate_outbound_headers=False))
        self._answers: dict[int, Answer] = {}
        self._room = asyncio.Event()
        self.closed = asyncio.Event()
        self.http2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.http2.data_to_send())

    async def read(self) -> None:
        try:
            while data := await self._reader.read(65_536):
                for event in self.http2.receive_data(data):
                    self._on(event)
                self.flush()
        except ConnectionError:
            pass
        finally:
            self.closed.set()
            self._room.set()
            for answer in self._answers.values():
                answer.over.set()

    def _on(self, event: Any) -> None:
        self._room.set()
        answer = self._answers.get(getattr(event, "stream_id", 0) or 0)
        if answer is None:
            return
        if isinstance(event, events.ResponseReceived | events.TrailersReceived):
            answer.headers |= dict(event.headers)
        elif isinstance(event, events.DataReceived):
            answer.data += event.data
            self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.StreamEnded | events.StreamReset):
            answer.over.set()

    def begin(self, path: str = TRACES, coding: str = "", form: str = "application/grpc", **more: str) -> tuple[int, Answer]:
        headers = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x", "content-type": form, "te": "trailers"}
        headers |= {f":{name}": value for name, value in more.items()}
        stream = self.http2.get_next_available_stream_id()
        self.http2.send_headers(stream, [*headers.items(), *([("grpc-encoding", coding)] if coding else [])])
        self.flush()
        answer = self._answers[stream] = Answer()
        return stream, answer

    async def send(self, stream: int, body: bytes, *, end: bool = True) -> None:
        """As far as it is wanted."""
        answer = self._answers[stream]
        while body and not answer.over.is_set() and not self.closed.is_set():
            room = min(self.http2.local_flow_control_window(stream), self.http2.max_outbound_frame_size)
            if room <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            self.http2.send_data(stream, body[:room])
            body = body[room:]
            self.flush()
            await self.writer.drain()
        if end and not answer.over.is_set() and not self.closed.is_set():
            self.http2.end_stream(stream)
            self.flush()

    async def call(self, body: bytes, **more: str) -> Answer:
        stream, answer = self.begin(**more)
        await self.send(stream, body)
        async with asyncio.timeout(60):
            await answer.over.wait()
        return answer


@asynccontextmanager
async def client(receiver: GrpcReceiver, role: Role = Role.STABLE) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(receiver, role))
    made = Client(reader, writer)
    reading = asyncio.create_task(made.read())
    try:
        yield made
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        writer.close()


def port_of(receiver: GrpcReceiver, role: Role) -> int:
    return int(receiver.url(role).rpartition(":")[2])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def served(use: Callable[[GrpcReceiver, Taken], Awaitable[None]], rejects: int = 0) -> None:
    """Whatever happens, nothing raises on the event loop, and in the end nothing is held."""

    async def go() -> None:
        loop, raised = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _, context: raised.append(context))
        taken = Taken(rejects)
        receiver = GrpcReceiver(lambda _: ("127.0.0.1", 0), taken.intake)
        await receiver.open(ROLES)
        try:
            await use(receiver, taken)
        finally:
            await receiver.close()
            await receiver.close()
        await until(lambda: not receiver.connections and not receiver.tasks)
        assert taken.intake.bytes_held == 0
        assert not raised

    asyncio.run(go())


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("coding", ["", "gzip", "deflate", "identity"])
@pytest.mark.parametrize("form", ["application/grpc", "application/grpc+proto"])
def test_an_export_is_of_the_role_whose_port_it_came_to(role: Role, coding: str, form: str) -> None:
    body = message(gzip.compress(GOOD), compressed=1) if coding == "gzip" else message(GOOD)
    body = message(zlib.compress(GOOD), compressed=1) if coding == "deflate" else body

    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        async with client(receiver, role) as one:
            answer = await one.call(body, coding=coding, form=form)
        assert (answer.headers[":status"], answer.headers["content-type"], answer.status) == ("200", "application/grpc", OK)
        assert answer.data == message(b"")
        assert taken.spans == [(role, span.span) for span in SPANS]
        assert not taken.intake.refused

    served(use)


def test_a_message_may_be_plain_where_a_coding_is_agreed_on_and_come_byte_by_byte() -> None:
    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        async with client(receiver) as one:
            stream, answer = one.begin(coding="gzip")
            for number in range(len(message(GOOD))):
                await one.send(stream, message(GOOD)[number : number + 1], end=False)
            await one.send(stream, b"")
            await answer.over.wait()
        assert answer.status == OK
        assert len(taken.spans) == 2

    served(use)


@pytest.mark.parametrize("service", ["metrics.v1.MetricsService", "logs.v1.LogsService"])
def test_other_signals_are_taken_and_dropped(service: str) -> None:
    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        async with client(receiver) as one:
            answer = await one.call(b"whatever", path=f"/opentelemetry.proto.collector.{service}/Export")
        assert (answer.status, answer.data) == (OK, message(b""))
        assert not taken.spans
        assert not taken.intake.refused

    served(use)


@pytest.mark.parametrize(
    ("body", "more", "code", "lapse"),
    [
        (message(GOOD), {"path": "/grpc.health.v1.Health/Check"}, UNIMPLEMENTED, ""),
        (message(GOOD), {"path": TRACES + "s"}, UNIMPLEMENTED, ""),
        (message(GOOD), {"path": "/v1/traces"}, UNIMPLEMENTED, ""),
        (message(GOOD), {"method": "PUT"}, UNIMPLEMENTED, ""),
        (message(GOOD), {"form": "application/grpc-web"}, INVALID_ARGUMENT, BAD),
        (GOOD, {"form": "application/x-protobuf"}, INVALID_ARGUMENT, BAD),
        (b"", {}, INVALID_ARGUMENT, BAD),
        (b"\0\0\0", {}, INVALID_ARGUMENT, BAD),
        (message(GOOD)[:-1], {}, INVALID_ARGUMENT, BAD),
        (message(GOOD) + b"x", {}, INVALID_ARGUMENT, BAD),
        (message(GOOD) + message(GOOD), {}, INVALID_ARGUMENT, BAD),
        (message(b"\xff\xff"), {}, INVALID_ARGUMENT, BAD),
        (message(GOOD, compressed=2), {}, INTERNAL, BAD),
        (message(GOOD, compressed=1), {}, INTERNAL, BAD),
        (message(GOOD, compressed=1), {"coding": "identity"}, INTERNAL, BAD),
        (message(GOOD, compressed=1), {"coding": "gzip"}, INVALID_ARGUMENT, BAD),
        (message(gzip.compress(GOOD)[:-9], compressed=1), {"coding": "gzip"}, INVALID_ARGUMENT, BAD),
        (message(GOOD, compressed=1), {"coding": "snappy"}, UNIMPLEMENTED, BAD),
        (message(GOOD, compressed=1), {"coding": "gzip,gzip"}, UNIMPLEMENTED, BAD),
        (message(GOOD, compressed=1), {"coding": "\u00fc"}, UNIMPLEMENTED, BAD),
        (message(bytes(limits.SPAN_EXPORT_BYTES_MAX + 1)), {}, RESOURCE_EXHAUSTED, LARGE),
        (message(b"", compressed=0)[:1] + b"\xff\xff\xff\xff", {}, RESOURCE_EXHAUSTED, LARGE),
        (message(gzip.compress(bytes(limits.SPAN_EXPORT_BYTES_MAX + 1)), compressed=1), {"coding": "gzip"}, RESOURCE_EXHAUSTED, LARGE),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else "-".join(value.values()) if isinstance(value, dict) else value,
)
def test_refusals(body: bytes, more: dict[str, str], code: str, lapse: str) -> None:
    """With a code as gRPC has it, counted where spans may be lost by it, and the connection goes on as if nothing had been."""

    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        async with client(receiver) as one:
            answer = await one.call(body, **more)
            assert answer.status == code
            assert answer.headers[":status"] == ("415" if "form" in more else "200")
            assert "gzip" in answer.headers["grpc-accept-encoding"]
            assert unquote(answer.headers["grpc-message"])
            assert answer.data == b""
            assert taken.intake.refused == ({(lapse, Role.STABLE): 1} if lapse else {})
            assert not taken.spans
            assert (await one.call(message(GOOD))).status == OK

    served(use)


def test_what_was_not_taken_is_told() -> None:
    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        async with client(receiver) as one:
            answer = await one.call(message(GOOD))
        partial = ExportTraceServiceResponse.FromString(answer.data[5:]).partial_success
        assert (answer.status, partial.rejected_spans) == (OK, 2)
        assert partial.error_message

    served(use, rejects=2)


def test_many_calls_at_once_on_one_connection() -> None:
    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        async with client(receiver) as one:
            begun = [one.begin() for _ in range(limits.HTTP2_STREAMS_MAX)]
            for stream, _ in begun:
                await one.send(stream, message(GOOD)[:9], end=False)
            for stream, _ in reversed(begun):
                await one.send(stream, message(GOOD)[9:])
            async with asyncio.timeout(60):
                for _, answer in begun:
                    await answer.over.wait()
            assert {answer.status for _, answer in begun} == {OK}
            assert len(taken.spans) == 2 * limits.HTTP2_STREAMS_MAX
            for _ in range(300):  # and one after another, so that what is over is not counted
                assert (await one.call(message(GOOD))).status == OK

    served(use)


def test_more_calls_than_were_allowed_end_the_connection_only() -> None:
    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        async with client(receiver) as one:
            one.http2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 10_000
            one.http2.remote_settings.acknowledge()
            for _ in range(limits.HTTP2_STREAMS_MAX + 1):
                one.begin()
            async with asyncio.timeout(60):
                await one.closed.wait()
        assert taken.intake.refused[BAD, Role.STABLE] == 1
        async with client(receiver) as another:
            assert (await another.call(message(GOOD))).status == OK

    served(use)


def test_a_long_message_on_a_small_window() -> None:
    """Many times what the windows take: room is given as it is read."""
    spans = [call(number, 1, url="http://x/" + "y" * 900) for number in range(2, 3002)]

    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        body = export(spans)
        assert len(body) > 8 * limits.STREAM_BUFFER_BYTES_MAX
        async with client(receiver) as one:
            assert (await one.call(message(body))).status == OK
        assert len(taken.spans) == 3000
        assert max(taken.slices) <= 256

    served(use)


def test_an_answer_waits_until_the_client_has_room() -> None:
    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        async with client(receiver) as one:
            one.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 3})
            stream, answer = one.begin()
            await one.send(stream, message(GOOD))
            await until(lambda: len(taken.spans) == 2)
            assert not answer.over.is_set()
            one.http2.increment_flow_control_window(100, stream)
            one.flush()
            async with asyncio.timeout(60):
                await answer.over.wait()
            assert answer.status == OK

    served(use)


def test_a_call_that_is_given_up_by_its_client() -> None:
    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        async with client(receiver) as one:
            stream, _ = one.begin()
            await one.send(stream, message(GOOD)[:20], end=False)
            await until(lambda: taken.intake.bytes_held > 0)
            one.http2.reset_stream(stream)
            one.flush()
            await until(lambda: taken.intake.bytes_held == 0)
            assert (await one.call(message(GOOD))).status == OK
        assert len(taken.spans) == 2
        assert taken.intake.refused == {(CUT, Role.STABLE): 1}

    served(use)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("politely", [True, False])
def test_a_connection_that_is_cut(whole: bool, politely: bool) -> None:
    """What came whole is taken."""

    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        async with client(receiver) as one:
            stream, _ = one.begin()
            await one.send(stream, message(GOOD) if whole else message(GOOD)[:20], end=whole)
            if politely:
                one.http2.close_connection()
                one.flush()
                await one.writer.drain()
            else:
                await until(lambda: bool(taken.spans or taken.intake.bytes_held))
            own = one.writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0) if not politely else struct.pack("ii", 0, 0))
            one.writer.close()
            await until(lambda: not receiver.connections)
            await until(lambda: len(taken.spans) == (2 if whole else 0))
        assert taken.intake.bytes_held == 0
        assert taken.intake.refused == ({} if whole else {(CUT, Role.STABLE): 1})

    served(use)


def test_a_slow_sender_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPAN_EXPORT_SECONDS_MAX", 0.05)

    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        async with client(receiver) as one:
            stream, answer = one.begin()
            await one.send(stream, message(GOOD)[:20], end=False)
            async with asyncio.timeout(60):
                await answer.over.wait()
            assert answer.status == UNAVAILABLE
            assert taken.intake.refused == {(SLOW, Role.STABLE): 1}

    served(use)


def test_too_much_at_once_is_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPAN_EXPORTS_BYTES_MAX", 2 * len(GOOD) - 1)

    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        async with client(receiver) as one:
            waiting, first = one.begin()
            await one.send(waiting, message(GOOD), end=False)
            assert (await one.call(message(GOOD))).status == UNAVAILABLE
            assert taken.intake.refused == {(BUSY, Role.STABLE): 1}
            await one.send(waiting, b"")
            await first.over.wait()
            assert first.status == OK
            assert (await one.call(message(GOOD))).status == OK

    served(use)


def test_connections_beyond_the_bound_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPAN_CONNECTIONS_MAX", 2)

    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        async with client(receiver) as one, client(receiver, Role.CANDIDATE) as two:
            assert (await one.call(message(GOOD))).status == OK
            assert (await two.call(message(GOOD))).status == OK
            async with client(receiver) as third, asyncio.timeout(60):
                await third.closed.wait()
            assert taken.intake.refused == {(BUSY, Role.STABLE): 1}
        await until(lambda: not receiver.connections)
        async with client(receiver) as fourth:
            assert (await fourth.call(message(GOOD))).status == OK

    served(use)


def test_a_peer_that_asks_and_does_not_listen_is_cut() -> None:
    """Each PING is to be answered; what nobody reads is not kept for ever."""

    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        own = socket.create_connection(("127.0.0.1", port_of(receiver, Role.STABLE)))
        own.setblocking(False)
        loop = asyncio.get_running_loop()
        ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)

        async def ask() -> None:
            await loop.sock_sendall(own, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            while True:
                await loop.sock_sendall(own, ping * 500)

        with own:
            async with asyncio.timeout(100):
                with pytest.raises(ConnectionError):
                    await ask()
        await until(lambda: not receiver.connections)

    served(use)


def recorded() -> bytes:
    """What a client sends in one good call."""
    http2 = H2Connection(H2Configuration(header_encoding="utf-8"))
    http2.initiate_connection()
    http2.send_headers(
        1, [(":method", "POST"), (":scheme", "http"), (":path", TRACES), (":authority", "x"), ("content-type", "application/grpc")]
    )
    http2.send_data(1, message(GOOD), end_stream=True)
    return bytes(http2.data_to_send())


def garbage() -> Iterable[bytes]:
    yield b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    yield b"\x16\x03\x01\x02\x00\x01\x00"
    yield b""
    yield b"PRI"
    yield bytes(100_000)
    good, random_ = recorded(), random.Random(7)
    for _ in range(300):
        broken = bytearray(good)
        for _ in range(random_.choice((1, 1, 2, 8))):
            broken[random_.randrange(len(broken))] = random_.randrange(256)
        if random_.random() < 0.3:
            del broken[random_.randrange(len(broken)) :]
        if random_.random() < 0.3:
            at = random_.randrange(24, len(broken) + 25)
            broken[at:at] = random_.randbytes(random_.randrange(1, 40))
        yield bytes(broken)


def test_garbage_harms_nobody() -> None:
    async def use(receiver: GrpcReceiver, taken: Taken) -> None:
        port = port_of(receiver, Role.STABLE)
        async with client(receiver) as good:
            for data in garbage():
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(data)
                writer.write_eof()
                async with asyncio.timeout(60):
                    with suppress(ConnectionError):  # cut with bytes of ours unread
                        await reader.read()
                writer.close()
            assert (await good.call(message(GOOD))).status == OK
        assert taken.intake.refused[BAD, Role.STABLE] > 50

    served(use)


def test_a_taken_port_is_a_setup_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        async def go() -> None:
            receiver = GrpcReceiver(lambda role: ("127.0.0.1", port if role is Role.CANDIDATE else 0), Taken().intake)
            with pytest.raises(SetupError, match="for candidate cannot listen") as caught:
                await receiver.open(ROLES)
            assert caught.value.where == f"127.0.0.1:{port}"
            assert "grpc_listen" in caught.value.fix

        asyncio.run(go())


@pytest.mark.parametrize(("host", "url"), [("0.0.0.0", "http://127.0.0.1:1"), ("::1", "http://[::1]:1"), ("::", "http://[::1]:1")])
def test_addresses_as_builds_reach_them(host: str, url: str) -> None:
    assert GrpcReceiver(lambda _: (host, 1), Taken().intake).url(Role.STABLE) == url
