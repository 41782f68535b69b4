"""Ends worker processes that hang, so that they are replaced. A hanging process cannot say so: what is looked at is its signs of life.

A compare worker says something now and then; an ingress worker, which has other things to do, counts beats in its
place's slots from the loop that does all its work. What it has in hand is lost when it is ended, so nobody is ended who
may not be to blame: not while this process was held up itself (the machine was suspended, say), not while it does not
read what the worker says, and not while a debugger holds the worker.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from harness.app.launching import START_SECONDS_MAX
from harness.app.members import Place, Worker
from harness.bus.link import Link
from harness.core.limits import COMPARE_STALL_SECONDS_MAX, INGRESS_STALL_SECONDS_MAX

DEAF_SECONDS: Final = 5.0
"""A look that comes so long after the one before says nothing: this process was held up, or the whole machine."""
_INGRESS_HANGS: Final = "one of the processes that serve clients hangs; it is ended"
_COMPARISON_HANGS: Final = "comparison hangs in one of its processes, which is ended"


class Watch:
    """Looks at workers, about once a second. Times are the loop's, in seconds."""

    def __init__(self, now_s: float, places: Sequence[Place], *, holds: Callable[[Link], bool], notice: Callable[[str], None]) -> None:
        """`holds` tells whether a link is not read for now; `notice` tells people of one that is ended."""
        self._looked_s = now_s
        self._places = places
        self._holds = holds
        self._notice = notice

    def look(self, now_s: float, workers: Iterable[Worker]) -> None:
        """End those that hang."""
        # Who could not be heard is not silent.
        deaf = now_s - self._looked_s > DEAF_SECONDS
        self._looked_s = now_s
        for worker in workers:
            if deaf or worker.exited or self._shows_life(worker):
                worker.heard_s = now_s
            elif not worker.ready.done():
                if now_s - worker.since_s > START_SECONDS_MAX:
                    worker.kill()
            elif now_s - worker.heard_s > (INGRESS_STALL_SECONDS_MAX if worker.ingress else COMPARE_STALL_SECONDS_MAX):
                if not worker.debugged():
                    self._notice(_INGRESS_HANGS if worker.ingress else _COMPARISON_HANGS)
                    worker.kill()
                worker.heard_s = now_s

    def _shows_life(self, worker: Worker) -> bool:
        """Whether there is a sign of life, or the want of one is not the worker's fault. Messages are noted where they come in."""
        if worker.ingress:
            before, worker.beats = worker.beats, self._places[worker.place].slots.beats
            return worker.beats != before
        return worker.link is not None and self._holds(worker.link)
