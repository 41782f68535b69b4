"""One thread that makes calls in order, for work that must not hold up the event loop, nor the program's end.

Unlike an executor's thread it is a daemon: where a call never returns (a comparator that hangs, a disk that does), the
program can still end. It knows nothing of what it calls.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Worker:
    """Runs one call after another, in a thread that starts with the first. Belongs to the event loop that awaits its results."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._name = name
        self._thread: threading.Thread | None = None

    async def call(self, function: Callable[_P, _R], /, *arguments: _P.args, **named: _P.kwargs) -> _R:
        """What `function` returns or raises, once it was its turn. A caller that is cancelled leaves the call to its end."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[_R] = loop.create_future()

        def settle(value: _R | None, error: BaseException | None) -> None:
            if result.done():
                return
            if error is not None:
                result.set_exception(error)
            else:
                result.set_result(value)  # type: ignore[arg-type]  # without an error there is a value

        def made() -> None:
            value: _R | None = None
            error: BaseException | None = None
            try:
                value = function(*arguments, **named)
            except BaseException as raised:  # noqa: BLE001 - it is raised where it is awaited
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(settle, value, error)

        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._calls.put(made)
        return await result

    async def stop(self, grace_s: float) -> bool:
        """Make no more calls after those that wait. Whether the thread ended within `grace_s` seconds."""
        if self._thread is None:
            return True
        self._calls.put(None)
        await asyncio.to_thread(self._thread.join, grace_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (made := self._calls.get()) is not None:
            made()
