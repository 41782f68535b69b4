"""Who belongs to a fleet: its processes, and the places of its ingress workers, which outlive them."""

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from harness.bus.link import Link
from harness.bus.messages import Applied, Comparers, Mirror, Reload, SeenEffects, Stop
from harness.bus.slots import BreakerSlots, Slots
from harness.core.errors import ShadowdiffError
from harness.core.labels import Role
from harness.core.limits import BUS_UNSENT_BYTES_MAX
from harness.counters import Counters, merged


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
        """When there was last a sign of life."""
        self.beats = 0
        """Of an ingress worker: what its place's beats were then."""
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

    def debugged(self) -> bool:
        """Whether a debugger holds the process. Where the system does not tell (it needs /proc), none does."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        _, _, tracer = status.partition("\nTracerPid:")
        return tracer.split("\n", 1)[0].strip() not in {"", "0"}


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
        self._opened_before: Counter[Role] = Counter()
        """How often breakers of earlier workers opened."""

    def vacated(self) -> tuple[int, int]:
        """Its worker is gone: how many requests it had in hand, and how many trials it had handed on."""
        tally = self.slots.tally
        in_hand = max(0, tally.in_hand - self._written_off)
        handed_on = tally.trials_handed_on - self._handed_on_before
        self._written_off += in_hand
        self._handed_on_before += handed_on
        self.slots.show(shadows=0, uncompared=0)
        for role in (Role.SECONDARY, Role.CANDIDATE):
            self._opened_before[role] += self.slots.breaker(role).opened
            self.slots.show_breaker(role, BreakerSlots(0, 0))
        return in_hand, handed_on

    def breaker(self, role: Role) -> BreakerSlots:
        """How its worker's breaker of a shadow target stands, and how often it and those of earlier workers opened."""
        state, opened = self.slots.breaker(role)
        return BreakerSlots(state, self._opened_before[role] + opened)

    @property
    def answered(self) -> int:
        """About how many requests stable has answered."""
        totals = self.slots.tally.totals()
        mirrored = self.slots.tally.trials_handed_on + self.slots.shadows
        return mirrored + sum(totals.shed.values()) + sum(totals.skipped.values())


class Members:
    """The workers there are, who of them speaks over which link, and what those that are gone have counted."""

    def __init__(self) -> None:
        self._workers: set[Worker] = set()
        self._by_link: dict[Link, Worker] = {}
        self._retired = Counters()

    def __iter__(self) -> Iterator[Worker]:
        """A copy: members may come and go meanwhile."""
        return iter(list(self._workers))

    def __len__(self) -> int:
        return len(self._workers)

    def __contains__(self, worker: Worker) -> bool:
        return worker in self._workers

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, for people and tests."""
        return {f"{'ingress' if worker.ingress else 'compare'} {worker.place}": worker.process.pid for worker in self._workers}

    @property
    def ingress(self) -> list[Worker]:
        """Those that serve clients."""
        return [worker for worker in self._workers if worker.ingress]

    @property
    def comparers(self) -> list[Worker]:
        """Those that compare, and have greeted."""
        return [worker for worker in self._workers if not worker.ingress and worker.link is not None and not worker.over]

    def add(self, worker: Worker) -> None:
        """A process was started."""
        self._workers.add(worker)

    def remove(self, worker: Worker) -> None:
        """Nothing more can come of it."""
        self._workers.discard(worker)

    def awaited(self, number: int | None) -> Worker | None:
        """Who has this number and has not greeted yet."""
        return next((worker for worker in self._workers if worker.number == number and worker.link is None), None)

    def linked(self, worker: Worker, link: Link) -> None:
        """It has greeted."""
        worker.link = link
        self._by_link[link] = worker

    def of(self, link: Link) -> Worker | None:
        """Who speaks over a link; None before it has greeted."""
        return self._by_link.get(link)

    def unlinked(self, link: Link) -> Worker | None:
        """A link is over. Returns whose it was."""
        return self._by_link.pop(link, None)

    def retire(self, worker: Worker) -> None:
        """Keep what it has counted."""
        if worker.counters is not None:
            self._retired, worker.counters = merged((self._retired, worker.counters)), None

    def counters(self) -> Counters:
        """What all have counted for the metrics, also those that are gone."""
        return merged((self._retired, *(worker.counters for worker in self._workers if worker.counters is not None)))

    def tell_ingress(self, message: Comparers | Mirror | Reload | Stop) -> None:
        """Tell all that serve clients and have greeted."""
        for worker in self.ingress:
            if worker.link is not None:
                worker.link.send(message)

    def tell_comparers(self, message: SeenEffects | Applied) -> int:
        """Tell all that compare and have greeted. One that does not read is told no more; returns how many were not."""
        untold = 0
        for worker in self._workers:
            if not worker.ingress and worker.link is not None:
                if worker.link.unsent > BUS_UNSENT_BYTES_MAX:
                    untold += 1
                else:
                    worker.link.send(message)
        return untold

    def kill(self, *, ingress: bool) -> None:
        """End all of a kind at once."""
        for worker in self._workers:
            if worker.ingress is ingress:
                worker.kill()
