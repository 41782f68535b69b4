"""Keeping a bounded copy of a body that streams past. Knows nothing of where the bytes come from or go to."""

import hashlib
from typing import Final

from harness.core.limits import CAPTURE_BODY_BYTES_MAX, LIVE_CAPTURE_BYTES_MAX
from harness.core.values import Body

NOTHING: Final = Body()


class Budget:
    """How many captured bytes may be held at once by all that share it. Belongs to one event loop."""

    def __init__(self, bytes_max: int = LIVE_CAPTURE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes taken and not given back."""
        return self._held

    def fits(self, count: int) -> bool:
        """Whether `count` bytes could be taken now."""
        return self._held + count <= self._bytes_max

    def take(self, count: int) -> bool:
        """Reserve `count` bytes; False, and nothing reserved, where that is more than is left."""
        if self._held + count > self._bytes_max:
            return False
        self._held += count
        return True

    def give_back(self, count: int) -> None:
        """End a reservation."""
        self._held -= count


class BodyCapture:
    """Collects one body up to a bound; beyond it only size and SHA-256 of the whole go on.

    The digest is begun when the bound is crossed, so that ordinary bodies are never hashed.
    """

    __slots__ = ("_budget", "_bytes_max", "_digest", "_kept", "_pieces", "size", "starved")

    def __init__(self, budget: Budget | None = None, bytes_max: int = CAPTURE_BODY_BYTES_MAX) -> None:
        self._budget = budget
        self._bytes_max = bytes_max
        self._pieces: list[bytes] = []
        self._kept = 0
        self._digest: hashlib._Hash | None = None
        self.size = 0
        self.starved = False
        """The shared budget, not the body's own size, was what ended the copy."""

    def add(self, data: bytes) -> None:
        """The next piece of the body."""
        self.size += len(data)
        if self._digest is None:
            kept = data[: self._bytes_max - self._kept] if self.size > self._bytes_max else data
            if self._budget is None or self._budget.take(len(kept)):
                self._pieces.append(kept)
                self._kept += len(kept)
            else:
                self.starved = True
                kept = b""
            if len(kept) == len(data):
                return
            self._digest = hashlib.sha256(b"".join(self._pieces))
            data = data[len(kept) :]
        self._digest.update(data)

    def body(self) -> Body:
        """What was collected so far."""
        if not self.size:
            return NOTHING
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        return Body(data=data, size=self.size, digest="" if self._digest is None else self._digest.hexdigest())

    def release(self) -> None:
        """Give back what was reserved; the capture takes no more bytes."""
        if self._budget is not None:
            self._budget.give_back(self._kept)
            self._budget = None
        self._pieces = []
        self._kept = 0
