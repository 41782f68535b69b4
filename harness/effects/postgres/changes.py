"""Row changes as values, whichever plugin wrote them down, and the documents that are compared. Pure."""

import math
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from harness.core.trace import parse_traceparent
from harness.effects.naming import document

PREFIX: Final = "shadowdiff"
"""Prefix of messages that tell whose transaction it is."""
_TRACE_DIGITS: Final = 32


class Sort(StrEnum):
    """How a value's text is read."""

    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    JSON = "json"
    TEXT = "text"
    """Everything else, exact numbers with a fraction (`numeric`) among it."""


SORT_OF_TYPE: Final = {
    "smallint": Sort.INTEGER,
    "integer": Sort.INTEGER,
    "bigint": Sort.INTEGER,
    "oid": Sort.INTEGER,
    "real": Sort.FLOAT,
    "double precision": Sort.FLOAT,
    "boolean": Sort.BOOLEAN,
    "json": Sort.JSON,
    "jsonb": Sort.JSON,
}
"""By the name that the server has for a type; what is not here is text."""
SORT_OF_OID: Final = {
    "21": Sort.INTEGER,
    "23": Sort.INTEGER,
    "20": Sort.INTEGER,
    "26": Sort.INTEGER,
    "700": Sort.FLOAT,
    "701": Sort.FLOAT,
    "16": Sort.BOOLEAN,
    "114": Sort.JSON,
    "3802": Sort.JSON,
}
"""The same by the type's number."""


class Cell(NamedTuple):
    """One value: the server's text for it, None for NULL."""

    sort: Sort
    text: str | None


Row = dict[str, Cell]


class Action(StrEnum):
    """What was done to a row or a table."""

    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    TRUNCATE = "TRUNCATE"


class Change(NamedTuple):
    """One change as a plugin shows it."""

    action: Action
    schema: str
    table: str
    new: Row
    """The row after it; without large values that were not touched."""
    old: Row
    """What is known of the row before: all of it, its key, or nothing; one plugin leaves out what was NULL."""


class Message(NamedTuple):
    """What the application said of its own transaction."""

    content: str


Entry = Change | Message


class Identity(StrEnum):
    """What the log holds of the old row of an update or a delete."""

    FULL = "full"
    KEY = "key"
    NONE = "none"


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalogue says of a table."""

    schema: str
    name: str
    shown: str
    """`schema.table`, of the whole table where this is a part of a partitioned one."""
    identity: Identity
    key: tuple[str, ...] = ()
    """Columns by which a row is told in the log."""
    primary: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    """Name and number of the type, in order."""
    generated: tuple[str, ...] = ()
    """Columns that the server numbers itself (serial, identity), those of the primary key first."""
    part: bool = False
    """A part of a partitioned table."""
    whole: bool = False
    """A partitioned table, which holds no rows itself."""
    unlogged: bool = False

    def fits(self, change: Change) -> bool:
        """Whether a change can be one of the table as it is here."""
        names = {name for name, _ in self.columns}
        return names.issuperset(change.new) and names.issuperset(change.old) and (self.identity != Identity.KEY or self._is_key(change.old))

    def _is_key(self, old: Row) -> bool:
        return set(self.key).issuperset(old)


def value_of(cell: Cell) -> Any:
    """A value as JSON has it; the text itself where it would not be exact."""
    sort, text = cell
    if text is None or sort is Sort.TEXT:
        return text
    try:
        if sort is Sort.INTEGER:
            return int(text)
        if sort is Sort.BOOLEAN:
            return text.startswith("t")
        if sort is Sort.FLOAT:
            number = float(text)
            return number if math.isfinite(number) else text
        return orjson.loads(text)
    except ValueError:
        return text


def fields_of(change: Change, table: Table | None) -> dict[str, Row]:
    """The parts of a change's document; `table` None where the catalogue does not know it (any more)."""
    identity = table.identity if table is not None else Identity.KEY
    if change.action is Action.INSERT:
        return {"row": change.new}
    if change.action is Action.TRUNCATE:
        return {}
    old = change.old
    if identity is Identity.FULL and table is not None:
        # What was NULL before is left out by one plugin. Where old rows are logged in full, nothing else can be missing.
        sorts = {name: SORT_OF_OID.get(number, Sort.TEXT) for name, number in table.columns}
        old = {name: old.get(name) or Cell(sort, None) for name, sort in sorts.items()} | old
    if change.action is Action.DELETE:
        return {"old" if identity is Identity.FULL else "key": old} if old else {}
    if identity is Identity.FULL:
        row = {name: change.new.get(name, cell) for name, cell in old.items()} | change.new
        return {"row": row, "changed": {name: cell for name, cell in old.items() if cell.text != row[name].text}}
    if all(name in change.new and change.new[name].text == cell.text for name, cell in old.items()):
        return {"row": change.new}
    return {"row": change.new, "key": old}


def document_of(change: Change, table: Table | None) -> bytes:
    """The document of a change; never raises."""
    fields = fields_of(change, table)
    try:
        return document({part: {name: value_of(cell) for name, cell in row.items()} for part, row in fields.items()})
    except (TypeError, ValueError, RecursionError):  # a JSON value nested deeper than can be written again
        return document({part: {name: cell.text for name, cell in row.items()} for part, row in fields.items()})


def trace_named(content: str) -> str:
    """The trace that a message names: a trace id or a whole `traceparent`; empty where it is neither."""
    text = content.strip().lower()
    if (parent := parse_traceparent(text)) is not None:
        return parent.trace
    is_trace = len(text) == _TRACE_DIGITS and all(sign in "0123456789abcdef" for sign in text) and text.strip("0")
    return text if is_trace else ""


def with_traces(entries: list[Entry]) -> list[tuple[Change, str]]:
    """The changes of one transaction with the trace of each.

    A message is of all rows after it, up to the next; rows before the first message are of the first.
    """
    traces = [trace for entry in entries if isinstance(entry, Message) and (trace := trace_named(entry.content))]
    current = traces[0] if traces else ""
    found = []
    for entry in entries:
        if isinstance(entry, Message):
            current = trace_named(entry.content) or current
        else:
            found.append((entry, current))
    return found
