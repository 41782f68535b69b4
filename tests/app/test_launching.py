"""Processes are numbered and started with what is theirs, and replaced the later, the sooner they die again."""

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.app.launching import RESTART_SECONDS, SHORT_LIFE_SECONDS, Launcher
from harness.app.members import Place
from harness.app.run_folder import RunFolder

SAYS_ITS_ARGUMENTS = """#!/bin/sh
echo "$@" > "{folder}/said-$$"
exec sleep 0
"""


@contextmanager
def at(folder: Path) -> Iterator[Place]:
    with socket.socket() as listening:
        yield Place(listening, folder / "counts-1")


def test_each_process_has_a_number_of_its_own_and_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text(SAYS_ITS_ARGUMENTS.format(folder=tmp_path), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))

    async def main() -> None:
        launcher = Launcher(RunFolder(tmp_path))
        with at(tmp_path) as place:
            started = [await launcher.start(0, None), await launcher.start(1, place), await launcher.start(0, None)]
            descriptor = place.listening.fileno()
        said = []
        for worker in started:
            assert await worker.process.wait() == 0
            said.append((tmp_path / f"said-{worker.process.pid}").read_text(encoding="utf-8").split())
            worker.ready.cancel()
        assert [(worker.number, worker.place, worker.ingress) for worker in started] == [(0, 0, False), (1, 1, True), (2, 0, False)]
        run = f"{tmp_path}/run.sock"
        assert said == [
            ["-P", "-m", "harness.app.compare_worker", run, f"{tmp_path}/compare-0.sock", "0"],
            ["-P", "-m", "harness.app.ingress_worker", run, f"{tmp_path}/counts-1", "1", str(descriptor)],
            ["-P", "-m", "harness.app.compare_worker", run, f"{tmp_path}/compare-2.sock", "2"],
        ]

    asyncio.run(main())


@given(lives=st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.booleans()), max_size=30))
def test_who_dies_soon_again_and_again_is_replaced_later_and_later(lives: list[tuple[bool, int, bool]]) -> None:
    """Each place of each kind for itself; one that lived long is replaced at once."""

    class Gone:
        def __init__(self, ingress: bool, place: int, since_s: float) -> None:
            self.ingress, self.place, self.since_s = ingress, place, since_s

    async def main() -> None:
        launcher, now_s = Launcher(RunFolder(Path("none"))), asyncio.get_running_loop().time()
        in_a_row: dict[tuple[bool, int], int] = {}
        for ingress, place, short in lives:
            gone = Gone(ingress, place, now_s if short else now_s - 2 * SHORT_LIFE_SECONDS)
            times = in_a_row[ingress, place] = in_a_row.get((ingress, place), 0) + 1 if short else 0
            assert launcher.wait_before_next_s(gone) == RESTART_SECONDS[min(times, len(RESTART_SECONDS) - 1)]  # type: ignore[arg-type]  # a process is only its number here

    asyncio.run(main())
