"""One connection to a target, as an asyncio protocol: bytes out, an answer's parts in. Knows nothing of pools or time-outs."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from harness.core.labels import ErrorKind
from harness.core.limits import STREAM_BUFFER_BYTES_MAX
from harness.core.plain import PlainAnswer
from harness.proxy.outbox import Outbox
from harness.proxy.parsing import AnswerParser, AnswerReceiver
from harness.proxy.plain import KnownHeads
from harness.proxy.wire import BrokenAnswer

READ_BYTES_PER_TURN: Final = 64 * 1024
"""A read of so much ends a connection's turn: there is probably more, and others wait."""


class ConnectionUser(AnswerReceiver, Protocol):
    """Who uses a connection for one exchange."""

    def answer_plain(self, answer: PlainAnswer) -> None:
        """The whole of a plain answer, in the place of all other calls."""

    def connection_read(self) -> None:
        """All that one read brought was told."""

    def connection_switched(self, rest: bytes) -> None:
        """The target answered 101; `rest` came after it, and the connection is raw from here."""

    def connection_raw(self, data: bytes) -> None:
        """Raw bytes after a switch."""

    def connection_failed(self, kind: ErrorKind, message: str) -> None:
        """No complete answer will come. The connection is closed."""

    def connection_full(self) -> None:
        """Stop handing over bytes for a while."""

    def connection_drained(self) -> None:
        """Go on handing over bytes."""


class UpstreamConnection(asyncio.Protocol):
    """A keep-alive connection that carries one exchange after another."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lost: Callable[["UpstreamConnection"], None],
        outbox: Outbox | None = None,
        known: KnownHeads | None = None,
    ) -> None:
        """`lost` is told when the socket is closed. What is written leaves with the rest of `outbox`, at once without one.

        `known`: see AnswerParser.
        """
        self._lost = lost
        self._outbox = outbox
        self._transport: asyncio.Transport | None = None
        self._parser = AnswerParser(known)
        self._loop = loop
        self._user: ConnectionUser | None = None
        self._full = False
        self._raw = False
        self._reading = True
        self._paused = False
        self._resting = False
        self._closed: asyncio.Future[None] = loop.create_future()
        self.answered = False
        """Whether any byte of the present exchange's answer has come."""
        self.idle_since_s = 0.0
        """Loop time at which the last exchange ended."""

    @property
    def reusable(self) -> bool:
        """Whether another exchange may be tried on it."""
        return self._transport is not None and not self._transport.is_closing() and self._parser.reusable and not self._raw

    def begin(self, user: ConnectionUser, method: str, like: PlainAnswer | None = None) -> None:
        """Start an exchange; the next bytes read are its answer. `like`: see AnswerParser.expect."""
        self._user = user
        self.answered = False
        self._parser.expect(method, user, like)

    def end(self) -> None:
        """The exchange is over and its user hears nothing more."""
        self._user = None
        self.resume()
        self.idle_since_s = self._loop.time()

    def write(self, data: bytes) -> None:
        """Send bytes. `connection_full` tells when to pause."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def write_eof(self) -> None:
        """Send no more (after a switch)."""
        if self._transport is not None and not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def pause(self) -> None:
        """Stop reading, because the answer's reader is slower."""
        self._paused = True
        self._regulate()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        self._regulate()

    def abort(self) -> None:
        """Close at once; the user hears nothing more."""
        self._user = None
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Until the socket is closed."""
        await asyncio.shield(self._closed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports are of no asyncio class.
        self._transport = cast("asyncio.Transport", transport) if self._outbox is None else self._outbox.outlet(transport)
        self._transport.set_write_buffer_limits(high=STREAM_BUFFER_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        user = self._user
        if user is None:
            self.abort()  # bytes that nobody asked for: what they belong to is unknowable
            return
        if self._raw:
            user.connection_raw(data)
            return
        if not self.answered:
            self.answered = True
            plain = self._parser.plain(data)
            if plain is not None:
                user.answer_plain(plain)
                return
        try:
            rest = self._parser.feed(data)
        except BrokenAnswer as broken:
            self.abort()
            user.connection_failed(broken.kind, broken.message)
            return
        if rest is not None:
            self._raw = True
            user.connection_switched(rest)
        else:
            user.connection_read()
            if len(data) >= READ_BYTES_PER_TURN:
                self._rest()

    def eof_received(self) -> bool:
        self._end_of_input("the connection was closed before the answer was complete", clean=True)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(self)
        if not self._closed.done():
            self._closed.set_result(None)
        message = "the connection was closed before the answer was complete" if exc is None else f"the connection was lost: {_name(exc)}"
        self._end_of_input(message, clean=False)

    def pause_writing(self) -> None:
        self._full = True
        if self._user is not None:
            self._user.connection_full()

    def resume_writing(self) -> None:
        self._full = False
        if self._user is not None:
            self._user.connection_drained()

    def _rest(self) -> None:
        """Read no more in this turn of the loop: while there is more uvloop reads on, megabytes a turn, and everybody else waits."""
        if not self._resting:
            self._resting = True
            self._loop.call_soon(self._rested)
            self._regulate()

    def _rested(self) -> None:
        self._resting = False
        self._regulate()

    def _regulate(self) -> None:
        want = not self._paused and not self._resting
        if want is self._reading or self._transport is None or self._transport.is_closing():
            return
        self._reading = want
        if want:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _end_of_input(self, message: str, *, clean: bool) -> None:
        user = self._user
        if user is None:
            self._parser.reusable = False
            return
        if clean and not self._raw and self._parser.feed_eof():
            user.connection_read()
            return
        self._parser.reusable = False
        self._user = None
        user.connection_failed(ErrorKind.RESET, message)


def _name(exc: BaseException) -> str:
    return getattr(exc, "strerror", None) or type(exc).__name__
