"""HTTP/1 messages as capture files hold them: a head with bare or full line ends, and what followed it on the wire.

More lenient than a server may be, since nothing read here decides who sees what; still nothing is guessed silently.
"""

import hashlib
import re
from typing import Final

from harness.core.http import header, header_values
from harness.core.limits import CAPTURE_BODY_BYTES_MAX, HEAD_BYTES_MAX
from harness.core.values import Body, Headers, Request, Response

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ABSOLUTE: Final = re.compile(r"(?i)https?://(?:[^/?#@]*@)?([^/?#]*)([^#]*)")
_STATUS_LINE: Final = re.compile(r"HTTP/\d(?:\.\d)? ([1-9]\d\d)(?: (.*))?")
_NOT_IN_TARGET: Final = re.compile(r"[^!-~]")
_CHUNK_SIZE: Final = re.compile(rb"[ \t]*([0-9a-fA-F]{1,12})[ \t]*(?:;[^\n]*)?\r?\n")
_NO_BODY_STATUSES: Final = frozenset({204, 304})
_USUALLY_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class MessageError(Exception):
    """Bytes that are not the message they should be; the text says why. Never leaves the formats."""


class NotHttpError(MessageError):
    """A whole record that is no ordinary HTTP request."""


def body_kept(data: bytes, size: int | None = None) -> Body:
    """A recorded answer's body, cut at the capture bound. `size` is its whole length where more is known to be missing."""
    whole = max(len(data), size or 0)
    if len(data) <= CAPTURE_BODY_BYTES_MAX:
        return Body(data=data, size=whole)
    digest = hashlib.sha256(data).hexdigest() if whole == len(data) else ""
    return Body(data=data[:CAPTURE_BODY_BYTES_MAX], size=whole, digest=digest)


def request_body(data: bytes, size: int | None = None) -> Body:
    """A request's body, kept whole since it is to be sent; truncated where `size` says that a part is missing."""
    return Body(data=data, size=max(len(data), size or 0))


def clean_target(text: str) -> str:
    """A request target as it may go on the wire: no fragment, everything but visible ASCII percent-encoded as UTF-8."""
    target = text.split("#", 1)[0]
    if not target.startswith(("/", "*")):
        target = "/" + target
    return _NOT_IN_TARGET.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass")), target)


def split_url(url: str) -> tuple[str, str]:
    """Authority (lower case, no user information) and target of an absolute http or https URL; MessageError otherwise."""
    found = _ABSOLUTE.match(url.strip())
    if found is None:
        scheme = url.split(":", 1)[0][:20]
        raise NotHttpError(f"the URL's scheme is {scheme!r}" if ":" in url else "the URL is not absolute")
    if not found[1]:
        raise MessageError("the URL has no host")
    return found[1].lower(), clean_target(found[2])


def valid_headers(pairs: list[tuple[str, str]]) -> Headers:
    """Headers that can be sent: names are tokens, values hold no line ends. MessageError otherwise."""
    for name, value in pairs:
        if not _TOKEN.fullmatch(name):
            raise MessageError(f"{name[:40]!r} is not a header name")
        if "\n" in value or "\r" in value or "\0" in value:
            raise MessageError(f"the header {name[:40]!r} has a line end in its value")
    return tuple(pairs)


def unchunked(headers: Headers, length: int) -> Headers:
    """Headers of a message whose transfer coding was undone (RFC 9112 7.1.3): Content-Length instead of the coding."""
    kept: list[tuple[str, str]] = []
    placed = False
    for name, value in headers:
        if name.lower() not in {"content-length", "transfer-encoding"}:
            kept.append((name, value))
        elif not placed:
            kept.append(("Content-Length" if name[:1].isupper() else "content-length", str(length)))
            placed = True
    if not placed:
        kept.append(("Content-Length", str(length)))
    return tuple(kept)


def split_head(data: bytes) -> tuple[str, list[tuple[str, str]], bytes]:
    """First line, headers and what follows the empty line. Lines end with CRLF or LF. MessageError where it is no head."""
    end = _head_end(data)
    lines = data[: end[0]].decode("latin-1").replace("\r\n", "\n").split("\n")
    if not lines[0].strip():
        raise MessageError("there is no request or status line")
    headers: list[tuple[str, str]] = []
    for line in lines[1:]:
        if line[:1] in {" ", "\t"} and headers:  # obsolete line folding, RFC 9112 5.2
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {line.strip()}")
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise MessageError(f"the header line {line[:40]!r} has no colon")
        headers.append((name, value.strip(" \t")))
    valid_headers(headers)
    return lines[0], headers, data[end[1] :]


def _head_end(data: bytes) -> tuple[int, int]:
    """Where the head ends and where the body starts."""
    ends = [(at, at + len(mark)) for mark in (b"\r\n\r\n", b"\n\n", b"\n\r\n") if (at := data.find(mark, 0, HEAD_BYTES_MAX)) >= 0]
    if not ends and data.endswith(b"\n") and len(data) < HEAD_BYTES_MAX:
        return len(data.rstrip(b"\r\n")), len(data)  # written by hand: the empty line went into the separator
    if not ends:
        raise MessageError("the head has no end" if len(data) < HEAD_BYTES_MAX else "the head is larger than the bound")
    return min(ends)


def parse_request(data: bytes) -> Request:
    """One HTTP/1 request as captured. MessageError where it is none; a body cut short is marked as truncated."""
    line, pairs, rest = split_head(data)
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/") or not _TOKEN.fullmatch(parts[0]):
        raise MessageError(f"{line[:60]!r} is not a request line")
    method, target, _ = parts
    if method == "CONNECT":
        raise NotHttpError("CONNECT opens a tunnel")
    headers = tuple(pairs)
    host = (header(headers, "host") or "").strip().lower()
    if not target.startswith(("/", "*")):
        host, target = split_url(target)
    if method in _USUALLY_BODILESS or not rest.strip(b"\r\n"):
        rest = rest if header(headers, "content-length") or header(headers, "transfer-encoding") else b""
    headers, body, size, _ = _unframe(headers, rest)
    return Request(method=method, target=clean_target(target), headers=headers, body=request_body(body, size), host=host)


def parse_response(data: bytes, method: str) -> Response:
    """The final answer to `method` as captured; 1xx answers before it are dropped. MessageError where there is none."""
    while True:
        line, pairs, rest = split_head(data)
        found = _STATUS_LINE.fullmatch(line.rstrip())
        if found is None:
            raise MessageError(f"{line[:60]!r} is not a status line")
        status = int(found[1])
        if status >= 200 or status == 101:
            break
        data = rest
    headers = tuple(pairs)
    reason = found[2] or ""
    if method == "HEAD" or status in _NO_BODY_STATUSES or status == 101:
        return Response(status=status, headers=headers, reason=reason)
    headers, body, size, trailers = _unframe(headers, rest)
    return Response(status=status, headers=headers, body=body_kept(body, size), reason=reason, trailers=trailers)


def _unframe(headers: Headers, rest: bytes) -> tuple[Headers, bytes, int | None, Headers]:
    """Undo the framing: headers, body, its whole length where a part is missing, trailers."""
    codings = [coding.strip().lower() for value in header_values(headers, "transfer-encoding") for coding in value.split(",")]
    if codings and codings[-1] == "chunked":
        if _CHUNK_SIZE.match(rest) is None and rest:
            return unchunked(headers, len(rest)), rest, None, ()  # some recorders undo the coding and keep the header
        body, complete, trailers = dechunk(rest)
        return unchunked(headers, len(body)), body, None if complete else len(body) + 1, trailers
    declared = header(headers, "content-length")
    if declared is None or not re.fullmatch(r"\d{1,15}", declared.strip()):
        return headers, rest, None, ()
    size = int(declared)
    return headers, rest[:size], size, ()


def dechunk(data: bytes) -> tuple[bytes, bool, Headers]:
    """Undo the chunked transfer coding (RFC 9112 7.1): body, whether it was complete, trailers. Never raises."""
    parts: list[bytes] = []
    at = 0
    while (found := _CHUNK_SIZE.match(data, at)) is not None:
        size = int(found[1], 16)
        at = found.end()
        if size == 0:
            return b"".join(parts), True, _trailers(data[at:])
        parts.append(data[at : at + size])
        at += size
        if at > len(data):
            break
        end = re.compile(rb"\r?\n").match(data, at)
        if end is None:
            break
        at = end.end()
    return b"".join(parts), False, ()


def _trailers(data: bytes) -> Headers:
    pairs: list[tuple[str, str]] = []
    for line in data.decode("latin-1").splitlines():
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            break
        pairs.append((name, value.strip()))
    return tuple(pairs)
