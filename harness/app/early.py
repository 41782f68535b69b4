"""Ends the sending as soon as a failure is proven, where that is asked for.

A pass from fresh state is one game: its trials may hang together, so its evidence counts when it is over and not when it happens
to look strong. Within such a pass only a hard rule of the policy, which one trial breaks beyond dispute, ends the sending; else
every trial is a game, and the evidence may be looked at at any time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from harness.app.signals import Stop
from harness.core.watched import EffectsFacts
from harness.evidence.observed import failures
from harness.evidence.snapshot import Snapshot

LOOK_SECONDS: Final = 0.1
"""Between two looks at least."""
LOOKED_SHARE: Final = 0.05
"""Of the time that looking may take."""


def failed_within_pass(snapshot: Snapshot, effects: EffectsFacts, *, fails: bool) -> bool:
    """Whether a pass under way has failed the run for good. `fails` is whether the verdict would be a failure if it ended now."""
    return bool(failures(snapshot, effects)) or (fails and not snapshot.fresh)


class EarlyStop:
    """Watches passes. `look` says whether the run has failed for good; it is called again and again while a pass is sent."""

    def __init__(self, stop: Stop, look: Callable[[], Awaitable[bool]], *, on: bool) -> None:
        self._stop = stop
        self._look = look
        self.on = on
        self.reached = False
        """Whether sending has ended, or is to end, since the failure is proven."""

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[asyncio.Event]:
        """For one pass: the event that ends it, which is that of Stop where nothing is to end early."""
        if not self.on:
            yield self._stop.event
            return
        event = asyncio.Event()
        tasks = [asyncio.create_task(self._forward(event)), asyncio.create_task(self._watch(event))]
        if self._stop.requested:
            event.set()
        try:
            yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _forward(self, event: asyncio.Event) -> None:
        await self._stop.wait()
        event.set()

    async def _watch(self, event: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        wait_s = LOOK_SECONDS
        while True:
            await asyncio.sleep(wait_s)
            began_s = loop.time()
            if await self._look():
                self.reached = True
                event.set()
                return
            wait_s = max(LOOK_SECONDS, (loop.time() - began_s) / LOOKED_SHARE)
