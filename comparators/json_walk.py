"""The type-directed walk over two JSON values: the hot path of the harness.

Equal parts are skipped at the speed of C: `==` first, then, because Python takes 1, 1.0 and true for equal, one comparison
of their canonical texts for all the equal children of a node together. Python code runs for what differs only.
"""

from collections import Counter
from typing import Any, Final

import msgspec
import orjson

from comparators.api import ABSENT, RuleUse
from comparators.json_canon import canonical_text
from comparators.json_parse import Flat, flat_plain
from comparators.leaves import leaf_difference, ruled_difference
from comparators.paths import ITEM, exact_step, key_step
from comparators.sink import Sink
from harness.core import limits
from harness.core.canon import NOWHERE, Place
from harness.core.labels import Kind

_CONTAINERS: Final = (dict, list)


class TooDeepError(Exception):
    """The values differ below JSON_DEPTH_MAX; the caller compares them in another way."""


class Spot(msgspec.Struct, frozen=True, eq=False):
    """Where a walk is: the collapsed path, the concrete address, what the rules say, how deep."""

    path: str
    where: str
    place: Place
    depth: int = 0


class Walker:
    """Compares two values and puts what it finds into a sink. Made for one comparison."""

    __slots__ = ("flat", "sink", "use")

    def __init__(self, sink: Sink, use: RuleUse, flat: Flat = flat_plain) -> None:
        self.sink = sink
        self.use = use
        self.flat = flat

    def compare(self, left: Any, right: Any) -> None:
        """Report how two whole documents differ. Raises TooDeepError."""
        self.node(left, right, Spot("$", "$", self.use.root))

    def same(self, left: Any, right: Any) -> bool:
        """Strict equality. False may also mean that only a walk can tell (0.0 against -0.0 inside a container)."""
        if type(left) is not type(right) or left != right:
            return False
        return not isinstance(left, _CONTAINERS) or self._exactly(left, right)

    def _exactly(self, left: Any, right: Any) -> bool:
        """Whether two containers that Python takes for equal have the same canonical text."""
        if self.flat is flat_plain and orjson.dumps(left) == orjson.dumps(right):
            return True
        return self.flat(left) == self.flat(right)

    def node(self, left: Any, right: Any, spot: Spot) -> None:
        """Report how two values differ that are not known to be the same."""
        place = spot.place
        if place.ignore >= 0:
            if not self.same(left, right):
                self.use.used.add(place.ignore)
            return
        kind = type(left)
        if kind is type(right) and (kind is dict or kind is list):
            if spot.depth >= limits.JSON_DEPTH_MAX:
                raise TooDeepError
            if kind is dict:
                self._objects(left, right, spot)
            else:
                self._arrays(left, right, spot)
            return
        found = ruled_difference(left, right, place, self.use) if place.live else leaf_difference(left, right)
        if found is not None:
            self.sink.add(spot.path, found[0], left, right, where=spot.where, note=found[1])

    def _objects(self, left: dict[str, Any], right: dict[str, Any], spot: Spot) -> None:
        for key in self._differing_keys(left, right):
            x, y = left.get(key, ABSENT), right.get(key, ABSENT)
            place = self.use.step(spot.place, key) if spot.place.live else NOWHERE
            below = Spot(spot.path + key_step(key), spot.where + exact_step(key), place, spot.depth + 1)
            if x is ABSENT or y is ABSENT:
                self._one_sided(x, y, below)
            else:
                self.node(x, y, below)

    def _one_sided(self, left: Any, right: Any, spot: Spot, note: str = "") -> None:
        if spot.place.ignore >= 0:
            self.use.used.add(spot.place.ignore)
        else:
            self.sink.one_sided(spot.path, left, right, where=spot.where, note=note)

    def _differing_keys(self, left: dict[str, Any], right: dict[str, Any]) -> list[str]:
        """Keys whose values may differ, in an order that does not depend on the side."""
        differing = []
        equal: list[str] = []
        missing = 0
        for key, x in left.items():
            y = right.get(key, ABSENT)
            if x is y:
                continue
            kind = type(x)
            if kind is type(y) and x == y:
                if kind is dict or kind is list:
                    equal.append(key)
            else:
                differing.append(key)
                missing += y is ABSENT
        if len(right) > len(left) - missing:
            differing += [key for key in right if key not in left]
        if equal and not self._exactly([left[key] for key in equal], [right[key] for key in equal]):
            differing += [key for key in equal if not self._exactly(left[key], right[key])]
        differing.sort()
        return differing

    def _differing_items(self, left: list[Any], right: list[Any], start: int, stop: int) -> list[int]:
        """Indices in the range whose values may differ, ascending."""
        differing = []
        equal: list[int] = []
        for index in range(start, stop):
            x, y = left[index], right[index]
            if x is y:
                continue
            kind = type(x)
            if kind is type(y) and x == y:
                if kind is dict or kind is list:
                    equal.append(index)
            else:
                differing.append(index)
        if equal and not self._exactly([left[index] for index in equal], [right[index] for index in equal]):
            differing += [index for index in equal if not self._exactly(left[index], right[index])]
            differing.sort()
        return differing

    def _arrays(self, left: list[Any], right: list[Any], spot: Spot) -> None:
        if spot.place.unordered is not None:
            self._unordered(left, right, spot)
            return
        live = self.item_place(spot.place, 0).live
        if len(left) == len(right):
            differing = self._differing_items(left, right, 0, len(left))
            if live:
                differing = [i for i in differing if not self._same_by_rules(left[i], right[i], self.item_place(spot.place, i))]
            if len(differing) > 1 and self._permuted(left, right, differing, spot.place):
                self._whole(spot, Kind.ORDER, left, right, "")
                return
        else:
            self._whole(spot, Kind.LENGTH, len(left), len(right), "elements")
            start, stop = self._middle(left, right, spot.place)
            differing = self._differing_items(left, right, start, stop)
        for index in differing:
            self.node(left[index], right[index], self.item_spot(spot, index))

    def item_spot(self, spot: Spot, index: int) -> Spot:
        """The spot of an element."""
        return Spot(spot.path + ITEM, f"{spot.where}[{index}]", self.item_place(spot.place, index), spot.depth + 1)

    def item_place(self, place: Place, index: int) -> Place:
        """What the rules say about an element."""
        return self.use.step(place, index) if place.live else NOWHERE

    def _whole(self, spot: Spot, kind: Kind, left: object, right: object, note: str) -> None:
        """Report a difference of an array as a whole, unless only its format counts."""
        if spot.place.format_only >= 0:
            self.use.used.add(spot.place.format_only)
        else:
            self.sink.add(spot.path, kind, left, right, where=spot.where, note=note)

    def _same_by_rules(self, left: Any, right: Any, place: Place) -> bool:
        used: set[int] = set()
        if canonical_text(left, place, self.use, used, self.flat) != canonical_text(right, place, self.use, used, self.flat):
            return False
        self.use.used |= used
        return True

    def _texts(self, values: list[Any], indices: list[int], place: Place) -> Counter[bytes]:
        return Counter(canonical_text(values[i], self.item_place(place, i), self.use, set(), self.flat) for i in indices)

    def _permuted(self, left: list[Any], right: list[Any], differing: list[int], place: Place) -> bool:
        """Whether the differing places hold the same elements. Then so do the whole arrays, and only then."""
        if self.flat is flat_plain and not place.live and left[differing[0]] not in [right[i] for i in differing]:
            return False
        return self._texts(left, differing, place) == self._texts(right, differing, place)

    def _middle(self, left: list[Any], right: list[Any], place: Place) -> tuple[int, int]:
        """Between the common prefix and suffix: the range of indices to compare, up to the end of the shorter middle."""

        def equal(i: int, j: int) -> bool:
            if self.same(left[i], right[j]):
                return True
            below = self.item_place(place, i)
            return below.live and self._same_by_rules(left[i], right[j], below)

        shorter = min(len(left), len(right))
        start = 0
        while start < shorter and equal(start, start):
            start += 1
        tail = 0
        while tail < shorter - start and equal(len(left) - 1 - tail, len(right) - 1 - tail):
            tail += 1
        return start, shorter - tail

    def _unordered(self, left: list[Any], right: list[Any], spot: Spot) -> None:
        from comparators import matching  # noqa: PLC0415 - loads deepdiff, which a run without such a rule never needs

        rule = spot.place.unordered
        assert rule is not None
        pairs, only_left, only_right = matching.match(left, right, spot.place, self.use, self.flat)
        if only_left or only_right or any(i != j for i, j in pairs):
            self.use.used.add(rule.rule)
        for i, j in pairs:
            if not self.same(left[i], right[j]):
                self.node(left[i], right[j], self.item_spot(spot, i))
        if rule.key is not None:
            for index in only_left:
                self._one_sided(left[index], ABSENT, self.item_spot(spot, index), "no partner by its key")
            for index in only_right:
                self._one_sided(ABSENT, right[index], self.item_spot(spot, index), "no partner by its key")
        elif len(left) != len(right):
            self._whole(spot, Kind.LENGTH, len(left), len(right), "elements")
