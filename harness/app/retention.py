"""Removes runs that have ended, the oldest first, where there are more than `store` allows, they take too much room or are too old.

Only what is a run beyond doubt is removed: a folder of `store.dir`, with a run.json that this version reads and that names the
folder. A run under way holds the lock of its folder; one whose process died does not. Whoever renames a run's folder keeps it.
"""

import asyncio
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from harness.app.context import Context
from harness.app.room import size_of
from harness.core.limits import RUNS_NAMED_MAX
from harness.settings.schema import StoreSettings
from harness.store import FORMAT_VERSION, RUN_FILE, lock_folder
from harness.ui import Ui


class KeptRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is on disk."""

    path: Path
    ended_s: float
    """When it was last written to, in seconds since the epoch."""
    size: int
    """Bytes that it takes."""
    finished: bool
    locked: bool
    """Whether its folder is locked while it is under way, so that the end of its process can be told."""


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one tidying."""

    names: tuple[str, ...] = ()
    size: int = 0
    failed: tuple[str, ...] = ()
    """What could not be removed, with the reason."""


class _Head(msgspec.Struct):
    """What of run.json tells a run from other things."""

    format_version: int
    id: str
    finished: bool = False
    locked: bool = False


async def enforce(context: Context, ui: Ui) -> None:
    """Remove what is beyond the limits of a run's settings, never the run itself, and say so in a line. Raises nothing of a disk."""
    store = context.settings.store
    if store.keep_runs is None and store.max_disk is None and store.max_age is None:
        return
    done = await asyncio.to_thread(tidy, store, context.folder, context.clock.time())
    if done.names:
        more = len(done.names) - RUNS_NAMED_MAX
        named = ", ".join(done.names[:RUNS_NAMED_MAX]) + (f" and {more:,} more" if more > 0 else "")
        runs = "1 old run" if len(done.names) == 1 else f"{len(done.names):,} old runs"
        ui.info(f"removed {runs} of {store.dir} ({done.size / 1e6:,.1f} MB): {named}")
    for failed in done.failed[:RUNS_NAMED_MAX]:
        ui.warn(f"an old run could not be removed: {failed}")


def tidy(store: StoreSettings, current: Path, now_s: float) -> Removed:
    """Remove runs of `store.dir` beyond its limits. `current` stays, and counts."""
    runs = kept_runs(Path(store.dir))
    count, size = len(runs), sum(run.size for run in runs)
    names: list[str] = []
    failed: list[str] = []
    freed = 0
    for run in runs:
        too_many = store.keep_runs is not None and count > store.keep_runs
        too_large = store.max_disk is not None and size > store.max_disk
        too_old = store.max_age is not None and now_s - run.ended_s > store.max_age
        if not (too_many or too_large or too_old) or not (run.finished or run.locked) or _is_same(run.path, current):
            continue
        try:
            if not _remove(run.path, finished=run.finished):
                continue
        except OSError as error:
            failed.append(f"{run.path}: {error.strerror or error}")
            continue
        count, size, freed = count - 1, size - run.size, freed + run.size
        names.append(run.path.name)
    return Removed(names=tuple(names), size=freed, failed=tuple(failed))


def kept_runs(folder: Path) -> list[KeptRun]:
    """The runs in a folder, the oldest first. What is no run, or cannot be read, is not among them."""
    found: list[KeptRun] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False) and (run := _run_at(Path(entry.path))) is not None:
                    found.append(run)
    return sorted(found, key=lambda run: (run.ended_s, run.path.name))


def _run_at(path: Path) -> KeptRun | None:
    file = path / RUN_FILE
    if file.is_symlink() or not file.is_file():
        return None
    try:
        head = msgspec.json.decode(file.read_bytes(), type=_Head)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if head.id != path.name or not 1 <= head.format_version <= FORMAT_VERSION:
        return None
    return KeptRun(path=path, ended_s=file.stat().st_mtime, size=size_of(path), finished=head.finished, locked=head.locked)


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _is_still(path: Path, lock: int | None) -> bool:
    """Whether what lies there is the folder that was locked, and no link that somebody has put in its place."""
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and (lock is None or os.path.samestat(os.fstat(lock), found))


def _remove(path: Path, *, finished: bool) -> bool:
    """Take a run away; False where its process lives. run.json goes last: what is left of a removal that was cut off is a run still."""
    try:
        lock = lock_folder(path)
    except BlockingIOError:
        return False
    if lock is None and not finished:
        return False  # without locks nobody can tell
    try:
        if not _is_still(path, lock):
            return False
        for entry in sorted(path.iterdir(), key=lambda each: each.name == RUN_FILE):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
        path.rmdir()
    finally:
        if lock is not None:
            os.close(lock)
    return True
