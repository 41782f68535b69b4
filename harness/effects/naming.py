"""Names of operations and documents of effects, made the same way by every collector. Pure but for the bound on names."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from harness.core import limits
from harness.core.shapes import label_of

OTHER: Final = "other"
_KEY_PARTS: Final = re.compile(r"([:/.|{}#]+)")
_WITH_DOTS: Final = re.compile(r"([:/|{}#]+)")


class Operations:
    """Operations told apart so far; past EFFECT_OPERATIONS_MAX a new one is called `VERB other`."""

    def __init__(self, operations_max: int = limits.EFFECT_OPERATIONS_MAX) -> None:
        self._max = operations_max
        self._known: set[str] = set()
        self.overflowed = 0
        """Effects whose operation was beyond the bound."""

    def named(self, verb: str, place: str) -> str:
        """`VERB place`, as long as there is room for one more."""
        name = f"{verb} {place}"[: limits.PATH_CHARS_MAX // 2]
        if name in self._known:
            return name
        if len(self._known) >= self._max:
            self.overflowed += 1
            return f"{verb} {OTHER}"
        self._known.add(name)
        return name


def key_template(key: str) -> str:
    """A store's key or a channel's name without its identifiers: `cart:1042:items` is `cart:{int}:items`."""
    if "@" not in key:
        return "".join(label_of(part) or part for part in _KEY_PARTS.split(key))
    # An address of e-mail is one identifier, dots and all.
    labels = ((part, label_of(part) if "@" in part else None) for part in _WITH_DOTS.split(key))
    return "".join(label or "".join(label_of(piece) or piece for piece in _KEY_PARTS.split(part)) for part, label in labels)


def document(fields: Mapping[str, Any]) -> bytes:
    """An effect's document: JSON, with longer texts cut and digested so that it stays below EFFECT_DOCUMENT_BYTES_MAX.

    Values are those of JSON; bytes are text where they are UTF-8 and hex digits where they are not.
    """
    data = orjson.dumps(fields, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    if len(data) <= limits.EFFECT_DOCUMENT_BYTES_MAX:
        return data
    for longest in (16_384, 1_024, 128):
        data = orjson.dumps(_cut(orjson.loads(data), longest))
        if len(data) <= limits.EFFECT_DOCUMENT_BYTES_MAX:
            return data
    digest = hashlib.sha256(data).hexdigest()
    return orjson.dumps({"size": len(data), "sha256": digest})


def text_of(data: bytes) -> str:
    """Bytes as text; those that are not UTF-8 as `hex:` and their digits."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return f"hex:{data.hex()}"


def _plain(value: object) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return text_of(bytes(value))
    return str(value)


def _cut(value: Any, longest: int) -> Any:
    if isinstance(value, str) and len(value) > longest:
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{value[:longest]}… {len(value)} characters, sha256 {digest}"
    if isinstance(value, dict):
        return {key: _cut(item, longest) for key, item in value.items()}
    return [_cut(item, longest) for item in value] if isinstance(value, list) else value
