"""What all receivers of OTLP have in common: exports are gathered within bounds, decoded and handed on, or refused and counted.

What an export came over, and how a refusal is put, is the receivers' business; what spans mean is not known here.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from itertools import islice
from types import TracebackType
from typing import Final, Self

from harness.core import limits
from harness.core.coding import undo
from harness.core.labels import Role
from harness.effects.otlp.decode import Incoming, UnreadableError, from_json, from_protobuf

Take = Callable[[Role | None, list[Incoming]], int]
"""What to do with some spans of a role (None where the sender names none); returns how many of them were not taken."""

BAD: Final = "exports that are not OTLP were refused"
LARGE: Final = "exports beyond the bound were refused"
BUSY: Final = "exports were put off, too many came at once"
SLOW: Final = "exports were given up, they came too slowly"
CUT: Final = "exports broke off before their end"
NOBODY: Final = "exports of no target of this run were refused"
ELSEWHERE: Final = "exports to another path than /v1/traces were refused"

INVALID_ARGUMENT: Final = 3
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14

REJECTED: Final = "broken ids, or more spans than can be held"
"""Why spans were not taken, for a partial success (OTLP 1.9)."""
_SLICE_SPANS: Final = 256
_CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})


class Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """An export that is not taken: the status of HTTP, the code of gRPC, and the lapse that it is counted as."""

    def __init__(self, status: int, code: int, why: str, lapse: str) -> None:
        super().__init__(why)
        self.status = status
        self.code = code
        self.lapse = lapse


class Intake:
    """Where exports go, whatever they come over."""

    def __init__(self, take: Take) -> None:
        self.take = take
        self.refused: Counter[tuple[str, Role | None]] = Counter()
        """Exports that were not taken, by reason and role."""
        self.bytes_held = 0
        """Of all exports under way, as sent or decompressed."""
        self.turn = asyncio.Lock()
        """Large exports are taken apart one by one: decoded they are many times their size."""

    def parcel(self) -> "Parcel":
        """An export that begins to come in; to be closed."""
        return Parcel(self)


class Parcel:
    """One export on its way. What it holds counts against the bound on all until it is closed."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._data = bytearray()
        self._counted = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def add(self, part: bytes) -> None:
        """A piece as it was sent. Raises Refused."""
        check_size(len(self._data) + len(part))
        self._count(self._counted + len(part))
        self._data += part

    async def hand_on(self, role: Role | None, codings: Iterable[str] = (), *, json: bool = False) -> int:
        """Decode all that was added and hand it on; returns how many spans were not taken. Raises Refused."""
        plain = _plain(self._data, [name for name in (coding.strip().lower() for coding in codings) if name not in {"", "identity"}])
        self._data = bytearray()
        self._count(len(plain))
        async with self._intake.turn if len(plain) > limits.SPAN_EXPORT_SHARED_BYTES_MAX else nullcontext():
            return await self._taken(role, plain, json=json)

    async def _taken(self, role: Role | None, plain: bytes, *, json: bool) -> int:
        """In slices, so that a large export does not hold up what else runs on the event loop."""
        try:
            spans = from_json(plain) if json else from_protobuf(plain)
        except UnreadableError as error:
            raise Refused(400, INVALID_ARGUMENT, str(error), BAD) from error
        rejected = 0
        while piece := list(islice(spans, _SLICE_SPANS)):
            rejected += self._intake.take(role, piece)
            await asyncio.sleep(0)
        return rejected

    def close(self) -> None:
        """Let go of what is held. May be called twice."""
        self._intake.bytes_held -= self._counted
        self._counted = 0
        self._data = bytearray()

    def _count(self, size: int) -> None:
        self._intake.bytes_held += size - self._counted
        self._counted = size
        if self._intake.bytes_held > limits.SPAN_EXPORTS_BYTES_MAX:
            raise Refused(503, UNAVAILABLE, "too many exports at once", BUSY)


def check_size(size: int) -> None:
    """Raises Refused for an export of more bytes than are taken."""
    if size > limits.SPAN_EXPORT_BYTES_MAX:
        raise _too_large()


def _too_large() -> Refused:
    return Refused(413, RESOURCE_EXHAUSTED, f"more than {limits.SPAN_EXPORT_BYTES_MAX} bytes", LARGE)


def too_slow() -> Refused:
    """For an export that did not come in time."""
    return Refused(408, UNAVAILABLE, "the export took too long", SLOW)


def broken_off() -> Refused:
    """For an export whose sender went away, or went on with what is no HTTP."""
    return Refused(400, UNAVAILABLE, "the export broke off", CUT)


def _plain(body: bytearray, codings: list[str]) -> bytes:
    data = bytes(body)
    if not codings:
        return data
    if len(codings) > 1 or codings[0] not in _CODINGS:
        raise Refused(415, UNIMPLEMENTED, "send gzip, deflate or no content coding", BAD)
    decoded = undo(data, codings, bytes_max=limits.SPAN_EXPORT_BYTES_MAX)
    if decoded is not None and not decoded.complete and len(decoded.data) >= limits.SPAN_EXPORT_BYTES_MAX:
        raise _too_large()
    if decoded is None or not decoded.complete:
        raise Refused(400, INVALID_ARGUMENT, f"not {codings[0]}", BAD)
    return decoded.data
