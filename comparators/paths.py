"""How an address inside a document is written: collapsed for paths, concrete for `where`.

A path must be the same from request to request, so array indices and keys that look like identifiers are collapsed.
"""

import re
from functools import lru_cache
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_IDENTIFIER: Final = re.compile(
    r"[0-9]{3,}"
    r"|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|[0-9a-f]{16,}|[0-9A-F]{16,}"
    r"|[0-7][0-9A-HJKMNP-TV-Z]{25}"
)
_KEY_CHARS_MAX: Final = 120

ITEM: Final = "[*]"
"""The step into an array."""


def is_identifier(key: str) -> bool:
    """Whether a key looks like an identifier: three digits or more, a UUID, 16 or more hex digits, a ULID."""
    return _IDENTIFIER.fullmatch(key) is not None


@lru_cache(maxsize=8192)
def key_step(key: str) -> str:
    """The step to a member, as text: `.name`, `['odd.name']`, or `.*` for a key that looks like an identifier."""
    return ".*" if is_identifier(key) else exact_step(key)


@lru_cache(maxsize=8192)
def exact_step(key: str) -> str:
    """The step to a member without collapsing; a very long key is cut."""
    if len(key) > _KEY_CHARS_MAX:
        key = key[:_KEY_CHARS_MAX] + "…"
    if _PLAIN.fullmatch(key):
        return f".{key}"
    return "['" + printable(key).replace("\\", "\\\\").replace("'", "\\'") + "']"


def printable(text: str) -> str:
    """The text with lone surrogates spelled out, so that it can be encoded as UTF-8."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
