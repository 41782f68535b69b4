"""Names of keys that a store made itself: by where they were made, `orders#7.2`, the second row that trial 7 put into orders. Pure."""

import re
from typing import Final

_NAME: Final = re.compile(r"[^#\s]{1,256}#[1-9][0-9]{0,9}\.[1-9][0-9]{0,9}")


def key_name(table: str, trial: int, number: int) -> str:
    """The name of a key. `trial` and `number` count from 1; `table` may have its schema in front."""
    word = re.sub(r"[#\s]", "_", table.rpartition(".")[2] or table)
    return f"{word[:256]}#{trial}.{number}"


def is_key_name(text: str) -> bool:
    """Whether a text is such a name."""
    return "#" in text and _NAME.fullmatch(text) is not None
