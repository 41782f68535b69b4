"""The fleet with real worker processes: started, killed, stopped, hung and ended; every request has one outcome and nothing is left."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.app import fleet as module
from harness.app import launching, outage, watching
from harness.app.fleet import Fleet, FleetOrders
from harness.app.listening import listening_sockets
from harness.app.results import Results
from harness.bus.frames import Frame, framed
from harness.bus.messages import ENCODER, CompareOrders, Hello, IngressOrders, Recorded, StreamOver
from harness.core.errors import SetupError, ShadowdiffError
from harness.core.labels import Role
from harness.core.outcomes import Tally
from harness.counters import TargetBreakers
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.fold import Fold
from harness.settings.schema import ProxySettings, Settings
from tests.app.support import evidence_threads, settings
from tests.proxy.rig import Behaviour, Seen, Upstream, answers, get, hang, ok, read_answers, reset, talk

OK = answers(ok(b'{"price":10}', b"Content-Type: application/json"))
WAIT_S = 60.0
HANGS_S = 300.0
"""How long a shadow that hangs stays under way: longer than any test here."""


@pytest.fixture(autouse=True, name="work")
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every test here runs in a folder with something precious in it, which must be there in the end."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "precious").write_text("kept", encoding="utf-8")
    monkeypatch.chdir(work)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])))
    with tempfile.TemporaryDirectory(prefix="sd") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        yield work
        assert list(Path(short).iterdir()) == [], "the run's folder is taken away"
    assert (work / "precious").read_text(encoding="utf-8") == "kept"


class Rig:
    """A fleet and all that it is wired to."""

    def __init__(self, orders: FleetOrders) -> None:
        self.tally = Tally()
        self.results = Results(Fold(Ledger(Policy(), endpoints=("GET /items/{int}",), live=True)), self.tally)
        self.notices: list[str] = []
        self.recorded: list[Recorded] = []
        self.fleet = Fleet(orders, self.results, self.tally, on_record=self.recorded.append, notice=self.notices.append)
        self.port = 0

    async def start(self, workers: int = 1) -> None:
        address = await self.fleet.start(listening_sockets("127.0.0.1", 0, workers))
        self.port = int(address.rpartition(":")[2])

    async def ask(self, count: int = 1) -> None:
        raw = await talk(self.port, *(get(f"/items/{number}") for number in range(count)))
        assert [answer.body for answer in read_answers(raw, *["GET"] * count)] == [b'{"price":10}'] * count

    def pid(self, name: str) -> int:
        return self.fleet.pids[name]

    async def replaced(self, name: str, gone: int) -> None:
        await until(lambda: self.fleet.pids.get(name, gone) != gone)

    async def end(self, grace_s: float = 10.0, stall_s: float = 30.0) -> None:
        await self.fleet.stop(grace_s, stall_s)
        assert self.fleet.pids == {}

    def settle(self) -> dict[str, int]:
        """What was shed; every request has one outcome."""
        totals = self.tally.totals()
        assert self.tally.under_way == 0, totals
        return totals.shed


async def until(condition: Any) -> None:
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "the condition did not come true"
        await asyncio.sleep(0.01)


def stopped(pid: int) -> bool:
    """Whether a process of ours stands still after SIGSTOP: the signal alone does not say that it has come."""
    return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None


@asynccontextmanager
async def rig(
    candidate: Behaviour | None = OK, *, stable: Behaviour = OK, compare_workers: int = 1, record: bool = False, **proxy: Any
) -> AsyncIterator[Rig]:
    """A fleet between three targets, not started; its results are stopped in the end, and its processes too."""
    async with asyncio.timeout(110), Upstream(stable) as one, Upstream(OK) as two, Upstream(candidate) as three:
        urls = dict(zip(Role, (f"http://127.0.0.1:{upstream.port}" for upstream in (one, two, three)), strict=True))
        chosen = settings(Path("run"), urls, proxy=ProxySettings(listen="127.0.0.1:0", shadow_timeout_s=HANGS_S, **proxy)).settings
        orders = FleetOrders(
            ingress=IngressOrders(ENCODER.encode(chosen), b"k" * 32, 1, record),
            compare=CompareOrders(ENCODER.encode(()), b"secret", False),
            compare_workers=compare_workers,
        )
        made = Rig(orders)
        made.results.start()
        try:
            yield made
        finally:
            await made.fleet.stop(0.0, 1.0)
            with suppress(ShadowdiffError):
                await made.results.stop(10.0)
    assert evidence_threads() == []


def test_it_serves_compares_records_counts_and_leaves_nothing() -> None:
    async def main() -> None:
        async with rig(compare_workers=2, record=True, workers=2) as r:
            await r.start(workers=2)
            assert sorted(r.fleet.pids) == ["compare 0", "compare 1", "ingress 0", "ingress 1"]
            for _ in range(8):
                await r.ask(5)
            await until(lambda: r.tally.totals().compared == 40)
            await until(lambda: r.fleet.counters().requests.get(("GET /items/{int}", "candidate", "2xx")) == 40)
            await until(lambda: len(r.recorded) == 40)
            pids = list(r.fleet.pids.values())
            await r.end()
            for pid in pids:
                with pytest.raises(ProcessLookupError):
                    os.kill(pid, 0)
            assert (r.fleet.shadows, r.fleet.uncompared) == (0, 0)
            assert r.fleet.counters().requests["GET /items/{int}", "candidate", "2xx"] == 40, "what dead workers counted stays"
            assert r.notices == []
            assert r.settle() == {}

    asyncio.run(main())


def test_a_fleet_that_never_started_ends_and_touches_nothing(work: Path) -> None:
    """As it is stopped where the address cannot be listened on."""

    async def main() -> None:
        async with rig() as r:
            await r.fleet.stop(1.0)
            await r.fleet.stop(1.0)

    asyncio.run(main())
    assert [path.name for path in work.iterdir()] == ["precious"]


BAD_STARTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a program that ends": ("#!/bin/sh\nexit 7\n", {}, r"ended at once \(7\)"),
    "a program that hangs": ("#!/bin/sh\nexec sleep 100\n", {}, "did not start within"),
    "settings that cannot be served": ("", {"tls_cert": "/there/is/none.pem"}, "no such certificate file"),
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_a_start_that_fails_says_why_and_leaves_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, options, said = BAD_STARTS[name]
    if script:
        program = tmp_path / "python"
        program.write_text(script, encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
    if name == "a program that hangs":
        monkeypatch.setattr(module, "START_SECONDS_MAX", 0.5)

    async def main() -> None:
        async with rig(**options) as r:
            listening = listening_sockets("127.0.0.1", 0, 1)
            with pytest.raises(SetupError, match=said):
                await r.fleet.start(listening)
            assert r.fleet.pids == {}
            assert listening[0].fileno() == -1
            loop = asyncio.get_running_loop()
            before = loop.time()
            await r.fleet.stop(1000.0)
            assert loop.time() - before < WAIT_S, "there is nothing to wait for"

    asyncio.run(main())


def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    async def main() -> None:
        for started in range(4):
            async with rig(compare_workers=2) as r:
                starting = asyncio.create_task(r.start())
                await until(lambda: len(r.fleet.pids) >= started)  # noqa: B023 - awaited within the turn
                pids = list(r.fleet.pids.values())
                starting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await starting
                assert r.fleet.pids == {}
                for pid in pids:
                    with pytest.raises(ProcessLookupError):
                        os.kill(pid, 0)

    asyncio.run(main())


def test_a_killed_compare_worker_is_replaced_and_what_it_had_is_counted() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.start()
            await r.ask(3)
            await until(lambda: r.tally.totals().compared == 3)
            victim = r.pid("compare 0")
            os.kill(victim, signal.SIGSTOP)
            await r.ask(10)
            await until(lambda: r.fleet._places[0].slots.tally.trials_handed_on == 13)
            os.kill(victim, signal.SIGKILL)
            await r.replaced("compare 0", victim)
            await until(lambda: r.tally.totals().shed.get("worker_lost") == 10)
            while r.tally.totals().compared < 6:
                await r.ask(1)
                await asyncio.sleep(0.05)
            await r.end()
            assert "a process that compares ended (-9)" in r.notices[0]
            assert r.settle()["worker_lost"] == 10

    asyncio.run(main())


def test_a_killed_ingress_worker_is_replaced_and_its_successor_is_told_everything() -> None:
    async def main() -> None:
        async with rig(candidate=hang) as r:
            await r.start()
            await r.ask(4)
            await until(lambda: r.fleet.shadows == 4)
            r.fleet.set_mirroring(0.0)
            assert r.fleet.mirroring() == 0.0
            victim = r.pid("ingress 0")
            os.kill(victim, signal.SIGKILL)
            asking = asyncio.create_task(r.ask(3))
            await r.replaced("ingress 0", victim)
            await asking
            assert r.tally.totals().shed == {"worker_lost": 4}
            await until(lambda: r.tally.totals().skipped == {"switched_off": 3})
            victim = r.pid("ingress 0")
            os.kill(victim, signal.SIGKILL)
            await r.replaced("ingress 0", victim)
            await r.end()
            assert r.settle() == {"worker_lost": 4}, "what was lost is counted once"

    asyncio.run(main())


def test_both_are_killed_at_once() -> None:
    async def main() -> None:
        async with rig(compare_workers=2, workers=2) as r:
            await r.start(workers=2)
            for _ in range(3):
                await r.ask(20)
                pids = dict(r.fleet.pids)
                for pid in pids.values():
                    os.kill(pid, signal.SIGKILL)
                for name, pid in pids.items():
                    await r.replaced(name, pid)
            await r.ask(5)
            await r.end()
            totals = r.tally.totals()
            assert totals.requests == 65
            r.settle()

    asyncio.run(main())


def test_new_settings_are_told_to_those_that_come_later_too() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.start()
            changed = ProxySettings(listen="127.0.0.1:0", exclude=("/items/{int}",))
            present = msgspec.msgpack.decode(r.fleet._orders.ingress.settings, type=Settings)
            r.fleet.reload(ENCODER.encode(msgspec.structs.replace(present, proxy=changed)))
            victim = r.pid("ingress 0")
            os.kill(victim, signal.SIGKILL)
            await r.replaced("ingress 0", victim)
            await r.ask(2)
            await until(lambda: r.tally.totals().skipped == {"excluded": 2})
            await r.end()
            r.settle()

    asyncio.run(main())


def test_a_compare_worker_that_is_silent_is_replaced_and_one_that_is_idle_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "COMPARE_STALL_SECONDS_MAX", 12.0)  # an idle one gives a sign of life every five
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.5)

    async def main() -> None:
        async with rig(compare_workers=2) as r:
            await r.start()
            victim, idle = r.pid("compare 0"), r.pid("compare 1")
            os.kill(victim, signal.SIGSTOP)
            await r.replaced("compare 0", victim)
            assert r.pid("compare 1") == idle
            assert "comparison hangs in one of its processes" in r.notices[0]
            await r.end()

    asyncio.run(main())


BLOCKS_WHEN_TOLD = """
import pathlib, signal, sys, time
def block(*_):
    pathlib.Path(__file__).with_name("blocked").touch()
    time.sleep(1000)
if "harness.app.ingress_worker" in sys.orig_argv:
    signal.signal(signal.SIGUSR2, block)
"""


@pytest.mark.parametrize("how", ["stopped", "blocked"])
def test_an_ingress_worker_that_hangs_is_replaced_and_one_that_is_idle_is_not(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had in hand is lost and counted; who has connected meanwhile is served by its successor."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BLOCKS_WHEN_TOLD, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ["PYTHONPATH"]]))
    monkeypatch.setattr(watching, "INGRESS_STALL_SECONDS_MAX", 8.0)
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.2)

    async def main() -> None:
        async with rig(candidate=hang, workers=2) as r:
            await r.start(workers=2)
            while not all(place.slots.shadows for place in r.fleet._places):
                await r.ask(1)
            victim, idle = r.pid("ingress 0"), r.pid("ingress 1")
            os.kill(victim, signal.SIGSTOP if how == "stopped" else signal.SIGUSR2)
            # What it accepts until then is lost with it.
            await until(lambda: stopped(victim) if how == "stopped" else (site / "blocked").exists())
            in_hand = r.fleet._places[0].slots.tally.in_hand
            assert in_hand
            last = get("/items/1", "Connection: close")  # some of them come to the one that hangs
            asking = [asyncio.create_task(talk(r.port, last, half_close=False)) for _ in range(8)]
            await r.replaced("ingress 0", victim)
            for raw in await asyncio.gather(*asking):
                assert [answer.body for answer in read_answers(raw, "GET")] == [b'{"price":10}']
            assert r.pid("ingress 1") == idle
            assert r.notices[0] == "one of the processes that serve clients hangs; it is ended"
            assert "a process that serves clients ended (-9)" in r.notices[1]
            shed = dict(r.tally.totals().shed)
            shed.pop("in_flight", None)  # a slow machine asks more until both have some
            assert shed == {"worker_lost": in_hand}
            await r.end(grace_s=0.2)

    asyncio.run(main())


def test_it_is_said_when_stable_cannot_be_reached_and_when_it_can_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(outage, "STABLE_BACK_SECONDS", 0.3)
    out = [False]

    def looked(r: Rig, answered: int) -> bool:
        """Whether nothing is under way, and all answers so far were looked at."""
        return r.tally.totals().compared == answered == r.fleet._outage._answered and r.fleet.shadows == 0

    async def now_and_then(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await (reset if out[0] else OK)(upstream, reader, writer, seen)

    async def main() -> None:
        async with rig(stable=now_and_then) as r:
            await r.start()
            await r.ask(3)
            await until(lambda: looked(r, 3))
            out[0] = True
            refused = 0
            while not r.notices:
                raw = await talk(r.port, get("/items/1"))
                assert raw.startswith(b"HTTP/1.1 502 ")
                refused += 1
            out[0] = False
            answered = 3
            while len(r.notices) < 2:
                await r.ask(1)
                answered += 1
                await asyncio.sleep(0.01)
            await until(lambda: looked(r, answered))
            assert r.notices[0] == "stable breaks off its answers; clients get the proxy's own answer instead (502)"
            assert r.notices[1].endswith(f" {refused} requests were answered by the proxy meanwhile, {refused} with 502")
            out[0] = True
            for _ in range(5):
                await talk(r.port, get("/items/1"))
            await r.end()
            assert len(r.notices) == 4, "the last requests are looked at, too"
            assert r.notices[3] == "stable was out until the end; 5 requests were answered by the proxy meanwhile, 5 with 502"
            assert r.settle() == {}

    asyncio.run(main())


def test_a_stranger_at_a_compare_worker_is_turned_away() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.start()
            pids = r.fleet.pids
            for data in (b"\xff" * 50, framed(Frame.MESSAGE, ENCODER.encode(StreamOver(0))), b"GET / HTTP/1.1\r\n\r\n"):
                reader, writer = await asyncio.open_unix_connection(r.fleet._folder.compare_socket(0))
                writer.write(data)
                with suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
            await r.ask(3)
            await until(lambda: r.tally.totals().compared == 3)
            assert r.fleet.pids == pids
            await r.end()
            r.results.check()
            assert r.notices == []

    asyncio.run(main())


def test_a_compare_worker_that_an_ingress_worker_told_nonsense_is_replaced_and_nobody_is_left_without() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.start()
            await r.ask(3)
            await until(lambda: r.tally.totals().compared == 3)
            victim = r.pid("compare 0")
            reader, writer = await asyncio.open_unix_connection(r.fleet._folder.compare_socket(0))
            writer.write(framed(Frame.MESSAGE, ENCODER.encode(Hello(7, ingress=True))) + b"\xff" * 50)
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            await r.replaced("compare 0", victim)
            while r.tally.totals().compared < 6:
                await r.ask(1)
                await asyncio.sleep(0.05)
            await r.end()
            r.results.check()
            assert "a process that compares ended" in r.notices[0]
            assert not set(r.settle()) - {"queue_full", "worker_lost"}, "while there was none"

    asyncio.run(main())


def test_comparison_that_hangs_does_not_keep_the_run_from_ending() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.start()
            os.kill(r.pid("compare 0"), signal.SIGSTOP)
            await r.ask(5)
            await until(lambda: r.fleet.uncompared == 5)
            await r.end(grace_s=0.2, stall_s=0.2)
            with pytest.raises(ShadowdiffError, match="comparison hangs"):
                r.results.check()

    asyncio.run(main())


def test_an_ingress_worker_that_hangs_does_not_keep_the_run_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "END_SECONDS_MAX", 0.5)

    async def main() -> None:
        async with rig(candidate=hang) as r:
            await r.start()
            await r.ask(3)
            await until(lambda: r.fleet.shadows == 3)
            os.kill(r.pid("ingress 0"), signal.SIGSTOP)
            await r.end(grace_s=0.2)
            assert r.settle() == {"worker_lost": 3}

    asyncio.run(main())


def test_a_comparator_that_fails_ends_comparison_and_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "site" / "raiser-1.0.dist-info"
    packed.mkdir(parents=True)
    (tmp_path / "site" / "raiser.py").write_text("import sys\nsys.exit(0)\n", encoding="utf-8")
    (packed / "METADATA").write_text("Metadata-Version: 2.1\nName: raiser\nVersion: 1.0\n", encoding="utf-8")
    (packed / "entry_points.txt").write_text("[shadowdiff.comparators]\nraiser = raiser:RAISER\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ["PYTHONPATH"]]))

    async def main() -> None:
        async with rig() as r:
            await r.start()
            await until(lambda: "compare 0" not in r.fleet.pids)
            await r.ask(3)
            with pytest.raises(ShadowdiffError):
                r.results.check()
            await r.end()

    asyncio.run(main())


GARBAGE = {
    "no frame": b"\xff" * 50,
    "no message": framed(Frame.MESSAGE, b"\xc1"),
    "a stranger": framed(Frame.MESSAGE, ENCODER.encode(Hello(99, ingress=True))),
    "one that does not greet": framed(Frame.MESSAGE, ENCODER.encode(StreamOver(0))),
    "one that is there already": framed(Frame.MESSAGE, ENCODER.encode(Hello(0, ingress=False))),
    "one that stays silent": b"",
}


def test_whoever_else_connects_is_turned_away() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.start()
            open_still = []
            for data in GARBAGE.values():
                reader, writer = await asyncio.open_unix_connection(r.fleet._folder.run_socket)
                writer.write(data)
                if data:
                    assert await reader.read() == b""
                    writer.close()
                else:
                    open_still.append((reader, writer))
            await r.ask(3)
            await until(lambda: r.tally.totals().compared == 3)
            await r.end()
            for reader, writer in open_still:
                assert await reader.read() == b"", "no connection is left"
                writer.close()
            assert r.settle() == {}

    asyncio.run(main())


def test_a_machine_without_room_for_a_process_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_SECONDS", (0.0, 0.05))
    monkeypatch.setattr(launching, "RESTART_SECONDS", (0.0, 0.05))
    real, tries = asyncio.create_subprocess_exec, list[int]()

    async def full(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        tries.append(1)
        if len(tries) in (3, 4):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return await real(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", full)

    async def main() -> None:
        async with rig() as r:
            await r.start()
            victim = r.pid("ingress 0")
            os.kill(victim, signal.SIGKILL)
            await r.replaced("ingress 0", victim)
            await r.ask(2)
            await until(lambda: r.tally.totals().compared == 2)
            assert sum("could not be started" in notice for notice in r.notices) == 2
            await r.end()
            assert r.settle() == {}

    asyncio.run(main())


def test_it_ends_while_a_worker_is_being_replaced_and_comes_up() -> None:
    async def main() -> None:
        for pause_s in (0.0, 0.05, 0.3):
            async with rig(workers=2) as r:
                await r.start(workers=2)
                await r.ask(3)
                victims = [r.pid("ingress 0"), r.pid("compare 0")]
                for pid in victims:
                    os.kill(pid, signal.SIGKILL)
                await until(lambda: not set(victims) & set(r.fleet.pids.values()))  # noqa: B023 - awaited within the turn
                await asyncio.sleep(pause_s)
                await r.end()
                assert r.tally.totals().requests == 3
                r.settle()

    asyncio.run(main())


def test_a_stop_that_is_cancelled_leaves_nothing() -> None:
    async def main() -> None:
        async with rig(candidate=hang) as r:
            await r.start()
            await r.ask(3)
            await until(lambda: r.fleet.shadows == 3)
            pids = list(r.fleet.pids.values())
            stopping = asyncio.create_task(r.fleet.stop(10.0))
            await asyncio.sleep(0.05)
            stopping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopping
            assert r.fleet.pids == {}
            for pid in pids:
                with pytest.raises(ProcessLookupError):
                    os.kill(pid, 0)
            assert r.settle() == {"worker_lost": 3}

    asyncio.run(main())


def test_a_worker_that_breaks_its_link_is_replaced() -> None:
    """As after garbage: whatever it still does, nothing of it is heard any more."""

    async def main() -> None:
        async with rig() as r:
            await r.start()
            for kind in ("compare 0", "ingress 0"):
                victim = r.pid(kind)
                worker = next(worker for worker in r.fleet._members if worker.process.pid == victim)
                assert worker.link is not None
                worker.link._splitter.feed = lambda data: iter([(Frame.MESSAGE, b"\xc1")])  # type: ignore[method-assign]  # as if broken bytes came
                if worker.ingress:
                    worker.process.send_signal(signal.SIGTERM)
                await r.replaced(kind, victim)
            await r.ask(2)
            await r.end()
            assert not set(r.settle()) - {"worker_lost", "queue_full"}

    asyncio.run(main())


def test_sockets_that_are_handed_over_are_closed_in_the_end() -> None:
    async def main() -> None:
        async with rig() as r:
            (listening,) = listening_sockets("127.0.0.1", 0, 1)
            address = listening.getsockname()
            await r.fleet.start([listening])
            await r.end()
            with pytest.raises(ConnectionRefusedError), socket.create_connection(address, timeout=5):
                pass

    asyncio.run(main())


def test_how_breakers_stand_and_how_often_they_opened_outlives_a_worker() -> None:
    async def main() -> None:
        async with rig(candidate=reset, breaker_open_s=1000.0) as r:
            await r.start()
            await until(lambda: r.fleet.breakers()["candidate"].closed == 1)
            while r.fleet.breakers()["candidate"].open == 0:
                await r.ask(10)
            assert r.fleet.breakers() == {"secondary": TargetBreakers(closed=1), "candidate": TargetBreakers(open=1, opened=1)}
            r.fleet.reload(r.fleet._orders.ingress.settings)
            await until(lambda: r.fleet.breakers()["candidate"] == TargetBreakers(closed=1, opened=1))
            victim = r.pid("ingress 0")
            os.kill(victim, signal.SIGKILL)
            await r.replaced("ingress 0", victim)
            await until(lambda: r.fleet.breakers()["candidate"] == TargetBreakers(closed=1, opened=1))
            while r.fleet.breakers()["candidate"].open == 0:
                await r.ask(10)
            assert r.fleet.breakers()["candidate"] == TargetBreakers(open=1, opened=2)
            await r.end()

    asyncio.run(main())
