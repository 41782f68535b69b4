"""One direction of an identifier map: values and what they become, found in text without trying each of them.

Every value is filed under its longest run of letters and digits (its anchor). A text whose runs hold no anchor holds no
value, which one pass over the text tells.
"""

import re
from collections.abc import Iterable
from typing import Final

from harness.core.entities import Entity, entity_of_word, is_id_integer
from harness.core.places import Place

Key = tuple[Entity, str]
"""Scope and value: the entity of an integer, () for a value that identifies by itself."""

_RUN: Final = re.compile(rb"[A-Za-z0-9]+")
_PATH_INTEGER: Final = re.compile(r"(?<=/)(?P<name>[A-Za-z][A-Za-z0-9_\-]{0,40})/(?P<id>[1-9][0-9]{0,18})(?![A-Za-z0-9])")
_LONG_CHARS_MIN: Final = 16
"""Values from this length on are found inside other text too."""


def keys_of(value: str, place: Place) -> Iterable[Key]:
    """Keys under which a value at a place may be filed."""
    yield ((), value)
    if place.entity and is_id_integer(value):
        for start in range(len(place.entity)):
            yield (place.entity[start:], value)


class IdTable:
    """Translates values at places. Values of entity scope are integers, and they match by suffix of the entity."""

    def __init__(self) -> None:
        self._values: dict[Key, str] = {}
        self._anchors: dict[bytes, set[Key]] = {}

    def add(self, key: Key, value: str) -> None:
        """Files one translation."""
        self._values[key] = value
        self._anchors.setdefault(_anchor(key[1]), set()).add(key)

    def remove(self, key: Key) -> None:
        """Takes one translation out."""
        del self._values[key]
        anchor = _anchor(key[1])
        keys = self._anchors[anchor]
        keys.discard(key)
        if not keys:
            del self._anchors[anchor]

    def known(self, key: Key) -> str | None:
        """The translation of a key, by its entity or what its entity ends in (`shipping_address` is an address)."""
        entity, value = key
        if not entity:
            return self._values.get(key)
        return next((found for start in range(len(entity)) if (found := self._values.get((entity[start:], value))) is not None), None)

    def may_hit(self, data: bytes) -> bool:
        """Whether a text may hold a value; false only where it holds none."""
        return not self._anchors.keys().isdisjoint(_RUN.findall(data))

    def spots(self, text: str) -> list[int]:
        """Where in a text a value may stand, ascending: positions of the anchors."""
        found: list[int] = []
        for anchor in self._anchors.keys() & set(_RUN.findall(text.encode("utf-8", "surrogatepass"))):
            run = anchor.decode()
            position = text.find(run)
            while position >= 0:
                found.append(position)
                position = text.find(run, position + 1)
        return sorted(found)

    def translate(self, value: str, place: Place, used: set[Key]) -> str:
        """The value as it is to stand at the place; keys that took part are added to `used`.

        Whole values first; long values also inside others; in running text whole words and the integers of paths.
        """
        for key in keys_of(value, place):
            found = self._values.get(key)
            if found is not None:
                used.add(key)
                return found
        if not place.running and len(value) <= _LONG_CHARS_MIN:
            return value
        new = self._within(value, place, used)
        return _PATH_INTEGER.sub(lambda m: self._path_integer(m, used), new) if place.running else new

    def _within(self, text: str, place: Place, used: set[Key]) -> str:
        hits = self._anchors.keys() & set(_RUN.findall(text.encode("utf-8", "surrogatepass")))
        if not hits:
            return text
        spans: list[tuple[int, int, Key]] = []
        for anchor in hits:
            for key in self._anchors[anchor]:
                if not key[0] and (place.running or len(key[1]) >= _LONG_CHARS_MIN):
                    spans.extend((start, start + len(key[1]), key) for start in _occurrences(text, key[1]))
        # The longest of those that begin together wins, and what it covers is not looked at again.
        spans.sort(key=lambda span: (span[0], -span[1]))
        out: list[str] = []
        position = 0
        for start, end, key in spans:
            if start >= position:
                out += (text[position:start], self._values[key])
                used.add(key)
                position = end
        out.append(text[position:])
        return "".join(out)

    def _path_integer(self, match: re.Match[str], used: set[Key]) -> str:
        for key in keys_of(match["id"], Place(entity_of_word(match["name"]))):
            if key in self._values:
                used.add(key)
                return f"{match['name']}/{self._values[key]}"
        return match.group()


def _anchor(value: str) -> bytes:
    return max(_RUN.findall(value.encode("utf-8", "surrogatepass")), key=len, default=b"")


def _occurrences(text: str, value: str) -> Iterable[int]:
    """Where a value stands as a word: not inside a longer run of letters and digits, a short one not inside a name."""
    short = len(value) < _LONG_CHARS_MIN
    position = text.find(value)
    while position >= 0:
        before = text[position - 1 : position]
        after = text[position + len(value) : position + len(value) + 1]
        if not (_joins(before, short) or _joins(after, short)):
            yield position
        position = text.find(value, position + 1)


def _joins(char: str, short: bool) -> bool:
    return char.isalnum() or (short and char in {"_", "-"})
