"""Everything else: compared by type (from the first bytes), size and digest, at `$`."""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from comparators.api import BodyView, RuleUse
from comparators.sink import Sink
from harness.core.labels import Kind
from harness.core.values import Difference

_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"RIFF", "RIFF"),
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"wOFF", "WOFF"),
    (b"wOF2", "WOFF2"),
    (b"\x7fELF", "ELF"),
    (b"\x00asm", "WebAssembly"),
    (b"SQLite format 3\x00", "SQLite"),
)
_LENGTH_BYTES_MIN: Final = 64
_LENGTH_BUCKETS_MIN: Final = 2


class BinaryComparator(msgspec.Struct, frozen=True):
    """The built-in fallback for any media type."""

    name: str = "binary"
    version: int = 1
    priority: int = 0

    def matches(self, media_type: str) -> bool:  # noqa: ARG002 - the contract's argument
        """Anything."""
        return True

    def compare(self, left: BodyView, right: BodyView, rules: RuleUse) -> Iterable[Difference]:  # noqa: ARG002 - the contract's argument
        """One difference at most."""
        return () if left.data == right.data else compare_bytes(left.data, right.data)


def compare_bytes(left: bytes, right: bytes, note: str = "") -> tuple[Difference, ...]:
    """The coarsest difference of two unequal byte strings."""
    sink = Sink()
    types = signature(left), signature(right)
    kind = Kind.VALUE
    if types[0] != types[1] and all(types):
        kind, note = Kind.FORMAT, note or f"{types[0]} against {types[1]}"
    elif sizes_differ(len(left), len(right)):
        kind, note = Kind.LENGTH, note or f"{len(left)} bytes against {len(right)}"
    sink.add("$", kind, described(left), described(right), where="$", note=note)
    return sink.differences()


def sizes_differ(left: int, right: int) -> bool:
    """Whether two sizes are of another order of magnitude (a factor of about four)."""
    return max(left, right) >= _LENGTH_BYTES_MIN and abs(left.bit_length() - right.bit_length()) >= _LENGTH_BUCKETS_MIN


def signature(data: bytes) -> str:
    """The file type the first bytes stand for, or empty."""
    return next((name for start, name in _SIGNATURES if data.startswith(start)), "")


def described(data: bytes) -> str:
    """Type, size and digest, for people."""
    return f"{signature(data) or 'data'}, {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()[:16]}"


COMPARATOR: Final = BinaryComparator()
