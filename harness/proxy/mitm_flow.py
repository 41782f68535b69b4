"""What mitmproxy hands on, and what it is given back: its layers for the client's side, each joined to the native path.

mitmproxy ends TLS, HTTP/2, HTTP/3 and the ways in (CONNECT, redirected connections). HTTP/1.1 goes on as bytes, here; each HTTP/2
or HTTP/3 request becomes an HTTP/1.1 exchange of its own over a pipe (mitm_streams). All that follows (parsing, relaying, capture,
counting, mirroring) is the native path itself, so its promises are kept in one place. This module opens no sockets.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any, Protocol

from mitmproxy.proxy import commands, events, layer, layers
from OpenSSL import SSL

from harness.core.labels import RefusedReason
from harness.core.limits import FRONT_PIECE_BYTES_MAX, HEAD_BYTES_MAX
from harness.proxy import wire
from harness.proxy.mitm_pipe import Pipe

Commands = Iterator[Any]
_CONNECT = re.compile(rb"CONNECT (\[[0-9A-Fa-f:.]{2,45}\]|[^\s:\[\]/@?#]{1,255}):([0-9]{1,5}) HTTP/1\.[01]\r\n")


class Owner(Protocol):
    """The connection that layers belong to, and where their pipes come from."""

    stopping: bool
    """No new request is to be taken."""

    def pipe(self, *, plain: bool = False, multiplexed: bool = False) -> Pipe:
        """A pipe to a client connection of the native path, not yet connected.

        `plain`: it has the client's socket to itself. `multiplexed`: pausing its reading must not pause the others'.
        """

    def connect(self, pipe: Pipe) -> None:
        """Begin the client connection of the native path at the other end."""

    def wake(self, pipe: Pipe) -> None:
        """Have a PipeReady event brought to the pipe's layer, soon."""

    def broken(self) -> bool:
        """Whether the client's connection is gone altogether, not only ended in one direction."""

    def unwelcome(self) -> bool:
        """Whether the connection is not to be served. Asked when its first bytes have come; a reason is counted or told then."""

    def cut(self) -> None:
        """End the client's connection at once; what was not sent yet is lost."""

    def refused(self, reason: RefusedReason) -> None:
        """Count a request that never reached the native path."""


class PipeReady(events.Event):  # type: ignore[misc]  # mitmproxy's classes are untyped
    """There is something new on a pipe; without one, the harness is stopping."""

    def __init__(self, pipe: Pipe | None) -> None:
        self.pipe = pipe


class FrontTls(layers.ClientTLSLayer):  # type: ignore[misc]  # mitmproxy's classes are untyped
    """TLS to the client that says its end, so that a client can tell an answer's end from a broken connection (RFC 8446 6.1)."""

    truncated = False
    """The end is not to be said: the answer was cut."""

    def send_close(self, command: commands.CloseConnection) -> Commands:
        if self.tls is not None and not self.truncated:
            with contextlib.suppress(SSL.Error):  # said before, or in no state to say it
                self.tls.shutdown()
            yield from self.tls_interact()
        yield from super().send_close(command)


class ConnectLayer(layer.Layer):  # type: ignore[misc]  # mitmproxy's classes are untyped
    """An explicit proxy's CONNECT (RFC 9110 9.3.6): answered here, whatever is asked for; what follows is taken as if sent to it."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._head = b""
        self._child: Any = None

    def _handle_event(self, event: Any) -> Commands:
        if self._child is not None:
            yield from self._child.handle_event(event)
        elif isinstance(event, events.DataReceived):
            self._head += event.data
            head, separator, rest = self._head.partition(b"\r\n\r\n")
            if separator:
                yield from self._opened(head + b"\r\n", rest)
            elif len(self._head) > HEAD_BYTES_MAX:
                yield from self._refuse(431, "Request Header Fields Too Large")
        elif isinstance(event, events.ConnectionClosed):
            yield commands.CloseConnection(self.context.client)

    def _opened(self, head: bytes, rest: bytes) -> Commands:
        found = _CONNECT.match(head)
        port = int(found[2]) if found else 0
        if found is None or not 0 < port < 65536:
            yield from self._refuse(400, "Bad Request")
            return
        self.context.server.address = (found[1].decode("latin-1").strip("[]"), port)
        yield commands.SendData(self.context.client, b"HTTP/1.1 200 Connection established\r\n\r\n")
        self._child = layer.NextLayer(self.context)
        yield from self._child.handle_event(events.Start())
        if rest:
            yield from self._child.handle_event(events.DataReceived(self.context.client, rest))

    def _refuse(self, status: int, reason: str) -> Commands:
        head = wire.answer_bytes(status, reason, [("Content-Length", "0"), ("Connection", "close")])
        yield commands.SendData(self.context.client, head)
        yield commands.CloseConnection(self.context.client)


class Http1Layer(layer.Layer):  # type: ignore[misc]  # mitmproxy's classes are untyped
    """HTTP/1.1 as bytes, both ways, to and from one client connection of the native path."""

    def __init__(self, context: Any, owner: Owner) -> None:
        super().__init__(context)
        self._owner = owner
        self._pipe: Pipe | None = None
        self._half_closed = False
        self._over = False

    def _handle_event(self, event: Any) -> Commands:
        pipe = self._pipe
        if isinstance(event, events.Start):
            self._pipe = self._owner.pipe(plain=not self.context.client.tls)
            self._owner.connect(self._pipe)
        elif pipe is None or self._over:
            return
        elif isinstance(event, events.DataReceived):
            pipe.feed(event.data)
        elif isinstance(event, events.ConnectionClosed):
            if self._owner.broken():
                pipe.lost(ConnectionResetError("the client is gone"))
            else:
                pipe.feed_eof()
        elif isinstance(event, PipeReady) and event.pipe is pipe:
            yield from self._pass_on(pipe)

    def _pass_on(self, pipe: Pipe) -> Commands:
        client = self.context.client
        if data := pipe.take(FRONT_PIECE_BYTES_MAX):
            yield commands.SendData(client, data)
        if pipe.get_write_buffer_size():
            self._owner.wake(pipe)
        if pipe.aborted:
            self._over = True
            for outer in self.context.layers:
                if isinstance(outer, FrontTls):
                    outer.truncated = True
            self._owner.cut()
            yield commands.CloseConnection(client)
        elif pipe.over:
            self._over = True
            yield commands.CloseConnection(client)
        elif pipe.eof and not self._half_closed:
            self._half_closed = True
            yield commands.CloseTcpConnection(client, half_close=True)
