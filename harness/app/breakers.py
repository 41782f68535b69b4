"""How the breakers of the shadow targets stand: shown by ingress workers in their slots, added up by the supervisor."""

from collections.abc import Iterable, Mapping
from typing import Final

from harness.app.members import Place
from harness.bus.slots import BreakerSlots, Slots
from harness.core.labels import Role
from harness.counters import TargetBreakers
from harness.proxy.breaker import BreakerState

_STATES: Final = tuple(BreakerState)
_TARGETS: Final = (Role.SECONDARY, Role.CANDIDATE)


def show(slots: Slots, breakers: Mapping[Role, tuple[BreakerState, int]]) -> None:
    """Show an ingress worker's own: the state of each target's, and how often it has opened. A target left out has none now."""
    for role in _TARGETS:
        if role in breakers:
            state, opened = breakers[role]
            slots.show_breaker(role, BreakerSlots(1 + _STATES.index(state), opened))
        else:
            slots.show_breaker(role, BreakerSlots(0, slots.breaker(role).opened))


def together(places: Iterable[Place]) -> dict[str, TargetBreakers]:
    """Those of all ingress workers, by shadow target. A target is left out where it has none and never had one open."""
    found: dict[str, TargetBreakers] = {}
    rows = list(places)
    for role in _TARGETS:
        breakers = [place.breaker(role) for place in rows]
        if any(state or opened for state, opened in breakers):
            states = [_STATES[state - 1] for state, _ in breakers if state]
            found[role.value] = TargetBreakers(
                closed=states.count(BreakerState.CLOSED),
                open=states.count(BreakerState.OPEN),
                probing=states.count(BreakerState.PROBING),
                opened=sum(opened for _, opened in breakers),
            )
    return found
