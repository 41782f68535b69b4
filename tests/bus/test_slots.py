"""Counts that outlive their process: seen at once by who reads them, and still there when the writer was killed."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness.bus.slots import BreakerSlots, Slots
from harness.core.labels import Role, ShedReason

COUNT_AND_DIE = """
import os, signal, sys
from pathlib import Path
from harness.bus.slots import BreakerSlots, Slots
from harness.core.labels import Role, ShedReason
slots = Slots(Path(sys.argv[1]))
slots.tally.entered(5)
slots.tally.shed(ShedReason.RATE)
slots.tally.handed_on()
slots.show(shadows=2, uncompared=3)
slots.beat()
slots.show_breaker(Role.CANDIDATE, BreakerSlots(2, 9))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_reader_sees_each_change_at_once(tmp_path: Path) -> None:
    reader = Slots.create(tmp_path / "counts")
    writer = Slots(tmp_path / "counts")
    assert (reader.tally.totals().requests, reader.shadows, reader.uncompared) == (0, 0, 0)
    writer.tally.entered()
    writer.show(shadows=7, uncompared=2**40)
    assert (reader.tally.totals().requests, reader.shadows, reader.uncompared) == (1, 7, 2**40)
    assert reader.beats == 0
    writer.beat()
    writer.beat()
    assert reader.beats == 2
    writer.show_breaker(Role.SECONDARY, BreakerSlots(1, 5))
    writer.show_breaker(Role.CANDIDATE, BreakerSlots(3, 2**40))
    assert [reader.breaker(role) for role in (Role.SECONDARY, Role.CANDIDATE)] == [(1, 5), (3, 2**40)]
    assert (reader.tally.totals().requests, reader.shadows, reader.uncompared) == (1, 7, 2**40), "each has a place of its own"
    with pytest.raises(KeyError):
        reader.breaker(Role.STABLE)


def test_what_was_counted_outlives_a_killed_process(tmp_path: Path) -> None:
    slots = Slots.create(tmp_path / "counts")
    done = subprocess.run([sys.executable, "-c", COUNT_AND_DIE, str(tmp_path / "counts")], check=False, timeout=60)
    assert done.returncode == -9
    assert slots.tally.totals().shed == {ShedReason.RATE: 1}
    assert (slots.tally.in_hand, slots.tally.trials_handed_on, slots.shadows, slots.uncompared) == (3, 1, 2, 3)
    assert (slots.beats, slots.breaker(Role.CANDIDATE)) == (1, (2, 9))


def test_the_file_is_private_and_never_somebody_elses(tmp_path: Path) -> None:
    Slots.create(tmp_path / "counts")
    assert stat.S_IMODE((tmp_path / "counts").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        Slots.create(tmp_path / "counts")
    with pytest.raises(FileNotFoundError):
        Slots(tmp_path / "none")
