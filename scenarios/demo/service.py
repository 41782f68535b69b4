"""The order service on a port: `python -m scenarios.demo.service --port N --build stable|candidate [--seed TEXT]`.

Only sockets, waiting and options are here. Two instances with one seed make the same random choices in the same order;
instances that are to be told apart by nothing but chance are started without a seed, or with one each.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from random import Random, SystemRandom

from aiohttp import web

from harness.core.values import Request, body_of
from scenarios.demo.api import BUILDS, OrderService

BODY_BYTES_MAX = 64 * 1024
SHUTDOWN_S = 1.0


def application(service: OrderService) -> web.Application:
    """The service as an aiohttp application; each answer is held back for as long as the service worked on it."""

    async def answer(incoming: web.Request) -> web.Response:
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in incoming.raw_headers)
        request = Request(incoming.method, incoming.raw_path, headers, body_of(await incoming.read()), incoming.host)
        answer = service.answer(request)
        await asyncio.sleep(answer.work_ms / 1000)
        response = answer.response
        return web.Response(status=response.status, body=response.body.data, headers=list(response.headers))

    app = web.Application(client_max_size=BODY_BYTES_MAX)
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
    sys.stdout.write(f"order service listens on 127.0.0.1:{options.port}\n")
    sys.stdout.flush()
    web.run_app(
        application(service),
        host="127.0.0.1",
        port=options.port,
        access_log=None,
        print=None,
        shutdown_timeout=SHUTDOWN_S,
    )


if __name__ == "__main__":
    main()
