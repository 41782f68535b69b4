"""Documents of changes, values, traces."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits
from harness.effects.postgres.changes import (
    Action,
    Cell,
    Change,
    Entry,
    Identity,
    Message,
    Sort,
    Table,
    document_of,
    trace_named,
    value_of,
    with_traces,
)

A, B = "a" * 32, "b" * 32
FULL = Table(schema="s", name="t", shown="s.t", identity=Identity.FULL, key=(), columns=(("id", "23"), ("note", "25"), ("tag", "25")))
KEYED = Table(schema="s", name="t", shown="s.t", identity=Identity.KEY, key=("id",), columns=FULL.columns)


def change(action: Action, new: dict[str, str | None] | None = None, old: dict[str, str | None] | None = None) -> Change:
    def row(given: dict[str, str | None] | None) -> dict[str, Cell]:
        return {name: Cell(Sort.INTEGER if name == "id" else Sort.TEXT, text) for name, text in (given or {}).items()}

    return Change(action, "s", "t", row(new), row(old))


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (Cell(Sort.INTEGER, "9223372036854775807"), 9223372036854775807),
        (Cell(Sort.INTEGER, None), None),
        (Cell(Sort.FLOAT, "0.1"), 0.1),
        (Cell(Sort.FLOAT, "NaN"), "NaN"),
        (Cell(Sort.FLOAT, "-Infinity"), "-Infinity"),
        (Cell(Sort.BOOLEAN, "true"), True),
        (Cell(Sort.BOOLEAN, "f"), False),
        (Cell(Sort.JSON, '{"a": [1]}'), {"a": [1]}),
        (Cell(Sort.JSON, "not json"), "not json"),
        (Cell(Sort.TEXT, "12.50"), "12.50"),
    ],
)
def test_values(cell: Cell, value: object) -> None:
    assert value_of(cell) == value
    assert type(value_of(cell)) is type(value)


@pytest.mark.parametrize(
    ("one", "table", "expected"),
    [
        (change(Action.INSERT, {"id": "1", "note": None}), None, {"row": {"id": 1, "note": None}}),
        (change(Action.TRUNCATE), KEYED, {}),
        (
            change(Action.UPDATE, {"id": "1", "note": "n", "tag": None}, {"id": "1", "tag": "t"}),
            FULL,
            {"row": {"id": 1, "note": "n", "tag": None}, "changed": {"note": None, "tag": "t"}},
        ),
        # A large value that was not touched is not in the new row.
        (
            change(Action.UPDATE, {"id": "1", "tag": "x"}, {"id": "1", "note": "large", "tag": "t"}),
            FULL,
            {"row": {"id": 1, "note": "large", "tag": "x"}, "changed": {"tag": "t"}},
        ),
        (change(Action.UPDATE, {"id": "1", "tag": "x"}), KEYED, {"row": {"id": 1, "tag": "x"}}),
        (change(Action.UPDATE, {"id": "1", "tag": "x"}, {"id": "1"}), KEYED, {"row": {"id": 1, "tag": "x"}}),
        (change(Action.UPDATE, {"id": "2", "tag": "x"}, {"id": "1"}), KEYED, {"row": {"id": 2, "tag": "x"}, "key": {"id": 1}}),
        (change(Action.DELETE, None, {"id": "1"}), FULL, {"old": {"id": 1, "note": None, "tag": None}}),
        (change(Action.DELETE, None, {"id": "1"}), KEYED, {"key": {"id": 1}}),
        (change(Action.DELETE, None, {"id": "1"}), None, {"key": {"id": 1}}),
        (change(Action.DELETE), KEYED, {}),
    ],
)
def test_documents(one: Change, table: Table | None, expected: object) -> None:
    assert orjson.loads(document_of(one, table)) == expected


def test_documents_are_bounded_and_never_fail() -> None:
    deep = Change(Action.INSERT, "s", "t", {"j": Cell(Sort.JSON, "[" * 600 + "]" * 600)}, {})
    assert orjson.loads(document_of(deep, None))["row"]["j"].startswith("[[[")
    large = change(Action.INSERT, {"note": "x" * 2_000_000})
    assert len(document_of(large, None)) <= limits.EFFECT_DOCUMENT_BYTES_MAX


def test_a_table_fits_what_it_can_have_given() -> None:
    assert KEYED.fits(change(Action.UPDATE, {"id": "1"}, {"id": "1"}))
    assert not KEYED.fits(change(Action.DELETE, None, {"id": "1", "note": "x"})), "its rows are logged in full by now"
    assert FULL.fits(change(Action.DELETE, None, {"id": "1", "note": "x"}))
    assert not FULL.fits(change(Action.INSERT, {"another": "1"}))


@pytest.mark.parametrize(
    ("content", "trace"),
    [
        (A, A),
        (f" {A.upper()}\n", A),
        (f"00-{A}-b7ad6b7169203331-01", A),
        (f"00-{A}-b7ad6b7169203331-01-more", ""),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", ""),
        ("0" * 32, ""),
        ("", ""),
        ("hello", ""),
        ("g" * 32, ""),
    ],
)
def test_traces_in_messages(content: str, trace: str) -> None:
    assert trace_named(content) == trace


def test_messages_are_of_what_comes_after_and_the_first_of_what_came_before() -> None:
    rows = [change(Action.INSERT, {"id": str(number)}) for number in range(4)]
    entries: list[Entry] = [rows[0], Message(A), rows[1], Message("nothing"), rows[2], Message(B), rows[3]]
    assert with_traces(entries) == [(rows[0], A), (rows[1], A), (rows[2], A), (rows[3], B)]
    assert with_traces([rows[0]]) == [(rows[0], "")]


@given(st.lists(st.sampled_from([A, B, "nothing", None])))
def test_no_change_is_lost_or_turned_round(marks: list[str | None]) -> None:
    one = change(Action.TRUNCATE)
    entries: list[Entry] = [one if mark is None else Message(mark) for mark in marks]
    assert [found for found, _ in with_traces(entries)] == [one] * marks.count(None)
