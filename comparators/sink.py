"""Where the differences of a pair are collected: one for each (path, kind), counted, bounded.

What is kept when there are too many does not depend on the order in which they came, so that swapping the sides keeps the same ones.
"""

import math
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import orjson

from comparators.api import ABSENT, NO_PLACES, Absent, Places
from comparators.paths import printable
from harness.core import limits
from harness.core.labels import MIRRORED_KIND, Aspect, Kind
from harness.core.values import Difference, Further, Scalar

_MORE: Final = "further differences of this pair were left out"
_INT_MAX: Final = 2**63
_Key = tuple[str, str]


def preview(value: object) -> Scalar:
    """A bounded, printable stand-in of any value: scalars as they are, the rest as JSON text cut at PREVIEW_CHARS_MAX."""
    if isinstance(value, str):
        return _cut(value)
    if value is None or isinstance(value, (bool, Absent)):
        return value if isinstance(value, bool) else None
    if isinstance(value, int):
        return value if -_INT_MAX <= value < _INT_MAX else _cut(str(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else _cut(str(value))
    try:
        return _cut(orjson.dumps(value).decode())
    except TypeError:
        return _cut(str(value))


def _cut(text: str) -> str:
    if len(text) > limits.PREVIEW_CHARS_MAX:
        text = text[: limits.PREVIEW_CHARS_MAX - 1] + "…"
    return printable(text)


def _rank(kind: Kind) -> str:
    """The same for a kind and its mirror."""
    return min(kind, MIRRORED_KIND.get(kind, kind))


class Sink:
    """Collects the differences of one aspect of one pair."""

    __slots__ = ("_aspect", "_cut_at", "_every", "_found", "_further")

    def __init__(self, aspect: Aspect = Aspect.BODY, *, every: Places = NO_PLACES) -> None:
        """At the places of `every` all elements that differ are kept, up to EXPECTED_ELEMENTS_MAX; elsewhere they are counted."""
        self._aspect = aspect
        self._every = every
        self._further: dict[tuple[str, Kind], tuple[list[tuple[Scalar, Scalar]], int]] = {}
        self._found: dict[tuple[str, Kind], list[Any]] = {}
        self._cut_at: _Key | None = None

    def add(self, path: str, kind: Kind, left: object, right: object, *, where: str = "", note: str = "") -> None:
        """Keep a difference, or count it when its path and kind are known already."""
        if len(path) > limits.PATH_CHARS_MAX:
            path = path[: limits.PATH_CHARS_MAX - 1] + "…"
        entry = self._found.get((path, kind))
        if entry is not None:
            entry[4] += 1
            if self._every:
                self._one_more(path, kind, left, right)
            return
        if self._cut_at is not None and (path, _rank(kind)) >= self._cut_at:
            return
        self._found[path, kind] = [preview(left), preview(right), where, note, 0]
        if len(self._found) > 2 * limits.DIFFERENCES_PER_PAIR_MAX:
            self._prune()

    def left_out(self, path: str, kind: Kind) -> None:
        """More may differ there than was looked at."""
        if (self._aspect, path, kind) in self._every:
            pairs, more = self._further.get((path, kind), ([], 0))
            self._further[path, kind] = (pairs, more + 1)

    def _one_more(self, path: str, kind: Kind, left: object, right: object) -> None:
        if (self._aspect, path, kind) not in self._every:
            return
        pairs, more = self._further.setdefault((path, kind), ([], 0))
        if len(pairs) < limits.EXPECTED_ELEMENTS_MAX:
            pairs.append((preview(left), preview(right)))
        else:
            self._further[path, kind] = (pairs, more + 1)

    def one_sided(self, path: str, left: object, right: object, *, where: str = "", note: str = "") -> None:
        """Keep something that one side has and the other (ABSENT) has not."""
        self.add(path, Kind.MISSING if right is ABSENT else Kind.EXTRA, left, right, where=where, note=note)

    def discard_below(self, path: str, *, keep: Kind) -> None:
        """Forget what was found at a path and below it, but for one kind."""
        for known, kind in list(self._found):
            if kind is not keep and (known == path or known.startswith((path + ".", path + "["))):
                del self._found[known, kind]

    def differences(self) -> tuple[Difference, ...]:
        """What was kept, in the order in which it was found; sorted by path where there was too much."""
        if len(self._found) > limits.DIFFERENCES_PER_PAIR_MAX:
            self._prune()
        found = [
            Difference(self._aspect, path, kind, left, right, where, _counted(note, more))
            for (path, kind), (left, right, where, note, more) in self._found.items()
        ]
        if self._further:
            found = [self._with_further(difference) for difference in found]
        return _marked(found) if self._cut_at is not None else tuple(found)

    def _with_further(self, difference: Difference) -> Difference:
        further = self._further.get((difference.path, difference.kind))
        if further is None:
            return difference
        return msgspec.structs.replace(difference, further=Further(tuple(further[0]), further[1]))

    def _prune(self) -> None:
        """Keep the first ones by path; a kind and its mirror at the boundary fall together."""
        keys = sorted(self._found, key=lambda key: (key[0], _rank(key[1])))
        path, kind = keys[limits.DIFFERENCES_PER_PAIR_MAX]
        self._cut_at = (path, _rank(kind))
        kept = [key for key in keys[: limits.DIFFERENCES_PER_PAIR_MAX] if (key[0], _rank(key[1])) < self._cut_at]
        self._found = {key: self._found[key] for key in kept}


def bounded(differences: Iterable[Difference], every: Places = NO_PLACES) -> tuple[Difference, ...]:
    """One difference for each (aspect, path, kind), at most DIFFERENCES_PER_PAIR_MAX; the last one says that there were more.

    At the places of `every` the first one carries the others.
    """
    unique: dict[tuple[Aspect, str, Kind], Difference] = {}
    for difference in differences:
        key = (difference.aspect, difference.path, difference.kind)
        first = unique.setdefault(key, difference)
        if every and first is not difference and key in every:
            unique[key] = _joined(first, difference)
    if len(unique) <= limits.DIFFERENCES_PER_PAIR_MAX:
        return tuple(unique.values())
    order = list(Aspect)
    ranked = sorted(unique.values(), key=lambda d: (order.index(d.aspect), d.path, _rank(d.kind)))
    cut = ranked[limits.DIFFERENCES_PER_PAIR_MAX]
    kept = ranked[: limits.DIFFERENCES_PER_PAIR_MAX]
    while (kept[-1].aspect, kept[-1].path, _rank(kept[-1].kind)) == (cut.aspect, cut.path, _rank(cut.kind)):
        kept.pop()
    return _marked(kept)


def _joined(first: Difference, other: Difference) -> Difference:
    """A difference that carries another one of the same place, with what that one carries."""
    a, b = (difference.further or Further(()) for difference in (first, other))
    pairs = (*a.pairs, (other.left, other.right), *b.pairs)
    kept = pairs[: limits.EXPECTED_ELEMENTS_MAX]
    return msgspec.structs.replace(first, further=Further(kept, a.left_out + b.left_out + len(pairs) - len(kept)))


def _marked(differences: list[Difference]) -> tuple[Difference, ...]:
    if differences:
        last = differences[-1]
        note = last.note if _MORE in last.note else f"{last.note}; {_MORE}".removeprefix("; ")
        differences[-1] = msgspec.structs.replace(last, note=note)
    return tuple(differences)


def _counted(note: str, more: int) -> str:
    if not more:
        return note
    return f"{note}, and {more} more" if note else f"and {more} more"
