"""A command under its guard: output kept within bounds, ends told apart."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.limits import TARGET_OUTPUT_LINE_CHARS_MAX, TARGET_OUTPUT_LINES_MAX
from harness.targets import process as process_module
from harness.targets.process import GuardedProcess, OutputTail, free_port
from tests.targets.builds import WAIT_S, alive, pid_in, script, until

DEAF = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("main").write_text(str(os.getpid()))
time.sleep(600)
"""


async def start(folder: Path, *command: str, grace_s: float = 5.0) -> tuple[GuardedProcess, OutputTail]:
    tail = OutputTail()
    return await GuardedProcess.start(command, env=os.environ, cwd=str(folder), grace_s=grace_s, tail=tail), tail


@given(st.lists(st.binary(max_size=40)), st.integers(1, 7))
def test_tail_does_not_depend_on_how_the_output_was_cut(parts: list[bytes], size: int) -> None:
    data = b"\n".join(parts)
    whole, pieces = OutputTail(), OutputTail()
    whole.feed(data)
    for start_at in range(0, len(data), size):
        pieces.feed(data[start_at : start_at + size])
    assert whole.lines() == pieces.lines()


def test_tail_is_bounded_both_ways() -> None:
    tail = OutputTail()
    for number in range(TARGET_OUTPUT_LINES_MAX + 10):
        tail.feed(b"line %d\r\n" % number)
    tail.feed(b"x" * 10 * TARGET_OUTPUT_LINE_CHARS_MAX)
    lines = tail.lines()
    assert len(lines) == TARGET_OUTPUT_LINES_MAX + 1
    assert lines[0] == "line 10"
    assert lines[-1] == "x" * TARGET_OUTPUT_LINE_CHARS_MAX + "…"


def test_tail_takes_what_is_no_text() -> None:
    tail = OutputTail()
    tail.feed(b"\xff\xfe\n")
    assert tail.lines() == ("��",)


def test_free_port_can_be_bound() -> None:
    assert 1024 <= free_port() < 65536


def test_output_of_both_streams_and_the_exit_code(tmp_path: Path) -> None:
    async def go() -> None:
        process, tail = await start(tmp_path, "sh", "-c", "echo out; echo err >&2; exit 4")
        assert await process.wait() == 4
        assert process.exit_code == 4
        assert set(tail.lines()) == {"out", "err"}
        await process.stop()
        await process.stop()

    asyncio.run(go())


def test_a_flood_of_output_never_blocks_the_command(tmp_path: Path) -> None:
    async def go() -> None:
        process, tail = await start(tmp_path, sys.executable, "-c", "for n in range(60000): print('line', n)")
        assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
        assert tail.lines()[-1] == "line 59999"

    asyncio.run(go())


def test_stop_ends_a_command_that_ignores_sigterm(tmp_path: Path) -> None:
    async def go() -> None:
        process, _ = await start(tmp_path, *script(tmp_path, "deaf.py", DEAF).split(), grace_s=0.1)
        main = await asyncio.to_thread(pid_in, tmp_path / "main")
        assert process.exit_code is None
        assert alive(process.pid)
        await process.stop()
        assert not alive(main)
        assert process.exit_code is not None

    asyncio.run(go())


def test_a_guard_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_GUARD_MARGIN_S", 0.1)

    async def go() -> None:
        process, _ = await start(tmp_path, "sh", "-c", "echo $$ > main; exec sleep 600", grace_s=0.1)
        main = await asyncio.to_thread(pid_in, tmp_path / "main")
        os.kill(process.pid, 19)  # SIGSTOP: the guard cannot do its work
        await process.stop()
        assert process.exit_code == -9
        await asyncio.to_thread(until, lambda: not alive(main), "the command to end")

    asyncio.run(go())


def test_output_held_open_by_a_stranger_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async def go() -> None:
        process, _ = await start(tmp_path, "true")
        code = await process._process.wait()
        await process._reader
        process._reader = asyncio.create_task(asyncio.sleep(600))
        assert await process.wait() == code == 0
        assert process._reader.cancelled()

    asyncio.run(go())
