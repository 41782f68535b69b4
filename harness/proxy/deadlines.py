"""What a connection of a client waits for, how long it may take, and its end: what live clients and senders of copies share.

It knows nothing of targets, and nothing of what is answered.
"""

import asyncio
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Final

import msgspec

from harness.core.labels import RefusedReason
from harness.core.limits import (
    LINGER_BYTES_MAX,
    REQUEST_BODY_BYTES_PER_SECOND_MIN,
    REQUEST_BODY_GRACE_SECONDS,
    STREAM_BUFFER_BYTES_MAX,
)
from harness.core.values import Headers
from harness.proxy.clients import Clients
from harness.proxy.pace import Pace
from harness.proxy.parsing import RequestParser
from harness.proxy.wire import Refused, RequestHead

LINGER_SECONDS = 2.0
"""How long input is thrown away after an answer that closes, so that a reset does not destroy the answer (RFC 9112 9.6)."""


class ClientTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long a client may take, in seconds, and how fast it has to send."""

    head_s: float = 15.0
    """From the first byte of a head to its last."""
    body_s: float = 30.0
    """Between two pieces of a body."""
    idle_s: float = 75.0
    """Between two requests."""
    stall_s: float = 60.0
    """For taking something of an answer that waits."""
    body_bytes_per_s_min: float = REQUEST_BODY_BYTES_PER_SECOND_MIN
    """For a body, on average since its first bytes, without the time in which it is not read."""
    body_grace_s: float = REQUEST_BODY_GRACE_SECONDS
    """From a body's first bytes, until it is asked for its rate."""


class Phase(StrEnum):
    """What the connection is waiting for, which tells the time-out."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    STALLED = "stalled"
    STABLE = "stable"
    LINGER = "linger"
    CLOSING = "closing"


ENDING: Final = frozenset({Phase.LINGER, Phase.CLOSING})
"""Nothing is read any more."""


class TimedConnection(asyncio.Protocol, ABC):
    """A client's connection. One timer serves it; the timer is moved only to fire earlier, so that a request costs none."""

    def __init__(self, timeouts: ClientTimeouts, clients: Clients) -> None:
        self._timeouts = timeouts
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._receiving: object | None = None
        """Stands for the request whose body is coming in."""
        self._body_bytes = 0
        self._pace: Pace | None = None
        """That body's, once something of it came."""
        self._input_over = False
        self._eof = False
        self._lingered_bytes = 0
        self._phase = Phase.IDLE
        self._message = 0
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0
        self._lost_reason = RefusedReason.CLIENT_GONE
        self.full = False
        """The client takes less than it is sent."""

    def kill(self) -> None:
        """Close now; what is under way is counted as refused by the shutdown."""
        self._lost_reason = RefusedReason.SHUTDOWN
        if self._transport is not None:
            self._transport.abort()

    @abstractmethod
    def stop(self) -> None:
        """Take no further request; close when what is under way was answered."""

    @abstractmethod
    def request_head(self, head: RequestHead) -> None:
        """See RequestReceiver."""

    @abstractmethod
    def request_body(self, data: bytes) -> None:
        """See RequestReceiver. It counts `_body_bytes`."""

    @abstractmethod
    def request_end(self, trailers: Headers) -> None:
        """See RequestReceiver."""

    @abstractmethod
    def _waits_for(self) -> Phase:
        """What it waits for, where it is not ending and the client takes what it is sent."""

    @abstractmethod
    def _end_with(self, refused: Refused) -> None:
        """The input cannot be read further: say why, in its turn, and end."""

    def _begin(self, transport: asyncio.Transport) -> None:
        """The client is connected; perhaps it is only told that there are too many."""
        self._transport = transport
        transport.set_write_buffer_limits(high=STREAM_BUFFER_BYTES_MAX)
        self._clients.add(self)
        if self._clients.turns_away(self):
            self._end_with(Refused(503, RefusedReason.TOO_MANY_CLIENTS, "too many clients are connected"))
            if self._clients.overrun:
                self.kill()
        self._rearm()

    def _gone(self) -> None:
        """The connection is lost."""
        self._transport = None
        self._clients.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def _throw_away(self, data: bytes) -> None:
        """Input that is not looked at any more."""
        self._lingered_bytes += len(data)
        if self._lingered_bytes > LINGER_BYTES_MAX and self._transport is not None:
            self._transport.abort()

    def _parse(self, data: bytes) -> None:
        """Have the parser read on. Raises Refused. The body that is coming in after that is timed from its first bytes."""
        before = self._receiving
        self._parser.feed(data)
        receiving = self._receiving
        if receiving is None:
            self._pace = None
        elif receiving is not before:
            # After the head alone its sender may wait to be told to go on (100).
            self._pace = self._begun() if self._body_bytes else None
        elif self._pace is None:
            self._pace = self._begun()

    def _begun(self) -> Pace:
        times = self._timeouts
        return Pace(self._loop.time(), bytes_per_s_min=times.body_bytes_per_s_min, grace_s=times.body_grace_s)

    def _linger(self) -> None:
        """End the connection after an answer. Further input is read and thrown away for a while, where any may be on its way."""
        transport = self._transport
        if transport is None or self._phase in ENDING:
            return
        if self._eof or not transport.can_write_eof() or transport.is_closing():
            self._shut()
            return
        self._input_over = True
        transport.write_eof()
        self._enter(Phase.LINGER)

    def _shut(self) -> None:
        """Close once what was written is gone, or the client stops taking it."""
        transport = self._transport
        if transport is None or self._phase is Phase.CLOSING:
            return
        self._input_over = True
        self._unsent_bytes = transport.get_write_buffer_size()
        transport.close()
        self._enter(Phase.CLOSING)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._set_deadline(self._limit_s(phase))

    def _rearm(self) -> None:
        """Set the deadline of what is waited for. A head and an end have one for the whole of it, all else one since the last bytes."""
        if self._transport is None:
            return
        before, message, phase = self._phase, self._message, self._phase
        if phase not in ENDING:
            phase = Phase.STALLED if self.full else self._waits_for()
        self._phase = phase
        self._message = self._parser.messages
        limit_s = self._limit_s(phase)
        if not limit_s:
            self._deadline_s = 0.0
            return
        fixed = phase in ENDING or (phase is Phase.HEAD and message == self._message)
        if fixed and phase is before and self._deadline_s and self._timer is not None:
            return
        self._set_deadline(limit_s)

    def _limit_s(self, phase: Phase) -> float:
        """How long the phase may take from now on; 0 for as long as it likes."""
        times, pace = self._timeouts, self._pace
        if pace is not None:
            now_s = self._loop.time()
            if phase is Phase.BODY:
                pace.go_on(now_s)
                return min(times.body_s, max(pace.left_s(now_s, self._body_bytes), 0.001))
            pace.hold(now_s)
        if phase is Phase.BODY:
            return times.body_s
        if phase is Phase.HEAD:
            return times.head_s
        if phase is Phase.IDLE:
            return times.idle_s
        if phase is Phase.STABLE:
            return 0.0
        return LINGER_SECONDS if phase is Phase.LINGER else times.stall_s

    def _set_deadline(self, limit_s: float) -> None:
        self._deadline_s = self._loop.time() + limit_s
        if self._timer is None or self._timer.when() > self._deadline_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        transport = self._transport
        if transport is None or not self._deadline_s:
            return
        if self._loop.time() < self._deadline_s - 0.001:
            self._timer = self._loop.call_at(self._deadline_s, self._on_timer)
            return
        self._deadline_s = 0.0
        if self._phase in {Phase.HEAD, Phase.BODY}:
            self._end_with(Refused(408, RefusedReason.CLIENT_TIMEOUT, "the request came too slowly"))
        elif self._phase in {Phase.IDLE, Phase.LINGER}:
            self._shut()
        elif self._phase is Phase.CLOSING and transport.get_write_buffer_size() < self._unsent_bytes:
            self._unsent_bytes = transport.get_write_buffer_size()
            self._set_deadline(self._timeouts.stall_s)
        else:
            transport.abort()
