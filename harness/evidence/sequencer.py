"""Puts the bets of many workers back into the one order of the run. Bounded; knows nothing of what it orders but `seq`."""

from harness.core.errors import ShadowdiffError
from harness.core.limits import SEQUENCER_WINDOW_MAX
from harness.evidence.bets import TrialBets


class Sequencer:
    """Takes `TrialBets` in any order and releases them by sequence number, each once.

    A number that never comes has to be reported with `missing`, or everything after it waits. A number that comes again
    (a bus may deliver twice) is dropped and counted.
    """

    def __init__(self, first: int = 0, window: int = SEQUENCER_WINDOW_MAX) -> None:
        self._next = first
        self._window = window
        self._waiting: dict[int, TrialBets | None] = {}
        self.duplicates = 0
        self.lost = 0
        """Numbers reported missing."""

    @property
    def next_seq(self) -> int:
        """The number that is waited for."""
        return self._next

    @property
    def waiting(self) -> int:
        """Results that wait for an earlier one."""
        return len(self._waiting)

    def waits_for(self, seq: int) -> bool:
        """Whether a number has come and waits for an earlier one."""
        return seq in self._waiting

    def accepts(self, seq: int) -> bool:
        """Whether a number lies within the window; asked before a trial is handed to a worker, so that nothing overflows."""
        return seq < self._next + self._window

    def push(self, bets: TrialBets) -> list[TrialBets]:
        """Take a result; returns those that are now in order. Raises ShadowdiffError beyond the window."""
        return self._take(bets.seq, bets)

    def missing(self, seq: int) -> list[TrialBets]:
        """A number will never come (its worker died); returns those that are now in order."""
        return self._take(seq, None)

    def _take(self, seq: int, bets: TrialBets | None) -> list[TrialBets]:
        if seq < self._next or seq in self._waiting:
            self.duplicates += 1
            return []
        if not self.accepts(seq):
            raise ShadowdiffError(
                f"result {seq} came while {self._next} is still waited for; at most {self._window} may wait",
                where="sequencer",
                fix="ask accepts() before handing out a trial, and report a lost one with missing()",
            )
        self._waiting[seq] = bets
        released = []
        while self._next in self._waiting:
            found = self._waiting.pop(self._next)
            self._next += 1
            if found is None:
                self.lost += 1
            else:
                released.append(found)
        return released
