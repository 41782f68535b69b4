"""The folder in which a run's processes meet: private, and taken away without touching anything else."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness.app import run_folder as module
from harness.app.run_folder import RunFolder, remove_as_orphan


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def filled() -> tuple[RunFolder, Path]:
    folder = RunFolder.create()
    path = Path(folder.run_socket).parent
    for name in (folder.run_socket, folder.compare_socket(3), str(folder.counts(0))):
        Path(name).touch()
    return folder, path


def test_it_is_private_and_leaves_nothing(tmp_path: Path) -> None:
    folder, path = filled()
    assert path.parent == tmp_path
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert len(list(path.iterdir())) == 3
    folder.remove()
    assert list(tmp_path.iterdir()) == []
    folder.remove()


def test_what_is_not_its_own_stays(tmp_path: Path) -> None:
    folder, path = filled()
    (path / "precious").write_text("kept", encoding="utf-8")
    folder.remove()
    assert [found.name for found in path.iterdir()] == ["precious"]
    RunFolder(tmp_path).remove()
    assert (path / "precious").exists()


def test_a_worker_whose_supervisor_lives_leaves_the_folder_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ORPHAN_SECONDS_MAX", 0.05)
    folder, path = filled()
    remove_as_orphan(folder.run_socket, os.getppid())
    assert len(list(path.iterdir())) == 3


def test_an_orphan_takes_it_away() -> None:
    """A parent that starts a child, which goes on after the parent's death."""
    folder, path = filled()
    child = (
        "import os,sys; from harness.app.run_folder import remove_as_orphan; remove_as_orphan(sys.argv[1], int(sys.argv[2])); print('done')"
    )
    parent = f"import os,subprocess,sys; subprocess.Popen([sys.executable, '-c', {child!r}, sys.argv[1], str(os.getpid())])"
    done = subprocess.run([sys.executable, "-c", parent, folder.run_socket], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "done\n", "its output is read until the child has ended"
    assert not path.exists()


def test_what_was_counted_is_kept_where_the_run_is(tmp_path: Path) -> None:
    """By the worker that takes the folder of a dead supervisor away; a place that is gone does no harm."""
    folder, path = filled()
    folder.save_counts()
    kept = tmp_path / "run"
    kept.mkdir()
    folder.keep_counts_in(kept)
    folder.counts(0).write_bytes(b"some")
    folder.save_counts()
    assert [(found.name, found.read_bytes(), stat.S_IMODE(found.stat().st_mode)) for found in kept.iterdir()] == [
        ("counts-0", b"some", 0o600)
    ]
    folder.keep_counts_in(tmp_path / "gone")
    folder.save_counts()
    assert folder.path == path
    folder.remove()
    assert not path.exists()
