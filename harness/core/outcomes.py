"""Where every request went: the one count behind promise 2 (nothing is lost silently)."""

from array import array
from collections.abc import Iterable, Iterator, MutableSequence
from enum import StrEnum
from typing import Final

from harness.core.labels import RefusedReason, Role, ShedReason, SkipReason
from harness.core.values import Comparison, Totals, Trial

_GROUPS: Final[tuple[tuple[str, tuple[StrEnum, ...]], ...]] = (
    ("shed", tuple(ShedReason)),
    ("skipped", tuple(SkipReason)),
    ("refused", tuple(RefusedReason)),
    ("errors", tuple(Role)),
)
_REQUESTS, _COMPARED, _DIVERGED, _HANDED_ON, _UNRECORDED = range(5)
_SLOT: Final = {
    (group, label): number
    for number, (group, label) in enumerate(((g, label) for g, labels in _GROUPS for label in labels), _UNRECORDED + 1)
}
SLOTS: Final = _UNRECORDED + 1 + len(_SLOT)
"""How many counts a tally has."""


class Tally:
    """Counts outcomes. Each request that entered ends in exactly one of compared, shed, skipped or refused.

    It has one writer, the event loop it belongs to. The counts are plain 64-bit slots, so that they may lie in memory
    which outlives the process that counts: see `include`.
    """

    def __init__(self, slots: MutableSequence[int] | memoryview | None = None) -> None:
        """`slots` holds the counts (SLOTS of them); a row of its own where none is given."""
        self._slots = array("Q", bytes(8 * SLOTS)) if slots is None else slots
        self._others: list[Tally] = []

    def include(self, other: "Tally") -> None:
        """Add what another tally counts, now and later, to everything that is read here."""
        self._others.append(other)

    def entered(self, count: int = 1) -> None:
        """A request was seen (by the proxy, or taken from a capture for a pass)."""
        self._slots[_REQUESTS] += count

    def shed(self, reason: ShedReason, count: int = 1) -> None:
        """A whole trial was given up, before sending or (`worker_lost`) with the process that had it."""
        self._slots[_SLOT["shed", reason]] += count

    def skipped(self, reason: SkipReason, count: int = 1) -> None:
        """A request is not compared, by rule."""
        self._slots[_SLOT["skipped", reason]] += count

    def refused(self, reason: RefusedReason, count: int = 1) -> None:
        """The harness answered the client itself."""
        self._slots[_SLOT["refused", reason]] += count

    def carry(self, totals: Totals) -> None:
        """Go on from what a process counted that is no more."""
        self._slots[_REQUESTS] += totals.requests
        self._slots[_COMPARED] += totals.compared
        self._slots[_DIVERGED] += totals.diverged
        for group, labels in _GROUPS:
            for label in labels:
                self._slots[_SLOT[group, label]] += getattr(totals, group).get(str(label), 0)

    def own(self) -> Totals:
        """The counts of this tally alone, included ones left out."""
        alone = Tally(self._slots)
        return alone.totals()

    def handed_on(self) -> None:
        """A trial was given to another process to be compared: its outcome is counted there."""
        self._slots[_HANDED_ON] += 1

    def unrecorded(self) -> None:
        """An exchange that was to be recorded could not be kept."""
        self._slots[_UNRECORDED] += 1

    def compared(self, trial: Trial, comparison: Comparison) -> None:
        """A trial was compared, whatever its arms did."""
        failed = (arm.role for arm in trial.arms() if arm.exchange.error is not None)
        self.compared_as(diverged=bool(comparison.stable_candidate), failed=failed)

    def compared_as(self, *, diverged: bool, failed: Iterable[Role]) -> None:
        """The same, by what is counted of it: whether stable and candidate differ, and whose exchanges failed."""
        self._slots[_COMPARED] += 1
        self._slots[_DIVERGED] += diverged
        for role in failed:
            self._slots[_SLOT["errors", role]] += 1

    @property
    def trials_handed_on(self) -> int:
        """Trials given to another process so far, by this tally's owner."""
        return self._slots[_HANDED_ON]

    @property
    def exchanges_unrecorded(self) -> int:
        """Exchanges that could not be kept, included tallies too."""
        return self._sum(_UNRECORDED)

    @property
    def under_way(self) -> int:
        """Requests without an outcome yet."""
        outcomes = (number for (group, _), number in _SLOT.items() if group != "errors")
        return self._sum(_REQUESTS) - self._sum(_COMPARED) - sum(map(self._sum, outcomes))

    @property
    def in_hand(self) -> int:
        """Requests of this tally's owner that have neither an outcome nor were handed on."""
        outcomes = (number for (group, _), number in _SLOT.items() if group != "errors")
        return self._slots[_REQUESTS] - self._slots[_HANDED_ON] - sum(self._slots[number] for number in outcomes)

    def totals(self) -> Totals:
        """The counts now, included tallies too."""
        return Totals(
            requests=self._sum(_REQUESTS),
            compared=self._sum(_COMPARED),
            diverged=self._sum(_DIVERGED),
            **{group: dict(self._named(group, labels)) for group, labels in _GROUPS},
        )

    def _named(self, group: str, labels: tuple[StrEnum, ...]) -> Iterator[tuple[str, int]]:
        for label in sorted(labels):
            if count := self._sum(_SLOT[group, label]):
                yield str(label), count

    def _sum(self, number: int) -> int:
        return self._slots[number] + sum(other._sum(number) for other in self._others)
