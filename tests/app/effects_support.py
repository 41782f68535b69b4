"""What the tests of effects in the wiring share: an outside, and builds that call it through the egress proxy they were given."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
import pytest
from aiohttp import web

from harness.app import effects as wiring
from harness.core.labels import Role
from harness.effects.api import Collector, Observed, Workplace
from harness.effects.egress.collector import EgressCollector
from harness.effects.egress.options import address_of
from harness.settings.effects import EffectsSettings, EgressHostSettings, EgressSettings
from harness.targets.process import free_port
from tests.app.support import serving

HOST = "pay.test"
Calls = Callable[[web.Request], list[tuple[str, dict[str, Any]]]]
"""Path and document of each call that a build makes while it answers."""


class Outside:
    """Counts what reaches it, by path."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.seen: Counter[str] = Counter()
        self.free = asyncio.Event()
        """Until it is set, an outside that hangs answers nobody."""
        if not hangs:
            self.free.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen[request.path] += 1
        await request.read()
        await self.free.wait()
        return web.json_response({"ok": True})


def charge(request: web.Request) -> list[tuple[str, dict[str, Any]]]:
    """One charge for each request; none when it is asked whether it is ready."""
    return [("/charges", {"item": request.path, "amount": 10})] if request.path != "/" else []


def charge_twice(request: web.Request) -> list[tuple[str, dict[str, Any]]]:
    """The same, twice."""
    return charge(request) * 2


@asynccontextmanager
async def calling(calls: Calls, proxy: str, *, waits: bool = True) -> AsyncIterator[str]:
    """The base URL of a build that makes these calls, hands on the trace it was given, and always answers alike.

    Unless it `waits` for the answers to its calls, it makes them in the background.
    """
    async with aiohttp.ClientSession() as client:
        background: set[asyncio.Task[None]] = set()

        async def call(request: web.Request) -> None:
            traced = {name: value for name, value in request.headers.items() if name.lower() in {"traceparent", "baggage"}}
            for path, document in calls(request):
                async with client.post(f"http://{HOST}{path}", json=document, proxy=f"http://{proxy}", headers=traced) as made:
                    await made.read()

        async def answer(request: web.Request) -> web.StreamResponse:
            making = asyncio.create_task(call(request))
            if waits:
                await making
            else:
                background.add(making)
            return web.json_response({"path": request.path, "price": 10})

        try:
            async with serving(answer) as url:
                yield url
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)


@asynccontextmanager
async def callers(candidate: Calls, listen: dict[str, str], *, waits: bool = True) -> AsyncIterator[dict[Role, str]]:
    """Stable, secondary and candidate, by role, each behind its own egress proxy."""
    async with (
        calling(charge, listen["stable"], waits=waits) as one,
        calling(charge, listen["secondary"], waits=waits) as two,
        calling(candidate, listen["candidate"], waits=waits) as three,
    ):
        yield {Role.STABLE: one, Role.SECONDARY: two, Role.CANDIDATE: three}


def addresses() -> dict[str, str]:
    """Where an egress proxy can listen for each role."""
    return {str(role): f"127.0.0.1:{free_port()}" for role in Role}


def watched(outside: str, listen: dict[str, str], mode: str = "observe", tape: Path | None = None, **options: Any) -> EffectsSettings:
    """Outbound calls to HOST, which is really at `outside`."""
    upstream = outside.removeprefix("http://")
    assert address_of(upstream) is not None
    hosts = {HOST: EgressHostSettings(upstream=upstream)}
    http = EgressSettings(mode=mode, listen=listen, hosts=hosts, tape=None if tape is None else str(tape))  # type: ignore[arg-type]  # a test's own word
    return EffectsSettings(collect=("http",), http=http, **options)


async def ask(url: str, headers: dict[str, str] | None = None) -> int:
    """The status of one request."""
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as answer:
        await answer.read()
        return answer.status


def held_drain(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """While the event is not set, the egress collector answers nobody who asks what it saw. It is set at first."""
    drain, free = EgressCollector.drain, asyncio.Event()
    free.set()

    async def held(collector: EgressCollector) -> list[Observed]:
        await free.wait()
        return await drain(collector)

    monkeypatch.setattr(EgressCollector, "drain", held)
    return free


def empty_folder(path: Path) -> bool:
    """Whether nothing is in a folder."""
    return not any(path.iterdir())


Body = Callable[[], Awaitable[None]]


class Plugged(Collector):
    """A collector of another package, made by a test: it sees nothing and writes down what it is asked."""

    name = "plugged"
    log: list[str]

    @classmethod
    def make(cls, options: Mapping[str, object], workplace: Workplace) -> Self:
        del options, workplace
        cls.log = []
        return cls()

    async def open(self, roles: Collection[Role]) -> None:
        del roles
        self.log.append("open")

    async def prepare(self, role: Role) -> None:
        self.log.append(f"prepare {role}")

    async def attach(self) -> None:
        self.log.append("attach")

    async def detach(self) -> None:
        self.log.append("detach")

    async def close(self) -> None:
        self.log.append("close")


class _Point(NamedTuple):
    """An entry point."""

    name: str
    found: type[Collector]

    def load(self) -> type[Collector]:
        return self.found


def plug_in(monkeypatch: pytest.MonkeyPatch, *found: type[Collector]) -> EffectsSettings:
    """Settings that name these collectors, which are installed beside those of the project."""
    installed = entry_points
    monkeypatch.setattr(wiring, "entry_points", lambda group: [*installed(group=group), *(_Point(each.name, each) for each in found)])
    return EffectsSettings(collect=tuple(each.name for each in found))
