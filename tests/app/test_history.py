"""The history of a run's epochs: what is appended, bounded and read again."""

from pathlib import Path

import pytest

from harness.app import history as module
from harness.app.history import HISTORY_FILE, ClosedBy, History, HistoryEntry, read_history
from harness.core.labels import ReasonCode, VerdictState
from harness.core.limits import HISTORY_ENTRIES_MAX


def entry(number: int, verdict: VerdictState = VerdictState.PASS, build: str = "b") -> HistoryEntry:
    return HistoryEntry(
        run=f"r.{number}",
        epoch=number,
        build=build,
        since=float(number),
        until=number + 1.0,
        closed_by=ClosedBy.PERIOD,
        verdict=verdict,
        code=1,
        reason=ReasonCode.CLAIM_REACHED,
        message="m",
        requests=3,
        alpha=0.01,
    )


def test_each_epoch_is_a_line_and_memory_is_bounded(tmp_path: Path) -> None:
    history = History(tmp_path)
    entries = [entry(number) for number in range(HISTORY_ENTRIES_MAX + 5)]
    for one in entries:
        history.add(one)
    assert read_history(tmp_path) == entries
    assert list(history.entries) == entries[5:]
    assert (tmp_path / HISTORY_FILE).stat().st_mode & 0o777 == 0o600


def test_the_file_is_bounded_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HISTORY_LINES_MAX", 4)
    history = History(tmp_path)
    for number in range(23):
        history.add(entry(number))
        assert len((tmp_path / HISTORY_FILE).read_bytes().splitlines()) <= 8
    assert read_history(tmp_path)[-1].epoch == 22
    assert len(read_history(tmp_path)) >= 4


def test_a_disk_that_fails_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    history = History(tmp_path / "not there")
    history.add(entry(1, VerdictState.FAIL, "bad"))
    assert (history.lost, len(history.entries), list(history.failed)) == (1, 1, ["bad"])
    assert read_history(tmp_path / "not there") == []


def test_an_epoch_that_failed_is_not_forgotten_with_the_next(tmp_path: Path) -> None:
    history = History(tmp_path)
    for one in (entry(1, VerdictState.FAIL, "a"), entry(2, VerdictState.PASS, "a")):
        history.add(one)
    assert list(history.failed) == ["a"]


def test_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.add(entry(1))
    with (tmp_path / HISTORY_FILE).open("ab") as file:
        file.write(b'{"run": "r.2", "ep\n')
    history.add(entry(3))
    assert [one.epoch for one in read_history(tmp_path)] == [1, 3]


def test_a_build_that_failed_is_not_forgotten_when_another_one_fails(tmp_path: Path) -> None:
    history = History(tmp_path)
    for number, build in enumerate(("a", "b", *(f"c{index}" for index in range(HISTORY_ENTRIES_MAX - 2))), start=1):
        history.add(entry(number, VerdictState.FAIL, build))
    assert {"a", "b"} <= history.failed.keys()
    history.add(entry(200, VerdictState.FAIL, "one more"))
    assert (len(history.failed), "a" in history.failed) == (HISTORY_ENTRIES_MAX, False)


def test_a_run_that_goes_on_knows_its_epochs(tmp_path: Path) -> None:
    before = History(tmp_path)
    before.add(entry(1, VerdictState.FAIL, "bad"))
    before.add(entry(2))
    after = History(tmp_path)
    assert list(after.entries) == list(before.entries)
    assert list(after.failed) == ["bad"]
    after.add(entry(3))
    assert [one.epoch for one in read_history(tmp_path)] == [1, 2, 3]
