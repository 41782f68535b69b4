"""Counts that outlive the process that made them: a file of 64-bit slots, mapped into memory by its one writer and its reader."""

import mmap
import os
from pathlib import Path

from harness.core.outcomes import SLOTS, Tally

_GAUGES = 2
_BYTES = 8 * (SLOTS + _GAUGES)


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
        return self._gauges[0]

    @property
    def uncompared(self) -> int:
        """Trials that wait for comparison, or are being compared."""
        return self._gauges[1]

    def show(self, *, shadows: int, uncompared: int) -> None:
        """Say how many there are now."""
        self._gauges[0] = shadows
        self._gauges[1] = uncompared
