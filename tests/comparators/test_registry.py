"""Finding comparators."""

import sys
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest

from comparators import form, json_body
from comparators.api import ABSENT, BodyComparator
from comparators.registry import GROUP, load_comparators, versions
from harness.core.errors import UsageError
from tests.comparators.support import COMPARATORS

BUILT_IN = [
    EntryPoint(name, f"comparators.{module}:COMPARATOR", GROUP)
    for name, module in {"binary": "binary", "form": "form", "json": "json_body", "ndjson": "ndjson", "text": "text"}.items()
]


class Custom:
    name = "vendor"
    version = 2
    priority = 20

    def matches(self, media_type: str) -> bool:
        return media_type == "application/vendor"

    def compare(self, left: object, right: object, rules: object) -> tuple[()]:
        return ()


def plugged(monkeypatch: pytest.MonkeyPatch, value: Any, name: str = "vendor") -> EntryPoint:
    module = ModuleType("shadowdiff_test_plugin")
    module.COMPARATOR = value  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "shadowdiff_test_plugin", module)
    return EntryPoint(name, "shadowdiff_test_plugin:COMPARATOR", GROUP)


def test_the_built_in_ones_are_installed() -> None:
    found = load_comparators()
    assert {c.name for c in found} >= {c.name for c in COMPARATORS}
    assert all(isinstance(c, BodyComparator) for c in found)
    assert found[-1].name == "binary"


def test_order() -> None:
    assert [c.name for c in load_comparators(BUILT_IN)] == ["form", "json", "ndjson", "text", "binary"]


def test_a_plug_in_comes_before_the_built_in_ones_of_its_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_comparators([*BUILT_IN, plugged(monkeypatch, Custom())])
    assert [c.name for c in found] == ["vendor", "form", "json", "ndjson", "text", "binary"]
    assert versions(found) == {"vendor": 2, "form": 1, "json": 1, "ndjson": 1, "text": 1, "binary": 1}


def test_a_plug_in_that_cannot_be_loaded_is_named() -> None:
    with pytest.raises(UsageError, match=r"plug-in `gone` \(no_such_package:X\): cannot be loaded: ModuleNotFoundError") as caught:
        load_comparators([EntryPoint("gone", "no_such_package:X", GROUP)])
    assert "hint: " in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_plug_in_that_is_no_comparator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"plug-in `vendor`.*is not a comparator"):
        load_comparators([plugged(monkeypatch, object())])


def test_a_name_is_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"two comparators are called `json`"):
        load_comparators([*BUILT_IN, plugged(monkeypatch, json_body.COMPARATOR)])


def test_absence_has_a_name() -> None:
    assert repr(ABSENT) == "absent"
    assert form.COMPARATOR.name == "form"
