"""Changes that a person accepted beforehand, and what of a trial lies within them. Pure.

`set_apart` takes from a trial's bets those on the candidate that an accepted change explains. An entry is fixed before the run and
is applied to the pair (stable, candidate) only: the candidate has to stand alone, so where the secondary shows the same change it
is noise as before. Every bet that is taken away says +1; those that say -1 stay. So given the past and the answers of a trial
without their arms, the mean of what remains is at most what it was, which is at most 0 when candidate and control can be
swapped: each E stays a supermartingale, and an entry can only take away evidence against the candidate, never make any.

What no single difference shows is accepted in two other ways: a shift of noisy values is taken off before the games on them
(`harness.evidence.shifted`), and style, sequence, mix, latency and determinism are held to a rate or a ceiling by the ledger, which
gives them no part in the gate's sum or asks for more than the ceiling.

Games on values that are noisy anyhow have two sides, so there no arm may be favoured: at an accepted place they skip a trial whenever
one arm stands alone, whichever it is. That is the same for all orders of the arms, so what is left is as fair as before.
"""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from harness.core.attributes import PRESENT
from harness.core.labels import Aspect, Kind, Role
from harness.core.values import Comparison, Difference
from harness.evidence.bets import Bet, TrialBets
from harness.evidence.restless import Restless
from harness.evidence.seen import ANYTHING, Seen, elements_of, within
from harness.evidence.shifted import SHIFTS, without_shifts


class ExpectedChange(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted change."""

    id: str
    """The finding's: a hash of the four that follow."""
    endpoint: str
    aspect: Aspect
    path: str
    kind: Kind
    reason: str
    by: str
    expires: str
    """The last day, in UTC, on which it holds: YYYY-MM-DD."""
    must_change: bool = False
    """The run fails where the change does not happen."""
    seen: Seen = ANYTHING


class ExpectedFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The accepted changes of a run."""

    file: str = ""
    """Where they were read; empty where there was no such file."""
    applied: tuple[ExpectedChange, ...] = ()
    expired: tuple[ExpectedChange, ...] = ()
    """Past their last day when the run began: not applied."""
    self_accepted: tuple[ExpectedChange, ...] = ()
    """Added or altered over the base ref: not applied, unless the policy allows it."""
    self_accepted_applied: bool = False
    """The policy allows it: they are among `applied` as well."""


ABSENT: Final = "absent"
NOTHING_EXPECTED: Final = ExpectedFacts()
MEDIAN: Final = "p50"
"""Path of a finding on the median of an endpoint's latency."""
RATE_LEVEL: Final = 0.01
"""Chance, over all entries together, that a change which is no more frequent than it was seen to be fails for its frequency."""
_HELD_KINDS: Final = frozenset({Kind.STYLE, Kind.SEQUENCE, Kind.MIX})
_HELD_ASPECTS: Final = frozenset({Aspect.LATENCY, Aspect.DETERMINISM})
_Place = tuple[Aspect, str, Kind]
_NOTHING: Final[Mapping[_Place, Seen]] = {}


def is_held(aspect: Aspect, kind: Kind) -> bool:
    """Whether a finding is told of many requests only, and an entry for it holds it to a rate or a ceiling."""
    return aspect in _HELD_ASPECTS or kind in _HELD_KINDS


class ExpectedChanges:
    """The changes that are applied, by place. There are three sorts of them: differences, shifts of noisy values, and what is held to a
    rate or a ceiling (style, sequence, mix, latency, determinism), which is the ledger's business."""

    def __init__(self, changes: tuple[ExpectedChange, ...] = ()) -> None:
        self._by_endpoint: dict[str, dict[_Place, Seen]] = {}
        self._shifts: dict[str, dict[_Place, Seen]] = {}
        self._held: dict[tuple[str, Aspect, str, Kind], Seen] = {}
        for change in changes:
            if is_held(change.aspect, change.kind):
                self._held[change.endpoint, change.aspect, change.path, change.kind] = change.seen
            else:
                sort = self._shifts if change.kind in SHIFTS else self._by_endpoint
                sort.setdefault(change.endpoint, {})[change.aspect, change.path, change.kind] = change.seen
        self.outside_log_e = math.log(max(1, len(changes)) / RATE_LEVEL)
        """Natural log of the evidence from which on something shows more often than it was accepted."""

    def at(self, endpoint: str) -> Mapping[_Place, Seen]:
        """The differences that are accepted at an endpoint."""
        return self._by_endpoint.get(endpoint, _NOTHING)

    def shifts(self, endpoint: str) -> Mapping[_Place, Seen]:
        """The shifts of noisy values that are."""
        return self._shifts.get(endpoint, _NOTHING)

    def places(self) -> dict[str, frozenset[_Place]]:
        """By endpoint, where differences are accepted."""
        return {endpoint: frozenset(places) for endpoint, places in self._by_endpoint.items()}

    def held(self, endpoint: str, aspect: Aspect, path: str, kind: Kind) -> Seen | None:
        """What a place is held to; None where nothing of that sort is accepted there."""
        return self._held.get((endpoint, aspect, path, kind))

    def slower(self, endpoint: str) -> tuple[float | None, dict[str, float]]:
        """Of an endpoint's latency: the largest ratio of its median that is accepted, and the share of each tail, by path."""
        found = {path: seen for (name, aspect, path, _), seen in self._held.items() if name == endpoint and aspect is Aspect.LATENCY}
        median = found.pop(MEDIAN, None)
        return None if median is None else median.high, {path: seen.rate_high for path, seen in found.items()}

    def restored(self, bets: TrialBets) -> TrialBets:
        """A trial's bets with those put back of which the entry is not applied any more: an entry ends while trials are under way."""
        here, shifts = self.at(bets.endpoint), self.shifts(bets.endpoint)
        stale = [bet for bet in bets.expected if (place := (bet.aspect, bet.path, bet.kind)) not in here and place not in shifts]
        if not stale:
            return bets
        again = sorted((*bets.bets, *(bet for bet in stale if bet.kind not in SHIFTS)), key=_numbered)
        return msgspec.structs.replace(bets, bets=tuple(again), expected=tuple(bet for bet in bets.expected if bet not in stale))


def _numbered(bet: Bet) -> tuple[str, str, str]:
    return bet.path, bet.aspect, bet.kind


NO_CHANGES: Final = ExpectedChanges()


def set_apart(bets: TrialBets, comparison: Comparison, changes: ExpectedChanges) -> TrialBets:
    """The trial's bets without those that lie within an accepted change, which are counted as `expected`."""
    if bets.noise and (shifts := changes.shifts(bets.endpoint)):
        noise, as_accepted = without_shifts(bets.noise, bets.design, shifts)
        bets = msgspec.structs.replace(bets, noise=noise, expected=as_accepted)
    accepted = changes.at(bets.endpoint)
    if not accepted:
        return bets
    if bets.restless:
        bets = msgspec.structs.replace(bets, restless=_steady(bets.restless, accepted))
    if not bets.bets:
        return bets
    attributes = dict(bets.attributes)
    kept: list[Bet] = []
    expected: list[Bet] = list(bets.expected)
    for bet in bets.bets:
        (expected if _is_expected(bet, comparison, accepted, attributes) else kept).append(bet)
    places = {(aspect, path) for aspect, path, _ in accepted}
    alone = {(bet.aspect, bet.path) for bet in bets.bets if bet.odd is not None} & places
    if not alone:
        return bets
    noise = tuple(bet for bet in bets.noise if (bet.aspect, bet.path) not in alone)
    return msgspec.structs.replace(bets, bets=tuple(kept), expected=tuple(expected), noise=noise)


def _steady(restless: tuple[Restless, ...], accepted: Mapping[_Place, Seen]) -> tuple[Restless, ...]:
    """Without those at an accepted place, whichever arm is the odd one: a new field that is drawn anew each time is what was accepted."""
    places = {(aspect, path) for aspect, path, _ in accepted}
    return tuple(one for one in restless if (one.aspect, one.path) not in places)


def in_slice(seen: Seen, attributes: Mapping[str, str]) -> bool:
    """Whether a trial is of the part of the traffic to which a change was confined, by what is known of its request.

    A trial of which nothing is known is outside of every part.
    """
    if seen.slice is None:
        return True
    if seen.slice.value == ABSENT:
        return bool(attributes) and seen.slice.attribute not in attributes
    if seen.slice.value == PRESENT:
        return seen.slice.attribute in attributes
    return attributes.get(seen.slice.attribute) == seen.slice.value


def _is_expected(bet: Bet, comparison: Comparison, accepted: Mapping[_Place, Seen], attributes: Mapping[str, str]) -> bool:
    """Whether the candidate alone differs here, and all that it differs in at this place lies within what was accepted.

    A bet of another channel on the same values (how far they are apart, say) shares the fate of the differences there.
    """
    if bet.odd is not Role.CANDIDATE:
        return False
    here = [found for found in comparison.stable_candidate if (found.aspect, found.path) == (bet.aspect, bet.path)]
    if any(found.kind is bet.kind for found in here):
        here = [found for found in here if found.kind is bet.kind]
    return bool(here) and all(_is_accepted(found, accepted, attributes) for found in here)


def _is_accepted(found: Difference, accepted: Mapping[_Place, Seen], attributes: Mapping[str, str]) -> bool:
    seen = accepted.get((found.aspect, found.path, found.kind))
    return seen is not None and all(within(seen, one) for one in elements_of(found)) and in_slice(seen, attributes) and _is_whole(found)


def _is_whole(found: Difference) -> bool:
    """Whether every differing element of a difference was looked at: what was not may be another change."""
    return found.further is None or not found.further.left_out
