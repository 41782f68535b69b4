"""docs/tested.md: each test that it names exists, asserts something and is not skipped."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def _sentences() -> dict[str, list[tuple[str, str]]]:
    rows = [line.strip("| \n").split(" | ") for line in (ROOT / "docs/tested.md").read_text().splitlines() if line.startswith("| ")]
    return {row[0]: _NAMED.findall(row[-1]) for row in rows if row[0] != "sentence"}


@cache
def _functions(file: str) -> dict[str, ast.AST]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _checks(node: ast.AST, file: str, depth: int = 2) -> bool:
    """Whether a function asserts, or calls one of its file that does."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assert) or (isinstance(inner, ast.Attribute) and inner.attr == "raises"):
            return True
    called = {inner.func.id for inner in ast.walk(node) if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name)}
    known = _functions(file)
    return depth > 0 and any(_checks(known[name], file, depth - 1) for name in called & known.keys())


@pytest.mark.parametrize(("sentence", "named"), _sentences().items())
def test_each_sentence_has_tests_that_can_fail(sentence: str, named: list[tuple[str, str]]) -> None:
    assert named, f"no test is named for: {sentence}"
    for file, function in named:
        assert function in _functions(file), f"{file} has no {function}"
        node = _functions(file)[function]
        assert isinstance(node, ast.FunctionDef)
        assert not any("mark.skip(" in ast.unparse(decorator) for decorator in node.decorator_list), f"{function} is skipped"
        assert _checks(node, file), f"{function} asserts nothing"


def test_all_sentences_are_read() -> None:
    assert len(_sentences()) > 40
