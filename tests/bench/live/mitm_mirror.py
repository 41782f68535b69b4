"""A peer, the plain way with mitmproxy: an addon for mitmdump that copies each request to the candidate (MIRROR_TO)."""

import asyncio
import os
from typing import Any

import aiohttp


class Mirror:
    """Copies requests; mitmproxy itself relays them to stable."""

    def __init__(self) -> None:
        self._candidate = os.environ["MIRROR_TO"]
        self._session: aiohttp.ClientSession | None = None
        self._shadows: set[asyncio.Task[None]] = set()

    async def request(self, flow: Any) -> None:
        """mitmproxy's hook: a whole request is there."""
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False)
        headers = {name: value for name, value in flow.request.headers.items() if name.lower() != "host"}
        shadow = asyncio.create_task(self._copy(self._session, flow.request.method, flow.request.path, headers, flow.request.raw_content))
        self._shadows.add(shadow)
        shadow.add_done_callback(self._shadows.discard)

    async def _copy(self, session: aiohttp.ClientSession, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        async with session.request(method, self._candidate + path, headers=headers, data=body) as answer:
            await answer.read()


if "MIRROR_TO" in os.environ:
    addons = [Mirror()]
