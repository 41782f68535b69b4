"""Messages of HTTP/2 and HTTP/3 as HTTP/1.1 has them, and back (RFC 9113 8, RFC 9114 4). Pure."""

from collections.abc import Iterable

from harness.core.http import HOP_BY_HOP
from harness.core.values import Headers
from harness.proxy import wire
from harness.proxy.wire import Framing, UnsendableRequestError

Fields = Iterable[tuple[bytes, bytes]]
_OF_A_CONNECTION = HOP_BY_HOP - {"trailer"}


def pairs(fields: Fields) -> Headers:
    """Header fields as values have them."""
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields)


def http1_head(method: bytes, path: bytes, authority: bytes, fields: Fields, *, bodiless: bool) -> tuple[str, str, list[tuple[str, str]]]:
    """Method, target and headers of an HTTP/2 or HTTP/3 request as HTTP/1.1 has them (RFC 9113 8.2.3, 8.3.1). Raises Refused.

    Host comes first, from `:authority` where there is one; crumbs of Cookie are joined; order and repetition of the rest stay.
    `bodiless`: the request has ended with its head.
    """
    host = authority.decode("latin-1")
    out: list[tuple[str, str]] = []
    cookie_at, lengths = -1, 0
    for name, value in pairs(fields):
        lower = name.lower()
        if lower == "host":
            if host and value.lower() != host.lower():
                raise wire.bad_request("Host is not what the request is about")
            host = host or value
        elif lower == "cookie" and cookie_at >= 0:
            out[cookie_at] = (out[cookie_at][0], f"{out[cookie_at][1]}; {value}")
        elif lower == "te":
            if wire.wants_trailers(((name, value),)):
                out.append((name, "trailers"))
        elif lower in _OF_A_CONNECTION:
            raise wire.bad_request(f"{lower} has no meaning in HTTP/2 and HTTP/3")
        else:
            cookie_at = len(out) if lower == "cookie" else cookie_at
            lengths += lower == "content-length"
            if lower == "content-length" and bodiless and value.strip() != "0":
                raise wire.bad_request("the body is shorter than its Content-Length")
            out.append((name, value))
    if not host:
        raise wire.bad_request("the request names no host")
    out.insert(0, ("host", host))
    if not bodiless and not lengths:
        out.append(("transfer-encoding", "chunked"))
    verb, target = method.decode("latin-1"), path.decode("latin-1")
    try:
        wire.checked_request(verb, target, tuple(out))
    except UnsendableRequestError as error:
        raise wire.bad_request("the request cannot be read") from error
    return verb, target, out


def framing_of(headers: list[tuple[str, str]]) -> tuple[Framing, int]:
    """How the end of the body is told, and its length where that is known; a length that is none is left to the native path."""
    for name, value in headers:
        if name.lower() == "transfer-encoding":
            return Framing.CHUNKED, 0
        if name.lower() == "content-length":
            return Framing.LENGTH, int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else 0
    return Framing.NONE, 0


def end_to_end(headers: Headers) -> list[tuple[str, str]]:
    """An answer's headers as HTTP/2 has them: in lower case, without those of an HTTP/1.1 connection (RFC 9113 8.2)."""
    return [(name.lower(), value.strip(" \t")) for name, value in headers if name.lower() not in _OF_A_CONNECTION]
