"""What a trial says of places at which the arms' values differ anyhow: from their differences to one value a place.

A field that is new in every answer (a time, an identifier, a counter, a measurement) makes no arm the odd one by its value.
What the three values have to do with each other still does: which one lies apart, which is the largest, which is written
in another way, which of a few values each has. All is told by index (0 stable, 1 secondary, 2 candidate) or by keyed
hashes; no value leaves this module, but for the distances of candidate and secondary from stable.

Every rule treats the arms alike: moving the three values round moves the indices with them (two arms: swapping candidate
and secondary), so each is a fair bet when the candidate behaves like stable. A place is looked at where all arms differ
(for categories: where any do), which is as symmetric, and never where the value channel bets already.
"""

import re
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from harness.core.labels import Aspect, Design, Kind
from harness.core.limits import NOISE_PLACES_PER_TRIAL_MAX
from harness.core.values import Difference, Scalar
from harness.evidence.distance import Point, farthest, further, in_one_minute, point_of, ranks
from harness.evidence.mix import category_like
from harness.evidence.style import style_of

NOBODY: Final = -1

Three = tuple[int, int, int]
Pairs = tuple[list[Difference], list[Difference], list[Difference]]
"""Differences at a place, as the comparators list them: of (stable, candidate), (stable, secondary), (secondary, candidate)."""


class NoiseBet(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How the three values at one place of a trial's endpoint relate. Indices: 0 stable, 1 secondary, 2 candidate."""

    aspect: Aspect
    path: str
    key: int
    """Which values these are: equal keys are the same values read again."""
    answer: int = 0
    """The same, as the answer to one request; for categories, which come again and again."""
    control_differs: bool = True
    """Stable and secondary differ here."""
    far: int = NOBODY
    """Whose number or time lies apart; with two arms who of secondary and candidate is further from stable."""
    ranks: Three | None = None
    """Their order, where they are numbers or times."""
    style: int = NOBODY
    """Who writes it in another way than the others, which agree."""
    categories: Three | None = None
    """Which of a few values each has."""
    traces: Three | None = None
    """Each value without its end: equal to that of an earlier answer where one follows from the other."""
    off: float | None = None
    """Candidate minus stable, of times in seconds."""
    time: bool = False
    off_control: float | None = None
    """Secondary minus stable."""
    ranks_low: Three | None = None
    """Their order for the game on the smallest, where it is another one than for that on the largest (see `harness.evidence.shifted`)."""


_Values = tuple[tuple[Scalar, Scalar, Scalar], bool, bool]
"""The three values; whether stable and secondary differ; whether all three do, and in the same kind."""


class Asked(NamedTuple):
    """What the readers of a trial's places need to know of the trial."""

    design: Design
    alone: bool
    """The control is stable itself, asked twice. Its second answer comes from a warm cache and a further step of each counter,
    so order, distance and sequence say nothing then."""
    spell: str
    """The pass, where passes are independent."""
    answer: str
    """Which stored answer is read."""
    hashed: Callable[[str], int]
    number: int = 0
    """Of the trial."""


def noise_bets(places: Mapping[tuple[Aspect, str], Pairs], asked: Asked) -> tuple[NoiseBet, ...]:
    """One for each place where values differ, in the order of their paths. Of many places some are taken, by the trial's number."""
    found: list[NoiseBet] = []
    for aspect, path in _taken(places, asked.number):
        values = _values(places[aspect, path], asked.design)
        if values is not None and (bet := _bet(aspect, path, values, asked)) is not None:
            found.append(bet)
    if len(found) > 1:
        found.sort(key=_PLACE)
    return tuple(found)


def _taken(places: Mapping[tuple[Aspect, str], Pairs], number: int) -> list[tuple[Aspect, str]]:
    """As many as the bound allows, from a place on that the trial's number alone decides."""
    names = list(places)
    if len(names) <= NOISE_PLACES_PER_TRIAL_MAX:
        return names
    names.sort()
    start = (number * _SPREAD & 0xFFFF_FFFF) % len(names)
    return (names + names)[start : start + NOISE_PLACES_PER_TRIAL_MAX]


TIMES_ALIKE_SECONDS: Final = 60.0
"""Within this times are taken for the same: more than an exchange takes, and less than any shift of a time zone."""
_SPREAD: Final = 2_654_435_761
"""Knuth's multiplier: numbers that follow each other begin far from each other."""


_PLACE: Final = attrgetter("path", "aspect")


_SCALAR: Final = (Kind.VALUE, Kind.FORMAT, Kind.LENGTH, Kind.NULL, Kind.CODE)
_SCALARS: Final = frozenset(_SCALAR)
_THREE_ARM: Final = Design.THREE_ARM
_ELEMENTS: Final = re.compile(r"\d{1,18}")


def _in_document(difference: Difference) -> tuple[tuple[int, ...], str]:
    return tuple(int(index) for index in _ELEMENTS.findall(difference.where)), difference.where


def _first_of_each(differences: list[Difference]) -> list[Difference]:
    """The first of each kind."""
    return [found for kind in _SCALAR if (found := next((d for d in differences if d.kind is kind), None)) is not None]


def _earliest(pairs: Pairs) -> tuple[Difference | None, Difference | None, Difference | None]:
    """What the pairs have at the first concrete place where any of them differs."""
    first, second, cross = map(_first_of_each, pairs)
    every = first + second + cross
    if not every:
        return None, None, None
    where = every[0].where
    if any(difference.where != where for difference in every):
        where = min(every, key=_in_document).where
    pc, ps, sc = (next((d for d in found if d.where == where), None) for found in (first, second, cross))
    return pc, ps, sc


def _only(differences: list[Difference]) -> Difference | None:
    return differences[0] if differences and differences[0].kind in _SCALARS else None


def _values(pairs: Pairs, design: Design) -> _Values | None:
    """The three values at the first concrete place where any pair differs; None where they cannot be told."""
    first, second, cross = pairs
    if len(first) > 1 or len(second) > 1 or len(cross) > 1:
        pc, ps, sc = _earliest(pairs)
    else:
        pc, ps, sc = _only(first), _only(second), _only(cross)
        one = pc or ps or sc
        if one is None:
            return None
        where = one.where
        if (ps is not None and ps.where != where) or (sc is not None and sc.where != where):
            pc, ps, sc = _earliest(pairs)
    three_arms = design is _THREE_ARM
    if pc is not None and ps is not None:
        p, s, c = pc.left, ps.right, pc.right
        if p is not ps.left and p != ps.left:
            return None  # elements are paired by likeness: another one in each pair
        if three_arms and sc is not None and ((sc.left is not s and sc.left != s) or (sc.right is not c and sc.right != c)):
            return None  # the third pair has others
        differ = sc is not None if three_arms else (s != c or type(s) is not type(c))
        return (p, s, c), True, differ and pc.kind is ps.kind and (sc is None or sc.kind is pc.kind)
    if pc is not None:
        return ((pc.left, pc.left, pc.right), False, False) if sc is not None or not three_arms else None
    if ps is not None:
        return ((ps.left, ps.right, ps.left), True, False) if sc is not None or not three_arms else None
    return None


def _bet(aspect: Aspect, path: str, values: _Values, asked: Asked) -> NoiseBet | None:
    (p, s, c), control_differs, all_differ = values
    few = category_like(p) and category_like(s) and category_like(c)
    if not all_differ and not few:
        return None
    hashed = asked.hashed
    texts = repr(p), repr(s), repr(c)
    categories = _three_hashes(texts, hashed) if few else None
    same = "\0".join(sorted(texts))
    far, order, off, off_control, time, traces, style = NOBODY, None, None, None, False, None, NOBODY
    if all_differ:
        style = _style((p, s, c), texts, asked.design)
        if not asked.alone:
            points = _points(p, s, c)
            if points is not None and _are_apart(*points):
                at = points[0].at, points[1].at, points[2].at
                odd = farthest(at) if asked.design is _THREE_ARM else further(*at)
                far, order, time = NOBODY if odd is None else odd, ranks(at), points[0].time
                off, off_control = at[2] - at[0], at[1] - at[0]
            traces = _traces((p, s, c), hashed)
    if categories is None and order is None and style == NOBODY and traces is None:
        return None
    return NoiseBet(
        aspect=aspect,
        path=path,
        key=hashed(f"{asked.spell}\0{same}") if all_differ else 0,
        answer=hashed(f"{asked.spell}\0{asked.answer}\0{same}") if categories is not None else 0,
        control_differs=control_differs,
        far=far,
        ranks=order,
        style=style,
        categories=categories,
        traces=traces,
        off=off,
        time=time,
        off_control=off_control,
    )


def _three_hashes(texts: tuple[str, str, str], hashed: Callable[[str], int]) -> Three:
    """Of each of three texts; two of them are often the same."""
    p, s, c = texts
    first = hashed(p)
    second = first if s == p else hashed(s)
    return first, second, first if c == p else second if c == s else hashed(c)


def _points(p: Scalar, s: Scalar, c: Scalar) -> tuple[Point, Point, Point] | None:
    """Where the three lie, where all are points and not times of one minute, which are alike."""
    if type(p) is str and type(s) is str and type(c) is str and in_one_minute(p, s, c):
        return None
    first = point_of(p)
    if first is None or (second := point_of(s)) is None or (third := point_of(c)) is None:
        return None
    return first, second, third


def _are_apart(p: Point, s: Point, c: Point) -> bool:
    """Whether the three can be told apart as points: all numbers, or all times that differ by more than it takes to answer.

    A build that is slow writes later times: that is a matter of latency, and not of what it answers. It treats the three alike.
    """
    if not p.time is s.time is c.time:
        return False
    return not p.time or max(p.at, s.at, c.at) - min(p.at, s.at, c.at) >= TIMES_ALIKE_SECONDS


def _style(three: tuple[Scalar, Scalar, Scalar], written: tuple[str, str, str], design: Design) -> int:
    p, s, c = map(style_of, three, written)
    if p == s:
        return 2 if c != p else NOBODY
    if p == c:
        return 1
    return 0 if s == c and design is _THREE_ARM else NOBODY


_TRACED_MIN: Final = 8
_END: Final = 4


def _traces(three: tuple[Scalar, Scalar, Scalar], hashed: Callable[[str], int]) -> Three | None:
    """Of identifiers, which are texts or large whole numbers of some length."""
    stems = []
    for value in three:
        if type(value) is not str and type(value) is not int:
            return None
        text = str(value)
        if len(text) < _TRACED_MIN or " " in text:
            return None
        stems.append(text[:-_END])
    return _three_hashes((stems[0], stems[1], stems[2]), hashed)
