"""What the wiring may tell a person, as a protocol: it does not know whether a terminal, a log or a test is listening."""

import re
from pathlib import Path
from typing import Final, Protocol

_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Ui(Protocol):
    """Where a command's words go. Results are data (standard output); all else is for the person who watches."""

    def info(self, text: str) -> None:
        """Says what is going on; left out when quiet."""

    def warn(self, text: str) -> None:
        """Says what the reader must know."""

    def hint(self, text: str) -> None:
        """Says what to do next; left out when quiet."""

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Shows how far the work called `label` is; `total` None where nobody knows. Cheap enough to be called for each request."""

    def result(self, item: object) -> None:
        """Writes a result: a text, or anything that rich can print. Call it once for each part."""

    def use_folder(self, folder: Path) -> None:
        """Says which folder the run keeps its files in, for whatever must still be written if all else fails."""


def plain(text: str) -> str:
    """`text` with control characters (but line feed and tab) and direction marks written out: safe to show on a terminal."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}" if ord(match[0]) > 0xFF else f"\\x{ord(match[0]):02x}", text)
