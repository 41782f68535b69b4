"""A harness.app that only writes down how it was called, and the command line run on top of it."""

import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main

Calls = dict[str, tuple[str, ...]]
"""Module to the functions that the command line calls in it."""

ASYNCHRONOUS: Calls = {
    "harness.app.gate": ("run_gate",),
    "harness.app.proxy": ("run_proxy",),
    "harness.app.demo": ("run_demo",),
}
SYNCHRONOUS: Calls = {"harness.app.stored": ("judge_run", "render_report"), "harness.app.captures": ("capture_info",)}


class App:
    """Stands in for harness.app: the command line's own tests end where the wiring begins."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.code = 0
        self.error: BaseException | None = None

    def answer(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        self.calls.append((name, args, kwargs))
        if self.error is not None:
            raise self.error
        return self.code

    def modules(self) -> dict[str, types.ModuleType]:
        found = {name: types.ModuleType(name) for name in (*ASYNCHRONOUS, *SYNCHRONOUS)}
        for name, functions in ASYNCHRONOUS.items():
            for function in functions:
                setattr(found[name], function, self._coroutine(function))
        for name, functions in SYNCHRONOUS.items():
            for function in functions:
                setattr(found[name], function, self._function(function))
        return found

    def _coroutine(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> int:
            return self.answer(name, args, kwargs)

        return call

    def _function(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> int:
            return self.answer(name, args, kwargs)

        return call


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> App:
    """Puts the recorder in the place of harness.app, in a folder of its own with no environment of ours."""
    app = App()
    for name, module in app.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in [name for name in os.environ if name.startswith("SHADOWDIFF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(folder)
    return app


def run(*arguments: str) -> int:
    """The exit code of one call."""
    return main(list(arguments))
