"""A peer, the plain way with aiohttp: a server that relays to stable and copies each request to the candidate.

`python -m tests.bench.live.aiohttp_mirror HOST:PORT STABLE CANDIDATE`
"""

import asyncio
import sys
from typing import Final

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

_DROPPED: Final = frozenset({"content-length", "connection", "transfer-encoding", "server", "date"})


async def serve(listen: str, stable: str, candidate: str) -> None:
    """Relay for ever."""
    connector = aiohttp.TCPConnector(limit=200)
    session = aiohttp.ClientSession(connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
    shadows: set[asyncio.Task[tuple[int, CIMultiDictProxy[str], bytes]]] = set()

    async def call(
        base: str, method: str, path: str, headers: CIMultiDict[str], body: bytes | None
    ) -> tuple[int, CIMultiDictProxy[str], bytes]:
        async with session.request(method, base + path, headers=headers, data=body, allow_redirects=False) as answer:
            return answer.status, answer.headers, await answer.read()

    async def relay(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read() if request.can_read_body else None
        headers = CIMultiDict((name, value) for name, value in request.headers.items() if name.lower() != "host")
        shadow = asyncio.create_task(call(candidate, request.method, request.raw_path, headers, body))
        shadows.add(shadow)
        shadow.add_done_callback(shadows.discard)
        status, answer_headers, answer = await call(stable, request.method, request.raw_path, headers, body)
        kept = CIMultiDict((name, value) for name, value in answer_headers.items() if name.lower() not in _DROPPED)
        return web.Response(status=status, body=answer, headers=kept)

    runner = web.ServerRunner(web.Server(relay, access_log=None))
    await runner.setup()
    host, _, port = listen.rpartition(":")
    await web.TCPSite(runner, host, int(port)).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:4]))
