"""Readiness: any answer below 500."""

import asyncio
import socket
import tempfile
from pathlib import Path

import pytest
from aiohttp import web

from harness.targets import ready
from harness.targets.ready import probe
from tests.targets.builds import answering


@pytest.mark.parametrize(
    ("status", "result"), [(200, None), (302, None), (404, None), (401, None), (500, "status 500"), (503, "status 503")]
)
def test_status_decides(status: int, result: str | None) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.path == "/health"
        return web.Response(status=status, headers={"Location": "http://127.0.0.1:1/"})

    async def go() -> str | None:
        app = web.Application()
        app.router.add_get("/health", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert runner.addresses
        try:
            return await probe(f"http://127.0.0.1:{runner.addresses[0][1]}", "/health")
        finally:
            await runner.cleanup()

    assert asyncio.run(go()) == result


def test_unix_socket() -> None:
    async def go(path: Path) -> None:
        runner = web.AppRunner(web.Application())
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        assert await probe(f"unix:{path}", "/") is None
        await runner.cleanup()
        assert await probe(f"unix:{path}.other", "/") is not None

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(go(Path(folder) / "app.sock"))


def test_nobody_listens() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else gets it
        assert "refused" in str(asyncio.run(probe(f"http://127.0.0.1:{reserved.getsockname()[1]}", "/")))


@pytest.mark.parametrize(
    ("first", "scheme", "says"),
    [(b"SSH-2.0-OpenSSH\r\n", "http", "no HTTP answer"), (b"", "http", "no HTTP answer"), (b"hello", "https", "")],
)
def test_something_else_listens(first: bytes, scheme: str, says: str) -> None:
    async def go() -> str | None:
        async with answering(first, scheme) as base:
            return await probe(base, "/")

    result = asyncio.run(go())
    assert result is not None
    assert says in result


def test_a_hanging_target_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "PROBE_TIMEOUT_S", 0.05)

    async def go() -> str | None:
        async with answering(None) as base:
            return await probe(base, "/")

    assert asyncio.run(go()) == "no answer within 0.05 s"
