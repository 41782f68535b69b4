"""From trial to ledger within one process: how a replay compares.

Trials enter a bounded queue on the event loop. Everything after the queue (comparison, bets, fold, storage, metrics)
runs in one thread of its own, so that neither a large body nor a hanging disk holds up the sending, and the ledger has
one owner. What it does not know: where trials come from. Live traffic is compared in other processes: `harness.app.fleet`.
"""

import asyncio
from functools import partial
from typing import Protocol

import msgspec

from comparators.plan import Plan
from comparators.repeats import Repeats
from comparators.trial import compare_trial
from harness.core.attributes import AttributeReader
from harness.core.errors import ShadowdiffError
from harness.core.limits import COMPARE_QUEUE_BYTES_MAX, COMPARE_QUEUE_MAX, COMPARE_STALL_SECONDS_MAX
from harness.core.outcomes import Tally
from harness.core.values import Comparison, Trial
from harness.evidence.attributed import attributed
from harness.evidence.bets import bets_of
from harness.evidence.expected import NO_CHANGES, ExpectedChanges, set_apart
from harness.evidence.snapshot import Snapshot
from harness.fold import Fold
from harness.worker import Worker

_STREAM = 0
"""A replay is one stream of trials."""
BATCH_MAX = 32
"""Trials handed to the thread at once: amortises the hand-over without delaying a snapshot for long."""


class Observer(Protocol):
    """Somebody who looks on (metrics, a progress line); it must not fail and must not keep what it is shown."""

    def observe_trial(self, trial: Trial, comparison: Comparison) -> None:
        """Called once for each compared trial, in the order of comparison."""


class Pipeline:
    """Queue, comparison, fold. Use `start`, then `put`, then `drain` and `stop`.

    `secret` keys the hashes that stored bets keep of values; `attributes` reads what requests have in common (None: nothing
    is known of that). What observers, keeper or ledger raise ends the work, and is raised to whoever puts, drains or stops
    after that: a run that was not folded to its end has no verdict.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        fold: Fold,
        tally: Tally,
        secret: bytes = b"",
        observers: tuple[Observer, ...] = (),
        attributes: AttributeReader | None = None,
        expected: ExpectedChanges = NO_CHANGES,
        stall_s: float = COMPARE_STALL_SECONDS_MAX,
    ) -> None:
        self._plan = plan
        self._repeats = Repeats()
        self._fold = fold
        self._tally = tally
        self._secret = secret
        self._observers = observers
        self._attributes = attributes
        self._expected = expected
        self._queue: asyncio.Queue[Trial] = asyncio.Queue(COMPARE_QUEUE_MAX)
        self._queued_bytes = 0
        self._moved = asyncio.Event()
        """Set when there may be room again, and when the worker has ended."""
        self._thread = Worker("evidence")
        self._done = 0
        """Trials folded."""
        self._stall_s = stall_s
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work off the queue, on the running loop."""
        self._worker = asyncio.create_task(self._work(), name="pipeline")
        self._worker.add_done_callback(lambda _: self._moved.set())

    @property
    def queued(self) -> int:
        """Trials waiting for comparison."""
        return self._queue.qsize()

    async def put(self, trial: Trial) -> None:
        """Take a trial, waiting for room: replay slows down rather than losing anything. Raises what the work failed with."""
        self.check()
        while self._queue.full() or self._queued_bytes >= COMPARE_QUEUE_BYTES_MAX:
            self._moved.clear()
            await self._moved.wait()
            self.check()
        self._take(trial)

    async def drain(self) -> None:
        """Return when everything taken so far has been folded. Raises what the work failed with."""
        if self._worker is None:
            return
        joined = asyncio.create_task(self._queue.join())
        try:
            await asyncio.wait({joined, self._worker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            joined.cancel()
        self.check()
        if gaps := self._fold.gaps():
            raise ShadowdiffError(gaps, where="pipeline", fix="report this: each trial has the number after the one before it")

    async def stop(self) -> None:
        """Fold what is queued and end the thread. Raises what the work failed with, after ending all the same.

        Work that makes no progress for `stall_s` seconds (a comparator that hangs, a disk that does) is given up as an error.
        """
        try:
            await self._drained_or_stalled()
        finally:
            if self._worker is not None:
                self._worker.cancel()
                await asyncio.gather(self._worker, return_exceptions=True)
            ended = await self._thread.stop(self._stall_s)
        if not ended:
            raise self._stalled()

    async def _drained_or_stalled(self) -> None:
        drained = asyncio.create_task(self.drain())
        try:
            while not drained.done():
                before = self._done
                await asyncio.wait({drained}, timeout=self._stall_s)
                if not drained.done() and self._done == before:
                    self._stall_s = 0.0  # it was waited for already
                    raise self._stalled()
        finally:
            drained.cancel()
        drained.result()

    def _stalled(self) -> ShadowdiffError:
        what = f"comparison or storage hangs: nothing was done for too long, and {self.queued} trials wait"
        return ShadowdiffError(what, where="pipeline", fix="look at the disk and at comparators of other packages; run it again")

    def check(self) -> None:
        """Raise what the work failed with, if it has."""
        if self._worker is not None and self._worker.done():
            if self._worker.cancelled():
                raise ShadowdiffError("a trial came after the end", where="pipeline", fix="report this: nothing may be put after stop()")
            self._worker.result()

    async def snapshot(self) -> Snapshot:
        """The ledger now, taken in the thread that owns it."""
        return await self._thread.call(self._fold.snapshot)

    @property
    def _ended(self) -> bool:
        return self._worker is not None and self._worker.done()

    def _take(self, trial: Trial) -> None:
        self._queue.put_nowait(trial)
        self._queued_bytes += kept_bytes(trial)

    async def _work(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self._moved.set()
            compared = await self._thread.call(self._process, batch)
            for trial, comparison in compared:
                self._tally.compared(trial, comparison)
                self._queued_bytes -= kept_bytes(trial)
                self._queue.task_done()
            self._done += len(compared)
            self._moved.set()

    def _process(self, batch: list[Trial]) -> list[tuple[Trial, Comparison]]:
        """In the thread: compare and fold a batch."""
        try:
            return self._processed(batch)
        except SystemExit as error:
            # A comparator of another package that calls sys.exit() would choose the exit code, 0 say.
            raise ShadowdiffError("a comparator tried to end the program", where="pipeline", fix="update or remove its package") from error

    def _processed(self, batch: list[Trial]) -> list[tuple[Trial, Comparison]]:
        compared = []
        for trial in batch:
            comparison = compare_trial(trial, self._plan)
            if again := self._repeats.compare(trial, self._plan):
                comparison = msgspec.structs.replace(comparison, again=again)
            for observer in self._observers:
                observer.observe_trial(trial, comparison)
            bets = bets_of(trial, comparison, self._secret)
            if self._attributes is not None:
                bets = attributed(bets, trial, self._attributes)
            bets = set_apart(bets, comparison, self._expected)
            self._fold.push(_STREAM, bets, comparison, partial(_same, trial))
            compared.append((trial, comparison))
        return compared


def _same(trial: Trial) -> Trial:
    return trial


def kept_bytes(trial: Trial) -> int:
    """Body bytes a queued trial holds in memory."""
    total = len(trial.request.body.data)
    for arm in trial.arms():
        if arm.exchange.response is not None:
            total += len(arm.exchange.response.body.data)
    return total
