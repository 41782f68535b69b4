"""Did the run exercise what was captured? Counts of status classes, against the record and between the stable instances.

Answers that are alike because nothing was found, nobody was let in or nothing worked prove nothing.
"""

from typing import Final

from harness.core.labels import ReasonCode
from harness.evidence.bets import TrialBets

CLASSES: Final = ("error", "1xx", "2xx", "3xx", "4xx", "5xx")
VACUOUS_SHARE: Final = 0.9
"""Share of an endpoint's answers from which on it counts as not exercised."""
VACUOUS_CODES: Final = (ReasonCode.VACUOUS_AUTH, ReasonCode.VACUOUS_DATA, ReasonCode.VACUOUS_ERRORS)


_REFUSED: Final = 400


def class_index(status: int) -> int:
    """Position in CLASSES; 0 for no answer and for codes outside 100-599."""
    index = status // 100
    return index if 1 <= index <= 5 else 0


def _vacuous_index(status: int) -> int | None:
    if status in (401, 403):
        return 0
    if status == 404:
        return 1
    return 2 if status == 429 or status >= 500 or status == 0 else None


class Reproduction:
    """The whole run's counts."""

    __slots__ = ("mismatch_control", "mismatch_recorded", "recorded", "with_control")

    def __init__(self) -> None:
        self.recorded = self.mismatch_recorded = self.with_control = self.mismatch_control = 0

    def fold(self, bets: TrialBets) -> None:
        """Take a trial."""
        stable = class_index(bets.stable.status)
        if bets.recorded_status is not None:
            self.recorded += 1
            self.mismatch_recorded += class_index(bets.recorded_status) != stable
        if bets.secondary is not None:
            self.with_control += 1
            self.mismatch_control += class_index(bets.secondary.status) != stable


class Exercise:
    """One endpoint's answers, by role and class, and whether they were vacuous."""

    __slots__ = ("_recorded", "_recorded_vacuous", "_stable_vacuous", "_statuses", "compared")

    def __init__(self) -> None:
        self.compared = 0
        self._statuses = ([0] * 6, [0] * 6, [0] * 6)
        self._stable_vacuous = [0, 0, 0]
        self._recorded_vacuous = [0, 0, 0]
        self._recorded = 0

    def fold(self, bets: TrialBets) -> None:
        """Take a trial."""
        self.compared += 1
        stable, secondary, candidate = self._statuses
        status = bets.stable.status
        stable[class_index(status)] += 1
        if bets.secondary is not None:
            secondary[class_index(bets.secondary.status)] += 1
        if bets.candidate is not None:
            candidate[class_index(bets.candidate.status)] += 1
        index = _vacuous_index(status) if status >= _REFUSED or not status else None
        if index is not None:
            self._stable_vacuous[index] += 1
        if bets.recorded_status is not None:
            self._recorded += 1
            index = _vacuous_index(bets.recorded_status)
            if index is not None:
                self._recorded_vacuous[index] += 1

    def statuses(self) -> dict[str, dict[str, int]]:
        """By role, by status class: counts above 0."""
        found = {}
        for role, counts in zip(("stable", "secondary", "candidate"), self._statuses, strict=True):
            if any(counts):
                found[role] = {name: count for name, count in zip(CLASSES, counts, strict=True) if count}
        return found

    def vacuous(self) -> ReasonCode | None:
        """Why the endpoint counts as not exercised: nearly all answers of one empty sort, and not known to be so when recorded."""
        for code, now, then in zip(VACUOUS_CODES, self._stable_vacuous, self._recorded_vacuous, strict=True):
            if self.compared and now >= VACUOUS_SHARE * self.compared and (not self._recorded or then < VACUOUS_SHARE * self._recorded):
                return code
        return None
