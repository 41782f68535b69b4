"""Every maximum of the collectors has a name, a unit, a sentence, and none is named twice."""

import ast
from pathlib import Path

from harness.core import limits, limits_collectors
from tests.core.test_limits import silent_in

TREE = ast.parse(Path(limits_collectors.__file__).read_text(encoding="utf-8"))
NUMBERS = {name: value for name, value in vars(limits_collectors).items() if name.isupper()}


def test_each_limit_is_said_in_a_sentence() -> None:
    assert silent_in(TREE) == []


def test_each_limit_is_a_positive_number_and_named_in_one_place() -> None:
    assert all(value > 0 for value in NUMBERS.values())
    assert all(isinstance(value, int) for name, value in NUMBERS.items() if "BYTES" in name or "CHARS" in name)
    assert NUMBERS.keys().isdisjoint(vars(limits))
