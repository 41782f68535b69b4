"""What keeps the shadow targets from harm by load: a cap on requests/s, and a breaker for each of them. Pure.

Each trial sends one request to each shadow target, so one cap holds for all of them, and a trial is sent to all of them
or to none: while one target's breaker is open the other gets nothing either.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from functools import partial

from harness.core.labels import Role, ShedReason
from harness.proxy.breaker import Breaker, BreakerOptions, BreakerState
from harness.proxy.rate import RateCap

_LOG = logging.getLogger(__name__)


class Protection:
    """Asked before each trial is sent to all shadow targets."""

    def __init__(
        self, roles: Iterable[Role], *, rps_max: float | None, breaker: BreakerOptions, opened: Counter[Role] | None = None
    ) -> None:
        """`opened` is where it is counted how often breakers open; one handed in goes on counting over several protections."""
        can_open = breaker.error_share is not None or breaker.latency_ms is not None
        self.breakers = {role: Breaker(breaker, partial(self._note, role)) for role in roles} if can_open else {}
        """Of each target; empty where none may open."""
        self._each = tuple(self.breakers.values())
        self._cap = None if rps_max is None else RateCap(rps_max)
        self._left_alone: set[Role] = set()
        self.opened: Counter[Role] = Counter() if opened is None else opened
        """How often the breaker of each target has opened."""

    def refuses(self, now_ns: int) -> ShedReason | None:
        """Why no trial may be sent now; None where one may. Changes nothing."""
        for breaker in self._each:
            if not breaker.allows(now_ns):
                return ShedReason.BREAKER
        if self._cap is not None and not self._cap.allows(now_ns):
            return ShedReason.RATE
        return None

    def sent(self, now_ns: int) -> None:
        """A trial that was not refused is sent."""
        if self._cap is not None:
            self._cap.take(now_ns)

    def _note(self, role: Role, state: BreakerState) -> None:
        """Say when a target is left alone and when it has recovered, not each time it is tried in between."""
        if state is BreakerState.OPEN:
            self.opened[role] += 1
        if state is BreakerState.OPEN and role not in self._left_alone:
            self._left_alone.add(role)
            _LOG.warning("%s is left alone for a while: too many of the last exchanges with it failed or were slow", role)
        elif state is BreakerState.CLOSED:
            self._left_alone.discard(role)
            _LOG.warning("%s is asked again: it has recovered", role)
