"""A proxy by itself in one process: `python -m tests.bench.live.dataplane KIND PORT STABLE [CANDIDATE]`, with ports of 127.0.0.1.

KIND `harness` is the project's data plane with dispatch, whose trials are counted and dropped. KIND `bare` is the least that
could be called a mirror on the same libraries: llhttp asked for nothing but the end of an answer, one connection to each target for each
client, the same bytes passed on, no captures, no bounds, no outcomes, no HTTP. Without a candidate nothing is mirrored.
"""

import asyncio
import random
import signal
import sys
import time
from collections.abc import Sequence
from typing import cast

import httptools
import uvloop

from harness.core.endpoint import EndpointMapper, EndpointRules, entity_of
from harness.core.outcomes import Tally
from harness.core.plain import AnyTrial
from harness.core.values import Trial
from harness.proxy.address import parse_address
from harness.proxy.dispatch import Naming, Sink
from harness.proxy.server import ProxyOptions, ProxyServer

HOST = "127.0.0.1"


class _Clock:
    monotonic_ns = staticmethod(time.monotonic_ns)
    time = staticmethod(time.time)


class _Ids:
    def __init__(self) -> None:
        self._count = 0

    def next_id(self) -> str:
        self._count += 1
        return f"t{self._count}"


async def serve_harness(port: int, stable: int, candidate: int | None) -> None:
    """Until SIGTERM."""
    tally = Tally()

    def put(trial: AnyTrial) -> None:
        failed = [arm.role for arm in trial.arms() if arm.exchange.error is not None] if isinstance(trial, Trial) else []
        tally.compared_as(diverged=False, failed=failed)

    server = ProxyServer(
        ProxyOptions(
            stable=parse_address(f"http://{HOST}:{stable}"),
            candidate=None if candidate is None else parse_address(f"http://{HOST}:{candidate}"),
            listen_port=port,
        ),
        clock=_Clock(),
        rng=random.Random(1),
        tally=tally,
        naming=Naming(endpoint_of=EndpointMapper(EndpointRules()).endpoint, entity_of=entity_of, ids=_Ids(), session_key=b"k" * 32),
        sink=Sink(put=put, has_room=lambda _endpoint, _body_bytes: True),
    )
    await server.start()
    await _terminated()
    await server.stop(1.0)


class _Target(asyncio.Protocol):
    """A connection to a target, for one client for ever."""

    def __init__(self, client: "_Client", *, answers: bool) -> None:
        self.client = client
        self.answers = answers
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.answers:
            self.client.transport.write(data)
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self.answers:
            self.client.answered()


class _Client(asyncio.Protocol):
    """A client of the bare relay."""

    def __init__(self, stable: int, candidate: int | None) -> None:
        self.ports = (stable, candidate)
        self.parser = httptools.HttpRequestParser(self)
        self.early: list[bytes] = []
        self.last = b""
        self.stable: _Target | None = None
        self.candidate: _Target | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.opening = asyncio.get_running_loop().create_task(self._open(*self.ports))

    async def _open(self, stable: int, candidate: int | None) -> None:
        loop = asyncio.get_running_loop()
        if candidate is not None:
            _, self.candidate = await loop.create_connection(lambda: _Target(self, answers=False), HOST, candidate)
        _, self.stable = await loop.create_connection(lambda: _Target(self, answers=True), HOST, stable)
        for data in self.early:
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        if self.stable is None:
            self.early.append(data)
            return
        self.parser.feed_data(data)
        self.last = data
        self.stable.transport.write(data)

    def answered(self) -> None:
        if self.candidate is not None:
            self.candidate.transport.write(self.last)

    def connection_lost(self, exc: Exception | None) -> None:
        self.opening.cancel()
        for target in (self.stable, self.candidate):
            if target is not None:
                target.transport.abort()


async def serve_bare(port: int, stable: int, candidate: int | None) -> None:
    """Until SIGTERM."""
    server = await asyncio.get_running_loop().create_server(lambda: _Client(stable, candidate), HOST, port)
    await _terminated()
    server.close()


async def _terminated() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


def main(arguments: Sequence[str]) -> None:
    """Serve as the arguments say."""
    kind, *given = arguments
    port, stable, candidate = [*map(int, given), None][:3]
    assert port is not None
    assert stable is not None
    serve = serve_harness if kind == "harness" else serve_bare
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(port, stable, candidate))


if __name__ == "__main__":
    main(sys.argv[1:])
