"""Every module can be imported alone, in a fresh interpreter; `__init__.py` files are empty; every room has an import contract."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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


@pytest.mark.timeout(300)
def test_each_module_imports_alone() -> None:
    def load(name: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
        return name, done.stderr

    with ThreadPoolExecutor(2) as pool:
        failed = {name: error for name, error in pool.map(load, modules()) if error}
    assert failed == {}


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
