"""Plain messages: whole in one read, in the usual form, with nothing in the head that needs a second look.

Pure. Most of live traffic is of this kind, and is read here as a whole instead of field by field: a request by the names in
its head, an answer by one expression. llhttp judges it like everything else (see parsing); whatever is not plain is left to
the general reading, which finds the same in it.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

from harness.core.http import HOP_BY_HOP
from harness.core.limits import (
    CAPTURE_BODY_BYTES_MAX,
    PLAIN_FIELDS_MAX,
    PLAIN_HEAD_BYTES_MAX,
    PLAIN_SHAPES_MAX,
    REQUEST_BODY_BYTES_MAX,
)
from harness.core.plain import PlainAnswer, read_answer
from harness.core.values import Headers
from harness.proxy.wire import GUARD_HEADER, AnswerHead, Framing, RequestHead

_REQUEST_LINE: Final = re.compile(r"(GET|HEAD|POST|PUT|PATCH|DELETE) (/[!-~]*) HTTP/1\.1\r(?=\n)")
"""Methods with rules of their own (OPTIONS, TRACE, CONNECT) and other forms of the target are not plain."""
_FIELD: Final = re.compile(r"\n([^:]++): ([^ \t\r][^\r]*+)\r")
"""One field line in the form in which it is written anew. Anchored at its start: each line that llhttp accepts gives one field or none."""
_AUTHORITY: Final = re.compile(r"[^/ \t,@?#\\]+")
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_VALUE: Final = rb"[!-~\x80-\xff][^\r\n]*+(?<![ \t])\r\n"
"""White space around a value is not part of it."""
_ANSWER_FIELD: Final = rb"[!#-'*+\-.0-9A-Z^-z|~]++: " + _VALUE
_ANSWER_HEAD: Final = re.compile(
    rb"HTTP/1\.1 (?:2(?!04)\d\d|3(?!04)\d\d|[45]\d\d) [ -~\x80-\xff]*+\r\n"
    rb"(?:(?![CcKkPpTtUu])" + _ANSWER_FIELD + rb"|(?i:content-length): (?(1)(?!)|(0|[1-9][0-9]{0,17}))\r\n"
    rb"|(?(2)(?!)|((?i:connection): ((?i:keep-alive|close))\r\n))"
    rb"|(?(4)(?!)|((?i:keep-alive): " + _VALUE + rb"))"
    rb"|(?!(?i:c(?:onnection|ontent-length)|keep-alive|proxy-(?:connection|authenticate|authorization)|t(?:ransfer-encoding|e|railer)|upgrade):)"
    + _ANSWER_FIELD
    + rb")*+\r\n"
)
"""The head of a plain answer: interim answers and those without a body are not plain. One field of each name that says how the
message ends or what becomes of the connection, in the usual form, or none; what concerns one connection only in few forms."""
_NOT_PLAIN: Final = frozenset({"transfer-encoding", "upgrade", "te", "trailer", "expect", "proxy-connection", GUARD_HEADER})
_ONE_AT_MOST: Final = ("host", "content-length", "connection")


class PlainRequest(msgspec.Struct, frozen=True, gc=False):
    """A plain request, ready to be sent on."""

    head: RequestHead
    """As the client sent it."""
    came: bytes
    """The head's bytes as they came."""
    raw: bytes
    """The same without what concerns the client's connection only."""
    host: tuple[str, str]
    """Its Host, name and value."""
    body: bytes


class _Shape(msgspec.Struct, frozen=True):
    """What the names of a head say by themselves. Places are -1 for a field that is not there."""

    host: int
    length: int
    connection: int
    dropped: tuple[int, ...]
    """Fields that concern one connection only, the last one first."""


@lru_cache(PLAIN_SHAPES_MAX)
def _shape(names: tuple[str, ...]) -> _Shape | None:
    """None for names that are not plain. Remembered, since the clients of a service send the same names again and again."""
    lower = [name.lower() for name in names]
    if not _NOT_PLAIN.isdisjoint(lower) or any(lower.count(name) > 1 for name in _ONE_AT_MOST):
        return None
    host, length, connection = (lower.index(name) if name in lower else -1 for name in _ONE_AT_MOST)
    dropped = tuple(i for i in range(len(lower) - 1, -1, -1) if lower[i] in HOP_BY_HOP)
    return _Shape(host, length, connection, dropped)


def _fields(text: str, start: int) -> tuple[Headers, _Shape] | None:
    """The fields of a head from the end of its first line on, and their shape; None where they are not plain."""
    count = text.count("\n", start) - 2
    if not 0 < count <= PLAIN_FIELDS_MAX or " \r" in text or "\t" in text:
        return None
    fields = _FIELD.findall(text, start)
    if len(fields) != count:
        return None
    names, _ = zip(*fields, strict=True)
    shape = _shape(names)
    return None if shape is None else (tuple(fields), shape)


def _stays_open(headers: Headers, shape: _Shape) -> bool | None:
    """What Connection says; None where it says more than that."""
    if shape.connection < 0:
        return True
    said = headers[shape.connection][1].lower()
    return said == "keep-alive" or (False if said == "close" else None)


def _without(data: bytes, headers: Headers, dropped: tuple[int, ...]) -> bytes:
    """The message without these lines. The first place with a line's bytes is in the head, and a line of the same name."""
    for i in dropped:
        name, value = headers[i]
        data = data.replace(f"\r\n{name}: {value}\r\n".encode("latin-1"), b"\r\n", 1)
    return data


def plain_request(data: bytes) -> PlainRequest | None:
    """Read `data` as one plain request; None if it is anything else. It counts only if llhttp takes `data` for one whole message."""
    end = data.find(b"\r\n\r\n") + 4
    if not 4 <= end <= PLAIN_HEAD_BYTES_MAX:
        return None
    came = data[:end]
    text = came.decode("latin-1")
    line = _REQUEST_LINE.match(text)
    read = None if line is None else _fields(text, line.end())
    if line is None or read is None:
        return None
    headers, shape = read
    keep_alive = _stays_open(headers, shape)
    if keep_alive is None or shape.host < 0:
        return None
    authority = headers[shape.host][1]
    length, framing = 0, Framing.NONE
    if shape.length >= 0:
        said = headers[shape.length][1]
        length, framing = int(said) if _LENGTH.fullmatch(said) else -1, Framing.LENGTH
    if len(data) - end != length or length > _REQUEST_BYTES_MAX or not _AUTHORITY.fullmatch(authority):
        return None
    method, target = line.groups()
    head = RequestHead(
        method=method,
        target=target,
        headers=headers,
        authority=authority,
        framing=framing,
        length=length,
        http10=False,
        keep_alive=keep_alive,
    )
    return PlainRequest(head, came, _without(came, headers, shape.dropped), headers[shape.host], data[end:])


_REQUEST_BYTES_MAX: Final = min(REQUEST_BODY_BYTES_MAX, CAPTURE_BODY_BYTES_MAX)


def plain_answer(data: bytes) -> PlainAnswer | None:
    """Read `data` as one plain answer, to another method than HEAD; None if it is anything else. As `plain_request`."""
    found = _ANSWER_HEAD.match(data, 0, PLAIN_HEAD_BYTES_MAX)
    if found is None:
        return None
    length, connection, said, keep_alive = found.groups()
    end = found.end()
    if length is None or int(length) != len(data) - end or int(length) > CAPTURE_BODY_BYTES_MAX:
        return None
    hops = () if connection is None else (found.span(2),)
    if keep_alive is not None:
        hops = tuple(sorted((*hops, found.span(4))))
    return PlainAnswer(data, end, said is None or said.lower() != b"close", hops)


def readdressed(plain: PlainRequest, host: str, base_path: str) -> bytes:
    """The head with this Host, and the target under `base_path`."""
    raw = plain.raw
    name, known = plain.host
    if host != known:
        raw = raw.replace(f"\r\n{name}: {known}\r\n".encode("latin-1"), f"\r\n{name}: {host}\r\n".encode("latin-1"), 1)
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
    """Fields as bytes, for the few that the harness adds to each request."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")
