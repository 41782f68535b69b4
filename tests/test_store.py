import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import harness.store
from harness.core.errors import SetupError
from harness.core.labels import Aspect, Kind
from harness.core.limits import STORE_BUFFER_BYTES_MAX
from harness.core.values import Comparison, Difference, Trial
from harness.frames import FrameWriter, Sink, new_file
from harness.store import (
    BETS_FILE,
    FORMAT_VERSION,
    MAGIC,
    RUN_FILE,
    TRIALS_FILE,
    Flushed,
    Keep,
    RunRecord,
    RunStore,
    StoredRun,
    lock_folder,
    measured,
)
from tests.report import samples

DIFFERS = Comparison(trial="t-x", seq=7, stable_candidate=(Difference(Aspect.BODY, "$.a", Kind.VALUE, 1, 2),))
EQUAL = Comparison(trial="t-x", seq=7)
TRIAL = samples.trial("x", "GET /orders/{int}", samples.GET_ORDER, samples.response(200, {"a": 1}), samples.response(200, {"a": 2}))


class Facts(msgspec.Struct):
    seconds: float
    names: tuple[str, ...] = ()


def as_it_is(trial: Trial) -> Trial:
    return trial


def create(
    base: Path, *, keep: Keep = Keep.DIVERGED, opener: Callable[[Path], Sink] | None = None, redact: Callable[[Trial], Trial] = as_it_is
) -> RunStore:
    record = RunRecord(id="run-1", version="0.1.0", settings=(("a", "b", "default"),), comparators={"json": "1"}, keep=keep)
    if opener is None:
        return RunStore.create(base, record, redact=redact)
    return RunStore.create(base, record, redact=redact, opener=opener)


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    store = create(tmp_path / "runs")
    store.append_bets(b"one")
    store.append_bets(b"")
    store.keep_bets(Facts(1.5))
    assert store.keep_trial(TRIAL, DIFFERS)
    assert not store.keep_trial(TRIAL, EQUAL)
    assert store.keep_trial(TRIAL, EQUAL, exemplar=True)
    store.add_fact("facts", Facts(2.5, ("x",)))
    assert [kept.comparison for kept in store.kept()] == [DIFFERS, EQUAL]
    assert store.write_file("report.json", b"{}") == store.path / "report.json"
    store.close()
    assert store.blind() == []
    run = RunStore.open(store.path)
    assert msgspec.structs.replace(run.record, facts={}) == msgspec.structs.replace(store.record, facts={})
    assert run.record.finished
    assert (run.record.bets, run.record.trials) == (3, 2)
    assert list(run.bets()) == [b"one", b"", msgspec.msgpack.encode(Facts(1.5))]
    assert next(run.trials()).trial == TRIAL
    assert run.fact("facts", Facts) == Facts(2.5, ("x",))
    assert run.blind() == []


def test_a_run_that_never_began_leaves_nothing_but_what_others_put_there(tmp_path: Path) -> None:
    store = create(tmp_path / "runs")
    store.discard()
    assert not (tmp_path / "runs" / "run-1").exists()
    store = create(tmp_path / "runs")
    kept = store.path / "notes.txt"
    kept.write_text("mine")
    store.discard()
    assert [path.name for path in store.path.iterdir()] == ["notes.txt"]


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        store = create(tmp_path)
        store.write_file("report.html", b"x")
        store.close()
    finally:
        os.umask(mask)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in store.path.iterdir()} == dict.fromkeys(
        (RUN_FILE, BETS_FILE, TRIALS_FILE, "report.html"), 0o600
    )


def test_what_is_kept_follows_the_setting(tmp_path: Path) -> None:
    for keep, wanted in ((Keep.LEDGER, [False, False]), (Keep.DIVERGED, [True, False]), (Keep.ALL, [True, True])):
        store = create(tmp_path / keep.value, keep=keep)
        assert [store.keep_trial(TRIAL, DIFFERS), store.keep_trial(TRIAL, EQUAL)] == wanted
        store.close()


def test_trials_are_redacted_before_they_are_written(tmp_path: Path) -> None:
    def redact(trial: Trial) -> Trial:
        return msgspec.structs.replace(trial, session="[redacted]")

    store = create(tmp_path, redact=redact)
    store.keep_trial(msgspec.structs.replace(TRIAL, session="secret"), DIFFERS)
    store.close()
    assert next(StoredRun.open(store.path).trials()).trial.session == "[redacted]"


def test_bounds_count_what_they_keep_out_and_leave_room_for_exemplars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.store, "STORED_TRIALS_MAX", 4)
    store = create(tmp_path)
    assert [store.keep_trial(TRIAL, DIFFERS) for _ in range(5)] == [True, True, True, False, False]
    assert [store.keep_trial(TRIAL, DIFFERS, exemplar=True) for _ in range(2)] == [True, False]
    store.close()
    assert store.blind() == [("trials beyond the bound of what a run keeps", 3)]
    assert StoredRun.open(store.path).blind() == store.blind()


def test_the_bound_on_bytes_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.store, "STORED_BYTES_MAX", 100)
    store = create(tmp_path)
    assert not store.keep_trial(TRIAL, DIFFERS)
    store.close()
    assert store.blind() == [("trials beyond the bound of what a run keeps", 1)]


class FailingSink:
    """A file whose writes fail from a given call on, after a part was written."""

    def __init__(self, path: Path, *, fail_from: int, fail_to: int = 10**9) -> None:
        self.file = path.open("wb", buffering=0)
        self.calls = 0
        self.fail_from = fail_from
        self.fail_to = fail_to

    def write(self, data: bytes, /) -> int:
        self.calls += 1
        if self.fail_from <= self.calls < self.fail_to:
            self.file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def seek(self, offset: int, /) -> int:
        return self.file.seek(offset)

    def truncate(self, size: int, /) -> int:
        return self.file.truncate(size)

    def close(self) -> None:
        self.file.close()


@pytest.mark.parametrize("failing_call", range(1, 6))
def test_when_the_nth_write_fails_a_true_prefix_of_the_bets_stays(tmp_path: Path, failing_call: int) -> None:
    store = create(tmp_path, opener=lambda path: FailingSink(path, fail_from=failing_call, fail_to=failing_call + 1))
    payloads = [bytes([65 + number]) * 100 for number in range(6)]
    for payload in payloads:
        store.append_bets(payload)
        store.keep_trial(TRIAL, DIFFERS)
        store.flush()
    store.close()
    run = StoredRun.open(store.path)
    read = list(run.bets())
    assert read == payloads[: len(read)]
    assert len(read) == failing_call - 1
    assert run.record.bets == len(read)
    assert run.record.bets_lost == 6 - len(read)
    assert len(list(run.trials())) == 5, "trials stand alone: one is lost, later ones are kept"
    assert ("bets that could not be written: this run cannot be judged again in full", 6 - len(read)) in store.blind()
    assert ("diverged trials that could not be written", 1) in store.blind()
    assert run.bets_reader.truncated_bytes == run.trials_reader.truncated_bytes == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is not here")
def test_a_full_disk_loses_storage_only(tmp_path: Path) -> None:
    def full(_path: Path) -> Sink:
        return os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0)

    store = create(tmp_path, opener=full)
    for _ in range(2000):
        store.append_bets(b"x" * 100)
    store.keep_trial(TRIAL, DIFFERS)
    store.close()
    assert [count for _, count in store.blind()] == [2000, 1]


def test_a_file_that_cannot_be_written_is_counted_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = create(tmp_path)
    store.write_file("report.json", b"old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert store.write_file("report.json", b"new") is None
    assert store.blind() == [("report.json could not be written", 1)]
    monkeypatch.undo()
    assert (store.path / "report.json").read_bytes() == b"old"
    assert not [path for path in store.path.iterdir() if path.name.startswith(".")]
    (store.path / ".report.json.new").write_bytes(b"left over")
    assert store.write_file("report.json", b"new") is not None
    assert (store.path / "report.json").read_bytes() == b"new"
    store.close()


def test_a_run_directory_that_cannot_be_made_is_said_at_the_start(tmp_path: Path) -> None:
    create(tmp_path).close()
    with pytest.raises(SetupError, match="there already"):
        create(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SetupError, match="cannot make the run directory"):
        create(tmp_path / "file" / "runs")
    with pytest.raises(SetupError, match="not a run id"):
        RunStore.create(tmp_path, RunRecord(id="../up"), redact=as_it_is)


def test_trials_that_are_no_trials_are_damage(tmp_path: Path) -> None:
    store = create(tmp_path)
    store.close()
    path = store.path / TRIALS_FILE
    path.unlink()
    with path.open("wb", buffering=0) as file:
        writer = FrameWriter(file, MAGIC[TRIALS_FILE], prefix_only=False)
        writer.append(b"not zstandard")
        writer.close()
    with pytest.raises(SetupError, match="trial 0 is damaged"):
        list(StoredRun.open(store.path).trials())


def test_other_versions_and_damage_are_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="not a run directory"):
        RunStore.open(tmp_path)
    file = tmp_path / RUN_FILE
    file.write_text('{"format_version": 99}')
    with pytest.raises(SetupError, match=f"run format 99 cannot be read here; {FORMAT_VERSION} can"):
        RunStore.open(tmp_path)
    for damaged in ("{", "[]", '{"format_version": 1}', ""):
        file.write_text(damaged)
        with pytest.raises(SetupError, match="damaged"):
            RunStore.open(tmp_path)


def test_facts_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    store = create(tmp_path)
    store.add_fact("facts", {"seconds": "many"})
    store.close(finished=False)
    run = StoredRun.open(store.path)
    with pytest.raises(SetupError, match="damaged facts"):
        run.fact("facts", Facts)
    with pytest.raises(SetupError, match="has no others"):
        run.fact("others", Facts)
    assert run.blind() == [("run.json was not finished: the run ended early", 1)]


def test_files_that_are_gone_or_of_another_kind_are_named(tmp_path: Path) -> None:
    store = create(tmp_path)
    store.append_bets(b"one")
    store.close()
    run = StoredRun.open(store.path)
    (store.path / BETS_FILE).write_bytes(b"something else entirely")
    with pytest.raises(SetupError, match="not a file of this kind"):
        list(run.bets())
    (store.path / BETS_FILE).unlink()
    with pytest.raises(SetupError, match="missing"):
        list(run.bets())
    (store.path / BETS_FILE).mkdir()
    with pytest.raises(SetupError, match="cannot be read"):
        list(run.bets())


def test_memory_is_bounded_by_the_buffer(tmp_path: Path) -> None:
    store = create(tmp_path)
    for _ in range(3000):
        store.append_bets(b"x" * 100)
    assert (store.path / BETS_FILE).stat().st_size > 3000 * 100 - STORE_BUFFER_BYTES_MAX
    store.close()


def killed(base: Path) -> Path:
    """A run of which nobody closed the files: two trials' bets and one trial were flushed, and a tail was torn."""
    sinks: list[Sink] = []

    def opener(path: Path) -> Sink:
        sinks.append(new_file(path))
        return sinks[-1]

    store = create(base, opener=opener)
    store.append_bets(b"one")
    assert store.keep_trial(TRIAL, DIFFERS)
    store.append_bets(b"two")
    flushed = store.flush()
    assert flushed == Flushed((store.path / BETS_FILE).stat().st_size, (store.path / TRIALS_FILE).stat().st_size)
    store.sync()
    os.close(store.take_lock() or -1)
    for sink in sinks:
        sink.close()
    with (store.path / BETS_FILE).open("ab") as file:
        file.write(b"torn")
    return store.path


def test_a_killed_run_goes_on_where_it_is_whole(tmp_path: Path) -> None:
    path = killed(tmp_path)
    shown: list[bytes] = []
    whole = measured(path, Flushed(), shown.append)
    assert (shown, whole.bets.cut, whole.trials) == ([b"one", b"two"], 4, (1, (path / TRIALS_FILE).stat().st_size, 0))
    lock = lock_folder(path)
    store = RunStore.go_on(path, RunStore.open(path).record, whole, redact=as_it_is, lock=lock)
    assert not store.record.finished
    with pytest.raises(BlockingIOError):
        lock_folder(path)
    store.append_bets(b"three")
    assert store.keep_trial(TRIAL, DIFFERS)
    assert len(list(store.kept())) == 2
    store.close()
    run = RunStore.open(path)
    assert (list(run.bets()), run.record.bets, run.record.trials, run.record.finished) == ([b"one", b"two", b"three"], 3, 2, True)
    assert run.blind() == []


def test_a_run_that_went_on_is_never_discarded(tmp_path: Path) -> None:
    path = killed(tmp_path)
    store = RunStore.go_on(path, RunStore.open(path).record, measured(path, Flushed(), lambda _: None), redact=as_it_is)
    store.discard()
    assert list(RunStore.open(path).bets()) == [b"one", b"two"]


def test_a_killed_run_whose_files_are_gone_cannot_go_on(tmp_path: Path) -> None:
    path = killed(tmp_path)
    whole = measured(path, Flushed(), lambda _: None)
    for name in (TRIALS_FILE, BETS_FILE):
        (path / name).unlink()
        with pytest.raises(SetupError, match="cannot be written"):
            RunStore.go_on(path, RunStore.open(path).record, whole, redact=as_it_is)
