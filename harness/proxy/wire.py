"""HTTP/1.1 messages on the wire (RFC 9112): heads as bytes, chunked coding, and what a strict reading refuses.

Pure. Header names and values are Latin-1 text in wire order, repetitions and case kept.
"""

import re
from enum import StrEnum
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import msgspec

from harness.core.errors import SetupError
from harness.core.http import HOP_BY_HOP
from harness.core.labels import ErrorKind, RefusedReason
from harness.core.limits import REQUEST_BODY_BYTES_MAX
from harness.core.values import Headers

GUARD_HEADER: Final = "x-shadowdiff-shadow"
"""Marks a mirrored request, so that it is never mirrored again."""
ERROR_HEADER: Final = "x-shadowdiff-error"
"""Carries the RefusedReason in answers that the harness gives itself."""

_KEPT_IF_LISTED: Final = frozenset(
    {"host", "content-length", GUARD_HEADER, "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
)
"""Not removed though a Connection header lists them: removing them would change the message's framing or routing, or let a client
take away what a proxy says of it."""
_NOT_IN_TRAILERS: Final = HOP_BY_HOP | {"content-length", "host", "content-encoding", "content-type", "content-range"}
_BODILESS_STATUS: Final = frozenset({204, 304})
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE: Final = re.compile(r"[^\x00\r\n]*")
_REASON: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_TARGET: Final = re.compile(r"[!-~\x80-\xff]+")
_RTSP_METHODS: Final = frozenset(
    {"DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER", "REDIRECT", "RECORD", "FLUSH"}
)
"""Methods that the parser knows from RTSP and HTTP does not have."""


_COUNTED_METHODS: Final = frozenset({"OPTIONS", "TRACE"})
"""Methods whose Max-Forwards each proxy counts down (RFC 9110 7.6.2)."""


class Framing(StrEnum):
    """How the end of a body is told (RFC 9112 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until_close"


class Refused(Exception):  # noqa: N818 - an outcome with a name, not an error of ours
    """A request that the harness answers itself: the client's mistake, said with status and reason."""

    def __init__(self, status: int, reason: RefusedReason, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class BrokenAnswer(Exception):  # noqa: N818 - the target's mistake, not ours
    """Bytes from a target that are not an answer HTTP/1.1 can carry."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class UnsendableRequestError(SetupError):
    """A request (from a capture) that cannot be written as HTTP/1.1."""


class RequestHead(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A request's head, checked. `target` is in origin form, or `*`; `authority` is what Host should say."""

    method: str
    target: str
    headers: Headers
    authority: str
    framing: Framing
    length: int
    http10: bool
    keep_alive: bool
    upgrade: bool = False
    """The client asks to leave HTTP on this connection, and waits for the answer."""


class AnswerHead(msgspec.Struct, frozen=True, kw_only=True):
    """An answer's head, checked."""

    status: int
    reason: str
    headers: Headers
    framing: Framing
    length: int
    keep_alive: bool


def bad_request(message: str) -> Refused:
    """A request refused with 400."""
    return Refused(400, RefusedReason.BAD_REQUEST, message)


def request_head(method: str, target: str, headers: Headers, *, version: str, keep_alive: bool, upgrade: bool) -> RequestHead:
    """Check what the parser does not (RFC 9112 2.3, 3.2, 6.1, 6.3). Raises Refused."""
    if version not in {"1.1", "1.0"}:
        raise Refused(505, RefusedReason.BAD_REQUEST, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if method == "CONNECT":
        raise Refused(501, RefusedReason.CONNECT, "CONNECT is not served")
    if method in _RTSP_METHODS:
        raise Refused(501, RefusedReason.BAD_REQUEST, "the method is not one of HTTP")
    http10 = version == "1.0"
    framing, length = _request_framing(headers, http10=http10)
    if method in _COUNTED_METHODS:
        headers = _counted_down(headers)
    target, authority = _target_and_authority(method, target, _one_host(headers, http10=http10))
    return RequestHead(
        method=method,
        target=target,
        headers=headers,
        authority=authority,
        framing=framing,
        length=length,
        http10=http10,
        keep_alive=keep_alive,
        upgrade=upgrade and not http10 and not length and framing is not Framing.CHUNKED and _switches(headers),
    )


def _request_framing(headers: Headers, *, http10: bool) -> tuple[Framing, int]:
    lengths = [value for name, value in headers if name.lower() == "content-length"]
    codings = [value for name, value in headers if name.lower() == "transfer-encoding"]
    if codings:
        if lengths or http10 or len(codings) > 1:
            raise bad_request("the end of the body is told in two ways, or in one that HTTP/1.0 has not")
        if codings[0].strip(" \t").lower() != "chunked":
            raise Refused(501, RefusedReason.BAD_REQUEST, "chunked is the only transfer coding served")
        return Framing.CHUNKED, 0
    if not lengths:
        return Framing.NONE, 0
    length = _length(lengths)
    if length is None:
        raise bad_request("Content-Length is not one number")
    if length > REQUEST_BODY_BYTES_MAX:
        raise Refused(413, RefusedReason.BODY_TOO_LARGE, f"the body is larger than {REQUEST_BODY_BYTES_MAX} bytes")
    return Framing.LENGTH, length


def _counted_down(headers: Headers) -> Headers:
    """One hop less in Max-Forwards (RFC 9110 7.6.2). Raises Refused where none is left: stable may not be asked."""
    for i, (name, value) in enumerate(headers):
        if name.lower() == "max-forwards" and value.isascii() and value.isdigit():
            if not int(value[:18]):
                raise Refused(501, RefusedReason.BAD_REQUEST, "Max-Forwards ends here, and the proxy has no answer of its own")
            return (*headers[:i], (name, str(int(value[:18]) - 1)), *headers[i + 1 :])
    return headers


def _switches(headers: Headers) -> bool:
    """Whether the protocol asked for is one to relay. An offer of HTTP/2 may be ignored, and then every client goes on in HTTP/1.1."""
    offers = [value.strip().lower() for name, value in headers if name.lower() == "upgrade"]
    return any(offer and offer != "h2c" for offer in offers)


def _length(values: list[str]) -> int | None:
    text = values[0].strip(" \t")
    if len(values) > 1 or not text.isascii() or not text.isdigit() or len(text) > 18:
        return None
    return int(text)


def _one_host(headers: Headers, *, http10: bool) -> str:
    hosts = [value.strip(" \t") for name, value in headers if name.lower() == "host"]
    if len(hosts) > 1 or (not hosts and not http10):
        raise bad_request("a request needs one Host header")
    host = hosts[0] if hosts else ""
    if any(char in host for char in "/ \t,@?#\\"):
        raise bad_request("the Host header is not an authority")
    return host


def _target_and_authority(method: str, target: str, host: str) -> tuple[str, str]:
    if target.startswith("/"):
        return target, host
    if target == "*":
        if method != "OPTIONS":
            raise bad_request("only OPTIONS may ask for *")
        return target, host
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in {"http", "https"}:
        raise bad_request("the request target is neither a path nor an http URL")
    try:
        authority = urlsplit(target).netloc.rpartition("@")[2].lower()
    except ValueError:
        authority = ""
    if not authority:
        raise bad_request("the request target has no host")
    start = min((i for i in (rest.find("/"), rest.find("?")) if i >= 0), default=len(rest))
    path = rest[start:]
    if method == "OPTIONS" and not path:
        return "*", authority
    return path if path.startswith("/") else f"/{path}", authority


def answer_head(status: int, reason: str, headers: Headers, *, request_method: str, version: str, keep_alive: bool) -> AnswerHead:
    """Check an answer's head and tell how its body ends (RFC 9112 6.3). Raises BrokenAnswer."""
    if version not in {"1.1", "1.0"}:
        raise BrokenAnswer(ErrorKind.GARBAGE, f"the answer is in HTTP {version}")
    if status < 100:
        raise BrokenAnswer(ErrorKind.GARBAGE, f"the answer's status is {status}")
    framing, length = _answer_framing(headers)
    if request_method == "HEAD" or status in _BODILESS_STATUS or status < 200:
        framing, length = Framing.NONE, 0
    faulty = framing is Framing.CHUNKED and version == "1.0"
    if not _REASON.fullmatch(reason):
        reason = ""  # the parser lets control characters pass; no client needs a reason (RFC 9112 4)
    alive = keep_alive and framing is not Framing.UNTIL_CLOSE and not faulty
    return AnswerHead(status=status, reason=reason, headers=headers, framing=framing, length=length, keep_alive=alive)


def _answer_framing(headers: Headers) -> tuple[Framing, int]:
    lengths = [value for name, value in headers if name.lower() == "content-length"]
    codings = [value for name, value in headers if name.lower() == "transfer-encoding"]
    if codings:
        if len(codings) > 1 or codings[0].strip(" \t").lower() != "chunked":
            raise BrokenAnswer(ErrorKind.GARBAGE, "the answer has a transfer coding other than chunked")
        return Framing.CHUNKED, 0
    if not lengths:
        return Framing.UNTIL_CLOSE, 0
    length = _length(lengths)
    if length is None:
        raise BrokenAnswer(ErrorKind.GARBAGE, "the answer's Content-Length is not one number")
    return Framing.LENGTH, length


def forwarded(
    headers: Headers, *, framing: Framing, length: int = 0, host: str | None = None, dropped: frozenset[str] = frozenset()
) -> list[tuple[str, str]]:
    """End-to-end headers in their order, with the framing given, in the place of the old framing header.

    With `host` it is a request's.
    Hop-by-hop headers and those that Connection lists go (RFC 9110 7.6.1).
    `Trailer` stays with chunked bodies, since trailers are passed on.
    With Framing.NONE a Content-Length stays as it is (answers to HEAD, 304).
    """
    drop = HOP_BY_HOP | dropped if dropped else HOP_BY_HOP
    for name, value in headers:
        if name.lower() == "connection":
            drop |= {token.strip(" \t").lower() for token in value.split(",")} - _KEPT_IF_LISTED
    if framing is Framing.CHUNKED:
        drop -= {"trailer"}
    out: list[tuple[str, str]] = []
    hosted, framed = host is None, framing in {Framing.NONE, Framing.UNTIL_CLOSE}
    for pair in headers:
        name = pair[0].lower()
        if name == "content-length" and framing is not Framing.NONE:
            if framing is Framing.LENGTH and not framed:
                out.append((pair[0], str(length)))
                framed = True
        elif name == "transfer-encoding" and framing is Framing.CHUNKED:
            if not framed:
                out.append((pair[0], "chunked"))
                framed = True
        elif name == "host" and host is not None:
            if not hosted:
                out.append((pair[0], host))
                hosted = True
        elif name not in drop:
            out.append(pair)
        elif name == "te" and host is not None and wants_trailers((pair,)):
            out += [(pair[0], "trailers"), ("Connection", pair[0])]  # RFC 9110 10.1.4: said anew for the next hop
    if not hosted and host is not None:
        out.insert(0, ("Host", host))
    if not framed:
        out.append(("Content-Length", str(length)) if framing is Framing.LENGTH else ("Transfer-Encoding", "chunked"))
    return out


def wants_trailers(headers: Headers) -> bool:
    """Whether the sender said that it takes trailers (RFC 9110 10.1.4)."""
    return any(
        part.partition(";")[0].strip().lower() == "trailers" for name, value in headers if name.lower() == "te" for part in value.split(",")
    )


def checked_request(method: str, target: str, headers: Headers) -> None:
    """Refuse what would be read as something else on the wire. For requests that no parser has seen. Raises UnsendableRequestError."""
    fix = "mend the capture, or leave the entry out"
    if not _TOKEN.fullmatch(method) or method == "CONNECT":
        raise UnsendableRequestError(f"the method {method[:40]!r} cannot be sent", fix=fix)
    if not _TARGET.fullmatch(target) or not (target.startswith("/") or (target == "*" and method == "OPTIONS")):
        raise UnsendableRequestError(f"the request target {target[:80]!r} cannot be sent", fix=fix)
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value) or any(char > "\xff" for char in value):
            raise UnsendableRequestError(f"the header {name[:40]!r} cannot be sent", where=f"{method} {target[:80]}", fix=fix)


def request_bytes(method: str, target: str, headers: list[tuple[str, str]]) -> bytes:
    """A request's head."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def answer_bytes(status: int, reason: str, headers: list[tuple[str, str]]) -> bytes:
    """An answer's head."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk; nothing for no data, since an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Headers = ()) -> bytes:
    """The end of a chunked body. Fields that may not stand in trailers are left out (RFC 9110 6.5.1)."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in trailers if name.lower() not in _NOT_IN_TRAILERS])
    return f"0\r\n{lines}\r\n".encode("latin-1")


def refusal_bytes(status: int, reason: RefusedReason, message: str, *, head_only: bool, close: bool) -> bytes:
    """The harness's own answer: a short plain sentence, and the reason in a header."""
    body = f"{message}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        (ERROR_HEADER, str(reason)),
    ]
    if close:
        headers.append(("Connection", "close"))
    return answer_bytes(status, HTTPStatus(status).phrase, headers) + (b"" if head_only else body)
