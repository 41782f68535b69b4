"""Noisy places at which a shift of the candidate was accepted: what is left of a trial's bets there. Pure.

An entry says by how much the candidate's number or time was off stable's: from `low` to `high`. The games go on with that taken off,
for every shift t in the range, and for none (t = 0): the candidate is the odd one only where it is so under all of them, and
another arm is where it is so under any. So if the candidate behaves like stable but for one of these shifts, or for none, its bets are
at most fair: under the true t, each bet that names it here names it there too, and each that names another arm there does
so here. A shift that lies outside is found as before, by the same games and at the same error rate.

`style`, `sequence` and `mix` have no range; those games are put aside at an accepted place (`harness.evidence.noise`).
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from harness.core.labels import Aspect, Design, Kind, Role
from harness.evidence.bets import Bet
from harness.evidence.distance import farthest, further, ranks
from harness.evidence.noise_bets import NOBODY, TIMES_ALIKE_SECONDS, NoiseBet
from harness.evidence.seen import Seen

SHIFTS: Final = frozenset({Kind.DISTANCE, Kind.BIAS})
"""Kinds of findings that are a shift."""
_CANDIDATE: Final = 2


def without_shifts(
    noise: tuple[NoiseBet, ...], design: Design, accepted: Mapping[tuple[Aspect, str, Kind], Seen]
) -> tuple[tuple[NoiseBet, ...], tuple[Bet, ...]]:
    """What is left, and what of it was as accepted, which is counted only."""
    left: list[NoiseBet] = []
    expected: list[Bet] = []
    for bet in noise:
        own = {kind: seen for kind in SHIFTS if (seen := accepted.get((bet.aspect, bet.path, kind))) is not None}
        if not own:
            left.append(bet)
            continue
        kept, shown = bet, set[Kind]()
        # One shift shows in both games, though it may be found by one of them first.
        (either, known), *_ = own.items()
        if bet.far != NOBODY:
            kept = msgspec.structs.replace(kept, far=_far(bet, own.get(Kind.DISTANCE, known), design))
            if bet.far == _CANDIDATE != kept.far:
                shown.add(Kind.DISTANCE if Kind.DISTANCE in own else either)
        if bet.ranks is not None:
            kept = _unbiased(kept, own.get(Kind.BIAS, known))
            if _leads(bet) and not _leads(kept):
                shown.add(Kind.BIAS if Kind.BIAS in own else either)
        left.append(kept)
        expected += [_counted(bet, kind) for kind in sorted(shown)]
    return tuple(left), tuple(expected)


def _counted(bet: NoiseBet, kind: Kind) -> Bet:
    return Bet(bet.aspect, bet.path, kind, Role.CANDIDATE, control_differs=True, candidate_differs=True, key=bet.key)


def _range(seen: Seen) -> tuple[float, float]:
    low, high = seen.low if seen.low is not None else 0.0, seen.high if seen.high is not None else 0.0
    return min(low, high), max(low, high)


def _far(bet: NoiseBet, seen: Seen, design: Design) -> int:
    """Whose value lies apart: the candidate's only where it does under every shift that was accepted, another's under any."""
    if bet.off is None or bet.off_control is None:
        return NOBODY
    low, high = _range(seen)
    said = {_apart(bet, shift, design) for shift in _shifts(bet.off, bet.off_control, low, high)}
    others = said - {NOBODY, _CANDIDATE}
    if others:
        return min(others)
    return _CANDIDATE if said == {_CANDIDATE} else NOBODY


def _shifts(candidate: float, control: float, low: float, high: float) -> set[float]:
    """The shifts that decide: none, the ends, the middle, and those that bring the candidate closest to the two others."""
    quarter = abs(control) / 4.0
    closest = [candidate - at for at in (0.0, control, control / 2.0, control / 2.0 - quarter, control / 2.0 + quarter)]
    return {0.0, low, high, (low + high) / 2.0, *(min(max(shift, low), high) for shift in closest)}


def _apart(bet: NoiseBet, shift: float, design: Design) -> int:
    assert bet.off is not None and bet.off_control is not None  # noqa: PT018 - both or none
    points = (0.0, bet.off_control, bet.off - shift)
    if bet.time and max(points) - min(points) < TIMES_ALIKE_SECONDS:
        return NOBODY
    found = farthest(points) if design is Design.THREE_ARM else further(*points)
    return NOBODY if found is None else found


def _unbiased(bet: NoiseBet, seen: Seen) -> NoiseBet:
    """The order for the game on the largest with the most taken off, for that on the smallest with the least."""
    if bet.off is None or bet.off_control is None:
        return msgspec.structs.replace(bet, ranks=None)
    low, high = _range(seen)
    most, least = max(high, 0.0), min(low, 0.0)
    return msgspec.structs.replace(
        bet, ranks=_order(bet, bet.off_control, bet.off - most), ranks_low=_order(bet, bet.off_control, bet.off - least)
    )


def _order(bet: NoiseBet, control: float, candidate: float) -> tuple[int, int, int]:
    """Their order; of times that are alike, none: then nobody is the largest or the smallest."""
    points = (0.0, control, candidate)
    return (0, 0, 0) if bet.time and max(points) - min(points) < TIMES_ALIKE_SECONDS else ranks(points)


def _leads(bet: NoiseBet) -> bool:
    """Whether the candidate's is the largest, or the smallest."""
    low = bet.ranks if bet.ranks_low is None else bet.ranks_low
    assert bet.ranks is not None and low is not None  # noqa: PT018 - it has an order
    return bet.ranks[_CANDIDATE] == 2 or (low[_CANDIDATE] == 0 and low.count(0) == 1)
