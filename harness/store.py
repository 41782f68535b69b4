"""The run directory: what a run leaves on disk, written so that a full disk loses storage and never the run.

    run.json            facts, settings, versions, counts; integer format version
    bets.msgpack        one frame for each trial's bets, in the sequencer's order
    trials.msgpack.zst  kept trials with their comparison, redacted before they come near a file
    report.json ...     whole files, replaced in one step

It knows nothing of what the bets mean. Directories are 0700 and files 0600.
"""

import contextlib
import fcntl
import hashlib
import math
import os
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec
import zstandard

from harness.core.errors import SetupError
from harness.core.limits import STORE_FRAME_BYTES_MAX, STORED_BYTES_MAX, STORED_TRIALS_MAX
from harness.core.values import Comparison, Trial
from harness.frames import FrameReader, FrameWriter, Sink, Whole, measure, new_file, old_file, sync_file, write_whole

FORMAT_VERSION: Final = 1
RUN_FILE, BETS_FILE, TRIALS_FILE = "run.json", "bets.msgpack", "trials.msgpack.zst"
EXEMPLAR_SHARE: Final = 0.25
"""Part of the store's bounds that only exemplars may use."""
BETS_SHARE: Final = 0.5
"""Part of a run's bytes that is the bets'; the rest is the trials'."""
MAGIC: Final = {BETS_FILE: b"shadowdiff bets 1\n", TRIALS_FILE: b"shadowdiff trials 1\n"}

_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_PRIVATE_DIRECTORY: Final = 0o700


_Fact = TypeVar("_Fact")


class Keep(StrEnum):
    """Which trials are kept with their bodies."""

    LEDGER = "ledger"
    """None: bets only."""
    DIVERGED = "diverged"
    """Those in which some pair differs."""
    ALL = "all"


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """run.json."""

    format_version: int = FORMAT_VERSION
    id: str
    version: str = ""
    """Of the harness."""
    facts: dict[str, msgspec.Raw] = {}
    """What the wiring knows of the run, as JSON values by name."""
    settings: tuple[tuple[str, str, str], ...] = ()
    """Key, value, source; secrets redacted."""
    comparators: dict[str, str] = {}
    """Name to version."""
    formats: dict[str, str] = {}
    """Name to version."""
    keep: Keep = Keep.DIVERGED
    finished: bool = False
    bets: int = 0
    bets_lost: int = 0
    trials: int = 0
    trials_lost: int = 0
    trials_beyond_bound: int = 0
    locked: bool = False
    """Whether the run's folder is locked (flock) for as long as its process lives and writes to it."""
    digest: str = ""
    """SHA-256, in hex, of the canonical JSON of all else, so that damage is told from content; empty in runs of before."""


class StoredTrial(msgspec.Struct, frozen=True):
    """One frame of the trials file."""

    trial: Trial
    comparison: Comparison


class WholeFiles(NamedTuple):
    """What of a killed run's files can be relied on."""

    bets: Whole
    trials: Whole


class Flushed(msgspec.Struct, frozen=True):
    """Bytes of each file that were handed to the system."""

    bets: int = 0
    trials: int = 0


def measured(path: Path, synced: Flushed, look: Callable[[bytes], None]) -> WholeFiles:
    """What of a killed run's files can be relied on; the disk had taken `synced`. Raises SetupError where that is damaged.

    `look` is shown each trial's bets.
    """
    return WholeFiles(
        measure(path / BETS_FILE, MAGIC[BETS_FILE], durable=synced.bets, look=look),
        measure(path / TRIALS_FILE, MAGIC[TRIALS_FILE], durable=synced.trials),
    )


class RunStore:
    """Writes one run directory. Belongs to one thread at a time (the pipeline's, then whoever closes it)."""

    def __init__(
        self,
        path: Path,
        record: RunRecord,
        redact: Callable[[Trial], Trial],
        bets: Sink,
        trials: Sink,
        *,
        bytes_max: float = math.inf,
        whole: "WholeFiles | None" = None,
    ) -> None:
        """`whole` is what bets and trials hold already."""
        self.path = path
        self._record = record
        self._redact = redact
        self._lock: int | None = None
        self._trial_bytes_max = min(STORED_BYTES_MAX, bytes_max * (1.0 - BETS_SHARE))
        self._bets = FrameWriter(bets, MAGIC[BETS_FILE], prefix_only=True, bytes_max=bytes_max * BETS_SHARE, whole=whole and whole.bets)
        self._trials = FrameWriter(trials, MAGIC[TRIALS_FILE], prefix_only=False, whole=whole and whole.trials)
        self._squeeze = zstandard.ZstdCompressor(level=3)
        self._went_on = whole is not None
        self._bytes_kept = 0 if whole is None else whole.trials.bytes
        self._kept = 0 if whole is None else whole.trials.frames
        self._beyond = 0
        self._files_lost: list[str] = []

    @classmethod
    def create(
        cls,
        base: Path,
        record: RunRecord,
        *,
        redact: Callable[[Trial], Trial],
        opener: Callable[[Path], Sink] = new_file,
        bytes_max: float = math.inf,
    ) -> "RunStore":
        """Makes `base/<run id>`. Raises SetupError where that cannot be done or the directory is there already.

        `redact` is applied to every trial before it is written. `opener` makes a new file. Of bets and trials no more than
        `bytes_max` bytes are written; what is more is counted.
        """
        if not _RUN_ID.match(record.id):
            raise SetupError(f"not a run id: {record.id!r}", fix="use letters, digits, dot, dash and underscore")
        path = base / record.id
        try:
            base.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=_PRIVATE_DIRECTORY)
            path.chmod(_PRIVATE_DIRECTORY)
            store = cls(path, record, redact, opener(path / BETS_FILE), opener(path / TRIALS_FILE), bytes_max=bytes_max)
        except FileExistsError as error:
            raise SetupError("the run directory is there already", where=str(path), fix="give another --out") from error
        except OSError as error:
            raise SetupError(
                f"cannot make the run directory: {error.strerror}", where=str(path), fix="give an --out that can be written to"
            ) from error
        store._lock = lock_folder(path)
        store._record = msgspec.structs.replace(record, locked=store._lock is not None)
        store._write_record()
        return store

    @classmethod
    def go_on(
        cls,
        path: Path,
        record: RunRecord,
        whole: "WholeFiles",
        *,
        redact: Callable[[Trial], Trial],
        bytes_max: float = math.inf,
        lock: int | None = None,
    ) -> "RunStore":
        """The directory of a run that was killed, whose files are whole up to `whole` and cut off there; `lock` becomes the store's.

        Raises SetupError where it cannot be written.
        """
        try:
            bets = old_file(path / BETS_FILE, whole.bets.bytes)
            try:
                trials = old_file(path / TRIALS_FILE, whole.trials.bytes)
            except OSError:
                bets.close()
                raise
        except OSError as error:
            raise SetupError(f"cannot be written: {error.strerror}", where=str(path), fix="check its permissions") from error
        store = cls(path, record, redact, bets, trials, bytes_max=bytes_max, whole=whole)
        store._lock = lock
        store._record = msgspec.structs.replace(record, locked=lock is not None, finished=False)
        store._write_record()
        return store

    @staticmethod
    def open(path: Path) -> "StoredRun":
        """A run that was written before. Raises SetupError where it is none."""
        return StoredRun.open(path)

    @property
    def record(self) -> RunRecord:
        """run.json as it stands."""
        return self._record

    def add_fact(self, name: str, value: object) -> None:
        """Puts a value (anything msgspec writes as JSON) into run.json under `facts`."""
        facts = {**self._record.facts, name: msgspec.Raw(msgspec.json.encode(value))}
        self._record = msgspec.structs.replace(self._record, facts=facts)
        self._write_record()

    def kept(self) -> Iterator["StoredTrial"]:
        """The trials kept so far, redacted, read back from disk."""
        self._trials.flush()
        return read_trials(FrameReader(self.path / TRIALS_FILE, MAGIC[TRIALS_FILE]))

    def append_bets(self, data: bytes) -> None:
        """Keeps one trial's bets. Call it in the sequencer's order."""
        self._bets.append(data)

    def keep_bets(self, bets: msgspec.Struct) -> None:
        """The same for bets as a value: MessagePack, as msgspec writes it."""
        self.append_bets(msgspec.msgpack.encode(bets))

    @property
    def keeps_all(self) -> bool:
        """Whether every trial is kept."""
        return self._record.keep is Keep.ALL

    def wants(self, comparison: Comparison, *, exemplar: bool = False) -> bool:
        """Whether `keep` asks for a trial with this comparison; the bounds are another matter."""
        differs = bool(comparison.stable_candidate or comparison.stable_secondary or comparison.secondary_candidate)
        return self._record.keep is Keep.ALL or (self._record.keep is Keep.DIVERGED and (differs or exemplar))

    def keep_trial(self, trial: Trial, comparison: Comparison, *, exemplar: bool = False) -> bool:
        """Keeps a trial, where `keep` and the bounds allow it; what a bound keeps out is counted.

        The trial is redacted here; the comparison, whose values depend on their paths, must be already.
        The last part of the bounds is reserved for exemplars, so that late findings still have theirs.
        """
        if not self.wants(comparison, exemplar=exemplar):
            return False
        share = 1.0 if exemplar else 1.0 - EXEMPLAR_SHARE
        if self._kept >= STORED_TRIALS_MAX * share or self._bytes_kept >= self._trial_bytes_max * share:
            self._beyond += 1
            return False
        stored = StoredTrial(self._redact(trial), comparison)
        payload = self._squeeze.compress(msgspec.msgpack.encode(stored))
        if self._bytes_kept + len(payload) > self._trial_bytes_max:
            self._beyond += 1
            return False
        if not self._trials.append(payload):
            return False
        self._kept += 1
        self._bytes_kept += len(payload)
        return True

    def write_file(self, name: str, data: bytes) -> Path | None:
        """A whole file, written beside its place and moved there in one step. None where that failed (counted)."""
        target = self.path / name
        try:
            write_whole(target, data)
        except OSError:
            self._files_lost.append(name)
            return None
        return target

    def blind(self) -> list[tuple[str, int]]:
        """What could not be kept, in words, with counts; empty where all was."""
        found = [
            ("bets that could not be written: this run cannot be judged again in full", self._bets.lost),
            ("diverged trials that could not be written", self._trials.lost),
            ("trials beyond the bound of what a run keeps", self._beyond),
            *((f"{name} could not be written", 1) for name in self._files_lost),
        ]
        return [(what, count) for what, count in found if count]

    def flush(self) -> "Flushed":
        """Hands everything that waits to the system, so that it outlives this process. How much that is by now."""
        self._bets.flush()
        self._trials.flush()
        return Flushed(bets=self._bets.bytes, trials=self._trials.bytes)

    def sync(self) -> None:
        """Have the disk take what was flushed, so that it outlives the machine. May be called in any thread. Raises OSError."""
        sync_file(self.path / BETS_FILE)
        sync_file(self.path / TRIALS_FILE)

    def close(self, *, finished: bool = True) -> None:
        """Flushes, writes run.json with the final counts, and closes. Never raises for a failing disk."""
        self._bets.close()
        self._trials.close()
        self._record = msgspec.structs.replace(
            self._record,
            finished=finished,
            bets=self._bets.written,
            bets_lost=self._bets.lost,
            trials=self._trials.written,
            trials_lost=self._trials.lost,
            trials_beyond_bound=self._beyond,
        )
        self._write_record()
        self._unlock()

    def discard(self) -> None:
        """Closes, and removes the run directory where nothing but the store's own files is in it: a run that never began.

        One that went on is kept.
        """
        if self._went_on:
            self.close(finished=False)
            return
        self._bets.close()
        self._trials.close()
        self._unlock()
        with contextlib.suppress(OSError):
            for name in (BETS_FILE, TRIALS_FILE, RUN_FILE):
                (self.path / name).unlink(missing_ok=True)
            self.path.rmdir()

    def take_lock(self) -> int | None:
        """The lock on the folder, for whoever keeps it beyond `close`; to be closed with `os.close`. None where there is none."""
        lock, self._lock = self._lock, None
        return lock

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write_record(self) -> None:
        record = msgspec.structs.replace(self._record, digest=record_digest(msgspec.json.encode(self._record)))
        self.write_file(RUN_FILE, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")


def record_digest(data: bytes) -> str:
    """Of run.json's content without its own digest. Raises msgspec.MsgspecError for what is no JSON object."""
    fields = msgspec.json.decode(data, type=dict[str, object])
    fields.pop("digest", None)
    return hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).hexdigest()


def lock_folder(path: Path) -> int | None:
    """A descriptor that holds the lock of a run's folder until it is closed, at the latest by the end of its process.

    None where the file system has no locks. Raises BlockingIOError where somebody else holds it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def read_trials(reader: FrameReader) -> Iterator[StoredTrial]:
    """The trials of a file. Raises SetupError for damage; a truncated tail ends it."""
    expand = zstandard.ZstdDecompressor()
    for payload in reader:
        try:
            data = expand.decompress(payload, max_output_size=STORE_FRAME_BYTES_MAX)
            yield msgspec.msgpack.decode(data, type=StoredTrial)
        except (zstandard.ZstdError, msgspec.MsgspecError, MemoryError, UnicodeDecodeError, RecursionError) as error:
            raise SetupError(f"trial {reader.frames - 1} is damaged: {error}", where=str(reader.path), fix="run it again") from error


class StoredRun:
    """A run directory, read."""

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path = path
        self.record = record
        self.bets_reader = FrameReader(path / BETS_FILE, MAGIC[BETS_FILE])
        self.trials_reader = FrameReader(path / TRIALS_FILE, MAGIC[TRIALS_FILE])

    @classmethod
    def open(cls, path: Path) -> "StoredRun":
        """Reads run.json. Raises SetupError for another version, damage, or a directory that is no run."""
        file = path / RUN_FILE
        try:
            data = file.read_bytes()
        except OSError as error:
            raise SetupError(
                f"not a run directory: {error.strerror}", where=str(file), fix="give the directory that a run printed"
            ) from error
        try:
            version = msgspec.json.decode(data, type=_VersionOnly).format_version
            if version != FORMAT_VERSION:
                raise SetupError(
                    f"run format {version} cannot be read here; {FORMAT_VERSION} can",
                    where=str(file),
                    fix="use the shadowdiff that wrote it",
                )
            record = msgspec.json.decode(data, type=RunRecord)
            if record.digest and record.digest != record_digest(data):
                raise SetupError("damaged: its content is not what its digest says", where=str(file), fix="run it again")
            return cls(path, msgspec.structs.replace(record, digest=""))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise SetupError(f"damaged: {error}", where=str(file), fix="run it again") from error

    def bets(self) -> Iterator[bytes]:
        """Each trial's bets in order, as they were handed in. A truncated tail ends it; see `blind`."""
        return iter(self.bets_reader)

    def trials(self) -> Iterator[StoredTrial]:
        """The kept trials, redacted. Raises SetupError for damage."""
        return read_trials(self.trials_reader)

    def fact(self, name: str, kind: type[_Fact]) -> _Fact:
        """A value of `facts`. Raises SetupError where it is missing or of another shape."""
        where = str(self.path / RUN_FILE)
        if name not in self.record.facts:
            raise SetupError(f"the run has no {name}: it ended before they were written", where=where, fix="run it again")
        try:
            return msgspec.json.decode(self.record.facts[name], type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise SetupError(f"damaged {name}: {error}", where=where, fix="run it again") from error

    def blind(self) -> list[tuple[str, int]]:
        """What this run cannot tell any more, after reading: losses counted when writing, and truncated tails."""
        record = self.record
        found = [
            ("bets that could not be written", record.bets_lost),
            ("diverged trials that could not be written", record.trials_lost),
            ("trials beyond the bound of what a run keeps", record.trials_beyond_bound),
            (f"bytes of a truncated tail of {BETS_FILE}", self.bets_reader.truncated_bytes),
            (f"bytes of a truncated tail of {TRIALS_FILE}", self.trials_reader.truncated_bytes),
            ("run.json was not finished: the run ended early", int(not record.finished)),
        ]
        return [(what, count) for what, count in found if count]


class _VersionOnly(msgspec.Struct):
    format_version: int
