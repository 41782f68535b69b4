"""Where a live run stands, written down again and again, so that another process can go on with it after this one was killed.

The evidence of a run is what its stored bets come to when they are folded in their order, so nothing of the ledger is written
here: bets are handed to the system every second and to the disk every few seconds, and beside them goes what cannot be had from
them. That is in one file of the run's own folder, `live.json`, for its owner alone (0600), and only while the run is on: it holds the
key of the hashes in the bets, without which an answer that was seen before would count as new.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from harness.app import parts
from harness.app.context import Context
from harness.app.epochs import Epochs
from harness.app.fleet import Fleet
from harness.app.live_effects import LiveEffects
from harness.app.results import Results
from harness.app.run_folder import COUNTS
from harness.core.errors import SetupError
from harness.core.limits import CHECKPOINT_SECONDS, STORE_FLUSH_SECONDS
from harness.core.values import Totals
from harness.core.watched import EffectsFacts
from harness.evidence.expected import ExpectedFacts
from harness.frames import write_whole
from harness.report.model import ResumedFacts
from harness.settings.policies import LoadedPolicy
from harness.settings.schema import Settings
from harness.store import Flushed
from harness.version import package_version
from harness.worker import Worker

CHECKPOINT_FILE: Final = "live.json"
_SESSIONS: Final = b"sessions"
_MAY_DIFFER: Final = frozenset(
    {"replay", "proxy", "store", "audit", "policy", "policy_ref", "require_policy_digest", "expected", "labels", "provenance"}
)
"""Sections that say nothing about evidence, or of which what they come to is compared instead."""
_OF_PROXY: Final = ("allow_writes", "ingress", "mitm_mode", "secondary_self", "shadow_timeout_s")
"""Keys of `proxy` that do."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """live.json."""

    version: str
    """Of the harness: another one may fold otherwise."""
    pid: int
    identity: parts.Identity
    """The run's."""
    secret: bytes
    alike: dict[str, str]
    """Of what must be the same when the run goes on: by name a digest, keyed with the secret."""
    epoch: int
    since: float
    """When the epoch began, in seconds since the epoch of the clock."""
    build: str
    flushed: Flushed
    """What of the epoch's files the disk has taken."""
    base: Totals
    """What had been counted when the epoch began."""
    own: Totals
    """What the supervisor has counted since the start of its process."""
    totals: Totals
    """With what its workers have counted."""
    counts: str
    """The folder in which the workers count."""
    rules_used: tuple[int, ...]
    effects: EffectsFacts
    """The epoch's."""
    resumed: tuple[ResumedFacts, ...]
    """Of the epoch."""
    resumes: int
    """Of the run."""


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Of a run's own folder; None where there is none. Raises SetupError for what cannot be read."""
    path = folder / CHECKPOINT_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SetupError(f"cannot be read: {error.strerror}", where=str(path), fix="check its permissions") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        fix = "resume it with the version that wrote it, or give another --out for a new run"
        raise SetupError(f"damaged, or of another version: {error}", where=str(path), fix=fix) from error


def alike(settings: Settings, policy: LoadedPolicy, labels: dict[str, str], expected: ExpectedFacts, secret: bytes) -> dict[str, str]:
    """Digests of all that must not change within a run, by name: no value can be read from them."""
    proxy = {f"proxy.{name}": getattr(settings.proxy, name) for name in _OF_PROXY}
    rest = {name: getattr(settings, name) for name in Settings.__struct_fields__ if name not in _MAY_DIFFER}
    found = {**rest, **proxy, "policy": policy.digest, "labels": sorted(labels.items()), "accepted changes": expected.applied}
    return {name: blake2b(msgspec.json.encode(value), key=secret, digest_size=16).hexdigest() for name, value in found.items()}


def session_key(secret: bytes) -> bytes:
    """The key of the names that sessions get: the same after the run went on, so that a session stays one."""
    return blake2b(_SESSIONS, key=secret).digest()[:32]


class Checkpoints:
    """Writes down where a run stands. One event loop owns it; the disk has a thread of its own, and a failing one costs this alone."""

    def __init__(
        self, first: Context, epochs: Epochs, results: Results, effects: LiveEffects, notice: Callable[[str], None], *, resumes: int
    ) -> None:
        """`first` is the context of the first epoch; `resumes` how often the run went on. `notice` tells people of a disk that fails."""
        self._first = first
        self._epochs = epochs
        self._results = results
        self._effects = effects
        self._notice = notice
        self._resumes = resumes
        self._worker = Worker("checkpoint")
        self._task: asyncio.Task[None] | None = None
        self._failed = False

    async def start(self, fleet: Fleet, settings: Callable[[], Settings]) -> None:
        """Write a first time, once the fleet was started, and then again and again; `settings` gives those that hold."""
        await self.save(fleet, settings(), Flushed())
        self._task = asyncio.create_task(self._run(fleet, settings), name="checkpoints")

    async def stop(self) -> None:
        """Write no more. A run in which nothing was sent leaves nothing to go on with."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._worker.stop(CHECKPOINT_SECONDS)
        if not self._first.tally.totals().requests:
            self.remove()

    def remove(self) -> None:
        """The run is over: nobody goes on with it, and its key is gone. Never raises."""
        forget(self._first.folder)

    async def save(self, fleet: Fleet, settings: Settings, flushed: Flushed) -> None:
        """Have the disk take what was flushed of the epoch that is on, and write down where the run stands. Never raises for a disk."""
        point, store = self._point(fleet, settings, flushed), self._epochs.context.store

        def write() -> None:
            if flushed.bets:
                store.sync()
            write_whole(self._first.folder / CHECKPOINT_FILE, msgspec.json.encode(point))

        try:
            await self._worker.call(write)
            self._failed = False
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            if not self._failed:
                why = error.strerror if isinstance(error, OSError) else type(error).__name__
                self._notice(f"where the run stands could not be written down ({why}): killed now, it would lose more")
            self._failed = True

    async def _run(self, fleet: Fleet, settings: Callable[[], Settings]) -> None:
        waited_s = 0.0
        while True:
            await asyncio.sleep(STORE_FLUSH_SECONDS)
            waited_s += STORE_FLUSH_SECONDS
            context = self._epochs.context
            flushed = await self._results.in_thread(context.store.flush)
            if waited_s >= CHECKPOINT_SECONDS and context is self._epochs.context:
                await self.save(fleet, settings(), flushed)
                waited_s = 0.0

    def _point(self, fleet: Fleet, settings: Settings, flushed: Flushed) -> Checkpoint:
        first, now = self._first, self._epochs.now
        return Checkpoint(
            version=package_version(),
            pid=os.getpid(),
            identity=first.identity,
            secret=first.secret,
            alike=alike(settings, first.policy, first.labels, first.expected, first.secret),
            epoch=now.number,
            since=now.context.identity.started,
            build=self._epochs.gate.build,
            flushed=flushed,
            base=now.base,
            own=first.tally.own(),
            totals=first.tally.totals(),
            counts=str(fleet.counts or ""),
            rules_used=tuple(sorted(now.context.fold.rules_used)),
            effects=now.effects(self._effects.facts()),
            resumed=now.resumed,
            resumes=self._resumes,
        )


def forget(folder: Path, *, counts_only: bool = False) -> None:
    """Take away what is kept in a run's own folder for one that goes on with it. Never raises."""
    with suppress(OSError):
        for path in (*folder.glob(COUNTS), *(() if counts_only else (folder / CHECKPOINT_FILE,))):
            path.unlink(missing_ok=True)
