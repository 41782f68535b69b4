"""Which effect of one arm is the counterpart of which of another, within one operation.

Equal documents first, then those that are equal but for values that identify or date themselves, then the rest; among
several, those with the most equal leaves. What is left over on one side is the surplus. The same effects in another order, and the
sides swapped, give the same pairs (or others that are equal to them).
"""

import json
from collections import defaultdict, deque
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

import orjson

from comparators.api import RuleUse
from comparators.formats import time_of
from comparators.json_canon import canonical_text
from comparators.json_parse import Document, flat_any, flat_plain, parse
from harness.core import limits
from harness.core.canon import Place
from harness.core.likeness import by_change, likeness_of, without_keys
from harness.core.values import Effect

_CHARS_MIN: Final = 512
"""What a short document counts in the cost of finding its counterpart."""

Alone = list["Doing"]
Pair = tuple["Doing", "Doing"]


class Doing:
    """One effect with what was derived from it, under the rules of one place."""

    __slots__ = ("_document", "_likeness", "_text", "effect", "position")

    def __init__(self, effect: Effect, position: int) -> None:
        self.effect = effect
        self.position = position
        """Among all effects of its arm."""
        self._document: Document | None = None
        self._text = b""
        self._likeness = b""

    @property
    def _parsed(self) -> Document:
        if self._document is None:
            self._document = parse(self.effect.document)
        return self._document

    @property
    def broken(self) -> bool:
        """The document is not JSON, or nested too deeply to be read as such."""
        return bool(self._parsed.problem) or self._parsed.too_deep

    @property
    def plain(self) -> bool:
        """Its canonical text can be written fast."""
        return self._parsed.plain

    @property
    def raw_text(self) -> str:
        """The document as text."""
        return self.effect.document.decode("utf-8", "backslashreplace")

    @property
    def value(self) -> Any:
        """What the document says; its text where it is not JSON."""
        return self.raw_text if self.broken else self._parsed.value

    def derive(self, place: Place, use: RuleUse) -> None:
        """Find `text` and `likeness`, once."""
        if self._likeness:
            return
        flat = flat_plain if self.plain and not self.broken else flat_any
        try:
            self._text = canonical_text(self.value, place, use, set(), flat)
            value = by_change(self.canonical() if place.live else self.value)
            self._likeness = flat(_alike(without_keys(value, self.effect.keys), place, use, ""))
        except (RecursionError, TypeError, ValueError):
            self._text = self._likeness = self.effect.document or b" "

    def canonical(self) -> Any:
        """What the document says as the rules see it. Raises ValueError where that has no text."""
        return orjson.loads(self._text) if self.plain else json.loads(self._text)

    @property
    def text(self) -> bytes:
        """Equal where the rules see no difference."""
        return self._text

    @property
    def likeness(self) -> bytes:
        """Equal where documents differ in values only that identify or date themselves."""
        return self._likeness


class Pairing:
    """Who is whose counterpart."""

    __slots__ = ("_alike", "pairs", "surplus", "unequal")

    def __init__(self, equal: list[Pair], unequal: list[Pair], surplus: Alone) -> None:
        self.pairs = [*equal, *unequal]
        self.unequal = unequal
        """Counterparts whose documents are not the same bytes, in an order that swapping the sides keeps."""
        self.surplus = surplus
        """Effects of one side (the longer one) without a counterpart."""
        self._alike: set[bytes] | None = None

    def again(self, doing: Doing) -> bool:
        """Whether a surplus effect is like one that has a counterpart."""
        if self._alike is None:
            self._alike = {member.likeness for pair in self.pairs for member in pair}
        return doing.likeness in self._alike


def pair_up(left: Alone, right: Alone, place: Place, use: RuleUse) -> Pairing:
    """The counterparts within one operation. Both lists are sorted by document."""
    equal, rest_left, rest_right = _join(left, right, _raw)
    if not rest_left and not rest_right:
        return Pairing(equal, [], [])
    for doing in (*left, *right):
        doing.derive(place, use)
    unequal, rest_left, rest_right = _join(sorted(rest_left, key=_order), sorted(rest_right, key=_order), attrgetter("text"))
    of_left, of_right = _by_likeness_class(rest_left), _by_likeness_class(rest_right)
    for likeness in sorted(of_left.keys() & of_right.keys()):
        unequal += _most_alike(of_left[likeness], of_right[likeness])
    paired = {id(doing) for pair in unequal for doing in pair}
    unequal += _most_alike(
        [doing for doing in rest_left if id(doing) not in paired], [doing for doing in rest_right if id(doing) not in paired]
    )
    paired = {id(doing) for pair in unequal for doing in pair}
    surplus = [doing for doing in (*rest_left, *rest_right) if id(doing) not in paired]
    unequal.sort(key=lambda pair: sorted(map(_order, pair)))
    return Pairing(equal, unequal, surplus)


def _raw(doing: Doing) -> bytes:
    return doing.effect.document


def _order(doing: Doing) -> tuple[bytes, bytes, bytes, bool, str]:
    """Like with like, and an order that hangs on nothing but the effect; of equal ones the late ones last."""
    return doing.likeness, doing.text, doing.effect.document, doing.effect.late, doing.effect.note


def _join(left: Alone, right: Alone, name: Callable[[Doing], bytes]) -> tuple[list[Pair], Alone, Alone]:
    """Pair what has the same name, as often as both sides have it."""
    waiting: defaultdict[bytes, deque[Doing]] = defaultdict(deque)
    for doing in right:
        waiting[name(doing)].append(doing)
    pairs: list[Pair] = []
    alone: Alone = []
    for doing in left:
        found = waiting.get(name(doing))
        if found:
            pairs.append((doing, found.popleft()))
        else:
            alone.append(doing)
    paired = {id(other) for _, other in pairs}
    return pairs, alone, [doing for doing in right if id(doing) not in paired]


def _by_likeness_class(doings: Alone) -> dict[bytes, Alone]:
    classes: defaultdict[bytes, Alone] = defaultdict(list)
    for doing in doings:
        classes[doing.likeness].append(doing)
    return dict(classes)


def _most_alike(left: Alone, right: Alone) -> list[Pair]:
    """Counterparts by most equal leaves until one side is used up; in canonical order where that would cost too much."""
    if not left or not right:
        return []
    sizes = [sum(max(len(doing.text), _CHARS_MIN) for doing in side) for side in (left, right)]
    few = len(left) == len(right) == 1
    if few or len(left) * sizes[1] + len(right) * sizes[0] > limits.EFFECT_LIKENESS_BYTES_MAX:
        return list(zip(left, right, strict=False))
    ranks = {text: rank for rank, text in enumerate(sorted({doing.text for doing in (*left, *right)}))}
    leaves_left, leaves_right = [_leaves(doing) for doing in left], [_leaves(doing) for doing in right]
    scored = []
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            a, b = ranks[x.text], ranks[y.text]
            score = len(leaves_left[i][0] & leaves_right[j][0]), len(leaves_left[i][1] & leaves_right[j][1])
            scored.append((-score[0], -score[1], min(a, b), max(a, b), i, j))
    scored.sort()
    free_left, free_right = set(range(len(left))), set(range(len(right)))
    pairs: list[Pair] = []
    for *_, i, j in scored:
        if i in free_left and j in free_right:
            free_left.remove(i)
            free_right.remove(j)
            pairs.append((left[i], right[j]))
    return pairs


Leaves = tuple[set[tuple[str, str, Any]], set[str]]
"""Leaves with their places and types, and their places alone."""


def _leaves(doing: Doing) -> Leaves:
    found: Leaves = (set(), set())
    try:
        _collect(doing.canonical(), "", found)
    except (RecursionError, ValueError):
        found[0].add(("", "bytes", doing.text))
    return found


def _collect(value: Any, path: str, found: Leaves) -> None:
    if isinstance(value, dict):
        for key, member in value.items():
            _collect(member, f"{path}.{key}", found)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            _collect(member, f"{path}[{index}]", found)
    else:
        found[0].add((path, type(value).__name__, value))
        found[1].add(path)


def _alike(value: Any, place: Place, use: RuleUse, name: str) -> Any:
    """The value with a label in place of what identifies or dates itself, or may vary within a tolerance."""
    if isinstance(value, dict):
        return {key: _alike(member, use.step(place, key), use, key) for key, member in value.items()}
    if isinstance(value, list):
        return [_alike(member, use.step(place, index), use, name) for index, member in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    if place.tolerances and (not isinstance(value, str) or time_of(value) is not None):
        return "~"
    return likeness_of(value, name)
