"""GoReplay files (.gor): a reader, and the append-only writer behind recording.

A record is `type id time_ns [latency_ns]`, a line end, the raw HTTP/1 message, and a separator line. Types are 1 request,
2 original answer, 3 answer of a replay (ignored). Requests and answers share an id. Format: GoReplay, `proto` package.
"""

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from harness.core.errors import CaptureError
from harness.core.limits import CAPTURE_PAIRING_MAX, CAPTURE_RECORD_BYTES_MAX
from harness.core.values import Body, Headers, Request, Response
from replay.entry import BrokenEntry, BrokenKind, CaptureEntry, Item
from replay.formats.message import MessageError, NotHttpError, parse_request, parse_response

_MONKEYS: Final = "🐵🙈🙉".encode()
SEPARATOR: Final = b"\n" + _MONKEYS + b"\n"
_SEPARATORS: Final = re.compile(rb"\n" + _MONKEYS + rb"\r?\n")
_SEPARATOR_BYTES_MAX: Final = len(SEPARATOR) + 1
_META: Final = re.compile(rb"([123]) ([0-9A-Za-z_.\-]{1,128}) (-?\d{1,19})(?: (-?\d{1,19}))?\s*")
_SNIFF: Final = re.compile(rb"\s*[123] [0-9a-fA-F]{8,64} -?\d{1,19}(?: -?\d{1,19})?\r?\n")
_CONNECTION_ID: Final = re.compile(r"[0-9a-f]{24}")
_NANO: Final = 1_000_000_000


class Gor:
    """The format object of the registry."""

    name = "gor"
    version = 1
    extensions = (".gor",)

    def sniff(self, head: bytes) -> bool:
        """A record's first line is unmistakable."""
        return _SNIFF.match(head) is not None

    def read(self, chunks: Iterable[bytes], file: str) -> Iterator[Item]:
        """Entries in the order of their requests in the file. Raises CaptureError where the first record is none."""
        reader = _Pairing(file)
        for number, record in enumerate(_records(chunks)):
            if number == 0 and not record.ended and _META.match(record.data[:256].lstrip()) is None:
                raise CaptureError(
                    "this is not a GoReplay capture", where=f"{file}, record 0", fix="give a .gor file as GoReplay writes it"
                )
            reader.take(record)
            yield from reader.ready()
        yield from reader.rest()

    def write(self, entries: Iterable[CaptureEntry], *, epoch_s: float) -> Iterator[bytes]:
        """One chunk for each entry."""
        writer = GorEncoder()
        for entry in entries:
            yield writer.pair(entry.request, entry.recorded, time_ns=int((epoch_s + entry.offset_s) * _NANO), client=entry.client)


class _Record(msgspec.Struct, frozen=True):
    data: bytes
    at: int
    """Byte offset in the (uncompressed) file."""
    ended: bool = True
    oversized: bool = False


def _records(chunks: Iterable[bytes]) -> Iterator[_Record]:
    """Cut a byte stream at the separators. Holds one record at a time, and no more than the bound of it."""
    held = bytearray()
    at = 0
    searched = 0
    oversized = False
    for chunk in chunks:
        held += chunk
        while (found := _SEPARATORS.search(held, searched)) is not None:
            yield _Record(b"" if oversized else bytes(held[: found.start()]), at, oversized=oversized)
            at += found.end()
            del held[: found.end()]
            searched, oversized = 0, False
        searched = max(0, len(held) - _SEPARATOR_BYTES_MAX)
        if len(held) > CAPTURE_RECORD_BYTES_MAX:
            oversized = True
            at += searched
            del held[:searched]
            searched = 0
    if oversized or held.strip(b" \t\r\n\0"):
        yield _Record(b"" if oversized else bytes(held), at, ended=False, oversized=oversized)


class _Slot:
    """A request that waits for its answer, or a broken entry that waits for its turn."""

    __slots__ = ("answered", "item", "name")

    def __init__(self, item: Item, name: str, *, answered: bool) -> None:
        self.item = item
        self.name = name
        self.answered = answered


class _Pairing:
    """Joins requests and answers by id, in either order, and gives entries out in the order of the requests."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._slots: deque[_Slot] = deque()
        self._waiting: dict[str, deque[_Slot]] = {}
        self._early: dict[str, tuple[bytes, int]] = {}
        self._index = 0
        self._first_ns: int | None = None

    def take(self, record: _Record) -> None:
        """One record of the file."""
        line, _, payload = record.data.lstrip(b"\r\n").partition(b"\n")
        found = _META.fullmatch(line)
        if record.oversized:
            self._broken("the record is larger than the bound", record, BrokenKind.TOO_LARGE)
        elif not record.ended and (found is None or found[1] != b"3"):
            self._broken("the file ends inside this record", record, BrokenKind.TRUNCATED)
        elif found is None:
            self._broken(f"{bytes(line[:60])!r} is not the first line of a record", record)
        elif found[1] == b"1":
            self._request(found[2].decode(), int(found[3]), payload, record)
        elif found[1] == b"2":
            self._response(found[2].decode(), payload, record)

    def ready(self) -> Iterator[Item]:
        """What can be given out now."""
        while self._slots and (self._slots[0].answered or len(self._slots) > CAPTURE_PAIRING_MAX):
            slot = self._slots.popleft()
            if not slot.answered:
                self._next_waiting(slot.name)
            yield slot.item

    def rest(self) -> Iterator[Item]:
        """What is left at the end of the file: requests without an answer, answers without a request."""
        while self._slots:
            yield self._slots.popleft().item
        for number, (name, (_, at)) in enumerate(self._early.items()):
            what = f"the answer {name!r} has no request in this file"
            kind = BrokenKind.LONE_RESPONSE
            yield BrokenEntry(index=self._index + number, file=self._file, what=what, where=f"byte {at}", kind=kind)

    def _request(self, name: str, time_ns: int, payload: bytes, record: _Record) -> None:
        try:
            request = parse_request(payload)
        except NotHttpError as error:
            self._broken(str(error), record, BrokenKind.NOT_HTTP)
            return
        except MessageError as error:
            self._broken(str(error), record)
            return
        if self._first_ns is None:
            self._first_ns = time_ns
        offset_s = (time_ns - self._first_ns) / _NANO
        client = name[:16] if _CONNECTION_ID.fullmatch(name) else ""
        entry = CaptureEntry(index=self._index, file=self._file, request=request, offset_s=offset_s, client=client)
        self._index += 1
        slot = _Slot(entry, name, answered=False)
        self._slots.append(slot)
        early = self._early.pop(name, None)
        if early is None:
            self._waiting.setdefault(name, deque()).append(slot)
        else:
            self._answer(slot, *early)

    def _response(self, name: str, payload: bytes, record: _Record) -> None:
        slot = self._next_waiting(name)
        if slot is not None:
            self._answer(slot, payload, record.at)
            return
        if name in self._early:
            self._drop_early(name)
        elif len(self._early) >= CAPTURE_PAIRING_MAX:
            self._drop_early(next(iter(self._early)))
        self._early[name] = (payload, record.at)

    def _next_waiting(self, name: str) -> _Slot | None:
        """Take the oldest request that waits under an id."""
        queue = self._waiting.get(name)
        if queue is None:
            return None
        slot = queue.popleft()
        if not queue:
            del self._waiting[name]
        return slot

    def _drop_early(self, name: str) -> None:
        _, at = self._early.pop(name)
        what = f"the answer {name!r} has no request near it"
        self._put(BrokenEntry(index=self._index, file=self._file, what=what, where=f"byte {at}", kind=BrokenKind.LONE_RESPONSE))

    def _answer(self, slot: _Slot, payload: bytes, at: int) -> None:
        """An answer that cannot be read makes the entry a broken one: what it should be compared with is not known."""
        entry = slot.item
        slot.answered = True
        if isinstance(entry, CaptureEntry):
            try:
                slot.item = msgspec.structs.replace(entry, recorded=parse_response(payload, entry.request.method))
            except MessageError as error:
                what = f"its recorded answer cannot be read: {error}"
                slot.item = BrokenEntry(index=entry.index, file=self._file, what=what, where=f"byte {at}")

    def _broken(self, what: str, record: _Record, kind: BrokenKind = BrokenKind.MALFORMED) -> None:
        self._put(BrokenEntry(index=self._index, file=self._file, what=what, where=f"byte {record.at}", kind=kind))

    def _put(self, broken: BrokenEntry) -> None:
        self._slots.append(_Slot(broken, "", answered=True))
        self._index += 1


class GorEncoder:
    """Makes records, one id for each pair; what it returns can be appended to a file at any time, in any order.

    A recorder calls `request` when a request is complete and `response` with the id it got when the answer is; or `pair`
    once, after both. Times are nanoseconds since the epoch. What may be written must have been redacted before.
    """

    def __init__(self) -> None:
        self._count = 0

    def request(self, request: Request, *, time_ns: int, client: str = "") -> tuple[str, bytes]:
        """The id of the pair, and the request's record. Requests with the same `client` share the first 16 digits of the id."""
        self._count += 1
        hint = client if re.fullmatch(r"[0-9a-f]{16}", client) else hashlib.sha256(client.encode("utf-8", "replace")).hexdigest()[:16]
        # Without a hint each id must look like another client, or the reader would take all of them for one.
        name = f"{hint}{self._count & 0xFFFFFFFF:08x}" if client else f"{self._count:032x}"
        line = f"{request.method} {request.target} HTTP/1.1"
        headers = request.headers
        if request.host and not any(key.lower() == "host" for key, _ in headers):
            headers = (("Host", request.host), *headers)
        return name, _record(f"1 {name} {time_ns} 0", line, headers, request.body)

    def response(self, name: str, response: Response, *, time_ns: int, latency_ns: int = 0) -> bytes:
        """The record of the answer to the request with that id."""
        line = f"HTTP/1.1 {response.status} {response.reason}".rstrip()
        return _record(f"2 {name} {time_ns} {latency_ns}", line, response.headers, response.body, trailers=response.trailers)

    def pair(self, request: Request, response: Response | None, *, time_ns: int, latency_ns: int = 0, client: str = "") -> bytes:
        """Both records."""
        name, data = self.request(request, time_ns=time_ns, client=client)
        if response is None:
            return data
        return data + self.response(name, response, time_ns=time_ns + latency_ns, latency_ns=latency_ns)


def _record(meta: str, line: str, headers: Headers, body: Body, *, trailers: Headers = ()) -> bytes:
    data = body.data
    if not body.truncated and (trailers or _MONKEYS in data):
        # The separator must not occur inside a record: chunks cut it apart, and a reader joins them again.
        kept = [pair for pair in headers if pair[0].lower() not in {"content-length", "transfer-encoding"}]
        kept.append(("Transfer-Encoding", "chunked"))
        tail = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        data = _chunked(data) + b"0\r\n" + tail.encode("latin-1", "replace") + b"\r\n"
    else:
        kept = [pair for pair in headers if pair[0].lower() != "transfer-encoding"]
        coded = len(kept) != len(headers)
        data = data.replace(_MONKEYS, b"?" * len(_MONKEYS))  # only ever in a body that is cut: it is not sent again
        if (body.size and not any(name.lower() == "content-length" for name, _ in kept)) or coded:
            kept = [pair for pair in kept if pair[0].lower() != "content-length"]
            kept.append(("Content-Length", str(body.size)))
    head = "".join(f"{name}: {value}\r\n" for name, value in kept)
    text = f"{meta}\n{line}\r\n{head}\r\n"
    return text.encode("latin-1", "replace") + data + SEPARATOR


def _chunked(data: bytes) -> bytes:
    """Chunks whose ends fall inside each occurrence of the separator's text."""
    out: list[bytes] = []
    at = 0
    while at < len(data):
        found = data.find(_MONKEYS, at)
        end = len(data) if found < 0 else found + len(_MONKEYS) // 2
        out += [f"{end - at:x}\r\n".encode(), data[at:end], b"\r\n"]
        at = end
    return b"".join(out)


FORMAT: Final = Gor()
