"""Keys that a store made itself (serial, identity, rowid), told by where they were made and not by their number.

Once one target has made a row more or less than the others, every later row of the table has another number there, and so has all
that refers to it. So the rows that the targets made in one trial are laid side by side (`harness.effects.made_rows`), and where
their numbers have come apart, they get a name that is the same at all targets: `orders#7.2`, the second row that trial 7
put into orders. From then on the name stands where a target's number did:

- in the key columns of the table's own rows;
- in values under a name that speaks of the table: `order_id`, `orderId`, `order: {id: ...}`, `order_ids: [...]`;
- where a name only may speak of it (`order`, a plain `id`, `shipping_order_id`, a name that goes for two tables), as long as the
  targets' numbers at that place are not the same: one that is no key would differ by being named.

A number that all targets gave to the same row stays: it says the same at each. So does one that was never seen made, and where
one target writes texts in the place of another's numbers: a name would hide that.
Pure but for its memory.
"""

import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from harness.core import limits
from harness.core.entities import Entity, entity_at, entity_of_path, entity_of_word
from harness.core.jsonspans import Path
from harness.core.keynames import key_name
from harness.core.labels import Role
from harness.core.values import Effect
from harness.effects.made_rows import Cell, Cells, Slot, slots_of
from harness.effects.naming import OTHER

_ROW_PARTS: Final = frozenset({"row", "key", "old", "changed"})
"""What the documents of rows consist of."""
_KEY_CHARS_MAX: Final = 256
_PLACEHOLDER: Final = re.compile(r"\{[a-z0-9_]+\}")
_SEPARATORS: Final = re.compile(r"[/:|]")
_PENDING: Final = "~"
"""In place of a key of this trial that has no name yet."""

Table = tuple[str, str]
"""Collector and table."""
Effects = Mapping[Role, tuple[Effect, ...]]


class _Column(NamedTuple):
    """Where keys are made."""

    collector: str
    table: str
    column: str


class _Spot(NamedTuple):
    """A value that may be a key: where it stands, and whose it would be."""

    holder: Any
    at: str | int
    text: str
    source: _Column
    sure: bool
    place: tuple[str, str, tuple[str, ...]]


class _Reading(NamedTuple):
    """A document and the values in it that may be keys."""

    document: dict[str, Any]
    spots: list[_Spot]


class _Made(NamedTuple):
    """A row that a target made in the trial under way."""

    effect: Effect
    keys: dict[str, str]


class GeneratedKeys:
    """What is known of the keys that each target's stores made. One for a run; `clear` when the targets start anew."""

    def __init__(self, keys_max: int = limits.GENERATED_KEYS_MAX) -> None:
        self._max = keys_max
        self.named: Counter[str] = Counter()
        """Rows whose numbers differ between the targets and that got a name, by collector."""
        self.forgotten: Counter[str] = Counter()
        """Names beyond the bound, by collector."""
        self.clear()

    def clear(self) -> None:
        """Forget all keys, not the counts."""
        self._trial = 0
        self._tables: dict[Table, tuple[str, ...]] = {}
        """Key columns of the tables in which keys were seen made; the same for all targets, in the order of the run."""
        self._sources: dict[tuple[Entity, str], tuple[_Column, bool] | None] = {}
        self._known: dict[Role, dict[_Column, dict[str, str]]] = {}
        self._names: deque[list[tuple[Role, _Column, str, str]]] = deque()
        self._held = 0

    def resolved(self, effects: Effects) -> dict[Role, tuple[Effect, ...]]:
        """One trial's effects, in the order of time at each target, with names in place of keys; to be asked once a trial."""
        self._trial += 1
        if any(effect.keys for arm in effects.values() for effect in arm):
            self._learn(effects)
        if not self._names:
            return dict(effects)
        read = {role: [self._read(effect) for effect in arm] for role, arm in effects.items()}
        stay = _as_they_are(read)
        return {
            role: tuple(self._told(role, effect, reading, stay) for effect, reading in zip(arm, read[role], strict=True))
            for role, arm in effects.items()
        }

    def _told(self, role: Role, effect: Effect, reading: _Reading | None, stay: set[Any]) -> Effect:
        if reading is None:
            return effect
        changed = False
        for spot in reading.spots:
            name = None if (spot.place, spot.sure) in stay else self._name(role, spot)
            if name is not None:
                spot.holder[spot.at] = name
                changed = True
        if not changed:
            return effect
        try:
            return msgspec.structs.replace(effect, document=orjson.dumps(reading.document))
        except orjson.JSONEncodeError:  # nested deeper than can be written
            return effect

    def _name(self, role: Role, spot: _Spot) -> str | None:
        return self._known.get(role, {}).get(spot.source, {}).get(spot.text)

    def _learn(self, effects: Effects) -> None:
        """Lay the rows of this trial side by side and name the keys that have come apart, table by table in the order of making."""
        made = self._made(effects)
        pending = {
            (role, _Column(*table, column), text)
            for table, arms in made.items()
            for role, rows in arms.items()
            for row in rows
            for column, text in row.keys.items()
        }
        for table, arms in made.items():
            cells = {role: [self._cells(role, row, pending) for row in rows] for role, rows in arms.items()}
            # A row that one target replaces by one with the same key is the row that all have: what more targets made comes last.
            for number, slot in sorted(enumerate(slots_of(cells), 1), key=lambda found: len(found[1])):
                self._settle(table, arms, slot, key_name(table[1], self._trial, number))
            pending = {one for one in pending if one[1][:2] != table}

    def _made(self, effects: Effects) -> dict[Table, dict[Role, list[_Made]]]:
        """The rows made, by table, the first made first; every target has a list for each."""
        first: dict[Table, int] = {}
        found: dict[Table, dict[Role, list[_Made]]] = {}
        for role, arm in effects.items():
            for position, effect in enumerate(arm):
                table = _table_of(effect)
                if not effect.keys or table is None or not self._is_kept(table, effect.keys):
                    continue
                row = _row_of(effect)
                keys = {column: text for column in effect.keys if (text := _text(row.get(column))) is not None}
                if keys:
                    first[table] = min(position, first.get(table, position))
                    found.setdefault(table, {role: [] for role in effects})[role].append(_Made(effect, keys))
        return {table: found[table] for table in sorted(found, key=lambda table: (first[table], table))}

    def _is_kept(self, table: Table, keys: tuple[str, ...]) -> bool:
        """Whether there is room for a table; its key columns are noted."""
        before = self._tables.get(table, ())
        if not before and len(self._tables) >= limits.EFFECT_OPERATIONS_MAX:
            return False
        if not set(keys).issubset(before):
            self._tables[table] = tuple(dict.fromkeys((*before, *keys)))
            self._sources.clear()
        return True

    def _settle(self, table: Table, arms: Mapping[Role, list[_Made]], slot: Slot, name: str) -> None:
        """One row: its numbers stay where all targets have the same, else they are known by the name."""
        rows = {role: arms[role][position] for role, position in slot.items()}
        entry: list[tuple[Role, _Column, str, str]] = []
        for column in self._tables[table]:
            source = _Column(*table, column)
            texts = {role: row.keys[column] for role, row in rows.items() if column in row.keys}
            alike = len(texts) == len(arms) and len(set(texts.values())) == 1
            for role, text in texts.items():
                known = self._known.setdefault(role, {}).setdefault(source, {})
                known.pop(text, None)  # the key of a row that is gone, made again
                if not alike:
                    known[text] = name
                    entry.append((role, source, text, name))
        if entry:
            self.named[table[0]] += 1
            self._names.append(entry)
            self._held += len(entry)
            while self._held > self._max and len(self._names) > 1:
                self._forget()

    def _forget(self) -> None:
        """The oldest name, at all targets at once: known at some only, it would make a difference."""
        entry = self._names.popleft()
        self._held -= len(entry)
        self.forgotten[entry[0][1].collector] += 1
        for role, source, text, name in entry:
            if self._known[role][source].get(text) == name:
                del self._known[role][source][text]

    def _cells(self, role: Role, row: _Made, pending: set[tuple[Role, _Column, str]]) -> Cells:
        """What a row is told by: all but its own keys, with names for those of others."""
        reading = self._read(row.effect)
        if reading is None:
            return frozenset()
        refers: set[str] = set()
        for spot in reading.spots:
            refers.update(spot.place[2][1:2])
            if (role, spot.source, spot.text) in pending:
                spot.holder[spot.at] = _PENDING
            elif (name := self._name(role, spot)) is not None:
                spot.holder[spot.at] = name
        own = set(row.effect.keys)
        values = reading.document["row"]
        return frozenset(Cell(column, _bytes(value), column in refers) for column, value in values.items() if column not in own)

    def _read(self, effect: Effect) -> _Reading | None:
        """A document's values that may be keys; None where there are none."""
        if not self._tables:
            return None
        try:
            document = orjson.loads(effect.document)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(document, dict):
            return None
        table = _table_of(effect, any_verb=True)
        own = self._tables.get(table, ()) if table is not None else ()
        spots: list[_Spot] = []
        for holder, at, path, value in _leaves(document):
            text = _text(value)
            if text is None:
                continue
            in_row = path[0] in _ROW_PARTS
            if table is not None and in_row and len(path) == 2 and at in own:
                source: tuple[_Column, bool] | None = (_Column(*table, str(at)), True)
            else:
                about = () if in_row else _about(effect.operation)
                source = self._source(path[1:] if len(path) > 1 else path, value, about, effect.collector)
            if source is not None:
                place = (effect.collector, effect.operation, tuple("*" if isinstance(part, int) else part for part in path))
                spots.append(_Spot(holder, at, text, *source, place))
        return _Reading(document, spots) if spots or effect.keys else None

    def _source(self, path: Path, value: int | str, about: Entity, collector: str) -> tuple[_Column, bool] | None:
        """Whose key a value would be by its name, and whether the name leaves no doubt. The value itself must not matter here."""
        entity = entity_at(path, (), items_wrap=True)
        sure = bool(entity)
        if entity is None and isinstance(value, int):
            entity = entity_of_word(next((part for part in reversed(path) if isinstance(part, str)), ""))
        elif entity == ():
            entity = about
        if not entity:
            return None
        if (entity, collector) not in self._sources:
            if len(self._sources) >= limits.NAMES_CACHE_MAX:
                self._sources.clear()
            self._sources[entity, collector] = self._source_of(entity, collector)
        found = self._sources[entity, collector]
        return found and (found[0], found[1] and sure)

    def _source_of(self, entity: Entity, collector: str) -> tuple[_Column, bool] | None:
        """The table that an entity's name goes best with; of one's own store rather than of another."""
        ranked = []
        for order, (table, columns) in enumerate(self._tables.items()):
            words = entity_of_word(table[1].rpartition(".")[2])
            if not words or not (words[-len(entity) :] == entity or entity[-len(words) :] == words):
                continue
            ranked.append(((words != entity, -len(words), table[0] != collector), order, _Column(*table, columns[0])))
        ranked.sort()
        if not ranked:
            return None
        best = ranked[0]
        return best[2], best[0][0] is False and (len(ranked) == 1 or ranked[1][0] != best[0])


def _as_they_are(read: Mapping[Role, list[_Reading | None]]) -> set[Any]:
    """Places, and whether they are sure, that get no names: all targets that have values there have the same ones, where it is not
    sure that they are keys; or some have texts there and others numbers."""
    values: dict[Any, dict[Role, set[str]]] = {}
    types: dict[Any, dict[Role, set[type]]] = {}
    for role, readings in read.items():
        for reading in readings:
            for spot in reading.spots if reading is not None else ():
                place = (spot.place, spot.sure)
                types.setdefault(place, {}).setdefault(role, set()).add(type(spot.holder[spot.at]))
                if not spot.sure:
                    values.setdefault(place, {}).setdefault(role, set()).add(spot.text)
    same = {place for place, arms in values.items() if len({frozenset(texts) for texts in arms.values()}) == 1}
    return same | {place for place, arms in types.items() if len({frozenset(found) for found in arms.values()}) > 1}


def _leaves(document: dict[str, Any]) -> Iterator[tuple[Any, str | int, Path, Any]]:
    """All values that are no containers: what holds them, where in it, the whole path, and the value."""
    stack: list[tuple[Any, Path]] = [(document, ())]
    while stack:
        holder, path = stack.pop()
        members = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for at, value in members:
            if not isinstance(value, dict | list):
                yield holder, at, (*path, at), value
            elif len(path) < limits.JSON_DEPTH_MAX:
                stack.append((value, (*path, at)))


def _text(value: Any) -> str | None:
    """A value as keys are known by: 17 and "17" are one."""
    if isinstance(value, bool) or not isinstance(value, int | str) or (isinstance(value, str) and len(value) > _KEY_CHARS_MAX):
        return None
    return str(value)


def _table_of(effect: Effect, *, any_verb: bool = False) -> Table | None:
    verb, _, table = effect.operation.partition(" ")
    return (effect.collector, table) if (any_verb or verb == "INSERT") and table and table != OTHER else None


def _row_of(effect: Effect) -> dict[str, Any]:
    try:
        document = orjson.loads(effect.document)
    except orjson.JSONDecodeError:
        return {}
    row = document.get("row") if isinstance(document, dict) else None
    return row if isinstance(row, dict) else {}


def _bytes(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # nested deeper than can be written
        return repr(value).encode("utf-8", "surrogatepass")


@lru_cache(maxsize=4096)
def _about(operation: str) -> Entity:
    """What an operation speaks of: `PUT shop.test/orders/{int}` and `SET order:{int}` of an order."""
    place = operation.partition(" ")[2]
    return entity_of_path(_SEPARATORS.split(_PLACEHOLDER.sub("1", place)))
