"""The proxy as a whole: its listeners, its pools, its dispatcher, and its orderly end.

Everything it needs of the outside (clock, chance, ids, counts, where trials go) is handed in.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from harness.core.clock import Clock, Rng
from harness.core.errors import SetupError
from harness.core.labels import Control, Role
from harness.core.limits import CLIENTS_DEFAULT, LIVE_CAPTURE_BYTES_MAX, SHADOW_BURST_SECONDS, SHADOW_BYTES_IN_FLIGHT_MAX
from harness.core.outcomes import Tally
from harness.core.plain import AnyExchange, opened_exchange
from harness.core.values import Exchange, Request
from harness.proxy import backlog
from harness.proxy.address import HostRule, UpstreamAddress, tls_context
from harness.proxy.breaker import BreakerState
from harness.proxy.capture import Budget
from harness.proxy.clients import Clients
from harness.proxy.deadlines import ClientTimeouts
from harness.proxy.dispatch import Dispatcher, DispatchOptions, FaultLog, Naming, Sink
from harness.proxy.forwarding import ForwardingOptions
from harness.proxy.ingress import ClientConnection
from harness.proxy.plain import PlainRequest
from harness.proxy.relay import Live
from harness.proxy.tls import HANDSHAKE_SECONDS_MAX, TlsListener
from harness.proxy.upstream import UpstreamPool

LISTEN_BACKLOG = 1024


class ProxyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a proxy is told. Times are in seconds."""

    stable: UpstreamAddress
    secondary: UpstreamAddress | None = None
    candidate: UpstreamAddress | None = None
    listen_host: str = "127.0.0.1"
    listen_port: int = 0
    """0 takes a free port."""
    listen_unix: str = ""
    """Path of a Unix socket to listen on instead."""
    tls_cert: str = ""
    """PEM file with the listener's certificate and its chain; empty means no TLS."""
    tls_key: str = ""
    """PEM file with the key of `tls_cert`; empty means that the same file holds it."""
    control: Control = Control.SECONDARY
    """SELF asks stable a second time as secondary, over a pool of its own."""
    allow_writes: bool = False
    forwarding: ForwardingOptions = ForwardingOptions()
    """What targets are told of the client, in the live request and its copies alike."""
    stable_host: HostRule = HostRule.KEEP
    shadow_host: HostRule = HostRule.KEEP
    """For secondary and candidate alike, so that both get the same request."""
    connect_timeout_s: float = 5.0
    stable_silence_s: float = 60.0
    """How long stable may be silent within an exchange."""
    shadow_timeout_s: float = 30.0
    """How long a shadow's whole exchange may take; beyond it the outcome is a time-out."""
    client: ClientTimeouts = ClientTimeouts()
    clients_max: int = CLIENTS_DEFAULT
    """Client connections at once; a further one is answered 503 and closed."""
    dispatch: DispatchOptions = DispatchOptions()

    def whole_dispatch(self) -> DispatchOptions:
        """The dispatcher's options with what is said of them here."""
        return msgspec.structs.replace(self.dispatch, control=self.control, allow_writes=self.allow_writes)


class ProxyServer:
    """Listens for clients, relays to stable, mirrors to the others. One event loop owns it."""

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
        """`on_exchange` sees each completed live exchange with a whole request; what it raises is logged and forgotten."""
        self._options = options
        self._clock = clock
        self._rng = rng
        self._tally = tally
        self._naming = naming
        self._sink = sink
        self._on_exchange = on_exchange
        self._faults = FaultLog()
        self._clients = Clients(options.clients_max)
        self._pools: list[UpstreamPool] = []
        self._shadow_budget = Budget(SHADOW_BYTES_IN_FLIGHT_MAX)
        self._server: asyncio.Server | None = None
        self._own_unix_path = ""
        self._handed_in = False
        self._tls: TlsListener | None = None
        self._live: Live | None = None
        self._dispatcher: Dispatcher | None = None
        self._mirror_percent = 100.0

    @property
    def address(self) -> str:
        """Where clients connect: `host:port`, or `unix:/path`. Only while it listens."""
        if path := self._unix_path():
            return f"unix:{path}"
        host, port = self._name()
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def port(self) -> int:
        """The port listened on."""
        return self._name()[1]

    @property
    def connections(self) -> int:
        """Client connections now."""
        return len(self._clients)

    @property
    def in_flight(self) -> int:
        """Shadow trials under way."""
        return 0 if self._dispatcher is None else self._dispatcher.in_flight

    @property
    def breakers(self) -> dict[Role, tuple[BreakerState, int]]:
        """How the breaker of each shadow target stands, and how often it has opened; empty where none can open."""
        if self._dispatcher is None:
            return {}
        opened = self._dispatcher.breakers_opened
        return {role: (state, opened[role]) for role, state in self._dispatcher.breakers.items()}

    def mirror(self, percent: float) -> None:
        """Mirror so many of a hundred requests from now on, or from its start."""
        self._mirror_percent = percent
        if self._dispatcher is not None:
            self._dispatcher.mirror_percent = percent

    async def start(self, sock: socket.socket | None = None) -> None:
        """Serve on `sock`, which is bound and listens already (TCP or Unix), or open the listener of the options.

        The socket handed in is closed by `stop`; the path of a Unix socket handed in stays, since it belongs to who bound it.
        Raises SetupError when the address cannot be listened on, or a certificate, key or CA file not be used.
        """
        options = self._options
        self._tls = TlsListener(options.tls_cert, options.tls_key or options.tls_cert) if options.tls_cert else None
        silence_s, shadow_s = options.stable_silence_s, options.shadow_timeout_s
        stable = self._pool(options.stable, silence_s, options.stable_host)
        second = options.stable if options.control is Control.SELF else options.secondary
        secondary = None if second is None or options.control is Control.NONE else self._pool(second, shadow_s, options.shadow_host)
        candidate = None if options.candidate is None else self._pool(options.candidate, shadow_s, options.shadow_host)
        self._dispatcher = Dispatcher(
            options.whole_dispatch(),
            secondary=secondary,
            candidate=candidate,
            clock=self._clock,
            rng=self._rng,
            tally=self._tally,
            naming=self._naming,
            sink=self._sink,
            faults=self._faults,
        )
        self._dispatcher.mirror_percent = self._mirror_percent
        await self._listen(self._protocol(stable), sock)

    def reload(self, options: ProxyOptions) -> None:
        """Take over what of these options may change while it serves (what is mirrored, what targets are told of the client) and
        read certificates, keys and CA files again. Targets and listener stay as they were.

        Raises SetupError or UsageError, and leaves everything as it was, where something cannot be used.
        """
        new = msgspec.structs.replace(
            self._options,
            dispatch=options.dispatch,
            forwarding=options.forwarding,
            clients_max=options.clients_max,
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
        )
        self._reload_tls(new)
        if self._dispatcher is not None:
            self._dispatcher.use(new.whole_dispatch())
        if self._live is not None:
            self._live.forwarding = new.forwarding.asked
        self._clients.clients_max = new.clients_max
        self._options = new

    def reload_tls(self) -> None:
        """Read all certificate, key and CA files again, for handshakes from now on; connections live on, as do idle ones to targets.

        Raises SetupError, and leaves everything as it was, where one of the files cannot be used.
        """
        self._reload_tls(self._options)

    def _reload_tls(self, options: ProxyOptions) -> None:
        contexts = [tls_context(pool.target) for pool in self._pools]  # first, since the listener's certificate cannot be taken back
        if self._tls is not None and options.tls_cert:
            self._tls.use(options.tls_cert, options.tls_key or options.tls_cert)
        for pool, context in zip(self._pools, contexts, strict=True):
            pool.use_tls(context)

    async def stop(self, grace_s: float) -> None:
        """Stop listening, let requests under way be answered, then their shadows; at most `grace_s` seconds for all.

        What is not done by then is counted: live requests as refused, trials as shed, both with reason `shutdown`.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + grace_s
        if self._server is not None and self._server.sockets:
            await self._no_more(self._server, min(backlog.SETTLE_SECONDS, grace_s))
        await self._clients.stop(max(0.0, deadline_s - loop.time()))
        await self._drain(deadline_s)
        for pool in self._pools:
            await pool.close()
        if self._server is not None:
            with contextlib.suppress(TimeoutError):  # a client amid its handshake is not waited for (Python 3.12 would)
                async with asyncio.timeout(1.0):
                    await self._server.wait_closed()

    async def _no_more(self, server: asyncio.Server, settle_s: float) -> None:
        """Take whoever is connected by now, and close the listener. A socket handed in is its owner's to end: see `backlog`."""
        if self._own_unix_path:
            Path(self._own_unix_path).unlink(missing_ok=True)  # noqa: ASYNC240 - one system call
        elif not self._handed_in:
            for each in server.sockets:
                with each.dup() as sock:
                    backlog.begin_no_more(sock)
        await backlog.emptied(server.sockets, settle_s)
        server.close()

    def _protocol(self, stable: UpstreamPool) -> Callable[[], asyncio.Protocol]:
        """What speaks with those who connect."""
        budget = Budget(LIVE_CAPTURE_BYTES_MAX)
        self._live = live = Live(
            stable,
            clock=self._clock,
            tally=self._tally,
            budget=budget,
            completed=self._completed,
            forwarding=self._options.forwarding.asked,
            copies=len(self._pools) > 1 or self._on_exchange is not None,
            tracing=self._naming.tracing if len(self._pools) > 1 else None,
        )
        return lambda: ClientConnection(live, self._options.client, self._clients)

    async def _drain(self, deadline_s: float) -> None:
        """Let the trials under way come to their end; at the deadline (loop time) give them up."""
        if self._dispatcher is not None:
            await self._dispatcher.stop(max(0.0, deadline_s - asyncio.get_running_loop().time()))

    def _pool(self, target: UpstreamAddress, exchange_timeout_s: float, host: HostRule) -> UpstreamPool:
        pool = UpstreamPool(
            target,
            connect_timeout_s=self._options.connect_timeout_s,
            exchange_timeout_s=exchange_timeout_s,
            clock=self._clock,
            host=host,
            budget=self._shadow_budget,
            burst_s=SHADOW_BURST_SECONDS,
        )
        self._pools.append(pool)
        return pool

    async def _listen(self, protocol: Callable[[], asyncio.Protocol], sock: socket.socket | None) -> None:
        loop = asyncio.get_running_loop()
        options = self._options
        self._handed_in = sock is not None
        how: dict[str, Any] = {"backlog": LISTEN_BACKLOG}
        if self._tls is not None:
            how |= {"ssl": self._tls.context, "ssl_handshake_timeout": HANDSHAKE_SECONDS_MAX}
        try:
            if sock is not None and sock.family == socket.AF_UNIX:
                self._server = await loop.create_unix_server(protocol, sock=sock, **how)
            elif sock is not None:
                self._server = await loop.create_server(protocol, sock=sock, **how)
            elif options.listen_unix:
                self._server = await loop.create_unix_server(protocol, options.listen_unix, **how)
                self._own_unix_path = options.listen_unix
            else:
                self._server = await loop.create_server(protocol, options.listen_host, options.listen_port, **how)
        except OSError as error:
            where = "the socket handed in" if sock is not None else options.listen_unix or f"{options.listen_host}:{options.listen_port}"
            raise SetupError(
                f"cannot listen: {error.strerror or error}", where=where, fix="choose another address, or free this one"
            ) from error

    def _unix_path(self) -> str:
        """Path of the Unix socket listened on; empty with TCP, and before the listening."""
        name = self._server.sockets[0].getsockname() if self._server is not None and self._server.sockets else None
        return name if isinstance(name, str) else ""

    def _name(self) -> tuple[str, int]:
        if self._server is None or not self._server.sockets:
            raise SetupError("the proxy is not listening", fix="start it first")
        name = self._server.sockets[0].getsockname()
        return name[0], name[1]

    def _completed(self, request: Request, exchange: AnyExchange, starved: bool, plain: PlainRequest | None = None) -> None:
        assert self._dispatcher is not None
        if self._on_exchange is not None:
            self._record(request, exchange)
        self._dispatcher.offer(request, exchange, starved, plain)

    def _record(self, request: Request, exchange: AnyExchange) -> None:
        if self._on_exchange is not None:
            try:
                self._on_exchange(request, opened_exchange(exchange, request))
            except Exception as error:  # noqa: BLE001 - a recorder that fails must not touch the client
                self._faults.add("recording", error)
