"""The side of whoever sends copies of requests: one connection, each whole request answered 202 at once and handed on.

Nobody waits for what becomes of a copy, so a connection holds nothing but the request that is coming in. Targets and
trials are not known here.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import msgspec

from harness.core.http import header
from harness.core.labels import RefusedReason
from harness.core.outcomes import Tally
from harness.core.values import Body, Headers
from harness.proxy import wire
from harness.proxy.capture import BodyCapture, Budget
from harness.proxy.clients import Clients
from harness.proxy.deadlines import ClientTimeouts, Phase, TimedConnection
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


class CopyConnection(TimedConnection):
    """One connection of a sender of copies. A request is counted as entered when its head is known, or when it is refused."""

    def __init__(self, inbox: Inbox, timeouts: ClientTimeouts, clients: Clients) -> None:
        super().__init__(timeouts, clients)
        self._inbox = inbox
        self._receiving: RequestHead | None = None
        self._capture: BodyCapture | None = None
        self._waits_for_continue = False
        self._switch = False
        self._out: list[bytes] = []
        self._whole: list[Copy] = []
        self._stopping = False

    def stop(self) -> None:
        """Take no further request than the one that is coming in; close when it was answered."""
        self._stopping = True
        if not self._input_over and not self._parser.mid_message:
            self._shut()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports are of no asyncio class.
        self._begin(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        if self._input_over:
            self._throw_away(data)
        else:
            self._read(data)

    def eof_received(self) -> bool:
        self._eof = True
        if not self._input_over:
            if self._parser.mid_message:
                self._refuse(Refused(400, RefusedReason.CLIENT_GONE, "the request ended early"))
            self._input_over = True
        self._shut()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio calls it so
        self._gone()
        if not self._input_over and self._parser.mid_message:
            self._count_refused(self._lost_reason)
        self._input_over = True

    def pause_writing(self) -> None:
        self.full = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self._rearm()

    def resume_writing(self) -> None:
        self.full = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._rearm()

    def request_head(self, head: RequestHead) -> None:
        self._inbox.tally.entered()
        self._receiving = head
        self._body_bytes = 0
        self._capture = BodyCapture(self._inbox.budget)
        self._waits_for_continue = _expects_continue(head)

    def request_body(self, data: bytes) -> None:
        self._waits_for_continue = False
        self._body_bytes += len(data)
        if self._capture is not None:
            self._capture.add(data)

    def request_end(self, trailers: Headers) -> None:  # noqa: ARG002 - an arm's request carries none
        head, capture = self._receiving, self._capture
        assert head is not None
        assert capture is not None
        self._receiving = self._capture = None
        self._waits_for_continue = False
        self._switch = head.upgrade
        self._whole.append(Copy(head, capture.body(), capture.starved))
        capture.release()
        self._input_over = not head.keep_alive
        self._out.append(_ACCEPTED_LAST if self._input_over else _ACCEPTED_KEPT if head.http10 else _ACCEPTED)

    def _read(self, data: bytes) -> None:
        """Take in what came, answer what it completed, and only then hand it on."""
        try:
            self._parse(data)
            while self._switch:
                # The answer is 202 whatever protocol was asked for, so the rest is HTTP after all (RFC 9110 7.8).
                self._switch = False
                if held := self._parser.release():
                    self._parse(held)
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
        head_only = self._receiving is not None and self._receiving.method == "HEAD"
        self._out.append(wire.refusal_bytes(refused.status, refused.reason, refused.message, head_only=head_only, close=True))
        self._count_refused(refused.reason)
        self._input_over = True
        self._flush()

    def _end_with(self, refused: Refused) -> None:
        self._refuse(refused)
        self._linger()

    def _count_refused(self, reason: RefusedReason) -> None:
        if self._receiving is None:
            self._inbox.tally.entered()
        self._inbox.tally.refused(reason)
        if self._capture is not None:
            self._capture.release()
        self._receiving = self._capture = None

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
        self._out = []

    def _waits_for(self) -> Phase:
        if self._receiving is not None:
            return Phase.BODY
        return Phase.HEAD if self._parser.mid_message else Phase.IDLE


def _expects_continue(head: RequestHead) -> bool:
    """Whether the sender waits for a word before it sends the body (RFC 9110 10.1.1)."""
    has_body = head.framing is Framing.CHUNKED or head.length > 0
    return has_body and not head.http10 and (header(head.headers, "expect") or "").strip().lower() == "100-continue"
