"""Changes that a person accepted beforehand, and what of a trial lies within them. Pure.

`set_apart` takes from a trial's bets those on the candidate that an accepted change explains. An entry is fixed before the run and
is applied to the pair (stable, candidate) only: the candidate has to stand alone, so where the secondary shows the same change it
is noise as before. Every bet that is taken away says +1; those that say -1 stay. So given the past and the answers of a trial
without their arms, the mean of what remains is at most what it was, which is at most 0 when candidate and control can be
swapped: each E stays a supermartingale, and an entry can only take away evidence against the candidate, never make any.

Games on values that are noisy anyhow have two sides, so there no arm may be favoured: at an accepted place they skip a trial whenever
one arm stands alone, whichever it is. That is the same for all orders of the arms, so what is left is as fair as before.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from harness.core.attributes import PRESENT
from harness.core.labels import Aspect, Kind, Role
from harness.core.values import Comparison, Difference
from harness.evidence.bets import Bet, TrialBets
from harness.evidence.restless import Restless
from harness.evidence.seen import ANYTHING, Seen, within


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
_Place = tuple[Aspect, str, Kind]


class ExpectedChanges:
    """The changes that are applied, by place."""

    def __init__(self, changes: tuple[ExpectedChange, ...] = ()) -> None:
        self._by_endpoint: dict[str, dict[_Place, Seen]] = {}
        for change in changes:
            self._by_endpoint.setdefault(change.endpoint, {})[change.aspect, change.path, change.kind] = change.seen

    def at(self, endpoint: str) -> Mapping[_Place, Seen]:
        """What is accepted at an endpoint."""
        return self._by_endpoint.get(endpoint, {})


NO_CHANGES: Final = ExpectedChanges()


def set_apart(bets: TrialBets, comparison: Comparison, changes: ExpectedChanges) -> TrialBets:
    """The trial's bets without those that lie within an accepted change, which are counted as `expected`."""
    accepted = changes.at(bets.endpoint)
    if not accepted:
        return bets
    if bets.restless:
        bets = msgspec.structs.replace(bets, restless=_steady(bets.restless, accepted))
    if not bets.bets:
        return bets
    attributes = dict(bets.attributes)
    kept: list[Bet] = []
    expected: list[Bet] = []
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
    return seen is not None and within(seen, found) and in_slice(seen, attributes)
