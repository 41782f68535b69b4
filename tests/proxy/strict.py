"""A second opinion: HTTP/1.1 messages read by the letter of RFC 9112, from scratch and with no code of the proxy's.

Whatever could be read in two ways is NotStrict. Slow, and meant to be.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
TARGET = re.compile(rb"[!-~\x80-\xff]+")
STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*")
VERSION = re.compile(rb"HTTP/1\.[01]")
QUOTED = rb'"(?:[\t\x20-\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;(?>" + QUOTED + rb"|[\t\x20-\x7e])*+)?")
"""Of extensions only that they hide no end of the line: they say nothing to a proxy."""
LENGTH = re.compile(rb"[0-9]{1,18}")

Fields = tuple[tuple[bytes, bytes], ...]


class NotStrict(Exception):  # noqa: N818 - a finding
    """Bytes that are no message, or more than one reading of one."""


@dataclass(frozen=True)
class Message:
    """A message taken apart. `start` is its first line."""

    start: bytes
    fields: Fields
    body: bytes = b""
    trailers: Fields = ()
    interim: tuple["Message", ...] = ()
    """Of an answer: the 1xx answers before it."""

    @property
    def method(self) -> bytes:
        return self.start.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.start.split(b" ")[1]

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    @property
    def last(self) -> bool:
        """Whether nothing follows on the connection (RFC 9112 9.3)."""
        options = {part.strip(b" \t").lower() for value in self.values(b"connection") for part in value.split(b",")}
        if self.start.endswith(b"HTTP/1.0") or self.start.startswith(b"HTTP/1.0"):
            return b"keep-alive" not in options
        return b"close" in options

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name]


def take_request(raw: bytes, *, spaces: bool = False) -> tuple[Message, bytes] | None:
    """The first request and what follows it; None where it is not complete. `spaces`: several between its words are one."""
    taken = _head(raw)
    if taken is None:
        return None
    start, fields, rest = taken
    if spaces:
        start = re.sub(rb" +", b" ", start)
    parts = start.split(b" ")
    if len(parts) != 3 or not TOKEN.fullmatch(parts[0]) or not TARGET.fullmatch(parts[1]) or not VERSION.fullmatch(parts[2]):
        raise NotStrict(f"request line {start[:80]!r}")
    hosts = Message(start, fields).values(b"host")
    if len(hosts) > 1 or (not hosts and parts[2] == b"HTTP/1.1"):
        raise NotStrict("Host")
    framing = _framing(fields)
    if framing == "chunked" and parts[2] == b"HTTP/1.0":
        raise NotStrict("a transfer coding in HTTP/1.0")
    body = _body(rest, 0 if framing is None else framing)
    return None if body is None else (Message(start, fields, body[0], body[1]), body[2])


def take_requests(raw: bytes) -> Iterator[Message]:
    """All complete requests of a client, up to its last one, with what RFC 9112 2.2 and 3 let a server forgive."""
    while True:
        taken = take_request(raw.lstrip(b"\r\n"), spaces=True)
        if taken is None:
            return
        message, raw = taken
        yield message
        if message.last:
            return


def take_answers(raw: bytes, methods: Iterable[str]) -> list[Message]:
    """The answers to requests with these methods, to the end of the connection. Raises NotStrict for a cut one and for what is left over.

    Fewer answers than methods are fine where the last one says that it is the last.
    """
    out: list[Message] = []
    for method in methods:
        if not raw and out and out[-1].last:
            break
        message, raw = _answer(raw, method)
        out.append(message)
    if raw:
        raise NotStrict(f"left over: {raw[:80]!r}")
    return out


def _answer(raw: bytes, method: str) -> tuple[Message, bytes]:
    interim: list[Message] = []
    while True:
        taken = _head(raw)
        if taken is None:
            raise NotStrict(f"no complete head: {raw[:80]!r}")
        start, fields, raw = taken
        if not STATUS_LINE.fullmatch(start):
            raise NotStrict(f"status line {start[:80]!r}")
        message = Message(start, fields)
        if message.status >= 200 or message.status == 101:
            break
        if message.values(b"content-length") or message.values(b"transfer-encoding"):
            raise NotStrict("an interim answer with a body")
        if message.last:
            raise NotStrict("an interim answer that is the last one")
        interim.append(message)
    framing = _framing(fields)
    if method == "HEAD" or message.status in {101, 204, 304}:
        framing = 0
    elif framing is None:
        framing = len(raw)  # until the connection closes
    body = _body(raw, framing)
    if body is None:
        raise NotStrict("the answer is cut")
    return Message(start, fields, body[0], body[1], tuple(interim)), body[2]


def _line(raw: bytes) -> tuple[bytes, bytes, bytes]:
    """A line and the rest, as `partition`. Lines end in CRLF, and CR and LF are nowhere else."""
    line, end, rest = raw.partition(b"\r\n")
    if b"\n" in line or b"\r" in (line if end else line[:-1]):
        raise NotStrict(f"bare CR or LF in {line[:80]!r}")
    return line, end, rest


def _head(raw: bytes) -> tuple[bytes, Fields, bytes] | None:
    """First line, fields and the rest."""
    start, end, raw = _line(raw)
    fields: list[tuple[bytes, bytes]] = []
    while end:
        line, end, raw = _line(raw)
        if end and not line:
            return start, tuple(fields), raw
        if end:
            fields.append(_field(line))
    return None


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if not colon or not TOKEN.fullmatch(name) or not VALUE.fullmatch(value):
        raise NotStrict(f"field line {line[:80]!r}")
    return name, value


def _framing(fields: Fields) -> str | int | None:
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    codings = [value for name, value in fields if name.lower() == b"transfer-encoding"]
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise NotStrict("the end of the body is told in two ways")
        return "chunked"
    if not lengths:
        return None
    if len(lengths) > 1 or not LENGTH.fullmatch(lengths[0]):
        raise NotStrict("Content-Length")
    return int(lengths[0])


def _body(raw: bytes, framing: str | int) -> tuple[bytes, Fields, bytes] | None:
    if isinstance(framing, int):
        return None if len(raw) < framing else (raw[:framing], (), raw[framing:])
    body = b""
    while True:
        line, end, rest = _line(raw)
        if not end:
            return None
        match = CHUNK_LINE.fullmatch(line)
        if match is None:
            raise NotStrict(f"chunk line {line[:80]!r}")
        size, raw = int(match[1], 16), rest
        if not size:
            break
        if not b"\r\n".startswith(raw[size : size + 2]):
            raise NotStrict("a chunk is longer than it says")
        if len(raw) < size + 2:
            return None
        body, raw = body + raw[:size], raw[size + 2 :]
    trailers: list[tuple[bytes, bytes]] = []
    while True:
        line, end, raw = _line(raw)
        if not end:
            return None
        if not line:
            return body, tuple(trailers), raw
        trailers.append(_field(line))
        if trailers[-1][0].lower() in {b"content-length", b"transfer-encoding"}:
            raise NotStrict("framing in trailers (RFC 9110 6.5.1)")
