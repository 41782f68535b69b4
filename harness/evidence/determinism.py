"""Does the candidate disagree with itself? Its own aspect, with its own bets: EVIDENCE of (U, N), U = it changed, N = the control did.

An answer that differs between two passes from fresh state is no fault by itself: clocks go on, ids are drawn. It is one where the
candidate changes and stable does not, or stable does and the candidate not (a time that stands still). Which arm is the odd one
among equals is fair to bet on as everywhere (see `harness.evidence.bets`), and passes are taken in disjoint pairs
(comparators/repeats.py), so that each bet is about answers that nobody has looked at before. The gate's sum is looked at after each
pass, for other games; between the two passes of a pair determinism is left out of it (`harness.evidence.wealth`).

It can fail a run and never keeps one from passing: an answer that changed too rarely to be proven was a difference of its own in
one of the two passes, and is open there.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Final

from harness.core.labels import Aspect, Design, FindingClass, Kind, Role
from harness.core.limits import RESTLESS_PLACES_MAX
from harness.evidence.ceiling import Shares
from harness.evidence.expected import NO_CHANGES, ExpectedChanges
from harness.evidence.findings import finding_id, severity_of
from harness.evidence.hypothesis import Stake, log10_threshold
from harness.evidence.martingale import LN10, excess_interval, log_sum
from harness.evidence.restless import Restless
from harness.evidence.seen import Seen
from harness.evidence.snapshot import Evidence, Interval, Noted
from harness.evidence.wealth import Wealth
from harness.evidence.weights import FAMILY_WEIGHTS, POOL_WEIGHTS, POOLED_SHARE, Family, Pool, series

_LEVEL: Final = 0.95
"""Coverage of intervals."""
_RATE_LEVEL: Final = 0.975
"""Of each end of the interval of a rate."""
SIGHT_LOG_E: Final = math.log(4.0)
"""Evidence that an accepted place is so more often than it was from which on more passes are worth while."""


class RestlessPlace:
    """One place's counts and stake."""

    __slots__ = (
        "aspect",
        "candidate",
        "changed",
        "compared",
        "control",
        "decided",
        "endpoint",
        "held",
        "id",
        "kind",
        "path",
        "requests",
        "stake",
        "stayed",
        "still",
    )

    def __init__(self, endpoint: str, one: Restless, weight: float, accepted: Seen | None = None) -> None:
        self.endpoint = endpoint
        self.aspect = one.aspect
        self.path = one.path
        self.kind = one.kind
        self.stake = Stake(weight)
        self.id = finding_id(endpoint, Aspect.DETERMINISM, path_of(one.aspect, one.path), one.kind)
        self.candidate = 0
        """Pairs of answers in which the candidate is the odd one."""
        self.still = 0
        """Of these: it stayed as it was where stable changed."""
        self.control = 0
        """Pairs in which an instance of stable is the odd one."""
        self.decided: tuple[int, int] | None = None
        self.held = accepted is not None
        """It was accepted as it was: no part of the gate's sum, but held to its rates."""
        self.changed = Shares(None if accepted is None else accepted.rate_high)
        """In how much of a pass the candidate alone changed."""
        self.stayed = Shares(None if accepted is None else accepted.still_high)
        """In how much of it the candidate alone stayed as it was."""
        self.requests = 0
        """Of the endpoint, in each pass."""

    @property
    def outside(self) -> float:
        """Natural log of the evidence that it is so more often than it was accepted; of the two rates, half the stake on each."""
        return log_sum((self.changed.log_e, self.stayed.log_e)) - math.log(2.0)


def path_of(aspect: Aspect, path: str) -> str:
    """What a finding of this aspect calls a place: of a body the path itself, of anything else its aspect before it."""
    return path if aspect is Aspect.BODY else f"{aspect} {path}"


class DeterminismBook:
    """All places of a run, and the pool. Bounded: places beyond the bound go into the pool alone, and are counted."""

    def __init__(self, expected: ExpectedChanges = NO_CHANGES) -> None:
        self._expected = expected
        self.places: dict[tuple[str, Aspect, str, Kind], RestlessPlace] = {}
        self.pool = Stake(POOL_WEIGHTS[Pool.DETERMINISM])
        self.pool_decided_at: int | None = None
        self.overflow = 0
        self._started: dict[str, int] = {}
        """Places of an endpoint that have a weight."""

    def fold(
        self,
        endpoint: str,
        found: Iterable[Restless],
        *,
        share: float,
        design: Design,
        spell: int | None,
        wealth: Wealth,
        requests: int = 0,
    ) -> None:
        """Take a trial's. `share` is the endpoint's of what is spread; `spell` the pass, whose bets are one game; `requests` how many
        the endpoint has in each pass."""
        odd: set[Role] = set()
        for one in found:
            place = self._place(endpoint, share, one)
            if place is None or not place.held:
                odd.add(one.odd)
            if place is None:
                self.overflow += 1
                continue
            place.requests = requests
            if one.odd is Role.CANDIDATE:
                place.candidate += 1
                place.still += not one.changed
                (place.changed if one.changed else place.stayed).saw(hit=True, spell=spell, total=requests)
            else:
                place.control += 1
            _bet(place.stake, design, one.odd, spell, None if place.held else wealth)
        if len(odd) == 1:
            _bet(self.pool, design, odd.pop(), spell, wealth)

    def settle(self, wealth: Wealth, folded: int, pass_index: int) -> None:
        """A pass is over: note what is named by now."""
        for place in self.places.values():
            if pass_index % 2:  # the second of a pair: all its requests were looked at
                for shares in (place.changed, place.stayed):
                    shares.saw(hit=False, spell=pass_index, total=place.requests)
                    shares.end()
            if place.decided is None and wealth.names(place.stake):
                place.decided = folded, pass_index
        if self.pool_decided_at is None and wealth.names(self.pool):
            self.pool_decided_at = folded

    def named(self, wealth: Wealth, folded: int, pass_index: int) -> Iterator[tuple[RestlessPlace, tuple[int, int]]]:
        """Places that are proven, and when; and accepted ones that are so more often now."""
        for _, place in sorted(self.places.items()):
            decided = place.decided or ((folded, pass_index) if wealth.names(place.stake) else None)
            if decided is None and place.held and place.outside >= self._expected.outside_log_e:
                decided = (folded, pass_index)
            if decided is not None:
                yield place, decided

    def in_sight(self) -> int:
        """Accepted places of which more passes may tell that they are so more often than they were accepted."""
        return sum(place.held and SIGHT_LOG_E <= place.outside < self._expected.outside_log_e for place in self.places.values())

    def _place(self, endpoint: str, share: float, one: Restless) -> RestlessPlace | None:
        key = (endpoint, one.aspect, one.path, one.kind)
        place = self.places.get(key)
        if place is None and len(self.places) < RESTLESS_PLACES_MAX:
            j = self._started[endpoint] = self._started.get(endpoint, 0) + 1
            weight = FAMILY_WEIGHTS[Family.DETERMINISM] * (1.0 - POOLED_SHARE) * share * series(j)
            accepted = self._expected.held(endpoint, Aspect.DETERMINISM, path_of(one.aspect, one.path), one.kind)
            place = self.places[key] = RestlessPlace(endpoint, one, weight, accepted)
        return place


def evidence_of(place: RestlessPlace, decided: tuple[int, int], *, compared: int, alpha: float, root: str | None) -> Evidence:
    """A finding. `compared`: requests of the endpoint that were compared; `root`: the finding that the same place differs at all."""
    total = place.candidate - 0.5 * place.control
    low, high = excess_interval(total, place.candidate + 0.25 * place.control, compared, _LEVEL)
    path = path_of(place.aspect, place.path)
    rate_low, rate_high = place.changed.interval(_RATE_LEVEL)
    return Evidence(
        id=place.id,
        endpoint=place.endpoint,
        aspect=Aspect.DETERMINISM,
        path=path,
        kind=place.kind,
        finding_class=FindingClass.EXPECTED if place.held else FindingClass.DIVERGENCE,
        severity=severity_of(Aspect.DETERMINISM, place.kind, path),
        compared=compared,
        diverged=place.candidate,
        control_diverged=place.control,
        log10_e=place.stake.log_e_max / LN10,
        log10_threshold=log10_threshold(place.stake.weight, alpha),
        rate=total / max(1, compared),
        interval=Interval(low, high, _LEVEL),
        decided_at=decided[0],
        decided_pass=decided[1],
        root=root,
        still=place.still,
        expected=place.candidate if place.held else 0,
        noted=Noted(
            looks=max(compared, place.candidate),
            hits=place.candidate,
            rate_low=rate_low,
            rate_high=rate_high,
            still_high=place.stayed.interval(_RATE_LEVEL)[1],
            outside_log10=place.outside / LN10,
        ),
    )


def _bet(stake: Stake, design: Design, odd: Role, spell: int | None, wealth: Wealth | None) -> None:
    before = stake.log_e
    stake.bet(design, odd, spell)
    if wealth is not None:
        wealth.restless_changed(stake.weight, before, stake.log_e)
