"""Performs a pass: sends a capture's sessions to the targets and gives out one trial for each request sent.

It owns order, concurrency, identifiers and outcomes. It knows nothing of sockets, comparison or reports: sending and
emitting are passed in.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from itertools import permutations
from typing import Final, Protocol

import msgspec

from harness.core.clock import Clock, Ids, Rng
from harness.core.http import SAFE_METHODS
from harness.core.labels import Control, Design, EffectsSeen, Role, SkipReason
from harness.core.limits import REPLAY_CONCURRENCY_MAX, STOP_GRACE_SECONDS_MAX
from harness.core.outcomes import Tally
from harness.core.values import Arm, CaptureRef, Exchange, Request, Trial
from replay.identity import SessionIdentifiers
from replay.prepare import sendable
from replay.schedule import Planned, PlannedSession
from replay.watch import NOT_WATCHED, Watch, WatchedEffects, WatchedTrial

WARM_UP_MIN: Final = 5
WARM_UP_MAX: Final = 200
_WARM_UP_SHARE: Final = 10


class PassJob(msgspec.Struct, frozen=True, kw_only=True):
    """One sending of a capture."""

    sessions: tuple[PlannedSession, ...]
    roles: tuple[Role, ...]
    """The arms; stable is always one."""
    control: Control = Control.SECONDARY
    design: Design = Design.THREE_ARM
    pass_index: int = 0
    fresh: bool = False
    """The targets' state was reset before this pass."""
    concurrency: int = 16
    """Trials under way at once; a session has at most one of them."""
    timed: bool = False
    """The due times mean something (a given speed); else each entry is due when its turn comes."""
    allow_writes: bool = False
    secondary_safe_only: bool = False
    """Unsafe methods have no secondary arm (`self` as control)."""
    seq_start: int = 0
    repeat_of: Mapping[int, str] = {}
    """Capture position -> id of the trial that is repeated."""


class PassResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a pass. `entered = emitted + sum(skipped.values())`."""

    entered: int
    emitted: int
    skipped: dict[SkipReason, int]
    seq_next: int
    """Sequence number after the last trial."""
    interrupted: bool
    elapsed_s: float
    mapped_ids: int
    """Identifiers learned, over all arms."""
    contradictions: int
    tainted: int
    late_ms_max: float
    """How far the start of a trial was behind its due time at most; 0 at full speed."""
    alone: bool = False
    """One request was sent at a time."""
    sent_s: float = 0.0
    """How long the trials took, one after the other."""


Send = Callable[[Role, Request], Awaitable[Exchange]]
"""Sends one request to one target. Never raises for what a target does: that is an exchange with an error."""

Emit = Callable[[Trial], Awaitable[None]]
"""Takes a trial; waits while comparison lags. Where it is cancelled or raises, the trial counts as not taken."""


class Progress(Protocol):
    """Called after each entry; must be quick and must not raise."""

    def __call__(self, done: int, total: int, /) -> None:
        """`done` of `total` entries have an outcome."""
        ...


class RunnerIO(msgspec.Struct, frozen=True, kw_only=True):
    """What a pass acts through."""

    send: Send
    emit: Emit
    clock: Clock
    rng: Rng
    ids: Ids
    tally: Tally
    endpoint_of: Callable[[Request], str]
    entity_of: Callable[[Request], str]
    stop: asyncio.Event
    progress: Progress | None = None
    watch: Watch | None = None
    """Watches what the arms do to the outside."""
    stop_grace_s: float = STOP_GRACE_SECONDS_MAX


async def run_pass(job: PassJob, io: RunnerIO) -> PassResult:
    """Send every entry to every arm and emit the trials; each entry ends as exactly one trial or one skip.

    Once `io.stop` is set nothing new starts, what is under way has `io.stop_grace_s` to end, and the rest is skipped as
    interrupted. Raises what `send` or `emit` raise, after counting the entries that are left as interrupted.
    """
    return await _Pass(job, io).run()


class _Session:
    """A session's place in the pass, and its identifiers."""

    __slots__ = ("identifiers", "number", "plan", "step")

    def __init__(self, plan: PlannedSession, number: int) -> None:
        self.plan = plan
        self.number = number
        self.step = 0
        self.identifiers: SessionIdentifiers | None = None


class _Pass:
    def __init__(self, job: PassJob, io: RunnerIO) -> None:
        assert Role.STABLE in job.roles, "stable is always an arm"
        self._job = job
        self._io = io
        self._orders = tuple(permutations(job.roles))
        self._orders_unsafe = self._orders
        if job.secondary_safe_only:
            self._orders_unsafe = tuple(permutations(role for role in job.roles if role is not Role.SECONDARY))
        self._heap = [self._turn(_Session(plan, number)) for number, plan in enumerate(job.sessions) if plan.steps]
        heapq.heapify(self._heap)
        self._total = sum(len(plan.steps) for plan in job.sessions)
        self._warm_up_left = warm_up_trials(sum(self._is_sent(step.entry.request) for plan in job.sessions for step in plan.steps))
        self._emitting = asyncio.Lock()
        self._seq = job.seq_start
        self._skipped: Counter[SkipReason] = Counter()
        self._in_flight = 0
        self._mapped = 0
        self._contradictions = 0
        self._tainted = 0
        self._late_ns = 0
        self._sent_ns = 0
        self._started_ns = 0
        self._workers = max(1, min(job.concurrency, REPLAY_CONCURRENCY_MAX, len(self._heap)))

    async def run(self) -> PassResult:
        io = self._io
        io.tally.entered(self._total)
        self._started_ns = io.clock.monotonic_ns()
        try:
            await self._run_workers()
        except ExceptionGroup as errors:  # of the task group; its first cause is told
            raise errors.exceptions[0] from errors
        finally:
            left = self._total - self._done
            if left:
                self._skip(SkipReason.INTERRUPTED, left)
        return PassResult(
            entered=self._total,
            emitted=self._seq - self._job.seq_start,
            skipped=dict(self._skipped),
            seq_next=self._seq,
            interrupted=self._skipped[SkipReason.INTERRUPTED] > 0,
            elapsed_s=(io.clock.monotonic_ns() - self._started_ns) / 1e9,
            mapped_ids=self._mapped,
            contradictions=self._contradictions,
            tainted=self._tainted,
            late_ms_max=self._late_ns / 1e6,
            alone=self._workers == 1,
            sent_s=self._sent_ns / 1e9,
        )

    async def _run_workers(self) -> None:
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(self._work()) for _ in range(self._workers)]
            guard = group.create_task(self._guard(workers))
            await asyncio.wait(workers)
            guard.cancel()

    async def _guard(self, workers: list[asyncio.Task[None]]) -> None:
        """After a stop, end the workers that do not end by themselves."""
        await self._io.stop.wait()
        await asyncio.wait(workers, timeout=self._io.stop_grace_s)
        for worker in workers:
            worker.cancel()

    async def _work(self) -> None:
        """Take the session whose next entry is due first, send that entry, put the session back.

        A worker that finds no session may end: each session that is left is held by another worker.
        """
        heap = self._heap
        item = heapq.heappop(heap) if heap else None
        while item is not None and await self._due(item[0]):
            session = item[-1]
            await self._step(session, session.plan.steps[session.step])
            session.step += 1
            if session.step < len(session.plan.steps):
                item = heapq.heappushpop(heap, self._turn(session))
            else:
                item = heapq.heappop(heap) if heap else None

    @staticmethod
    def _turn(session: _Session) -> tuple[int, int, int, _Session]:
        """The place of a session's next entry among all: due time, then position in the capture."""
        step = session.plan.steps[session.step]
        return step.due_ns, step.position, session.number, session

    async def _due(self, due_ns: int) -> bool:
        """Wait for an entry's time; False where the pass is to stop."""
        stop = self._io.stop
        if self._job.timed:
            wait_s = (self._started_ns + due_ns - self._io.clock.monotonic_ns()) / 1e9
            if wait_s > 0 and not stop.is_set():
                try:
                    async with asyncio.timeout(wait_s):
                        await stop.wait()
                except TimeoutError:
                    pass
        return not stop.is_set()

    def _is_sent(self, request: Request) -> bool:
        # TRACE is safe by the book and echoes credentials, so it is not in SAFE_METHODS and never sent.
        return request.method in SAFE_METHODS or (self._job.allow_writes and request.method != "TRACE")

    async def _step(self, session: _Session, planned: Planned) -> None:
        """One entry, from the coin to the trial."""
        io = self._io
        request = planned.entry.request
        if not self._is_sent(request):
            self._skip(SkipReason.WRITE)
            self._report()
            return
        orders = self._orders if request.method in SAFE_METHODS else self._orders_unsafe
        order = orders[io.rng.randrange(len(orders))]
        identifiers = session.identifiers
        if identifiers is None:
            identifiers = session.identifiers = SessionIdentifiers(self._job.roles)
        warm_up = self._warm_up_left > 0
        self._warm_up_left -= warm_up
        tainted = identifiers.is_tainted(request)
        base = sendable(request)
        sent = {role: identifiers.rewrite(role, base) for role in order}
        now_ns = io.clock.monotonic_ns()
        intended_ns = self._started_ns + planned.due_ns if self._job.timed else now_ns
        self._late_ns = max(self._late_ns, now_ns - intended_ns)
        self._in_flight += 1
        in_flight = self._in_flight
        try:
            exchanges, effects = await self._exchange(request, order, {role: prepared for role, (prepared, _) in sent.items()})
        finally:
            self._in_flight -= 1
            self._sent_ns += io.clock.monotonic_ns() - now_ns
        learned = identifiers.learn(request, planned.entry.recorded if planned.teaches else None, exchanges)
        done = {role: identifiers.restored_effects(role, found, request) for role, found in effects.by_role.items()}
        self._mapped += learned.mapped
        self._contradictions += learned.contradictions
        self._tainted += tainted
        arms = {
            role: Arm(role=role, exchange=exchange, intended_ns=intended_ns, effects=done.get(role, ()))
            for role, exchange in learned.exchanges.items()
        }
        await self._emit(
            session,
            planned,
            arms,
            order,
            in_flight=in_flight,
            warm_up=warm_up,
            tainted=tainted,
            mapped=sum(n for _, n in sent.values()),
            effects_seen=effects.seen,
        )
        self._report()

    async def _exchange(
        self, request: Request, order: tuple[Role, ...], sent: dict[Role, Request]
    ) -> tuple[dict[Role, Exchange], WatchedEffects]:
        """Send to all arms at once, watched where somebody watches."""
        watch = self._io.watch
        if watch is None:
            answers = await asyncio.gather(*[self._io.send(role, sent[role]) for role in order])
            return dict(zip(order, answers, strict=True)), NOT_WATCHED
        watched = await watch.begin(request, order, alone=self._in_flight == 1)
        try:
            answers = await asyncio.gather(*[self._watched(watched, role, sent[role]) for role in order])
        except BaseException:  # a cancellation too: nobody asks for its effects any more
            watched.abandon()
            raise
        return dict(zip(order, answers, strict=True)), await watched.effects()

    async def _watched(self, watched: WatchedTrial, role: Role, request: Request) -> Exchange:
        exchange = await self._io.send(role, watched.prepared(role, request))
        watched.answered(role)
        return exchange

    async def _emit(
        self,
        session: _Session,
        planned: Planned,
        arms: dict[Role, Arm],
        order: tuple[Role, ...],
        *,
        in_flight: int,
        warm_up: bool,
        tainted: bool,
        mapped: int,
        effects_seen: EffectsSeen,
    ) -> None:
        """Number the trial and hand it on. One at a time, so that a trial that is not taken leaves no gap."""
        io, job, entry = self._io, self._job, planned.entry
        secondary = arms.get(Role.SECONDARY)
        controlled = secondary is not None or Role.SECONDARY not in job.roles
        async with self._emitting:
            trial = Trial(
                id=io.ids.next_id(),
                seq=self._seq,
                endpoint=io.endpoint_of(entry.request),
                request=entry.request,
                stable=arms[Role.STABLE],
                secondary=secondary,
                candidate=arms.get(Role.CANDIDATE),
                control=job.control if controlled else Control.NONE,
                design=job.design if controlled else Design.NO_CONTROL,
                order=order,
                pass_index=job.pass_index,
                repeat_of=job.repeat_of.get(planned.position),
                fresh=job.fresh,
                capture=CaptureRef(entry.file, entry.index),
                recorded=entry.recorded,
                session=session.plan.key,
                entity=io.entity_of(entry.request),
                in_flight=in_flight,
                warm_up=warm_up,
                tainted=tainted,
                mapped_ids=mapped,
                effects_seen=effects_seen,
                alone=self._workers == 1,
            )
            await io.emit(trial)
            self._seq += 1

    @property
    def _done(self) -> int:
        return self._seq - self._job.seq_start + self._skipped.total()

    def _skip(self, reason: SkipReason, count: int = 1) -> None:
        self._skipped[reason] += count
        self._io.tally.skipped(reason, count)

    def _report(self) -> None:
        if self._io.progress is not None:
            self._io.progress(self._done, self._total)


def warm_up_trials(sent: int) -> int:
    """How many of the first trials of a pass are warm-up: a tenth, at least 5 and at most 200."""
    return max(WARM_UP_MIN, min(WARM_UP_MAX, sent // _WARM_UP_SHARE))
