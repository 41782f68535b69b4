"""Values of an answer that may be identifiers, and which of them pair up with another answer's.

It knows what looks like an identifier and where; whether a pair becomes a mapping is decided in harness/core/correlate.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from harness.core import limits
from harness.core.entities import Entity, entity_at, entity_of_word, id_entity, is_id_integer
from harness.core.idtable import Key
from harness.core.jsonspans import Path
from harness.core.places import is_url, url_segments
from harness.core.shapes import INTEGERS, OPAQUE, Shape, prefix_of, shape_of

TOKEN_CHARS_MIN: Final = 8
"""Shorter texts are too often words."""
_PLACEHOLDER: Final = re.compile(r"redacted-[0-9a-f]{12}")
_CONTENT_NAME: Final = re.compile(r"checksum|digest|hash|md5|sha-?[0-9]|crc|e-?tag|fingerprint|signature|version|revision", re.IGNORECASE)
"""Fields computed from content: they differ when the content does, and mapping them would hide it."""
_TOKEN_NAME: Final = re.compile(r"(?:token|session|nonce|cursor|csrf|xsrf|ticket)s?$", re.IGNORECASE)
_ID_NAME: Final = re.compile(r"(?:^|[^A-Za-z])(?:uuid|guid|key|ref)s?$", re.IGNORECASE)
_RUN_WITH_DIGIT: Final = re.compile(r"(?=[A-Za-z]*[0-9])[A-Za-z0-9]+")
_MAPPED_SHAPES: Final = OPAQUE | {Shape.UUID, Shape.ULID, Shape.JWT, Shape.PREFIXED}


class Name(StrEnum):
    """What the name of a value says of it."""

    PLAIN = "plain"
    """Nothing: the value must look like an identifier."""
    ID = "id"
    """An identifier: a run of letters and digits will do, a word or a slug will not (`"id": "blue-shirt"` is a choice)."""
    TOKEN = "token"
    """A token or cookie: anything without spaces will do."""


class Leaf(msgspec.Struct, frozen=True):
    """A value of an answer that may be an identifier."""

    value: str
    entity: Entity | None
    name: Name = Name.PLAIN


Pair = tuple[str, Leaf, Leaf | None]
"""A place, what one answer has there, and what the other has, where it is of the same kind."""


def differing(reference: Any, actual: Any, about: Entity) -> Iterator[Pair]:
    """Leaves of two JSON documents that differ at the same path; arrays align where they are of equal length.

    A leaf without a counterpart is paired with None. Bounded in depth.
    """
    wrap = items_wrap(reference)
    for path, one, two in _unequal(reference, actual):
        left = dict(_leaves_at(path, one, about, wrap))
        right = dict(_leaves_at(path, two, about, wrap))
        for place, leaf in left.items():
            twin = right.get(place)
            if twin is None or twin.value != leaf.value:
                yield place, leaf, twin


def leaves_of(document: Any, about: Entity) -> dict[str, Leaf]:
    """All leaves of a JSON document that may be identifiers, by place."""
    wrap = items_wrap(document)
    return {place: leaf for path, value, _ in _unequal(document, None) for place, leaf in _leaves_at(path, value, about, wrap)}


def url_leaves(place: str, url: str) -> Iterator[tuple[str, Leaf]]:
    """Segments and query values of a URL; the origin is left out."""
    path, _, query = url.partition("#")[0].partition("?")
    segments = url_segments(path)
    for index, segment in enumerate(segments):
        before = segments[index - 1] if index else ""
        entity = entity_of_word(before) if before and not before[0].isdigit() else None
        yield f"{place}/{index}of{len(segments)}", Leaf(segment, entity or None)
    for pair in query.split("&") if query else []:
        name, mark, value = pair.partition("=")
        if mark:
            yield f"{place}?{name}", Leaf(unquote(value), None)


def items_wrap(document: Any) -> bool:
    """Whether `items` of a document is packing: its root has no identifier of its own."""
    return not (isinstance(document, dict) and ("id" in document or "_id" in document))


def scope_of(leaf: Leaf) -> Entity | None:
    """() for a value that identifies by itself, an entity for an integer, None for what is no identifier."""
    value = leaf.value
    shape = shape_of(value)
    if shape in INTEGERS:
        if leaf.entity and is_id_integer(value):
            return leaf.entity
        return () if leaf.name is not Name.PLAIN and len(value) >= 2 * TOKEN_CHARS_MIN else None
    if shape in _MAPPED_SHAPES and (len(value) >= TOKEN_CHARS_MIN or shape is Shape.PREFIXED):
        return ()
    if len(value) < TOKEN_CHARS_MIN or shape not in {Shape.TEXT, Shape.WORD}:
        return None
    if leaf.name is Name.TOKEN:
        return () if " " not in value else None
    return () if leaf.name is Name.ID and _RUN_WITH_DIGIT.fullmatch(value) else None


def key_of(leaf: Leaf) -> Key:
    """The key under which a value counts where it only matters whether it occurs."""
    return (leaf.entity or (), leaf.value) if is_id_integer(leaf.value) else ((), leaf.value)


def mapping_key(leaf: Leaf, twin: Leaf) -> Key | None:
    """The key of a mapping from leaf to twin; None where their forms do not go together."""
    if _PLACEHOLDER.fullmatch(leaf.value):
        return ((), leaf.value) if len(twin.value) >= TOKEN_CHARS_MIN else None
    scope = scope_of(leaf)
    if scope is None or scope != scope_of(twin):
        return None
    one, two = shape_of(leaf.value), shape_of(twin.value)
    if one is two:
        alike = one is not Shape.PREFIXED or prefix_of(leaf.value) == prefix_of(twin.value)
    else:
        alike = leaf.name is not Name.PLAIN or (one in OPAQUE and two in OPAQUE)
    return (scope, leaf.value) if alike else None


def _unequal(reference: Any, actual: Any) -> Iterator[tuple[Path, Any, Any]]:
    """Scalars of `reference` whose counterpart is another; None as counterpart where there is none."""
    stack: list[tuple[Any, Any, Path]] = [(reference, actual, ())]
    while stack:
        one, two, path = stack.pop()
        if isinstance(one, dict):
            other = two if isinstance(two, dict) else {}
            pairs = [(value, other.get(name), name) for name, value in one.items()]
        elif isinstance(one, list):
            aligned = two if isinstance(two, list) and len(two) == len(one) else [None] * len(one)
            pairs = [(value, aligned[index], index) for index, value in enumerate(one)]
        else:
            yield path, one, two
            continue
        if len(path) >= limits.JSON_DEPTH_MAX:
            continue
        for value, counterpart, name in pairs:
            if isinstance(value, dict | list) or (value is not None and value != counterpart):
                stack.append((value, counterpart, (*path, name)))


def _leaves_at(path: Path, value: Any, about: Entity, wrap: bool) -> Iterator[tuple[str, Leaf]]:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return
    entity = entity_at(path, about, items_wrap=wrap)
    if isinstance(value, int):
        if entity:
            yield place_of(path), Leaf(str(value), entity, Name.ID)
    elif not 0 < len(value) <= limits.IDENTIFIER_CHARS_MAX or " " in value:
        return
    elif is_url(value):
        yield from url_leaves(place_of(path), value)
    else:
        name = _name_says(next((part for part in reversed(path) if isinstance(part, str)), ""))
        if name is not None:
            yield place_of(path), Leaf(value, entity, name)


def place_of(path: Path) -> str:
    """The address of a path, as people read it."""
    return "$" + "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in path)


@lru_cache(maxsize=4096)
def _name_says(name: str) -> Name | None:
    """What a field's name says; None where it is computed from content."""
    if _CONTENT_NAME.search(name):
        return None
    if _TOKEN_NAME.search(name):
        return Name.TOKEN
    return Name.ID if id_entity(name) is not None or _ID_NAME.search(name) else Name.PLAIN
