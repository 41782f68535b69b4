"""One live request on its way to stable, and stable's answer on its way back, with a bounded copy of both.

The client gets what stable sent and waits for nothing else. What becomes of the copy is told to `Live.completed`.
"""

from collections.abc import Callable
from typing import Protocol

from harness.core.clock import Clock
from harness.core.http import header
from harness.core.labels import ErrorKind, RefusedReason, SkipReason
from harness.core.outcomes import Tally
from harness.core.plain import AnyExchange, PlainAnswer, PlainExchange, read_answer, read_request
from harness.core.values import Body, Exchange, Headers, Request, Response, TransportError
from harness.proxy import wire
from harness.proxy.call import Call
from harness.proxy.capture import NOTHING, BodyCapture, Budget
from harness.proxy.forwarding import ForwardingOptions
from harness.proxy.plain import PlainRequest, closing, read_head
from harness.proxy.tracing import Tracing
from harness.proxy.upstream import UpstreamPool
from harness.proxy.wire import GUARD_HEADER, AnswerHead, Framing, Refused, RequestHead

_REFUSALS = {
    ErrorKind.REFUSED: (502, RefusedReason.UPSTREAM_UNREACHABLE, "the service cannot be reached"),
    ErrorKind.TLS: (502, RefusedReason.UPSTREAM_UNREACHABLE, "the service cannot be reached over TLS"),
    ErrorKind.TIMEOUT: (504, RefusedReason.UPSTREAM_TIMEOUT, "the service did not answer in time"),
    ErrorKind.RESET: (502, RefusedReason.UPSTREAM_BROKEN, "the service closed the connection without an answer"),
    ErrorKind.GARBAGE: (502, RefusedReason.UPSTREAM_BROKEN, "the service's answer is not HTTP"),
    ErrorKind.TOO_LARGE: (502, RefusedReason.UPSTREAM_BROKEN, "the head of the service's answer is too large"),
}

_NOT_IN_INTERIM = frozenset({"content-length"})
"""A 1xx answer has no body, whatever stable says of it (RFC 9110 8.6): a client that believed it would lose its place."""


class Live:
    """What all live exchanges of a server share."""

    def __init__(
        self,
        pool: UpstreamPool,
        *,
        clock: Clock,
        tally: Tally,
        budget: Budget,
        completed: Callable[[Request, AnyExchange, bool, PlainRequest | None], None],
        forwarding: ForwardingOptions | None = None,
        copies: bool = True,
        tracing: Tracing | None = None,
    ) -> None:
        self.pool = pool
        self.clock = clock
        self.tally = tally
        self.budget = budget
        self.forwarding = forwarding
        """What targets are told of the client; None for nothing."""
        self.completed = completed
        """Told of each live exchange once the client has it: the request, stable's exchange, whether the copy of the request was
        given up for lack of memory, and the request as it was read, where it was plain. It must settle the request's outcome
        and must not raise."""
        self.tracing = tracing
        """Gives requests a trace, where effects are watched."""
        self.copies = copies
        """Whether anybody uses the copies. Where not, none is made, and each exchange is skipped as having no shadow."""
        self._loop = pool.loop
        self._copied: list[tuple[Request, AnyExchange, bool, PlainRequest | None]] = []

    def copied(self, request: Request, stable: AnyExchange, starved: bool, plain: PlainRequest | None) -> None:
        """Tell `completed` of an exchange, once the loop has done all for clients that it has in hand now."""
        if not self._copied:
            self._loop.call_soon(self._hand_over)
        self._copied.append((request, stable, starved, plain))

    def _hand_over(self) -> None:
        copied, self._copied = self._copied, []
        for copy in copied:
            self.completed(*copy)


class ClientSide(Protocol):
    """The client's connection as a relay sees it."""

    full: bool
    """The client reads more slowly than stable answers."""

    def may_keep(self) -> bool:
        """Whether the connection may stay open after the present answer."""

    def send(self, data: bytes) -> None:
        """Write to the client."""

    def hold(self) -> None:
        """Stop reading the request for a while."""

    def unhold(self) -> None:
        """Read on."""

    def finished(self, *, keep: bool) -> None:
        """The present exchange is over for the client."""

    def switched(self) -> bytes:
        """The connection is raw from here; returns what the client already sent beyond its head."""

    def cut(self, *, hard: bool) -> None:
        """End the connection so that the client sees that the answer is incomplete."""


class Relay:
    """One request. It is counted as entered when made, and ends in exactly one outcome."""

    __slots__ = (
        "_answer",
        "_answer_capture",
        "_backlog",
        "_call",
        "_client",
        "_coding",
        "_first_byte_ns",
        "_keep",
        "_live",
        "_out",
        "_pieces",
        "_plain",
        "_refused",
        "_request_capture",
        "_sent",
        "_sent_head",
        "_sent_headers",
        "_settled",
        "_trace",
        "_traced_at",
        "_tunnel",
        "backlog_bytes",
        "complete",
        "head",
        "over",
        "started",
    )

    def __init__(
        self,
        client: ClientSide,
        live: Live,
        head: RequestHead | None,
        refused: Refused | None = None,
        plain: PlainRequest | None = None,
    ) -> None:
        self.head = head
        """None for a request whose head could not be read, which is only there to be refused."""
        self.started = False
        self.over = False
        self.complete = plain is not None
        """The whole request has come."""
        self.backlog_bytes = 0
        self._client = client
        self._live = live
        self._refused = refused
        self._plain = plain
        self._settled = False
        self._call: Call | None = None
        self._backlog: list[bytes] = []
        self._request_capture: BodyCapture | None = None
        self._answer_capture: BodyCapture | None = None
        self._answer: AnswerHead | None = None
        self._coding = Framing.NONE
        self._keep = False
        self._tunnel = False
        self._out: list[bytes] = []
        self._pieces: list[bytes] = []
        self._sent = False
        self._sent_head = b""
        """As stable got it, of a plain request; of another its fields:"""
        self._sent_headers: Headers = ()
        self._trace = ""
        self._traced_at = 0
        """Its trace, or where tracing of its own begins (see PlainExchange)."""
        self._first_byte_ns = 0
        live.tally.entered()
        if plain is not None and plain.body and live.copies:
            self._request_capture = BodyCapture(live.budget)
            self._request_capture.add(plain.body)

    def request_body(self, data: bytes) -> None:
        """The next piece of the request's body."""
        if self.over:
            return
        if self._live.copies:
            if self._request_capture is None:
                self._request_capture = BodyCapture(self._live.budget)
            self._request_capture.add(data)
        assert self.head is not None
        self._write(wire.chunk(data) if self.head.framing is Framing.CHUNKED else data)

    def request_end(self, trailers: Headers) -> None:
        """The request is complete."""
        self.complete = True
        if self.over:
            return
        assert self.head is not None
        if self.head.framing is Framing.CHUNKED:
            self._write(wire.last_chunk(trailers))
        if self._call is not None:
            self._call.finish()

    def start(self) -> None:
        """It is this request's turn: send it to stable, or refuse it."""
        self.started = True
        head = self.head
        if self._refused is not None or head is None:
            self._answer_refusal(self._refused or wire.bad_request("the request cannot be read"))
            return
        pool = self._live.pool
        data = self._written(head, pool) if self._plain is None else self._readdressed(self._plain, pool)
        bodiless = head.framing is not Framing.CHUNKED and not head.length
        self._call = call = pool.call(head.method, data, self, bodiless=bodiless, fresh=head.upgrade)
        call.switching = head.upgrade
        if self.complete:
            call.finish()
        if self._client.full:
            call.pause()

    def _readdressed(self, plain: PlainRequest, pool: UpstreamPool) -> bytes:
        data = pool.addressed(plain)
        if self._live.tracing is not None:
            data, self._trace, self._traced_at = self._live.tracing.traced(data, plain.raw)
        self._sent_head = data
        return data + plain.body if plain.body else data

    def _written(self, head: RequestHead, pool: UpstreamPool) -> bytes:
        headers = wire.forwarded(head.headers, framing=head.framing, length=head.length, host=pool.host_for(head.authority))
        if self._live.tracing is not None:
            headers += self._live.tracing.fields(head.headers)
        self._sent_headers = tuple(headers)
        if head.upgrade:
            headers += [(name, value) for name, value in head.headers if name.lower() == "upgrade"]
            headers.append(("Connection", "Upgrade"))
        data = wire.request_bytes(head.method, pool.target_for(head.target), headers)
        if self._backlog:
            data = b"".join([data, *self._backlog])
            self._backlog, self.backlog_bytes = [], 0
        return data

    def refuse(self, refused: Refused) -> None:
        """The rest of the request cannot be had: answer so when its turn comes, or cut the answer that has begun."""
        if self.over:
            return
        if not self.started:
            self._refused = refused
            return
        if self._call is not None:
            self._call.abort()
        if self._sent:
            self._settle(lambda: self._live.tally.refused(refused.reason))
            self._end()
            self._client.cut(hard=self._coding is Framing.UNTIL_CLOSE)
        else:
            self._answer_refusal(refused)

    def lost(self, reason: RefusedReason) -> None:
        """The client's connection is gone."""
        if self._call is not None:
            self._call.abort()
        self._settle(lambda: self._live.tally.refused(reason))
        self._end()

    def client_full(self) -> None:
        """The client reads more slowly than stable answers."""
        if self._call is not None:
            self._call.pause()

    def client_drained(self) -> None:
        """The client has caught up."""
        if self._call is not None:
            self._call.resume()

    def client_raw(self, data: bytes) -> None:
        """Bytes from the client after a switch; nothing means that it sends no more."""
        if self._call is None:
            return
        if data:
            self._call.write(data)
        else:
            self._call.write_eof()

    def answer_plain(self, answer: PlainAnswer) -> None:
        request, client, live = self.head, self._client, self._live
        assert request is not None
        if request.http10 or not live.budget.fits(answer.body_bytes):
            self.answer_head(read_head(answer))
            self.answer_body(answer.data[answer.head_bytes :])
            self.answer_end(())
            return
        now_ns = live.clock.monotonic_ns()
        keep = request.keep_alive and self.complete and client.may_keep()
        client.send(answer.raw() if keep else closing(answer))
        client.finished(keep=keep)  # first, so that the client's next request goes out before any shadow
        if self._plain is not None and live.copies and not self._settled:
            self._complete_plain(request, answer, now_ns)
        else:
            self._first_byte_ns = now_ns
            self._complete(read_answer(answer.data, answer.head_bytes) if live.copies else None, None, now_ns)

    def answer_interim(self, head: AnswerHead) -> None:
        assert self.head is not None
        if head.status == 101 and self.head.upgrade:
            headers = wire.forwarded(head.headers, framing=Framing.NONE, dropped=_NOT_IN_INTERIM)
            headers += [(name, value) for name, value in head.headers if name.lower() == "upgrade"]
            self._out.append(wire.answer_bytes(101, head.reason, [*headers, ("Connection", "Upgrade")]))
        elif head.status != 101 and not self.head.http10:
            self._out.append(
                wire.answer_bytes(head.status, head.reason, wire.forwarded(head.headers, framing=Framing.NONE, dropped=_NOT_IN_INTERIM))
            )

    def answer_head(self, head: AnswerHead) -> None:
        request = self.head
        assert request is not None
        self._answer = head
        self._first_byte_ns = self._live.clock.monotonic_ns()
        coding = head.framing
        if coding in {Framing.CHUNKED, Framing.UNTIL_CLOSE}:
            coding = Framing.UNTIL_CLOSE if request.http10 else Framing.CHUNKED
        self._coding = coding
        self._keep = request.keep_alive and self.complete and coding is not Framing.UNTIL_CLOSE and self._client.may_keep()
        headers = wire.forwarded(head.headers, framing=coding, length=head.length)
        if not self._keep:
            headers.append(("Connection", "close"))
        elif request.http10:
            headers.append(("Connection", "keep-alive"))
        self._out.append(wire.answer_bytes(head.status, head.reason, headers))

    def answer_body(self, data: bytes) -> None:
        if self._live.copies:
            if self._answer_capture is None:
                self._answer_capture = BodyCapture(self._live.budget)
            self._answer_capture.add(data)
        self._pieces.append(data)

    def answer_read(self) -> None:
        self._flush()

    def answer_end(self, trailers: Headers) -> None:
        answer = self._answer
        assert answer is not None
        now_ns = self._live.clock.monotonic_ns()
        self._flush(wire.last_chunk(trailers) if self._coding is Framing.CHUNKED else b"")
        body = NOTHING if self._answer_capture is None else self._answer_capture.body()
        response = Response(status=answer.status, headers=answer.headers, body=body, reason=answer.reason, trailers=trailers)
        self._client.finished(keep=self._keep)  # first, so that the client's next request goes out before any shadow
        self._complete(response, None, now_ns)

    def answer_failed(self, error: TransportError) -> None:
        if self._tunnel:
            self._end()
            self._client.finished(keep=False)
        elif not self._sent:
            self._answer_refusal(Refused(*_REFUSALS[error.kind]))
        else:
            now_ns = self._live.clock.monotonic_ns()
            self._flush()
            self._complete(None, error, now_ns)
            self._client.cut(hard=self._coding is Framing.UNTIL_CLOSE)

    def answer_switched(self, rest: bytes) -> None:
        self._tunnel = True
        self._settle(lambda: self._live.tally.skipped(SkipReason.UPGRADE))
        self._out.append(rest)
        self._flush()
        early = self._client.switched()
        if self._call is not None:
            self._call.write(early)

    def answer_raw(self, data: bytes) -> None:
        self._client.send(data)

    def request_full(self) -> None:
        self._client.hold()

    def request_drained(self) -> None:
        self._client.unhold()

    def _write(self, data: bytes) -> None:
        if self._call is not None:
            self._call.write(data)
        else:
            self._backlog.append(data)
            self.backlog_bytes += len(data)

    def _flush(self, last: bytes = b"") -> None:
        out, pieces = self._out, self._pieces
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            out.append(wire.chunk(data) if self._coding is Framing.CHUNKED else data)
            self._pieces = []
        if last:
            out.append(last)
        if out:
            self._sent = self._sent or self._answer is not None
            self._client.send(out[0] if len(out) == 1 else b"".join(out))
            self._out = []

    def _answer_refusal(self, refused: Refused) -> None:
        keep = self.complete and self.head is not None and self.head.keep_alive and self._client.may_keep()
        head_only = self.head is not None and self.head.method == "HEAD"
        self._client.send(wire.refusal_bytes(refused.status, refused.reason, refused.message, head_only=head_only, close=not keep))
        self._settle(lambda: self._live.tally.refused(refused.reason))
        self._end()
        self._client.finished(keep=keep)

    def _complete_plain(self, head: RequestHead, answer: PlainAnswer, ended_ns: int) -> None:
        """As `_complete`, where request and answer were plain."""
        call, capture = self._call, self._request_capture
        assert call is not None
        self._settled = True
        request = Request(head.method, head.target, head.headers, NOTHING if capture is None else capture.body(), head.authority.lower())
        exchange = PlainExchange(self._sent_head, answer, call.started_ns, ended_ns, ended_ns, self._trace, self._traced_at)
        self._live.copied(request, exchange, capture is not None and capture.starved, self._plain)
        self._end()

    def _complete(self, response: Response | None, error: TransportError | None, ended_ns: int) -> None:
        """The client has what stable gave: hand over the copy."""
        head, call, live = self.head, self._call, self._live
        assert head is not None
        assert call is not None
        if self._settled:
            pass
        elif head.upgrade:
            self._skip(SkipReason.UPGRADE)
        elif not self.complete:
            self._skip(SkipReason.TRUNCATED_REQUEST)
        elif not live.copies:
            self._skip(SkipReason.NO_SHADOW if header(head.headers, GUARD_HEADER) is None else SkipReason.LOOP)
        else:
            self._settled = True
            capture = self._request_capture
            body = NOTHING if capture is None else capture.body()
            request = Request(head.method, head.target, head.headers, body, head.authority.lower())
            exchange = Exchange(
                request=self._as_sent(head, body),
                response=response,
                error=error,
                started_ns=call.started_ns,
                first_byte_ns=self._first_byte_ns,
                ended_ns=ended_ns,
            )
            live.copied(request, exchange, capture is not None and capture.starved, self._plain)
        self._end()

    def _skip(self, reason: SkipReason) -> None:
        self._settled = True
        self._live.tally.skipped(reason)

    def _as_sent(self, head: RequestHead, body: Body) -> Request:
        if self._plain is not None:
            return read_request(self._sent_head, body, head.authority.lower())
        target = self._live.pool.target_for(head.target)
        return Request(method=head.method, target=target, headers=self._sent_headers, body=body, host=head.authority.lower())

    def _settle(self, outcome: Callable[[], None]) -> None:
        if not self._settled:
            self._settled = True
            outcome()

    def _end(self) -> None:
        self.over = True
        self._call = None  # a call knows its relay: without this, only a collector of cycles would free the two
        self._backlog, self.backlog_bytes = [], 0
        if self._request_capture is not None:
            self._request_capture.release()
        if self._answer_capture is not None:
            self._answer_capture.release()
