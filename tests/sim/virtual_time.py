"""An event loop whose clock jumps to the next timer: waiting costs nothing, and a run is the same from its seed each time.

Nothing that happens outside the loop (sockets, threads, processes) can be waited for in it.
"""

import asyncio
import selectors
from typing import Final

EPOCH_S: Final = 1_700_000_000.0
"""The time of day at which every virtual loop begins."""


class _Jump(selectors.SelectSelector):
    """Instead of waiting for sockets, moves the clock on."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """No socket is ever ready; the time until the next timer passes at once."""
        if timeout is None:
            raise RuntimeError("everything waits and no timer is set")
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio with a clock of its own, which begins at 0."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._jump.now_s


class LoopClock:
    """The clock of the running loop, for whom a clock is passed in (harness.core.clock)."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since the loop was made."""
        return round(asyncio.get_running_loop().time() * 1e9)

    def time(self) -> float:
        """Seconds since the epoch."""
        return EPOCH_S + asyncio.get_running_loop().time()
