"""The order service on a port: `python -m scenarios.demo.service --port N --build stable|candidate [--seed TEXT]`.

Only sockets, waiting and options are here. Two instances with one seed make the same random choices in the same order;
instances that are to be told apart by nothing but chance are started without a seed, or with one each.

The payment and the mail service are called where the environment says where they are (`DEMO_PAYMENTS_URL`,
`DEMO_MAIL_URL`), through the proxy that it names (`HTTP_PROXY`). Without these variables nobody is called.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from random import Random, SystemRandom
from typing import Final

import aiohttp
import orjson
from aiohttp import web

from harness.core.trace import BAGGAGE, TRACEPARENT
from harness.core.values import Headers, Request, body_of
from scenarios.demo.api import BUILDS, OrderService
from scenarios.demo.outside import URL_VARIABLES, OutboundCall

BODY_BYTES_MAX: Final = 64 * 1024
SHUTDOWN_S: Final = 1.0
CALL_TIMEOUT_S: Final = 15.0
HANDED_ON: Final = frozenset({TRACEPARENT, BAGGAGE})
"""Headers of a request that go with the calls made for it, so that others can tell what belongs together."""


class Courier:
    """Sends what the service owes to others. `urls` has the origin of each of them by name; the rest is not called."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        self._client: aiohttp.ClientSession | None = None

    async def open_while(self, _app: web.Application) -> AsyncIterator[None]:
        """For `Application.cleanup_ctx`."""
        if not self._urls:
            yield
            return
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
        async with aiohttp.ClientSession(trust_env=True, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as self._client:
            yield

    async def send(self, calls: Iterable[OutboundCall], headers: Headers) -> None:
        """One after the other, for a request with these headers. Never raises for what others do: an order stands without them."""
        handed_on = [pair for pair in headers if pair[0].lower() in HANDED_ON]
        for call in calls:
            if self._client is None or (url := self._urls.get(call.service)) is None:
                continue
            own = [("Content-Type", "application/json"), *call.headers, *handed_on]
            try:
                async with self._client.post(url + call.path, data=orjson.dumps(call.body), headers=own) as answer:
                    await answer.read()
            except (aiohttp.ClientError, TimeoutError, OSError):
                continue  # a nightly job makes up for it


def application(service: OrderService, urls: Mapping[str, str] | None = None) -> web.Application:
    """The service as an aiohttp application; each answer is held back for as long as the service worked on it.

    `urls` has the origins of the services that it may call, by name.
    """
    courier = Courier(urls or {})

    async def answer(incoming: web.Request) -> web.Response:
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in incoming.raw_headers)
        request = Request(incoming.method, incoming.raw_path, headers, body_of(await incoming.read()), incoming.host)
        answer = service.answer(request)
        await courier.send(answer.calls, headers)
        await asyncio.sleep(answer.work_ms / 1000)
        response = answer.response
        return web.Response(status=response.status, body=response.body.data, headers=list(response.headers))

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.cleanup_ctx.append(courier.open_while)
    app.router.add_route("*", "/{path:.*}", answer)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="The demo's order service.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--build", choices=sorted(BUILDS), default="stable")
    parser.add_argument("--seed", help="makes the random choices repeatable; each instance needs its own")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else SystemRandom().getrandbits(64)
    service = OrderService(options.build, Random(seed), time.time)
    urls = {name: url for name, variable in URL_VARIABLES.items() if (url := os.environ.get(variable))}
    sys.stdout.write(f"order service listens on 127.0.0.1:{options.port}\n")
    sys.stdout.flush()
    web.run_app(
        application(service, urls),
        host="127.0.0.1",
        port=options.port,
        access_log=None,
        print=None,
        shutdown_timeout=SHUTDOWN_S,
    )


if __name__ == "__main__":
    main()
