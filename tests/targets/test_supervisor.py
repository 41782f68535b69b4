"""Targets started, waited for, restarted and stopped as real processes."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import SetupError
from harness.core.labels import Role
from harness.targets import supervisor
from harness.targets.process import free_port
from harness.targets.ready import probe
from harness.targets.spec import TargetSpec
from harness.targets.supervisor import Nothing, PortTakenError, TargetRunner, TargetSet
from tests.targets.builds import SERVER, STUBBORN, WAIT_S, RealClock, alive, answering, pid_in, script, until


def server(folder: Path, **more: Any) -> TargetSpec:
    return TargetSpec(command=script(folder, "server.py", SERVER) + " {port}", cwd=str(folder), **more)


def runner(spec: TargetSpec, role: Role = Role.CANDIDATE) -> TargetRunner:
    return TargetRunner(spec, role, RealClock())


def test_start_restart_stop(tmp_path: Path) -> None:
    async def go() -> None:
        target = runner(server(tmp_path, env={"NAME": "{role}-{start}"}))
        first = await target.start()
        assert target.running
        assert target.output_tail()[0] == "serving as candidate-0"
        assert await probe(first, "/") is None
        second = await target.restart()
        assert target.output_tail()[0] == "serving as candidate-1"
        assert await probe(second, "/") is None
        await target.stop()
        assert [target.running, await probe(second, "/") is None] == [False, False]
        await target.stop()

    asyncio.run(go())


class Elsewhere(Nothing):
    """Builds at another address, started by way of another program."""

    def names(self, role: Role) -> Mapping[str, str]:
        return {"proxy": f"proxy of {role}"}

    def env(self, role: Role) -> Mapping[str, str]:
        return {"STATUS": "203", "NAME": "nobody"}

    def host(self, role: Role) -> str:
        return "127.0.0.2"

    def entered(self, role: Role, command: list[str]) -> list[str]:
        return ["env", "ENTERED=yes", *command]


def test_what_surrounds_a_build_says_where_it_runs_and_what_it_is_told(tmp_path: Path) -> None:
    source = SERVER.replace('("127.0.0.1", int', "(sys.argv[2], int").replace('"serving as"', 'os.environ["ENTERED"]')
    spec = TargetSpec(
        command=script(tmp_path, "server.py", source) + " {port} {host}",
        cwd=str(tmp_path),
        env={"NAME": "{proxy}"},
        prepare="sh -c 'echo ${ENTERED:-not entered} {host} $NAME > log'",
    )

    async def go() -> None:
        target = TargetRunner(spec, Role.STABLE, RealClock(), surroundings=Elsewhere())
        base = await target.start()
        try:
            assert base.startswith("http://127.0.0.2:")
            assert target.output_tail()[0] == "yes proxy of stable"
            assert await probe(base, "/") is None
        finally:
            await target.stop()

    asyncio.run(go())
    assert (tmp_path / "log").read_text(encoding="utf-8") == "not entered 127.0.0.2 proxy of stable\n"


def test_a_build_that_listens_on_another_address_than_its_own_is_told_of_it(tmp_path: Path) -> None:
    target = TargetRunner(server(tmp_path, ready_timeout_s=0.5), Role.STABLE, RealClock(), surroundings=Elsewhere())
    with pytest.raises(SetupError, match=r"listen on \{host\} or 0\.0\.0\.0"):
        asyncio.run(target.start())


def test_hooks_run_when_they_should(tmp_path: Path) -> None:
    log = tmp_path / "log"
    spec = server(
        tmp_path, prepare="sh -c 'echo prepare {role} >> log'", reset="sh -c 'echo reset $MORE {start} >> log'", env={"MORE": "more-{role}"}
    )

    async def go() -> None:
        target = runner(spec, Role.STABLE)
        await target.start()
        await target.restart()
        await target.restart()
        await target.run_hook("sh -c 'echo $EXTRA >> log'", {"EXTRA": "own"})
        await target.stop()

    asyncio.run(go())
    assert log.read_text(encoding="utf-8").splitlines() == ["prepare stable", "reset more-stable 1", "reset more-stable 2", "own"]


@pytest.mark.parametrize(
    ("hook", "timeout_s", "says"),
    [
        ("sh -c 'echo broken pipe of data; exit 3'", 30.0, ["exited with code 3", "broken pipe of data"]),
        ("no-such-hook", 30.0, ["could not be started", "No such file"]),
        ("sleep 600", 0.2, ["did not end within 0.2 s"]),
    ],
)
def test_a_hook_that_fails(tmp_path: Path, hook: str, timeout_s: float, says: list[str]) -> None:
    target = runner(server(tmp_path, prepare=hook, hook_timeout_s=timeout_s))
    with pytest.raises(SetupError) as caught:
        asyncio.run(target.start())
    assert all(part in str(caught.value) for part in says)
    assert "target candidate" in str(caught.value)
    assert caught.value.exit_code == 4


class Impatient(RealClock):
    """A clock that jumps over any time limit once the target wrote what is waited for."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.target: TargetRunner | None = None

    def monotonic_ns(self) -> int:
        """See Clock."""
        wrote = self.target is not None and self.word in "".join(self.target.output_tail())
        return super().monotonic_ns() + (10**15 if wrote else 0)


ASKED = SERVER.replace("self.send_response", "print('asked', flush=True); self.send_response", 1)


@pytest.mark.parametrize(
    ("text", "status", "word", "says"),
    [
        ("import time; print('thinking'); time.sleep(600)", "200", "thinking", ["refused", "last output:\n  thinking"]),
        (ASKED, "503", "asked", ["status 503", "serving as nobody"]),
    ],
)
def test_a_target_that_never_becomes_ready(tmp_path: Path, text: str, status: str, word: str, says: list[str]) -> None:
    clock = Impatient(word)
    spec = TargetSpec(command=script(tmp_path, "build.py", text) + " {port}", env={"STATUS": status})
    clock.target = target = TargetRunner(spec, Role.CANDIDATE, clock)
    with pytest.raises(SetupError) as caught:
        asyncio.run(target.start())
    assert all(part in str(caught.value) for part in ["target candidate never became ready within 30 s", *says]), str(caught.value)
    assert not target.running


@pytest.mark.parametrize(
    ("text", "more", "says"),
    [
        ("print('no database'); raise SystemExit(2)", {}, ["exited with code 2 before it was ready", "last output:\n  no database"]),
        ("import time; time.sleep(600)", {"ready_timeout_s": 0.3}, ["never became ready within 0.3 s", "it wrote nothing"]),
    ],
)
def test_a_target_that_does_not_come_up(tmp_path: Path, text: str, more: Mapping[str, Any], says: list[str]) -> None:
    target = runner(TargetSpec(command=script(tmp_path, "build.py", text) + " {port}", **more))
    with pytest.raises(SetupError) as caught:
        asyncio.run(target.start())
    assert all(part in str(caught.value) for part in says), str(caught.value)


def test_a_command_that_does_not_exist() -> None:
    with pytest.raises(SetupError, match="could not be started") as caught:
        asyncio.run(runner(TargetSpec(command="no-such-build {port}")).start())
    assert "cannot start no-such-build" in str(caught.value)


def test_a_taken_port_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        first = runner(server(tmp_path))
        taken = int((await first.start()).rpartition(":")[2])
        ports = [taken]

        def offered() -> int:
            ports.append(free_port())
            return ports[-2]

        monkeypatch.setattr(supervisor, "free_port", offered)
        monkeypatch.setattr(supervisor, "_SETTLE_S", WAIT_S)  # the second one needs longer to see it where the machine is slow
        second = runner(server(tmp_path))
        # The first server answers on the taken port: what answers is not what was started.
        assert await second.start() in [f"http://127.0.0.1:{port}" for port in ports[1:]]
        await second.stop()
        monkeypatch.setattr(supervisor, "free_port", lambda: taken)
        with pytest.raises(PortTakenError, match="another program took its port"):
            await second.start()
        await first.stop()

    asyncio.run(go())


def test_a_listener_that_cannot_be_shown_to_be_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "listens_below", lambda root, port: False)
    monkeypatch.setattr(supervisor, "_SETTLE_S", 0.2)

    async def go() -> None:
        target = runner(server(tmp_path))
        assert await probe(await target.start(), "/") is None
        await target.stop()

    asyncio.run(go())


def test_targets_of_a_set_never_share_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = iter([7001, 7001, 7001, 7002])
    monkeypatch.setattr(supervisor, "free_port", lambda: next(ports))
    targets = TargetSet({Role.STABLE: TargetSpec(command="a {port}"), Role.CANDIDATE: TargetSpec(command="b {port}")}, RealClock())
    assert [target._take_port() for target in targets.runners.values()] == [7001, 7002]


def test_url_target(tmp_path: Path) -> None:
    async def go() -> None:
        build = runner(server(tmp_path))
        base = await build.start()
        target = runner(TargetSpec(url=base, reset="touch was-reset", cwd=str(tmp_path)))
        assert target.running
        assert await target.start() == base
        assert await target.restart() == base
        await target.stop()
        assert (tmp_path / "was-reset").exists()
        await build.stop()
        gone = runner(TargetSpec(url=base, ready_timeout_s=3.0))  # one question at least is asked in that time
        with pytest.raises(SetupError, match=r"never became ready within 3 s .*refused"):
            await gone.start()

    asyncio.run(go())


def test_a_hanging_url_target_is_bounded_by_its_own_time() -> None:
    async def go() -> None:
        async with answering(None) as base:
            target = runner(TargetSpec(url=base, ready_timeout_s=0.2))
            with pytest.raises(SetupError, match="no answer"):
                await target.start()

    asyncio.run(go())


def test_a_set_starts_restarts_and_stops_together(tmp_path: Path) -> None:
    async def go() -> None:
        spec = server(tmp_path, env={"NAME": "{role}"}, prepare="sh -c 'echo {role} >> prepared'", reset="sh -c 'echo {role} >> reset'")
        async with TargetSet({Role.CANDIDATE: spec, Role.STABLE: spec, Role.SECONDARY: spec}, RealClock()) as targets:
            assert targets.can_reset
            bases = await targets.start()
            assert list(bases) == [Role.STABLE, Role.SECONDARY, Role.CANDIDATE]
            assert len(set(bases.values())) == 3
            again = await targets.restart()
            assert [await probe(base, "/") for base in again.values()] == [None] * 3
            assert targets.runners[Role.SECONDARY].output_tail()[0] == "serving as secondary"
        assert not any(target.running for target in targets.runners.values())

    asyncio.run(go())
    assert (tmp_path / "prepared").read_text(encoding="utf-8").split() == ["stable", "secondary", "candidate"]
    assert (tmp_path / "reset").read_text(encoding="utf-8").split() == ["stable", "secondary", "candidate"]


@pytest.mark.parametrize("when", ["start", "restart"])
def test_all_stop_when_one_fails(tmp_path: Path, when: str) -> None:
    text = SERVER.replace("print(", "if os.environ['FAIL'] == os.environ['START']: raise SystemExit('no luck')\nprint(", 1)
    command = script(tmp_path, "build.py", text) + " {port}"
    fails = {"start": "0", "restart": "1"}[when]
    good = TargetSpec(command=command, env={"FAIL": "never", "START": "{start}"})
    bad = TargetSpec(command=command, env={"FAIL": fails, "START": "{start}"})

    async def go() -> None:
        targets = TargetSet({Role.STABLE: good, Role.CANDIDATE: bad}, RealClock())
        if when == "restart":
            await targets.start()
        with pytest.raises(SetupError, match="target candidate exited with code 1"):
            await (targets.start() if when == "start" else targets.restart())
        assert not any(target.running for target in targets.runners.values())

    asyncio.run(go())


def test_a_stop_that_fails_does_not_keep_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        targets = TargetSet({Role.STABLE: server(tmp_path), Role.CANDIDATE: server(tmp_path)}, RealClock())
        await targets.start()
        stable = targets.runners[Role.STABLE]
        real_stop = stable.stop

        async def broken() -> None:
            await real_stop()
            raise OSError("disk")

        monkeypatch.setattr(stable, "stop", broken)
        with pytest.raises(OSError, match="disk"):
            await targets.stop()
        assert not targets.runners[Role.CANDIDATE].running

    asyncio.run(go())


def test_an_unforeseen_error_keeps_its_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> str:
        raise OSError("no more processes")

    async def go() -> None:
        targets = TargetSet({Role.STABLE: server(tmp_path)}, RealClock())
        monkeypatch.setattr(targets.runners[Role.STABLE], "start", broken)
        with pytest.raises(OSError, match="no more processes"):
            await targets.start()

    asyncio.run(go())


def test_a_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    async def go() -> None:
        command = script(tmp_path, "stubborn.py", STUBBORN) + f" {tmp_path} {{port}}"
        target = runner(TargetSpec(command=command, stop_timeout_s=0.1))
        task = asyncio.create_task(target.start())
        pids = [await asyncio.to_thread(pid_in, tmp_path / name) for name in ("main", "child", "daemon")]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any(map(alive, pids))

    asyncio.run(go())


HARNESS = """
import asyncio, sys, time
from harness.core.labels import Role
from harness.targets.spec import TargetSpec
from harness.targets.supervisor import TargetRunner

class Clock:
    def monotonic_ns(self): return time.monotonic_ns()
    def time(self): return time.time()

async def main():
    await TargetRunner(TargetSpec(command=sys.argv[1], stop_timeout_s=0.2), Role.CANDIDATE, Clock()).start()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_orphan_when_the_harness_is_killed(tmp_path: Path) -> None:
    command = script(tmp_path, "stubborn.py", STUBBORN) + f" {tmp_path} {{port}}"
    path = tmp_path / "harness_main.py"
    path.write_text(HARNESS, encoding="utf-8")
    parent = subprocess.Popen([sys.executable, str(path), command], env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    try:
        pids = [pid_in(tmp_path / name) for name in ("main", "child", "daemon")]
        assert all(map(alive, pids))
    finally:
        parent.kill()
        parent.wait(timeout=WAIT_S)
    until(lambda: not any(map(alive, pids)), "the build and its children to end")
