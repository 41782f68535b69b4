"""The verdicts of a live run's epochs, one after the other: a file that is only appended to, and its newest lines in memory."""

import os
from collections import deque
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from harness.core.labels import ReasonCode, VerdictState
from harness.core.limits import HISTORY_ENTRIES_MAX, HISTORY_LINES_MAX
from harness.frames import write_whole

HISTORY_FILE: Final = "history.jsonl"


class ClosedBy(StrEnum):
    """Why an epoch is over."""

    BUILD = "build"
    """Another build of the candidate took the place of the one under test."""
    PERIOD = "period"
    """Its time was up."""
    ACCEPTANCE = "acceptance"
    """An accepted change was past its last day."""
    REQUEST = "request"
    """Somebody asked for it."""
    END = "end"
    """The run ended."""


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One epoch and its verdict. Times are in seconds since the epoch of the clock."""

    run: str
    """Of the epoch: the name of its folder."""
    epoch: int
    """From 1."""
    build: str
    since: float
    until: float | None
    """None while it goes on."""
    closed_by: ClosedBy | None
    verdict: VerdictState
    code: int
    """1 pass, 0 fail, -1 inconclusive."""
    reason: ReasonCode
    message: str
    requests: int
    """Compared in it."""
    alpha: float
    """Chance of a false alarm in it, at most."""
    resumed: int = 0
    """How often it went on after the proxy had been killed."""
    lost: int = 0
    """Requests that were lost by that."""


class History:
    """The epochs that are over, with those that the folder tells of. A disk that fails loses lines of the file, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / HISTORY_FILE
        self._lines = 0
        self.entries: deque[HistoryEntry] = deque(maxlen=HISTORY_ENTRIES_MAX)
        """The newest, oldest first."""
        self.lost = 0
        """Entries that could not be written."""
        self.failed: dict[str, None] = {}
        """The builds that failed, the last one last: one epoch that failed is not forgotten with the next."""
        for entry in read_history(folder):
            self._remember(entry)
            self._lines += 1

    def add(self, entry: HistoryEntry) -> None:
        """An epoch is over."""
        self._remember(entry)
        try:
            self._append(msgspec.json.encode(entry) + b"\n")
        except OSError:
            self.lost += 1

    def _remember(self, entry: HistoryEntry) -> None:
        self.entries.append(entry)
        if entry.verdict is VerdictState.FAIL:
            self.failed.pop(entry.build, None)
            self.failed[entry.build] = None
            if len(self.failed) > HISTORY_ENTRIES_MAX:
                del self.failed[next(iter(self.failed))]

    def _append(self, line: bytes) -> None:
        if self._lines >= 2 * HISTORY_LINES_MAX:
            kept = self._file.read_bytes().splitlines(keepends=True)[-HISTORY_LINES_MAX:]
            write_whole(self._file, b"".join(kept))
            self._lines = len(kept)
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if os.write(descriptor, line) < len(line):
                with suppress(OSError):  # a line that is cut would spoil the next one
                    os.write(descriptor, b"\n")
                raise OSError("the line was cut")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._lines += 1


def read_history(folder: Path) -> list[HistoryEntry]:
    """The entries of a run's folder; lines that cannot be read are left out. Empty where there is no file."""
    try:
        lines = (folder / HISTORY_FILE).read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines[-2 * HISTORY_LINES_MAX :]:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            found.append(msgspec.json.decode(line, type=HistoryEntry))
    return found
