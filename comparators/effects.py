"""Effects of two arms: what was done on one side only, more or less often, with other values, or in another order.

Effects are grouped by collector and operation. Within a group each is given its counterpart (`comparators/effect_pairs`);
their documents are compared as JSON bodies are, under `$['COLLECTOR OPERATION']`.

| what | result |
|---|---|
| the other side does nothing of the kind, or nothing like it | `extra` (mirror `missing`) at the operation |
| both do it, and the surplus one is like one already there, but for what identifies or dates itself | `duplicated` (mirror `fewer`) |
| counterparts with other values | as in a JSON body, below the operation |
| what an updated row held before; a number changed by the same amount | no difference (see `comparators/effect_rows`) |
| the order of effects that the configuration names (`effects.ordered`) | `order` at `$` |
| a document that is not JSON | compared as text; `malformed` where only one side's is not |
| when it was done, by which connection, what was answered | no difference |
"""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from comparators.api import ABSENT, Places, RuleUse
from comparators.effect_pairs import Doing, Pairing, pair_up
from comparators.effect_rows import settled
from comparators.json_parse import flat_any, flat_plain
from comparators.json_walk import Spot, TooDeepError, Walker
from comparators.paths import printable
from comparators.sink import Sink
from harness.core import limits
from harness.core.canon import operation_glob
from harness.core.labels import Aspect, Kind
from harness.core.values import Difference, Effect

_KEY_CHARS_MAX: Final = limits.PATH_CHARS_MAX // 2 + 64
_LATE: Final = "late"
_CUT: Final = f"only the first {limits.EFFECTS_PER_ARM_MAX} effects of a side were kept"


class Doings:
    """What one arm did, parsed at most once for all pairs of a trial under one set of rules."""

    __slots__ = ("cut", "effects", "groups", "outline")

    def __init__(self, effects: tuple[Effect, ...]) -> None:
        self.effects = effects
        self.cut = len(effects) >= limits.EFFECTS_PER_ARM_MAX
        self.groups: dict[str, list[Doing]] = {}
        """By collector and operation; equal documents stand together, whatever the order in which they were seen."""
        self.outline = [(effect.collector, effect.operation, effect.document) for effect in effects]
        for position, effect in enumerate(effects):
            key = f"{effect.collector} {effect.operation}"[:_KEY_CHARS_MAX]
            self.groups.setdefault(key, []).append(Doing(effect, position))
        for group in self.groups.values():
            group.sort(key=lambda doing: (doing.effect.document, doing.effect.late, doing.effect.note))


def compare_effects(
    left: tuple[Effect, ...] | Doings, right: tuple[Effect, ...] | Doings, use: RuleUse, ordered: tuple[str, ...] = (), note: str = ""
) -> Iterable[Difference]:
    """Differences of aspect `effects`. Symmetric; the order in which effects were seen counts for `ordered` ones only.

    `ordered` are patterns of `COLLECTOR OPERATION`, `*` allowed. `note` is added where something was done more or less often.
    """
    a = left if isinstance(left, Doings) else Doings(left)
    b = right if isinstance(right, Doings) else Doings(right)
    if a.outline == b.outline:
        return ()
    return _Comparison(a, b, use, note).found(ordered)


class _NotedSink(Sink):
    """A sink that adds to each note what is known of the effects it is about."""

    __slots__ = ("addition",)

    def __init__(self, every: Places) -> None:
        super().__init__(Aspect.EFFECTS, every=every)
        self.addition = ""

    def add(self, path: str, kind: Kind, left: object, right: object, *, where: str = "", note: str = "") -> None:
        """As in a Sink. The address is the path: where in a body something stands may hang on what was paired with what."""
        del where
        if len(path) > limits.PATH_CHARS_MAX:
            path = path[: limits.PATH_CHARS_MAX - 1] + "…"
        super().add(path, kind, left, right, where=path, note=joined(note, self.addition))


class _Comparison:
    """One comparison of two arms."""

    __slots__ = ("_left", "_note", "_pairings", "_right", "_sink", "_use")

    def __init__(self, left: Doings, right: Doings, use: RuleUse, note: str) -> None:
        self._left = left
        self._right = right
        self._use = use
        self._note = joined(note, _CUT if left.cut or right.cut else "")
        self._sink = _NotedSink(use.every)
        self._pairings: dict[str, Pairing] = {}

    def found(self, ordered: tuple[str, ...]) -> tuple[Difference, ...]:
        """All differences."""
        for key in sorted(self._left.groups.keys() | self._right.groups.keys()):
            self._group(key)
        if ordered:
            self._order(ordered)
        return self._sink.differences()

    def _group(self, key: str) -> None:
        left, right = self._left.groups.get(key, []), self._right.groups.get(key, [])
        root = self._use.root
        place = root if root.ignore >= 0 else self._use.step(root, key)
        if place.ignore >= 0:
            if [doing.effect.document for doing in left] != [doing.effect.document for doing in right]:
                self._use.used.add(place.ignore)
            return
        pairing = self._pairings[key] = pair_up(left, right, place, self._use)
        spot = Spot(path_of(key), path_of(key), place, 1)
        for x, y in pairing.unequal:
            self._sink.addition = notes_of((x, y))
            self._compare(x, y, spot)
        if pairing.surplus:
            self._surplus(pairing, len(left), len(right), spot.path)

    def _compare(self, x: Doing, y: Doing, spot: Spot) -> None:
        """The documents of two counterparts."""
        if x.broken != y.broken:
            self._sink.add(spot.path, Kind.MALFORMED, x.value, y.value, note="a document is not JSON")
            return
        walker = Walker(self._sink, self._use, flat_plain if x.plain and y.plain else flat_any)
        try:
            walker.node(*settled(x.value, y.value), spot)
        except (TooDeepError, RecursionError):
            walker.node(x.raw_text, y.raw_text, spot)

    def _surplus(self, pairing: Pairing, left: int, right: int, path: str) -> None:
        """What one side does and the other does not, or less often."""
        times = f"{right} time{'s' if right != 1 else ''} against {left}" if left and right else ""
        more = len(pairing.surplus)
        again = [doing for doing in pairing.surplus if pairing.again(doing)]
        new = [doing for doing in pairing.surplus if not pairing.again(doing)]
        if again:
            self._sink.addition = joined(notes_of(again), self._note)
            self._sink.add(path, Kind.DUPLICATED if right > left else Kind.FEWER, left, right, note=times)
        if new:
            self._sink.addition = joined(notes_of(new), self._note)
            note = times or (f"{more} times" if more > 1 else "")
            first = new[0].value
            self._sink.one_sided(path, ABSENT if right > left else first, first if right > left else ABSENT, note=note)

    def _order(self, ordered: tuple[str, ...]) -> None:
        """The relative order of what both sides do, among the effects that the patterns name.

        Effects that are alike stand for each other, so that it does not matter which of them is whose counterpart; what is
        done on one side only is passed over wherever it stands.
        """
        keys = sorted(key for key in self._pairings if is_ordered(key, ordered))
        left, right = self._sequence(keys, self._left), self._sequence(keys, self._right)
        pairs = Counter((key, x.likeness, y.likeness) for key in keys for x, y in self._pairings[key].pairs)
        spare = Counter((key, doing.likeness) for key in keys for doing in self._pairings[key].surplus)
        longer = {key: len(self._left.groups.get(key, ())) > len(self._right.groups.get(key, ())) for key in keys}
        i = j = 0
        while i < len(left) and j < len(right):
            (one, x), (other, y) = left[i], right[j]
            if one == other and pairs[one, x.likeness, y.likeness]:
                pairs[one, x.likeness, y.likeness] -= 1
                i, j = i + 1, j + 1
                continue
            pass_left = longer[one] and spare[one, x.likeness] > 0
            pass_right = not longer[other] and spare[other, y.likeness] > 0
            if not pass_left and not pass_right:
                place = sum(len(self._pairings[key].pairs) for key in keys) - pairs.total()
                self._out_of_order(left[i], right[j], place + 1)
                return
            if pass_left:
                spare[one, x.likeness] -= 1
                i += 1
            if pass_right:
                spare[other, y.likeness] -= 1
                j += 1

    def _out_of_order(self, left: tuple[str, Doing], right: tuple[str, Doing], place: int) -> None:
        (one, x), (other, y) = left, right
        shown: tuple[Any, Any] = (one, other) if one != other else (x.value, y.value)
        what = f"`{other}` in place of `{one}`" if one != other else f"`{one}` with the document of another one"
        self._sink.addition = ""
        self._sink.add("$", Kind.ORDER, *shown, note=f"place {place}: {printable(what)}")

    def _sequence(self, keys: list[str], side: Doings) -> list[tuple[str, Doing]]:
        """The effects of some operations in the order in which they were seen."""
        found: list[tuple[str, Doing]] = []
        for key in keys:
            place = self._use.step(self._use.root, key)
            for doing in side.groups.get(key, ()):
                doing.derive(place, self._use)
                found.append((key, doing))
        return sorted(found, key=lambda entry: entry[1].position)


def path_of(key: str) -> str:
    """The path of an operation as a whole."""
    return "$['" + printable(key).replace("\\", "\\\\").replace("'", "\\'") + "']"


@lru_cache(maxsize=4096)
def is_ordered(key: str, ordered: tuple[str, ...]) -> bool:
    """Whether a pattern names an operation."""
    return any(operation_glob(pattern).fullmatch(key) for pattern in ordered)


def notes_of(doings: Iterable[Doing]) -> str:
    """What is known of effects, each thing once."""
    doings = list(doings)
    notes = sorted({doing.effect.note for doing in doings if doing.effect.note})
    return joined(*notes[:3], _LATE if any(doing.effect.late for doing in doings) else "")


def joined(*notes: str) -> str:
    """Notes as one."""
    return "; ".join(note for note in notes if note)
