"""Reading captures: what can be sent, what is broken, and what is said of it."""

import os
from pathlib import Path

import pytest

from harness.app.captures import capture_info, load
from harness.core.errors import CaptureError
from harness.core.labels import SkipReason
from harness.core.values import Response
from tests.app.support import Heard, capture, get, items

BROKEN = "1 zz 12 0\nnot http at all\n🐵🙈🙉\n".encode()


def test_what_can_be_sent_is_left_as_it_is(tmp_path: Path) -> None:
    loaded = load([capture(tmp_path / "a.gor", items(3), Response(200))], skip_broken=False)
    assert [entry.request.target for entry in loaded.entries] == ["/items/0", "/items/1", "/items/2"]
    assert loaded.broken == ()
    assert loaded.skipped == {}


def test_an_entry_that_cannot_be_sent_is_a_broken_one(tmp_path: Path) -> None:
    file = capture(tmp_path / "a.gor", [get("/1"), get("*"), get("/2")])
    with pytest.raises(CaptureError, match="cannot be sent") as caught:
        load([file], skip_broken=False)
    assert caught.value.where == f"{file}, entry 1"
    loaded = load([file], skip_broken=True)
    assert [entry.index for entry in loaded.entries] == [0, 2]
    assert [(entry.index, entry.file) for entry in loaded.broken] == [(1, str(file))]
    assert loaded.skipped == {SkipReason.BROKEN_ENTRY: 1}
    assert loaded.requests == 3


def test_both_kinds_of_broken_entries_are_counted_together(tmp_path: Path) -> None:
    file = capture(tmp_path / "a.gor", [get("/1"), get("*")])
    file.write_bytes(file.read_bytes() + BROKEN)
    loaded = load([file], skip_broken=True)
    assert [entry.index for entry in loaded.broken] == [2, 1]
    assert loaded.skipped == {SkipReason.BROKEN_ENTRY: 2}


def test_a_capture_of_which_nothing_can_be_sent_is_refused(tmp_path: Path) -> None:
    file = capture(tmp_path / "a.gor", [get("*")])
    for skip_broken in (True, False):
        with pytest.raises(CaptureError) as caught:
            load([file], skip_broken=skip_broken)
        assert str(file) in caught.value.where


def test_a_file_whose_name_nothing_can_be_written_with_is_refused_at_once(tmp_path: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path / "a") + b"\xff.gor"))
    capture(tmp_path / "a.gor", items(1)).rename(file)
    with pytest.raises(CaptureError, match="not UTF-8") as caught:
        load([file], skip_broken=True)
    assert caught.value.where.encode("utf-8").endswith(rb"a\udcff.gor")


def test_options_of_a_server_as_a_whole_can_be_sent(tmp_path: Path) -> None:
    assert len(load([capture(tmp_path / "a.gor", [get("*", method="OPTIONS")])], skip_broken=False).entries) == 1


def test_a_capture_is_described_with_what_is_wrong_in_it(tmp_path: Path) -> None:
    file = capture(tmp_path / "a.gor", [*items(3), get("*"), get("/orders", method="POST", body=b"{}")], Response(404))
    ui = Heard()
    assert capture_info([file], ui) == 0
    assert "5, of which 4 can be sent" in ui.text
    assert "broken_entry 1" in ui.text
    assert "entry 3 of" in ui.text
    assert "GET 3, POST 1" in ui.text
    assert "4xx 4" in ui.text
    assert "shop.test 4" in ui.text


def test_nothing_of_a_file_name_reaches_the_terminal_as_it_is(tmp_path: Path) -> None:
    ui = Heard()
    capture_info([capture(tmp_path / "a\x1b[31m.gor", items(1))], ui)
    assert "\x1b" not in ui.text
    assert "none" in ui.text
