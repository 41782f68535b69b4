"""The repository tests itself: sizes, docstrings, mirrored tests, no leftovers, no path of one machine."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("harness", "comparators", "replay", "scenarios")
SOURCES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py") if p.name != "__init__.py")
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 80


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_fits_in_the_head(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it owns"
    assert len(text.splitlines()) <= MODULE_LINES_MAX
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError", text)


def test_public_functions_have_docstrings() -> None:
    silent = []
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            public = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):  # type: ignore[arg-type]  # narrowed by `public`
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert silent == []


def test_each_source_file_has_its_test_file() -> None:
    tests = {p.name for p in (ROOT / "tests").rglob("test_*.py")}
    entry_points = {"__main__.py"}
    missing = [str(p.relative_to(ROOT)) for p in SOURCES if p.name not in entry_points and f"test_{p.name.lstrip('_')}" not in tests]
    assert missing == []


def test_no_path_of_one_machine() -> None:
    pattern = re.compile(r"/(work|root|farm)/|/home/[a-z]")
    hits = [
        str(p.relative_to(ROOT))
        for p in [*SOURCES, *ROOT.glob("docs/*.md"), ROOT / "README.md"]
        if pattern.search(p.read_text(encoding="utf-8"))
    ]
    assert hits == []
