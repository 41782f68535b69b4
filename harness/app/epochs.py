"""The epochs of a live run: each is a run of its own, with a ledger, counts, a folder, a verdict and a report of its own.

An epoch ends when another build of the candidate has taken its place, when its period is over, or when somebody asks for
it; the next begins at that moment, and clients notice nothing. A trial belongs to the epoch in which stable was asked, if
its result comes while that epoch lasts. One that was under way when an epoch began belongs to none: it is counted in that
epoch as skipped, `earlier_epoch`, and so are the answers that announced its build. Every request has its one outcome in
exactly one epoch. Alpha is spent anew in each.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from harness.app import finish
from harness.app.builds import Believed, BuildGuard
from harness.app.context import After, Context, StoredFacts
from harness.app.expecting import has_expired
from harness.app.history import ClosedBy, History, HistoryEntry
from harness.app.keeper import StoreKeeper
from harness.app.room import make_room
from harness.core.canon import Rule, RuleAction
from harness.core.clock import Clock
from harness.core.errors import SetupError
from harness.core.labels import NEXT_STEP, Aspect, ReasonCode, Role, SkipReason, VerdictState
from harness.core.limits import EPOCHS_KEPT_MAX
from harness.core.values import Totals, Trial
from harness.core.watched import EffectsFacts
from harness.evidence.gate import judge
from harness.evidence.snapshot import Snapshot, Verdict
from harness.fold import Fold
from harness.proxy.dispatch import WarmUp
from harness.report.model import Blind, EpochFacts, Report, ResumedFacts, TargetFacts
from harness.store import RunRecord, RunStore, StoredTrial
from harness.web.answer import CODES

EPOCHS_FOLDER: Final = "epochs"
"""In the run's folder: the folders of all epochs after the first, whose folder is the run's own."""
MONTH_SECONDS: Final = 31 * 86_400


class EpochGate:
    """Which trials count for the epoch that is on: those of its build that were sent in it. See `harness.app.results.Admission`."""

    def __init__(self, build: str, clock: Clock, believed: Believed | None = None) -> None:
        self._clock = clock
        self._guard = BuildGuard(build, believed)
        self._began_ns = 0
        self._warm_up: WarmUp | None = None
        self._pending = 0
        """Answers of the rival that has not been believed in yet: their outcome depends on whether it will be."""
        self._counts: Counter[SkipReason] = Counter()

    @property
    def build(self) -> str:
        """The build under test."""
        return self._guard.build

    @property
    def settled(self) -> str:
        """Another build that has taken its place; empty where none has."""
        return self._guard.settled

    def admits(self, build: str, started_ns: int) -> bool:
        """See `harness.app.results.Admission`."""
        if started_ns < self._began_ns:
            self._counts[SkipReason.EARLIER_EPOCH] += 1
            return False
        rival = self._guard.rival
        own = self._guard.answered(build, self._clock.monotonic_ns())
        if self._guard.rival != rival:
            self._strays()
        self._pending += not own
        return own

    def warms_up(self, endpoint: str, started_ns: int) -> bool:
        """See `harness.app.results.Admission`. Ingress workers know of the run's beginning only."""
        return self._warm_up is not None and self._warm_up.note(endpoint, started_ns)

    def polled(self, build: str) -> None:
        """The candidate's version path has answered."""
        rival = self._guard.rival
        self._guard.polled(build, self._clock.monotonic_ns())
        if self._guard.rival != rival:
            self._strays()

    def drained(self) -> Mapping[SkipReason, int]:
        """See `harness.app.results.Admission`."""
        counts, self._counts = self._counts, Counter()
        return counts

    def begin(self, build: str) -> int:
        """An epoch of this build begins now. Returns how many answers announced it."""
        announced, self._pending = self._pending, 0
        self._guard.begin(build)
        self._began_ns = self._clock.monotonic_ns()
        self._warm_up = WarmUp()
        return announced

    def rest(self) -> Mapping[SkipReason, int]:
        """At the end, the outcomes that are still to be counted: a rival that was not believed in was a stray one."""
        self._strays()
        return self.drained()

    def _strays(self) -> None:
        if self._pending:
            self._counts[SkipReason.OTHER_BUILD] += self._pending
            self._pending = 0


def settled_totals(totals: Totals) -> Totals:
    """The counts of the requests that have their outcome; those under way are left to the epoch in which they get it."""
    outcomes = sum(sum(counts.values()) for counts in (totals.shed, totals.skipped, totals.refused))
    return msgspec.structs.replace(totals, requests=totals.compared + outcomes)


def totals_since(base: Totals, now: Totals) -> Totals:
    """What was counted between two moments."""
    groups = {
        name: {key: left for key, count in getattr(now, name).items() if (left := count - getattr(base, name).get(key, 0))}
        for name in ("shed", "skipped", "refused", "errors")
    }
    return Totals(
        requests=now.requests - base.requests, compared=now.compared - base.compared, diverged=now.diverged - base.diverged, **groups
    )


class Epoch:
    """The epoch that is on."""

    def __init__(self, number: int, context: Context, base: Totals, effects: EffectsFacts, resumed: tuple[ResumedFacts, ...] = ()) -> None:
        self.number = number
        self.context = context
        self.base = base
        """What had been counted when it began."""
        self.resumed = resumed
        """When it went on after the proxy had been killed."""
        self._effects = effects
        """What had been seen when it began."""

    def totals(self) -> Totals:
        """Where its requests went so far."""
        return totals_since(self.base, self.context.tally.totals())

    def effects(self, now: EffectsFacts) -> EffectsFacts:
        """What was watched beside its trials. What collectors saw and missed is the whole run's."""
        complete, timed_out = now.complete - self._effects.complete, now.timed_out - self._effects.timed_out
        return msgspec.structs.replace(now, complete=complete, timed_out=timed_out)


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """What an epoch came to, fixed at its end: all that its report is written from."""

    number: int
    context: Context
    build: str
    until: float
    why: ClosedBy
    snapshot: Snapshot
    totals: Totals
    effects: EffectsFacts
    resumed: tuple[ResumedFacts, ...] = ()


class Epochs:
    """The epoch that is on, and the verdicts of those before it."""

    def __init__(self, first: Context, gate: EpochGate, *, urls: Mapping[Role, str], period_s: float | None) -> None:
        self.gate = gate
        self.now = Epoch(1, first, Totals(), EffectsFacts())
        self.history = History(first.folder)
        self._first = first
        self._urls = urls
        self._lock: int | None = None
        self._period_s = period_s

    def go_on(self, number: int, context: Context, resumed: tuple[ResumedFacts, ...], lock: int | None) -> None:
        """This epoch was on when the proxy was killed, and is on again. `lock`: of the run's own folder, where the epoch has another."""
        self.now = Epoch(number, context, Totals(), EffectsFacts(), resumed)
        self._lock = lock

    def __enter__(self) -> "Epochs":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """The run is over: close the folder of the epoch that is on."""
        self.context.__exit__(kind, error, trace)
        self.unlock()

    @property
    def folder(self) -> Path:
        """The run's own."""
        return self._first.folder

    def told(self, verdict: Verdict | None) -> list[HistoryEntry]:
        """The newest epochs, oldest first, and last the one that is on, with what is thought of it now."""
        compared, resumed = self.now.totals().compared, self.now.resumed
        now = self.entry(self.now.number, self.context, self.gate.build, verdict=verdict, compared=compared, resumed=resumed)
        return [*self.history.entries, now]

    @property
    def context(self) -> Context:
        """Of the epoch that is on."""
        return self.now.context

    @property
    def period_over(self) -> bool:
        """Whether the time of the epoch that is on is up."""
        return self._period_s is not None and self._first.clock.time() - self.context.identity.started >= self._period_s

    @property
    def acceptance_over(self) -> bool:
        """Whether a change that is applied in the epoch that is on is past its last day, which ends the epoch."""
        return has_expired(self.context.expected, self._first.clock.time())

    def judged(self, snapshot: Snapshot, totals: Totals, effects: EffectsFacts) -> Verdict:
        """The gate's word on the epoch that is on, or on one that has just ended."""
        return self._judged(self.context, snapshot, totals, effects)

    def following(self) -> Context:
        """The context of the next epoch; makes its folder. Without one it goes on, and its storage is lost and counted."""
        first, number = self._first, self.now.number + 1
        started = first.clock.time()
        ended = [self._folder_of(each) for each in range(max(2, number - EPOCHS_KEPT_MAX - 1), self.now.number)]
        room = make_room(first.settings, first.folder, ended)

        def make_store(base: Path, record: RunRecord, *, redact: Callable[[Trial], Trial], bytes_max: float) -> RunStore:
            return store_or_none(base, record, redact=redact, bytes_max=min(bytes_max, room))

        return Context(
            first.loaded,
            mode=first.mode,
            control=first.control,
            design=first.design,
            endpoints={},
            live=True,
            identity=msgspec.structs.replace(first.identity, started=started),
            after=After(first, first.folder / EPOCHS_FOLDER, f"{first.run_id}.{number}", make_store),
        )

    def switch(self, following: Context, build: str, fold: Fold) -> tuple[Fold, Snapshot, int]:
        """In the thread that folds: end one fold, begin the other. Returns that, how the old one ended, and how many announced the new."""
        fresh = fold.successor(following.ledger, StoreKeeper(following.store, following.redactor))
        snapshot = fold.snapshot()
        following.fold = fresh
        return fresh, snapshot, self.gate.begin(build)

    def begin(self, following: Context, effects: EffectsFacts) -> None:
        """On the loop, at once after the switch: what is counted from now on is the next epoch's."""
        base = settled_totals(self._first.tally.totals())
        self.now = Epoch(self.now.number + 1, following, base, effects)

    def closed(self, build: str, why: ClosedBy, snapshot: Snapshot, effects: EffectsFacts) -> Closed:
        """The epoch that is on, as it ends now."""
        context = self.context
        return Closed(
            number=self.now.number,
            context=context,
            build=build,
            until=context.clock.time(),
            why=why,
            snapshot=snapshot,
            totals=settled_totals(self.now.totals()),
            effects=self.now.effects(effects),
            resumed=self.now.resumed,
        )

    def write(self, closed: Closed, blind: list[Blind]) -> Report:
        """Judge it, and write all that it leaves behind but its last line in run.json. Belongs in a thread of its own."""
        context = closed.context
        verdict = self._judged(context, closed.snapshot, closed.totals, closed.effects)
        facts = context.facts({role: TargetFacts(address=url) for role, url in self._urls.items()})
        stored = StoredFacts(
            run=msgspec.structs.replace(facts, build=closed.build),
            policy=context.policy.policy,
            control=context.control,
            design=context.design,
            totals=closed.totals,
            has_candidate=Role.CANDIDATE in self._urls,
            live=True,
            unused_rules=context.unused_rules(),
            effects=closed.effects,
            expected=context.expected,
        )
        epoch = epoch_facts(closed.number, closed.why, context.policy.policy.alpha, self._period_s)
        epoch = msgspec.structs.replace(epoch, resumed=closed.resumed)
        until, why, resumed = closed.until, closed.why, closed.resumed
        compared = closed.totals.compared
        # Before the report is written, which may fail: a verdict is never forgotten with it.
        self.history.add(
            self.entry(closed.number, context, closed.build, verdict=verdict, compared=compared, until=until, why=why, resumed=resumed)
        )
        report = finish.write_report(context, stored, closed.snapshot, verdict, closed.totals, blind=blind, epoch=epoch)
        self._prune()
        return report

    def entry(
        self,
        number: int,
        context: Context,
        build: str,
        *,
        verdict: Verdict | None,
        compared: int,
        until: float | None = None,
        why: ClosedBy | None = None,
        resumed: tuple[ResumedFacts, ...] = (),
    ) -> HistoryEntry:
        """One line of the history; for the epoch that is on without an end."""
        head = verdict.reasons[0] if verdict is not None and verdict.reasons else None
        state = verdict.state if verdict is not None and head is not None else VerdictState.INCONCLUSIVE
        code = head.code if head is not None else ReasonCode.NO_DATA
        return HistoryEntry(
            run=context.run_id,
            epoch=number,
            build=build,
            since=context.identity.started,
            until=until,
            closed_by=why,
            verdict=state,
            code=CODES[state],
            reason=code,
            message=(head.message if head is not None else "") or NEXT_STEP[code],
            requests=compared,
            alpha=context.policy.policy.alpha,
            resumed=len(resumed),
            lost=sum(one.lost for one in resumed),
        )

    def end(self, closed: Closed) -> None:
        """Close the folder of an epoch that was written. The run's own stays locked as long as the run lasts."""
        if closed.context is self._first:
            self._lock = closed.context.store.take_lock()  # without a gap in which another process could take it for a run that ended
        closed.context.store.close(finished=True)

    def unlock(self) -> None:
        """The run is over."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _judged(self, context: Context, snapshot: Snapshot, totals: Totals, effects: EffectsFacts) -> Verdict:
        return judge(
            snapshot,
            totals,
            context.policy.policy,
            has_candidate=Role.CANDIDATE in self._urls,
            replayable=None,
            unused_rules=context.unused_rules(),
            effects=effects,
            expected=context.expected,
        )

    def _prune(self) -> None:
        """Take the oldest folders of epochs away where there are too many. Their names are this run's own."""
        oldest = self.now.number - EPOCHS_KEPT_MAX
        if oldest > 1:
            shutil.rmtree(self._folder_of(oldest), ignore_errors=True)

    def _folder_of(self, number: int) -> Path:
        """Of an epoch after the first."""
        return self._first.folder / EPOCHS_FOLDER / f"{self._first.run_id}.{number}"


def epoch_facts(number: int, why: ClosedBy, alpha: float, period_s: float | None) -> EpochFacts:
    """What a report says of its epoch: alpha is spent in each anew, so over a month the chances add up (union bound)."""
    runs = None if period_s is None else max(1, -(-MONTH_SECONDS // period_s))
    return EpochFacts(
        number=number,
        closed_by=str(why),
        period_s=period_s,
        alpha=alpha,
        runs_a_month=None if runs is None else int(runs),
        alpha_a_month=None if runs is None else min(1.0, alpha * runs),
    )


def build_rules(header: str | None) -> tuple[Rule, ...]:
    """Rules that come after those of the configuration: what names the build differs from build to build, and says nothing else."""
    return () if header is None else (Rule(action=RuleAction.IGNORE, aspect=Aspect.HEADERS, path=header, why="names the build"),)


class _NoFile:
    """A file on a disk that takes nothing."""

    def write(self, data: bytes, /) -> int:
        raise OSError(f"{len(data)} bytes cannot be kept")

    def seek(self, offset: int, /) -> int:
        return offset

    def truncate(self, size: int, /) -> int:
        return size

    def close(self) -> None:
        pass


class NoStore(RunStore):
    """A run directory that could not be made: everything is lost and counted."""

    def kept(self) -> Iterator[StoredTrial]:
        """None."""
        return iter(())


def store_or_none(base: Path, record: RunRecord, *, redact: Callable[[Trial], Trial], bytes_max: float) -> RunStore:
    """The run directory; where it cannot be made (a full disk), one in which everything is lost: evidence is gathered all the same."""
    try:
        return RunStore.create(base, record, redact=redact, bytes_max=bytes_max)
    except SetupError:
        return no_store(base, record, redact=redact, bytes_max=bytes_max)


def no_store(base: Path, record: RunRecord, *, redact: Callable[[Trial], Trial], bytes_max: float) -> RunStore:
    """A store that writes nothing of trials: for a directory that could not be made, or of an epoch that is over."""
    return NoStore(base / record.id, record, redact, _NoFile(), _NoFile(), bytes_max=bytes_max)
