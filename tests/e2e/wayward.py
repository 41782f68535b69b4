"""Targets of a fault simulation: shadows that go wrong in every way at every stage of an answer, and a stable whose answers are known."""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Self

from tests.proxy.rig import Seen, Upstream, fields, ok, read_body

STAGES: Final = ("before", "in_head", "after_head", "in_body", "last_byte")
"""How far an answer gets before it goes wrong."""
_BREAKS: Final = ("hang", "reset", "close", "garbage")
BROKEN_OFF: Final = tuple(f"{how}:{stage}" for how in _BREAKS for stage in STAGES)
_CLOSED_HEAD: Final = b"Connection: close\r\n"


def answer_to(method: str, target: str) -> bytes:
    """What stable answers, a function of the request: so an answer to another request is seen to be one."""
    path = target.partition("?")[0]
    body = b"%s answered " % target.encode() * 40
    tag = b"X-Answer-To: " + target.encode()
    if path == "/none":
        return b"HTTP/1.1 204 No Content\r\n" + tag + b"\r\n\r\n"
    if path == "/chunked":
        pieces = [body[start : start + 97] for start in range(0, len(body), 97)]
        raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + tag + b"\r\n\r\n"
        raw += b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    elif path == "/closing":
        raw = b"HTTP/1.1 200 Until Closed\r\n" + _CLOSED_HEAD + tag + b"\r\n\r\n" + body
    elif path == "/missing":
        raw = ok(body, tag).replace(b"200 OK", b"404 Not Here", 1)
    elif path == "/broken":
        raw = ok(body, tag, b"Retry-After: 3").replace(b"200 OK", b"503 Out Of Order", 1)
    elif path == "/large":
        raw = ok(body * 60, tag, b"Content-Type: application/octet-stream")
    else:
        raw = ok(body, b"Content-Type: text/plain", tag, b"Set-Cookie: a=1; Path=/", b"x-B: 2", b"Set-Cookie: b=2", b"X-b: caf\xe9")
    return raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else raw


PATHS: Final = ("/plain", "/chunked", "/closing", "/missing", "/broken", "/none", "/large")


def asked(seen: Seen) -> tuple[str, str]:
    """Method and target of a request."""
    method, target, _ = seen.line.decode("latin-1").split(" ")
    return method, target


async def truthful(_upstream: Upstream, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
    """Answers what stable answers."""
    await _say_well(writer, answer_to(*asked(seen)))


async def _say_well(writer: asyncio.StreamWriter, raw: bytes) -> None:
    writer.write(raw)
    await writer.drain()
    if _CLOSED_HEAD in raw:
        raise ConnectionResetError


class Conversation:
    """One connection of a wayward target: what a fault may use."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
        self.reader = reader
        self.writer = writer
        self.rng = rng

    async def hang(self) -> None:
        """Say nothing more until the other end gives up."""
        while await self.reader.read(4096):
            pass
        raise ConnectionResetError

    def reset(self) -> None:
        """Break the connection off with a reset."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        raise ConnectionResetError

    async def break_off(self, how: str) -> None:
        """End in the way named."""
        if how == "hang":
            await self.hang()
        elif how == "reset":
            self.reset()
        elif how == "garbage":
            self.writer.write(self.rng.randbytes(300) + b"\r\n\r\n")
            await self.writer.drain()
        raise ConnectionResetError


Fault = Callable[[Conversation, bytes], Awaitable[None]]


async def _crawl(talk: Conversation, raw: bytes) -> None:
    """One byte at a time, at least at first."""
    for i in range(min(len(raw), 200)):
        talk.writer.write(raw[i : i + 1])
        await talk.writer.drain()
        await asyncio.sleep(0)
    await _say_well(talk.writer, raw[200:])


async def _twice(talk: Conversation, raw: bytes) -> None:
    """Two answers to one request, in one piece."""
    await _say_well(talk.writer, raw + raw)


async def _twice_later(talk: Conversation, raw: bytes) -> None:
    """A second answer when the first was read, or while the next request is under way."""
    talk.writer.write(raw)
    await talk.writer.drain()
    await asyncio.sleep(talk.rng.choice((0.0, 0.002, 0.02)))
    await _say_well(talk.writer, raw)


async def _of_another(talk: Conversation, _raw: bytes) -> None:
    """The answer to another request."""
    await _say_well(talk.writer, answer_to("GET", f"/plain?n={talk.rng.randrange(1000)}"))


async def _too_long(talk: Conversation, raw: bytes) -> None:
    """More was promised than comes; then the end."""
    talk.writer.write(ok(raw).replace(b"Content-Length: ", b"Content-Length: 9", 1))
    await talk.writer.drain()
    raise ConnectionResetError


async def _too_short(talk: Conversation, raw: bytes) -> None:
    """More comes than was promised; the rest stands where the next answer is expected."""
    await _say_well(talk.writer, ok(raw).replace(b"Content-Length: ", b"Content-Length: 1\r\nX-Meant: ", 1))


async def _two_lengths(talk: Conversation, raw: bytes) -> None:
    """Framing that can be read in two ways."""
    await _say_well(talk.writer, ok(raw, b"Content-Length: 3", b"Transfer-Encoding: chunked"))


async def _cut_chunks(talk: Conversation, raw: bytes) -> None:
    """A chunked body without its end."""
    talk.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n5\r\nab" % (len(raw), raw))
    await talk.writer.drain()
    raise ConnectionResetError


async def _bad_chunks(talk: Conversation, raw: bytes) -> None:
    """A chunk size that is no number, with the connection kept."""
    await _say_well(talk.writer, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n-zz\r\n" + raw)


async def _interim(talk: Conversation, raw: bytes) -> None:
    """Interim answers without end."""
    await _say_well(talk.writer, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 60 + raw)


async def _switched(talk: Conversation, raw: bytes) -> None:
    """A protocol switch that nobody asked for."""
    await _say_well(talk.writer, b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n" + raw)


async def _huge_head(talk: Conversation, raw: bytes) -> None:
    """A head beyond every bound."""
    await _say_well(talk.writer, b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 200_000 + b"\r\n\r\n" + raw)


ODD_ANSWERS: Final[dict[str, Fault]] = {
    "crawl": _crawl,
    "twice": _twice,
    "twice_later": _twice_later,
    "of_another": _of_another,
    "too_long": _too_long,
    "too_short": _too_short,
    "two_lengths": _two_lengths,
    "cut_chunks": _cut_chunks,
    "bad_chunks": _bad_chunks,
    "interim": _interim,
    "switched": _switched,
    "huge_head": _huge_head,
}
REFUSE: Final = "refuse"
"""The listener is closed."""
UNASKED: Final = "unasked"
"""An answer is there before anything was asked."""
FAULTS: Final = (*BROKEN_OFF, *ODD_ANSWERS, REFUSE, UNASKED)


def cut(raw: bytes, stage: str, rng: random.Random) -> bytes:
    """The part of an answer that is sent up to a stage."""
    head = raw.index(b"\r\n\r\n") + 4
    ends = {"before": 0, "in_head": rng.randrange(1, head), "after_head": head, "in_body": rng.randrange(head, len(raw) + 1)}
    return raw[: ends.get(stage, len(raw) - 1)]


class Wayward:
    """A shadow target that is `well`, or mostly has the fault named, and at random any other.

    What each connection and each of its requests meet is drawn from the seed, the connection's number and the fault of the moment.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        """Bound and not listening: a connection is refused, and nobody else gets the port."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0
        self.port = 0
        self.fault = ""
        self.met: Counter[str] = Counter()
        """How often each fault was met, and how often a request was answered "well"."""
        self.methods: set[str] = set()
        self.errors: list[BaseException] = []

    async def __aenter__(self) -> Self:
        self._reserve()
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        if self._reserved is not None:
            self._reserved.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)
        assert not self.errors, self.errors

    async def turn(self, fault: str) -> None:
        """Have another fault from now on, or with "" none."""
        self.fault = fault
        if fault in {REFUSE, UNASKED}:
            for task in list(self._tasks):
                task.cancel()  # both are met by new connections only
        if fault == REFUSE:
            if self._server is not None:
                self._server.close()
                self._server = None
                self._reserve()
            self.met[REFUSE] += 1
        elif self._server is None:
            await self._listen()

    def _reserve(self) -> None:
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", self.port))
        self.port = self._reserved.getsockname()[1]

    async def _listen(self) -> None:
        listening, self._reserved = self._reserved, None
        self._server = await asyncio.start_server(self._accept, sock=listening, backlog=512)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        talk = Conversation(reader, writer, random.Random(f"{self._seed} {self._connections}"))
        task = asyncio.get_running_loop().create_task(self._serve(talk))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: talk.writer.close())  # one cancelled before it began has closed nothing

    async def _serve(self, talk: Conversation) -> None:
        try:
            if self.fault == UNASKED:
                self.met[UNASKED] += 1
                talk.writer.write(answer_to("GET", "/plain"))
            while True:
                head = await talk.reader.readuntil(b"\r\n\r\n")
                body, raw_body = await read_body(talk.reader, head)
                await self._answer(talk, *asked(Seen(head, body, raw_body, 0)))
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        except Exception as error:  # told when the target ends
            self.errors.append(error)
        finally:
            talk.writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await talk.writer.wait_closed()

    async def _answer(self, talk: Conversation, method: str, target: str) -> None:
        self.methods.add(method)
        raw = answer_to(method, target)
        chance = talk.rng.random()
        fault = "" if not self.fault or chance < 0.1 else self.fault if chance < 0.85 else talk.rng.choice(FAULTS)
        how, _, stage = fault.partition(":")
        if fault in BROKEN_OFF:
            self.met[fault] += 1
            talk.writer.write(cut(raw, stage, talk.rng))
            await talk.writer.drain()
            await talk.break_off(how)
        elif fault in ODD_ANSWERS:
            self.met[fault] += 1
            await ODD_ANSWERS[fault](talk, raw)
        else:
            self.met["well"] += 1
            await _say_well(talk.writer, raw)


def end_to_end(raw: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """Status line, end-to-end headers in order and repetition, and body of an answer of `answer_to`."""
    head, _, body = raw.partition(b"\r\n\r\n")
    chunked = b"Transfer-Encoding: chunked" in head
    kept = [pair for pair in fields(head) if pair[0].lower() not in {b"connection", b"transfer-encoding"}]
    plain = b""
    while chunked and body:
        size, _, body = body.partition(b"\r\n")
        plain, body = plain + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return head.partition(b"\r\n")[0], kept, plain if chunked else body
