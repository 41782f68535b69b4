"""How much disk a run may take (`store.max_disk`), over all its epochs: each has a part of it, and the oldest make room.

The bound is on bets and on the requests that are kept. Reports come on top; they are counted when the next epoch begins.
"""

import math
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from harness.core.limits import STORE_BUFFER_BYTES_MAX
from harness.settings.schema import Settings

EPOCHS_AT_ONCE: Final = 3
"""The first one, whose folder is the run's own, the one that ends and the one that begins are on disk together, whatever is removed."""


def room_of_epoch(settings: Settings, *, first: bool) -> float:
    """Bytes that an epoch may take; of a run without epochs all that the run may. Endless where no bound is set."""
    whole = settings.store.max_disk
    if whole is None:
        return math.inf
    epochs = settings.epochs
    alone = first and epochs.period_s is None and epochs.build_header is None and epochs.version_path is None
    return whole if alone else whole / EPOCHS_AT_ONCE


def make_room(settings: Settings, run: Path, ended: Sequence[Path]) -> float:
    """Bytes for an epoch that is to begin beside what a run's folder holds. Folders of ended epochs, the oldest first, go for it."""
    whole = settings.store.max_disk
    if whole is None:
        return math.inf
    wanted = room_of_epoch(settings, first=False)
    waiting = 2 * STORE_BUFFER_BYTES_MAX  # of the epoch that ends: bets and requests that are not in their files yet
    left = whole - waiting - size_of(run)
    for folder in ended:
        if left >= wanted:
            break
        freed = size_of(folder)
        shutil.rmtree(folder, ignore_errors=True)
        left += freed - size_of(folder)
    return min(wanted, max(0.0, left))


def size_of(path: Path) -> int:
    """Bytes of all files in a folder and in those within it, links not followed; 0 where there is no such folder."""
    total = 0
    for where, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                found = (Path(where) / name).lstat()
                total += max(found.st_size, found.st_blocks * 512)
    return total
