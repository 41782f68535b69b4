"""The service on a port, as a process of its own."""

import asyncio
import os
import subprocess
import sys
import time
from random import Random

import aiohttp
import pytest
from aiohttp import web

from scenarios.demo.api import OrderService
from scenarios.demo.outside import MAIL, PAYMENTS
from scenarios.demo.service import application, main

TRACE = f"00-{7:032x}-{9:016x}-01"


def test_over_http() -> None:
    async def go() -> None:
        runner = web.AppRunner(application(OrderService("candidate", Random(1), time.time)))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        tenant = {"X-Tenant": "harbor", "X-Region": "eu-west"}
        async with aiohttp.ClientSession(base, headers=tenant) as client:
            async with client.post("/login", json={"customer": 1001, "passphrase": "x"}) as answer:
                token = (await answer.json())["token"]
            order = {"lines": [{"sku": 40000, "quantity": 1}]}
            async with client.post("/orders", json=order, headers={"Authorization": f"Bearer {token}"}) as answer:
                assert answer.status == 201
                location = answer.headers["Location"]
            async with client.get(location, headers={"Authorization": f"Bearer {token}"}) as answer:
                assert (await answer.json())["status"] == "open"
            async with client.get("/products/1%20?x=%C3%A4") as answer:
                assert answer.status == 404
                assert answer.content_type == "application/problem+json"
            started = time.monotonic()
            async with client.get("/recommendations?sku=40000") as answer:
                assert answer.status == 200
            assert time.monotonic() - started > 0.03
        await runner.cleanup()

    asyncio.run(go())


def calling(proxy: str | None, *, answers: int = 201) -> list[tuple[str, str | None, str | None]]:
    """Place an order at a service that knows an outside; what reached the proxy there: target, trace, key."""
    reached: list[tuple[str, str | None, str | None]] = []

    async def outside(request: web.Request) -> web.Response:
        await request.read()
        reached.append((str(request.url), request.headers.get("traceparent"), request.headers.get("Idempotency-Key")))
        if not answers:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({}, status=answers or 500)

    async def go() -> None:
        proxied = web.AppRunner(standing_in := web.Application())
        standing_in.router.add_route("*", "/{path:.*}", outside)
        await proxied.setup()
        await web.TCPSite(proxied, "127.0.0.1", 0).start()
        os.environ["http_proxy"] = f"http://127.0.0.1:{proxied.addresses[0][1]}"
        urls = {} if proxy is None else {PAYMENTS: f"http://{proxy}", MAIL: "http://mail.demo"}
        runner = web.AppRunner(application(OrderService("stable", Random(1), time.time), urls))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession(base, headers={"X-Tenant": "harbor", "X-Region": "eu-west"}) as client:
            async with client.post("/login", json={"customer": 1001, "passphrase": "x"}) as answer:
                token = (await answer.json())["token"]
            order = {"lines": [{"sku": 40000, "quantity": 1}]}
            own = {"Authorization": f"Bearer {token}", "traceparent": TRACE, "baggage": "a=b"}
            async with client.post("/orders", json=order, headers=own) as answer:
                assert answer.status == 201
        await runner.cleanup()
        await proxied.cleanup()

    asyncio.run(go())
    return reached


@pytest.fixture
def proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")


@pytest.mark.usefixtures("proxy_variables")
def test_the_outside_is_called_through_the_proxy_with_the_trace_handed_on() -> None:
    (charge, trace, key), (mail, other, no_key) = calling("payments.demo")
    assert (charge, mail) == ("http://payments.demo/charges", "http://mail.demo/messages")
    assert trace == other == TRACE
    assert key is not None
    assert no_key is None


@pytest.mark.usefixtures("proxy_variables")
@pytest.mark.parametrize("answers", [599, 0])
def test_an_order_stands_whatever_becomes_of_the_calls(answers: int) -> None:
    assert {url for url, _, _ in calling("payments.demo", answers=answers)} == {"http://payments.demo/charges", "http://mail.demo/messages"}


@pytest.mark.usefixtures("proxy_variables")
def test_without_an_outside_nobody_is_called() -> None:
    assert calling(None) == []


def test_as_a_process() -> None:
    command = [sys.executable, "-P", "-m", "scenarios.demo.service", "--port", "0", "--build", "stable", "--seed", "7-stable-0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"order service listens on 127.0.0.1:0\n"
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert errors == b""


def test_wrong_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--port", "1", "--build", "other"])
    assert "invalid choice" in capsys.readouterr().err
