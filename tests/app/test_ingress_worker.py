"""The process that serves clients, run in the tests' own: what it tells its supervisor, what it is told, and how it ends."""

import asyncio
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.app import ingress_worker as module
from harness.app.ingress_worker import IngressWorker
from harness.app.listening import listening_sockets
from harness.bus.frames import Frame
from harness.bus.link import Link
from harness.bus.messages import (
    ENCODER,
    Comparers,
    Connected,
    Failed,
    Hello,
    IngressOrders,
    Message,
    Mirror,
    Recorded,
    Reload,
    Serving,
    Stop,
    Stopped,
    decode_message,
    decode_recorded,
)
from harness.bus.slots import Slots
from harness.core.errors import SetupError
from harness.core.labels import Role, ShedReason, SkipReason
from harness.settings.schema import ProxySettings, Settings
from tests.app.support import settings
from tests.bus.support import Comparer
from tests.proxy.rig import Behaviour, Upstream, answers, get, hang, ok, read_answers, run, slowly, talk, until

OK = answers(ok(b'{"price":10}', b"Content-Type: application/json"))


class Supervisor:
    """Its end of the link: what it was told."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.over = False
        self.messages: list[Message] = []
        self.recorded: list[Recorded] = []

    def make(self) -> Link:
        self.link = Link(self._received, self._lost)
        return self.link

    def _received(self, _link: Link, kind: Frame, payload: bytes) -> None:
        if kind is Frame.RECORD:
            self.recorded.append(decode_recorded(payload))
        else:
            self.messages.append(decode_message(payload))

    def _lost(self, _link: Link) -> None:
        self.over = True

    def send(self, *messages: Message) -> None:
        assert self.link is not None
        for message in messages:
            self.link.send(message)

    def told(self, kind: type[Message]) -> Any:
        """The first message of this kind, if it has come."""
        return next((message for message in self.messages if isinstance(message, kind)), None)


class Rig:
    """A worker that has greeted, its supervisor, its targets."""

    def __init__(self, folder: Path, supervisor: Supervisor, worker: IngressWorker, slots: Slots, settings: Settings) -> None:
        self.folder = folder
        self.supervisor = supervisor
        self.worker = worker
        self.slots = slots
        self.settings = settings
        self.running: asyncio.Task[int]

    def orders(self, *, record: bool = False) -> IngressOrders:
        return IngressOrders(ENCODER.encode(self.settings), b"k" * 32, 1, record)

    async def serving(self) -> int:
        """The port, once it serves."""
        await until(lambda: self.supervisor.told(Serving) is not None)
        return int(self.supervisor.told(Serving).address.rpartition(":")[2])

    async def asked(self, port: int, count: int = 1) -> None:
        raw = await talk(port, *(get(f"/items/{number}") for number in range(count)))
        assert [answer.body for answer in read_answers(raw, *["GET"] * count)] == [b'{"price":10}'] * count


@asynccontextmanager
async def rig(candidate: Behaviour | None = OK, stable: Behaviour = OK, **proxy: Any) -> AsyncIterator[Rig]:
    with tempfile.TemporaryDirectory(prefix="sd") as name:
        folder, supervisor = Path(name), Supervisor()
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(supervisor.make, str(folder / "run.sock"))
        async with Upstream(stable) as one, Upstream(OK) as two, Upstream(candidate) as three:
            urls = dict(zip(Role, (f"http://127.0.0.1:{upstream.port}" for upstream in (one, two, three)), strict=True))
            chosen = settings(folder, urls, proxy=ProxySettings(listen="127.0.0.1:0", **proxy)).settings
            slots = Slots.create(folder / "counts-0")
            (listening,) = listening_sockets("127.0.0.1", 0, 1)
            worker = IngressWorker(slots, 4, listening)
            made = Rig(folder, supervisor, worker, slots, chosen)
            made.running = asyncio.create_task(worker.run(str(folder / "run.sock")))
            try:
                await until(lambda: bool(supervisor.messages))
                assert supervisor.messages == [Hello(4, ingress=True)]
                yield made
            finally:
                worker.stop(0.0)
                await made.running
                listening.close()
                server.close()
                if supervisor.link is not None:
                    supervisor.link.close()
                await until(lambda: supervisor.over)


def test_it_serves_mirrors_hands_on_records_and_ends_when_told() -> None:
    async def main() -> None:
        async with rig() as r, Comparer(r.folder, 3) as comparer:
            r.supervisor.send(Comparers((comparer.socket,)), r.orders(record=True))
            port = await r.serving()
            assert r.supervisor.messages[1:] == [Connected(3), Serving(f"127.0.0.1:{port}")]
            await r.asked(port, 5)
            await until(lambda: comparer.seqs == list(range(5)))
            await until(lambda: len(r.supervisor.recorded) == 5)
            assert {recorded.request.target for recorded in r.supervisor.recorded} == {f"/items/{number}" for number in range(5)}
            await until(lambda: r.slots.uncompared == 5)
            assert (r.slots.tally.totals().requests, r.slots.tally.trials_handed_on, r.slots.tally.in_hand) == (5, 5, 0)
            r.supervisor.send(Stop(10.0))
            await until(lambda: r.running.done() or r.slots.tally.trials_handed_on == 5)
            comparer.done(5)
            assert await r.running == 0
            assert r.supervisor.messages[-1] == Stopped()
            assert (r.slots.shadows, r.slots.uncompared) == (0, 0)
            assert not r.worker.orphaned

    run(main())


def test_what_it_is_told_before_it_serves_is_not_forgotten() -> None:
    async def main() -> None:
        async with rig() as r, Comparer(r.folder, 0) as comparer:
            r.supervisor.send(Comparers((comparer.socket,)), Mirror(0.0), r.orders())
            port = await r.serving()
            await r.asked(port, 3)
            await until(lambda: r.slots.tally.totals().skipped == {SkipReason.SWITCHED_OFF: 3})
            r.supervisor.send(Mirror(100.0))
            await until(lambda: r.worker._percent == 100.0)
            await r.asked(port, 2)
            await until(lambda: len(comparer.seqs) == 2)
            comparer.done(2)

    run(main())


@pytest.mark.parametrize("when", ["before", "after"])
def test_new_settings_are_taken_over_before_and_after_it_serves(when: str) -> None:
    async def main() -> None:
        async with rig() as r, Comparer(r.folder, 0) as comparer:
            orders = r.orders()
            changed = ProxySettings(listen="127.0.0.1:0", exclude=("/items/{int}",))
            new = Settings(targets=r.settings.targets, store=r.settings.store, proxy=changed)
            reload = Reload(ENCODER.encode(new))
            r.supervisor.send(Comparers((comparer.socket,)), orders)
            if when == "before":
                r.supervisor.send(reload)
            port = await r.serving()
            if when == "after":
                r.supervisor.send(reload)
                r.supervisor.send(Mirror(99.5))
                await until(lambda: r.worker._percent == 99.5)
            await r.asked(port, 3)
            await until(lambda: r.slots.tally.totals().skipped == {SkipReason.EXCLUDED: 3})

    run(main())


def test_settings_that_cannot_be_used_any_more_leave_everything_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with rig() as r:
            r.supervisor.send(r.orders())
            port = await r.serving()
            broken = ProxySettings(listen="127.0.0.1:0", tls_cert="/there/is/none.pem", exclude=("no path",))
            r.supervisor.send(Reload(ENCODER.encode(Settings(targets=r.settings.targets, store=r.settings.store, proxy=broken))))
            await until(lambda: "reload refused" in caplog.text)
            await r.asked(port)

    run(main())


def test_what_cannot_be_served_is_told() -> None:
    async def main() -> None:
        async with rig(tls_cert="/there/is/none.pem") as r:
            r.supervisor.send(r.orders())
            assert await r.running == SetupError.exit_code
            failed = r.supervisor.told(Failed)
            assert "none.pem" in failed.what + failed.where
            assert failed.exit_code == SetupError.exit_code

    run(main())


def test_it_ends_at_once_where_it_is_told_to_before_its_orders() -> None:
    async def main() -> None:
        async with rig() as r:
            r.supervisor.send(Stop(1.0))
            assert await r.running == 0
            assert r.supervisor.told(Serving) is None

    run(main())


def test_an_orphan_answers_what_it_accepted_and_ends() -> None:
    async def main() -> None:
        async with rig(stable=slowly(ok(b'{"price":10}'), 0.05)) as r:
            r.supervisor.send(r.orders())
            port = await r.serving()
            asking = asyncio.create_task(r.asked(port))
            await until(lambda: r.slots.tally.totals().requests == 1)
            assert r.supervisor.link is not None
            r.supervisor.link.close()
            await asking
            assert await r.running == 0
            assert r.worker.orphaned
            assert (r.slots.tally.totals().requests, r.slots.tally.in_hand) == (1, 0)

    run(main())


@pytest.mark.parametrize("grace_s", [0.05, 0.0])
def test_shadows_that_hang_are_given_up_at_the_end_of_the_grace(grace_s: float) -> None:
    async def main() -> None:
        async with rig(candidate=hang) as r, Comparer(r.folder, 0) as comparer:
            r.supervisor.send(Comparers((comparer.socket,)), r.orders())
            port = await r.serving()
            await r.asked(port, 2)
            await until(lambda: r.slots.shadows == 2)
            r.supervisor.send(Stop(grace_s))
            assert await r.running == 0
            assert r.slots.tally.totals().shed == {ShedReason.SHUTDOWN: 2}
            assert r.slots.tally.in_hand == 0

    run(main())


def test_what_the_supervisor_does_not_read_is_not_recorded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECORD_UNSENT_BYTES_MAX", -1)

    async def main() -> None:
        async with rig() as r:
            r.supervisor.send(r.orders(record=True))
            await r.asked(await r.serving(), 3)
            await until(lambda: r.slots.tally.exchanges_unrecorded == 3)
            assert r.supervisor.recorded == []

    run(main())


def test_the_process_ends_quietly_where_its_supervisor_was_gone_before(tmp_path: Path) -> None:
    Slots.create(tmp_path / "counts")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        fd = listening.fileno()
        command = [sys.executable, "-P", "-m", "harness.app.ingress_worker", str(tmp_path / "none"), str(tmp_path / "counts"), "0", str(fd)]
        done = subprocess.run(command, pass_fds=(fd,), capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
