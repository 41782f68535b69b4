"""The process between the harness and one command: whatever happens to the harness, the command and all it started end.

Run as `python -P -m harness.targets.guard GRACE_S FOLDER COMMAND...` with a pipe as standard input. It starts the
command in a session of its own and ends when the command ends, or, when the pipe closes (the harness stopped it, or was
killed), after SIGTERM, at most GRACE_S seconds, and SIGKILL to everything that descends from it. Standard library only.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

EXIT_NOT_FOUND: Final = 127
"""The command could not be started (as shells have it)."""
SIGNAL_BASE: Final = 128
"""Exit code of a command ended by signal N is 128 + N (as shells have it)."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_STOP_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_POLL_S: Final = 0.02
_KILL_ROUNDS_MAX: Final = 250
"""Rounds of finding and killing descendants: a fork bomb must not keep the guard for ever."""


def main(arguments: Sequence[str]) -> int:
    """Guard one command; returns the code to exit with (the command's own, 128 + N where signal N ended it)."""
    grace_s, folder, *command = arguments
    wake = _catch_signals()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    pid = _spawn(command, folder)
    status = _watch(pid, lifeline=sys.stdin.fileno(), wake=wake)
    if status is None:
        status = _terminate(pid, float(grace_s))
    _kill_rest(pid)
    code = 0 if status is None else os.waitstatus_to_exitcode(status)
    return SIGNAL_BASE - code if code < 0 else code


def exit_sentence(code: int) -> str:
    """What an exit code of the guard says about the command, for people."""
    if code == EXIT_NOT_FOUND:
        return "could not be started"
    if code > SIGNAL_BASE:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(code - SIGNAL_BASE).name}"
    return f"exited with code {code}"


def descendants(root: int) -> list[int]:
    """Process ids of everything alive below a process, from /proc; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            # The name in parentheses may hold anything, so fields are counted from the last parenthesis.
            state, parent, *_ = entry.read_text(errors="replace").rpartition(")")[2].split()
            if state != "Z":
                children.setdefault(int(parent), []).append(int(entry.parent.name))
    below: list[int] = []
    waiting = [root]
    while waiting:
        for number in children.get(waiting.pop(), ()):
            below.append(number)
            waiting.append(number)
    return below


def _catch_signals() -> int:
    """Signals wake the guard instead of ending it; returns the descriptor on which their numbers arrive."""
    wake, wake_in = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wake_in, False)
    signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, *_STOP_SIGNALS):
        signal.signal(number, lambda _number, _frame: None)
    return wake


def _prctl(option: int, value: int) -> None:
    """Linux only; elsewhere the process group is all that can be ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _spawn(command: Sequence[str], folder: str) -> int:
    """Start the command in a session (and process group) of its own; returns its process id."""
    guard = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(command, folder, guard)
    return pid


def _become(command: Sequence[str], folder: str, guard: int) -> NoReturn:  # pragma: no cover  # it is another program before it could tell
    """In the child: turn into the command. Never returns."""
    try:
        os.setsid()
        # If the guard itself is killed, the command at least goes with it.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(EXIT_NOT_FOUND)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, *_STOP_SIGNALS):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(folder)
        os.execvp(command[0], list(command))  # noqa: S606  # no shell is what is wanted
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(EXIT_NOT_FOUND)


def _watch(pid: int, *, lifeline: int, wake: int) -> int | None:
    """Wait until the command ends (its wait status) or the guard is told to stop (None)."""
    while True:
        readable, _, _ = select.select([lifeline, wake], [], [])
        if wake in readable:
            numbers = os.read(wake, 4096)
            status = _reap(pid)
            if status is not None:
                return status
            if _STOP_SIGNALS.intersection(numbers):
                return None
        if lifeline in readable:
            return None


def _terminate(pid: int, grace_s: float) -> int | None:
    """SIGTERM to all, then wait for all to end, at most `grace_s` seconds; the command's wait status if it ended."""
    deadline = time.monotonic() + grace_s
    # Each process once: to some servers a second SIGTERM means "now".
    below = descendants(os.getpid())
    for number in below:
        _send(number, signal.SIGTERM)
    if not below:
        _send_group(pid, signal.SIGTERM)
    status = None
    while time.monotonic() < deadline:
        ended = _reap(pid)
        status = status if ended is None else ended
        if status is not None and not descendants(os.getpid()):
            break
        time.sleep(_POLL_S)
    return status


def _kill_rest(pid: int) -> None:
    """SIGKILL whatever still descends from the guard: orphans come to it, since it is their reaper (Linux)."""
    for _ in range(_KILL_ROUNDS_MAX):
        _send_group(pid, signal.SIGKILL)
        for number in descendants(os.getpid()):
            _send(number, signal.SIGKILL)
        _reap(pid)
        if not descendants(os.getpid()):
            return
        time.sleep(_POLL_S)


def _reap(pid: int) -> int | None:
    """Collect all ended children; the wait status of `pid` if it is among them."""
    found = None
    with suppress(ChildProcessError):
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == 0:
                break
            if ended == pid:
                found = status
    return found


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _send_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
