"""What a capture format is: a pure codec from byte chunks to entries, and for some back.

Formats are found through the entry points `shadowdiff.formats`; each is an object with this shape.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

from replay.entry import CaptureEntry, Item


@runtime_checkable
class Format(Protocol):
    """Reads one capture format. Stateless; never raises anything but `CaptureError`, whatever the bytes are."""

    @property
    def name(self) -> str:
        """Short name, unique among the formats."""
        ...

    @property
    def version(self) -> int:
        """Raised when the same bytes give other entries."""
        ...

    @property
    def extensions(self) -> tuple[str, ...]:
        """File name endings, with the dot, in lower case."""
        ...

    def sniff(self, head: bytes) -> bool:
        """Whether the first bytes (up to SNIFF_BYTES) are certainly of this format."""
        ...

    def read(self, chunks: Iterable[bytes], file: str) -> Iterator[Item]:
        """The entries of one file. `file` is only a name for entries and errors.

        Entries come with `offset_s` relative to the first one read and may be negative. A defect of one entry, or of
        the end of the file, is a `BrokenEntry`; a file that is nothing of this format is a `CaptureError`.
        """
        ...


@runtime_checkable
class WritableFormat(Format, Protocol):
    """A format that can be written too."""

    def write(self, entries: Iterable[CaptureEntry], *, epoch_s: float) -> Iterator[bytes]:
        """The bytes of a capture whose first entry was sent `epoch_s` seconds after the epoch."""
        ...


SNIFF_BYTES = 8192
"""How much of a file `sniff` sees."""
