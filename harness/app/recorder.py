"""Writes live traffic to a capture file, redacted, in a thread of its own: a slow disk loses records, never a client's time."""

import os
import queue
import threading
from pathlib import Path
from typing import BinaryIO, Final

from harness.core.clock import Clock
from harness.core.errors import SetupError
from harness.core.limits import RECORD_QUEUE_MAX
from harness.core.redact import Redactor
from harness.core.values import Exchange, Request
from replay.formats.gor import GorEncoder

_END: Final = None


class Recorder:
    """Takes completed exchanges from the event loop and appends them to a .gor file.

    Raises SetupError when the file cannot be opened or is there already. What could not be written is counted in `lost`.
    End it with `stop`, or with `discard` where it was never started.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise SetupError("the capture file is there already", where=str(path), fix="give --record another name") from error
        except OSError as error:
            raise SetupError(f"cannot be written: {error.strerror}", where=str(path), fix="give --record a folder that exists") from error
        self._path = path
        self._file: BinaryIO = os.fdopen(descriptor, "wb", buffering=0)
        self._clock = clock
        self._encoder = GorEncoder()
        self._queue: queue.Queue[tuple[Request, Exchange, int] | None] = queue.Queue(RECORD_QUEUE_MAX)
        self._thread: threading.Thread | None = None
        self.recorded = 0
        self._turned_away = 0
        """By the event loop; the two counts have one writer each."""
        self._failed = 0
        """By the thread."""
        self._given_up = False

    @property
    def lost(self) -> int:
        """Exchanges that are not in the file."""
        return self._turned_away + self._failed

    def start(self, redactor: Redactor) -> None:
        """Begin to write, redacted."""
        self._thread = threading.Thread(target=self._write_all, args=(redactor,), name="recorder", daemon=True)
        self._thread.start()

    def take(self, request: Request, exchange: Exchange) -> None:
        """Hand over one exchange; never waits."""
        # By its own clock, which all processes of a machine share: exchanges come here late, and several at once.
        ago_ns = self._clock.monotonic_ns() - exchange.started_ns
        try:
            self._queue.put_nowait((request, exchange, int(self._clock.time() * 1e9) - ago_ns))
        except queue.Full:
            self._turned_away += 1

    def stop(self, grace_s: float) -> None:
        """Write what is queued, for at most `grace_s` seconds; what is left is lost and counted."""
        assert self._thread is not None, "nothing was started"
        deadline_ns = self._clock.monotonic_ns() + int(grace_s * 1e9)
        try:
            self._queue.put(_END, timeout=grace_s)
        except queue.Full:
            self._turned_away += self._queue.qsize()
            return
        self._thread.join(max(0.0, (deadline_ns - self._clock.monotonic_ns()) / 1e9))
        if self._thread.is_alive():
            self._turned_away += max(0, self._queue.qsize() - 1)
        else:
            self._file.close()

    def discard(self) -> None:
        """Take the empty file away again: the run never began."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _write_all(self, redactor: Redactor) -> None:
        while (item := self._queue.get()) is not _END:
            try:
                data = self._encoded(redactor, *item)
            except Exception:  # noqa: BLE001 - whatever one exchange holds, the others are still recorded
                self._failed += 1
            else:
                self._append(data)

    def _encoded(self, redactor: Redactor, request: Request, exchange: Exchange, time_ns: int) -> bytes:
        response = None if exchange.response is None else redactor.response(exchange.response)
        took_ns = max(0, exchange.ended_ns - exchange.started_ns)
        return self._encoder.pair(redactor.request(request), response, time_ns=time_ns, latency_ns=took_ns)

    def _append(self, data: bytes) -> None:
        """One pair, whole or not at all: a disk that is full must not leave half a record behind."""
        if self._given_up:
            self._failed += 1
            return
        start = self._file.tell()
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) or 0 :]
            self.recorded += 1
        except OSError:
            self._failed += 1
            self._cut(start)

    def _cut(self, start: int) -> None:
        try:
            self._file.truncate(start)
            self._file.seek(start)
        except OSError:
            self._given_up = True  # what came after half a record could not be told from it
