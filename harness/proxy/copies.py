"""Requests that somebody else mirrors (Envoy, Istio, nginx, Traefik, GoReplay): each is answered 202 and becomes one trial.

Nobody's client waits here. Stable's double is asked first, then the dispatcher mirrors as it does behind a live exchange.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final

import msgspec

from harness.core.clock import Clock, Rng
from harness.core.labels import Role, ShedReason, SkipReason
from harness.core.limits import COPIES_LAG_SECONDS_MAX, LIVE_CAPTURE_BYTES_MAX
from harness.core.outcomes import Tally
from harness.core.plain import AnyExchange, opened_exchange
from harness.core.trace import with_trace
from harness.core.values import Exchange, Request
from harness.proxy.call import Call
from harness.proxy.capture import Budget
from harness.proxy.copies_ingress import Copy, CopyConnection, Inbox
from harness.proxy.dispatch import Dispatcher, DispatchOptions, Naming, Sink
from harness.proxy.lag import LagMeter
from harness.proxy.server import ProxyOptions, ProxyServer
from harness.proxy.tracing import Tracing
from harness.proxy.upstream import UpstreamPool
from harness.proxy.wire import GUARD_HEADER, UnsendableRequestError

_GUARD: Final = ((GUARD_HEADER, "1"),)
_SHADOW_HOST: Final = re.compile(r"(?P<host>.+?)-shadow(?P<port>:[0-9]*)?", re.IGNORECASE | re.DOTALL)


def original_host(host: str) -> str:
    """The authority that the client asked for, of one that Envoy or Istio marked: `-shadow` is taken off once.

    Envoy appends it to the host and before the port (`shop-shadow:8080`), old releases after the port. A host that truly
    ends so loses it too. All else is left as it is.
    """
    marked = _SHADOW_HOST.fullmatch(host)
    return host if marked is None else marked["host"] + (marked["port"] or "")


def request_of(copy: Copy) -> Request:
    """The request as the client sent it to the proxy that mirrors, as far as the copy shows."""
    head = copy.head
    headers = tuple((name, original_host(value)) if name.lower() == "host" else (name, value) for name, value in head.headers)
    return Request(method=head.method, target=head.target, headers=headers, body=copy.body, host=original_host(head.authority).lower())


class Double:
    """Asks stable's double for each copy and hands on its exchange. Bounded: what is beyond the bounds is shed before it is sent."""

    def __init__(
        self,
        pool: UpstreamPool,
        dispatcher: Dispatcher,
        options: DispatchOptions,
        *,
        tally: Tally,
        answered: Callable[[Request, Exchange], None],
        behind: Callable[[], bool] = lambda: False,
        tracing: Tracing | None = None,
    ) -> None:
        """`answered` takes over the outcome of a request that the dispatcher did not decline, and must not raise.

        While `behind` says so, copies are shed: whoever sends them must not wait for this process.
        """
        self._pool = pool
        self._dispatcher = dispatcher
        self._options = options
        self._tally = tally
        self._answered = answered
        self._behind = behind
        self._tracing = tracing
        self._calls: dict[int, tuple[Call, int]] = {}
        self._bytes = 0
        self._number = 0
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Requests that wait for stable's double."""
        return len(self._calls)

    def take(self, copy: Copy) -> None:
        """A copy came. Never raises; the request gets its outcome here, or by `answered`."""
        if copy.head.upgrade:
            self._tally.skipped(SkipReason.UPGRADE)
            return
        request = request_of(copy)
        # Before stable's double is asked: it has state too, and has had the request from the client in another place.
        if self._dispatcher.declines(request, copy.starved):
            return
        shed = self._shed(len(request.body.data))
        if shed is not None:
            self._tally.shed(shed)
            return
        try:
            self._ask(request)
        except UnsendableRequestError:
            self._tally.shed(ShedReason.FAULT)

    async def stop(self, grace_s: float) -> None:
        """Ask nothing more, wait for what is under way, then give up what is left, counted as shed."""
        self._stopping = True
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            for number, (call, _) in list(self._calls.items()):
                call.abort()
                self._leave(number)
                self._tally.shed(ShedReason.SHUTDOWN)

    def _shed(self, held: int) -> ShedReason | None:
        if self._stopping:
            return ShedReason.SHUTDOWN
        if self._behind():
            return ShedReason.LAG
        # Those with the other targets count too, so that none is turned away for want of room once the double was asked.
        full = len(self._calls) + self._dispatcher.in_flight >= self._options.trials_in_flight_max
        return ShedReason.IN_FLIGHT if full or self._bytes + held > self._options.bytes_in_flight_max else None

    def _ask(self, request: Request) -> None:
        number, held = self._number, len(request.body.data)
        self._number += 1

        def answered(exchange: AnyExchange) -> None:
            self._leave(number)
            self._answered(request, opened_exchange(exchange, request))

        sent = request
        if self._tracing is not None:
            headers = with_trace(request.headers, self._tracing.new(), Role.STABLE, keep=self._tracing.keep)
            sent = msgspec.structs.replace(request, headers=headers)
        # Marked like every mirrored request: should the double stand behind a proxy that mirrors, the copy ends there.
        self._calls[number] = self._pool.submit(sent, answered, extra=_GUARD), held
        self._bytes += held
        self._idle.clear()

    def _leave(self, number: int) -> None:
        _, held = self._calls.pop(number)
        self._bytes -= held
        if not self._calls:
            self._idle.set()


class CopiesServer(ProxyServer):
    """Listens for copies instead of clients. One event loop owns it.

    The options are those of ProxyServer. `stable` is its double here: nobody but this server asks it, so every target has
    the same bound on an exchange, `shadow_timeout_s`.
    """

    def __init__(
        self,
        options: ProxyOptions,
        *,
        clock: Clock,
        rng: Rng,
        tally: Tally,
        naming: Naming,
        sink: Sink,
        on_exchange: Callable[[Request, Exchange], None] | None = None,
        lag_s_max: float = COPIES_LAG_SECONDS_MAX,
    ) -> None:
        """`on_exchange` sees each exchange with stable's double, so nothing of what is skipped or shed before.

        What it raises is logged and forgotten. While the event loop is later than `lag_s_max` seconds, copies are shed.
        """
        options = msgspec.structs.replace(options, stable_silence_s=options.shadow_timeout_s)
        super().__init__(options, clock=clock, rng=rng, tally=tally, naming=naming, sink=sink, on_exchange=on_exchange)
        self._double: Double | None = None
        self._lag_s_max = lag_s_max
        self._lag: LagMeter | None = None

    @property
    def in_flight(self) -> int:
        """Trials under way: those that wait for stable's double, and those whose shadows were sent."""
        return super().in_flight + (0 if self._double is None else self._double.in_flight)

    def _protocol(self, stable: UpstreamPool) -> Callable[[], asyncio.Protocol]:
        dispatcher, options = self._dispatcher, self._options
        assert dispatcher is not None

        def answered(request: Request, exchange: Exchange) -> None:
            self._record(request, exchange)
            dispatcher.go_on(request, exchange)

        self._lag = lag = LagMeter(self._clock, self._lag_s_max)
        lag.start()
        tracing = self._naming.tracing
        self._double = Double(
            stable, dispatcher, options.dispatch, tally=self._tally, answered=answered, behind=lag.behind, tracing=tracing
        )
        inbox = Inbox(tally=self._tally, budget=Budget(LIVE_CAPTURE_BYTES_MAX), take=self._double.take)
        return lambda: CopyConnection(inbox, options.client, self._clients)

    async def _drain(self, deadline_s: float) -> None:
        if self._double is not None:
            await self._double.stop(max(0.0, deadline_s - asyncio.get_running_loop().time()))
        if self._lag is not None:
            self._lag.stop()
        await super()._drain(deadline_s)
