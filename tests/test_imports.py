"""Every module can be imported alone, before any other of the project; `__init__.py` files are empty; every room has an import contract."""

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("harness", "comparators", "replay", "scenarios")


def modules() -> list[str]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[-1] not in {"__init__", "__main__"}:
                found.append(".".join(parts))
    return found


ALONE = """
import os, sys
import asyncio, msgspec, orjson

for name in sys.argv[1:]:
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.dup2(writing, 2)
        os.close(writing)
        __import__(name)
        sys.exit()
    os.close(writing)
    with open(reading) as said:
        error = said.read()
    _, status = os.wait()
    if error or status:
        print(f"{name}: {error or status}")
"""
"""Imports each module in a process of its own. These start with the standard library and the codecs of core, not with 300 interpreters."""


@pytest.mark.timeout(300)
def test_each_module_imports_alone() -> None:
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-W", "error", "-c", ALONE, *modules()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280, env=unmeasured)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_init_files_are_empty() -> None:
    assert [str(p) for package in PACKAGES for p in (ROOT / package).rglob("__init__.py") if p.read_text(encoding="utf-8").strip()] == []


def rooms() -> set[str]:
    """What the import table speaks of: the packages, and of `harness` each folder and module."""
    inside = {path.stem for path in (ROOT / "harness").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    return {*PACKAGES, *(f"harness.{name}" for name in inside)} - {"harness", "harness.__init__"}


def test_every_room_has_an_import_contract_and_every_contract_names_rooms_that_exist() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    held = {room for contract in contracts for room in (*contract.get("source_modules", ()), *contract.get("layers", ()))}
    assert held == rooms()
    for contract in contracts:
        named = {*contract.get("forbidden_modules", ()), *contract.get("modules", ())}
        assert named <= rooms(), contract["name"]


def imported(folder: str) -> Iterator[str]:
    """The first names of everything that the modules of a folder import."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.partition(".")[0]


def test_core_needs_nothing_but_the_standard_library_and_two_codecs() -> None:
    assert set(imported("harness/core")) - sys.stdlib_module_names == {"harness", "msgspec", "orjson"}


@pytest.mark.parametrize("folder", ["harness/core", "harness/evidence", "comparators"])
def test_pure_rooms_know_no_sockets_no_threads_and_no_clock(folder: str) -> None:
    assert set(imported(folder)) & {"asyncio", "socket", "ssl", "select", "threading", "subprocess", "time", "aiohttp"} == set()
