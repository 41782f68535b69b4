"""The report of an unexpected error."""

import tempfile
from pathlib import Path

import pytest

from harness.cli.crash import report_of, write_report


def failed() -> Exception:
    secret = "s3cret"
    try:
        raise ValueError(f"bad \udc80 of length {len(secret)}")
    except ValueError as error:
        return error


def test_it_has_version_and_traceback_and_no_variables() -> None:
    text = report_of(failed())
    assert text.startswith("shadowdiff ")
    assert "Traceback" in text
    assert "ValueError: bad" in text
    assert "s3cret" not in text.replace('secret = "s3cret"', "")


def test_it_goes_to_the_folder_else_to_the_temporary_one_else_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / "run"
    folder.mkdir()
    places = [write_report(failed(), folder), write_report(failed(), tmp_path / "gone"), write_report(failed(), None)]
    assert [path is not None and path.parent for path in places] == [folder, tmp_path, tmp_path]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert write_report(failed(), None) is None
