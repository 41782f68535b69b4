"""Arms that disagree with themselves: what one trial says of it. Its evidence is counted in `harness.evidence.determinism`."""

from collections.abc import Iterable
from typing import Final

import msgspec

from harness.core.labels import MIRRORED_KIND, Aspect, Control, Design, Kind, Role
from harness.core.values import Again

_ALL: Final = frozenset(Role)


class Restless(msgspec.Struct, frozen=True, array_like=True):
    """A place of an endpoint where one arm changed from one pass to the next and the others did not, or the other way round."""

    aspect: Aspect
    path: str
    kind: Kind
    """The kind of the change, or its mirror: which of the two passes was first means nothing."""
    odd: Role
    changed: bool
    """The odd arm is the one that changed; else it alone stayed as it was."""


def restless(again: Iterable[Again], design: Design, control: Control) -> tuple[Restless, ...]:
    """What a trial says. Without a second instance of stable it says nothing. Permuting the arms permutes the odd one."""
    if design is Design.NO_CONTROL or control is not Control.SECONDARY:
        return ()
    asked = _ALL if design is Design.THREE_ARM else _ALL - {Role.STABLE}
    places: dict[tuple[Aspect, str, Kind], set[Role]] = {}
    for one in again:
        for difference in one.differences:
            kind = min(difference.kind, MIRRORED_KIND.get(difference.kind, difference.kind))
            places.setdefault((difference.aspect, difference.path, kind), set()).add(one.role)
    found = []
    for place, roles in sorted(places.items()):
        changed = roles & asked
        still = asked - changed
        if design is Design.TWO_ARM:
            if len(changed) == 1:
                odd = next(iter(changed))
                found.append(Restless(*place, odd, changed=True))
        elif len(changed) == 1:
            found.append(Restless(*place, next(iter(changed)), changed=True))
        elif len(still) == 1:
            found.append(Restless(*place, next(iter(still)), changed=False))
    return tuple(found)
