"""What an integer identifies: the entity that a name or a path speaks of (`order` of `order_id` and `/orders/100`).

Integers are identifiers only together with their entity: 100 the order and 100 the customer are two things.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from harness.core.jsonspans import Path
from harness.core.shapes import Shape, label_of, shape_of

Entity = tuple[str, ...]
"""Words of an entity's name, lower case, singular: `("order", "item")`. Empty for an identifier without one."""

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")
_ID_WORDS: Final = frozenset({"id", "ids", "uid", "pk"})
_WRAPPERS: Final = frozenset(
    {
        "attributes",
        "body",
        "content",
        "contents",
        "data",
        "docs",
        "edges",
        "embedded",
        "entries",
        "hits",
        "list",
        "node",
        "nodes",
        "objects",
        "page",
        "payload",
        "records",
        "response",
        "result",
        "results",
        "rows",
        "value",
        "values",
    }
)
"""Names that say how an answer is packed and not what is in it."""
_ID_INTEGER: Final = re.compile(r"[1-9][0-9]{0,18}")
_VERSION: Final = re.compile(r"v[0-9]+|api", re.IGNORECASE)


def is_id_integer(text: str) -> bool:
    """Whether a text is an integer as identifiers are written: positive, no sign, no leading zero."""
    return _ID_INTEGER.fullmatch(text) is not None


def singular(word: str) -> str:
    """English singular, as far as names of collections go; other words stay."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1]


@lru_cache(maxsize=4096)
def entity_of_word(name: str) -> Entity:
    """The entity that a collection or field is named after."""
    words = [word.lower() for word in _CAMEL.split(name[:128]) if word]
    return (*words[:-1], singular(words[-1])) if words else ()


@lru_cache(maxsize=4096)
def id_entity(name: str) -> Entity | None:
    """The entity of an id-like name (`order_id`, `orderId`, `order-ids`); empty for a plain `id`, None for other names."""
    words = [word.lower() for word in _CAMEL.split(name[:128]) if word]
    if not words or words[-1] not in _ID_WORDS:
        return None
    return (*words[:-2], singular(words[-2])) if len(words) > 1 else ()


def entity_at(path: Path, url_entity: Entity, *, items_wrap: bool) -> Entity | None:
    """The entity of the leaf at a JSON path, None where its name is not id-like.

    A plain `id` belongs to the object around it, and where that is only packing, to what the URL speaks of.
    `items_wrap` says that `items` is packing in this document (a page) and no part of an entity.
    """
    names = [part for part in path if isinstance(part, str)]
    if not names:
        return None
    entity = id_entity(names[-1])
    if entity != ():
        return entity
    for name in reversed(names[:-1]):
        if name.strip("_").lower() in _WRAPPERS or (items_wrap and name == "items"):
            continue
        return entity_of_word(name)
    return url_entity


def entity_of_path(segments: Sequence[str]) -> Entity:
    """What an answer to this path speaks of: `/orders/7` order, `/orders/7/items` item, `/orders/7/cancel` order.

    A last plural names a collection; a last singular behind an identifier is an action on what the identifier names.
    """
    literals = [(index, segment) for index, segment in enumerate(segments) if segment and not _is_id(segment)]
    names = [(index, segment) for index, segment in literals if not _VERSION.fullmatch(segment)]
    if not names:
        return ()
    last_index, last = names[-1]
    if _is_plural(last):
        return entity_of_word(last)
    holders = [segment for index, segment in names if index + 1 < len(segments) and _is_id(segments[index + 1])]
    if holders:
        return entity_of_word(holders[-1])
    plurals = [segment for index, segment in names if index < last_index and _is_plural(segment)]
    return entity_of_word(plurals[-1] if plurals else last)


def _is_plural(segment: str) -> bool:
    return singular(segment.lower()) != segment.lower()


def _is_id(segment: str) -> bool:
    return label_of(segment) is not None and shape_of(segment) is not Shape.TEXT
