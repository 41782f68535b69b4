"""The admin port: verdict, health and metrics over HTTP, and the switch of mirroring. Knows a provider of states; never the pipeline.

It listens on loopback by default; anywhere else a token is needed, and without one it does not start. The switch and the
closing of an epoch are the only things that change anything. A page in somebody's browser cannot reach them: they take
JSON only, which a page may not send to another origin unasked, and without a token they are asked under a name of loopback
only, which a page of a renamed host (DNS rebinding) is not.
"""

import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
from aiohttp import web

from harness.core.clock import Clock
from harness.core.errors import SetupError, ShadowdiffError, UsageError
from harness.counters import TargetBreakers
from harness.web.answer import AdminState, verdict_answer
from harness.web.epoch import asked_build
from harness.web.switch import asked_percent, mirror_answer

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Asked by load balancers and kubelets, which carry no token; they say nothing but yes or no."""
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text exposition."""
HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_SHUTDOWN_SECONDS: Final = 1.0

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StateProvider(Protocol):
    """Whoever knows how the run stands. Everything is called on the event loop and must not block."""

    def state(self) -> AdminState:
        """How it stands now."""
        ...

    def metrics(self) -> bytes:
        """The text exposition of the run's metrics."""
        ...

    def mirroring(self) -> float:
        """How much of what is sampled is mirrored, in percent."""
        ...

    def breakers(self) -> Mapping[str, TargetBreakers]:
        """How the breakers of each shadow target stand."""
        ...

    def set_mirroring(self, percent: float) -> None:
        """Mirror this much from now on: 100 all of it, 0 nothing."""
        ...

    def history(self) -> Sequence[msgspec.Struct]:
        """The newest epochs with their verdicts, oldest first, and last the one that is on. Bounded."""
        ...

    async def new_epoch(self, build: str | None) -> None:
        """Close the epoch that is on, and begin the next: of `build`, or of the same build. Raises ShadowdiffError where that cannot be."""
        ...


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name other than localhost is taken to be reachable."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host_name(authority: str) -> str:
    """A Host header without its port."""
    name, colon, port = authority.rpartition(":")
    return name if colon and port.isdigit() else authority


class AdminServer:
    """The admin port of one run."""

    def __init__(self, provider: StateProvider, *, host: str = "127.0.0.1", port: int = 0, token: str | None = None, clock: Clock) -> None:
        """`port` 0 takes a free one. Raises UsageError for an address beyond loopback without a token."""
        if not token and not is_loopback(host):
            raise UsageError(
                f"the admin port on {host} needs a token", where="proxy.admin", fix="set SHADOWDIFF_ADMIN_TOKEN, or listen on 127.0.0.1"
            )
        self._provider = provider
        self._host = host.strip("[]")
        self._port = port
        self._token = token.encode("utf-8") if token else None
        self._clock = clock
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port it listens on; the one asked for before it listens."""
        if self._runner is not None and self._runner.addresses:
            return int(self._runner.addresses[0][1])
        return self._port

    @property
    def address(self) -> str:
        """Its base URL."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listens. Raises SetupError where the address cannot be taken."""
        runner = web.AppRunner(self._application(), access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            where = f"{self._host}:{self._port}"
            raise SetupError(
                f"the admin port cannot be opened: {error.strerror}", where=where, fix="give another --admin address"
            ) from error
        except asyncio.CancelledError:
            await runner.cleanup()
            raise
        self._runner = runner

    async def stop(self) -> None:
        """Stops listening and ends what is under way. May be called twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=1024)
        application.router.add_get("/api/v1/verdict", self._verdict)
        application.router.add_get("/api/v1/mirror", self._mirror)
        application.router.add_post("/api/v1/mirror", self._set_mirror)
        application.router.add_get("/api/v1/history", self._history)
        application.router.add_post("/api/v1/epoch", self._new_epoch)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Lets in who carries the token, and gives every answer the same headers."""
        if request.path not in OPEN_PATHS and not self._allowed(request):
            challenge = {**HEADERS, "WWW-Authenticate": 'Bearer realm="shadowdiff"'}
            return web.json_response({"error": "a token is needed"}, status=401, headers=challenge)
        try:
            response = await handler(request)
        except web.HTTPException as refusal:
            return web.json_response({"error": refusal.reason}, status=refusal.status, headers=HEADERS)
        response.headers.update(HEADERS)
        return response

    def _allowed(self, request: web.Request) -> bool:
        if self._token is None:
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._token)

    async def _verdict(self, request: web.Request) -> web.Response:
        answer = verdict_answer(self._provider.state(), build=request.query.get("build"), now=self._clock.time())
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json", charset="utf-8")

    async def _mirror(self, _request: web.Request) -> web.Response:
        return self._mirroring()

    async def _set_mirror(self, request: web.Request) -> web.Response:
        self._check_change(request)
        try:
            percent = asked_percent(request.query, await request.read())
        except UsageError as error:
            return web.json_response({"error": error.what, "fix": error.fix}, status=400)
        self._provider.set_mirroring(percent)
        return self._mirroring()

    def _check_change(self, request: web.Request) -> None:
        """Whether a request may change something: see the module."""
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(reason="Content-Type: application/json is needed")
        if self._token is None and not is_loopback(_host_name(request.host)):
            raise web.HTTPForbidden(reason="without a token, ask under a loopback address or localhost")

    async def _history(self, _request: web.Request) -> web.Response:
        return self._told_history()

    async def _new_epoch(self, request: web.Request) -> web.Response:
        self._check_change(request)
        try:
            await self._provider.new_epoch(asked_build(await request.read()))
        except UsageError as error:
            return web.json_response({"error": error.what, "fix": error.fix}, status=400)
        except ShadowdiffError as error:
            return web.json_response({"error": error.what, "fix": error.fix}, status=503)
        return self._told_history()

    def _told_history(self) -> web.Response:
        body = msgspec.json.encode({"history": self._provider.history()})
        return web.Response(body=body, content_type="application/json", charset="utf-8")

    def _mirroring(self) -> web.Response:
        return web.Response(
            body=msgspec.json.encode(mirror_answer(self._provider.mirroring(), self._provider.breakers())),
            content_type="application/json",
            charset="utf-8",
        )

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        ready = self._provider.state().ready
        return web.Response(text="ready\n" if ready else "not ready\n", status=200 if ready else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._provider.metrics(), headers={"Content-Type": METRICS_TYPE})
