"""Plain messages: whole in one read, in the usual form, with nothing in the head that needs a second look.

Pure. Most of live traffic is of this kind, and its heads are read here by one expression instead of field by field. llhttp judges
them like everything else (see parsing); whatever is not plain is left to the general reading, which finds the same in it.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

from harness.core.limits import CAPTURE_BODY_BYTES_MAX, PLAIN_HEAD_BYTES_MAX, PLAIN_HEADS_MAX, REQUEST_BODY_BYTES_MAX
from harness.core.plain import PlainAnswer, read_answer, without
from harness.core.values import Headers
from harness.proxy.wire import GUARD_HEADER, AnswerHead, Framing, RequestHead

_FIELD: Final = re.compile(r"\n([^:]++): ([^\r]++)\r")
"""A field, in a head that was found to be of such ones only."""
_VALUE: Final = rb"[!-~\x80-\xff][^\r\n]*+(?<![ \t])\r\n"
"""White space around a value is not part of it."""
_ANY_FIELD: Final = rb"[!#-'*+\-.0-9A-Z^-z|~]++: " + _VALUE
_ONE_AT_MOST: Final = (
    rb"(?i:content-length): (?P<length>0|[1-9][0-9]{0,17})\r\n",
    rb"(?P<connection>(?i:connection): (?P<said>(?i:keep-alive|close))\r\n)",
    rb"(?P<kept>(?i:keep-alive): " + _VALUE + rb")",
)
_HOST: Final = rb"(?P<host>(?i:host): (?P<authority>[^\x00-\x20/,@?#\\\x7f]++)\r\n)"
_SPECIAL: Final = (
    rb"c(?:onnection|ontent-length)|keep-alive|proxy-(?:connection|authenticate|authorization)|t(?:ransfer-encoding|e|railer)|upgrade"
)


def _head(first: bytes, special: bytes, initials: bytes, *fields: bytes) -> re.Pattern[bytes]:
    """A head with this first line: any fields but the special ones, and of these one of each in one form, or none.

    `initials` begin the special ones; most fields are known to be none of them by that.
    """
    ways, group = [rb"(?![%b])" % initials + _ANY_FIELD], re.compile(first).groups + 1
    for field in (*_ONE_AT_MOST, *fields):
        ways.append(rb"(?(%d)(?!)|%b)" % (group, field))
        group += re.compile(field).groups
    return re.compile(first + rb"(?:" + b"|".join((*ways, rb"(?!(?i:%b):)" % special + _ANY_FIELD)) + rb")*+\r\n")


_REQUEST_HEAD: Final = _head(
    rb"(?P<method>GET|HEAD|POST|PUT|PATCH|DELETE) (?P<target>/[!-~]*+) HTTP/1\.1\r\n",
    _SPECIAL + rb"|host|expect|" + re.escape(GUARD_HEADER.encode()),
    rb"CcEeHhKkPpTtUuXx",
    _HOST,
)
"""Methods with rules of their own (OPTIONS, TRACE, CONNECT) and other forms of the target are not plain."""
_ANSWER_HEAD: Final = _head(rb"HTTP/1\.1 (?:2(?!04)\d\d|3(?!04)\d\d|[45]\d\d) [ -~\x80-\xff]*+\r\n", _SPECIAL, rb"CcKkPpTtUu")
"""Interim answers and those without a body are not plain."""
_REQUEST_BYTES_MAX: Final = min(REQUEST_BODY_BYTES_MAX, CAPTURE_BODY_BYTES_MAX)


class PlainRequest(msgspec.Struct, frozen=True, gc=False):
    """A plain request, ready to be sent on."""

    head: RequestHead
    """As the client sent it."""
    came: bytes
    """The head's bytes as they came."""
    raw: bytes
    """The same without what concerns the client's connection only."""
    host: bytes
    """The line of its Host."""
    body: bytes


def plain_request(data: bytes) -> PlainRequest | None:
    """Read `data` as one plain request; None if it is anything else. It counts only if llhttp takes `data` for one whole message."""
    found = _REQUEST_HEAD.match(data, 0, PLAIN_HEAD_BYTES_MAX)
    if found is None:
        return None
    end = found.end()
    method, target, host, authority, said_length, said = found.group("method", "target", "host", "authority", "length", "said")
    length = 0 if said_length is None else int(said_length)
    if host is None or len(data) - end != length or length > _REQUEST_BYTES_MAX:
        return None
    came = data[:end]
    head = RequestHead(
        method=method.decode(),
        target=target.decode(),
        headers=tuple(_FIELD.findall(came.decode("latin-1"))),
        authority=authority.decode("latin-1"),
        framing=Framing.NONE if said_length is None else Framing.LENGTH,
        length=length,
        http10=False,
        keep_alive=said is None or said.lower() != b"close",
    )
    return PlainRequest(head, came, without(came, _hops(found)), host, data[end:])


def plain_answer(data: bytes) -> PlainAnswer | None:
    """Read `data` as one plain answer, to another method than HEAD; None if it is anything else. As `plain_request`."""
    found = _ANSWER_HEAD.match(data, 0, PLAIN_HEAD_BYTES_MAX)
    if found is None:
        return None
    end = found.end()
    said_length, said = found.group("length", "said")
    if said_length is None or int(said_length) != len(data) - end or len(data) - end > CAPTURE_BODY_BYTES_MAX:
        return None
    return PlainAnswer(data, end, said is None or said.lower() != b"close", _hops(found))


class KnownHeads:
    """Heads of plain answers that llhttp has accepted: one that comes again, as many do within a second, is not judged again.

    What llhttp says of a whole message depends on its head and the length of its body alone. Memory is bounded.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, bool, tuple[tuple[int, int], ...]]] = {}

    def find(self, data: bytes) -> PlainAnswer | None:
        """The plain answer that `data` is, if its head is known."""
        end = data.find(b"\r\n\r\n") + 4
        known = self._known.get(data[:end])
        if known is None or known[0] != len(data) - end:
            return None
        return PlainAnswer(data, end, known[1], known[2])

    def add(self, answer: PlainAnswer) -> None:
        """It was accepted."""
        if len(self._known) >= PLAIN_HEADS_MAX:
            self._known.clear()
        self._known[answer.data[: answer.head_bytes]] = answer.body_bytes, answer.keep_alive, answer.hops


def _hops(found: re.Match[bytes]) -> tuple[tuple[int, int], ...]:
    """Where the lines are that concern one connection only, in their order."""
    connection, kept = found.span("connection"), found.span("kept")
    if kept[0] < 0:
        return (connection,) if connection[0] >= 0 else ()
    return (kept,) if connection[0] < 0 else (min(connection, kept), max(connection, kept))


def readdressed(plain: PlainRequest, host: str, base_path: str) -> bytes:
    """The head with this Host, and the target under `base_path`."""
    raw, line = plain.raw, plain.host
    if host != plain.head.authority:
        name = line[: line.index(b":")]
        raw = raw.replace(b"\r\n" + line, b"\r\n%b: %b\r\n" % (name, host.encode("latin-1")), 1)
    if base_path:
        raw = raw.replace(b" ", b" " + base_path.encode("latin-1"), 1)
    return raw


def read_head(answer: PlainAnswer) -> AnswerHead:
    """The answer's head by its fields."""
    read = read_answer(answer.data, answer.head_bytes)
    return AnswerHead(
        status=read.status,
        reason=read.reason,
        headers=read.headers,
        framing=Framing.LENGTH,
        length=answer.body_bytes,
        keep_alive=answer.keep_alive,
    )


def closing(answer: PlainAnswer) -> bytes:
    """The answer, as it goes on, as the last one on a connection."""
    head, separator, body = answer.raw().partition(b"\r\n\r\n")
    return b"".join((head, b"\r\nConnection: close", separator, body))


@lru_cache(8)
def field_lines(headers: Headers) -> bytes:
    """As `field_bytes`, for the few fields that the harness adds to each request alike."""
    return field_bytes(headers)


def field_bytes(headers: Headers) -> bytes:
    """Fields as lines of a head."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")
