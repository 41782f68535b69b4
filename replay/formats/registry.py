"""Finds capture formats, tells which one a file is, and reads it; gzip is undone on the way.

Formats are looked up through entry points, so that another package can add one. Does no file I/O.
"""

import zlib
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points

from harness.core.errors import CaptureError, UsageError
from harness.core.limits import CAPTURE_BYTES_MAX
from replay.entry import BrokenEntry, BrokenKind, CaptureEntry, Item
from replay.formats.api import SNIFF_BYTES, Format

GROUP = "shadowdiff.formats"
_GZIP_MAGIC = b"\x1f\x8b"
_UNFOLD_BYTES = 1024 * 1024


def installed_formats(points: Iterable[EntryPoint] | None = None) -> tuple[Format, ...]:
    """All formats installed, by name. Raises UsageError where one cannot be loaded or is not a format."""
    found: dict[str, Format] = {}
    for point in sorted(entry_points(group=GROUP) if points is None else points, key=lambda p: (p.name, p.value)):
        try:
            codec = point.load()
        except (ImportError, AttributeError) as error:
            raise UsageError(
                f"the capture format {point.name!r} cannot be loaded: {error}", where=point.value, fix="reinstall or remove its package"
            ) from error
        if not isinstance(codec, Format):
            raise UsageError(f"the entry point {point.name!r} is not a capture format", where=point.value, fix="remove its package")
        found.setdefault(codec.name, codec)
    return tuple(found.values())


class Budget:
    """How many bytes, after decompression, may still be read; shared by the files of one capture."""

    def __init__(self, bytes_left: int = CAPTURE_BYTES_MAX) -> None:
        self.bytes_left = bytes_left


class Source:
    """Byte chunks of one file with gzip undone and the whole bounded; can be iterated once.

    Instead of raising in the middle of a codec, a defect of the source ends the iteration and is kept in `defect`.
    """

    def __init__(self, chunks: Iterable[bytes], budget: Budget) -> None:
        self._chunks = iter(chunks)
        self._budget = budget
        self.defect = ""
        self.defect_kind = BrokenKind.TRUNCATED
        start = self._take(self._chunks, len(_GZIP_MAGIC))
        raw = _chain(start, self._chunks)
        self._plain = self._gunzip(raw) if start.startswith(_GZIP_MAGIC) else raw
        self.head = self._take(self._plain, SNIFF_BYTES)

    def __iter__(self) -> Iterator[bytes]:
        for chunk in _chain(self.head, self._plain):
            if len(chunk) > self._budget.bytes_left:
                self.defect = "the capture is larger than the bound on all captures of a run"
                self.defect_kind = BrokenKind.TOO_LARGE
                return
            self._budget.bytes_left -= len(chunk)
            yield chunk

    @staticmethod
    def _take(chunks: Iterator[bytes], size: int) -> bytes:
        parts: list[bytes] = []
        have = 0
        while have < size and (part := next(chunks, None)) is not None:
            parts.append(part)
            have += len(part)
        return b"".join(parts)

    def _gunzip(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Undo gzip, member after member (RFC 1952), a bounded piece at a time."""
        member = zlib.decompressobj(wbits=31)
        for chunk in chunks:
            data = chunk
            while data:
                if member.eof:
                    data = data.lstrip(b"\0")  # padding after a member is allowed
                    if not data:
                        break
                    member = zlib.decompressobj(wbits=31)
                try:
                    plain = member.decompress(data, _UNFOLD_BYTES)
                except zlib.error as error:
                    self.defect, self.defect_kind = f"the gzip data is damaged ({error})", BrokenKind.MALFORMED
                    return
                if plain:
                    yield plain
                data = member.unused_data if member.eof else member.unconsumed_tail
        if not member.eof:
            self.defect = "the gzip data ends early"


def _chain(head: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def choose_format(head: bytes, file: str, formats: Iterable[Format]) -> Format:
    """The format of a file: by its first bytes, then by its name (`.gz` left out). Raises CaptureError where none fits."""
    known = tuple(formats)
    if not head:
        raise CaptureError("the capture is empty", where=file, fix="record it again; a capture holds at least one request")
    for codec in known:
        if codec.sniff(head):
            return codec
    name = file.lower().removesuffix(".gz")
    for codec in known:
        if name.endswith(codec.extensions):
            return codec
    names = ", ".join(codec.name for codec in known)
    raise CaptureError("this is not a capture in any known format", where=file, fix=f"give a file in one of these formats: {names}")


def read_capture(
    chunks: Iterable[bytes], file: str, formats: Iterable[Format], budget: Budget | None = None
) -> Iterator[CaptureEntry | BrokenEntry]:
    """The entries of one file, whatever its format. Raises CaptureError where the file as a whole is no capture."""
    source = Source(chunks, budget or Budget())
    if not source.head and source.defect:
        raise CaptureError(source.defect, where=file, fix="record or copy the capture again")
    codec = choose_format(source.head, file, formats)
    count = 0
    try:
        for item in codec.read(source, file):
            count = max(count, item.index + 1)
            yield item
    except CaptureError as error:
        if source.defect:
            raise CaptureError(source.defect, where=file, fix="record or copy the capture again") from error
        raise
    if source.defect:
        yield _defect(source, file, count)


def _defect(source: Source, file: str, index: int) -> Item:
    return BrokenEntry(index=index, file=file, what=source.defect, where="end of what could be read", kind=source.defect_kind)
