"""Keeps fetching cheap: has a server note now and then which transactions run.

With each fetch a server reads its log anew from the last such note that all before it was decoded. By itself it makes one only
every 15 seconds, so that a fetch takes longer the more was written: 4 ms instead of 0.8 after some ten thousand transactions.
Creating a logical slot makes the note; the slot itself is dropped at once. A connection of its own, since an error in it
would take the slot that is watched with it.
"""

import asyncio
import contextlib
from typing import Final

from harness.core import limits_collectors
from harness.core.clock import Clock, Rng
from harness.effects.postgres.link import FAILURES, SLOT_PREFIX, Link

_FAILURES_MAX: Final = 3


class Nudge:
    """For one server. Never raises: without it all is only slower."""

    def __init__(self, dsn: str, plugin: str, clock: Clock, rng: Rng, seconds: float | None = None) -> None:
        self._dsn = dsn
        self._plugin = plugin
        self._clock = clock
        self._rng = rng
        self._seconds = limits_collectors.POSTGRES_NUDGE_SECONDS if seconds is None else seconds
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._next_ns = clock.monotonic_ns() + int(self._seconds * 1e9)
        self._moved = 0
        self._failures = 0
        self.given = 0
        """Notes that the server has made."""

    def at(self, moved: int) -> None:
        """Called after fetches, with the number of changes seen so far at the server."""
        if moved == self._moved or self._clock.monotonic_ns() < self._next_ns or self._failures >= _FAILURES_MAX:
            return
        if not self.busy:
            self._moved = moved
            self._task = asyncio.create_task(self._give())

    @property
    def busy(self) -> bool:
        """Whether a note is being made."""
        return self._task is not None and not self._task.done()

    async def stop(self) -> None:
        """Let go of the database."""
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=limits_collectors.POSTGRES_DETACH_SECONDS_MAX)
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._close()

    async def _give(self) -> None:
        try:
            if self._link is None:
                self._link = await Link.connect(self._dsn)
            await self._link.create_slot(f"{SLOT_PREFIX}{self._rng.randrange(1 << 32):08x}_note", self._plugin)
            await self._link.drop_slot()
            self.given += 1
        except FAILURES:
            self._failures += 1
            await self._close()
        self._next_ns = self._clock.monotonic_ns() + int(self._seconds * 1e9)

    async def _close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            with contextlib.suppress(*FAILURES):
                await link.close()
