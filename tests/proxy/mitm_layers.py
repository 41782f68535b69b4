"""What mitmproxy's layers stand on in tests: a connection without sockets, and the native ends of its pipes."""

import asyncio
from collections.abc import Callable
from typing import Any

from mitmproxy import options
from mitmproxy.connection import Client, ConnectionState
from mitmproxy.proxy import context, events, layers

from harness.core.labels import RefusedReason
from harness.proxy.mitm_pipe import Pipe
from tests.proxy.rig import run


class Native(asyncio.Protocol):
    """The other end of a pipe."""

    def __init__(self) -> None:
        self.got = b""
        self.lost: list[Exception | None] = []
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Connection:
    """The connection that the layers belong to."""

    def __init__(self) -> None:
        self.stopping = False
        self.natives: list[Native] = []
        self.woken: list[Pipe] = []
        self.refusals: list[RefusedReason] = []
        self.cuts = 0
        self.gone = False
        self.unwanted = False

    def pipe(self, *, plain: bool = False, multiplexed: bool = False) -> Pipe:
        return Pipe(self.wake, half_close=not multiplexed)

    def connect(self, pipe: Pipe) -> None:
        self.natives.append(Native())
        pipe.connect(self.natives[-1])

    def wake(self, pipe: Pipe) -> None:
        self.woken.append(pipe)

    def broken(self) -> bool:
        return self.gone

    def unwelcome(self) -> bool:
        return self.unwanted

    def cut(self) -> None:
        self.cuts += 1

    def refused(self, reason: RefusedReason) -> None:
        self.refusals.append(reason)


def a_context() -> Any:
    told = options.Options()
    for name in ("validate_inbound_headers", "normalize_outbound_headers"):
        told.add_option(name, bool, True, "")
    told.add_option("proxy_debug", bool, False, "")
    told.add_option("connection_strategy", str, "lazy", "")
    client = Client(peername=("192.0.2.1", 5), sockname=("192.0.2.2", 443), timestamp_start=0.0, state=ConnectionState.OPEN)
    made = context.Context(client, told)
    layers.modes.HttpProxy(made)  # what every connection begins with
    return made


def in_loop(test: Callable[[], None]) -> None:
    """Pipes belong to a running loop."""

    async def main() -> None:
        test()

    run(main())


def data(connection: Any, raw: bytes) -> events.DataReceived:
    return events.DataReceived(connection, raw)
