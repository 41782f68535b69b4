"""The breaker of one shadow target: leaves it alone while it fails or crawls, and tries it again with a few trials. Pure.

It decides before a trial is sent and by earlier trials only. An answer is no failure here, whatever its status: a
candidate's 5xx, or bytes that are not HTTP, are findings. An answer without an end is one, for it costs megabytes of
reading each time. It opens only after `exchanges_min` exchanges, all of which
are compared, and lets `probes` trials through each time it has been open for `open_s`: a candidate that hangs leaves
evidence first, and goes on leaving some.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from harness.core.labels import ErrorKind
from harness.core.limits import BREAKER_EXCHANGES_MIN, BREAKER_PROBES, BREAKER_WINDOW
from harness.core.plain import AnyExchange

FAILURES: Final = frozenset({ErrorKind.REFUSED, ErrorKind.TIMEOUT, ErrorKind.RESET, ErrorKind.TLS, ErrorKind.TOO_LARGE})
"""Errors of a target in distress, or of one that costs too much. GARBAGE is an answer: wrong, but no reason to stop asking."""


class BreakerState(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    """Trials are sent."""
    OPEN = "open"
    """None are, until the time is up."""
    PROBING = "probing"
    """A few are, and what comes of them decides."""


class BreakerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """When a breaker opens, and for how long. Without `error_share` and `latency_ms` it never does."""

    error_share: float | None = 0.5
    """Opens once this share (above 0, up to 1) of the last exchanges failed."""
    latency_ms: float | None = None
    """Opens once more than half of the last exchanges took longer."""
    open_s: float = 10.0
    window: int = BREAKER_WINDOW
    """How many exchanges are the last ones."""
    exchanges_min: int = BREAKER_EXCHANGES_MIN
    """Opens on no fewer exchanges; at most `window`."""
    probes: int = BREAKER_PROBES


class Breaker:
    """Ask `allows`, then `begin` what is sent and `end` it (or `give_up`) with the ticket that `begin` gave.

    Times are of a monotonic clock, in nanoseconds. What began before the last change of state has no say after it.
    """

    __slots__ = (
        "_at",
        "_changed",
        "_errors_min_share",
        "_latency_ns",
        "_min",
        "_open_ns",
        "_probes_max",
        "_probes_sent",
        "_ring",
        "_ticket",
        "_until_ns",
        "_window",
        "errors",
        "seen",
        "slow",
        "state",
    )

    def __init__(self, options: BreakerOptions, changed: Callable[[BreakerState], None] = lambda _: None) -> None:
        """`changed` hears of each new state."""
        self._errors_min_share = options.error_share
        self._latency_ns = None if options.latency_ms is None else options.latency_ms * 1e6
        self._open_ns = int(options.open_s * 1e9)
        self._window = options.window
        self._min = min(options.exchanges_min, options.window)
        self._probes_max = min(options.probes, options.window)
        self._probes_sent = 0
        """Not counting those given up."""
        self._until_ns = 0
        self._ticket = 0
        self._ring = bytearray(options.window)
        """The last exchanges, oldest overwritten first: 1 failed, 2 slow, 3 both."""
        self._at = 0
        self._changed = changed
        self.state = BreakerState.CLOSED
        self.seen = 0
        """Exchanges looked at, since the last change of state; at most `window`."""
        self.errors = 0
        """How many of them failed."""
        self.slow = 0
        """How many of them were slow."""

    def allows(self, now_ns: int) -> bool:
        """Whether a trial may be sent now. Changes nothing."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN:
            return now_ns >= self._until_ns
        return self._probes_sent < self._probes_max

    def begin(self) -> int:
        """A trial that is allowed is sent. Returns its ticket."""
        if self.state is not BreakerState.CLOSED:
            if self.state is BreakerState.OPEN:
                self._change(BreakerState.PROBING)
                self._probes_sent = 0
            self._probes_sent += 1
        return self._ticket

    def give_up(self, ticket: int) -> None:
        """Nothing will be heard of a trial that began."""
        if ticket == self._ticket and self.state is BreakerState.PROBING:
            self._probes_sent -= 1

    def end(self, ticket: int, exchange: AnyExchange) -> None:
        """What came of a trial that began."""
        if ticket != self._ticket:
            return
        error = exchange.error
        code = 1 if error is not None and error.kind in FAILURES else 0
        if self._latency_ns is not None and exchange.ended_ns - exchange.started_ns > self._latency_ns:
            code |= 2
        at = self._at
        if self.seen < self._window:
            self.seen += 1
        elif oldest := self._ring[at]:
            self.errors -= oldest & 1
            self.slow -= oldest >> 1
        self._ring[at] = code
        self._at = at + 1 if at + 1 < self._window else 0
        if code:
            self.errors += code & 1
            self.slow += code >> 1
        if self.errors or self.slow or self.state is BreakerState.PROBING:
            self._decide(exchange.ended_ns)

    def _decide(self, now_ns: int) -> None:
        if self.state is BreakerState.PROBING:
            if self._too_many(self._probes_max):
                self._open(now_ns)
            elif self.seen >= self._probes_max:
                self._change(BreakerState.CLOSED)
        elif self.seen >= self._min and self._too_many(self.seen):
            self._open(now_ns)

    def _too_many(self, of: int) -> bool:
        if self.errors and self._errors_min_share is not None and self.errors >= self._errors_min_share * of:
            return True
        return 2 * self.slow > of

    def _open(self, now_ns: int) -> None:
        self._until_ns = now_ns + self._open_ns
        self._change(BreakerState.OPEN)

    def _change(self, state: BreakerState) -> None:
        self.state = state
        self._ticket += 1
        self.seen = self.errors = self.slow = self._at = 0
        self._changed(state)
