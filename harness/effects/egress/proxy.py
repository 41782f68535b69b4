"""The explicit proxy that builds make their outbound calls through: mitmproxy, embedded in the running event loop.

It ends clients' connections and TLS, and hands each call to a Desk, which says what becomes of it. Nothing is connected to
outside before the desk let a call go there. Importing this module imports mitmproxy.
"""

import asyncio
import contextlib
import logging
import re
import socket
import struct
import warnings
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from mitmproxy import ctx, options
from mitmproxy.proxy import commands, events, layers
from mitmproxy.proxy.layers.http import HTTPMode, HttpStream
from mitmproxy.proxy.layers.http._http1 import Http1Server
from mitmproxy.proxy.mode_specs import ProxyMode

from harness.core import limits, limits_collectors
from harness.core.errors import SetupError
from harness.core.labels import Role

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of libraries that only mitmproxy's other addons use
    from mitmproxy.addons.proxyserver import Proxyserver
    from mitmproxy.addons.tlsconfig import TlsConfig
    from mitmproxy.master import Master
    from mitmproxy.proxy.mode_servers import ProxyConnectionHandler

_METHOD: Final = re.compile(rb"[A-Za-z!#$%&'*+.^_`|~-]{1,32} ")
_METHOD_BEGUN: Final = re.compile(rb"[A-Za-z!#$%&'*+.^_`|~-]{0,32}")
_WEBSOCKET: Final = b"GET ws://"
_UNREADABLE: Final = "unreadable head of a request"
_TLS_RECORD: Final = b"\x16"
_HTTP2_UNTOLD: Final = b"PRI "
"""How HTTP/2 begins where nobody agreed on it before (gRPC without TLS): mitmproxy does not speak it so."""
_ALPN_OF_HTTP: Final = frozenset({b"h2", b"http/1.1", b"http/1.0"})
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Desk(Protocol):
    """Who decides about calls. Flows are mitmproxy's; what it raises is a fault of its own, and counted."""

    def arrived(self, connection: "Connection", flow: Any) -> None:
        """The head of a request came."""

    async def asked(self, connection: "Connection", flow: Any) -> None:
        """A request is complete. With `flow.response` set it is answered by that, else it goes outside."""

    def answering(self, connection: "Connection", flow: Any) -> None:
        """The head of an answer came from outside, or was given."""

    def over(self, connection: "Connection", flow: Any) -> None:
        """The answer is complete, or there is none (`flow.error`). May come twice."""

    def ignores(self, host: str, port: int) -> bool:
        """Connections to there are passed through unopened."""

    def may_tunnel(self, role: Role, host: str, port: int) -> bool:
        """Whether what is neither TLS nor HTTP may go outside."""

    def upstream(self, host: str, port: int) -> tuple[str, int]:
        """Where a host really is."""

    def lapse(self, what: str, role: Role | None = None, *, blind: bool = True) -> None:
        """Something could not be seen."""


class EgressProxy:
    """Listens on one address for each role. mitmproxy keeps its options in globals: they are put in place while they are read,
    so that another mitmproxy in the process keeps its own."""

    def __init__(self, desk: Desk, *, folder: Path, verify_upstream: bool) -> None:
        """`folder` holds the certificate authority, made where it is missing.

        Raises SetupError where the folder cannot be used.
        """
        self.desk = desk
        self.connections: set[Connection] = set()
        self._none = asyncio.Event()
        self._none.set()
        self._servers: dict[Role, asyncio.Server] = {}
        self._own_ports: set[int] = set()
        self._own_hosts = set(_LOOPBACK)
        self._own_sockets: set[tuple[str, int]] = set()
        self.mode = ProxyMode.parse("regular")
        self.tls = TlsConfig()
        self._log = _Reports(desk)
        before = getattr(ctx, "master", None), getattr(ctx, "options", None)
        try:
            self.master = self._master(folder, verify_upstream)
        finally:
            ctx.master, ctx.options = before

    def _master(self, folder: Path, verify_upstream: bool) -> Any:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            master = Master(options.Options())
            # Meant for the terminal programs: it would format every log record of the whole process.
            master._legacy_log_events.uninstall()
            master.addons.add(Proxyserver(), self.tls)  # the first only declares options
            master.options.update(
                connection_strategy="lazy",
                upstream_cert=False,
                http3=False,
                body_size_limit=str(limits.REQUEST_BODY_BYTES_MAX),
                ssl_insecure=not verify_upstream,
                confdir=str(folder),
            )
        except (OSError, ValueError) as error:
            raise _unusable(folder, getattr(error, "strerror", None) or str(error)) from error
        if self.tls.certstore is None:  # mitmproxy only logs why
            raise _unusable(folder, "mitmproxy-ca.pem does not hold a certificate and its key")
        return master

    def trust(self, authorities: Path) -> None:
        """What certificates of servers outside may be signed by."""
        with self.options_in_place():
            self.master.options.update(ssl_verify_upstream_trusted_ca=str(authorities))

    async def listen(self, role: Role, host: str, port: int) -> None:
        """Take a role's calls. Raises SetupError."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(role, reader, writer)

        try:
            server = await asyncio.start_server(serve, host, port, backlog=limits_collectors.EGRESS_BACKLOG_MAX)
        except OSError as error:
            fix = "choose another address in effects.http.listen, or free this one"
            raise SetupError(f"cannot listen: {error.strerror or error}", where=f"{host}:{port}", fix=fix) from error
        self._servers[role] = server
        self._own_hosts.add(host)
        self._own_sockets.update(sock.getsockname()[:2] for sock in server.sockets)
        self._own_ports.update(port for _, port in self._own_sockets)

    def port(self, role: Role) -> int:
        """Where a role's calls are taken."""
        return int(self._servers[role].sockets[0].getsockname()[1])

    def is_own(self, host: str, port: int) -> bool:
        """Whether a call would come back to this proxy."""
        return port in self._own_ports and host in self._own_hosts

    def leads_here(self, there: tuple[str, int], here: tuple[str, int]) -> bool:
        """Whether a connection that was made (to `there`, from `here`) has come back to this proxy, by whatever name."""
        everywhere = {("0.0.0.0", there[1]), ("::", there[1])}
        return there in self._own_sockets or (there[0] == here[0] and not everywhere.isdisjoint(self._own_sockets))

    async def close(self) -> None:
        """Close all connections."""
        for server in self._servers.values():
            server.close()
        for connection in list(self.connections):
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._none.wait()
        for connection in list(self.connections):
            connection.cut()
        await self._none.wait()
        self._log.remove()

    async def _serve(self, role: Role, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, role, reader, writer)
        self.connections.add(connection)
        self._none.clear()
        try:
            await connection.handle_client()
        except Exception as error:  # noqa: BLE001 - one client's trouble is nobody else's
            self.desk.lapse(f"a connection of a build failed: {type(error).__name__}", role)
            connection.cut()
        finally:
            connection.gone()
            self.connections.discard(connection)
            if not self.connections:
                self._none.set()

    @contextlib.contextmanager
    def options_in_place(self) -> Iterator[None]:
        """mitmproxy's globals are this proxy's."""
        before = getattr(ctx, "master", None), getattr(ctx, "options", None)
        ctx.master, ctx.options = self.master, self.master.options
        try:
            yield
        finally:
            ctx.master, ctx.options = before


class Connection(ProxyConnectionHandler):  # type: ignore[misc]  # mitmproxy's classes are untyped
    """One connection of a build. Hooks go straight to where they are answered: mitmproxy's way through its addons costs more than
    most of what is done in them."""

    def __init__(self, proxy: EgressProxy, role: Role, reader: Any, writer: Any) -> None:
        super().__init__(proxy.master, reader, writer, proxy.master.options, proxy.mode)
        self.role = role
        self._proxy = proxy
        self._desk = proxy.desk
        self._writer = writer
        self._flows: dict[str, Any] = {}
        self._meant: dict[str, Any] = {}
        self._unreached: dict[str, str] = {}
        self._was_cut = False
        self._unreadable_told = False
        self.timeout_watchdog.timeout = limits_collectors.EGRESS_INACTIVE_SECONDS_MAX
        context: Any = self.layer.context
        self.layer: Any = layers.modes.HttpProxy(context)
        self._hooks: dict[str, Callable[[Any], Awaitable[None] | None]] = {
            "next_layer": self._next_layer,
            "requestheaders": self._arrived,
            "request": self._asked,
            "responseheaders": self._answering,
            "response": self._over,
            "error": self._over,
            "tls_clienthello": self._with_options("tls_clienthello"),
            "tls_start_client": self._with_options("tls_start_client"),
            "tls_start_server": self._with_options("tls_start_server"),
            "tls_failed_client": self._refused_by_client,
            "tls_failed_server": self._untrusted,
            "server_connect": self._connect,
            "server_connected": self._connected,
            "server_connect_error": self._not_connected,
        }

    async def handle_hook(self, hook: Any) -> None:
        """mitmproxy's: somebody is to be asked. Never raises."""
        answer = self._hooks.get(hook.name)
        if answer is None:
            return
        try:
            result = answer(*hook.args())
            if result is not None:
                with self.timeout_watchdog.disarm():
                    await result
        except Exception as error:  # noqa: BLE001 - a connection without an answer would hang
            self._desk.lapse(f"a fault of the egress proxy: {type(error).__name__} in {hook.name}", self.role)
            _kill(hook.args())
            asyncio.get_running_loop().call_soon(self.cut)

    def log(self, message: str, level: int = logging.INFO, exc_info: Any = None) -> None:
        """A fault of mitmproxy's own leaves a connection without an answer: better an end."""
        del exc_info
        if message == _UNREADABLE and not self._unreadable_told:
            self._desk.lapse("a build's request was not valid HTTP", self.role)
        del message  # it holds what a build sent
        if level >= logging.ERROR:
            self._desk.lapse("mitmproxy failed at a connection of a build", self.role)
            asyncio.get_running_loop().call_soon(self.cut)

    def close(self) -> None:
        """Close the build's connection."""
        io = self.transports.get(self.client)
        if io is None:
            return
        if io.handler is not None:
            io.handler.cancel("closed by command")
        else:
            io.writer.close()

    def cut(self) -> None:
        """End it at once."""
        self._was_cut = True
        self._writer.transport.abort()
        self.close()

    def reset(self) -> None:
        """End it at once, and let the build see a reset."""
        sock = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut()

    def why_unreached(self, error: str) -> str:
        """Why a call that ended with this error found no server outside; empty where that is not why it ended."""
        return self._unreached.get(error, "")

    def gone(self) -> None:
        """The connection is over, and so are its calls, also those that wait for an answer."""
        for task in list(self.hook_tasks):
            task.cancel()
        for flow in list(self._flows.values()):
            self._over(flow)

    def _with_options(self, name: str) -> Callable[[Any], None]:
        hook = getattr(self._proxy.tls, name)

        def call(data: Any) -> None:
            with self._proxy.options_in_place():
                hook(data)

        return call

    def _arrived(self, flow: Any) -> None:
        if flow.error is None:
            self._flows[flow.id] = flow
            self._desk.arrived(self, flow)

    def _asked(self, flow: Any) -> Awaitable[None]:
        return self._desk.asked(self, flow)

    def _answering(self, flow: Any) -> None:
        self._desk.answering(self, flow)

    def _over(self, flow: Any) -> None:
        self._flows.pop(flow.id, None)
        self._desk.over(self, flow)

    def _refused_by_client(self, data: Any) -> None:
        address = data.context.server.address
        host = data.conn.sni or (address[0] if address else "an unknown host")
        if "does not trust" in (data.conn.error or ""):
            self._desk.lapse(f"a TLS client refused the harness's CA at {host}", self.role)
        elif not self._was_cut:
            self._desk.lapse(f"a TLS handshake of a build with {host} failed", self.role)

    def _connect(self, data: Any) -> None:
        """A server outside is about to be connected to: at another place where one is configured."""
        server = data.server
        self._meant[server.id] = server.address
        host, port = self._desk.upstream(*server.address[:2])
        if self._proxy.is_own(host, port):
            server.error = "this would come back to the proxy"
            self._desk.lapse("a build asked the egress proxy for the proxy itself", self.role, blind=False)
        elif (host, port) != server.address[:2]:
            server.address = (host, port)

    def _connected(self, data: Any) -> None:
        """By the address that was asked for, the connection is found again for the next call."""
        server = data.server
        if (meant := self._meant.pop(server.id, None)) is not None:
            object.__setattr__(server, "address", meant)  # mitmproxy lets nobody change it once connected
        if server.peername and server.sockname and self._proxy.leads_here(server.peername[:2], server.sockname[:2]):
            # A name that only the resolver knows for ours: each round would make another connection, without end.
            self._desk.lapse("a build asked the egress proxy for the proxy itself", self.role, blind=False)
            self.transports[server].writer.transport.abort()

    def _not_connected(self, data: Any) -> None:
        self._connected(data)
        self._note_unreached(data.server.error, "could not be reached")

    def _untrusted(self, data: Any) -> None:
        self._note_unreached(data.conn.error, "could not be spoken to over TLS")

    def _note_unreached(self, error: str | None, why: str) -> None:
        """The call that a failed connection was for ends with the same words."""
        if error:
            if len(self._unreached) >= limits_collectors.EGRESS_LAPSES_MAX:
                self._unreached.clear()
            self._unreached[error] = why

    def _next_layer(self, next_layer: Any) -> None:
        """mitmproxy's hook: called with all the bytes so far, again and again until a layer is chosen."""
        context, data = next_layer.context, next_layer.data_client()
        if not data:
            return
        if not any(isinstance(layer, layers.HttpLayer) for layer in context.layers):
            if data[:1] == _TLS_RECORD:  # a build that speaks TLS to its proxy
                if not isinstance(context.layers[-1], layers.ClientTLSLayer):
                    next_layer.layer = layers.ClientTLSLayer(context)
                return
            if (is_http := _is_http(data)) is not None:
                if not is_http or data.startswith(_HTTP2_UNTOLD):
                    self._unreadable_told = True
                    self._desk.lapse("a build sent the egress proxy something that is no HTTP/1 request", self.role)
                next_layer.layer = _HttpLayer(context, HTTPMode.regular)
            return
        host, port = context.server.address[:2]
        if self._desk.ignores(host, port):
            next_layer.layer = layers.TCPLayer(context, ignore=True)
        elif data[:1] == _TLS_RECORD and not isinstance(context.layers[-1], layers.ClientTLSLayer):
            server_tls = layers.ServerTLSLayer(context)
            server_tls.child_layer = layers.ClientTLSLayer(context)
            next_layer.layer = server_tls
        elif context.client.alpn not in _ALPN_OF_HTTP and data.startswith(_HTTP2_UNTOLD):
            self._tunnel(next_layer, host, port, "HTTP/2 without TLS")
        elif context.client.alpn in _ALPN_OF_HTTP or (is_http := _is_http(data)):
            next_layer.layer = _HttpLayer(context, HTTPMode.transparent)
        elif is_http is False:
            self._tunnel(next_layer, host, port)

    def _tunnel(self, next_layer: Any, host: str, port: int, carried: str = "something else than HTTP") -> None:
        what = f"a tunnel to {host}:{port} carried {carried}"
        if self._desk.may_tunnel(self.role, host, port):
            self._desk.lapse(f"{what}: passed on unseen", self.role)
            next_layer.layer = layers.TCPLayer(next_layer.context, ignore=True)
        else:
            self._desk.lapse(f"{what}: cut", self.role)
            self.cut()


class _HttpLayer(layers.HttpLayer):  # type: ignore[misc]  # mitmproxy's classes are untyped
    """HTTP whose requests are bounded, since they are kept whole, and whose answers are not, since they pass through."""

    def _handle_event(self, event: Any) -> Iterator[Any]:
        client = self.context.client
        if isinstance(event, events.Start) and client.alpn != b"h2":
            self.connections[client] = _Http1(self.context.fork())
        return super()._handle_event(event)  # type: ignore[no-any-return]  # mitmproxy's types are not followed

    def make_stream(self, stream_id: int) -> Iterator[Any]:
        stream = self.streams[stream_id] = _Stream(self.context.fork(), stream_id)
        yield from self.event_to_child(stream, events.Start())


class _Http1(Http1Server):  # type: ignore[misc]  # mitmproxy's classes are untyped
    """HTTP/1.1 to the build. Some clients ask a proxy for a WebSocket by its own scheme, which mitmproxy does not know."""

    def read_headers(self, event: Any) -> Iterator[Any]:
        data = self.buf._data
        if data.startswith(_WEBSOCKET):
            data[len(_WEBSOCKET) - len(b"ws://") : len(_WEBSOCKET)] = b"http://"
        yield from super().read_headers(event)
        if self.state == self.done and self.request is None and isinstance(event, events.DataReceived):
            yield commands.Log(_UNREADABLE)  # mitmproxy refuses it and asks nobody


class _Stream(HttpStream):  # type: ignore[misc]  # mitmproxy's classes are untyped
    """One call."""

    def check_body_size(self, request: bool) -> Generator[Any, Any, bool]:
        if not request:
            return False
        return bool((yield from super().check_body_size(True)))


class _Reports(logging.Handler):
    """mitmproxy's log holds what builds sent, so only that something failed is told, and not to the terminal."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(logging.ERROR)
        self._desk = desk
        self._logger = logging.getLogger("mitmproxy")
        self._before = self._logger.propagate, self._logger.level
        self._logger.propagate = False
        self._logger.setLevel(logging.ERROR)
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Count it."""
        del record
        self._desk.lapse("mitmproxy reported a fault")

    def remove(self) -> None:
        """Leave the log as it was."""
        self._logger.removeHandler(self)
        self._logger.propagate, level = self._before
        self._logger.setLevel(level)


def _kill(about: Iterable[Any]) -> None:
    """Let no call that was not decided about go outside: mitmproxy goes on as soon as its hook is over."""
    for flow in about:
        if getattr(flow, "killable", False):
            flow.kill()


def _is_http(data: bytes) -> bool | None:
    """Whether bytes begin a request; None while they are too few to tell."""
    if _METHOD.match(data):
        return True
    return None if _METHOD_BEGUN.fullmatch(data) else False


def _unusable(folder: Path, why: str) -> SetupError:
    fix = "give a folder of this user in effects.http.ca, empty or with mitmproxy-ca.pem in it"
    return SetupError(f"the certificate authority cannot be used: {why}", where=str(folder), fix=fix)
