"""The receiver: every form an export may come in, and what it answers to anything else, over real connections."""

import asyncio
import gzip
import io
import socket
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from harness.core import limits
from harness.core.errors import SetupError
from harness.core.labels import Role
from harness.effects.otlp.intake import BAD, BUSY, CUT, ELSEWHERE, LARGE, NOBODY, SLOW, Intake
from harness.effects.otlp.receiver import Receiver
from tests.effects.otlp.spanning import ROLES, Taken, call, export, json_export, server

PROTOBUF, JSON = "application/x-protobuf", "application/json"
SPANS = [server(Role.STABLE), call(2, 1)]


def served(use: Callable[[Receiver, Taken, aiohttp.ClientSession], Awaitable[Any]], rejects: int = 0) -> Any:
    async def go() -> Any:
        taken = Taken(rejects)
        receiver = Receiver("127.0.0.1", 0, taken.intake)
        await receiver.open(ROLES)
        try:
            async with aiohttp.ClientSession() as session:
                return await use(receiver, taken, session)
        finally:
            await receiver.close()
            await receiver.close()

    return asyncio.run(go())


async def send(
    session: aiohttp.ClientSession, url: str, body: bytes, content_type: str = PROTOBUF, coding: str = ""
) -> tuple[int, str, bytes]:
    headers = {"Content-Type": content_type} | ({"Content-Encoding": coding} if coding else {})
    async with session.post(url, data=io.BytesIO(body), headers=headers) as answer:
        return answer.status, answer.content_type, await answer.read()


@pytest.mark.parametrize("path", ["", "/stable", "/candidate"])
@pytest.mark.parametrize("coding", ["", "gzip", "deflate", "identity"])
@pytest.mark.parametrize("form", [PROTOBUF, JSON, f"{JSON}; charset=utf-8"])
def test_forms(path: str, coding: str, form: str) -> None:
    body = export(SPANS) if form == PROTOBUF else orjson.dumps(json_export(SPANS))
    body = gzip.compress(body) if coding == "gzip" else zlib.compress(body) if coding == "deflate" else body

    async def use(receiver: Receiver, taken: Taken, session: aiohttp.ClientSession) -> None:
        status, content_type, answer = await send(session, f"{receiver.url}{path}/v1/traces", body, form, coding)
        assert (status, content_type) == (200, form.partition(";")[0])
        assert answer == (b"" if form == PROTOBUF else b"{}")
        role = Role(path[1:]) if path else None
        assert taken.spans == [(role, span.span) for span in SPANS]
        assert not taken.intake.refused

    served(use)


@pytest.mark.parametrize("signal", ["metrics", "logs"])
@pytest.mark.parametrize("path", ["", "/stable"])
def test_other_signals_are_taken_and_dropped(signal: str, path: str) -> None:
    async def use(receiver: Receiver, taken: Taken, session: aiohttp.ClientSession) -> None:
        assert await send(session, f"{receiver.url}{path}/v1/{signal}", b"whatever") == (200, PROTOBUF, b"")
        assert await send(session, f"{receiver.url}{path}/v1/{signal}", b"{", JSON, "gzip") == (200, JSON, b"{}")
        assert not taken.spans
        assert not taken.intake.refused

    served(use)


GOOD = export(SPANS)


@pytest.mark.parametrize(
    ("path", "body", "form", "coding", "status", "lapse"),
    [
        ("/stable/v1/traces", b"\xff\xff", PROTOBUF, "", 400, BAD),
        ("/stable/v1/traces", b"{", JSON, "", 400, BAD),
        ("/stable/v1/traces", GOOD, "text/plain", "", 415, BAD),
        ("/stable/v1/traces", GOOD, PROTOBUF, "br", 415, BAD),
        ("/stable/v1/traces", GOOD, PROTOBUF, "gzip, gzip", 415, BAD),
        ("/stable/v1/traces", GOOD, PROTOBUF, "gzip", 400, BAD),
        ("/stable/v1/traces", gzip.compress(GOOD)[:-9], PROTOBUF, "gzip", 400, BAD),
        ("/stable/v1/traces", bytes(limits.SPAN_EXPORT_BYTES_MAX + 1), PROTOBUF, "", 413, LARGE),
        ("/stable/v1/traces", gzip.compress(bytes(limits.SPAN_EXPORT_BYTES_MAX + 1)), PROTOBUF, "gzip", 413, LARGE),
        ("/elsewhere/v1/traces", GOOD, PROTOBUF, "", 404, NOBODY),
        ("/elsewhere/v1/traces", b"{}", JSON, "", 404, NOBODY),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value).replace("/", "_"),
)
def test_refusals(path: str, body: bytes, form: str, coding: str, status: int, lapse: str) -> None:
    """With a status as OTLP has it, counted, and the next export is taken as if nothing had been."""

    async def use(receiver: Receiver, taken: Taken, session: aiohttp.ClientSession) -> None:
        found, content_type, answer = await send(session, receiver.url + path, body, form, coding)
        assert found == status
        assert content_type == (JSON if form == JSON else PROTOBUF)
        if form == JSON:
            assert orjson.loads(answer)["code"] == 3
        else:
            assert answer[0] == 0x08
            assert answer[2:4] == bytes((0x12, len(answer) - 4))
        role = Role.STABLE if path.startswith("/stable") else None
        assert taken.intake.refused == {(lapse, role): 1}
        assert not taken.spans
        assert (await send(session, f"{receiver.url}/stable/v1/traces", GOOD))[0] == 200

    served(use)


def test_a_body_of_unknown_length_is_bounded() -> None:
    async def use(receiver: Receiver, taken: Taken, session: aiohttp.ClientSession) -> None:
        async def endless() -> Any:
            for _ in range(limits.SPAN_EXPORT_BYTES_MAX // 65_536 + 64):
                yield bytes(65_536)

        try:
            async with session.post(f"{receiver.url}/v1/traces", data=endless(), headers={"Content-Type": PROTOBUF}) as answer:
                assert answer.status == 413
        except aiohttp.ClientError:
            pass  # the answer came while it was being sent, and the connection was closed behind it
        assert taken.intake.refused == {(LARGE, None): 1}

    served(use)


def test_too_much_at_once_is_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPAN_EXPORTS_BYTES_MAX", 10)

    async def use(receiver: Receiver, taken: Taken, session: aiohttp.ClientSession) -> None:
        async with session.post(f"{receiver.url}/stable/v1/traces", data=GOOD, headers={"Content-Type": PROTOBUF}) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
        assert taken.intake.refused == {(BUSY, Role.STABLE): 1}
        monkeypatch.setattr(limits, "SPAN_EXPORTS_BYTES_MAX", 1_000_000)
        assert (await send(session, f"{receiver.url}/stable/v1/traces", GOOD))[0] == 200, "what was put off is not held against later ones"

    served(use)


def test_a_slow_sender_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPAN_EXPORT_SECONDS_MAX", 0.05)

    async def use(receiver: Receiver, taken: Taken, session: aiohttp.ClientSession) -> None:
        port = int(receiver.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 100\r\n\r\nabc")
        async with asyncio.timeout(60):
            assert b" 408 " in await reader.readline()
        writer.close()
        assert taken.intake.refused == {(SLOW, None): 1}

    served(use)


HEAD = b"POST /stable/v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("half", [True, False], ids=["half-closed", "closed"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "length"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "short"])
def test_a_connection_that_is_cut(whole: bool, chunked: bool, half: bool) -> None:
    """What came whole is taken; what did not is counted, and not held."""
    head = HEAD + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n" % len(GOOD))
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD) if chunked else GOOD

    async def use(receiver: Receiver, taken: Taken, session: aiohttp.ClientSession) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(receiver.url.rpartition(":")[2]))
        writer.write(head + (body if whole else body[:20]))
        await writer.drain()
        if half:
            writer.write_eof()
        else:
            if not whole:
                await until(lambda: taken.intake.bytes_held > 0)
            writer.close()
        await until(lambda: bool(taken.spans or taken.intake.refused))
        await until(lambda: taken.intake.bytes_held == 0)
        writer.close()
        assert len(taken.spans) == (2 if whole else 0)
        assert taken.intake.refused == ({} if whole else {(CUT, Role.STABLE): 1})

    served(use)


@pytest.mark.parametrize(
    ("path", "role"),
    [("/stable", Role.STABLE), ("/candidate/v1/traces/", Role.CANDIDATE), ("/", None), ("/x/y/z", None), ("//v1/traces", None)],
)
def test_an_endpoint_that_was_put_together_wrongly_is_said(path: str, role: Role | None) -> None:
    """Such as OTEL_EXPORTER_OTLP_TRACES_ENDPOINT without its path: else it would be said that nothing came."""

    async def use(receiver: Receiver, taken: Taken, session: aiohttp.ClientSession) -> None:
        status, content_type, answer = await send(session, receiver.url + path, GOOD)
        assert (status, content_type, answer[:2]) == (404, PROTOBUF, bytes((0x08, 12)))
        assert taken.intake.refused == {(ELSEWHERE, role): 1}

    served(use)


def test_two_hundred_at_once_are_taken() -> None:
    """Of unlike sizes and forms, on connections of their own; in the end nothing is held."""
    bodies = [export([call(number, 1) for number in range(2, 3 + each % 700)]) for each in range(200)]

    async def use(receiver: Receiver, taken: Taken, session: aiohttp.ClientSession) -> None:
        async def one(number: int) -> int:
            coding = ("", "gzip", "deflate")[number % 3]
            body = gzip.compress(bodies[number], 1) if coding == "gzip" else zlib.compress(bodies[number]) if coding else bodies[number]
            async with aiohttp.ClientSession() as own:
                return (await send(own, f"{receiver.url}/stable/v1/traces", body, coding=coding))[0]

        assert set(await asyncio.gather(*map(one, range(200)))) == {200}
        assert len(taken.spans) == sum(1 + each % 700 for each in range(200))
        assert taken.intake.bytes_held == 0
        assert not taken.intake.refused

    served(use)


def test_garbage_on_the_connection_harms_nobody() -> None:
    async def use(receiver: Receiver, taken: Taken, session: aiohttp.ClientSession) -> None:
        port = int(receiver.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01\x02\x00\x01\x00 PRI * HTTP/2.0\r\n\r\n")
        async with asyncio.timeout(60):
            await reader.read()
        writer.close()
        async with session.get(f"{receiver.url}/stable/v1/traces") as answer:
            assert answer.status == 405
        assert (await send(session, f"{receiver.url}/stable/v1/traces", GOOD))[0] == 200

    served(use)


def test_spans_that_were_not_taken_are_told_to_the_sender() -> None:
    async def use(receiver: Receiver, taken: Taken, session: aiohttp.ClientSession) -> None:
        _, _, answer = await send(session, f"{receiver.url}/v1/traces", GOOD)
        assert ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans == 2
        _, _, answer = await send(session, f"{receiver.url}/v1/traces", orjson.dumps(json_export(SPANS)), JSON)
        assert orjson.loads(answer)["partialSuccess"]["rejectedSpans"] == "2"

    served(use, rejects=2)


def test_a_large_export_is_handed_on_in_slices() -> None:
    async def use(receiver: Receiver, taken: Taken, session: aiohttp.ClientSession) -> None:
        spans = [call(number, 1) for number in range(1, 1001)]
        assert (await send(session, f"{receiver.url}/v1/traces", export(spans)))[0] == 200
        assert len(taken.spans) == 1000
        assert max(taken.slices) <= 256

    served(use)


def test_a_taken_port_is_a_setup_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        async def go() -> None:
            receiver = Receiver("127.0.0.1", port, Intake(Taken()))
            with pytest.raises(SetupError, match="cannot listen") as caught:
                await receiver.open(ROLES)
            assert caught.value.where == f"127.0.0.1:{port}"
            await receiver.close()

        asyncio.run(go())


@pytest.mark.parametrize(("host", "url"), [("0.0.0.0", "http://127.0.0.1:"), ("*", "http://127.0.0.1:")])
def test_every_address_is_reached_by_loopback(host: str, url: str) -> None:
    async def go() -> None:
        receiver = Receiver(host, 0, Intake(Taken()))
        await receiver.open(ROLES)
        assert receiver.url.startswith(url)
        async with aiohttp.ClientSession() as session:
            assert (await send(session, f"{receiver.url}/v1/traces", GOOD))[0] == 200
        await receiver.close()

    asyncio.run(go())
    assert Receiver("::1", 1, Intake(Taken())).url == "http://[::1]:1"
