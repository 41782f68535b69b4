"""Makes a captured request fit for being sent anew: what belonged to its old connection is taken off. Pure."""

import msgspec

from harness.core.http import connection_headers
from harness.core.values import Headers, Request

_LENGTH_EXPECTED = frozenset({"POST", "PUT", "PATCH"})


def sendable(request: Request) -> Request:
    """The request without hop-by-hop headers and Expect, with the Content-Length of the body it has now.

    Everything else stays, Accept-Encoding and Host too: the sender writes the Host of its target.
    """
    headers = framed(request.headers, request.method, request.body.size)
    return request if headers == request.headers else msgspec.structs.replace(request, headers=headers)


def framed(headers: Headers, method: str, size: int) -> Headers:
    """End-to-end headers with one Content-Length, in the place of the first that was there, else last; none without need."""
    dropped = connection_headers(headers)
    kept: list[tuple[str, str]] = []
    placed = False
    for name, value in headers:
        lower = name.lower()
        if lower == "content-length":
            if not placed:
                kept.append((name, str(size)))
                placed = True
        elif lower not in dropped and lower != "expect":
            kept.append((name, value))
    if not placed and (size or method in _LENGTH_EXPECTED):
        kept.append(("Content-Length", str(size)))
    return tuple(kept)
