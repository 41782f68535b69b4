"""What the order service calls on: a payment service and a mail service, as values and as small servers on loopback.

The servers count who called, by the trace context that a call hands on. So the demo can say whose calls really came.
"""

from collections import Counter
from random import Random
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import orjson
from aiohttp import web

from harness.core.labels import Role
from harness.core.trace import TRACEPARENT, parse_traceparent, span_of

PAYMENTS: Final = "payments.demo"
MAIL: Final = "mail.demo"
URL_VARIABLES: Final = {PAYMENTS: "DEMO_PAYMENTS_URL", MAIL: "DEMO_MAIL_URL"}
"""Environment variables that tell the order service where each service is. Without its own, a service is not called."""
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
BODY_BYTES_MAX: Final = 16 * 1024
SHUTDOWN_S: Final = 1.0


class OutboundCall(msgspec.Struct, frozen=True):
    """One POST that the order service owes another service."""

    service: str
    """PAYMENTS or MAIL."""
    path: str
    body: dict[str, Any]
    headers: tuple[tuple[str, str], ...] = ()


class Outside:
    """Both services on 127.0.0.1, each on a free port, for as long as the context lasts."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._runners: list[web.AppRunner] = []
        self.addresses: dict[str, str] = {}
        """HOST:PORT by name."""
        self.calls: Counter[tuple[str, Role | None]] = Counter()
        """Calls that came, by service and caller; None for a caller that does not say who it is."""

    async def __aenter__(self) -> Self:
        try:
            for name, path, answer in ((PAYMENTS, "/charges", self._charge), (MAIL, "/messages", self._message)):
                app = web.Application(client_max_size=BODY_BYTES_MAX)
                app.router.add_post(path, answer)
                runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
                self._runners.append(runner)
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                host, port = runner.addresses[0][:2]
                self.addresses[name] = f"{host}:{port}"
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        await self._stop()

    def came(self, *roles: Role | None) -> int:
        """How many calls of some callers came, at both services together."""
        return sum(count for (_, caller), count in self.calls.items() if caller in roles)

    async def _stop(self) -> None:
        while self._runners:
            await self._runners.pop().cleanup()

    async def _charge(self, request: web.Request) -> web.Response:
        """Takes the money at once."""
        body = await self._read(PAYMENTS, request)
        amount = body.get("amount")
        if not isinstance(amount, int | float) or amount <= 0 or IDEMPOTENCY_KEY not in request.headers:
            return web.json_response({"status": "refused"}, status=400)
        return web.json_response({"id": f"ch_{self._chance.getrandbits(64):016x}", "status": "paid"}, status=201)

    async def _message(self, request: web.Request) -> web.Response:
        """Takes the message; it goes nowhere."""
        body = await self._read(MAIL, request)
        if not isinstance(body.get("to"), str):
            return web.json_response({"status": "refused"}, status=400)
        return web.json_response({"id": f"msg_{self._chance.getrandbits(64):016x}", "status": "queued"}, status=202)

    async def _read(self, service: str, request: web.Request) -> dict[str, Any]:
        """Count the call; its body, empty where that is no JSON object."""
        self.calls[service, caller_of(request.headers.get(TRACEPARENT, ""))] += 1
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            return {}
        return body if isinstance(body, dict) else {}


def caller_of(traceparent: str) -> Role | None:
    """Which of the builds made a call, by the trace context that the harness gave it."""
    parsed = parse_traceparent(traceparent)
    if parsed is None:
        return None
    return next((role for role in Role if span_of(parsed.trace, role) == parsed.parent), None)
