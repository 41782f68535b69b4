"""Targets of a run: prepared, started, waited for, reset between passes, stopped. It knows nothing of traffic."""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Protocol

from harness.core.clock import Clock
from harness.core.errors import SetupError, ShadowdiffError
from harness.core.labels import Role
from harness.core.limits import TARGET_START_ATTEMPTS_MAX
from harness.targets.guard import exit_sentence
from harness.targets.listeners import listens_below
from harness.targets.process import LOOPBACK, GuardedProcess, OutputTail, free_port
from harness.targets.ready import probe
from harness.targets.spec import TargetSpec, fill, split_command

_POLL_S: Final = 0.05
_SETTLE_S: Final = 2.0
"""Where the listener cannot be shown to be the build (a container's forwarder, say, or no /proc): a build that finds its
port taken ends within this time of the other program's answer, as a rule."""
_SHOWN_LINES: Final = 20
_PORT_TAKEN: Final = ("address already in use", "eaddrinuse", "address in use", "errno 98", "port is already allocated")


class PortTakenError(SetupError):
    """Another program took the port between its choice and the build's start."""


class Surroundings(Protocol):
    """What surrounds the builds that are started here: what they can be told of it, and what has to be made ready for them."""

    def names(self, role: Role) -> Mapping[str, str]:
        """Further names that are filled in, in commands and values of `env`."""
        ...

    def env(self, role: Role) -> Mapping[str, str]:
        """Environment variables of a build, which its own `env` may replace."""
        ...

    def host(self, role: Role) -> str:
        """The address at which a build listens and is reached."""
        ...

    def entered(self, role: Role, command: list[str]) -> list[str]:
        """The command that starts a build where it has to run; hooks run where the harness does."""
        ...

    async def prepare(self) -> None:
        """Called before each start, while no build runs and before hooks do. Raises SetupError."""
        ...


class Nothing:
    """No surroundings."""

    def names(self, role: Role) -> Mapping[str, str]:
        """See `Surroundings`."""
        del role
        return {}

    def env(self, role: Role) -> Mapping[str, str]:
        """See `Surroundings`."""
        del role
        return {}

    def host(self, role: Role) -> str:
        """See `Surroundings`."""
        del role
        return LOOPBACK

    def entered(self, role: Role, command: list[str]) -> list[str]:
        """See `Surroundings`."""
        del role
        return command

    async def prepare(self) -> None:
        """See `Surroundings`."""


NOTHING: Final = Nothing()


class TargetRunner:
    """One target. `start` and `restart` return the base URL to send requests to; each start has a port of its own.

    `prepare` runs once, before the first start. `restart` gives fresh state: a command is stopped, the `reset` command
    runs if there is one, and the command is started again; for a URL the `reset` command is all there is.
    All methods raise SetupError, with the last output, when the target or a hook fails.
    """

    def __init__(
        self, spec: TargetSpec, role: Role, clock: Clock, ports: set[int] | None = None, surroundings: Surroundings = NOTHING
    ) -> None:
        self.spec = spec
        self._surroundings = surroundings
        self.role = role
        self._clock = clock
        # Shared by the targets of a set, so that two that start together never get the same port.
        self._ports = set() if ports is None else ports
        self._port: int | None = None
        self._process: GuardedProcess | None = None
        self._tail = OutputTail()
        self._starts = 0
        self._prepared = False

    def output_tail(self) -> tuple[str, ...]:
        """The last lines the target wrote, oldest first; those of the latest start or hook."""
        return self._tail.lines()

    @property
    def running(self) -> bool:
        """Whether a started command has not ended; always true for a URL, whose owner is somebody else."""
        return self.spec.command is None or (self._process is not None and self._process.exit_code is None)

    async def prepare(self) -> None:
        """Run the `prepare` command, the first time only."""
        if not self._prepared and self.spec.prepare is not None:
            await self.run_hook(self.spec.prepare)
        self._prepared = True

    async def start(self) -> str:
        """Prepare if that was not done, start the command and wait until it answers; the base URL."""
        await self.prepare()
        if self.spec.url is not None:
            await self._wait_ready(self.spec.url, None)
            return self.spec.url
        for attempt in range(1, TARGET_START_ATTEMPTS_MAX + 1):
            try:
                return await self._start_command(self._take_port())
            except PortTakenError:
                if attempt == TARGET_START_ATTEMPTS_MAX:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def reset(self) -> None:
        """Run the `reset` command, if there is one."""
        if self.spec.reset is not None:
            await self.run_hook(self.spec.reset)

    async def restart(self) -> str:
        """Stop, reset, start: fresh state. For a URL without a reset command the state stays (see `can_reset`)."""
        await self.stop()
        await self.reset()
        return await self.start()

    async def stop(self) -> None:
        """End the command and all it started. Calling it again, or for a URL, does nothing."""
        if self._process is not None:
            await self._process.stop()
            self._process = None
            self._ports.discard(self._port or 0)

    async def run_hook(self, command: str, env: Mapping[str, str] | None = None) -> None:
        """Run a command to its end, in the target's folder and environment, `env` added."""
        self._tail = OutputTail()
        names = self._names()
        arguments = [fill(part, names) for part in split_command(command, where=f"target {self.role}")]
        process = await self._launch(arguments, names, env or {})
        try:
            async with asyncio.timeout(self.spec.hook_timeout_s):
                code = await process.wait()
        except TimeoutError:
            raise self._failure(f"'{command}' did not end within {self.spec.hook_timeout_s:g} s", fix="raise hook_timeout_s") from None
        finally:
            await process.stop()
        if code != 0:
            raise self._failure(f"'{command}' {exit_sentence(code)}", fix="run the command by hand, in the target's folder")

    def _take_port(self) -> int:
        port = free_port()
        while port in self._ports:
            port = free_port()
        self._ports.add(port)
        self._port = port
        return port

    async def _start_command(self, port: int) -> str:
        command = self.spec.command
        assert command is not None
        self._tail = OutputTail()
        names = self._names() | {"port": str(port)}
        arguments = [fill(part, names) for part in split_command(command, where=f"target {self.role}")]
        self._starts += 1
        self._process = await self._launch(self._surroundings.entered(self.role, arguments), names, {})
        host = self._surroundings.host(self.role)
        base = f"http://{host}:{port}"
        try:
            # At an address of its own nobody else can answer.
            await self._wait_ready(base, port if host == LOOPBACK else None)
        except BaseException:  # a cancellation too: no process is left behind
            await self.stop()
            raise
        return base

    async def _launch(self, arguments: list[str], names: Mapping[str, str], env: Mapping[str, str]) -> GuardedProcess:
        own = {name: fill(value, names) for name, value in self.spec.env.items()}
        return await GuardedProcess.start(
            arguments,
            env={**os.environ, **self._surroundings.env(self.role), **own, **env},
            cwd=self.spec.cwd or os.getcwd(),  # noqa: PTH109  # the guard takes text
            grace_s=self.spec.stop_timeout_s,
            tail=self._tail,
        )

    async def _wait_ready(self, base: str, port: int | None) -> None:
        deadline_ns = self._clock.monotonic_ns() + int(self.spec.ready_timeout_s * 1e9)
        answer: str | None = "no answer"
        while True:
            left_s = (deadline_ns - self._clock.monotonic_ns()) / 1e9
            if left_s <= 0:
                break
            # A probe cut short says less than the one before it. Not wait_for: in Python 3.11 it loses a cancellation
            # that comes in the same step as the answer.
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    answer = await probe(base, self.spec.ready)
            if answer is None and port is not None:
                await self._settle(port)
            await self._raise_if_ended(answered=answer is None)
            if answer is None:
                return
            await asyncio.sleep(_POLL_S)
        raise self._failure(
            f"never became ready within {self.spec.ready_timeout_s:g} s (GET {base}{self.spec.ready}: {answer})",
            fix=f"start it by hand and ask its ready path; raise ready_timeout_s if it is only slow{self._host_hint()}",
        )

    async def _settle(self, port: int) -> None:
        """Somebody else may be answering while the build is about to end because it could not have the port."""
        process = self._process
        assert process is not None
        deadline_ns = self._clock.monotonic_ns() + int(_SETTLE_S * 1e9)
        while process.exit_code is None and not listens_below(process.pid, port) and self._clock.monotonic_ns() < deadline_ns:  # noqa: ASYNC110  # nothing tells when
            await asyncio.sleep(_POLL_S)

    async def _raise_if_ended(self, *, answered: bool) -> None:
        process = self._process
        if process is None or process.exit_code is None:
            return
        code = await process.wait()
        what = f"{exit_sentence(code)} before it was ready"
        output = "\n".join(self.output_tail()).lower()
        if answered or any(sign in output for sign in _PORT_TAKEN):
            raise self._failure(f"{what}: another program took its port", fix="run it again", kind=PortTakenError)
        raise self._failure(what, fix="run the command by hand; it must stay in the foreground")

    def _host_hint(self) -> str:
        alone = self.spec.command is not None and self._surroundings.host(self.role) != LOOPBACK
        return f"; in a network of its own it has to listen on {{host}} or 0.0.0.0, not on {LOOPBACK}" if alone else ""

    def _names(self) -> dict[str, str]:
        host = self._surroundings.host(self.role)
        own = {"role": str(self.role), "start": str(self._starts), "python": sys.executable, "host": host}
        return {**self._surroundings.names(self.role), **own}

    def _failure(self, what: str, *, fix: str, kind: type[SetupError] = SetupError) -> SetupError:
        lines = self.output_tail()[-_SHOWN_LINES:]
        shown = "; last output:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""
        if not lines and self.spec.command is not None:
            shown = "; it wrote nothing"
        name = f"{self.role}, the second instance of stable," if self.role is Role.SECONDARY else self.role
        return kind(f"target {name} {what}{shown}", where=self.spec.describe(), fix=fix)


class TargetSet:
    """The targets of a run, together. Builds start at the same time, so that none has a head start; hooks run one after another."""

    def __init__(self, specs: Mapping[Role, TargetSpec], clock: Clock, surroundings: Surroundings = NOTHING) -> None:
        ports: set[int] = set()
        self._surroundings = surroundings
        self.runners = {role: TargetRunner(specs[role], role, clock, ports, surroundings) for role in Role if role in specs}

    @property
    def can_reset(self) -> bool:
        """Whether a restart gives every target fresh state."""
        return all(runner.spec.can_reset for runner in self.runners.values())

    async def start(self) -> dict[Role, str]:
        """Base URLs once all are ready. When one fails, all are stopped and its SetupError is raised."""
        try:
            await self._surroundings.prepare()
            for runner in self.runners.values():
                await runner.prepare()
            return await self._start_all()
        except BaseException:  # a cancellation too: no process is left behind
            await self.stop()
            raise

    async def restart(self) -> dict[Role, str]:
        """Fresh state for all; new base URLs. When one fails, all are stopped and its SetupError is raised."""
        await self.stop()
        try:
            await self._surroundings.prepare()
            for runner in self.runners.values():
                await runner.reset()
            return await self._start_all()
        except BaseException:  # a cancellation too: no process is left behind
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all, also when stopping one of them fails; the first failure is raised at the end."""
        results = await asyncio.gather(*(runner.stop() for runner in self.runners.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def __aenter__(self) -> "TargetSet":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def _start_all(self) -> dict[Role, str]:
        tasks: dict[Role, asyncio.Task[str]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for role, runner in self.runners.items():
                    tasks[role] = group.create_task(runner.start(), name=f"start-{role}")
        except BaseExceptionGroup as failures:  # what a task group raises; the user is told one cause
            known = failures.subgroup(ShadowdiffError)
            raise (known or failures).exceptions[0] from None
        return {role: task.result() for role, task in tasks.items()}
