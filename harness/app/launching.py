"""Starts the processes of a fleet. What they are to do they are told later, over their links."""

import asyncio
import sys
from typing import Final

from harness.app.members import Place, Worker
from harness.app.run_folder import RunFolder

START_SECONDS_MAX: Final = 60.0
"""How long a worker may take until it serves."""
RESTART_SECONDS: Final = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Waits before a worker that died is replaced, by how often in a row it lived for less than SHORT_LIFE_SECONDS."""
SHORT_LIFE_SECONDS: Final = 10.0


class Launcher:
    """Numbers processes, and remembers which kinds of them die soon. Belongs to the running event loop."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._loop = asyncio.get_running_loop()
        self._numbers = 0
        self._short_lives: dict[tuple[bool, int], int] = {}

    async def start(self, number_of_kind: int, at: Place | None) -> Worker:
        """Start an ingress worker at its place, or (None) a compare worker. Raises OSError where the system has no room for one."""
        number, self._numbers = self._numbers, self._numbers + 1
        run_socket = self._folder.run_socket
        if at is not None:
            descriptor = at.listening.fileno()
            arguments = ["harness.app.ingress_worker", run_socket, str(at.path), str(number), str(descriptor)]
            kept: tuple[int, ...] = (descriptor,)
        else:
            arguments = ["harness.app.compare_worker", run_socket, self._folder.compare_socket(number), str(number)]
            kept = ()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=kept,
        )
        return Worker(process, number, number_of_kind, ingress=at is not None, since_s=self._loop.time())

    def wait_before_next_s(self, gone: Worker) -> float:
        """How long to wait before a worker that has just died is replaced."""
        key = (gone.ingress, gone.place)
        short = self._loop.time() - gone.since_s < SHORT_LIFE_SECONDS
        times = self._short_lives[key] = self._short_lives.get(key, 0) + 1 if short else 0
        return RESTART_SECONDS[min(times, len(RESTART_SECONDS) - 1)]
