"""Which passes of a gate or replay send one request at a time, so that what happens only under load is told apart.

A pass goes out alone if it is the second of a pair (comparators/repeats.py compares the two), from the fourth on, where something
was found in those before it, and up to a bound: a clean run takes no longer for it, and what happens only under load loses three
passes of twenty. Whether a pass goes out alone hangs on the passes before it and on no answer of its own, so its bets are as fair as
those of any other.
"""

from typing import Final

from harness.core.labels import Aspect, FindingClass
from harness.core.limits import ALONE_PASS_SECONDS_MAX, ALONE_PASSES_MAX
from harness.evidence.snapshot import Snapshot
from replay.runner import PassResult

FIRST: Final = 3
"""The first pass (from 0) that may go out alone: before it, it shows what comes again at all."""


class AlonePasses:
    """Decides for each pass. `on`: passes give independent answers, so that two of them can be told apart by load."""

    def __init__(self, *, on: bool) -> None:
        self._on = on
        self._taken = 0
        self._too_long_s = 0.0

    def next(self, passes: list[PassResult], snapshot: Snapshot | None) -> bool:
        """Whether the pass after these goes out one request at a time. To be asked once for each."""
        index = len(passes)
        if not self._on or index % 2 == 0 or index < FIRST or self._taken >= ALONE_PASSES_MAX or snapshot is None:
            return False
        if passes[0].alone or not _asks(snapshot):
            return False
        takes_s = max(max(done.sent_s, done.elapsed_s) for done in passes)
        if takes_s > ALONE_PASS_SECONDS_MAX:
            self._too_long_s = takes_s
            return False
        self._taken += 1
        return True

    def blind(self) -> str:
        """What could not be told, for the report; empty where nothing was left out."""
        if not self._too_long_s:
            return ""
        took = (
            f"sending one request at a time would take about {self._too_long_s:,.0f} s a pass, {ALONE_PASS_SECONDS_MAX:.0f} s are allowed"
        )
        return f"what of the findings happens only under load ({took})"


def _asks(snapshot: Snapshot) -> bool:
    """Whether there is a finding of which it is asked when it happens."""
    asked = (FindingClass.DIVERGENCE, FindingClass.UNDECIDED)
    return any(finding.finding_class in asked and finding.aspect is not Aspect.LATENCY for finding in snapshot.findings)
