"""Worker processes killed and stopped under load: the others carry on, clients notice as little as can be, everything is counted."""

import asyncio
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.limits import BUS_TRIALS_MAX, SHADOW_TRIALS_IN_FLIGHT_MAX
from tests.e2e.live import get
from tests.e2e.targets import ANSWERS, Served, request, served
from tests.e2e.workers import WAIT_S, alive, asking, counted, left_behind, replaced, send, until, workers
from tests.proxy.rig import Seen, Upstream, hang, ok, slowly

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")]

HANG_LONG = {"SHADOWDIFF_PROXY_SHADOW_TIMEOUT_S": "8s"}
LOST_MAX = BUS_TRIALS_MAX + SHADOW_TRIALS_IN_FLIGHT_MAX


@pytest.fixture(name="tmp")
def _tmp() -> Iterator[Path]:
    """Where the run's processes meet; a Unix socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="sd") as folder:
        yield Path(folder)


@pytest.mark.parametrize("count", [1, 2])
def test_a_compare_worker_is_killed(count: int, tmp: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path / "run", "--compare-workers", str(count), environment={"TMPDIR": str(tmp)}) as s:
            proxy = s.proxy.process.pid
            victim = workers(proxy, "compare")[0]
            async with asking(s.proxy.port) as clients:
                await clients.answered_more(100)
                os.kill(victim, signal.SIGSTOP)  # so that it certainly dies with something in hand
                await clients.answered_more(100)
                os.kill(victim, signal.SIGKILL)
                await replaced(proxy, "compare", victim, count)
                await clients.answered_more(200)
                await asyncio.to_thread(s.proxy.until_compared, 200)
            assert clients.broken == 0, "clients have nothing to do with comparison"
            assert await s.end() == 0, s.proxy.stderr
            assert "a process that compares ended (-9)" in s.proxy.stderr
            assert "Traceback" not in s.proxy.stderr
            totals = counted(tmp_path / "run")
            assert totals["requests"] == clients.answered == clients.sent
            assert 1 <= totals["shed"]["worker_lost"] <= LOST_MAX
            assert totals["compared"] >= 200

    asyncio.run(main())
    assert left_behind(tmp) == []


def test_compare_workers_are_killed_again_and_again(tmp: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path / "run", "--compare-workers", "2", environment={"TMPDIR": str(tmp)}) as s:
            proxy = s.proxy.process.pid
            async with asking(s.proxy.port, paths=("/plain", "/large", "/broken")) as clients:
                for _ in range(3):
                    await clients.answered_more(30)
                    victims = workers(proxy, "compare")
                    send(victims, signal.SIGKILL)
                    await until(lambda: len(set(workers(proxy, "compare")) - set(victims)) == 2, "no compare worker came back")  # noqa: B023 - awaited at once
                before = clients.answered
                await clients.answered_more(50)
                await asyncio.to_thread(s.proxy.until_compared, 20)
            assert before
            assert clients.broken == 0
            assert await s.end() == 0, s.proxy.stderr
            assert counted(tmp_path / "run")["requests"] == clients.answered

    asyncio.run(main())
    assert left_behind(tmp) == []


def test_an_ingress_worker_is_killed_and_the_other_carries_on(tmp: Path, tmp_path: Path) -> None:
    """Shadows hang, and longer than it takes to kill, so that each worker certainly has trials in hand."""

    async def main() -> None:
        async with served(tmp_path / "run", "--workers", "2", candidate=hang, environment={"TMPDIR": str(tmp), **HANG_LONG}) as s:
            proxy = s.proxy.process.pid
            victims = workers(proxy, "ingress")
            assert len(victims) == 2
            async with asking(s.proxy.port, connections=16) as clients:
                await clients.answered_more(100)
                os.kill(victims[0], signal.SIGKILL)
                await clients.answered_more(100)
                await replaced(proxy, "ingress", victims[0], 2)
                await clients.answered_more(100)
                assert victims[1] in workers(proxy, "ingress"), "the other carries on"
                os.kill(victims[1], signal.SIGKILL)
                await replaced(proxy, "ingress", victims[1], 2)
                await clients.answered_more(100)
            assert clients.broken <= 2 * 16, "once for each connection of a worker that died"
            assert await s.end() == 0, s.proxy.stderr
            assert s.proxy.stderr.count("a process that serves clients ended (-9)") == 2
            assert "Traceback" not in s.proxy.stderr
            totals = counted(tmp_path / "run")
            assert clients.answered <= totals["requests"] <= clients.sent
            assert 1 <= totals["shed"]["worker_lost"] <= 2 * SHADOW_TRIALS_IN_FLIGHT_MAX + clients.broken

    asyncio.run(main())
    assert left_behind(tmp) == []


def test_the_only_ingress_worker_is_killed_and_new_clients_wait_for_the_next(tmp: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path / "run", environment={"TMPDIR": str(tmp)}) as s:
            proxy = s.proxy.process.pid
            (victim,) = workers(proxy, "ingress")
            async with asking(s.proxy.port) as clients:
                for _ in range(2):
                    await clients.answered_more(50)
                    (victim,) = workers(proxy, "ingress")
                    os.kill(victim, signal.SIGKILL)
                    await clients.answered_more(50)
                    await replaced(proxy, "ingress", victim, 1)
            assert clients.broken <= 2 * 8, "no connection is refused: it waits for the worker that comes"
            assert await s.end() == 0, s.proxy.stderr
            totals = counted(tmp_path / "run")
            assert clients.answered <= totals["requests"] <= clients.sent

    asyncio.run(main())
    assert left_behind(tmp) == []


def test_a_compare_worker_is_stopped_for_a_while(tmp: Path, tmp_path: Path) -> None:
    """Clients notice nothing; what finds no room is shed before it is sent, and what was handed on is compared after all.

    Answers are large, so that there is no room long before the worker is taken for one that hangs.
    """

    def full(s: Served) -> bool:
        return re.search(rb'reason="queue_full"[^}]*} [1-9]', get(f"{s.proxy.admin}/metrics")[1]) is not None

    async def main() -> None:
        async with served(tmp_path / "run", environment={"TMPDIR": str(tmp)}) as s:
            (victim,) = workers(s.proxy.process.pid, "compare")
            async with asking(s.proxy.port, connections=16, paths=("/large",)) as clients:
                await clients.answered_more(50)
                os.kill(victim, signal.SIGSTOP)
                try:
                    while not await asyncio.to_thread(full, s):
                        await clients.answered_more(20)
                finally:
                    os.kill(victim, signal.SIGCONT)
                await clients.answered_more(50)
            assert clients.broken == 0
            assert await s.end() == 0, s.proxy.stderr
            totals = counted(tmp_path / "run")
            assert totals["requests"] == clients.answered
            assert totals["shed"]["queue_full"] > 0
            assert "worker_lost" not in totals["shed"], "it was slow, not dead"
            assert victim not in alive([victim])

    asyncio.run(main())
    assert left_behind(tmp) == []


def test_a_compare_worker_that_is_stopped_for_good_is_replaced(tmp: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path / "run", "--compare-workers", "2", environment={"TMPDIR": str(tmp)}) as s:
            proxy = s.proxy.process.pid
            victim = workers(proxy, "compare")[0]
            async with asking(s.proxy.port, connections=2) as clients:
                await clients.answered_more(50)
                os.kill(victim, signal.SIGSTOP)
                await replaced(proxy, "compare", victim, 2)
                await clients.answered_more(50)
            assert clients.broken == 0
            assert await s.end() == 0, s.proxy.stderr
            assert "comparison hangs in one of its processes" in s.proxy.stderr
            totals = counted(tmp_path / "run")
            assert totals["requests"] == clients.answered
            assert totals["compared"] > 0

    asyncio.run(main())
    assert left_behind(tmp) == []


def test_an_ingress_worker_that_is_stopped_for_good_is_replaced(tmp: Path, tmp_path: Path) -> None:
    """Its clients wait until then, and lose their connections once."""

    async def main() -> None:
        async with served(tmp_path / "run", "--workers", "2", environment={"TMPDIR": str(tmp)}) as s:
            proxy = s.proxy.process.pid
            victim, other = workers(proxy, "ingress")
            async with asking(s.proxy.port, connections=16) as clients:
                await clients.answered_more(100)
                os.kill(victim, signal.SIGSTOP)
                await replaced(proxy, "ingress", victim, 2)
                assert other in workers(proxy, "ingress"), "the other carries on"
                await clients.answered_more(100)
            assert clients.broken <= 16, "once for each connection"
            assert await s.end() == 0, s.proxy.stderr
            assert "one of the processes that serve clients hangs" in s.proxy.stderr
            totals = counted(tmp_path / "run")
            assert clients.answered <= totals["requests"] <= clients.sent

    asyncio.run(main())
    assert left_behind(tmp) == []


@pytest.mark.parametrize("kind", ["ingress", "compare"])
def test_a_worker_is_killed_while_the_run_ends(kind: str, tmp: Path, tmp_path: Path) -> None:
    """The end waits for shadows that take seconds, so the worker dies in the middle of it."""

    async def main() -> None:
        async with served(tmp_path / "run", candidate=hang, environment={"TMPDIR": str(tmp), **HANG_LONG}) as s:
            (victim,) = workers(s.proxy.process.pid, kind)
            async with asking(s.proxy.port) as clients:
                await clients.answered_more(100)
            s.proxy.process.send_signal(signal.SIGTERM)
            await until(lambda: "stopping" in s.proxy.stderr, "nobody stops")
            os.kill(victim, signal.SIGKILL)
            assert await asyncio.to_thread(s.proxy.process.wait, WAIT_S) == 0, s.proxy.stderr
            assert "Traceback" not in s.proxy.stderr
            totals = counted(tmp_path / "run")
            assert clients.answered <= totals["requests"] <= clients.sent
            assert totals["shed"]["worker_lost"] >= 1

    asyncio.run(main())
    assert left_behind(tmp) == []


@pytest.mark.parametrize("kind", ["ingress", "compare"])
def test_the_run_ends_while_a_worker_is_replaced(kind: str, tmp: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path / "run", environment={"TMPDIR": str(tmp)}) as s:
            proxy = s.proxy.process.pid
            async with asking(s.proxy.port) as clients:
                await clients.answered_more(50)
            (victim,) = workers(proxy, kind)
            os.kill(victim, signal.SIGKILL)
            await until(lambda: bool(set(workers(proxy, kind)) - {victim}), "no worker came back")
            assert await s.end() == 0, s.proxy.stderr
            assert "Traceback" not in s.proxy.stderr
            assert clients.answered <= counted(tmp_path / "run")["requests"] <= clients.sent

    asyncio.run(main())
    assert left_behind(tmp) == []


async def in_two_halves(_upstream: Upstream, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
    """The body's second half comes when the test has done its worst."""
    raw = ok(b"a" * 1000)
    writer.write(raw[:-500])
    await writer.drain()
    if b"/slow" in seen.line:
        await asyncio.sleep(2.0)
    writer.write(raw[-500:])
    await writer.drain()


def test_the_supervisor_is_killed_and_clients_get_whole_answers(tmp: Path, tmp_path: Path) -> None:
    async def main() -> None:
        environment = {"TMPDIR": str(tmp)}
        options = ("--workers", "2", "--compare-workers", "2")
        async with served(tmp_path / "run", *options, stable=in_two_halves, candidate=slowly(ok(b"a"), 0.01), environment=environment) as s:
            proxy = s.proxy.process.pid
            pids = workers(proxy, "ingress") + workers(proxy, "compare")
            assert len(pids) == 4
            connections = [await asyncio.open_connection("127.0.0.1", s.proxy.port) for _ in range(8)]
            for number, (reader, writer) in enumerate(connections):
                writer.write(request(f"/slow?n={number}"))
                await reader.readuntil(b"\r\n\r\n")
            os.kill(proxy, signal.SIGKILL)
            for reader, writer in connections:
                assert await reader.readexactly(1000) == b"a" * 1000, "what was accepted is answered"
                writer.close()
            await until(lambda: not alive(pids), f"workers live on: {alive(pids)}")

    asyncio.run(main())
    assert left_behind(tmp) == []


def test_answers_of_the_checks_are_those_of_stable() -> None:
    """The clients of this file read Content-Length bodies only."""
    assert b"Content-Length" in ANSWERS["/plain"]
    assert b"Content-Length" in ANSWERS["/large"]
