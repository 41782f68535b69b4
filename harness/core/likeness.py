"""What two documents of effects have in common though a value in them was generated, or a row held another value before. Pure.

Generated are identifiers, times, random words: what identifies or dates itself by its form. This is about form alone: which
values vary by themselves is for the control to tell.

A document of an update has the new `row` and the old values of the columns that `changed`. What a row held before is no deed of
the request, so a number counts by the amount that it was changed by, wherever it stood.
"""

import re
from decimal import Decimal
from typing import Any, Final

from harness.core.entities import id_entity
from harness.core.keynames import is_key_name
from harness.core.shapes import INTEGERS, Shape, shape_of

ROW: Final = "row"
CHANGED: Final = "changed"
_NAMES_ITSELF: Final = frozenset(
    {
        Shape.EPOCH_S,
        Shape.EPOCH_MS,
        Shape.UUID,
        Shape.ULID,
        Shape.HEX,
        Shape.DATETIME_OFFSET,
        Shape.DATETIME_LOCAL,
        Shape.HTTP_DATE,
        Shape.JWT,
        Shape.PREFIXED,
        Shape.TOKEN,
        Shape.SHORT_TOKEN,
        Shape.BASE64,
    }
)
"""Shapes of values that identify or date what they belong to. A bare date is not among them: it mostly says what is done."""
_WORDS: Final = re.compile(r"([\s/?&=#,;\"'<>()\[\]{}|]+)")
_NUMBER: Final = re.compile(r"-?\d{1,60}(?:\.\d{1,60})?")
_CHARS_LOOKED_AT: Final = 8192
"""Of one text; what follows is taken as it is."""


def likeness_of(value: Any, name: str) -> Any:
    """A value that is neither object nor array, with the shape in place of what was generated; `name` is the key it stands under."""
    if isinstance(value, str):
        if is_key_name(value):
            return f"~~{Shape.INTEGER}"  # as the number would be that it stands for
        return _label(value[:_CHARS_LOOKED_AT], name) + value[_CHARS_LOOKED_AT:]
    if isinstance(value, int) and not isinstance(value, bool) and (label := _label(str(value), name)) != str(value):
        return f"~{label}"
    return value


def by_change(value: Any) -> Any:
    """A document with the amount in the place of each number that was changed by one, and without old values."""
    changes = changes_of(value)
    if changes is None:
        return value
    row = {column: f"by {changes[column]}" if column in changes else member for column, member in value[ROW].items()}
    return {**without_row(value), ROW: row}


def changes_of(value: Any) -> dict[str, Decimal] | None:
    """By how much each number of an updated row changed; None for any other document."""
    if not isinstance(value, dict) or not isinstance(value.get(ROW), dict) or not isinstance(value.get(CHANGED), dict):
        return None
    row, changed = value[ROW], value[CHANGED]
    numbers = {column: (_number(row.get(column)), _number(old)) for column, old in changed.items()}
    changes = {column: new - old for column, (new, old) in numbers.items() if new is not None and old is not None}
    return {column: _without_error(by, row[column], changed[column]) for column, by in changes.items()}


def _without_error(change: Decimal, new: Any, old: Any) -> Decimal:
    """The difference of binary fractions without the digits that only say that they are some: 90.01 - 80.02000000000001 is 9.99."""
    if not isinstance(new, float) and not isinstance(old, float):
        return change
    largest = max(abs(Decimal(repr(new) if isinstance(new, float) else new)), abs(Decimal(repr(old) if isinstance(old, float) else old)))
    return round(change, 14 - largest.adjusted()).normalize()


def without_row(value: dict[str, Any]) -> dict[str, Any]:
    """The rest of a document of an update."""
    return {name: member for name, member in value.items() if name not in (ROW, CHANGED)}


def without_keys(value: Any, keys: tuple[str, ...]) -> Any:
    """The document of a row without the values that the store made itself, in the columns `keys`: what was written is the rest."""
    if not keys or not isinstance(value, dict) or not isinstance(value.get(ROW), dict):
        return value
    return {**value, ROW: {column: member for column, member in value[ROW].items() if column not in keys}}


def _number(value: Any) -> Decimal | None:
    """The number of a value that is one, also where it is written as text (as exact ones are)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = value if isinstance(value, str) else repr(value)
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _label(text: str, name: str) -> str:
    """`~SHAPE` for a text that names itself, else the text with such words in it replaced."""
    shape = shape_of(text)
    if shape in _NAMES_ITSELF or (shape in INTEGERS and id_entity(name) is not None):
        return f"~{shape}"
    if shape is Shape.TEXT or shape is Shape.URL:
        return "".join(f"~{found}" if (found := shape_of(part)) in _NAMES_ITSELF else part for part in _WORDS.split(text))
    return text
