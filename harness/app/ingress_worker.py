"""The process that serves clients: `python -P -m harness.app.ingress_worker RUN_SOCKET SLOTS_FILE STREAM LISTENING_FD`.

It relays to stable, mirrors to the others and hands trials to the compare workers. Its listening socket belongs to the
supervisor, so that clients who connect while a worker is replaced wait instead of being refused; its counts lie in a
file that outlives it. When the supervisor is gone it answers what it has accepted, and ends.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from harness.app import breakers, parts
from harness.app.ingress import Surroundings, make_server, proxy_options
from harness.app.memory import collect_rarely
from harness.app.run_folder import remove_as_orphan
from harness.app.signals import FOR_THE_SUPERVISOR
from harness.bus.frames import Frame
from harness.bus.link import Link
from harness.bus.messages import (
    ENCODER,
    Comparers,
    Failed,
    Hello,
    IngressOrders,
    Mirror,
    Recorded,
    Reload,
    Serving,
    Stop,
    Stopped,
    decode_message,
)
from harness.bus.slots import Slots
from harness.bus.trials import TrialBus
from harness.core.errors import ShadowdiffError
from harness.core.limits import RECORD_UNSENT_BYTES_MAX
from harness.core.values import Exchange, Request
from harness.proxy.dispatch import Sink
from harness.proxy.server import ProxyServer
from harness.settings.schema import Settings

_LOG: Final = logging.getLogger(__name__)
GAUGE_SECONDS: Final = 0.25
"""How often it says what is under way."""
ORPHAN_GRACE_SECONDS: Final = 10.0
"""For what is under way when the supervisor is gone."""
LAST_WORDS_SECONDS: Final = 2.0
"""How long the supervisor may take to read what it was told last."""


class IngressWorker:
    """One server, its bus, and its link to the supervisor."""

    def __init__(self, slots: Slots, stream: int, listening: socket.socket) -> None:
        self._slots = slots
        self._stream = stream
        self._listening = listening
        self._loop = asyncio.get_running_loop()
        self._orders: asyncio.Future[IngressOrders] = self._loop.create_future()
        self._stop: asyncio.Future[float] = self._loop.create_future()
        self._upward: Link | None = None
        self._server: ProxyServer | None = None
        """Once it serves; what it is told before is kept."""
        self._percent = 100.0
        self._early_reload: Reload | None = None
        self.orphaned = False
        """The supervisor was lost before it said stop."""
        self._bus = TrialBus(stream, slots.tally, self._tell)

    async def run(self, run_socket: str) -> int:
        """Serve until told to stop; the process's exit code. Told to the supervisor: what cannot be served, and why."""
        _, link = await self._loop.create_unix_connection(lambda: Link(self._received, self._orphaned), run_socket)
        self._upward = link
        link.send(Hello(self._stream, ingress=True))
        first: set[asyncio.Future[Any]] = {self._orders, self._stop}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not self._orders.done():
            return 0
        try:
            server = self._made(self._orders.result())
            server.mirror(self._percent)
            await self._bus.settled()
            await server.start(self._listening)
        except ShadowdiffError as error:
            link.send(Failed(error.what, error.where, error.fix, error.exit_code))
            link.close()
            await link.wait_over(LAST_WORDS_SECONDS)
            return error.exit_code
        self._server = server
        server.mirror(self._percent)
        if self._early_reload is not None:
            self._reload(self._early_reload)
        gauges = asyncio.create_task(self._show(server))
        link.send(Serving(server.address))
        grace_s = await self._stop
        await self._end(server, grace_s)
        gauges.cancel()
        link.send(Stopped())
        link.close()
        await link.wait_over(LAST_WORDS_SECONDS)
        return 0

    async def _end(self, server: ProxyServer, grace_s: float) -> None:
        deadline_s = self._loop.time() + grace_s
        await server.stop(grace_s)
        await self._bus.stop(max(1.0, deadline_s - self._loop.time()))
        self._slots.show(shadows=0, uncompared=0)

    def _made(self, orders: IngressOrders) -> ProxyServer:
        settings = msgspec.msgpack.decode(orders.settings, type=Settings)
        again = f"r{orders.resumes}" if orders.resumes else ""
        around = Surroundings(
            clock=parts.SystemClock(),
            rng=parts.rng_for(orders.seed, f"live{self._stream}{again}"),
            ids=parts.CountedIds(f"{again}w{self._stream}t" if self._stream or again else "t"),
            tally=self._slots.tally,
            sink=Sink(put=self._bus.put, has_room=self._bus.has_room, whole=orders.whole),
            session_key=orders.session_key,
            on_exchange=self._record if orders.record else None,
        )
        return make_server(settings, around)

    def _record(self, request: Request, exchange: Exchange) -> None:
        assert self._upward is not None
        if self._upward.unsent > RECORD_UNSENT_BYTES_MAX:
            self._slots.tally.unrecorded()
            return
        self._upward.send_frame(Frame.RECORD, ENCODER.encode(Recorded(request, exchange)))

    def _received(self, _link: Link, _kind: Frame, payload: bytes) -> None:
        message = decode_message(payload)
        if isinstance(message, IngressOrders):
            self._orders.set_result(message)
        elif isinstance(message, Comparers):
            self._bus.use(message.sockets)
        elif isinstance(message, Mirror):
            self._percent = message.percent
            if self._server is not None:
                self._server.mirror(message.percent)
        elif isinstance(message, Reload):
            self._reload(message)
        elif isinstance(message, Stop):
            self.stop(message.grace_s)

    def _reload(self, message: Reload) -> None:
        """The supervisor has checked it all; files that changed since then leave everything as it was."""
        if self._server is None:
            self._early_reload = message
        else:
            try:
                self._server.reload(proxy_options(msgspec.msgpack.decode(message.settings, type=Settings)))
            except ShadowdiffError as error:
                _LOG.warning("reload refused: %s", error)

    def stop(self, grace_s: float) -> None:
        """End in order."""
        if not self._stop.done():
            self._stop.set_result(grace_s)

    def _orphaned(self, _link: Link) -> None:
        self.orphaned = not self._stop.done()
        self.stop(ORPHAN_GRACE_SECONDS)

    def _tell(self, message: object) -> None:
        assert self._upward is not None
        self._upward.send(message)  # type: ignore[arg-type]  # whoever calls gives one of the messages

    async def _show(self, server: ProxyServer) -> None:
        """On the loop that does all the work: where it stands still, so do the beats, and the supervisor sees it."""
        while True:
            self._slots.beat()
            breakers.show(self._slots, server.breakers)
            self._slots.show(shadows=server.in_flight, uncompared=self._bus.waiting)
            await asyncio.sleep(GAUGE_SECONDS)


def main() -> int:
    """See the module."""
    import uvloop  # noqa: PLC0415 - only the process's own

    run_socket, slots_file, stream, descriptor = sys.argv[1:]

    supervisor = os.getppid()

    async def body() -> int:
        worker = IngressWorker(Slots(Path(slots_file)), int(stream), socket.socket(fileno=int(descriptor)))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop, ORPHAN_GRACE_SECONDS)
        collect_rarely()
        code = await worker.run(run_socket)
        if worker.orphaned:
            remove_as_orphan(run_socket, supervisor)
        return code

    for number in FOR_THE_SUPERVISOR:
        signal.signal(number, signal.SIG_IGN)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(body())
    except (FileNotFoundError, ConnectionRefusedError):
        return 0  # the supervisor was gone before this process came up


if __name__ == "__main__":
    sys.exit(main())
