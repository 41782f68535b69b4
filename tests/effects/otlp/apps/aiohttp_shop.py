# mypy: ignore-errors
"""The same shop on aiohttp, server and client. `PAYMENTS` is the payment service, `CHARGES` how often it is asked."""

import os

import aiohttp
from aiohttp import web

PAYMENTS = os.environ["PAYMENTS"]
CHARGES = int(os.environ.get("CHARGES", "1"))


async def create(request: web.Request) -> web.Response:
    number = int(request.match_info["number"])
    status = []
    async with aiohttp.ClientSession() as session:
        for _ in range(CHARGES):
            async with session.post(f"{PAYMENTS}/charges/{number}", json={"amount": 5}) as answer:
                status.append(answer.status)
    return web.json_response({"id": number, "charged": status})


async def ready(_: web.Request) -> web.Response:
    return web.Response(text="ready")


if __name__ == "__main__":
    application = web.Application()
    application.router.add_post("/orders/{number}", create)
    application.router.add_get("/ready", ready)
    web.run_app(application, host="127.0.0.1", port=int(os.environ["PORT"]), print=None)
