"""How late an event loop is: a timer that comes late tells how long everything else waits too.

It knows nothing of what the loop does.
"""

import asyncio
from typing import Final

from harness.core.clock import Clock

LOOK_SECONDS: Final = 0.05
"""How often it is measured."""
LATE_LOOKS: Final = 2
"""So many in a row tell of a loop with too much to do; one alone may be a pause of the machine, which is over by then."""


class LagMeter:
    """Measures the running event loop from `start` to `stop`."""

    def __init__(self, clock: Clock, lag_s_max: float) -> None:
        """The loop is behind while its timer comes later than `lag_s_max` seconds."""
        self._clock = clock
        self._lag_ns_max = int(lag_s_max * 1e9)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = 0
        self._late_looks = 0

    def start(self) -> None:
        """Begin."""
        self._due_ns = self._clock.monotonic_ns() + int(LOOK_SECONDS * 1e9)
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """End; from then on nothing is behind."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._late_looks = 0

    def behind(self) -> bool:
        """Whether the timer came too late the last times. The first time that it does not, the loop has caught up."""
        return self._late_looks >= LATE_LOOKS

    def _look(self) -> None:
        late = self._clock.monotonic_ns() - self._due_ns > self._lag_ns_max
        self._late_looks = self._late_looks + 1 if late else 0
        self.start()
