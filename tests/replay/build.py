"""Short makers of the values that the tests of replay speak of."""

import json
from collections.abc import Iterable
from pathlib import Path

from harness.core.values import Headers, Request, Response, body_of
from replay.entry import BrokenEntry, CaptureEntry, Item
from replay.formats.registry import installed_formats, read_capture

CAPTURES = Path(__file__).parent.parent / "captures"
FORMATS = installed_formats()


def request(method: str = "GET", target: str = "/", body: object = None, *, headers: Headers = (), host: str = "shop.test") -> Request:
    """A request; a body that is not bytes is sent as JSON."""
    data, more = _body(body)
    return Request(method=method, target=target, headers=(("Host", host), *headers, *more), body=body_of(data), host=host)


def response(status: int = 200, body: object = None, *, headers: Headers = ()) -> Response:
    """A response; a body that is not bytes is sent as JSON."""
    data, more = _body(body)
    return Response(status=status, headers=(*headers, *more), body=body_of(data))


def _body(body: object) -> tuple[bytes, Headers]:
    if body is None:
        return b"", ()
    if isinstance(body, bytes):
        return body, (("Content-Length", str(len(body))),)
    data = json.dumps(body).encode()
    return data, (("Content-Type", "application/json"), ("Content-Length", str(len(data))))


def entry(sent: Request, recorded: Response | None = None, *, index: int = 0, offset_s: float = 0.0, client: str = "") -> CaptureEntry:
    """A capture entry of the file `t.har`."""
    return CaptureEntry(index=index, file="t.har", request=sent, recorded=recorded, offset_s=offset_s, client=client)


def numbered(entries: Iterable[CaptureEntry]) -> list[CaptureEntry]:
    """The entries with their positions as indices, a second apart."""
    return [
        CaptureEntry(index=at, file=item.file, request=item.request, recorded=item.recorded, offset_s=float(at), client=item.client)
        for at, item in enumerate(entries)
    ]


def read(data: bytes, name: str = "t.bin", *, piece_bytes: int | None = None) -> list[Item]:
    """All items of a file's bytes, through the registry; in pieces where a size is given."""
    step = piece_bytes or max(1, len(data))
    return list(read_capture([data[at : at + step] for at in range(0, len(data), step)], name, FORMATS))


def good(items: Iterable[Item]) -> list[CaptureEntry]:
    """The entries that can be used."""
    return [item for item in items if isinstance(item, CaptureEntry)]


def bad(items: Iterable[Item]) -> list[BrokenEntry]:
    """The entries that cannot."""
    return [item for item in items if isinstance(item, BrokenEntry)]
