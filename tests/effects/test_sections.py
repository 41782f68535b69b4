"""A collector's section: right values, and every problem named by its key."""

from collections.abc import Iterable

import msgspec
import pytest

from harness.core.errors import UsageError
from harness.effects.sections import of_role, read_section


class _Options(msgspec.Struct, frozen=True, kw_only=True):
    path: str | None = ""
    tables: tuple[str, ...] = ()


def _check(options: _Options) -> Iterable[str]:
    if options.path == "/":
        yield "path: that is a folder"


def test_values_are_read() -> None:
    assert read_section(_Options, {"path": None, "tables": ["a", "b"]}, "effects.x", _check) == _Options(path=None, tables=("a", "b"))


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        read_section(_Options, {"path": "/", "table": 1, "tables": 3}, "effects.x", _check)
    text = str(caught.value)
    assert 'effects.x.table: unknown key, did you mean "tables"?' in text
    assert "effects.x.tables: Expected `array`, got `int`" in text
    assert "effects.x.path: that is a folder" in text


@pytest.mark.parametrize(("given", "where"), [({"path": "/"}, "effects.x.path"), ({"zzz": 1}, "effects.x.zzz")])
def test_one_problem_is_the_place_itself(given: dict[str, object], where: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_section(_Options, given, "effects.x", _check)
    assert caught.value.where == where


def test_what_was_refused_is_not_checked() -> None:
    def check(options: _Options) -> Iterable[str]:
        if not options.path:
            yield "path: missing"
        if not options.tables:
            yield "tables[0]: missing"

    for given, said in (
        ({"path": 1, "tables": ["a"]}, "effects.x.path: Expected `str | null`, got `int`"),
        ({"paht": "x", "tables": ["a"]}, 'effects.x.paht: unknown key, did you mean "path"?'),
        ({"tables": ["a"]}, "effects.x.path: missing"),
        (
            {"path": "", "paht": "x", "tables": ["a"]},
            'effects.x: effects.x.paht: unknown key, did you mean "path"?; effects.x.path: missing',
        ),
    ):
        with pytest.raises(UsageError) as caught:
            read_section(_Options, given, "effects.x", check)
        assert str(caught.value).partition("\n")[0] == said


def test_a_hint_of_its_own() -> None:
    with pytest.raises(UsageError) as caught:
        read_section(_Options, {"path": "/"}, "effects.x", _check, "see docs/x.md")
    assert caught.value.fix == "see docs/x.md"


def test_a_role_is_filled_in() -> None:
    assert of_role("data/{role}/{x}.db", "stable") == "data/stable/{x}.db"
