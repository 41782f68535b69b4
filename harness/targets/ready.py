"""Whether a target answers HTTP: one question, one short answer. It knows nothing of processes."""

import asyncio
import os
from typing import Final

import aiohttp

from harness.targets.spec import UNIX_PREFIX

PROBE_TIMEOUT_S: Final = 2.0
"""Longest wait for one answer; a build that hangs is asked again until its own time is over."""


async def probe(base: str, path: str) -> str | None:
    """Ask `path` once. None when the answer's status is below 500, else what came instead, for people."""
    timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
    if base.startswith(UNIX_PREFIX):
        connector: aiohttp.BaseConnector = aiohttp.UnixConnector(base.removeprefix(UNIX_PREFIX), force_close=True)
        url = f"http://localhost{path}"
    else:
        connector = aiohttp.TCPConnector(force_close=True)
        url = base + path
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            return None if answer.status < 500 else f"status {answer.status}"
    except TimeoutError:
        return f"no answer within {PROBE_TIMEOUT_S:g} s"
    except aiohttp.ClientSSLError as error:
        return f"TLS failed ({error})"
    except aiohttp.ClientConnectorError as error:
        return (os.strerror(error.errno) if error.errno else str(error)).lower()
    except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError) as error:
        return f"no HTTP answer ({type(error).__name__})"
