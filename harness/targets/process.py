"""One command under its guard: started, listened to, ended. It knows nothing of ports, readiness or roles."""

import asyncio
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from harness.core.limits import TARGET_OUTPUT_LINE_CHARS_MAX, TARGET_OUTPUT_LINES_MAX

LOOPBACK: Final = "127.0.0.1"
_READ_BYTES: Final = 64 * 1024
_GUARD_MARGIN_S: Final = 10.0
"""What the guard may take beyond the grace period, to find and kill what is left, before it is killed itself."""


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago. Another program may take it first: callers retry."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class OutputTail:
    """The last lines of a stream of output, however long it is and however long its lines are."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=TARGET_OUTPUT_LINES_MAX)
        self._open = b""
        self._cut = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        *complete, last = data.split(b"\n")
        for line in complete:
            self._keep(line)
            self._lines.append(self._text())
            self._open, self._cut = b"", False
        self._keep(last)

    def lines(self) -> tuple[str, ...]:
        """The last lines, oldest first; a line without an end yet is the last."""
        return (*self._lines, self._text()) if self._open else tuple(self._lines)

    def _keep(self, part: bytes) -> None:
        room = TARGET_OUTPUT_LINE_CHARS_MAX - len(self._open)
        self._cut = self._cut or len(part) > room
        self._open += part[:room]

    def _text(self) -> str:
        return self._open.decode("utf-8", "replace").rstrip("\r") + ("…" if self._cut else "")


class GuardedProcess:
    """A running command. Its output is always read, so that it never blocks on a full pipe."""

    def __init__(self, process: asyncio.subprocess.Process, *, grace_s: float, tail: OutputTail) -> None:
        self._process = process
        self._grace_s = grace_s
        self._tail = tail
        self._reader = asyncio.create_task(self._read(), name="target-output")

    @classmethod
    async def start(cls, command: Sequence[str], *, env: Mapping[str, str], cwd: str, grace_s: float, tail: OutputTail) -> "GuardedProcess":
        """Start `command` in `cwd` with exactly `env`; a command that does not exist shows as an early exit."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "harness.targets.guard",
            f"{grace_s:g}",
            cwd,
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(env),
            start_new_session=True,
        )
        return cls(process, grace_s=grace_s, tail=tail)

    @property
    def pid(self) -> int:
        """Process id of the guard."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while the command runs; see `guard.exit_sentence`."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until the command has ended and its output was read; its exit code."""
        code = await self._process.wait()
        await self._finish_reading()
        return code

    async def stop(self) -> None:
        """End the command and all it started: SIGTERM, the grace period, SIGKILL. Calling it again does no harm.

        From its first step on the guard does the work by itself, so a cancelled stop still ends the command.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(self._grace_s + _GUARD_MARGIN_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._finish_reading()

    async def _finish_reading(self) -> None:
        done, _ = await asyncio.wait({self._reader}, timeout=1.0)
        if not done:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        while data := await stdout.read(_READ_BYTES):
            self._tail.feed(data)
