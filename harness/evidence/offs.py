"""How far the candidate's numbers or times are from stable's at one noisy place: what a person accepts as a shift. Pure, bounded."""

import math
from statistics import median
from typing import Final, NamedTuple

_OFFS_MAX: Final = 64
_SPREAD: Final = 1.65
"""Times the root of their number: so many on either side of the middle hold the median with a chance of 99.9 %."""


class Range(NamedTuple):
    """What was seen, in seconds where the values are times."""

    median: float
    low: float
    high: float


class Offs:
    """Candidate minus stable, of the first trials that show it."""

    __slots__ = ("_offs", "time")

    def __init__(self) -> None:
        self._offs: list[tuple[int | None, float]] = []
        self.time = False

    def add(self, off: float, spell: int | None, *, time: bool) -> None:
        """Take a trial's; `spell` is the pass, where those of one pass are no witnesses of their own."""
        if not self._offs:
            self.time = time
        if time is self.time and len(self._offs) < _OFFS_MAX:
            self._offs.append((spell, off))

    def reach(self) -> Range | None:
        """From the smallest to the largest."""
        offs = [off for _, off in self._offs]
        return Range(median(offs), min(offs), max(offs)) if offs else None

    def middle(self) -> Range | None:
        """The median, with the order statistics that hold it, and the medians of all passes (David & Nagaraja 2003, section 7.1)."""
        offs = sorted(off for _, off in self._offs)
        if not offs:
            return None
        rank = max(0, math.floor(len(offs) / 2.0 - _SPREAD * math.sqrt(len(offs))))
        medians = [median(own) for own in self._by_spell()]
        return Range(median(offs), min(offs[rank], *medians), max(offs[-1 - rank], *medians))

    def _by_spell(self) -> list[list[float]]:
        found: dict[int, list[float]] = {}
        for spell, off in self._offs:
            if spell is not None:
                found.setdefault(spell, []).append(off)
        return list(found.values()) or [[off for _, off in self._offs]]
