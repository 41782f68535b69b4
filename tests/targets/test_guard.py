"""The guard ends a command and all it started, also when its parent is killed without a word."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.targets import guard
from tests.targets.builds import STUBBORN, WAIT_S, alive, pid_in, script, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def start_guard(folder: Path, *command: str, grace_s: str = "5") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "harness.targets.guard", grace_s, str(folder), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=WAIT_S)
    return process.returncode, output.decode()


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        (["sh", "-c", "echo done; exit 0"], 0, "exited with code 0"),
        (["sh", "-c", "echo done; exit 7"], 7, "exited with code 7"),
        (["sh", "-c", "echo done; kill -SEGV $$"], 128 + signal.SIGSEGV, "was ended by SIGSEGV"),
    ],
)
def test_the_command_ends_by_itself(tmp_path: Path, command: list[str], code: int, sentence: str) -> None:
    process = start_guard(tmp_path, *command)
    assert process.wait(timeout=WAIT_S) == code
    assert finish(process) == (code, "done\n")
    assert guard.exit_sentence(code) == sentence


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    process = start_guard(tmp_path, "no-such-command")
    process.wait(timeout=WAIT_S)
    code, output = finish(process)
    assert code == guard.EXIT_NOT_FOUND
    assert guard.exit_sentence(code) == "could not be started"
    assert output == "cannot start no-such-command: No such file or directory\n"


def test_an_exit_code_beyond_the_signals() -> None:
    assert guard.exit_sentence(255) == "exited with code 255"


def test_the_folder_and_no_input(tmp_path: Path) -> None:
    process = start_guard(tmp_path, "sh", "-c", "pwd; cat")
    process.wait(timeout=WAIT_S)
    assert finish(process) == (0, f"{tmp_path}\n")


def test_sigpipe_is_as_usual_for_the_command(tmp_path: Path) -> None:
    # Python ignores SIGPIPE, and what is ignored stays ignored in a started program unless it is put back.
    process = start_guard(tmp_path, "sh", "-c", "kill -PIPE $$; echo survived")
    process.wait(timeout=WAIT_S)
    assert finish(process) == (128 + signal.SIGPIPE, "")


def test_a_polite_command_ends_on_sigterm_once(tmp_path: Path) -> None:
    text = """
import pathlib, signal, sys, time
seen = []
signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
pathlib.Path("main").write_text("1")
while not seen:
    time.sleep(0.01)
time.sleep(0.2)
print("terms", len(seen))
"""
    process = start_guard(tmp_path, *script(tmp_path, "polite.py", text).split())
    pid_in(tmp_path / "main")
    assert finish(process) == (0, "terms 1\n")


@pytest.mark.parametrize("how", ["pipe", "signal"])
def test_everything_ends_when_told_to_stop(tmp_path: Path, how: str) -> None:
    process = start_guard(tmp_path, *script(tmp_path, "stubborn.py", STUBBORN).split(), str(tmp_path), grace_s="0.2")
    pids = [pid_in(tmp_path / name) for name in ("main", "child", "daemon")]
    assert all(map(alive, pids))
    if how == "signal":
        process.terminate()
        process.wait(timeout=WAIT_S)
    finish(process)
    assert not any(map(alive, pids))


def test_what_a_command_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    process = start_guard(tmp_path, "sh", "-c", "sleep 600 & echo $! > left; exit 3")
    left = pid_in(tmp_path / "left")
    assert process.wait(timeout=WAIT_S) == 3
    finish(process)
    assert not alive(left)


PARENT = """
import os, subprocess, sys, time
folder = sys.argv[1]
subprocess.Popen(
    [sys.executable, "-P", "-m", "harness.targets.guard", "0.2", folder, *sys.argv[2:], folder],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
)
time.sleep(600)
"""


def test_no_orphan_when_the_harness_is_killed(tmp_path: Path) -> None:
    command = script(tmp_path, "stubborn.py", STUBBORN).split()
    parent = subprocess.Popen([*script(tmp_path, "parent.py", PARENT).split(), str(tmp_path), *command])
    try:
        pids = [pid_in(tmp_path / name) for name in ("main", "child", "daemon")]
        assert all(map(alive, pids))
    finally:
        parent.kill()
        parent.wait(timeout=WAIT_S)
    until(lambda: not any(map(alive, pids)), "the build and its children to end")


def test_the_command_goes_with_a_killed_guard(tmp_path: Path) -> None:
    process = start_guard(tmp_path, "sh", "-c", "echo $$ > main; exec sleep 600")
    main = pid_in(tmp_path / "main")
    process.kill()
    finish(process)
    until(lambda: not alive(main), "the command to end")


def test_signals_to_what_is_gone_do_no_harm() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    guard._send(child, signal.SIGTERM)
    guard._send_group(child, signal.SIGTERM)
