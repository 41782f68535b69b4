"""Builds instrumented by OpenTelemetry itself, as real processes: their calls and statements become effects of the right arm."""

import asyncio
import os
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from harness.core.labels import Role
from harness.core.limits import SPAN_TRIALS_SILENT_MAX
from harness.core.trace import trace_id, with_trace
from harness.effects.api import Observed, OpenTrial
from harness.effects.otlp.collector import SpanCollector
from tests.effects.otlp.spanning import SystemClock, trial, workplace

ROOT = Path(__file__).resolve().parents[3]
INSTRUMENT = ROOT / ".cache" / "instrumented" / "bin" / "opentelemetry-instrument"
APPS = Path(__file__).parent / "apps"
GRPC = pytest.param(
    "flask_shop.py",
    {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"},
    "grpc",
    id="flask-grpc",
    marks=pytest.mark.skipif(
        not list(INSTRUMENT.parents[1].glob("lib/*/site-packages/opentelemetry/exporter/otlp/proto/grpc")),
        reason="the gRPC exporter is not in .cache/instrumented; tests/prepare.sh installs it",
    ),
)
CLOCK = SystemClock()
LONG_NS = 90_000_000_000

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not INSTRUMENT.exists(), reason=".cache/instrumented is missing; tests/prepare.sh installs it"),
    pytest.mark.timeout(240),
]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@asynccontextmanager
async def payments() -> AsyncIterator[str]:
    """A payment service."""

    async def charge(_: web.Request) -> web.Response:
        return web.json_response({"charged": True}, status=201)

    app = web.Application()
    app.router.add_post("/charges/{number}", charge)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@asynccontextmanager
async def build(app: str, env: dict[str, str], session: aiohttp.ClientSession, *, instrumented: bool = True) -> AsyncIterator[str]:
    """A started build; its base URL once it answers."""
    port = free_port()
    inherited = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy") and not key.startswith("OTEL_")}
    command = [str(INSTRUMENT)] if instrumented else []
    python = str(INSTRUMENT.with_name("python"))
    process = await asyncio.create_subprocess_exec(
        *command,
        python,
        str(APPS / app),
        env={**inherited, **env, "PORT": str(port), "PYTHONPATH": ""},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=sys.stderr,
    )
    try:
        async with asyncio.timeout(90):
            while True:
                assert process.returncode is None, "the build ended"
                try:
                    async with session.get(f"http://127.0.0.1:{port}/ready") as answer:
                        if answer.status == 200:
                            break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def documents(observed: list[Observed], role: Role) -> list[tuple[str, dict[str, Any]]]:
    return [(one.effect.operation, orjson.loads(one.effect.document)) for one in observed if one.role is role]


async def ask(session: aiohttp.ClientSession, method: str, url: str, one: OpenTrial, role: Role) -> None:
    async with session.request(method, url, headers=with_trace((), one.trace, role)) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()


@asynccontextmanager
async def collector(tmp_path: Path, **options: object) -> AsyncIterator[SpanCollector]:
    made = SpanCollector.make({"wait_ms": 60_000, **options}, workplace(tmp_path))
    await made.open(tuple(Role))
    yield made
    await made.close()


CHARGE = "CLIENT http POST 127.0.0.1/charges/{int}"


def run_calls(app: str, env: dict[str, str], tmp_path: Path, protocol: str = "http/protobuf") -> list[Observed]:
    """One order at stable and at a candidate that charges twice."""

    async def go() -> list[Observed]:
        async with aiohttp.ClientSession() as session, payments() as url, collector(tmp_path, protocol=protocol) as spans:
            mine = {**env, "PAYMENTS": url}
            async with (
                build(app, {**mine, **spans.env(Role.STABLE)}, session) as stable,
                build(app, {**mine, **spans.env(Role.CANDIDATE), "CHARGES": "2"}, session) as candidate,
            ):
                await spans.attach()
                assert await spans.drain() == []
                one = trial(trace_id(0x7123456789ABCDEF), (Role.STABLE, Role.CANDIDATE))
                spans.begin(one)
                await asyncio.gather(
                    ask(session, "POST", f"{stable}/orders/42", one, Role.STABLE),
                    ask(session, "POST", f"{candidate}/orders/42", one, Role.CANDIDATE),
                )
                assert await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS)
                observed = await spans.drain()
                spans.end(one)
                assert all(seen.trace == one.trace and not seen.effect.late for seen in observed)
                assert not [lapse for lapse in spans.lapses() if lapse.blind]
                return observed

    return asyncio.run(go())


HTTP = "http/protobuf"
BOTH_NAMES = {"OTEL_SEMCONV_STABILITY_OPT_IN": "http/dup", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}


@pytest.mark.parametrize(
    ("app", "env", "protocol"),
    [
        pytest.param("flask_shop.py", {}, HTTP, id="flask"),
        pytest.param("aiohttp_shop.py", {}, HTTP, id="aiohttp"),
        pytest.param("aiohttp_shop.py", {"OTEL_SEMCONV_STABILITY_OPT_IN": "http"}, HTTP, id="aiohttp-new-names"),
        pytest.param("fastapi_shop.py", BOTH_NAMES, HTTP, id="fastapi-both-names-gzip"),
        GRPC,
    ],
)
def test_a_second_charge_is_seen_whatever_the_framework(app: str, env: dict[str, str], protocol: str, tmp_path: Path) -> None:
    observed = run_calls(app, env, tmp_path, protocol)
    charges = {role: [doc for operation, doc in documents(observed, role) if operation == CHARGE] for role in Role}
    assert {role: len(found) for role, found in charges.items()} == {Role.STABLE: 1, Role.SECONDARY: 0, Role.CANDIDATE: 2}
    wanted = {
        "kind": "client",
        "http.request.method": "POST",
        "url.scheme": "http",
        "server.address": "127.0.0.1",
        "url.path": "/charges/{int}",
        "http.response.status_code": 201,
        "error": False,
    }
    assert all(doc == wanted for found in charges.values() for doc in found)
    assert all(one.effect.writes for one in observed if one.effect.operation == CHARGE)


def test_statements_of_a_real_driver(tmp_path: Path) -> None:
    observed = run_calls("flask_shop.py", {}, tmp_path)
    inserts = [doc for operation, doc in documents(observed, Role.STABLE) if operation == "CLIENT sqlite INSERT orders"]
    assert [doc["db.query.text"] for doc in inserts] == ["INSERT INTO orders(id, sku, quantity) VALUES (?, ?, ?)"]
    count = Counter(one.effect.operation for one in observed if one.role is Role.STABLE)
    assert count["CLIENT sqlite INSERT orders"] == 1


def test_a_build_without_a_path_of_its_own_is_told_by_its_parent_spans(tmp_path: Path) -> None:
    """Both builds export to the same address: only the parent chain tells them apart."""

    async def go() -> list[Observed]:
        async with aiohttp.ClientSession() as session, payments() as url, collector(tmp_path) as spans:
            shared = {name: text.replace("/stable", "") for name, text in spans.env(Role.STABLE).items()}
            env = {"PAYMENTS": url, **shared}
            async with build("flask_shop.py", env, session) as stable, build("flask_shop.py", env, session) as candidate:
                one = trial(trace_id(77), (Role.STABLE, Role.CANDIDATE))
                spans.begin(one)
                await ask(session, "POST", f"{stable}/orders/1", one, Role.STABLE)
                await ask(session, "GET", f"{candidate}/orders/1", one, Role.CANDIDATE)
                assert await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS)
                return await spans.drain()

    observed = asyncio.run(go())
    assert CHARGE in {operation for operation, _ in documents(observed, Role.STABLE)}
    selects = [doc for operation, doc in documents(observed, Role.CANDIDATE) if operation == "CLIENT sqlite SELECT orders"]
    assert [doc["db.query.text"] for doc in selects] == ["SELECT * FROM orders WHERE id IN (?)"]
    assert CHARGE not in {operation for operation, _ in documents(observed, Role.CANDIDATE)}
    assert not any(one.effect.writes for one in observed if one.effect.operation == "CLIENT sqlite SELECT orders")


def test_a_build_that_is_not_instrumented_is_named_and_not_waited_for_again(tmp_path: Path) -> None:
    async def go() -> tuple[list[bool], dict[str, int]]:
        async with aiohttp.ClientSession() as session, payments() as url, collector(tmp_path, wait_ms=50) as spans:
            env = {"PAYMENTS": url, **spans.env(Role.CANDIDATE)}
            async with build("flask_shop.py", env, session, instrumented=False) as candidate:
                settled = []
                for number in range(1, 8):
                    one = trial(trace_id(number), (Role.CANDIDATE,))
                    spans.begin(one)
                    await ask(session, "POST", f"{candidate}/orders/1", one, Role.CANDIDATE)
                    settled.append(await spans.settle(one, CLOCK.monotonic_ns() + LONG_NS))
                    spans.end(one)
                return settled, {lapse.what: lapse.count for lapse in spans.lapses()}

    settled, lapses = asyncio.run(go())
    assert settled == [False] * 7
    assert lapses["no span came from candidate; is it instrumented?"] == 7 - SPAN_TRIALS_SILENT_MAX
