"""The supervisor's end of comparison: takes results as compare workers hand them on, and folds them in a thread of its own.

Neither a large fold nor a hanging disk holds up the event loop; where folding is slower than comparing, the compare
workers are read no further, and the ingress workers shed. What it does not know: processes.
"""

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from harness.bus.link import Link
from harness.bus.messages import decode_results
from harness.bus.packing import decode_trial
from harness.core.errors import ShadowdiffError
from harness.core.labels import EffectsSeen, Role, ShedReason, SkipReason
from harness.core.limits import FOLD_QUEUE_BYTES_MAX, FOLD_QUEUE_FRAMES_MAX
from harness.core.outcomes import Tally
from harness.core.plain import opened
from harness.core.values import Comparison
from harness.evidence.bets import EffectCount, TrialBets, decode_bets
from harness.evidence.snapshot import Snapshot
from harness.fold import Fold, TrialSource
from harness.worker import Worker

_T = TypeVar("_T")

FOLD_NICE: Final = 5
"""The fold's thread gives way to whom a client waits for, and goes before comparison, which it would otherwise hold up."""


class WatchedTrials(NamedTuple):
    """Trials whose effects were watched, of one frame of results."""

    complete: int
    timed_out: int
    effects: tuple[EffectCount, ...]
    """Of all of them."""


class Admission(Protocol):
    """Who decides whether a trial that was compared counts. Everything is called in the thread that folds."""

    def admits(self, build: str, started_ns: int) -> bool:
        """Whether a trial is folded: what the candidate's answer says of its build, and when stable was asked.

        One that is not gets its outcome here, then or later.
        """

    def warms_up(self, endpoint: str, started_ns: int) -> bool:
        """Whether a trial that was admitted belongs to a build that is warming up. Asked once for each."""

    def drained(self) -> Mapping[SkipReason, int]:
        """The outcomes since this was last asked."""


# Looking a member up by its enumeration is slow enough to show in what is done for every trial.
_UNSEEN, _COMPLETE, _TIMED_OUT = EffectsSeen.NONE, EffectsSeen.COMPLETE, EffectsSeen.TIMED_OUT
REPEATS_STREAM: Final = -2
"""The stream of what is asked again: no worker has this number."""
NOTHING_SKIPPED: Final[Mapping[SkipReason, int]] = {}


class _Outcomes(NamedTuple):
    """What became of trials in one step."""

    compared: list[tuple[bool, tuple[Role, ...]]]
    """Of each whether it diverged, and whose exchanges failed."""
    lost: int
    watched: WatchedTrials | None = None
    """Of those whose effects were watched."""
    skipped: Mapping[SkipReason, int] = NOTHING_SKIPPED


class _Step(NamedTuple):
    """Work for the thread, and the bytes it holds."""

    work: Callable[[], _Outcomes]
    size: int = 0


class Results:
    """Use `start`; then `take`, `lost` and `close`, in the order in which they come; then `stop`.

    What ledger or keeper raise, or `fail` is given, ends the work: it is raised by `check` and `stop`, and there is no verdict.
    """

    def __init__(
        self,
        fold: Fold,
        tally: Tally,
        on_watched: Callable[[WatchedTrials], None] | None = None,
        admission: Admission | None = None,
        recall: Callable[[], int] | None = None,
    ) -> None:
        """`on_watched` is told, on the loop, of trials whose effects were watched. Without `admission` every trial counts.

        `recall` folds some of what was folded before this process, and returns how many; it is called until there are no more,
        before anything else is folded. Meanwhile nobody gets a snapshot: it would not know of all that was seen.
        """
        self._admission = admission
        self._recall = recall
        self._recalled = asyncio.Event()
        self._fold = fold
        self._tally = tally
        self._on_watched = on_watched
        self._steps: deque[_Step] = deque()
        self._bytes = 0
        self._held: set[Link] = set()
        self._moved = asyncio.Event()
        self._repeats = 0
        """Answers to questions that were folded."""
        self._thread = Worker("evidence")
        self._worker: asyncio.Task[None] | None = None
        self._closed: set[int] = set()
        self._error: BaseException | None = None
        self._resting = asyncio.Event()
        self._resting.set()
        self.folded = 0
        """Trials folded so far."""

    def start(self) -> None:
        """Begin to fold, on the running loop."""
        if self._recall is not None:
            self._resting.clear()
        self._worker = asyncio.create_task(self._work(), name="results")

    @property
    def waiting(self) -> int:
        """Frames that wait to be folded."""
        return len(self._steps)

    def holds(self, link: Link) -> bool:
        """Whether a link is not read for now, as folding is behind."""
        return link in self._held

    def take(self, link: Link, payload: bytes) -> None:
        """A frame of results; `link` is held where too many wait."""
        self._add(_Step(partial(self._fold_frame, payload), len(payload)))
        if len(self._steps) >= FOLD_QUEUE_FRAMES_MAX or self._bytes >= FOLD_QUEUE_BYTES_MAX:
            link.hold()
            self._held.add(link)

    def lost(self, stream: int, seqs: tuple[int, ...]) -> None:
        """These trials will not come any more, unless they have come before."""
        self._add(_Step(partial(self._fold_lost, stream, seqs)))

    def close(self, stream: int, handed_on: int) -> None:
        """A stream is over; of `handed_on` trials, those that never came are lost. Later results of it count for nothing."""
        self._add(_Step(partial(self._fold_end, stream, handed_on)))

    def fail(self, error: BaseException) -> None:
        """Comparison cannot go on: what waits is dropped, and so is what comes. Links are read on, or their ends were never seen."""
        if self._error is None:
            self._error = error
            self._steps.clear()
            self._bytes = 0
            self._unhold()
            self._moved.set()
            self._recalled.set()

    def check(self) -> None:
        """Raise what the work failed with, if it has."""
        if self._error is not None:
            raise self._error

    async def snapshot(self) -> Snapshot:
        """The ledger now, taken in the thread that owns it."""
        await self._all_recalled()
        return await self._thread.call(self._fold.snapshot)

    async def exchange(self, make: Callable[[Fold], Fold]) -> None:
        """Fold what comes from now on with another Fold, which `make` makes of the present one in the thread that owns it.

        When this returns to the task that awaits it, all that the Fold before was given has been counted, and nothing else has:
        whoever wants to tell the two apart must not await anything in between. What `make` raises is
        raised here, and leaves everything as it was.
        """

        def step() -> None:
            self._fold = make(self._fold)

        await self._all_recalled()
        self.check()
        await self._thread.call(step)

    @property
    def fold(self) -> Fold:
        """What is folded with now."""
        return self._fold

    async def fold_repeat(self, fold: Fold, bets: TrialBets, comparison: Comparison) -> float | None:
        """Fold the answers to what `fold` has a question about; how urgent that is now, None where it has none any more. Nothing where
        another has taken its place.

        It is no request of a client, so it has no outcome in the tally.
        """

        def step() -> float | None:
            if self._fold is not fold:
                return None
            fold.push(REPEATS_STREAM, msgspec.structs.replace(bets, seq=self._repeats), comparison, lambda: None)
            self._repeats += 1
            return fold.urgency(bets.request)

        self.check()
        try:
            return await self._thread.call(step)
        except Exception as error:
            self.fail(error)  # half a trial may have been folded
            raise

    async def in_thread(self, function: Callable[[], _T]) -> _T:
        """What `function` returns, called in the thread that folds, in turn with it."""
        return await self._thread.call(function)

    async def stop(self, stall_s: float) -> None:
        """Fold what waits and end the thread; raise what the work failed with. Work that makes no progress for `stall_s` is given up."""
        try:
            while not self._resting.is_set() and self._error is None:
                before = self.folded
                with suppress(TimeoutError):
                    async with asyncio.timeout(stall_s):
                        await self._resting.wait()
                if not self._resting.is_set() and self.folded == before:
                    self.fail(hanging("storage hangs", f"{self.waiting} frames of results wait"))
        finally:
            if self._worker is not None:
                self._worker.cancel()
                await asyncio.gather(self._worker, return_exceptions=True)
            ended = await self._thread.stop(stall_s)
        self.check()
        if not ended:
            raise hanging("storage hangs", "its thread does not end")

    def _add(self, step: _Step) -> None:
        if self._error is None:
            self._steps.append(step)
            self._bytes += step.size
            self._resting.clear()
            self._moved.set()

    async def _work(self) -> None:
        await self._thread.call(_give_way)
        if self._recall is not None:
            await self._recall_all(self._recall)
        self._recalled.set()
        while True:
            while self._steps:
                step = self._steps[0]
                try:
                    done = await self._thread.call(step.work)
                except Exception as error:  # noqa: BLE001 - kept, and raised to whoever asks
                    self.fail(error)
                    break
                self._count(done)
                if self._steps:  # what failed meanwhile has dropped them
                    self._steps.popleft()
                    self._bytes -= step.size
                if len(self._steps) < FOLD_QUEUE_FRAMES_MAX // 2 and self._bytes < FOLD_QUEUE_BYTES_MAX // 2:
                    self._unhold()
            self._resting.set()
            self._moved.clear()
            await self._moved.wait()

    async def _recall_all(self, recall: Callable[[], int]) -> None:
        try:
            while found := await self._thread.call(recall):
                self.folded += found
        except Exception as error:  # noqa: BLE001 - kept, and raised to whoever asks
            self.fail(error)

    async def _all_recalled(self) -> None:
        if self._recall is not None:
            await self._recalled.wait()
            self.check()

    def _unhold(self) -> None:
        for link in self._held:
            link.unhold()
        self._held.clear()

    def _count(self, done: _Outcomes) -> None:
        self._tally.shed(ShedReason.WORKER_LOST, done.lost)
        for why, count in done.skipped.items():
            self._tally.skipped(why, count)
        for diverged, failed in done.compared:
            self._tally.compared_as(diverged=diverged, failed=failed)
        if self._on_watched is not None and done.watched is not None:
            self._on_watched(done.watched)
        self.folded += len(done.compared)

    def _fold_frame(self, payload: bytes) -> _Outcomes:
        """In the thread."""
        compared, lost = [], 0
        admission = self._admission
        complete = timed_out = 0
        effects: list[EffectCount] = []
        for result in decode_results(payload):
            if result.stream in self._closed:
                continue
            bets = decode_bets(result.bets)
            lost += self._fold.make_room(result.stream, bets.seq)
            new = admission is not None and not self._fold.has_seen(result.stream, bets.seq)
            if new and admission is not None and not admission.admits(result.build, bets.started_ns):
                self._fold.missing(result.stream, bets.seq)
                continue
            if new and admission is not None and admission.warms_up(bets.endpoint, bets.started_ns) and not bets.warm_up:
                bets = msgspec.structs.replace(bets, warm_up=True)
            if self._fold.push(result.stream, bets, result.comparison, _source(result.trial)):
                compared.append((bool(result.comparison.stable_candidate), _failed(bets)))
                if (seen := bets.effects_seen) is not _UNSEEN:
                    complete += seen is _COMPLETE
                    timed_out += seen is _TIMED_OUT
                    if bets.effects:
                        effects += bets.effects
        watched = WatchedTrials(complete, timed_out, tuple(effects)) if complete or timed_out else None
        return _Outcomes(compared, lost, watched, NOTHING_SKIPPED if admission is None else admission.drained())

    def _fold_lost(self, stream: int, seqs: tuple[int, ...]) -> _Outcomes:
        """In the thread."""
        lost = 0
        for seq in seqs if stream not in self._closed else ():
            lost += self._fold.make_room(stream, seq) + self._fold.missing(stream, seq)
        return _Outcomes([], lost)

    def _fold_end(self, stream: int, handed_on: int) -> _Outcomes:
        """In the thread."""
        self._closed.add(stream)
        return _Outcomes([], self._fold.close(stream, handed_on))


def hanging(what: str, detail: str) -> ShadowdiffError:
    """The error for work that makes no progress."""
    where, fix = "evidence", "look at the disk and at comparators of other packages; run it again"
    return ShadowdiffError(f"{what}: nothing was done for too long, and {detail}", where=where, fix=fix)


def _source(payload: bytes) -> TrialSource:
    return (lambda: opened(decode_trial(payload))) if payload else (lambda: None)


def _failed(bets: TrialBets) -> tuple[Role, ...]:
    stable, secondary, candidate = bets.stable, bets.secondary, bets.candidate
    if stable.error is None and (secondary is None or secondary.error is None) and (candidate is None or candidate.error is None):
        return ()
    arms = ((Role.STABLE, stable), (Role.SECONDARY, secondary), (Role.CANDIDATE, candidate))
    return tuple(role for role, outcome in arms if outcome is not None and outcome.error is not None)


def _give_way() -> None:
    """On Linux a priority is a thread's own; elsewhere it would be the process's, so it is left as it is."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it; then it is merely not nice
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), FOLD_NICE)
