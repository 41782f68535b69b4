"""Runs one command's coroutine, on uvloop where it is installed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop; None for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every system, and not needed for --help
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def run(command: Coroutine[Any, Any, int]) -> int:
    """The command's exit code."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(command)
