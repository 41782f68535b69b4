"""The event loop of a command."""

import asyncio
import sys

import pytest

from harness.cli.loop import loop_factory, run


async def loop_module() -> int:
    return int(type(asyncio.get_running_loop()).__module__.startswith("uvloop"))


def test_uvloop_is_used_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")
    assert run(loop_module()) == 1


def test_without_uvloop_it_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is None
    assert run(loop_module()) == 0
