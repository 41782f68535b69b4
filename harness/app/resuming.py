"""Goes on with a live run whose processes were killed: the same run, the same epoch, the same alpha.

The stored bets are folded again, in their order, before anything new is: clients are served meanwhile, and there is no verdict
until it is done. What was under way or not stored yet is counted as shed, `killed`: it was not completed, so it can only keep the
verdict from passing. Whatever makes it doubtful that this is the same run is refused.
"""

import os
import shutil
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from comparators.registry import load_comparators, versions
from harness.app import judging_policy, parts
from harness.app.checkpoint import Checkpoint, alike, forget, read_checkpoint
from harness.app.context import After, Back, Context
from harness.app.epochs import EPOCHS_FOLDER, EpochGate, Epochs, no_store
from harness.app.expecting import load_expected
from harness.app.history import read_history
from harness.app.live_effects import LiveEffects
from harness.app.run_folder import COUNTS, RunFolder
from harness.bus.slots import Slots
from harness.core.errors import SetupError, UsageError
from harness.core.labels import EffectsSeen, RunMode, ShedReason
from harness.core.limits import CHECKPOINT_SECONDS, RECALLED_AT_ONCE_MAX
from harness.core.values import Comparison, Totals, Trial
from harness.evidence.bets import TrialBets, decode_bets
from harness.report.model import ResumedFacts
from harness.settings.load import Loaded
from harness.store import RUN_FILE, RunRecord, RunStore, StoredRun, WholeFiles, lock_folder, measured
from harness.version import package_version

_ANEW: Final = "give another --out for a new run"
_AFTER_START_NS: Final = 1_000_000_000
"""Between the last trial before the machine was started anew and the first one after it."""

MakeContext = Callable[..., Context]


class _Beginning(msgspec.Struct, array_like=True):
    """Of TrialBets, as far as is needed to tell clients' requests from what the harness asked again."""

    seq: int
    trial: str
    endpoint: str
    design: str
    control: str
    pass_index: int
    fresh: bool
    warm_up: bool
    tainted: bool
    repeat: bool


class Resumption:
    """A run that was killed, as it was found: checked, locked, and nothing of it changed yet."""

    def __init__(
        self, folder: Path, current: Path, point: Checkpoint, whole: WholeFiles, *, stored: int, lock: int | None, now_s: float
    ) -> None:
        """`stored` counts trials of clients, `lock` is that of the run's own folder, held; `now_s` is in seconds since the epoch."""
        self.folder = folder
        """The run's own."""
        self.current = current
        """That of the epoch that was on."""
        self.point = point
        self.whole = whole
        self.totals, self.lost = went_where(point, _counted(folder, point), stored)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
        self.facts = ResumedFacts(at=at, lost=self.lost, seconds=CHECKPOINT_SECONDS)
        self._lock = lock

    @property
    def resumed(self) -> tuple[ResumedFacts, ...]:
        """Every time that the epoch was resumed, this one last."""
        return (*self.point.resumed, self.facts)

    @property
    def resumes(self) -> int:
        """How often the run was resumed, with this time."""
        return self.point.resumes + 1

    def gate(self, context: Context) -> EpochGate:
        """Which trials count: it knows the builds of before."""
        entries = read_history(self.folder)
        gate = EpochGate(entries[0].build if entries else self.point.build, context.clock)
        for build in [*(entry.build for entry in entries[1:]), self.point.build] if entries else ():
            gate.begin(build)
        return gate

    def contexts(self, make: MakeContext) -> tuple[Context, Context]:
        """Those of the run's first epoch and of the one that was on, which may be the same. `make` takes what they differ in."""
        point = self.point
        lock, self._lock = self._lock, None
        whole = self.whole

        def go_on(base: Path, record: RunRecord, *, redact: Callable[[Trial], Trial], bytes_max: float) -> RunStore:
            held = lock if self.current == self.folder else lock_folder(base / record.id)
            return RunStore.go_on(base / record.id, record, whole, redact=redact, bytes_max=bytes_max, lock=held)

        try:
            if self.current == self.folder:
                first = current = make(identity=point.identity, back=Back(point.secret, go_on))
            else:
                first = make(identity=point.identity, back=Back(point.secret, no_store))
                identity = msgspec.structs.replace(point.identity, started=point.since)
                after = After(first, self.current.parent, self.current.name, go_on)
                current = make(identity=identity, after=after)
                self._lock = lock
        except BaseException:
            if lock is not None:
                with suppress(OSError):
                    os.close(lock)
            raise
        first.tally.carry(self.totals)
        return first, current

    def begin(self, epochs: Epochs, current: Context) -> None:
        """The epoch is on again."""
        lock, self._lock = self._lock, None
        epochs.go_on(self.point.epoch, current, self.resumed, lock)
        current.metrics.begin(current.run_id, self.point.build)
        current.metrics.set_resumes(self.resumes)

    def recall(self, current: Context, effects: LiveEffects) -> "Recall":
        """Folds again what is stored. What was seen of effects goes on."""
        effects.before = self.point.effects
        return Recall(self.current, self.whole, current, effects, self.point.rules_used)

    def tidy(self) -> None:
        """Where the run stands is written down anew: what its last processes left behind is of no use any more. Never raises."""
        forget(self.folder, counts_only=True)
        if (left := _counts_folder(self.point)) is not None:
            RunFolder(left).remove()

    def release(self) -> None:
        """It does not go on now: somebody else may try."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def words(self) -> str:
        """What people are told."""
        cut = self.whole.bets.cut + self.whole.trials.cut
        torn = f"; a torn tail of {cut:,} bytes was cut off" if cut else ""
        stored, lost = f"{self.totals.compared:,} stored trials", f"{self.lost:,} requests lost"
        return (
            f"resumed epoch {self.point.epoch} with {stored}: {lost}, those under way and of at most {CHECKPOINT_SECONDS:g} s before{torn}"
        )


def find(loaded: Loaded, now_s: float) -> Resumption | None:
    """The killed run that these settings ask to resume; None where none is asked for, or nothing is in its folder yet.

    Raises UsageError or SetupError where it cannot be resumed, or must not be.
    """
    settings = loaded.settings
    if not settings.proxy.resume:
        return None
    if settings.store.run_dir is None:
        raise UsageError("which run is to be resumed was not said", where="--resume", fix="give its folder with --out")
    folder = Path(settings.store.run_dir)
    if not (folder / RUN_FILE).exists():
        return None
    try:
        lock = lock_folder(folder)
    except BlockingIOError as error:
        raise SetupError("another process runs it", where=str(folder), fix=f"wait until it has ended, or {_ANEW}") from error
    try:
        return _found(folder, loaded, lock, now_s)
    except BaseException:
        if lock is not None:
            os.close(lock)
        raise


def _found(folder: Path, loaded: Loaded, lock: int | None, now_s: float) -> Resumption:
    stored = StoredRun.open(folder)
    point = read_checkpoint(folder)
    if point is None:
        what = "its last epoch was closed" if stored.record.finished else "it was not written where it stood"
        raise SetupError(f"the run cannot be resumed: {what}", where=str(folder), fix=_ANEW)
    if lock is None and _lives(point.pid):
        raise SetupError(f"process {point.pid} may run it still", where=str(folder), fix=f"end it, or {_ANEW}")
    _check_alike(folder, stored.record, point, loaded)
    epochs = folder / EPOCHS_FOLDER
    current = folder if point.epoch == 1 else epochs / f"{folder.name}.{point.epoch}"
    closed = any(entry.epoch >= point.epoch for entry in read_history(folder))
    if closed or StoredRun.open(current).record.finished:
        raise SetupError(f"the run cannot be resumed: epoch {point.epoch} was closed", where=str(current), fix=_ANEW)
    begun = epochs / f"{folder.name}.{point.epoch + 1}"
    counts = Counter[bool]()

    def look(payload: bytes) -> None:
        counts[msgspec.msgpack.decode(payload, type=_Beginning).repeat] += 1

    try:
        whole = measured(current, point.flushed, look)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SetupError(f"a trial's bets cannot be read: {error}", where=str(current), fix=_ANEW) from error
    if begun.is_dir() and not begun.is_symlink():
        shutil.rmtree(begun, ignore_errors=True)  # it began in the moment of the kill: what was in it is counted as lost
    return Resumption(folder, current, point, whole, stored=counts[False], lock=lock, now_s=now_s)


def _check_alike(folder: Path, record: RunRecord, point: Checkpoint, loaded: Loaded) -> None:
    """Raises SetupError where another configuration, policy, target, or version would go on with the run."""
    settings = loaded.settings
    labels = judging_policy.labels_for(settings, parts.redactor_of(settings.redact))
    policy = judging_policy.policy_for(settings, RunMode.PROXY, labels)
    expected = load_expected(
        settings.expected,
        loaded.file,
        started=point.identity.started,
        ref=settings.policy_ref,
        allow_self=policy.policy.allow_self_accepted,
    )
    now = alike(settings, policy, labels, expected, point.secret)
    other = sorted(name for name in {*now, *point.alike} if now.get(name) != point.alike.get(name))
    if point.version != package_version():
        other.append(f"version of shadowdiff ({point.version})")
    if record.comparators != {name: str(version) for name, version in versions(load_comparators()).items()}:
        other.append("set of comparators")
    if other:
        what = f"it was begun with another {', another '.join(other)}"
        raise SetupError(what, where=str(folder), fix=f"resume it with what it was begun with, or {_ANEW}")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def went_where(point: Checkpoint, workers: Totals | None, stored: int) -> tuple[Totals, int]:
    """Where the epoch's requests went, when `stored` trials of it are left; and how many of them are lost.

    `workers` is what the ingress workers have counted to their end; None where that is gone, and the checkpoint's word counts.
    """
    counted = point.totals if workers is None else _sum(point.own, workers)
    shed, skipped, refused, errors = (
        _since(getattr(counted, name), getattr(point.base, name)) for name in ("shed", "skipped", "refused", "errors")
    )
    outcomes = sum(map(sum, (shed.values(), skipped.values(), refused.values())))
    requests = max(counted.requests - point.base.requests, outcomes + stored)
    lost = requests - outcomes - stored
    if lost:
        shed[ShedReason.KILLED] = shed.get(ShedReason.KILLED, 0) + lost
    diverged = min(counted.diverged - point.base.diverged, stored)
    totals = Totals(requests=requests, compared=stored, diverged=diverged, shed=shed, skipped=skipped, refused=refused, errors=errors)
    return totals, lost


def _since(now: dict[str, int], base: dict[str, int]) -> dict[str, int]:
    return {name: left for name, count in now.items() if (left := count - base.get(name, 0)) > 0}


def _sum(one: Totals, other: Totals) -> Totals:
    groups = {
        name: {
            key: getattr(one, name).get(key, 0) + getattr(other, name).get(key, 0) for key in {*getattr(one, name), *getattr(other, name)}
        }
        for name in ("shed", "skipped", "refused", "errors")
    }
    return Totals(
        requests=one.requests + other.requests, compared=one.compared + other.compared, diverged=one.diverged + other.diverged, **groups
    )


def _counts_folder(point: Checkpoint) -> Path | None:
    """Where the workers counted, if it is there still and nobody else's."""
    path = Path(point.counts)
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return None
    ours = path.is_absolute() and stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return path if ours else None


def _counted(folder: Path, point: Checkpoint) -> Totals | None:
    """What the ingress workers counted; None where it is gone. Workers that outlived the supervisor have put it into the run's folder."""
    for place in (_counts_folder(point), folder):
        if place is None:
            continue
        with suppress(OSError, ValueError):
            totals = Totals()
            files = sorted(place.glob(COUNTS))
            for path in files:
                totals = _sum(totals, Slots(path).tally.totals())
            if files:
                return totals
    return None


class Recall:
    """Folds stored bets again, some at each call. Belongs to the thread that folds."""

    def __init__(self, path: Path, whole: WholeFiles, context: Context, effects: LiveEffects, rules_used: tuple[int, ...]) -> None:
        self._path = path
        self._whole = whole
        self._context = context
        self._effects = effects
        self._watched: Counter[EffectsSeen] = Counter()
        self._rules_used = rules_used
        self._frames: Iterator[bytes] | None = None
        self._kept: dict[str, Comparison] = {}
        self._last_ns = 0
        self.on_repeat: Callable[[TrialBets], None] = lambda _bets: None
        """Told of what the harness had asked again."""

    def __call__(self) -> int:
        """How many were folded now; 0 once all are. Raises SetupError for damage."""
        fold = self._context.fold
        if self._frames is None:
            stored = StoredRun.open(self._path)
            fold.use_rules(self._rules_used)
            self._frames = islice(stored.bets(), self._whole.bets.frames)
            self._kept = {kept.trial.id: kept.comparison for kept in islice(stored.trials(), self._whole.trials.frames)}
        done = 0
        for frame in islice(self._frames, RECALLED_AT_ONCE_MAX):
            self._fold(frame)
            done += 1
        if not done:
            self._kept.clear()
            complete, timed_out = self._watched[EffectsSeen.COMPLETE], self._watched[EffectsSeen.TIMED_OUT]
            self._effects.before = msgspec.structs.replace(self._effects.before, complete=complete, timed_out=timed_out)
            behind_ns = self._last_ns - self._context.clock.monotonic_ns()
            if behind_ns > 0:
                fold.later_ns = behind_ns + _AFTER_START_NS
        return done

    def _fold(self, frame: bytes) -> None:
        try:
            bets = decode_bets(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise SetupError(f"a trial's bets cannot be read: {error}", where=str(self._path), fix=_ANEW) from error
        comparison = self._kept.pop(bets.trial, None)
        if comparison is not None:
            self._context.keeper.recall(bets.endpoint, comparison)
        self._context.fold.recall(bets, comparison)
        if bets.repeat:
            self.on_repeat(bets)
        self._watched[bets.effects_seen] += 1
        self._last_ns = max(self._last_ns, bets.started_ns)
