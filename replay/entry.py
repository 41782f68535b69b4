"""What a capture file holds, as values: entries that can be sent, and entries that could not be read.

Knows nothing of files or formats.
"""

from enum import StrEnum
from typing import Final

import msgspec

from harness.core.values import Request, Response


class BrokenKind(StrEnum):
    """Why an entry of a capture cannot be used."""

    TRUNCATED = "truncated"
    """The file ends inside it."""
    MALFORMED = "malformed"
    """It is not what its format says."""
    TOO_LARGE = "too_large"
    """It is larger than the bound on one record."""
    NOT_HTTP = "not_http"
    """It is whole, and not an HTTP request (a TCP or DNS flow, a `data:` URL, CONNECT)."""
    LONE_RESPONSE = "lone_response"
    """A recorded answer whose request is not in the file."""

    @property
    def harmless(self) -> bool:
        """Whether the entry lost nothing that could have been sent: it is counted and never stops the reading."""
        return self in {BrokenKind.NOT_HTTP, BrokenKind.LONE_RESPONSE}


class CaptureEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One captured request, with the answer it got where that was recorded.

    A request body with `truncated` set was cut when it was captured, so it cannot be sent again as it was.
    """

    index: int
    """Position in the file, from 0, over all requests and broken entries."""
    file: str
    request: Request
    recorded: Response | None = None
    offset_s: float = 0.0
    """Seconds since the first entry; not negative once a capture is loaded."""
    client: str = ""
    """A hint at who sent it (connection or client); empty where unknown. Only equality within a file means anything."""


class BrokenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that could not be read."""

    index: int
    file: str
    what: str
    """One sentence for people, without a full stop."""
    where: str = ""
    """Place within the file: a key path or a byte offset."""
    kind: BrokenKind = BrokenKind.MALFORMED


ONE_PERSON: Final = "one person"
"""The client of all entries of a file that was written by the program of one person, such as a browser."""

Item = CaptureEntry | BrokenEntry
