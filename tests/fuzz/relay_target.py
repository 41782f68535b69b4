"""The live relay under any bytes from either side, with what must hold whatever they are. Used by the suite and by `fuzz_relay`.

The proxy, its stable target and the event loop live on from input to input, as in service; each input has a connection of its own.
"""

import asyncio
import contextlib
import random
import re
from dataclasses import dataclass
from typing import Any

import uvloop

from harness.core.outcomes import Tally
from harness.proxy.address import parse_address
from harness.proxy.dispatch import Naming, Sink
from harness.proxy.server import ProxyOptions, ProxyServer
from tests.proxy.rig import CountingIds, SystemClock, until
from tests.proxy.strict import Fields, Message, NotStrict, take_answers, take_request, take_requests

HANG_SECONDS = 20.0
FRAMING = {b"content-length", b"transfer-encoding", b"connection"}
HOP_BY_HOP = {b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"upgrade"}
KEPT_THOUGH_LISTED = {b"host", b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-shadowdiff-shadow"}


@dataclass(frozen=True)
class Got:
    """What a client's bytes came to."""

    client: bytes
    stable: list[Message]


class Stable:
    """Reads requests by the letter and numbers its answers; or answers all with the bytes it is given, and closes."""

    def __init__(self) -> None:
        self.seen: list[Message] = []
        self.findings: list[str] = []
        self.answer: bytes | None = None
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = b""
        try:
            while data := await reader.read(65536):
                raw += data
                while (taken := take_request(raw)) is not None:
                    message, raw = taken
                    self.seen.append(message)
                    if self.answer is not None:
                        writer.write(self.answer)
                        return
                    number = b"%d" % len(self.seen)
                    body = b"" if message.method == b"HEAD" else number
                    writer.write(b"HTTP/1.1 200 OK\r\nX-Number: %b\r\nContent-Length: %d\r\n\r\n%b" % (number, len(number), body))
        except NotStrict as broken:
            self.findings.append(f"stable was sent what is not HTTP: {broken} in {raw[:400]!r}")
        except OSError:
            pass
        finally:
            writer.close()


class RelayTarget:
    """A running proxy, to be fed from either side. Close it when done."""

    def __init__(self, *, shadow: bool = False) -> None:
        self._loop = uvloop.new_event_loop()
        self._faults: list[str] = []
        self._loop.set_exception_handler(lambda _, context: self._faults.append(str(context)))
        self.stable = Stable()
        self.shadow = Stable()
        self.tally = Tally()
        self._proxy = self._loop.run_until_complete(self._start(shadow))

    async def _start(self, shadow: bool) -> ProxyServer:
        await self.stable.start()
        await self.shadow.start()
        where: dict[str, Any] = {"candidate": parse_address(f"http://127.0.0.1:{self.shadow.port}")} if shadow else {}
        proxy = ProxyServer(
            ProxyOptions(stable=parse_address(f"http://127.0.0.1:{self.stable.port}"), stable_silence_s=HANG_SECONDS, **where),
            clock=SystemClock(),
            rng=random.Random(1),
            tally=self.tally,
            naming=Naming(endpoint_of=lambda request: "any", entity_of=lambda request: "any", ids=CountingIds()),
            sink=Sink(put=lambda trial: None, has_room=lambda endpoint, size: True),
        )
        await proxy.start()
        return proxy

    def close(self) -> None:
        """Stop everything."""
        self._loop.run_until_complete(self._proxy.stop(5.0))
        self._loop.run_until_complete(self.stable.stop())
        self._loop.run_until_complete(self.shadow.stop())
        self._loop.close()

    def send(self, *pieces: bytes) -> Got:
        """Send a client's bytes over one connection, and read to its end. Fails where the proxy hangs or faults."""
        self.stable.seen.clear()
        client = self._loop.run_until_complete(self._send(pieces))
        assert not self._faults, self._faults
        assert not self.stable.findings, self.stable.findings
        return Got(client, list(self.stable.seen))

    async def _send(self, pieces: tuple[bytes, ...]) -> bytes:
        async with asyncio.timeout(HANG_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._proxy.port)
            got = b""
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0)
                writer.write_eof()
                while data := await reader.read(65536):
                    got += data
            writer.close()
            await until(lambda: self._proxy.connections == 0, HANG_SECONDS)
            return got


def check_client_bytes(target: RelayTarget, raw: bytes, cuts: tuple[int, ...] = ()) -> None:
    """Whatever a client sends: stable gets the requests that a strict reading finds in it, each once, and the client their answers."""
    ends = sorted(cut for cut in cuts if cut < len(raw))
    got = target.send(*[raw[a:b] for a, b in zip([0, *ends], [*ends, len(raw)], strict=True)])
    refused = _check_answers(got)
    expected: list[Message] = []
    with contextlib.suppress(NotStrict):
        expected.extend(take_requests(raw))
    assert len(got.stable) <= len(expected), ("more requests than the client sent", got.stable, expected)
    for seen, sent in zip(got.stable, expected, strict=False):
        assert (seen.method, seen.body) == (sent.method, sent.body)
        assert seen.target == sent.target or not sent.target.startswith(b"/")
    assert refused or len(got.stable) == len(expected), ("a request was lost", got.stable, expected)


def _check_answers(got: Got) -> bool:
    """The client has stable's answers, each once and in order, and perhaps a refusal at the end; tells whether there is one."""
    methods = [message.method.decode("ascii") for message in got.stable]
    for more in ([], ["GET"], ["HEAD"]):
        try:
            answers = take_answers(got.client, [*methods, *more])
            break
        except NotStrict as broken:
            why = broken
    else:
        raise why
    refusals = [answer for answer in answers if answer.values(b"x-shadowdiff-error")]
    assert len(refusals) <= 1
    if refusals:
        assert answers.pop() is refusals[0], "nothing follows a refusal"
        assert refusals[0].last
        assert refusals[0].status in {400, 413, 414, 431, 501, 505}, "stable was well"
    numbers = [b"%d" % (i + 1) for i in range(len(got.stable))]
    assert [answer.values(b"x-number")[0] for answer in answers] == numbers, "each answer once, in order"
    return bool(refusals)


def check_stable_bytes(target: RelayTarget, raw: bytes, method: str = "GET") -> None:
    """Whatever stable answers: a client that gets all of one answer gets what stable gave, and never more than one answer."""
    target.stable.answer = raw
    got = target.send(f"{method} / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n".encode())
    target.stable.answer = None
    retried = not raw and method in {
        "GET",
        "HEAD",
    }  # a connection that ends without a byte may have been idle for too long (RFC 9112 9.3.1)
    assert len(got.stable) in ({1, 2} if retried else {1}), "one request is one request"
    given: Message | None = None
    if not _EXTENDED.search(raw):
        with contextlib.suppress(NotStrict):
            given = _one_answer(raw, method)
    answer: Message | None
    try:
        (answer,) = take_answers(got.client, [method])
    except NotStrict as broken:
        why = str(broken)
        answer = None
    if answer is None:
        assert why == "the answer is cut", got.client
        assert given is None, "an answer that is whole is not cut"
        return
    if answer.values(b"x-shadowdiff-error"):
        assert answer.status == 502
        assert given is None or given.status == 101, "an answer that is well is not refused"
        return
    if given is not None:
        assert (answer.status, answer.body) == (given.status, given.body)
        assert _end_to_end(answer) == _end_to_end(given)
        assert answer.trailers == tuple(pair for pair in given.trailers if pair[0].lower() not in _NOT_TRAILERS)
        assert [each.status for each in answer.interim] == [each.status for each in given.interim]


_EXTENDED = re.compile(rb"[0-9A-Fa-f][ \t]*;")
"""A chunk extension, perhaps: the parser is stricter with their letters than the tests' own."""
_NOT_TRAILERS = FRAMING | HOP_BY_HOP | {b"host", b"content-encoding", b"content-type", b"content-range"}


def _one_answer(raw: bytes, method: str) -> Message:
    """The first answer; what follows it is nobody's business, and must not reach the client."""
    try:
        return take_answers(raw, [method])[0]
    except NotStrict as broken:
        if not str(broken).startswith("left over"):
            raise
    for end in range(len(raw)):
        with contextlib.suppress(NotStrict):
            return take_answers(raw[:end], [method])[0]
    raise NotStrict("no answer")


def _end_to_end(message: Message) -> Fields:
    listed = {part.strip(b" \t").lower() for value in message.values(b"connection") for part in value.split(b",")}
    gone = FRAMING | HOP_BY_HOP | (listed - KEPT_THOUGH_LISTED)
    return tuple(pair for pair in message.fields if pair[0].lower() not in gone)


def mutated(rng: Any, seeds: list[bytes], dictionary: list[bytes]) -> bytes:
    """An input made of seeds: spliced, with pieces put in, doubled, taken out or changed."""
    raw = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(6):
            case 0:
                raw[at:at] = rng.choice(dictionary)
            case 1:
                raw[at : at + rng.randrange(1, 9)] = b""
            case 2:
                raw[at : at + 1] = bytes([rng.randrange(256)])
            case 3:
                raw[at : at + rng.randrange(1, 9)] = rng.choice(dictionary)
            case 4:
                raw[at:at] = raw[at : at + rng.randrange(1, 40)]
            case _:
                raw += rng.choice(seeds)
    return bytes(raw[:5000])
