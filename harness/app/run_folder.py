"""The private folder in which the processes of a live run meet: their sockets and counts. Only what is named here is ever removed."""

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from harness.frames import write_whole

COUNTS: Final = "counts-*"
"""The names of files with counts."""
_KEPT_IN: Final = "kept-in"
_OURS: Final = ("run.sock", "compare-*.sock", COUNTS, _KEPT_IN)
_ORPHAN_SECONDS_MAX: Final = 1.0
_ORPHAN_LOOK_SECONDS: Final = 0.02


class RunFolder:
    """A folder that nobody else can look into."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @staticmethod
    def create() -> "RunFolder":
        """A new one, in the system's place for temporary files."""
        return RunFolder(Path(tempfile.mkdtemp(prefix="shadowdiff-")))

    @property
    def run_socket(self) -> str:
        """Where the supervisor listens for its workers."""
        return str(self._path / "run.sock")

    def compare_socket(self, number: int) -> str:
        """Where a compare worker listens for trials."""
        return str(self._path / f"compare-{number}.sock")

    def keep_counts_in(self, folder: Path) -> None:
        """Should the supervisor be killed, its workers put the counts there before they take this folder away."""
        (self._path / _KEPT_IN).write_text(str(folder.absolute()), encoding="utf-8", errors="surrogateescape")

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    def save_counts(self) -> None:
        """Put the counts where they are to be kept, if anywhere. Never raises."""
        with suppress(OSError, ValueError):
            folder = Path((self._path / _KEPT_IN).read_text(encoding="utf-8", errors="surrogateescape"))
            for path in self._path.glob(COUNTS):
                write_whole(folder / path.name, path.read_bytes())

    def counts(self, place: int) -> Path:
        """The counts of an ingress worker and its successors."""
        return self._path / f"counts-{place}"

    def remove(self) -> None:
        """Take away what is named here, and the folder where nothing else is in it. Never raises; may be called again."""
        for pattern in _OURS:
            for path in self._path.glob(pattern):
                with suppress(OSError):
                    path.unlink()
        with suppress(OSError):
            self._path.rmdir()


def remove_as_orphan(run_socket: str, supervisor: int) -> None:
    """Called by a worker that has lost its supervisor (a process id): where that is dead indeed, its folder is taken away.

    Waits a moment, as a process that dies closes its sockets first.
    """
    deadline_s = time.monotonic() + _ORPHAN_SECONDS_MAX
    while os.getppid() == supervisor:
        if time.monotonic() > deadline_s:
            return
        time.sleep(_ORPHAN_LOOK_SECONDS)
    folder = RunFolder(Path(run_socket).parent)
    folder.save_counts()
    folder.remove()
