"""Real parts for tests of the egress proxy: services outside, builds that call them through it, trials."""

import asyncio
import contextlib
import random
import shutil
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import aiohttp
import orjson
import trustme
import uvloop
from aiohttp import web

from harness.core.labels import Role
from harness.core.redact import Redactor
from harness.core.trace import with_trace
from harness.core.values import Effect
from harness.effects.api import Observed, OpenTrial, Workplace
from harness.effects.egress.collector import EgressCollector

ROLES = (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)
HOST = "payments.test"
DEADLINE_S = 60.0
T = TypeVar("T")


class SystemClock:
    """The real clock."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def time(self) -> float:
        return time.time()


LOOPS: Final = ("asyncio", "uvloop")


def run(main: Callable[[], Coroutine[Any, Any, T]], loop: str = "asyncio") -> T:
    """Run to its end, or fail."""

    async def bounded() -> T:
        async with asyncio.timeout(DEADLINE_S):
            return await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        return runner.run(bounded())


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + DEADLINE_S / 2
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"never: {what}")
        await asyncio.sleep(0.005)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def echo(request: web.Request) -> web.StreamResponse:
    """What came, and how many came before."""
    body = await request.read()
    return web.json_response({"path": request.path_qs, "body": body.decode("latin-1"), "method": request.method})


class Service:
    """A service outside: what it got, and over how many connections."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[tuple[str, str]] = []
        self.headers: list[Mapping[str, str]] = []
        self.connections = 0
        self.port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        self.headers.append(dict(request.headers))
        return await self.handler(request)


@contextlib.asynccontextmanager
async def service(handler: Handler = echo, tls: ssl.SSLContext | None = None) -> AsyncIterator[Service]:
    """Run a service on a free port."""
    made = Service(handler)
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{rest:.*}", made.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site_of = runner.server
    assert site_of is not None

    def count() -> asyncio.Protocol:
        made.connections += 1
        return site_of()

    server = await asyncio.get_running_loop().create_server(count, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await runner.cleanup()


def authority(folder: Path) -> tuple[trustme.CA, Path]:
    """A certificate authority outside, and its file."""
    made = trustme.CA()
    path = folder / "outside-ca.pem"
    made.cert_pem.write_to_path(str(path))
    return made, path


def server_tls(made: trustme.CA, *names: str) -> ssl.SSLContext:
    """TLS of a service."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert(*names).configure_cert(context)
    return context


class Bench(NamedTuple):
    """A collector at work."""

    collector: EgressCollector
    folder: Path

    def url(self, role: Role) -> str:
        return self.collector.names(role)["egress"]

    @contextlib.asynccontextmanager
    async def client(self, role: Role) -> AsyncIterator["Client"]:
        """A build of a role as far as its outbound calls go."""
        tls = ssl.create_default_context(cafile=self.collector.names(role)["ca"])
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), timeout=aiohttp.ClientTimeout(DEADLINE_S / 2)) as session:
            yield Client(session, self.url(role), role)

    def begin(self, number: int = 1, request: str = "r") -> OpenTrial:
        trial = OpenTrial(trace=f"{number:032x}", roles=ROLES, request=request)
        self.collector.begin(trial)
        return trial

    async def settle(self, trial: OpenTrial, seconds: float = DEADLINE_S / 2) -> bool:
        return await self.collector.settle(trial, time.monotonic_ns() + int(seconds * 1e9))

    async def drained(self) -> list[Observed]:
        return await self.collector.drain()

    def lapses(self) -> dict[str, int]:
        return {lapse.what: lapse.count for lapse in self.collector.lapses()}


class Answered(NamedTuple):
    """What a build got."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Client(NamedTuple):
    """A build's way outside."""

    session: aiohttp.ClientSession
    proxy: str
    role: Role

    async def call(self, method: str, url: str, trial: OpenTrial | None = None, **more: Any) -> Answered:
        headers = dict(more.pop("headers", {}))
        if trial is not None:
            headers |= dict(with_trace((), trial.trace, self.role))
        async with self.session.request(method, url, proxy=self.proxy, headers=headers, **more) as answer:
            return Answered(answer.status, await answer.read(), dict(answer.headers))


@contextlib.asynccontextmanager
async def bench(folder: Path, *, live: bool = False, **options: Any) -> AsyncIterator[Bench]:
    """A collector, opened for all roles and attached."""
    own = folder / f"egress-{random.randrange(10**9)}"
    own.mkdir()
    shared = own / "ca"
    if (kept := folder / "kept-ca").exists():  # keys take long to make
        shutil.copytree(kept, shared)
    workplace = Workplace(folder=own, clock=SystemClock(), rng=random.Random(7), redactor=Redactor(b"key"), live=live)
    collector = EgressCollector.make(options, workplace)
    try:
        await collector.open(ROLES)
        if not kept.exists() and shared.exists():
            shutil.copytree(shared, kept)
        await collector.attach()
        yield Bench(collector, own)
    finally:
        await collector.close()


def upstream(made: Service, **more: Any) -> dict[str, Any]:
    """The option `hosts` by which HOST is this service."""
    return {HOST: {"upstream": f"127.0.0.1:{made.port}", **more}}


def document(effect: Effect) -> Any:
    """An effect's document."""
    return orjson.loads(effect.document)
