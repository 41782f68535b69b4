"""Findings at places whose values differ anyhow: what a game says at one moment. Pure; it changes nothing."""

from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.core.labels import Design, FindingClass, Kind
from harness.evidence.findings import severity_of
from harness.evidence.hypothesis import log10_threshold
from harness.evidence.martingale import LN10, excess_interval
from harness.evidence.shifted import SHIFTS
from harness.evidence.snapshot import Evidence, Interval, Noted

if TYPE_CHECKING:
    from harness.evidence.noise import Game, Place

_LEVEL: Final = 0.95
"""Coverage of intervals."""
_RATE_LEVEL: Final = 0.975
"""Of each end of the interval of a rate."""


class Look(NamedTuple):
    """A moment at which one asks where the games stand."""

    roots: "Mapping[Place, str]"
    """The finding on the values of a place, where there is one."""
    alpha: float
    passes: int | None
    """How many there were from fresh state; None in a stream."""
    now: tuple[int, int]
    """(trials folded, pass)."""
    design: Design


def noise_evidence(game: "Game", decided: tuple[int, int] | None, look: Look) -> Evidence:
    """A game that was named (`decided`), is open, or was accepted, as a finding."""
    stake = game.best().stake
    lost, pairs = stake.bets - stake.wins, max(1, stake.bets)
    loss = 0.5 if look.design is Design.THREE_ARM else 1.0
    total, squares = stake.wins - loss * lost, stake.wins + loss * loss * lost
    low, high = excess_interval(total, squares, pairs, _LEVEL)
    return Evidence(
        id=game.id,
        endpoint=game.endpoint,
        aspect=game.aspect,
        path=game.path,
        kind=game.kind,
        finding_class=FindingClass.EXPECTED if game.held else FindingClass.UNDECIDED if decided is None else FindingClass.DIVERGENCE,
        severity=severity_of(game.aspect, game.kind, game.path),
        compared=stake.bets,
        diverged=stake.wins,
        control_diverged=lost,
        log10_e=max(0.0, game.log_e) / LN10,
        log10_threshold=log10_threshold(game.weight, look.alpha),
        rate=total / pairs,
        interval=Interval(low, high, _LEVEL),
        decided_at=None if decided is None else decided[0],
        decided_pass=None if decided is None else decided[1],
        exemplars=tuple(game.exemplars),
        noisy=True,
        root=look.roots.get((game.endpoint, game.aspect, game.path)),
        blocks=game.blocks,
        detail=_detail(game),
        expected=stake.wins if game.held else 0,
        noted=_noted(game),
    )


def _noted(game: "Game") -> Noted:
    """What may be accepted: the range of a distance, the middle of a bias, and of the others how often the candidate is the odd one."""
    if game.kind in SHIFTS:
        found = game.measured.reach() if game.kind is Kind.DISTANCE else game.measured.middle()
        if found is None:
            return Noted()
        return Noted(median=found.median, low=found.low, high=found.high, unit="s" if game.measured.time else "")
    shares = game.shares
    low, high = shares.interval(_RATE_LEVEL)
    return Noted(looks=shares.looks, hits=shares.hits, rate_low=low, rate_high=high, outside_log10=shares.log_e / LN10)


_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))


def _detail(game: "Game") -> str:
    """`off by 9 h`: how far the candidate is from stable in the median, where it lies apart."""
    if not game.offs:
        return ""
    off = median(game.offs)
    if not game.time:
        return f"off by {off:+.3g}"
    size, unit = next(((size, unit) for size, unit in _UNITS if abs(off) >= size), _UNITS[-1])
    return f"off by {off / size:+.3g} {unit}"
