"""Reads what the plugin `test_decoding` writes: one line of text for each change. Pure.

Its source is contrib/test_decoding/test_decoding.c of PostgreSQL; names are quoted as SQL quotes them, values by their type.
"""

import re
from typing import Final

from harness.effects.postgres.changes import PREFIX, SORT_OF_TYPE, Action, Cell, Change, Entry, Message, Row, Sort

OPTIONS: Final = ("skip-empty-xacts", "1", "include-xids", "0")
"""Names and values, in turn."""

_NAME: Final = r'(?:[a-z_][a-z0-9_]*|"(?:[^"]|"")*")'
_TABLE: Final = re.compile(rf"({_NAME})\.({_NAME})")
_HEAD: Final = re.compile(rf"table ({_NAME})\.({_NAME}): (INSERT|UPDATE|DELETE):")
_TRUNCATE: Final = re.compile(rf"table ({_NAME}\.{_NAME}(?:, {_NAME}\.{_NAME})*): TRUNCATE:")
_COLUMN: Final = re.compile(
    rf" ({_NAME})"
    r'\[((?:[^\[\]"]|"(?:[^"]|"")*"|\[\])+)\]:'
    r"(?:B?'([^']*(?:''[^']*)*)'|([^' ]+))"
)
_MESSAGE: Final = re.compile(r"message: transactional: 1 prefix: (.*), sz: \d+ content:(.*)", re.DOTALL)
_OLD: Final = " old-key:"
_NEW: Final = " new-tuple:"
_NOTHING: Final = " (no-tuple-data)"
_UNTOUCHED: Final = "unchanged-toast-datum"


def read(text: str) -> tuple[Entry, ...]:
    """The changes or the message of one line; nothing for lines about the transaction itself. Raises ValueError."""
    if (head := _HEAD.match(text)) is not None:
        return (_change(text, head),)
    if text.startswith(("BEGIN", "COMMIT")):
        return ()
    if (truncated := _TRUNCATE.match(text)) is not None:
        found = (table.groups() for table in _TABLE.finditer(truncated[1]))
        return tuple(Change(Action.TRUNCATE, _plain(schema), _plain(name), {}, {}) for schema, name in found)
    if text.startswith("message: "):
        message = _MESSAGE.fullmatch(text)
        return (Message(message[2]),) if message is not None and message[1] == PREFIX else ()
    raise ValueError("not a line of test_decoding")


def _change(text: str, head: "re.Match[str]") -> Change:
    action, schema, table = Action(head[3]), _plain(head[1]), _plain(head[2])
    new: Row = {}
    old: Row = {}
    position = head.end()
    if text.startswith(_NOTHING, position):
        return Change(action, schema, table, new, old)
    if action is Action.UPDATE and text.startswith(_OLD, position):
        old, position = _row(text, position + len(_OLD))
        if not text.startswith(_NEW, position):
            raise ValueError("an old key without a new row")
        position += len(_NEW)
    row, position = _row(text, position)
    if position != len(text):
        raise ValueError("not a column")
    return Change(action, schema, table, new, row) if action is Action.DELETE else Change(action, schema, table, row, old)


def _row(text: str, position: int) -> tuple[Row, int]:
    row: Row = {}
    while (column := _COLUMN.match(text, position)) is not None:
        name, kind, quoted, bare = column.groups()
        position = column.end()
        if bare == _UNTOUCHED:
            continue
        sort = SORT_OF_TYPE.get(kind, Sort.TEXT)
        value = quoted.replace("''", "'") if quoted is not None else None if bare == "null" else bare
        row[_plain(name)] = Cell(sort, value)
    return row, position


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
