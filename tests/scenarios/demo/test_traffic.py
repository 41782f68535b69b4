"""The demo's traffic: the same for a seed, enough of everything, and sent as planned."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

import pytest
from aiohttp import web

from scenarios.demo.api import OrderService
from scenarios.demo.catalogue import REGIONS, TENANTS
from scenarios.demo.service import application
from scenarios.demo.traffic import Session, Step, drive, plan
from tests.scenarios.demo.playing import play


def with_server(app: web.Application, use: Callable[[str], Awaitable[None]]) -> None:
    async def go() -> None:
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            await use(f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()

    asyncio.run(go())


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_plan_is_the_same_each_time_and_large_enough(seed: int) -> None:
    sessions = plan(seed)
    assert sessions == plan(seed) != plan(seed + 1)
    steps = [step for session in sessions for step in session.steps]
    assert 400 <= len(steps) <= 450
    paths = Counter(step.path.partition("?")[0].split("/")[1] + "/" * step.path.count("/") for step in steps if step.method == "GET")
    assert paths["products//"] >= 120
    assert paths["recommendations/"] >= 60
    distinct = {step.path for step in steps}
    assert sum("currency=JPY&qty" in path for path in distinct) >= 16
    assert sum(path.endswith("qty=0") for path in distinct) >= 16
    assert sum("region=ap-south" in path for path in distinct) >= 16
    assert {session.tenant for session in sessions} == set(TENANTS)
    assert {session.region for session in sessions} == set(REGIONS)
    assert len({session.customer for session in sessions}) == len({session.device for session in sessions}) == len(sessions)


@pytest.mark.parametrize("seed", range(1, 6))
def test_most_answers_are_good_at_every_endpoint(seed: int) -> None:
    statuses: dict[str, Counter[bool]] = {}
    for step, request, answer in play("stable", 1, plan(seed)):
        name = f"{step.method} {request.target.partition('?')[0].split('/')[1]}"
        statuses.setdefault(name, Counter())[answer.response.status < 400] += 1
    for name, counted in statuses.items():
        assert counted[True] / counted.total() > 0.6, name


@pytest.mark.parametrize("sessions", [1, 3, 80])
def test_the_size_can_be_chosen(sessions: int) -> None:
    assert len(plan(1, sessions)) == sessions
    assert [step.path for session in plan(1, sessions) for step in session.steps].count("/login") == sessions


def test_traffic_over_http_is_answered_as_in_process() -> None:
    sessions = plan(3, 10)
    expected = Counter(answer.response.status for _, _, answer in play("stable", 1, sessions))
    seen: Counter[int] = Counter()

    async def use(base: str) -> None:
        sent = await drive(base, sessions, seed=3, think_s=0.0005, on_answer=lambda status: seen.update([status]))
        assert (sent.failed, sent.left_out) == (0, 0)
        assert sent.statuses == dict(sorted(expected.items()))
        assert sent.requests == expected.total()

    with_server(application(OrderService("stable", Random(1), time.time)), use)
    assert seen == expected


def test_what_fails_is_counted_and_what_depends_on_it_left_out() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/login":
            return web.json_response({"token": "t"})
        if request.path == "/gone":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(text="not JSON" if request.path == "/text" else '{"other": 1}')

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    steps = (
        Step("GET", "/before"),
        Step("POST", "/login", {}, signed=False, learns=(("token", "token"),)),
        Step("GET", "/gone", learns=(("a", "id"),)),
        Step("GET", "/text", learns=(("a", "id"),)),
        Step("GET", "/short", learns=(("a", "id"),)),
        Step("GET", "/orders/{a}"),
    )

    async def use(base: str) -> None:
        sent = await drive(base, [Session(1, "harbor", "eu-west", "d", steps)], seed=1, think_s=0)
        assert (sent.requests, sent.statuses, sent.failed, sent.left_out) == (4, {200: 3}, 1, 2)

    with_server(app, use)
