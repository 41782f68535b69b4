"""Interruption as a value: the first signal asks the running command to stop, the second one makes it."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from harness.core.errors import ShadowdiffError

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
FOR_THE_SUPERVISOR: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""What a terminal or a service manager may send to the whole group: worker processes leave it to their supervisor, which tells them."""

_END_SECONDS: Final = 1.0
"""How long work that is cancelled may take to end before it is cancelled once more: some wait for an answer to that, too."""

T = TypeVar("T")


class StoppedError(Exception):
    """Something was given up because somebody asked to stop."""


class Stop:
    """What a running command watches. It belongs to one event loop."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        """Set once somebody asked to stop; only `request` sets it."""
        self.signal: signal.Signals | None = None

    @property
    def requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self.event.is_set()

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM; 0 where nobody asked to stop."""
        return 0 if self.signal is None else 128 + self.signal

    def request(self, number: signal.Signals | None = None) -> None:
        """Asks to stop; without a signal when the command ends by itself (its time is up, say)."""
        if not self.event.is_set():
            self.signal = number
            self.event.set()

    async def wait(self) -> None:
        """Returns once somebody asked to stop."""
        await self.event.wait()

    async def heeded(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of `work`, which is cancelled as soon as somebody asks to stop: StoppedError then, once it has cleaned up."""
        if self.requested:
            work.close()
            raise StoppedError
        task = asyncio.create_task(work)
        asked = asyncio.create_task(self.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:  # a cancellation, which a second signal gives, ends it too
            asked.cancel()
            while not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=_END_SECONDS)
        if self.event.is_set() and (task.cancelled() or isinstance(task.exception(), ShadowdiffError)):
            raise StoppedError  # what fails by being cancelled is no failure
        return task.result()


async def with_stop(body: Callable[[Stop], Coroutine[Any, Any, int]], *, notice: Callable[[str], None] | None = None) -> int:
    """Runs `body` and returns its exit code.

    SIGINT and SIGTERM set the Stop it is given, and `notice` is told; `body` then ends in its own time and returns
    `stop.exit_code`. A second signal cancels it, and the exit code is the first signal's. A third one has its usual effect.
    """
    loop = asyncio.get_running_loop()
    stop = Stop()
    task = loop.create_task(body(stop), name="command")
    forced = False

    def release() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    def on_signal(number: signal.Signals) -> None:
        nonlocal forced
        if not stop.requested:
            stop.request(number)
            if notice is not None:
                notice("stopping; once more to stop at once")
            return
        forced = True
        stop.signal = stop.signal or number
        release()
        task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not forced:
            raise
        return stop.exit_code
    finally:
        release()
