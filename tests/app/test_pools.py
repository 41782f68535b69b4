"""Sending to the target of a role: new addresses, a target's own options, and requests that cannot be written."""

import asyncio
from pathlib import Path

from aiohttp import web

from harness.app.context import Context
from harness.app.pools import Pools
from harness.core.labels import Control, Design, ErrorKind, Role, RunMode
from harness.settings.load import Loaded
from harness.settings.schema import Settings, StoreSettings, TargetSettings, TargetsSettings
from tests.app.support import get, serving


def context(out: Path, **hosts: str) -> Context:
    targets = {role: TargetSettings(url="http://127.0.0.1:9", host=host) for role, host in hosts.items()}  # type: ignore[arg-type]  # words of a Literal
    chosen = Settings(targets=TargetsSettings(**targets), store=StoreSettings(run_dir=str(out)))
    return Context(Loaded(chosen, {}), mode=RunMode.REPLAY, control=Control.SECONDARY, design=Design.TWO_ARM, endpoints={}, live=False)


async def named(request: web.Request) -> web.StreamResponse:
    return web.Response(text=request.host)


def test_each_role_has_its_address_and_its_options(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(named) as one, serving(named) as two:
            with context(tmp_path / "run", stable="keep", candidate="rewrite") as run:
                pools = Pools(run, shadow_timeout_s=5)
                pools.open({Role.STABLE: one, Role.SECONDARY: one, Role.CANDIDATE: two})
                hosts = {}
                for role in Role:
                    response = (await pools.send(role, get("/"))).response
                    assert response is not None
                    hosts[role] = response.body.data.decode()
                assert hosts == {Role.STABLE: "shop.test", Role.SECONDARY: "shop.test", Role.CANDIDATE: two.removeprefix("http://")}
                await pools.close()
                pools.open({Role.STABLE: two})
                exchange = await pools.send(Role.STABLE, get("/"))
                assert exchange.response is not None
                await pools.close()
                await pools.close()

    asyncio.run(body())


def test_what_a_target_does_is_an_outcome(tmp_path: Path) -> None:
    async def body() -> None:
        with context(tmp_path / "run", stable="keep") as run:
            pools = Pools(run, shadow_timeout_s=5)
            pools.open({Role.STABLE: "http://127.0.0.1:9"})
            exchange = await pools.send(Role.STABLE, get("/"))
            assert exchange.error is not None
            assert exchange.error.kind is ErrorKind.REFUSED
            await pools.close()

    asyncio.run(body())


def test_a_request_that_an_identifier_made_unwritable_is_an_outcome_too(tmp_path: Path) -> None:
    async def body() -> None:
        with context(tmp_path / "run", stable="keep") as run:
            pools = Pools(run, shadow_timeout_s=5)
            pools.open({Role.STABLE: "http://127.0.0.1:9"})
            exchange = await pools.send(Role.STABLE, get("/", (("X-Order", "a\r\nX-Admin: 1"),)))
            assert exchange.response is None
            assert exchange.error is not None
            assert exchange.error.kind is ErrorKind.GARBAGE
            assert "'X-Order' cannot be sent" in exchange.error.message
            assert 0 < exchange.started_ns <= exchange.ended_ns
            await pools.close()

    asyncio.run(body())
