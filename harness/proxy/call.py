"""One exchange under way over a connection: its bound on time, its one retry, its end. It does not know where connections come from."""

import asyncio
from typing import Final, Protocol

from harness.core.clock import Clock
from harness.core.labels import ErrorKind
from harness.core.limits import STREAM_BUFFER_BYTES_MAX
from harness.core.plain import PlainAnswer
from harness.core.values import Headers, TransportError
from harness.proxy.connection import UpstreamConnection
from harness.proxy.parsing import AnswerReceiver
from harness.proxy.wire import AnswerHead

_SWEEPS_PER_LIMIT_MAX: Final = 64
"""How finely a time-out is kept: it comes late by at most this part of itself."""


class CallsUnderWay:
    """The calls of one owner, with one timer for all: a timer for each would cost more than the exchange's own bookkeeping.

    It goes off at or before the first deadline, looks at all calls, and is set anew for the first deadline that is left.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
        self.limit_s = limit_s
        """The bound on an exchange, or on the silence within it."""
        self._loop = loop
        self._calls: set[Call] = set()
        self._timer: asyncio.TimerHandle | None = None

    def all(self) -> "list[Call]":
        """The calls now."""
        return list(self._calls)

    def add(self, call: "Call") -> None:
        """A call begins now."""
        self._calls.add(call)
        if self._timer is None:
            self._timer = self._loop.call_later(self.limit_s, self._sweep)

    def discard(self, call: "Call") -> None:
        """A call is over."""
        self._calls.discard(call)

    def close(self) -> None:
        """No call's time is looked at any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        now_s = self._loop.time()
        for call in list(self._calls):
            if call.left_s(now_s) <= 0:
                call.expire()
        left_s = min((call.left_s(now_s) for call in self._calls), default=None)
        pause_s = None if left_s is None else max(left_s, self.limit_s / _SWEEPS_PER_LIMIT_MAX)
        self._timer = None if pause_s is None else self._loop.call_later(pause_s, self._sweep)


class CallOwner(Protocol):
    """Where a call gets its connection from, and gives it back to."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop all this runs on."""

    @property
    def clock(self) -> Clock:
        """Where times come from."""

    @property
    def calls(self) -> CallsUnderWay:
        """The calls that have not ended."""

    def connect(self, call: "Call") -> None:
        """Open a new connection for the call, and attach it or fail it."""

    def give_back(self, connection: UpstreamConnection, *, keep: bool) -> None:
        """The call is over; `keep` where the connection may carry another one."""

    def forget(self, connection: UpstreamConnection) -> None:
        """Close a connection and know it no more."""


class AnswerReader(AnswerReceiver, Protocol):
    """Reads one streamed exchange. After `answer_end`, `answer_failed` or Call.abort it is called no more."""

    def answer_plain(self, answer: PlainAnswer) -> None:
        """A plain answer, whole, in the place of its parts. Nothing follows."""

    def answer_read(self) -> None:
        """All that one read brought was told: a good moment to write on."""

    def answer_switched(self, rest: bytes) -> None:
        """The target left HTTP (101, told before as interim); raw bytes follow through `answer_raw`."""

    def answer_raw(self, data: bytes) -> None:
        """Raw bytes after a switch."""

    def answer_failed(self, error: TransportError) -> None:
        """No complete answer will come."""

    def request_full(self) -> None:
        """Hand over no more of the request for a while."""

    def request_drained(self) -> None:
        """Hand over more of the request."""


class Call:
    """One exchange under way. Write the body as it stands on the wire (already chunked where it is), then `finish`."""

    __slots__ = (
        "_connection",
        "_done",
        "_finished",
        "_head",
        "_loop",
        "_method",
        "_pending",
        "_pending_bytes",
        "_pool",
        "_reader",
        "_reused",
        "_seen_s",
        "_timed",
        "_total",
        "like",
        "paused",
        "retryable",
        "started_ns",
        "switching",
    )

    def __init__(self, pool: CallOwner, method: str, head: bytes, reader: AnswerReader, *, total: bool, retryable: bool) -> None:
        self._pool = pool
        self._method = method
        self._head = head
        self._reader = reader
        self.retryable = retryable
        """It may be sent once more where a connection that was used before turns out to be closed."""
        self._total = total
        self._loop = pool.loop
        self._connection: UpstreamConnection | None = None
        self._reused = False
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._finished = False
        self._done = False
        self._seen_s = self._loop.time()
        self._timed = True
        self.like: PlainAnswer | None = None
        """What another target answered to the same request, if it was plain."""
        self.paused = False
        self.switching = False
        """A 101 answer is welcome."""
        self.started_ns = 0
        """When the head was handed to the connection; until then, when one was asked for."""
        pool.calls.add(self)

    @property
    def done(self) -> bool:
        """Whether it ended, however."""
        return self._done

    def left_s(self, now_s: float) -> float:
        """Seconds until its time is up, at loop time `now_s`."""
        if not self._timed or (self.paused and not self._total):
            return self._pool.calls.limit_s
        return self._seen_s + self._pool.calls.limit_s - now_s

    def expire_within(self, seconds: float) -> asyncio.TimerHandle:
        """Its time is up so soon from now, if not before; whoever asked cancels that when the call is over."""
        return self._loop.call_later(seconds, self.expire)

    def expire(self) -> None:
        """Its time is up."""
        self.fail(ErrorKind.TIMEOUT, f"no {'complete answer' if self._total else 'byte'} within {self._pool.calls.limit_s:g} s")

    def write(self, data: bytes) -> None:
        """The next bytes of the body."""
        if self._done or not data:
            return
        self._heard()
        if self._connection is not None:
            self._connection.write(data)
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes > STREAM_BUFFER_BYTES_MAX:
            self._reader.request_full()

    def finish(self) -> None:
        """The request is complete."""
        self._finished = True

    def pause(self) -> None:
        """Stop reading the answer: its reader is slower. The time-out on silence rests meanwhile."""
        self.paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        self.paused = False
        self._heard()
        if self._connection is not None:
            self._connection.resume()

    def write_eof(self) -> None:
        """Send no more (after a switch)."""
        if self._connection is not None:
            self._connection.write_eof()

    def abort(self) -> None:
        """Give up. The reader hears nothing more."""
        if not self._done:
            self._end(keep=False)

    def attach(self, connection: UpstreamConnection, *, reused: bool) -> None:
        """Go on over this connection (called by the pool)."""
        self._connection = connection
        self._reused = reused
        connection.begin(self, self._method, self.like)
        if self.paused:
            connection.pause()
        self.started_ns = self._pool.clock.monotonic_ns()
        pending, self._pending = self._pending, []
        was_full, self._pending_bytes = self._pending_bytes > STREAM_BUFFER_BYTES_MAX, 0
        connection.write(b"".join([self._head, *pending]) if pending else self._head)
        if was_full:
            self._reader.request_drained()

    def fail(self, kind: ErrorKind, message: str) -> None:
        """No connection could be made (called by the pool), or time ran out."""
        if not self._done:
            self._end(keep=False)
            self._reader.answer_failed(TransportError(kind=kind, message=message))

    def answer_plain(self, answer: PlainAnswer) -> None:
        if not self._done:
            self._end(keep=self._finished)
            self._reader.answer_plain(answer)

    def answer_interim(self, head: AnswerHead) -> None:
        if not self._done:
            self._reader.answer_interim(head)

    def answer_head(self, head: AnswerHead) -> None:
        if not self._done:
            self._reader.answer_head(head)

    def answer_body(self, data: bytes) -> None:
        if not self._done:
            self._reader.answer_body(data)

    def answer_end(self, trailers: Headers) -> None:
        if not self._done:
            self._end(keep=self._finished)
            self._reader.answer_end(trailers)

    def connection_read(self) -> None:
        self._heard()
        if not self._done:
            self._reader.answer_read()

    def connection_switched(self, rest: bytes) -> None:
        if self._done:
            return
        if self.switching:
            self._timed = False
            self._reader.answer_switched(rest)
        else:
            self.fail(ErrorKind.GARBAGE, "the target switched protocols though nobody asked")

    def connection_raw(self, data: bytes) -> None:
        self._reader.answer_raw(data)

    def connection_failed(self, kind: ErrorKind, message: str) -> None:
        if self._done:
            return
        connection, self._connection = self._connection, None
        if self._reused and self.retryable and kind is ErrorKind.RESET and connection is not None and not connection.answered:
            # The target closed an idle connection while the request was on its way (RFC 9112 9.3.1).
            self.retryable = False
            self._pool.forget(connection)
            self._pool.connect(self)
            return
        self._connection = connection
        self.fail(kind, message)

    def connection_full(self) -> None:
        self._reader.request_full()

    def connection_drained(self) -> None:
        self._heard()
        self._reader.request_drained()

    def _heard(self) -> None:
        """Something moved: the bound on silence begins anew."""
        if not self._total:
            self._seen_s = self._loop.time()

    def _end(self, *, keep: bool) -> None:
        self._done = True
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back(connection, keep=keep)
        self._pool.calls.discard(self)
