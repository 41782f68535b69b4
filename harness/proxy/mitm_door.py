"""The door of the mitmproxy ingress: its connections, and mitmproxy's machinery for them.

Clients come in here; each pipe from here leads to a client connection of the native path.
"""

import asyncio
import contextlib
import logging
import warnings
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, cast

from mitmproxy import certs, options, platform
from mitmproxy.exceptions import OptionsError
from mitmproxy.proxy.mode_specs import ProxyMode

from harness.core.errors import SetupError
from harness.core.home import expanded
from harness.core.labels import RefusedReason
from harness.core.limits import CLIENTS_TURNED_AWAY_MAX
from harness.core.outcomes import Tally
from harness.proxy.address import UpstreamAddress
from harness.proxy.clients import LATE_SECONDS, Clients
from harness.proxy.deadlines import ClientTimeouts
from harness.proxy.dispatch import FaultLog
from harness.proxy.mitm_choice import Chooser
from harness.proxy.mitm_flow import PipeReady
from harness.proxy.mitm_pipe import Pipe

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of libraries that only mitmproxy's other addons use
    from mitmproxy.addons.proxyserver import Proxyserver
    from mitmproxy.addons.tlsconfig import TlsConfig
    from mitmproxy.master import Master
    from mitmproxy.proxy.mode_servers import ProxyConnectionHandler, ServerInstance

_LOG = logging.getLogger(__name__)
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


class _Reports(logging.Handler):
    """mitmproxy's log holds what clients sent, so only that something failed is told."""

    def __init__(self, faults: FaultLog) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._faults.add("mitmproxy", error or RuntimeError())


class Surroundings(NamedTuple):
    """What a door is handed of its server."""

    protocol: Callable[[], asyncio.Protocol]
    """Makes a client connection of the native path."""
    timeouts: ClientTimeouts
    clients: Clients
    tally: Tally
    faults: FaultLog
    is_own: Callable[[object, object], bool]
    """Whether what came from the one address, and was meant for the other, is a connection of this proxy to a target."""


class Door:
    """The connections of a server, and mitmproxy's machinery for them."""

    def __init__(self, stable: UpstreamAddress, around: Surroundings, *, confdir: str, mode: str, http3: bool) -> None:
        """See MitmOptions. Raises SetupError where the directory of the authority cannot be used."""
        self.around = around
        self._loop = asyncio.get_running_loop()
        self._leaves_at_s: float | None = None
        self._returned = 0
        self.handlers: dict[str, FrontHandler] = {}
        self._none = asyncio.Event()
        self._none.set()
        log = logging.getLogger("mitmproxy")
        log.propagate = False
        log.handlers = [_Reports(around.faults)]
        self._tls = TlsConfig()
        self.master = self._master(confdir, explicit=mode == MitmMode.REGULAR, http3=http3)
        self._transparent = mode == MitmMode.TRANSPARENT
        self._mode = ProxyMode.parse(f"reverse:http://{_authority(stable)}" if mode == MitmMode.REVERSE else str(mode))
        self._instance = ServerInstance.make(self._mode, self)

    def use_certificate(self, cert_file: str, key_file: str) -> None:
        """Show every client this certificate instead of signed ones; nothing is changed without a file. The pair was checked before."""
        if not cert_file:
            return
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415  (comes with mitmproxy)
        from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415  (as above)

        own, *chain = [certs.Cert(each) for each in load_pem_x509_certificates(Path(cert_file).read_bytes())]
        key = load_pem_private_key(Path(key_file or cert_file).read_bytes(), None)
        self._tls.certstore.certs["*"] = certs.CertStoreEntry(own, key, Path(cert_file), chain)

    async def serve(self, reader: Any, writer: Any = None) -> None:
        """A client came: serve it to its end. Never raises but when cancelled.

        Clients and streams that are too many are told so by the native path. Here is only what keeps connections that say nothing,
        and so never reach it, from being without number.
        """
        if len(self.handlers) >= self.around.clients.clients_max + CLIENTS_TURNED_AWAY_MAX:
            self.refused(RefusedReason.TOO_MANY_CLIENTS)
            _cut(writer or reader)
            return
        handler = FrontHandler(self, reader, writer or reader, self._mode)
        client = handler.client
        handler.layer = self._instance.make_top_layer(handler.layer.context)
        self.handlers[client.id] = handler
        self._none.clear()
        try:
            if self._transparent:
                server = handler.layer.context.server
                server.address = client.sockname = _original(writer)
            await handler.handle_client()
        except Exception as error:  # noqa: BLE001 - one client's trouble is nobody else's
            self.around.faults.add("a client's connection", error)
            handler.cut()
        finally:
            del self.handlers[client.id]
            handler.gone()
            if not self.handlers:
                self._none.set()

    def refused(self, reason: RefusedReason) -> None:
        """Count a request that never reached the native path."""
        self.around.tally.entered()
        self.around.tally.refused(reason)

    def returned(self) -> None:
        """A connection of this proxy's own came back to it. Told for the 1st, 2nd, 4th, 8th ... time."""
        self._returned += 1
        if self._returned & (self._returned - 1) == 0:
            text = "a connection to a target came back to this proxy (occurrence %d): spare its own connections in the redirect rule"
            _LOG.warning(text, self._returned)

    @property
    def stopping(self) -> bool:
        """No new request is to be taken."""
        return self._leaves_at_s is not None and self._loop.time() >= self._leaves_at_s

    def patience_s(self, otherwise_s: float) -> float:
        """How long a connection with nothing under way may stay: so long, or to the end of what is left when the server stops."""
        return otherwise_s if self._leaves_at_s is None else max(0.0, self._leaves_at_s - self._loop.time())

    def leave(self) -> None:
        """Take no more requests than those that are on their way by now; connections close when what is under way is done."""
        self._leaves_at_s = self._loop.time() + LATE_SECONDS
        late = _Late(self.around.clients)
        self._loop.call_later(LATE_SECONDS, late.kill)
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

    def _master(self, confdir: str, *, explicit: bool, http3: bool) -> Any:
        path = expanded(confdir)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            master = Master(options.Options())
            # Meant for the terminal programs: it would format every log record of the whole process.
            master._legacy_log_events.uninstall()
            chooser = Chooser(lambda client: self.handlers[client.id], explicit=explicit)
            master.addons.add(Proxyserver(), self._tls, chooser)
            # Nothing is sent to where a client wants: stable is asked by the native path.
            master.options.update(connection_strategy="lazy", upstream_cert=False, http3=http3, confdir=str(path))
        except OptionsError as error:
            raise SetupError(str(error), where=confdir, fix="give a directory with a usable mitmproxy authority") from error
        except (OSError, ValueError) as error:
            raise _unusable(confdir, getattr(error, "strerror", None) or str(error)) from error
        if self._tls.certstore is None:  # mitmproxy only logs why
            raise _unusable(confdir, "mitmproxy-ca.pem does not hold a certificate and its key")
        return master


class _Late:
    """Counts as a client while requests may be on their way over connections that have none: their server does not end before."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        clients.add(self)

    def stop(self) -> None:
        """It ends by the clock."""

    def kill(self) -> None:
        """End now."""
        self._clients.discard(self)


def _unusable(confdir: str, why: str) -> SetupError:
    fix = "give a directory of this user, empty or with mitmproxy-ca.pem in it"
    return SetupError(f"the certificate authority cannot be used: {why}", where=confdir, fix=fix)


def _authority(stable: UpstreamAddress) -> str:
    host = f"[{stable.host}]" if ":" in stable.host else stable.host
    return f"{host}:{stable.port}"


def _original(writer: asyncio.StreamWriter) -> tuple[Any, ...]:
    """Where a redirected client wanted to go. A client that came to the port itself, or past the rule, is told nothing else by this."""
    try:
        return cast("tuple[Any, ...]", platform.original_addr(writer.get_extra_info("socket")))
    except (OSError, RuntimeError):  # RuntimeError: the way of BSD systems
        return cast("tuple[Any, ...]", writer.get_extra_info("sockname"))


def _cut(writer: Any) -> None:
    """End a connection at once. There is no such thing over QUIC."""
    if isinstance(writer, asyncio.StreamWriter):
        writer.transport.abort()
    else:
        writer.close()


class FrontHandler(ProxyConnectionHandler):  # type: ignore[misc]  # mitmproxy's classes are untyped
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
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(door.patience_s(door.around.timeouts.head_s), self.close)
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
        pipe.connect(self._door.around.protocol())

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

    def unwelcome(self) -> bool:
        """See mitm_flow.Owner."""
        if not self._door.around.is_own(self.client.peername, self.client.sockname):
            return False
        self._door.returned()
        return True

    def cut(self) -> None:
        """See mitm_flow.Owner."""
        _cut(self._writer)
        self.close()

    def refused(self, reason: RefusedReason) -> None:
        """See mitm_flow.Owner."""
        self._door.refused(reason)

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
            self._timer = self._loop.call_later(self._door.patience_s(self._door.around.timeouts.idle_s), self.close)
