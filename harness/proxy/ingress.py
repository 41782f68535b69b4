"""The client's side of the live path: one connection, its requests answered in order, its time-outs and its end.

It knows of stable only through relays, and of shadows nothing.
"""

import asyncio
import socket
import struct
from collections import deque
from enum import StrEnum
from typing import Protocol

import msgspec

from harness.core.labels import RefusedReason
from harness.core.limits import (
    CLIENTS_DEFAULT,
    CLIENTS_TURNED_AWAY_MAX,
    LINGER_BYTES_MAX,
    PIPELINED_REQUESTS_MAX,
    STREAM_BUFFER_BYTES_MAX,
)
from harness.core.values import Headers
from harness.proxy.forwarding import announced
from harness.proxy.outbox import Outbox
from harness.proxy.parsing import RequestParser
from harness.proxy.plain import PlainRequest
from harness.proxy.relay import Live, Relay
from harness.proxy.wire import Refused, RequestHead

LATE_SECONDS = 0.1
"""How long an idle connection stays open when the server stops: a request that is on its way by then is answered."""
LINGER_SECONDS = 2.0
"""How long input is thrown away after an answer that closes, so that a reset does not destroy the answer (RFC 9112 9.6)."""


class ClientTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long a client may take, in seconds."""

    head_s: float = 15.0
    """From the first byte of a head to its last."""
    body_s: float = 30.0
    """Between two pieces of a body."""
    idle_s: float = 75.0
    """Between two requests."""
    stall_s: float = 60.0
    """For taking something of an answer that waits."""


class Closable(Protocol):
    """A connection that can be ended."""

    def stop(self) -> None:
        """Take no further request; close when what is under way was answered."""

    def kill(self) -> None:
        """Close now."""


class Clients:
    """The connections of a server."""

    def __init__(self, clients_max: int = CLIENTS_DEFAULT) -> None:
        self.clients_max = clients_max
        """How many are served at once. A lower one cuts nobody off."""
        self._connections: set[Closable] = set()
        self._turned_away: set[Closable] = set()
        self._none = asyncio.Event()
        self._none.set()
        self._stopping = False
        self._outbox: Outbox | None = None

    def outlet(self, transport: asyncio.BaseTransport) -> asyncio.Transport:
        """A client's transport, whose writes leave with those to the others."""
        if self._outbox is None:
            self._outbox = Outbox()
        return self._outbox.outlet(transport)

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: Closable) -> None:
        """A client came."""
        self._connections.add(connection)
        self._none.clear()
        if self._stopping:  # uvloop tells of a connection some time after it was accepted
            asyncio.get_running_loop().call_later(LATE_SECONDS, connection.stop)

    def turns_away(self, connection: Closable) -> bool:
        """Whether there are too many for a client that came just now."""
        if len(self._connections) - len(self._turned_away) <= self.clients_max:
            return False
        self._turned_away.add(connection)
        return True

    @property
    def overrun(self) -> bool:
        """Whether there are too many even of those who are only told so."""
        return len(self._turned_away) > CLIENTS_TURNED_AWAY_MAX

    def discard(self, connection: Closable) -> None:
        """A client went."""
        self._connections.discard(connection)
        self._turned_away.discard(connection)
        if not self._connections:
            self._none.set()

    async def stop(self, grace_s: float) -> None:
        """Let what is under way be answered, for at most `grace_s` seconds, and close all."""
        self._stopping = True
        for connection in list(self._connections):
            connection.stop()
        try:
            async with asyncio.timeout(grace_s):
                await self._none.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.kill()
            await self._none.wait()


class _Phase(StrEnum):
    """What the connection is waiting for, which tells the time-out."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    STALLED = "stalled"
    STABLE = "stable"
    LINGER = "linger"
    CLOSING = "closing"


class ClientConnection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, live: Live, timeouts: ClientTimeouts, clients: Clients) -> None:
        self._live = live
        self._timeouts = timeouts
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[Relay] = deque()
        self._receiving: Relay | None = None
        self._input_over = False
        self._eof = False
        self._stopping = False
        self._raw = False
        self._tls = False
        self._lingered_bytes = 0
        self._held = False
        self._reading = True
        self._phase = _Phase.IDLE
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._lost_reason = RefusedReason.CLIENT_GONE
        self._message = 0
        self._unsent_bytes = 0
        self.full = False

    @property
    def busy(self) -> bool:
        """Whether a request is under way, or has begun to come."""
        return bool(self._queue) or (self._parser.mid_message and not self._input_over)

    def stop(self) -> None:
        """Take no further request than those on their way already; close when they are answered."""
        self._stopping = True
        self._loop.call_later(LATE_SECONDS, self._shut_if_idle)

    def kill(self) -> None:
        """Close now; what is under way is counted as refused by the shutdown."""
        self._lost_reason = RefusedReason.SHUTDOWN
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports are of no asyncio class.
        self._transport = self._clients.outlet(transport)
        self._tls = transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=STREAM_BUFFER_BYTES_MAX)
        self._clients.add(self)
        if self._clients.turns_away(self):
            self._refuse(Refused(503, RefusedReason.TOO_MANY_CLIENTS, "too many clients are connected"))
            self._pump()
            if self._clients.overrun:
                self.kill()
        self._rearm()

    def data_received(self, data: bytes) -> None:
        if self._raw:
            self._queue[0].client_raw(data)
            return
        if self._input_over:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES_MAX and self._transport is not None:
                self._transport.abort()
            return
        if not self._queue:
            plain = self._parser.plain(data)
            if plain is not None:
                self._take_plain(plain)
                return
        self._feed(data)

    def _take_plain(self, plain: PlainRequest) -> None:
        """A plain request that is the only one."""
        if self._live.forwarding is not None:
            self.request_head(plain.head)
            self.request_body(plain.body)
            self.request_end(())
            self._pump()
            return
        relay = Relay(self, self._live, plain.head, None, plain)
        self._queue.append(relay)
        relay.start()
        if self.full or not self._reading or not self._queue:
            self._pump()
        else:
            self._phase, self._deadline_s, self._message = _Phase.STABLE, 0.0, self._parser.messages

    def eof_received(self) -> bool:
        self._eof = True
        if self._raw:
            self._queue[0].client_raw(b"")
            return not self._tls
        if not self._input_over and self._parser.mid_message:
            self._refuse(Refused(400, RefusedReason.CLIENT_GONE, "the request ended early"))
        self._input_over = True
        self._pump()
        return bool(self._queue) and not self._tls  # TLS transports close after it, and warn of an answer that says otherwise

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio calls it so
        self._clients.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if not self._input_over and self._receiving is None and self._parser.mid_message:
            self._queue.append(Relay(self, self._live, None))
        self._input_over = True
        self._transport = None
        queue, self._queue = self._queue, deque()
        for relay in queue:
            relay.lost(self._lost_reason)

    def pause_writing(self) -> None:
        self.full = True
        if self._queue:
            self._queue[0].client_full()
        self._rearm()

    def resume_writing(self) -> None:
        self.full = False
        if self._queue:
            self._queue[0].client_drained()
        self._rearm()

    def request_head(self, head: RequestHead) -> None:
        if self._live.forwarding is not None:
            head = announced(head, self._live.forwarding, peer=self._peer(), scheme="https" if self._tls else "http")
        self._receiving = Relay(self, self._live, head)
        self._queue.append(self._receiving)

    def _peer(self) -> str:
        """The client's IP address; empty on a Unix socket."""
        name = None if self._transport is None else self._transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else ""

    def request_body(self, data: bytes) -> None:
        if self._receiving is not None:
            self._receiving.request_body(data)

    def request_end(self, trailers: Headers) -> None:
        relay, self._receiving = self._receiving, None
        if relay is not None:
            relay.request_end(trailers)

    def may_keep(self) -> bool:
        return not ((self._stopping or self._eof) and len(self._queue) <= 1 and not self._parser.holding)

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def hold(self) -> None:
        self._held = True
        self._regulate()

    def unhold(self) -> None:
        self._held = False
        self._regulate()
        self._rearm()

    def switched(self) -> bytes:
        self._raw = True
        self._rearm()
        return self._parser.release()

    def finished(self, *, keep: bool) -> None:
        if not self._queue:
            return  # the connection went while the answer was being written
        relay = self._queue.popleft()
        self._held = False
        if not keep or self._raw:
            self._close()
            return
        if relay.head is not None and relay.head.upgrade:
            self._read_on(self._parser.release())
        if self._stopping and not self.busy:
            self._shut()  # the answer had begun, and said that the connection stays, before the server stopped
            return
        if self._queue or self.full or not self._reading or self._input_over or self._parser.mid_message:
            self._pump()
        else:
            self._phase, self._message = _Phase.IDLE, self._parser.messages
            self._set_deadline(self._timeouts.idle_s)

    def cut(self, *, hard: bool) -> None:
        transport = self._transport
        if transport is None:
            return
        if hard:
            raw = transport.get_extra_info("socket")
            if raw is not None and raw.family != socket.AF_UNIX:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            self._shut()

    def _read_on(self, held: bytes) -> None:
        """What came after a request for a switch is HTTP after all."""
        if held:
            self._feed(held)
        if not self._eof:
            return
        if self._parser.mid_message and (self._receiving is not None or not self._queue):
            self._refuse(Refused(400, RefusedReason.CLIENT_GONE, "the request ended early"))
        elif not self._queue:
            self._shut()

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed(data)
        except Refused as refused:
            self._refuse(refused)
        self._pump()

    def _refuse(self, refused: Refused) -> None:
        """The input cannot be read further. The answer waits for its turn."""
        self._input_over = True
        relay, self._receiving = self._receiving, None
        if relay is not None:
            relay.refuse(refused)
        else:
            self._queue.append(Relay(self, self._live, None, refused))

    def _pump(self) -> None:
        """Start the first request that waits, and adjust what is read and for how long."""
        while self._queue and not self._queue[0].started:
            self._queue[0].start()
        self._regulate()
        self._rearm()

    def _regulate(self) -> None:
        """Read no more than the bounds on what may wait."""
        waiting = sum(relay.backlog_bytes for relay in self._queue) if len(self._queue) > 1 else 0
        want = not self._held and len(self._queue) <= PIPELINED_REQUESTS_MAX and waiting <= STREAM_BUFFER_BYTES_MAX
        if want is self._reading or self._transport is None or self._transport.is_closing():
            return
        self._reading = want
        if want:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _close(self) -> None:
        """End the connection after an answer. Further input is read and thrown away for a while, where any may be on its way."""
        transport = self._transport
        if transport is None:
            return
        for relay in self._queue:
            relay.lost(self._lost_reason)
        self._queue.clear()
        self._held = False
        self._regulate()
        if self._eof or self._raw or not transport.can_write_eof() or transport.is_closing():
            self._shut()
            return
        self._input_over = True
        self._phase = _Phase.LINGER
        transport.write_eof()
        self._rearm()

    def _shut_if_idle(self) -> None:
        if not self.busy and self._phase not in {_Phase.LINGER, _Phase.CLOSING}:
            self._shut()

    def _shut(self) -> None:
        """Close once what was written is gone, or the client stops taking it."""
        transport = self._transport
        if transport is None:
            return
        self._input_over = True
        self._phase = _Phase.CLOSING
        self._unsent_bytes = transport.get_write_buffer_size()
        transport.close()
        self._rearm()

    def _phase_now(self) -> tuple[_Phase, float]:
        times = self._timeouts
        if self._phase is _Phase.LINGER:
            return _Phase.LINGER, LINGER_SECONDS
        if self._phase is _Phase.CLOSING:
            return _Phase.CLOSING, times.stall_s
        if self.full:
            return _Phase.STALLED, times.stall_s
        if self._raw:
            return _Phase.STABLE, 0.0
        if not self._input_over and self._reading:
            if self._receiving is not None:
                return _Phase.BODY, times.body_s
            if self._parser.mid_message:
                return _Phase.HEAD, times.head_s
        return (_Phase.STABLE, 0.0) if self._queue else (_Phase.IDLE, times.idle_s)

    def _rearm(self) -> None:
        """Set the deadline of what is waited for. One timer serves a connection; it is moved only to fire earlier."""
        if self._transport is None:
            return
        before, message = self._phase, self._message
        self._phase, limit_s = self._phase_now()
        self._message = self._parser.messages
        if not limit_s:
            self._deadline_s = 0.0
            return
        fixed = self._phase in {_Phase.LINGER, _Phase.CLOSING} or (self._phase is _Phase.HEAD and message == self._message)
        if fixed and self._phase is before and self._deadline_s and self._timer is not None:
            return
        self._set_deadline(limit_s)

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
        if self._phase in {_Phase.HEAD, _Phase.BODY}:
            self._refuse(Refused(408, RefusedReason.CLIENT_TIMEOUT, "the request came too slowly"))
            self._pump()
        elif self._phase in {_Phase.IDLE, _Phase.LINGER}:
            self._shut()
        elif self._phase is _Phase.CLOSING and transport.get_write_buffer_size() < self._unsent_bytes:
            self._unsent_bytes = transport.get_write_buffer_size()
            self._set_deadline(self._timeouts.stall_s)
        else:
            transport.abort()
