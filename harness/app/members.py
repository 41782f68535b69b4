"""Who belongs to a fleet: its processes, and the places of its ingress workers, which outlive them."""

import asyncio
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from harness.bus.link import Link
from harness.bus.slots import Slots
from harness.core.errors import ShadowdiffError
from harness.counters import Counters


class Worker:
    """A process of the fleet, from its start until nothing more can come of it."""

    def __init__(self, process: asyncio.subprocess.Process, number: int, place: int, *, ingress: bool, since_s: float) -> None:
        """`since_s` is now, in the loop's time."""
        self.process = process
        self.number = number
        """A compare worker's own; an ingress worker's stream. Never used again."""
        self.place = place
        """Which of its kind it is; its successor has the same."""
        self.ingress = ingress
        self.since_s = since_s
        self.heard_s = since_s
        """When something last came from it."""
        self.link: Link | None = None
        self.over = False
        """Its link is over: nothing that it sent is unread."""
        self.exited = False
        self.ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.counters: Counters | None = None
        self.failure: ShadowdiffError | None = None

    def kill(self) -> None:
        """End the process at once, where it has not ended."""
        # Not by Popen: it would reap a process that has just ended, and take its exit code away from who waits for it.
        if not self.exited:
            with suppress(ProcessLookupError, ChildProcessError):
                os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # raises where the id is free again
                os.kill(self.process.pid, signal.SIGKILL)


class Place:
    """An ingress worker's listening socket and counts, which its successor takes over."""

    def __init__(self, listening: socket.socket, path: Path) -> None:
        """`path` must be free: the counts are made there."""
        self.listening = listening
        self.slots = Slots.create(path)
        self.path = path
        self._handed_on_before = 0
        self._written_off = 0
        """Requests that earlier workers of this place had in hand when they died."""

    def vacated(self) -> tuple[int, int]:
        """Its worker is gone: how many requests it had in hand, and how many trials it had handed on."""
        tally = self.slots.tally
        in_hand = max(0, tally.in_hand - self._written_off)
        handed_on = tally.trials_handed_on - self._handed_on_before
        self._written_off += in_hand
        self._handed_on_before += handed_on
        self.slots.show(shadows=0, uncompared=0)
        return in_hand, handed_on
