"""Counts that outlive the process that made them: a file of 64-bit slots, mapped into memory by its one writer and its reader."""

import mmap
import os
from pathlib import Path
from typing import Final, NamedTuple

from harness.core.labels import Role
from harness.core.outcomes import SLOTS, Tally

_SHADOWS, _UNCOMPARED, _BEATS, _BREAKERS = range(4)
_TARGETS: Final[dict[Role, int]] = {
    role: _BREAKERS + 2 * number for number, role in enumerate(role for role in Role if role is not Role.STABLE)
}
_GAUGES: Final = _BREAKERS + 2 * len(_TARGETS)
_BYTES: Final = 8 * (SLOTS + _GAUGES)


class BreakerSlots(NamedTuple):
    """What is known of the breaker of one shadow target."""

    state: int
    """Its state's number, whoever gave it that; 0 where there is no breaker."""
    opened: int
    """How often it opened."""


class Slots:
    """The counts of one ingress worker, as they are now. Whoever maps them sees each change at once; one process alone may write."""

    def __init__(self, path: Path) -> None:
        """Map a file that `create` made."""
        with path.open("r+b") as file:
            view = memoryview(mmap.mmap(file.fileno(), _BYTES)).cast("Q")
        self.tally = Tally(view[:SLOTS])
        self._gauges = view[SLOTS:]

    @staticmethod
    def create(path: Path) -> "Slots":
        """Make a new file with every count at 0, and map it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.ftruncate(descriptor, _BYTES)
        finally:
            os.close(descriptor)
        return Slots(path)

    @property
    def shadows(self) -> int:
        """Trials whose shadows are under way."""
        return self._gauges[_SHADOWS]

    @property
    def uncompared(self) -> int:
        """Trials that wait for comparison, or are being compared."""
        return self._gauges[_UNCOMPARED]

    def show(self, *, shadows: int, uncompared: int) -> None:
        """Say how many there are now."""
        self._gauges[_SHADOWS] = shadows
        self._gauges[_UNCOMPARED] = uncompared

    @property
    def beats(self) -> int:
        """How often the writer has said that it does not hang."""
        return self._gauges[_BEATS]

    def beat(self) -> None:
        """Say that the writer does not hang. It must do so several times a second, from where all its work is done."""
        self._gauges[_BEATS] += 1

    def breaker(self, role: Role) -> BreakerSlots:
        """How the breaker of a shadow target stands. Raises KeyError for stable."""
        at = _TARGETS[role]
        return BreakerSlots(self._gauges[at], self._gauges[at + 1])

    def show_breaker(self, role: Role, breaker: BreakerSlots) -> None:
        """Say how the breaker of a shadow target stands. Raises KeyError for stable."""
        at = _TARGETS[role]
        self._gauges[at], self._gauges[at + 1] = breaker
