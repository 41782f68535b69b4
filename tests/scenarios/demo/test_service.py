"""The service on a port, as a process of its own."""

import asyncio
import subprocess
import sys
import time
from random import Random

import aiohttp
import pytest
from aiohttp import web

from scenarios.demo.api import OrderService
from scenarios.demo.service import application, main


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
