"""Exchanges with one target over a pool of connections of its own: streamed for the live path, buffered for shadows and replay.

Network trouble is never an exception here: it is an exchange's TransportError. Which client waits, and why a request
is sent, is not known here.
"""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable

import msgspec

from harness.core.clock import Clock
from harness.core.http import SAFE_METHODS, is_event_stream
from harness.core.labels import ErrorKind
from harness.core.limits import STREAM_SECONDS_MAX, UPSTREAM_IDLE_CONNECTIONS_MAX
from harness.core.plain import AnyExchange, PlainAnswer, PlainExchange, opened_exchange, read_answer, read_request
from harness.core.values import Exchange, Headers, Request, Response, TransportError
from harness.proxy import wire
from harness.proxy.address import HostRule, UpstreamAddress, tls_context
from harness.proxy.call import AnswerReader, Call, CallsUnderWay
from harness.proxy.capture import BodyCapture, Budget
from harness.proxy.connection import UpstreamConnection
from harness.proxy.outbox import Outbox
from harness.proxy.plain import KnownHeads, PlainRequest, field_lines, readdressed
from harness.proxy.wire import AnswerHead, Framing

IDLE_SECONDS_MAX = 15.0
"""How long an idle connection is kept."""
IDLE_SECONDS_MAX_UNSAFE = 1.0
"""How long a connection may have been idle for a request that may not be sent twice: many servers close after a few seconds."""


class UpstreamPool:
    """Connections to one target, shared with nobody else. Belongs to the running event loop.

    `exchange_timeout_s` bounds a buffered exchange as a whole, and the silence within a streamed one.
    """

    def __init__(
        self,
        target: UpstreamAddress,
        *,
        connect_timeout_s: float,
        exchange_timeout_s: float,
        clock: Clock,
        host: HostRule = HostRule.REWRITE,
        idle_connections_max: int = UPSTREAM_IDLE_CONNECTIONS_MAX,
        budget: Budget | None = None,
        burst_s: float = 0.0,
    ) -> None:
        """`budget` bounds what is kept of answers that are coming in, of all pools that share it together. What is submitted may
        wait `burst_s` seconds for others to be sent with.
        """
        self._burst_s = burst_s
        self._budget = budget
        self.loop = asyncio.get_running_loop()
        self.clock = clock
        self.calls = CallsUnderWay(self.loop, exchange_timeout_s)
        self._target = target
        self._host = host
        self._connect_timeout_s = connect_timeout_s
        self._idle_max = idle_connections_max
        self._idle: deque[UpstreamConnection] = deque()
        self._connections: set[UpstreamConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._tls = tls_context(target)
        self._unsent: list[Call] = []
        self.outbox = Outbox()
        self._known = KnownHeads()
        self._closed = False

    @property
    def target(self) -> UpstreamAddress:
        """Where the exchanges go."""
        return self._target

    @property
    def connections(self) -> int:
        """Open connections, idle ones included."""
        return len(self._connections)

    @property
    def idle(self) -> int:
        """Connections kept for later."""
        return len(self._idle)

    def use_tls(self, context: ssl.SSLContext | None) -> None:
        """TLS settings for connections opened from now on."""
        self._tls = context

    def host_for(self, authority: str) -> str:
        """The Host header a request with `authority` gets."""
        return self._target.authority if self._host is HostRule.REWRITE or not authority else authority

    def target_for(self, target: str) -> str:
        """The request target under the base path."""
        return target if target == "*" else self._target.base_path + target

    def addressed(self, plain: PlainRequest) -> bytes:
        """A plain request's head for this target."""
        if self._host is HostRule.KEEP and not self._target.base_path:
            return plain.raw
        return readdressed(plain, self.host_for(plain.head.authority), self._target.base_path)

    def call(self, method: str, head: bytes, reader: AnswerReader, *, bodiless: bool, total: bool = False, fresh: bool = False) -> Call:
        """Begin an exchange. `bodiless`: no body will be written, or all of it is in `head`, so that it can be sent once more.

        `fresh` asks for a connection that nothing was sent on before.
        """
        safe = method in SAFE_METHODS
        call = Call(self, method, head, reader, total=total, retryable=safe and bodiless)
        self._launch(call, None if fresh else self._take(IDLE_SECONDS_MAX if safe and bodiless else IDLE_SECONDS_MAX_UNSAFE))
        return call

    def submit(
        self,
        request: Request,
        done: Callable[[AnyExchange], None],
        *,
        extra: Headers = (),
        plain: PlainRequest | None = None,
        plain_extra: bytes = b"",
        like: PlainAnswer | None = None,
        answer_bytes_max: int | None = None,
    ) -> Call:
        """Send a whole request and hand the exchange to `done`, once, later, whatever happens. Raises UnsendableRequestError.

        It goes out after all that the event loop has in hand now, at the earliest: what clients wait for comes first, and a target
        that is woken once for several requests is cheaper for both sides than one that is woken for each.
        `extra` headers are put at the end. Interim answers are skipped, an Expect header is not sent.
        `plain` is the same request as it was read from a client, where it was plain: checked then, and all but written.
        `plain_extra` are lines put at the end of a plain request's head, which other requests have in `extra`.
        `like` is what another target answered: the same bytes need not be read twice.
        An answer whose body goes on beyond `answer_bytes_max` is given up, as TOO_LARGE; one that came whole at once is taken.
        """
        if plain is None:
            wire.checked_request(request.method, request.target, request.headers)
            sent, head = self._written(request, extra)
            reader = _Collector(self.clock, sent, b"", done, bytes_max=answer_bytes_max, budget=self._budget)
        else:
            raw = b"%b%b%b\r\n" % (self.addressed(plain)[:-2], field_lines(extra), plain_extra)
            head = raw + plain.body if plain.body else raw
            reader = _Collector(self.clock, request, raw, done, bytes_max=answer_bytes_max, budget=self._budget)
        reader.call = call = Call(self, request.method, head, reader, total=True, retryable=request.method in SAFE_METHODS)
        call.like = like
        call.finish()
        if not self._unsent:
            if self._burst_s:
                self.loop.call_later(self._burst_s, self._send_unsent)
            else:
                self.loop.call_soon(self._send_unsent)
        self._unsent.append(call)
        return call

    async def send(self, request: Request, *, extra: Headers = ()) -> Exchange:
        """As `submit`, awaited. Cancelling it gives the exchange up."""
        future: asyncio.Future[Exchange] = self.loop.create_future()

        def answered(exchange: AnyExchange) -> None:
            if not future.done():
                future.set_result(opened_exchange(exchange, request))

        call = self.submit(request, answered, extra=extra)
        try:
            return await future
        finally:
            call.abort()

    async def close(self) -> None:
        """Give up what is under way (its readers hear RESET) and close all connections."""
        self._closed = True
        for task in list(self._connecting):
            task.cancel()
        for call in self.calls.all():
            call.fail(ErrorKind.RESET, "the harness closed the connection")
        self.calls.close()
        connections = list(self._connections)
        for connection in connections:
            connection.abort()
        for connection in connections:
            await connection.wait_closed()
        self._idle.clear()
        await asyncio.gather(*self._connecting, return_exceptions=True)

    def connect(self, call: Call) -> None:
        """Open a connection for this call, and attach it or fail it."""
        if self._closed:
            self.loop.call_soon(call.fail, ErrorKind.REFUSED, "the harness is stopping")
            return
        task = self.loop.create_task(self._open(call))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def give_back(self, connection: UpstreamConnection, *, keep: bool) -> None:
        """A call is over."""
        if keep and connection.reusable and not self._closed and self._idle_max:
            connection.end()
            if len(self._idle) >= self._idle_max:
                self.forget(self._idle.popleft())
            self._idle.append(connection)
        else:
            self.forget(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """Close a connection and know it no more."""
        connection.abort()
        self._connections.discard(connection)

    def _launch(self, call: Call, connection: UpstreamConnection | None) -> None:
        if connection is None:
            call.started_ns = self.clock.monotonic_ns()
            self.connect(call)
        else:
            call.attach(connection, reused=True)

    def _send_unsent(self) -> None:
        unsent, self._unsent = self._unsent, []
        for call in unsent:
            if not call.done:
                self._launch(call, self._take(IDLE_SECONDS_MAX if call.retryable else IDLE_SECONDS_MAX_UNSAFE))

    def _take(self, idle_s_max: float) -> UpstreamConnection | None:
        """The connection used last, which is the least likely to have been closed by the target."""
        now_s = self.loop.time()
        while self._idle and now_s - self._idle[0].idle_since_s > IDLE_SECONDS_MAX:
            self.forget(self._idle.popleft())
        while self._idle:
            if now_s - self._idle[-1].idle_since_s > idle_s_max:
                return None
            connection = self._idle.pop()
            if connection.reusable:
                return connection
            self.forget(connection)
        return None

    def _lost(self, connection: UpstreamConnection) -> None:
        """A connection's socket is closed."""
        self._connections.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    async def _open(self, call: Call) -> None:
        def protocol() -> UpstreamConnection:
            return UpstreamConnection(self.loop, self._lost, self.outbox, self._known)

        target = self._target
        server_name = (target.server_name or target.host) if self._tls is not None else None
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                if target.unix_path:
                    _, connection = await self.loop.create_unix_connection(protocol, target.unix_path)
                else:
                    _, connection = await self.loop.create_connection(
                        protocol, target.host, target.port, ssl=self._tls, server_hostname=server_name
                    )
        except TimeoutError:
            call.fail(ErrorKind.TIMEOUT, f"no connection to {target} within {self._connect_timeout_s:g} s")
        except ssl.SSLError as error:
            call.fail(ErrorKind.TLS, f"{target}: {getattr(error, 'verify_message', '') or error.reason or 'TLS failed'}")
        except (OSError, UnicodeError) as error:
            in_handshake = self._tls is not None and isinstance(error, ConnectionResetError | ConnectionAbortedError)
            call.fail(
                ErrorKind.TLS if in_handshake else ErrorKind.REFUSED,
                f"{target}: {getattr(error, 'strerror', None) or type(error).__name__}",
            )
        else:
            self._connections.add(connection)
            if call.done or self._closed:
                self.give_back(connection, keep=True)
            else:
                call.attach(connection, reused=False)

    def _written(self, request: Request, extra: Headers) -> tuple[Request, bytes]:
        """The request as this target gets it, and its bytes."""
        data = request.body.data
        names = {name.lower() for name, _ in request.headers}
        if "transfer-encoding" in names:
            framing, body = Framing.CHUNKED, wire.chunk(data) + wire.last_chunk()
        elif data or "content-length" in names:
            framing, body = Framing.LENGTH, data
        else:
            framing, body = Framing.NONE, b""
        known = next((value for name, value in request.headers if name.lower() == "host"), "")
        if request.host and known.lower() != request.host:
            known = request.host  # the absolute form of a request target overrides Host (RFC 9112 3.2.2)
        headers = wire.forwarded(
            request.headers, framing=framing, length=len(data), host=self.host_for(known), dropped=frozenset({"expect"})
        )
        headers.extend(extra)
        target = self.target_for(request.target)
        sent = Request(method=request.method, target=target, headers=tuple(headers), body=request.body, host=request.host)
        return sent, wire.request_bytes(request.method, target, headers) + body


class _Collector:
    """Reads a whole answer into an Exchange."""

    __slots__ = ("_body", "_budget", "_bytes_max", "_clock", "_done", "_first_byte_ns", "_head", "_raw", "_sent", "_stream", "call")

    def __init__(
        self,
        clock: Clock,
        sent: Request,
        raw: bytes,
        done: Callable[[AnyExchange], None],
        *,
        bytes_max: int | None,
        budget: Budget | None,
    ) -> None:
        """`sent` is the request as it was sent; with `raw`, its head, where it was plain, it is the client's."""
        self._clock = clock
        self._budget = budget
        self._bytes_max = bytes_max
        self._sent = sent
        self._raw = raw
        self._done: Callable[[AnyExchange], None] | None = done
        self._body: BodyCapture | None = None
        self._head: AnswerHead | None = None
        self._first_byte_ns = 0
        self._stream: asyncio.TimerHandle | None = None
        """Set where the answer is a stream of events: when it is no longer listened to."""
        self.call: Call | None = None

    def answer_plain(self, answer: PlainAnswer) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._raw:
            call, done = self.call, self._done
            assert call is not None
            assert done is not None
            self.call = self._done = None
            done(PlainExchange(self._raw, answer, call.started_ns, now_ns, now_ns))
        else:
            self._first_byte_ns = now_ns
            self._finish(read_answer(answer.data, answer.head_bytes), None, now_ns)

    def answer_interim(self, head: AnswerHead) -> None:
        """Skipped: only the final answer is compared."""

    def answer_head(self, head: AnswerHead) -> None:
        self._head = head
        self._body = BodyCapture(self._budget)
        self._first_byte_ns = self._clock.monotonic_ns()
        if self.call is not None and is_event_stream(head.headers):
            self._stream = self.call.expire_within(STREAM_SECONDS_MAX)

    def answer_body(self, data: bytes) -> None:
        body, call = self._body, self.call
        assert body is not None
        assert call is not None
        body.add(data)
        if self._bytes_max is not None and body.size > self._bytes_max:
            call.fail(ErrorKind.TOO_LARGE, f"the answer's body is longer than {self._bytes_max} bytes")

    def answer_end(self, trailers: Headers) -> None:
        self._finish(self._answer(trailers), None, self._clock.monotonic_ns())

    def _answer(self, trailers: Headers = (), *, still_open: bool = False) -> Response:
        head, body = self._head, self._body
        assert head is not None
        assert body is not None
        kept = msgspec.structs.replace(body.body(), open=True) if still_open else body.body()
        return Response(status=head.status, headers=head.headers, body=kept, reason=head.reason, trailers=trailers)

    def answer_failed(self, error: TransportError) -> None:
        if self._stream is not None and error.kind in (ErrorKind.TIMEOUT, ErrorKind.TOO_LARGE):  # it was the harness that ended it
            self._finish(self._answer(still_open=True), None, self._clock.monotonic_ns())
        else:
            self._finish(None, error, self._clock.monotonic_ns())

    def answer_read(self) -> None:
        """Nothing to pass on."""

    def answer_switched(self, rest: bytes) -> None:
        """Cannot happen: a buffered exchange does not ask for a switch."""

    def answer_raw(self, data: bytes) -> None:
        """Cannot happen, as above."""

    def request_full(self) -> None:
        """The request is in memory whole already."""

    def request_drained(self) -> None:
        """As above."""

    def _finish(self, response: Response | None, error: TransportError | None, ended_ns: int) -> None:
        call, done = self.call, self._done
        assert call is not None
        assert done is not None
        # What holds the call holds nothing more through it: a connection that was given up is freed by the collector of cycles, late.
        if self._body is not None:
            self._body.release()
        if self._stream is not None:
            self._stream.cancel()
        self.call = self._done = self._body = None
        sent = self._sent
        done(
            Exchange(
                request=read_request(self._raw, sent.body, sent.host) if self._raw else sent,
                response=response,
                error=error,
                started_ns=call.started_ns,
                first_byte_ns=self._first_byte_ns,
                ended_ns=ended_ns,
            )
        )
