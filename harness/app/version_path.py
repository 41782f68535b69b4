"""Asks the candidate again and again which build it is, at a path of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp

from harness.app.builds import label_in_body
from harness.proxy.address import UpstreamAddress, tls_context

POLL_SECONDS: Final = 2.0
_ANSWER_SECONDS_MAX: Final = 2.0
_ANSWER_BYTES_MAX: Final = 16 * 1024


async def poll(address: UpstreamAddress, path: str, tell: Callable[[str], Awaitable[None]], *, every_s: float = POLL_SECONDS) -> None:
    """Tell each label that is answered, until cancelled. No answer, or one that is no success, says nothing."""
    while True:
        if label := await asked(address, path):
            await tell(label)
        await asyncio.sleep(every_s)


async def asked(address: UpstreamAddress, path: str) -> str:
    """The label that the path answers with; empty where it answers with none."""
    tls = tls_context(address)
    if address.unix_path:
        connector: aiohttp.BaseConnector = aiohttp.UnixConnector(address.unix_path, force_close=True)
        url = f"http://localhost{path}"
    else:
        connector = aiohttp.TCPConnector(ssl=True if tls is None else tls, force_close=True)
        host = f"[{address.host}]" if ":" in address.host else address.host
        url = f"{'http' if tls is None else 'https'}://{host}:{address.port}{path}"
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS_MAX)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(url, allow_redirects=False, server_hostname=(address.server_name or None) if tls is not None else None) as answer,
        ):
            return label_in_body(await answer.content.read(_ANSWER_BYTES_MAX)) if answer.status == 200 else ""
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
        return ""
