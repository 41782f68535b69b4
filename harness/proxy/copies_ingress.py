"""The side of whoever sends copies of requests: one connection, each whole request answered 202 at once and handed on.

Nobody waits for what becomes of a copy, so a connection holds nothing but the request that is coming in. Targets and
trials are not known here.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Final, cast

import msgspec

from harness.core.http import header
from harness.core.labels import RefusedReason
from harness.core.limits import LINGER_BYTES_MAX, STREAM_BUFFER_BYTES_MAX
from harness.core.outcomes import Tally
from harness.core.values import Body, Headers
from harness.proxy import wire
from harness.proxy.capture import BodyCapture, Budget
from harness.proxy.ingress import LINGER_SECONDS, Clients, ClientTimeouts
from harness.proxy.parsing import RequestParser
from harness.proxy.wire import Framing, Refused, RequestHead

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_ACCEPTED: Final = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_ACCEPTED_KEPT: Final = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
_ACCEPTED_LAST: Final = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Copy(msgspec.Struct, frozen=True):
    """A request as somebody else copied it."""

    head: RequestHead
    body: Body
    starved: bool
    """The body was given up because the harness ran out of its bound on memory."""


class Inbox(msgspec.Struct, frozen=True, kw_only=True):
    """What all connections of a server share."""

    tally: Tally
    budget: Budget
    take: Callable[[Copy], None]
    """Told of each whole request once it was answered. It must settle the request's outcome and must not raise."""


class _Phase(StrEnum):
    """What the connection is waiting for, which tells the time-out."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    STALLED = "stalled"
    LINGER = "linger"
    CLOSING = "closing"


class CopyConnection(asyncio.Protocol):
    """One connection of a sender of copies. A request is counted as entered when its head is known, or when it is refused."""

    def __init__(self, inbox: Inbox, timeouts: ClientTimeouts, clients: Clients) -> None:
        self._inbox = inbox
        self._timeouts = timeouts
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._head: RequestHead | None = None
        self._capture: BodyCapture | None = None
        self._waits_for_continue = False
        self._switch = False
        self._out: list[bytes] = []
        self._whole: list[Copy] = []
        self._input_over = False
        self._stopping = False
        self._full = False
        self._lost_reason = RefusedReason.CLIENT_GONE
        self._lingered_bytes = 0
        self._phase = _Phase.IDLE
        self._message = 0
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Take no further request than the one that is coming in; close when it was answered."""
        self._stopping = True
        if not self._input_over and not self._parser.mid_message:
            self._shut()

    def kill(self) -> None:
        """Close now; a request that is coming in is counted as refused by the shutdown."""
        self._lost_reason = RefusedReason.SHUTDOWN
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports are of no asyncio class.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=STREAM_BUFFER_BYTES_MAX)
        self._clients.add(self)
        self._rearm()

    def data_received(self, data: bytes) -> None:
        if not self._input_over:
            self._read(data)
            return
        self._lingered_bytes += len(data)
        if self._lingered_bytes > LINGER_BYTES_MAX and self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> bool:
        if not self._input_over:
            if self._parser.mid_message:
                self._refuse(Refused(400, RefusedReason.CLIENT_GONE, "the request ended early"))
            self._input_over = True
        self._shut()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio calls it so
        self._transport = None
        self._clients.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if not self._input_over and self._parser.mid_message:
            self._count_refused(self._lost_reason)
        self._input_over = True

    def pause_writing(self) -> None:
        self._full = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self._rearm()

    def resume_writing(self) -> None:
        self._full = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._rearm()

    def request_head(self, head: RequestHead) -> None:
        self._inbox.tally.entered()
        self._head = head
        self._capture = BodyCapture(self._inbox.budget)
        self._waits_for_continue = _expects_continue(head)

    def request_body(self, data: bytes) -> None:
        self._waits_for_continue = False
        if self._capture is not None:
            self._capture.add(data)

    def request_end(self, trailers: Headers) -> None:  # noqa: ARG002 - an arm's request carries none
        head, capture = self._head, self._capture
        assert head is not None
        assert capture is not None
        self._head = self._capture = None
        self._waits_for_continue = False
        self._switch = head.upgrade
        self._whole.append(Copy(head, capture.body(), capture.starved))
        capture.release()
        self._input_over = not head.keep_alive
        self._out.append(_ACCEPTED_LAST if self._input_over else _ACCEPTED_KEPT if head.http10 else _ACCEPTED)

    def _read(self, data: bytes) -> None:
        """Take in what came, answer what it completed, and only then hand it on."""
        try:
            self._parser.feed(data)
            while self._switch:
                # The answer is 202 whatever protocol was asked for, so the rest is HTTP after all (RFC 9110 7.8).
                self._switch = False
                if held := self._parser.release():
                    self._parser.feed(held)
        except Refused as refused:
            self._refuse(refused)
        if self._waits_for_continue:
            self._waits_for_continue = False
            self._out.append(_CONTINUE)
        if self._stopping and self._whole and not self._parser.mid_message:
            self._input_over = True
            self._out[-1] = _ACCEPTED_LAST
        self._flush()
        whole, self._whole = self._whole, []
        for copy in whole:
            self._inbox.take(copy)
        if self._input_over:
            self._linger()
        else:
            self._rearm()

    def _refuse(self, refused: Refused) -> None:
        """The input cannot be read further: say why."""
        head_only = self._head is not None and self._head.method == "HEAD"
        self._out.append(wire.refusal_bytes(refused.status, refused.reason, refused.message, head_only=head_only, close=True))
        self._count_refused(refused.reason)
        self._input_over = True
        self._flush()

    def _count_refused(self, reason: RefusedReason) -> None:
        if self._head is None:
            self._inbox.tally.entered()
        self._inbox.tally.refused(reason)
        if self._capture is not None:
            self._capture.release()
        self._head = self._capture = None

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
        self._out = []

    def _linger(self) -> None:
        """End the connection. Further input is read and thrown away for a while, so that a reset does not destroy the answer."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._phase in {_Phase.LINGER, _Phase.CLOSING}:
            return
        if not transport.can_write_eof():
            self._shut()
            return
        transport.write_eof()
        self._set_phase(_Phase.LINGER, LINGER_SECONDS)

    def _shut(self) -> None:
        """Close once what was written is gone, or nobody takes it."""
        if self._transport is not None and self._phase is not _Phase.CLOSING:
            self._input_over = True
            self._transport.close()
            self._set_phase(_Phase.CLOSING, self._timeouts.stall_s)

    def _rearm(self) -> None:
        """Set the deadline of what is waited for. A head has one for the whole of it, everything else one since the last bytes."""
        if self._transport is None or self._phase in {_Phase.LINGER, _Phase.CLOSING}:
            return
        times, before, message = self._timeouts, self._phase, self._message
        self._message = self._parser.messages
        if self._full:
            self._set_phase(_Phase.STALLED, times.stall_s)
        elif self._head is not None:
            self._set_phase(_Phase.BODY, times.body_s)
        elif not self._parser.mid_message:
            self._set_phase(_Phase.IDLE, times.idle_s)
        elif before is not _Phase.HEAD or message != self._message:
            self._set_phase(_Phase.HEAD, times.head_s)

    def _set_phase(self, phase: _Phase, limit_s: float) -> None:
        """One timer serves a connection; it is moved only to fire earlier."""
        self._phase = phase
        self._deadline_s = self._loop.time() + limit_s
        if self._timer is None or self._timer.when() > self._deadline_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        transport = self._transport
        if transport is None:
            return
        if self._loop.time() < self._deadline_s - 0.001:
            self._timer = self._loop.call_at(self._deadline_s, self._on_timer)
        elif self._phase in {_Phase.HEAD, _Phase.BODY}:
            self._refuse(Refused(408, RefusedReason.CLIENT_TIMEOUT, "the request came too slowly"))
            self._linger()
        elif self._phase in {_Phase.IDLE, _Phase.LINGER}:
            self._shut()
        else:
            transport.abort()


def _expects_continue(head: RequestHead) -> bool:
    """Whether the sender waits for a word before it sends the body (RFC 9110 10.1.1)."""
    has_body = head.framing is Framing.CHUNKED or head.length > 0
    return has_body and not head.http10 and (header(head.headers, "expect") or "").strip().lower() == "100-continue"
