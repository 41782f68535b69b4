"""What happens to a compared trial: put in order, folded into the ledger, kept. Live traffic, replay and judging share it.

Results come from one or several streams (a replay is one, each ingress worker another), each with sequence numbers of
its own. Within a stream the order is the sender's; across streams it is that of folding, and the number a trial gets
then is the run's. One thread owns a Fold. Where results come from is not known here.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from harness.core.errors import ShadowdiffError
from harness.core.limits import SEQUENCER_WINDOW_MAX
from harness.core.values import Comparison, Trial
from harness.evidence.bets import TrialBets
from harness.evidence.ledger import Ledger
from harness.evidence.seen import SeenBook
from harness.evidence.sequencer import Sequencer
from harness.evidence.snapshot import Snapshot

TrialSource = Callable[[], Trial | None]
"""Gives a trial when it is wanted; None where it was not handed on, since nothing in it differs."""


class Keeper(Protocol):
    """Somebody who keeps what later stages need (the run store). Storage trouble is its own to count."""

    def keep_bets(self, bets: TrialBets) -> None:
        """Called once for each folded trial, in the run's order."""

    def keep_trial(self, trial: TrialSource, comparison: Comparison, *, endpoint: str, exemplar: bool) -> None:
        """Called for each folded trial; `exemplar` says that a finding names it as an example."""


class Watcher(Protocol):
    """Somebody who asks again what the ledger has questions about. Everything is called in the thread that folds."""

    def may_ask(self, endpoint: str) -> bool:
        """Whether requests of an endpoint can be asked again at all."""

    def folded(self, fold: "Fold", bets: TrialBets, trial: TrialSource, *, asked: bool) -> None:
        """A trial was folded; `asked` says that there is an open question about its request."""


class Fold:
    """Sequencers, ledger and keeper of one run."""

    def __init__(self, ledger: Ledger, keeper: Keeper | None = None) -> None:
        self._ledger = ledger
        self._keeper = keeper
        self._streams: dict[int, Sequencer] = {}
        self._waiting: dict[tuple[int, int], tuple[TrialBets, Comparison, TrialSource]] = {}
        self._rules_used: set[int] = set()
        self._seen = SeenBook()
        self._folded = 0
        self.watcher: Watcher | None = None
        """Who asks again; handed on to the Fold after this one."""
        self.later_ns = 0
        """Added to the times of what is folded: the clock of a machine that was started anew begins at 0 again."""

    @property
    def folded(self) -> int:
        """Trials folded so far."""
        return self._folded

    @property
    def rules_used(self) -> frozenset[int]:
        """Indices of the rules that had an effect so far."""
        return frozenset(self._rules_used)

    @property
    def seen(self) -> SeenBook:
        """What was seen of each finding so far."""
        return self._seen

    def push(self, stream: int, bets: TrialBets, comparison: Comparison, trial: TrialSource) -> bool:
        """Take a result; fold what is now in order. False where it came before, and counts for nothing."""
        sequencer = self._sequencer(stream)
        before = sequencer.duplicates
        released = sequencer.push(bets)
        if sequencer.duplicates > before:
            return False
        self._waiting[stream, bets.seq] = (bets, comparison, trial)
        self._rules_used.update(comparison.rules_used)
        for each in released:
            self._fold(stream, each)
        return True

    def recall(self, bets: TrialBets, comparison: Comparison | None) -> None:
        """Fold again what a process folded and kept that is no more, in its order, before anything else. `comparison`: of a kept trial."""
        self._folded += 1
        self._ledger.fold(bets)
        if bets.bets or bets.expected:
            self._seen.recall(bets, comparison)

    def use_rules(self, used: Iterable[int]) -> None:
        """Rules that had an effect before."""
        self._rules_used.update(used)

    def has_seen(self, stream: int, seq: int) -> bool:
        """Whether a result has come, or was given up: it counts for nothing when it comes again."""
        sequencer = self._sequencer(stream)
        return seq < sequencer.next_seq or sequencer.waits_for(seq)

    def make_room(self, stream: int, seq: int) -> int:
        """Give up what `seq` would have to wait for beyond the bound; returns how many. Should one come after all, it counts for nothing.

        It happens where a compare worker died and others are so fast that its end has not been seen yet. Raises
        ShadowdiffError for a number that no sender can have come to.
        """
        sequencer = self._sequencer(stream)
        if seq >= sequencer.next_seq + 2 * SEQUENCER_WINDOW_MAX:
            raise ShadowdiffError(f"result {seq} came while {sequencer.next_seq} is waited for", where="fold", fix="report this")
        given_up = 0
        while not sequencer.accepts(seq):
            given_up += self.missing(stream, sequencer.next_seq)
        return given_up

    def missing(self, stream: int, seq: int) -> bool:
        """A result will never come: its worker died. False where it had come before."""
        sequencer = self._sequencer(stream)
        before = sequencer.duplicates
        for each in sequencer.missing(seq):
            self._fold(stream, each)
        return sequencer.duplicates == before

    def close(self, stream: int, count: int) -> int:
        """A stream of `count` trials is over; returns how many of them never came. Its number must not be used again."""
        sequencer = self._sequencer(stream)
        lost = sum(self.missing(stream, seq) for seq in range(sequencer.next_seq, count) if not sequencer.waits_for(seq))
        del self._streams[stream]
        return lost

    def gaps(self) -> str:
        """What is waited for, in words; empty where nothing is."""
        for sequencer in self._streams.values():
            if sequencer.waiting:
                return f"{sequencer.waiting} trials wait for number {sequencer.next_seq}, which never came"
        return ""

    def successor(self, ledger: Ledger, keeper: Keeper | None = None) -> "Fold":
        """Another Fold for what comes from now on, of the same streams; this one must not be given anything more.

        What has come is folded here, also what waits for an earlier number: each result is folded by exactly one of the two.
        """
        for stream, seq in sorted(self._waiting):
            self._fold(stream, self._waiting[stream, seq][0])
        following = Fold(ledger, keeper)
        following._streams, self._streams = self._streams, {}
        following.later_ns, following.watcher = self.later_ns, self.watcher
        return following

    def snapshot(self) -> Snapshot:
        """The ledger now."""
        return self._ledger.snapshot()

    def _sequencer(self, stream: int) -> Sequencer:
        found = self._streams.get(stream)
        if found is None:
            found = self._streams[stream] = Sequencer()
        return found

    def _fold(self, stream: int, released: TrialBets) -> None:
        found = self._waiting.pop((stream, released.seq), None)
        if found is None:
            return  # it was folded by the Fold before this one
        bets, comparison, trial = found
        if bets.seq != self._folded or self.later_ns:
            bets = msgspec.structs.replace(bets, seq=self._folded, started_ns=bets.started_ns + self.later_ns)
        self._folded += 1
        watcher = self.watcher
        if watcher is not None and bets.bets and not bets.repeat and not watcher.may_ask(bets.endpoint):
            bets = msgspec.structs.replace(bets, askable=False)
        exemplar_of = self._ledger.fold(bets)
        if bets.bets or bets.expected:
            self._seen.observe(bets, comparison)
        if self._keeper is not None:
            self._keeper.keep_bets(bets)
            if not bets.repeat:
                self._keeper.keep_trial(trial, comparison, endpoint=bets.endpoint, exemplar=bool(exemplar_of))
        if watcher is not None:
            watcher.folded(self, bets, trial, asked=self._ledger.questions.about(bets.request))

    def urgency(self, request: int) -> float | None:
        """How urgent the open questions about a request are (log E); None where there are none."""
        return self._ledger.questions.urgency(request)
