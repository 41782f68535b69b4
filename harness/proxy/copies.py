"""Requests that somebody else mirrors (Envoy, Istio, nginx, Traefik, GoReplay): each is answered 202 and becomes one trial.

Nobody's client waits here. Stable's double is asked first, then the dispatcher mirrors as it does behind a live exchange.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final

import msgspec

from harness.core.clock import Clock, Rng
from harness.core.http import SAFE_METHODS, header
from harness.core.labels import ShedReason, SkipReason
from harness.core.limits import LIVE_CAPTURE_BYTES_MAX
from harness.core.outcomes import Tally
from harness.core.values import Exchange, Request
from harness.proxy.call import Call
from harness.proxy.capture import Budget
from harness.proxy.copies_ingress import Copy, CopyConnection, Inbox
from harness.proxy.dispatch import Naming, Sink
from harness.proxy.server import ProxyOptions, ProxyServer
from harness.proxy.upstream import UpstreamPool
from harness.proxy.wire import GUARD_HEADER

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
    """Asks stable's double for each copy and tells its exchange. Bounded: what is beyond the bounds is shed before anything is sent."""

    def __init__(
        self,
        pool: UpstreamPool,
        *,
        useful: bool,
        allow_writes: bool,
        trials_max: int,
        bytes_max: int,
        mirrored: Callable[[], int],
        tally: Tally,
        answered: Callable[[Request, Exchange], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """`useful`: somebody does something with the answers. `mirrored` says how many trials are with the other targets; they
        count against `trials_max` too, so that none is turned away for want of room once stable's double was asked.
        `answered` takes over the request's outcome and must not raise.
        """
        self._pool = pool
        self._useful = useful
        self._allow_writes = allow_writes
        self._trials_max = trials_max
        self._bytes_max = bytes_max
        self._mirrored = mirrored
        self._tally = tally
        self._answered = answered
        self._failed = failed
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
        """A copy came. Never raises; the request gets its outcome here, or with `answered`."""
        try:
            skip = self._skip(copy)
            if skip is not None:
                self._tally.skipped(skip)
                return
            shed = self._shed(copy)
            if shed is not None:
                self._tally.shed(shed)
                return
            if copy.body.truncated:
                self._tally.skipped(SkipReason.TRUNCATED_REQUEST)
                return
            self._ask(request_of(copy))
        except Exception as error:  # noqa: BLE001 - whatever fails here, further copies are taken
            self._failed(error)
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

    def _skip(self, copy: Copy) -> SkipReason | None:
        if header(copy.head.headers, GUARD_HEADER) is not None:
            return SkipReason.LOOP
        if copy.head.upgrade:
            return SkipReason.UPGRADE
        if not self._useful:
            return SkipReason.NO_SHADOW
        if copy.head.method == "TRACE" or (copy.head.method not in SAFE_METHODS and not self._allow_writes):
            return SkipReason.WRITE  # stable has had it from the client: a second one would write twice
        return None

    def _shed(self, copy: Copy) -> ShedReason | None:
        if self._stopping:
            return ShedReason.SHUTDOWN
        full = len(self._calls) + self._mirrored() >= self._trials_max
        return ShedReason.IN_FLIGHT if full or copy.starved or self._bytes + len(copy.body.data) > self._bytes_max else None

    def _ask(self, request: Request) -> None:
        number, held = self._number, len(request.body.data)
        self._number += 1

        def answered(exchange: Exchange) -> None:
            self._leave(number)
            self._answered(request, exchange)

        # Marked like every mirrored request: should the double stand behind a proxy that mirrors, the copy ends there.
        self._calls[number] = self._pool.submit(request, answered, extra=_GUARD), held
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
    ) -> None:
        """`on_exchange` sees each exchange with stable's double; what it raises is logged and forgotten."""
        options = msgspec.structs.replace(options, stable_silence_s=options.shadow_timeout_s)
        super().__init__(options, clock=clock, rng=rng, tally=tally, naming=naming, sink=sink, on_exchange=on_exchange)
        self._double: Double | None = None

    @property
    def in_flight(self) -> int:
        """Trials under way: those that wait for stable's double, and those whose shadows were sent."""
        return super().in_flight + (0 if self._double is None else self._double.in_flight)

    def _protocol(self, stable: UpstreamPool) -> Callable[[], asyncio.Protocol]:
        dispatcher, options = self._dispatcher, self._options
        assert dispatcher is not None
        self._double = Double(
            stable,
            useful=len(self._pools) > 1 or self._on_exchange is not None,
            allow_writes=options.allow_writes,
            trials_max=options.dispatch.trials_in_flight_max,
            bytes_max=options.dispatch.bytes_in_flight_max,
            mirrored=lambda: dispatcher.in_flight,
            tally=self._tally,
            answered=lambda request, exchange: self._completed(request, exchange, starved=False),
            failed=lambda error: self._faults.add("asking stable's double", error),
        )
        inbox = Inbox(tally=self._tally, budget=Budget(LIVE_CAPTURE_BYTES_MAX), take=self._double.take)
        return lambda: CopyConnection(inbox, options.client, self._clients)

    async def _drain(self, deadline_s: float) -> None:
        if self._double is not None:
            await self._double.stop(max(0.0, deadline_s - asyncio.get_running_loop().time()))
        await super()._drain(deadline_s)
