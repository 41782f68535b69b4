"""Fault simulation: both shadows, comparison, the bus and the disk go wrong by a seeded schedule while real clients check each answer.

A schedule is a function of its seed, which is in the test's name. What the machine makes of it (who is asked when) is not,
so what is asserted holds in every order: promise 1 for each answer, promise 2 for the counts at the end.
"""

import asyncio
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from harness.bus.frames import Frame, framed
from harness.bus.messages import ENCODER, Hello
from tests.e2e.live import Proxy, proxy, report_of
from tests.e2e.targets import SECOND
from tests.e2e.wayward import BROKEN_OFF, FAULTS, ODD_ANSWERS, PATHS, Wayward, answer_to, end_to_end, truthful
from tests.e2e.workers import WAIT_S, alive, counted, left_behind, processes, until, workers
from tests.proxy.rig import Upstream

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")]

REQUESTS_PER_STEP = 24
CLIENTS = 12
ROLES = ("candidate", "secondary")
NEVER_LEFT_ALONE = "--breaker-errors=1"
"""A breaker opens only where every exchange fails, which some do not."""
SMALL_FILE_BYTES = 4096
"""How long a file may get while the disk is "full"; what is said on standard error is shorter."""


class Load:
    """Clients (aiohttp) that ask one request after another and compare each answer with stable's, whole."""

    def __init__(self, port: int, seed: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._rng = random.Random(f"load {seed}")
        self._ended = False
        self.sent = 0
        self.answered = 0
        self.writes = 0

    async def ask_for_ever(self, session: aiohttp.ClientSession) -> None:
        """One request after another, over connections that are kept."""
        while not self._ended:
            await self._ask(session)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        self.sent += 1
        method = self._rng.choices(("GET", "HEAD", "OPTIONS", "POST"), (80, 8, 6, 6))[0]
        target = f"{self._rng.choice(PATHS)}?n={self.sent}"
        self.writes += method == "POST"
        async with session.request(method, self._base + target, data=b"x" * 100 if method == "POST" else None) as got:
            body = await got.read()
        line, headers, expected = end_to_end(answer_to(method, target))
        assert b"HTTP/1.1 %d %s" % (got.status, (got.reason or "").encode()) == line, target
        kept = [pair for pair in got.raw_headers if pair[0].lower() not in {b"connection", b"transfer-encoding", b"keep-alive"}]
        assert kept == headers, target
        assert body == expected, target
        self.answered += 1

    async def answered_more(self, count: int) -> None:
        """Until so many further requests were answered."""
        aim = self.answered + count
        await until(lambda: self.answered >= aim, f"{self.answered} answers where {aim} were waited for")

    def end(self) -> None:
        """Ask nothing more."""
        self._ended = True


@asynccontextmanager
async def load(port: int, seed: int) -> AsyncIterator[Load]:
    """Load until the block is left; an error where an answer was wrong or did not come."""
    made = Load(port, seed)
    connector = aiohttp.TCPConnector(limit=CLIENTS)
    async with (
        aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout(60)) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(CLIENTS):
            group.create_task(made.ask_for_ever(session))
        try:
            yield made
        finally:
            made.end()


class Saboteur:
    """What goes wrong beside the targets: compare workers, the bus's sockets, the supervisor's disk."""

    def __init__(self, running: Proxy, folder: Path, rng: random.Random) -> None:
        self._proxy = running.process.pid
        self._folder = folder
        self._rng = rng
        self._stopped: list[int] = []
        self._open = ExitStack()
        self.killed = 0

    def __enter__(self) -> "Saboteur":
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()
        self._open.close()

    def do(self, deed: str) -> None:
        """One of DEEDS; nothing where there is nobody to do it to."""
        getattr(self, deed)()

    def kill(self) -> None:
        """A compare worker dies, stopped or not."""
        self._signal(signal.SIGKILL)
        self.killed += 1

    def stop(self) -> None:
        """A compare worker hangs."""
        self._stopped += self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Those that hang do so no longer."""
        for pid in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._stopped.clear()

    def strangers(self) -> None:
        """Somebody comes to each socket of the bus, who talks nonsense to the supervisor, and stays or goes."""
        nonsense = [self._rng.randbytes(200), framed(Frame.MESSAGE, self._rng.randbytes(30)), framed(Frame.RESULTS, b"\x91\xc0")]
        hello = framed(Frame.MESSAGE, ENCODER.encode(Hello(4711, ingress=True)))
        for path in self._folder.rglob("*.sock"):
            said = [hello[:3]] if path.name != "run.sock" else [*nonsense, hello, hello[:3]]
            for words in said:
                stranger = socket.socket(socket.AF_UNIX)
                with suppress(OSError):
                    stranger.connect(str(path))
                    stranger.send(words)
                if self._rng.random() < 0.5:
                    self._open.enter_context(stranger)
                else:
                    stranger.close()

    def fill_disk(self) -> None:
        """From now on nothing is written that would make a file longer than a little."""
        resource.prlimit(self._proxy, resource.RLIMIT_FSIZE, (SMALL_FILE_BYTES, resource.RLIM_INFINITY))

    def empty_disk(self) -> None:
        """There is room again."""
        resource.prlimit(self._proxy, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _signal(self, number: signal.Signals) -> list[int]:
        found = workers(self._proxy, "compare")
        if not found:
            return []
        victim = self._rng.choice(found)
        with suppress(ProcessLookupError):
            os.kill(victim, number)
        return [victim]


DEEDS = ("stop", "go_on", "kill", "strangers", "stop", "kill", "go_on", "strangers")


def schedule(seed: int) -> list[tuple[str, str, str]]:
    """For each step the candidate's fault, the secondary's and what else is done: each fault once for each, all in the seed's order."""
    rng = random.Random(seed)
    candidate, secondary = rng.sample(FAULTS, len(FAULTS)), rng.sample(FAULTS, len(FAULTS))
    deeds = [""] * len(FAULTS)
    for deed, step in zip(DEEDS, sorted(rng.sample(range(len(FAULTS)), len(DEEDS))), strict=True):
        deeds[step] = deed
    full, room = sorted(rng.sample([step for step, deed in enumerate(deeds) if not deed], 2))
    deeds[full], deeds[room] = "fill_disk", "empty_disk"
    return list(zip(candidate, secondary, deeds, strict=True))


@pytest.fixture(name="tmp")
def _tmp() -> Iterator[Path]:
    """Where the run's processes meet; a Unix socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="sd") as folder:
        yield Path(folder)


def curl(url: str) -> bytes:
    """What curl sees of an answer, its body as it stands on the wire."""
    command = ["curl", "--silent", "--show-error", "--include", "--raw", "--max-time", "60", url]
    return subprocess.run(command, capture_output=True, check=True).stdout


async def checked_with_curl(stable: int, through: int) -> None:
    """curl sees the same directly and through the proxy, chunks and their sizes apart."""
    for path in ("/plain?n=curl", "/chunked?n=curl", "/none?n=curl"):
        direct, got = await asyncio.gather(*(asyncio.to_thread(curl, f"http://127.0.0.1:{port}{path}") for port in (stable, through)))
        assert end_to_end(got) == end_to_end(direct) == end_to_end(answer_to("GET", path))


class Case:
    """Which shadows go wrong, under which options."""

    def __init__(self, seed: int, roles: tuple[str, ...], *options: str) -> None:
        self.seed = seed
        self.roles = roles
        self.options = options


CASES = {
    "both, two workers of each kind, seed 1": Case(1, ROLES, "--workers", "2", "--compare-workers", "2", NEVER_LEFT_ALONE),
    "both, breakers, seed 2": Case(2, ROLES, "--breaker-open", "1s"),
    "candidate, seed 3": Case(3, ("candidate",), "--compare-workers", "2", NEVER_LEFT_ALONE),
    "secondary, seed 4": Case(4, ("secondary",), NEVER_LEFT_ALONE),
}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("name", CASES)
def test_clients_get_the_answers_of_stable_and_everything_is_counted(name: str, tmp: Path, tmp_path: Path) -> None:
    case = CASES[name]

    async def main() -> None:
        out = tmp_path / "run"
        async with Upstream(truthful) as stable, Wayward(f"s{case.seed}") as secondary, Wayward(f"c{case.seed}") as candidate:
            wayward = {"candidate": candidate, "secondary": secondary}
            ports = {"stable": stable.port, **{role: target.port for role, target in wayward.items()}}
            targets = [word for role, port in ports.items() for word in (f"--{role}", f"http://127.0.0.1:{port}")]
            options = [*targets, *case.options, "--record", str(tmp_path / "traffic.gor")]
            environment = {**SECOND, "TMPDIR": str(tmp)}
            with proxy(out, *options, environment=environment) as running:
                family: set[int] = set()
                with Saboteur(running, tmp, random.Random(case.seed)) as saboteur:
                    async with load(running.port, case.seed) as clients:
                        for step, (*faults, deed) in enumerate(schedule(case.seed)):
                            for role, fault in zip(ROLES, faults, strict=True):
                                if role in case.roles:
                                    await wayward[role].turn(fault)
                            if deed:
                                saboteur.do(deed)
                            await clients.answered_more(REQUESTS_PER_STEP)
                            if NEVER_LEFT_ALONE in case.options:
                                met = [(wayward[role], fault) for role, fault in zip(ROLES, faults, strict=True) if role in case.roles]
                                await until(lambda: all(target.met[fault] for target, fault in met), f"{faults} were never met")  # noqa: B023 - awaited at once
                            if step == len(FAULTS) // 2:
                                await checked_with_curl(stable.port, running.port)
                            family |= {pid for pid, (parent, _) in processes().items() if parent == running.process.pid}
                        for target in wayward.values():
                            await target.turn("")
                        saboteur.go_on()
                        saboteur.empty_disk()
                        await compared_again(running, clients)
                        family |= {pid for pid, (parent, _) in processes().items() if parent == running.process.pid}
                assert await asyncio.to_thread(running.end) == 0, running.stderr
                assert "Traceback" not in running.stderr
                assert "Traceback" not in running.stdout
            assert alive([running.process.pid, *family]) == []
            accounted(case, out, clients, stable, wayward, killed=saboteur.killed)

    asyncio.run(main())
    assert left_behind(tmp) == []


async def compared_again(running: Proxy, clients: Load) -> None:
    """When all trouble is over, requests are compared again."""
    before, deadline = (await asyncio.to_thread(running.verdict))["requests"], time.monotonic() + WAIT_S
    while (await asyncio.to_thread(running.verdict))["requests"] < before + 50:
        assert time.monotonic() < deadline, f"nothing is compared any more\n{running.stderr[-2000:]}"
        await clients.answered_more(1)


def accounted(case: Case, out: Path, clients: Load, stable: Upstream, wayward: dict[str, Wayward], *, killed: int) -> None:
    """Every request has one outcome, none was refused, nothing passed, and shadows got no more than they may."""
    report, totals = report_of(out), counted(out)
    by_curl = 3
    assert clients.answered == clients.sent
    assert totals["requests"] == clients.sent + by_curl
    assert len(stable.seen) == clients.sent + 2 * by_curl, "each request was sent to stable once"
    assert totals["refused"] == {}
    assert totals["skipped"] == {"write": clients.writes}
    assert set(totals["shed"]) <= {"breaker", "in_flight", "queue_full", "worker_lost"}
    assert report["verdict"] != "pass"
    assert killed == DEEDS.count("kill")
    for role, target in wayward.items():
        assert target.methods <= {"GET", "HEAD", "OPTIONS"}
        if role in case.roles:
            assert report["errors"][role] > 0
            if NEVER_LEFT_ALONE in case.options:
                assert set(target.met) == {*FAULTS, "well"}
        else:
            assert set(target.met) == {"well"}
            assert role != "candidate" or report["verdict"] != "fail", "a secondary in trouble is no fault of the candidate's"


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
@pytest.mark.parametrize("seed", [5, 6])
def test_wrk_sees_no_error(seed: int, tmp: Path, tmp_path: Path) -> None:
    """A burst of wrk while the targets change their faults all the time; it breaks off what it has under way when its time is up."""
    connections = 16

    async def main() -> None:
        async with Upstream(truthful) as stable, Wayward(f"s{seed}") as secondary, Wayward(f"c{seed}") as candidate:
            ports = {"stable": stable.port, "secondary": secondary.port, "candidate": candidate.port}
            targets = [word for role, port in ports.items() for word in (f"--{role}", f"http://127.0.0.1:{port}")]
            options = [*targets, "--workers", "2", NEVER_LEFT_ALONE]
            with proxy(tmp_path / "run", *options, environment={**SECOND, "TMPDIR": str(tmp)}) as running:
                with Saboteur(running, tmp, random.Random(seed)) as saboteur:
                    url = f"http://127.0.0.1:{running.port}/plain?n=wrk"
                    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", "3s", "--timeout", "30s", url]
                    burst = asyncio.create_task(asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True))
                    for faults in schedule(seed):
                        await candidate.turn(faults[0])
                        await secondary.turn(faults[1])
                        if faults[2] not in {"", "kill"}:
                            saboteur.do(faults[2])
                        await asyncio.sleep(0.05)
                    done = await burst
                    saboteur.empty_disk()
                assert await asyncio.to_thread(running.end) == 0, running.stderr
                assert "Traceback" not in running.stderr
            assert "Socket errors" not in done.stdout, done.stdout
            assert "Non-2xx" not in done.stdout, done.stdout
            found = re.search(r"(\d+) requests in", done.stdout)
            assert found
            totals = counted(tmp_path / "run")
            assert int(found[1]) <= totals["requests"] <= int(found[1]) + connections
            assert set(totals["refused"]) <= {"client_gone"}
            assert totals["refused"].get("client_gone", 0) <= connections
            assert report_of(tmp_path / "run")["verdict"] != "pass"
            assert set(candidate.met) > {"well"}

    asyncio.run(main())
    assert left_behind(tmp) == []


def test_the_schedule_is_a_function_of_its_seed_and_leaves_no_fault_out() -> None:
    assert schedule(1) == schedule(1) != schedule(2)
    for place in (0, 1):
        assert sorted(step[place] for step in schedule(1)) == sorted(FAULTS)
    assert len(set(FAULTS)) == len(FAULTS) == len(BROKEN_OFF) + len(ODD_ANSWERS) + 2
