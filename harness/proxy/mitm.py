"""The ingress for what the native path does not speak: HTTP/2, HTTP/3, TLS interception, explicit and transparent proxies.

mitmproxy, embedded in the running event loop, ends the client's side; everything behind it is the ProxyServer it is built on.
Importing this module imports mitmproxy, so it is imported only where this ingress is asked for.
"""

import asyncio
import contextlib
import logging
import socket
import warnings
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import msgspec
from mitmproxy import certs, options, platform
from mitmproxy.exceptions import OptionsError
from mitmproxy.proxy.mode_specs import ProxyMode

from harness.core.clock import Clock, Rng
from harness.core.errors import SetupError, UsageError
from harness.core.labels import RefusedReason
from harness.core.outcomes import Tally
from harness.core.values import Exchange, Request
from harness.proxy.address import UpstreamAddress
from harness.proxy.dispatch import FaultLog, Naming, Sink
from harness.proxy.ingress import ClientTimeouts
from harness.proxy.mitm_flow import Chooser, PipeReady
from harness.proxy.mitm_pipe import Pipe
from harness.proxy.server import LISTEN_BACKLOG, ProxyOptions, ProxyServer

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of libraries that only mitmproxy's other addons use
    from mitmproxy.addons.proxyserver import Proxyserver
    from mitmproxy.addons.tlsconfig import TlsConfig
    from mitmproxy.master import Master
    from mitmproxy.proxy.mode_servers import ProxyConnectionHandler, ServerInstance

INACTIVE_SECONDS_MAX = 24 * 3600
"""mitmproxy's own bound on a connection without a byte; the native path's time-outs are the ones that matter."""


class MitmMode(StrEnum):
    """How clients come."""

    REVERSE = "reverse"
    """They take the proxy for the service."""
    REGULAR = "regular"
    """They know it for a proxy: absolute-form requests and CONNECT."""
    TRANSPARENT = "transparent"
    """Their connections were redirected to it by the system (Linux: iptables REDIRECT)."""
    SOCKS5 = "socks5"
    """They know it for a SOCKS proxy."""


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
        """As ProxyServer. Raises UsageError for an unknown mode, and for a Unix socket to listen on."""
        super().__init__(options, clock=clock, rng=rng, tally=tally, naming=naming, sink=sink, on_exchange=on_exchange)
        if mitm.mode not in list(MitmMode):
            fix = f"give one of {', '.join(MitmMode)}"
            raise UsageError(f"unknown mode {mitm.mode!r} of the mitmproxy ingress", where="mitm mode", fix=fix)
        if options.listen_unix:
            raise UsageError("the mitmproxy ingress cannot listen on a Unix socket", where=options.listen_unix, fix="give HOST:PORT")
        self._mitm = mitm
        self._door: Door | None = None

    @property
    def connections(self) -> int:
        """Client connections now."""
        return 0 if self._door is None else len(self._door.handlers)

    def reload_tls(self) -> None:
        """As ProxyServer's; certificates that the authority signed stay."""
        super().reload_tls()
        if self._door is not None:
            self._door.use_certificate(self._options.tls_cert, self._options.tls_key)

    async def _listen(self, protocol: Callable[[], asyncio.Protocol], sock: socket.socket | None) -> None:
        options = self._options
        if sock is not None and sock.family == socket.AF_UNIX:
            raise SetupError("the mitmproxy ingress cannot serve a Unix socket", where="the socket handed in", fix="hand in a TCP socket")
        door = Door(self._mitm, options.stable, protocol, timeouts=options.client, tally=self._tally, faults=self._faults)
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


class _Reports(logging.Handler):
    """mitmproxy's log holds what clients sent, so only that something failed is told."""

    def __init__(self, faults: FaultLog) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._faults.add("mitmproxy", error or RuntimeError())


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


class Door:
    """The connections of a server, and mitmproxy's machinery for them."""

    def __init__(
        self,
        mitm: MitmOptions,
        stable: UpstreamAddress,
        protocol: Callable[[], asyncio.Protocol],
        *,
        timeouts: ClientTimeouts,
        tally: Tally,
        faults: FaultLog,
    ) -> None:
        """Raises SetupError where the directory of the authority cannot be used."""
        self.protocol = protocol
        self.timeouts = timeouts
        self.tally = tally
        self.faults = faults
        self.stopping = False
        self.handlers: dict[str, FrontHandler] = {}
        self._none = asyncio.Event()
        self._none.set()
        log = logging.getLogger("mitmproxy")
        log.propagate = False
        log.handlers = [_Reports(faults)]
        self._tls = TlsConfig()
        self.master = self._master(mitm)
        self._transparent = mitm.mode == MitmMode.TRANSPARENT
        self._mode = ProxyMode.parse(f"reverse:http://{_authority(stable)}" if mitm.mode == MitmMode.REVERSE else str(mitm.mode))
        self._instance = ServerInstance.make(self._mode, self)

    def use_certificate(self, cert_file: str, key_file: str) -> None:
        """Show every client this certificate instead of signed ones; nothing is changed without a file. The pair was checked before."""
        if not cert_file:
            return
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415  (comes with mitmproxy)
        from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415

        own, *chain = [certs.Cert(each) for each in load_pem_x509_certificates(Path(cert_file).read_bytes())]
        key = load_pem_private_key(Path(key_file or cert_file).read_bytes(), None)
        self._tls.certstore.certs["*"] = certs.CertStoreEntry(own, key, Path(cert_file), chain)

    async def serve(self, reader: Any, writer: Any = None) -> None:
        """A client came: serve it to its end. Never raises but when cancelled."""
        handler = FrontHandler(self, reader, writer or reader, self._mode)
        client = handler.client
        handler.layer = self._instance.make_top_layer(handler.layer.context)
        self.handlers[client.id] = handler
        self._none.clear()
        try:
            if self._transparent:
                server = handler.layer.context.server
                server.address = client.sockname = platform.original_addr(writer.get_extra_info("socket"))
            await handler.handle_client()
        except Exception as error:  # noqa: BLE001 - one client's trouble is nobody else's
            self.faults.add("a client's connection", error)
            handler.cut()
        finally:
            del self.handlers[client.id]
            handler.gone()
            if not self.handlers:
                self._none.set()

    def leave(self) -> None:
        """Take no more requests; connections close when what is under way on them is done."""
        self.stopping = True
        for handler in list(self.handlers.values()):
            handler.leave()

    async def close(self) -> None:
        """Close all connections."""
        for handler in list(self.handlers.values()):
            handler.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._none.wait()
        for handler in list(self.handlers.values()):
            handler.cut()
        await self._none.wait()

    def _master(self, mitm: MitmOptions) -> Any:
        confdir = Path(mitm.confdir).expanduser()
        try:
            confdir.mkdir(mode=0o700, parents=True, exist_ok=True)
            master = Master(options.Options())
            # Meant for the terminal programs: it would format every log record of the whole process.
            master._legacy_log_events.uninstall()
            chooser = Chooser(lambda client: self.handlers[client.id], explicit=mitm.mode == MitmMode.REGULAR)
            master.addons.add(Proxyserver(), self._tls, chooser)
            # Nothing is sent to where a client wants: stable is asked by the native path.
            master.options.update(connection_strategy="lazy", upstream_cert=False, http3=mitm.http3, confdir=str(confdir))
        except OptionsError as error:
            raise SetupError(str(error), where=mitm.confdir, fix="give a directory with a usable mitmproxy authority") from error
        except (OSError, ValueError) as error:
            raise _unusable(mitm.confdir, getattr(error, "strerror", None) or str(error)) from error
        if self._tls.certstore is None:  # mitmproxy only logs why
            raise _unusable(mitm.confdir, "mitmproxy-ca.pem does not hold a certificate and its key")
        return master


def _unusable(confdir: str, why: str) -> SetupError:
    fix = "give a directory of this user, empty or with mitmproxy-ca.pem in it"
    return SetupError(f"the certificate authority cannot be used: {why}", where=confdir, fix=fix)


def _authority(stable: UpstreamAddress) -> str:
    host = f"[{stable.host}]" if ":" in stable.host else stable.host
    return f"{host}:{stable.port}"


class FrontHandler(ProxyConnectionHandler):  # type: ignore[misc]
    """One client connection as mitmproxy handles it, and the pipes from it to the native path."""

    def __init__(self, door: Door, reader: Any, writer: Any, mode: Any) -> None:
        super().__init__(door.master, reader, writer, door.master.options, mode)
        self._door = door
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._pipes: set[Pipe] = set()
        self._solo: Pipe | None = None
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._todo: dict[Pipe | None, None] = {}
        self._pump: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(door.timeouts.head_s, self.close)
        self._gone = False
        if self.client.transport_protocol == "tcp":
            self.timeout_watchdog.timeout = INACTIVE_SECONDS_MAX

    @property
    def stopping(self) -> bool:
        """No new request is to be taken."""
        return self._door.stopping

    def pipe(self, *, plain: bool = False, multiplexed: bool = False) -> Pipe:
        """See mitm_flow.Owner."""
        extra = {"peername": self.client.peername, "sockname": self.client.sockname}
        if self.client.tls:
            extra["sslcontext"] = self.client
        if plain:
            extra["socket"] = self._writer.get_extra_info("socket")
        pipe = Pipe(self.wake, half_close=not multiplexed, extra=extra)
        if not multiplexed:
            self._solo = pipe
        self._pipes.add(pipe)
        self._time()
        return pipe

    def connect(self, pipe: Pipe) -> None:
        """See mitm_flow.Owner."""
        pipe.connect(self._door.protocol())

    def wake(self, pipe: Pipe | None) -> None:
        """See mitm_flow.Owner."""
        if self._gone:
            return
        if pipe is not None and pipe.over and pipe in self._pipes:
            self._pipes.discard(pipe)
            self._time()
        if self._solo is not None or self.client.transport_protocol == "udp":  # HTTP/2 streams are held one by one
            if all(each.reading for each in self._pipes):
                self._may_read.set()
            else:
                self._may_read.clear()
        self._todo[pipe] = None
        if self._pump is None:
            self._pump = self._loop.create_task(self._bring())

    def broken(self) -> bool:
        """See mitm_flow.Owner."""
        return bool(self._writer.is_closing())

    def cut(self) -> None:
        """See mitm_flow.Owner."""
        if isinstance(self._writer, asyncio.StreamWriter):
            self._writer.transport.abort()
        self.close()

    def refused(self, reason: RefusedReason) -> None:
        """See mitm_flow.Owner."""
        self._door.tally.entered()
        self._door.tally.refused(reason)

    def leave(self) -> None:
        """Close when nothing is under way any more, and let an HTTP/2 client know."""
        self.wake(None)
        self._time()

    def close(self) -> None:
        """Close the client's connection."""
        io = self.transports.get(self.client)
        if io is None:
            return
        if io.handler is not None:
            io.handler.cancel("closed by command")
        else:
            io.writer.close()

    def gone(self) -> None:
        """The connection is over."""
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
        if self._pump is not None:
            self._pump.cancel()
        for pipe in list(self._pipes):
            pipe.lost(ConnectionResetError("the client is gone"))
        self._pipes.clear()

    async def drain_writers(self) -> None:
        """Read on when the native path takes more; HTTP/1.1 is read however slowly its client reads, as on the native path."""
        if self._solo is None:
            await super().drain_writers()
        await self._may_read.wait()

    def log(self, message: str, level: int = logging.INFO, exc_info: Any = None) -> None:
        """A fault of mitmproxy's own leaves a connection without an answer: better an end."""
        if level >= logging.ERROR:
            super().log(message, level, exc_info)
            self._loop.call_soon(self.cut)

    async def _bring(self) -> None:
        """Bring what is new on the pipes to their layers, and no more than the client takes."""
        try:
            while self._todo:
                pipe = next(iter(self._todo))
                del self._todo[pipe]
                await self.server_event(PipeReady(pipe))
                io = self.transports.get(self.client)
                if io is not None and io.writer is not None:
                    async with self._drain_lock:
                        await io.writer.drain()
        except OSError:
            self.close()
        finally:
            self._pump = None

    def _time(self) -> None:
        """Without a request under way, the connection may be idle for so long."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._pipes and not self._gone:
            self._timer = self._loop.call_later(0.0 if self._door.stopping else self._door.timeouts.idle_s, self.close)
