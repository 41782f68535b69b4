"""Reads what the plugin `wal2json` writes in its format 2: one JSON object for each change. Pure.

Numbers are kept as the text that they are, so that both plugins give the same values. Not-a-number and the infinities cannot be
told from NULL here: the plugin writes null for them.
"""

import json
from typing import Any, Final

from harness.effects.postgres.changes import PREFIX, SORT_OF_OID, Action, Cell, Change, Entry, Message, Row, Sort

OPTIONS: Final = (
    "format-version", "2", "include-transaction", "0", "include-types", "0", "include-type-oids", "1", "add-msg-prefixes", PREFIX,
)  # fmt: skip
"""Names and values, in turn."""
_BYTEA: Final = "17"
_ACTIONS: Final = {"I": Action.INSERT, "U": Action.UPDATE, "D": Action.DELETE, "T": Action.TRUNCATE}


def read(text: str) -> tuple[Entry, ...]:
    """The change or the message of one object; nothing for others. Raises ValueError."""
    try:
        found = json.loads(text, parse_int=str, parse_float=str)
        if found["action"] == "M":
            return (Message(found["content"]),) if found["transactional"] and found["prefix"] == PREFIX else ()
        action = _ACTIONS.get(found["action"])
        if action is None:
            return ()
        return (Change(action, found["schema"], found["table"], _row(found.get("columns", ())), _row(found.get("identity", ()))),)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not an object of wal2json") from error


def _row(columns: Any) -> Row:
    row: Row = {}
    for column in columns:
        number, value = column["typeoid"], column["value"]
        if value is True or value is False:
            value = "true" if value else "false"
        elif number == _BYTEA and value is not None:
            value = f"\\x{value}"
        row[column["name"]] = Cell(SORT_OF_OID.get(number, Sort.TEXT), value)
    return row
