"""Recording live traffic: redacted, whole records only, never waiting, every loss counted."""

import io
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.app.captures import load
from harness.app.parts import SystemClock, redactor_of
from harness.app.recorder import Recorder
from harness.core.errors import SetupError
from harness.core.labels import ErrorKind
from harness.core.limits import RECORD_QUEUE_MAX
from harness.core.redact import Redactor
from harness.core.values import Exchange, Response, TransportError, body_of
from harness.settings.schema import RedactSettings
from tests.app import support
from tests.app.support import get

GRACE_S = 60.0


def exchange(target: str, data: bytes) -> Exchange:
    """An answer to a request that was sent just now."""
    now_ns = time.monotonic_ns()
    return msgspec.structs.replace(support.exchange(target, data), started_ns=now_ns, first_byte_ns=now_ns, ended_ns=now_ns)


def started(path: Path) -> Recorder:
    recorder = Recorder(path, SystemClock())
    recorder.start(redactor_of(RedactSettings()))
    return recorder


def test_what_was_exchanged_can_be_replayed_without_its_secrets(tmp_path: Path) -> None:
    path = tmp_path / "live.gor"
    recorder = started(path)
    secret = "Bearer abcdefghijklmnopqrstuvwxyz0123456789"
    for number in range(5):
        recorder.take(get(f"/items/{number}", (("Authorization", secret),)), exchange(f"/items/{number}", b'{"price":10}'))
    now_ns = time.monotonic_ns()
    unanswered = Exchange(request=get("/late"), error=TransportError(ErrorKind.TIMEOUT), started_ns=now_ns, ended_ns=now_ns)
    recorder.take(get("/late"), unanswered)
    recorder.stop(GRACE_S)
    assert (recorder.recorded, recorder.lost) == (6, 0)
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"abcdefghijklmnopqrstuvwxyz" not in path.read_bytes()
    entries = load([path], skip_broken=False).entries
    assert [entry.request.target for entry in entries] == [f"/items/{number}" for number in range(5)] + ["/late"]
    assert [entry.recorded is not None for entry in entries] == [True] * 5 + [False]


def test_a_file_that_is_there_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "live.gor"
    path.write_bytes(b"mine")
    with pytest.raises(SetupError, match="there already") as caught:
        Recorder(path, SystemClock())
    assert caught.value.where == str(path)
    assert path.read_bytes() == b"mine"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be written"):
        Recorder(tmp_path / "none" / "live.gor", SystemClock())


def test_a_recording_that_never_began_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "live.gor"
    Recorder(path, SystemClock()).discard()
    assert not path.exists()


class Slow(Redactor):
    """Holds the thread until it is let go."""

    def __init__(self) -> None:
        super().__init__(b"key")
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def request(self, request: Any) -> Any:
        self.entered.set()
        assert self.let_go.wait(GRACE_S)
        return super().request(request)


def test_more_than_fits_is_turned_away_at_once_and_counted(tmp_path: Path) -> None:
    recorder, slow = Recorder(tmp_path / "live.gor", SystemClock()), Slow()
    recorder.start(slow)
    recorder.take(get("/0"), exchange("/0", b"{}"))
    assert slow.entered.wait(GRACE_S)
    for number in range(RECORD_QUEUE_MAX + 7):
        recorder.take(get(f"/{number}"), exchange("/", b"{}"))
    assert recorder.lost == 7
    slow.let_go.set()
    recorder.stop(GRACE_S)
    assert (recorder.recorded, recorder.lost) == (1 + RECORD_QUEUE_MAX, 7)


@pytest.mark.parametrize("waiting", [0, 3, RECORD_QUEUE_MAX])
def test_a_disk_that_hangs_is_not_waited_for(waiting: int, tmp_path: Path) -> None:
    recorder, slow = Recorder(tmp_path / "live.gor", SystemClock()), Slow()
    recorder.start(slow)
    recorder.take(get("/0"), exchange("/0", b"{}"))
    assert slow.entered.wait(GRACE_S)
    for number in range(waiting):
        recorder.take(get(f"/{number}"), exchange("/", b"{}"))
    recorder.stop(0.05)
    assert recorder.lost == waiting
    slow.let_go.set()
    assert recorder._thread is not None
    if waiting == RECORD_QUEUE_MAX:
        recorder.stop(GRACE_S)
    recorder._thread.join(GRACE_S)
    recorder._file.close()


def test_an_exchange_that_cannot_be_encoded_is_lost_alone(tmp_path: Path) -> None:
    recorder = started(tmp_path / "live.gor")
    broken: Any = Exchange(request=get("/"), response=Response(200, body=body_of(b"x"), headers=None))  # type: ignore[arg-type]  # broken on purpose
    recorder.take(get("/0"), exchange("/0", b"{}"))
    recorder.take(get("/1"), broken)
    recorder.take(get("/2"), exchange("/2", b"{}"))
    recorder.stop(GRACE_S)
    assert (recorder.recorded, recorder.lost) == (2, 1)
    assert [entry.request.target for entry in load([tmp_path / "live.gor"], skip_broken=False).entries] == ["/0", "/2"]


class Full(io.FileIO):
    """A file on a disk that is full after some bytes, and accepts little at a time."""

    def __init__(self, path: Path, room: int) -> None:
        super().__init__(path, "wb")
        self._room = room
        self.cuts = True

    def write(self, data: Any, /) -> int:
        if self.tell() >= self._room:
            raise OSError(28, "No space left on device")
        return super().write(bytes(data)[: min(50, self._room - self.tell())])

    def truncate(self, size: int | None = None, /) -> int:
        if not self.cuts:
            raise OSError(5, "Input/output error")
        return super().truncate(size)


@pytest.mark.parametrize("cuts", [True, False])
def test_a_full_disk_loses_whole_records_only(cuts: bool, tmp_path: Path) -> None:
    path = tmp_path / "live.gor"
    recorder = Recorder(path, SystemClock())
    recorder._file.close()
    recorder._file = full = Full(path, 700)
    full.cuts = cuts
    recorder.start(redactor_of(RedactSettings()))
    for number in range(6):
        recorder.take(get(f"/items/{number}"), exchange(f"/items/{number}", b'{"price":10}'))
    recorder.stop(GRACE_S)
    assert recorder.recorded + recorder.lost == 6
    assert recorder.recorded > 0
    capture = load([path], skip_broken=True)
    assert (not capture.broken) == cuts
    whole = [entry for entry in capture.entries if entry.recorded is not None]
    assert [entry.request.target for entry in whole] == [f"/items/{number}" for number in range(recorder.recorded)]
    assert path.stat().st_size <= 700


def test_records_that_come_late_and_all_at_once_have_the_times_at_which_they_were_sent(tmp_path: Path) -> None:
    """As from another process: a second apart, the last one first."""
    path, now_ns = tmp_path / "live.gor", time.monotonic_ns()
    recorder = Recorder(path, SystemClock())
    recorder.start(redactor_of(RedactSettings()))
    for number in (2, 1, 0):
        sent_ns = now_ns - (3 - number) * 1_000_000_000
        sent = msgspec.structs.replace(exchange(f"/items/{number}", b"{}"), started_ns=sent_ns, ended_ns=sent_ns + 1000)
        recorder.take(get(f"/items/{number}"), sent)
    recorder.stop(GRACE_S)
    entries = load([path], skip_broken=False).entries
    assert [entry.request.target for entry in entries] == ["/items/0", "/items/1", "/items/2"]
    assert [round(entry.offset_s, 1) for entry in entries] == [0.0, 1.0, 2.0]
