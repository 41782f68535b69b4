"""The client's side of the live path: one connection, its requests answered in order, its time-outs and its end.

It knows of stable only through relays, and of shadows nothing.
"""

import asyncio
import socket
import struct
from collections import deque

from harness.core.labels import RefusedReason
from harness.core.limits import PIPELINED_REQUESTS_MAX, STREAM_BUFFER_BYTES_MAX
from harness.core.values import Headers
from harness.proxy.clients import LATE_SECONDS, Clients
from harness.proxy.deadlines import ENDING, ClientTimeouts, Phase, TimedConnection
from harness.proxy.forwarding import announced
from harness.proxy.plain import PlainRequest
from harness.proxy.relay import Live, Relay
from harness.proxy.wire import Refused, RequestHead


class ClientConnection(TimedConnection):
    """One client connection."""

    def __init__(self, live: Live, timeouts: ClientTimeouts, clients: Clients) -> None:
        super().__init__(timeouts, clients)
        self._live = live
        self._queue: deque[Relay] = deque()
        self._receiving: Relay | None = None
        self._stopping = False
        self._raw = False
        self._tls = False
        self._held = False
        self._reading = True

    @property
    def busy(self) -> bool:
        """Whether a request is under way, or has begun to come."""
        return bool(self._queue) or (self._parser.mid_message and not self._input_over)

    def stop(self) -> None:
        """Take no further request than those on their way already; close when they are answered."""
        self._stopping = True
        self._loop.call_later(LATE_SECONDS, self._shut_if_idle)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tls = transport.get_extra_info("sslcontext") is not None
        self._begin(self._clients.outlet(transport))

    def data_received(self, data: bytes) -> None:
        if self._raw:
            self._queue[0].client_raw(data)
            return
        if self._input_over:
            self._throw_away(data)
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
            self._phase, self._deadline_s, self._message = Phase.STABLE, 0.0, self._parser.messages

    def eof_received(self) -> bool:
        self._eof = True
        if self._raw:
            self._queue[0].client_raw(b"")
            return not self._tls
        if not self._input_over and self._parser.mid_message:
            self._refuse(Refused(400, RefusedReason.CLIENT_GONE, "the request ended early"))
        self._input_over = True
        self._pump()
        if self._queue and not self._tls:  # TLS transports close after it, and warn of an answer that says otherwise
            return True
        self._shut()  # returning False alone would drop what was written in this turn of the loop
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio calls it so
        self._gone()
        if not self._input_over and self._receiving is None and self._parser.mid_message:
            self._queue.append(Relay(self, self._live, None))
        self._input_over = True
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
        self._body_bytes = 0
        self._receiving = Relay(self, self._live, head)
        self._queue.append(self._receiving)

    def _peer(self) -> str:
        """The client's IP address; empty on a Unix socket."""
        name = None if self._transport is None else self._transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else ""

    def request_body(self, data: bytes) -> None:
        if self._receiving is not None:
            self._body_bytes += len(data)
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
        self._rearm()

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
            self._phase, self._message = Phase.IDLE, self._parser.messages
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
            self._parse(data)
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

    def _end_with(self, refused: Refused) -> None:
        self._refuse(refused)
        self._pump()

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
        if self._transport is None:
            return
        for relay in self._queue:
            relay.lost(self._lost_reason)
        self._queue.clear()
        self._held = False
        self._regulate()
        if self._raw:
            self._shut()
        else:
            self._linger()

    def _shut_if_idle(self) -> None:
        if not self.busy and self._phase not in ENDING:
            self._shut()

    def _waits_for(self) -> Phase:
        if self._raw:
            return Phase.STABLE
        if not self._input_over and self._reading:
            if self._receiving is not None:
                return Phase.BODY
            if self._parser.mid_message:
                return Phase.HEAD
        return Phase.STABLE if self._queue else Phase.IDLE
