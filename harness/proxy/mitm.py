"""The ingress for what the native path does not speak: HTTP/2, HTTP/3, TLS interception, explicit and transparent proxies.

mitmproxy, embedded in the running event loop, ends the client's side; everything behind it is the ProxyServer it is built on.
Importing this module imports mitmproxy, so it is imported only where this ingress is asked for.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

import msgspec
from mitmproxy import platform

from harness.core.clock import Clock, Rng
from harness.core.errors import SetupError, UsageError
from harness.core.outcomes import Tally
from harness.core.values import Exchange, Request
from harness.proxy.address import HostRule, UpstreamAddress
from harness.proxy.dispatch import Naming, Sink
from harness.proxy.mitm_door import Door, MitmMode, Surroundings
from harness.proxy.mitm_own import OwnConnections
from harness.proxy.server import LISTEN_BACKLOG, ProxyOptions, ProxyServer
from harness.proxy.upstream import UpstreamPool


class MitmOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What this ingress is told beside the options of every proxy."""

    confdir: str
    """Directory of the certificate authority that signs intercepted hosts' certificates; made where it is missing."""
    mode: str = MitmMode.REVERSE
    """One of MitmMode. Whatever host a client asks for, stable answers."""
    http3: bool = False
    """Also serve HTTP/3, on the UDP port of the same number."""


class MitmServer(ProxyServer):
    """A ProxyServer whose clients come through mitmproxy. One for a process: mitmproxy keeps its options in globals."""

    def __init__(
        self,
        options: ProxyOptions,
        *,
        mitm: MitmOptions,
        clock: Clock,
        rng: Rng,
        tally: Tally,
        naming: Naming,
        sink: Sink,
        on_exchange: Callable[[Request, Exchange], None] | None = None,
    ) -> None:
        """As ProxyServer. Raises UsageError for an unknown mode, one that the system does not have, and a Unix socket to listen on."""
        super().__init__(options, clock=clock, rng=rng, tally=tally, naming=naming, sink=sink, on_exchange=on_exchange)
        if mitm.mode not in list(MitmMode):
            fix = f"give one of {', '.join(MitmMode)}"
            raise UsageError(f"unknown mode {mitm.mode!r} of the mitmproxy ingress", where="mitm mode", fix=fix)
        if options.listen_unix:
            raise UsageError("the mitmproxy ingress cannot listen on a Unix socket", where=options.listen_unix, fix="give HOST:PORT")
        if mitm.mode == MitmMode.TRANSPARENT and platform.original_addr is None:
            fix = "run it on Linux, or choose another mode"
            raise UsageError("this system does not redirect connections to a proxy", where="mitm mode", fix=fix)
        self._mitm = mitm
        self._door: Door | None = None
        self._own: list[OwnConnections] = []

    @property
    def connections(self) -> int:
        """Client connections now."""
        return 0 if self._door is None else len(self._door.handlers)

    def reload_tls(self) -> None:
        """As ProxyServer's; certificates that the authority signed stay."""
        super().reload_tls()
        if self._door is not None:
            self._door.use_certificate(self._options.tls_cert, self._options.tls_key)

    def _pool(self, target: UpstreamAddress, exchange_timeout_s: float, host: HostRule) -> UpstreamPool:
        pool = super()._pool(target, exchange_timeout_s, host)
        pool.outbox = own = OwnConnections()
        self._own.append(own)
        return pool

    def _is_own(self, peername: object, wanted: object) -> bool:
        return any(own.has(peername, wanted) for own in self._own)

    async def _listen(self, protocol: Callable[[], asyncio.Protocol], sock: socket.socket | None) -> None:
        options = self._options
        if sock is not None and sock.family == socket.AF_UNIX:
            raise SetupError("the mitmproxy ingress cannot serve a Unix socket", where="the socket handed in", fix="hand in a TCP socket")
        around = Surroundings(protocol, options.client, self._clients, self._tally, self._faults, self._is_own)
        door = Door(options.stable, around, confdir=self._mitm.confdir, mode=self._mitm.mode, http3=self._mitm.http3)
        door.use_certificate(options.tls_cert, options.tls_key)
        try:
            if sock is not None:
                server = await asyncio.start_server(door.serve, sock=sock, backlog=LISTEN_BACKLOG)
            else:
                server = await asyncio.start_server(door.serve, options.listen_host, options.listen_port, backlog=LISTEN_BACKLOG)
            datagrams = await _datagram_server(door, server.sockets[0].getsockname()) if self._mitm.http3 else None
        except OSError as error:
            where = "the socket handed in" if sock is not None else f"{options.listen_host}:{options.listen_port}"
            raise SetupError(
                f"cannot listen: {error.strerror or error}", where=where, fix="choose another address, or free this one"
            ) from error
        self._door = door
        self._server = cast("asyncio.Server", _Listener(server, datagrams, door))


async def _datagram_server(door: "Door", address: tuple[Any, ...]) -> Any:
    import mitmproxy_rs  # noqa: PLC0415  (only where HTTP/3 is asked for)

    return await mitmproxy_rs.udp.start_udp_server(address[0], address[1], door.serve)


class _Listener:
    """What a ProxyServer does with its asyncio server, for sockets and connections that mitmproxy serves."""

    def __init__(self, server: asyncio.Server, datagrams: Any, door: "Door") -> None:
        self._server = server
        self._datagrams = datagrams
        self._door = door

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The listening sockets."""
        return self._server.sockets

    def close(self) -> None:
        """Take no more connections, and tell those there are that no more requests are taken."""
        self._server.close()
        self._door.leave()

    async def wait_closed(self) -> None:
        """Close all connections."""
        await self._door.close()
        if self._datagrams is not None:
            self._datagrams.close()
        await self._server.wait_closed()
