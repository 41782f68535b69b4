"""What a trial says of places at which the arms' values differ anyhow: from their differences to one value a place.

A field that is new in every answer (a time, an identifier, a counter, a measurement) makes no arm the odd one by its value.
What the three values have to do with each other still does: which one lies apart, which is the largest, which is written
in another way, which of a few values each has. All is told by index (0 stable, 1 secondary, 2 candidate) or by keyed
hashes; no value leaves this module, but for the distance of the candidate from stable.

Every rule treats the arms alike: moving the three values round moves the indices with them (two arms: swapping candidate
and secondary), so each is a fair bet when the candidate behaves like stable. A place is looked at where all arms differ
(for categories: where any do), which is as symmetric, and never where the value channel bets already.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec

from harness.core.labels import Aspect, Design, Kind
from harness.core.limits import NOISE_PLACES_PER_TRIAL_MAX
from harness.core.values import Difference, Scalar
from harness.evidence.distance import Point, farthest, further, point_of, ranks
from harness.evidence.mix import category_like
from harness.evidence.style import style_of

NOBODY: Final = -1

Three = tuple[int, int, int]
Pairs = tuple[Mapping[Kind, list[Difference]], Mapping[Kind, list[Difference]], Mapping[Kind, list[Difference]]]
"""Differences at a place by kind: of (stable, candidate), (stable, secondary), (secondary, candidate)."""


class NoiseBet(msgspec.Struct, frozen=True, array_like=True):
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


def without_numbers(bet: NoiseBet) -> NoiseBet:
    """The bet as live traffic may take it: numbers have no distance and no order there.

    A measurement hangs together from request to request (slow spells, drifting gauges), each instance's by itself, and there are
    no fresh passes to draw it anew: single requests are no witnesses then. Times are read from one clock and stay.
    """
    return bet if bet.time or (bet.ranks is None and bet.far == NOBODY) else msgspec.structs.replace(bet, far=NOBODY, ranks=None)


class _Values(NamedTuple):
    three: tuple[Scalar, Scalar, Scalar]
    control_differs: bool
    all_differ: bool
    """All three differ, and in the same kind."""


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
        found.sort(key=_place)
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


def _place(bet: NoiseBet) -> tuple[str, str]:
    return bet.path, bet.aspect


_SCALAR: Final = (Kind.VALUE, Kind.FORMAT, Kind.LENGTH, Kind.NULL, Kind.CODE)
_ELEMENTS: Final = re.compile(r"\d{1,18}")


def _in_document(difference: Difference) -> tuple[tuple[int, ...], str]:
    return tuple(int(index) for index in _ELEMENTS.findall(difference.where)), difference.where


def _values(pairs: Pairs, design: Design) -> _Values | None:
    """The three values at the first concrete place where any pair differs; None where they cannot be told."""
    first, second, cross = ([found[kind][0] for kind in _SCALAR if kind in found] for found in pairs)
    every = first + second + cross
    if not every:
        return None
    where = every[0].where
    if any(difference.where != where for difference in every):
        where = min(every, key=_in_document).where
    pc, ps, sc = (next((d for d in found if d.where == where), None) for found in (first, second, cross))
    three_arms = design is Design.THREE_ARM
    if pc is not None and ps is not None:
        if pc.left != ps.left:
            return None  # elements are paired by likeness: another one in each pair
        three = (pc.left, ps.right, pc.right)
        differ = sc is not None if three_arms else (ps.right != pc.right or type(ps.right) is not type(pc.right))
        return _Values(three, True, differ and pc.kind is ps.kind and (sc is None or sc.kind is pc.kind))
    if pc is not None:
        return _Values((pc.left, pc.left, pc.right), False, False) if sc is not None or not three_arms else None
    if ps is not None:
        return _Values((ps.left, ps.right, ps.left), True, False) if sc is not None or not three_arms else None
    return None


def _bet(aspect: Aspect, path: str, values: _Values, asked: Asked) -> NoiseBet | None:
    hashed = asked.hashed
    p, s, c = values.three
    categories = None
    if category_like(p) and category_like(s) and category_like(c):
        categories = (hashed(repr(p)), hashed(repr(s)), hashed(repr(c)))
    if not values.all_differ and categories is None:
        return None
    same = "\0".join(sorted((repr(p), repr(s), repr(c))))
    far, order, off, time, traces, style = NOBODY, None, None, False, None, NOBODY
    if values.all_differ:
        style = _style(values.three, asked.design)
        if not asked.alone:
            points = point_of(p), point_of(s), point_of(c)
            if points[0] and points[1] and points[2] and _are_apart(points[0], points[1], points[2]):
                at = points[0].at, points[1].at, points[2].at
                odd = farthest(at) if asked.design is Design.THREE_ARM else further(*at)
                far, order, off, time = NOBODY if odd is None else odd, ranks(at), at[2] - at[0], points[0].time
            traces = _traces(values.three, hashed)
    if categories is None and order is None and style == NOBODY and traces is None:
        return None
    return NoiseBet(
        aspect=aspect,
        path=path,
        key=hashed(f"{asked.spell}\0{same}") if values.all_differ else 0,
        answer=hashed(f"{asked.spell}\0{asked.answer}\0{same}") if categories is not None else 0,
        control_differs=values.control_differs,
        far=far,
        ranks=order,
        style=style,
        categories=categories,
        traces=traces,
        off=off,
        time=time,
    )


def _are_apart(p: Point, s: Point, c: Point) -> bool:
    """Whether the three can be told apart as points: all numbers, or all times that differ by more than it takes to answer.

    A build that is slow writes later times: that is a matter of latency, and not of what it answers. It treats the three alike.
    """
    if not p.time is s.time is c.time:
        return False
    return not p.time or max(p.at, s.at, c.at) - min(p.at, s.at, c.at) >= TIMES_ALIKE_SECONDS


def _style(three: tuple[Scalar, Scalar, Scalar], design: Design) -> int:
    p, s, c = (style_of(value) for value in three)
    if p == s:
        return 2 if c != p else NOBODY
    if p == c:
        return 1
    return 0 if s == c and design is Design.THREE_ARM else NOBODY


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
    return hashed(stems[0]), hashed(stems[1]), hashed(stems[2])
