"""Who hangs is ended, and nobody who may not be to blame: with real processes, and times that are handed in."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.app.launching import START_SECONDS_MAX
from harness.app.members import Place, Worker
from harness.app.watching import DEAF_SECONDS, Watch
from harness.bus.link import Link
from harness.core.limits import COMPARE_STALL_SECONDS_MAX, INGRESS_STALL_SECONDS_MAX

KINDS = pytest.mark.parametrize("ingress", [True, False], ids=["ingress", "compare"])
DEBUGGER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
seized = libc.ptrace(0x4206, int(sys.argv[1]), None, None) == 0
print("it is held" if seized else os.strerror(ctypes.get_errno()), flush=True)
sys.stdin.read()
"""


class Rig:
    """A worker's process, which does nothing, and who watches it; each look comes a second after the one before."""

    def __init__(self, worker: Worker, place: Place) -> None:
        self.worker = worker
        self.place = place
        self.notices: list[str] = []
        self.held: set[Link] = set()
        self.now_s = 100.0
        self.watch = Watch(self.now_s, [place], holds=self.held.__contains__, notice=self.notices.append)
        self.bound_s = INGRESS_STALL_SECONDS_MAX if worker.ingress else COMPARE_STALL_SECONDS_MAX

    def pass_silently(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now_s += 1.0
            self.watch.look(self.now_s, [self.worker])

    def alive(self) -> bool:
        return os.waitid(os.P_PID, self.worker.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    async def ended(self) -> int:
        async with asyncio.timeout(60):
            return await self.worker.process.wait()


@asynccontextmanager
async def rig(folder: Path, *, ingress: bool, ready: bool = True) -> AsyncIterator[Rig]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "import time; time.sleep(1000)")
    worker = Worker(process, 0, 0, ingress=ingress, since_s=100.0)
    if ready:
        worker.ready.set_result("")
    try:
        with socket.socket() as listening:
            yield Rig(worker, Place(listening, folder / "counts"))
    finally:
        worker.kill()
        await process.wait()
        worker.ready.cancel()


@KINDS
def test_one_that_shows_no_sign_of_life_is_ended_and_said_once(ingress: bool, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, ingress=ingress) as r:
            r.pass_silently(r.bound_s)
            assert r.alive()
            assert r.notices == []
            r.pass_silently(1)
            assert await r.ended() == -signal.SIGKILL
            r.worker.exited = True
            r.pass_silently(3 * r.bound_s)
            assert len(r.notices) == 1
            assert ("serve clients" if ingress else "comparison hangs") in r.notices[0]

    asyncio.run(main())


@KINDS
def test_one_that_shows_life_now_and_then_is_not(ingress: bool, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, ingress=ingress) as r:
            for _ in range(3):
                r.pass_silently(r.bound_s - 1)
                if ingress:
                    r.place.slots.beat()
                else:
                    r.worker.heard_s = r.now_s
            assert r.alive()
            assert r.notices == []

    asyncio.run(main())


@KINDS
def test_a_supervisor_that_was_held_up_blames_nobody(ingress: bool, tmp_path: Path) -> None:
    """As after the machine was suspended: the worker gets its whole time anew."""

    async def main() -> None:
        async with rig(tmp_path, ingress=ingress) as r:
            for _ in range(3):
                r.pass_silently(r.bound_s)
                r.now_s += DEAF_SECONDS
                r.pass_silently(1)
            assert r.alive()
            assert r.notices == []
            r.pass_silently(r.bound_s + 1)
            assert await r.ended() == -signal.SIGKILL

    asyncio.run(main())


def test_a_compare_worker_that_is_not_read_is_not_blamed(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, ingress=False) as r:
            r.worker.link = Link(lambda *_: None, lambda _: None)
            r.held.add(r.worker.link)
            r.pass_silently(2 * r.bound_s)
            assert r.alive()
            r.held.clear()
            r.pass_silently(r.bound_s + 1)
            assert await r.ended() == -signal.SIGKILL

    asyncio.run(main())


@KINDS
def test_one_that_never_gets_ready_is_ended(ingress: bool, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, ingress=ingress, ready=False) as r:
            r.pass_silently(START_SECONDS_MAX)
            assert r.alive()
            r.pass_silently(1)
            assert await r.ended() == -signal.SIGKILL

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="needs ptrace and /proc of Linux")
@KINDS
def test_one_that_a_debugger_holds_is_left_alone(ingress: bool, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, ingress=ingress) as r:
            assert not r.worker.debugged()
            debugger = subprocess.Popen(
                [sys.executable, "-c", DEBUGGER, str(r.worker.process.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            with debugger:
                assert debugger.stdin is not None
                assert debugger.stdout is not None
                said = debugger.stdout.readline().decode().strip()
                if said != "it is held":
                    pytest.skip(f"this system lets nobody debug: {said}")
                assert r.worker.debugged()
                r.pass_silently(3 * r.bound_s)
                assert r.alive()
                assert r.notices == []
                debugger.stdin.close()  # it ends, and lets go
            assert not r.worker.debugged()
            r.pass_silently(r.bound_s + 1)
            assert await r.ended() == -signal.SIGKILL

    asyncio.run(main())
