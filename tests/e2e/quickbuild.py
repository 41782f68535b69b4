"""Three builds in one process, each on a port of its own, quick enough not to be what is measured: `python -m tests.e2e.quickbuild`.

They answer 1 KB of JSON with a new id in each answer; the last build differs in 2 of 100 items.
"""

import asyncio
import json
import sys
from functools import partial
from random import Random
from typing import cast

import uvloop

ROLES = ("stable", "secondary", "candidate")
DIFFERS_EVERY = 50


class Build(asyncio.Protocol):
    """One connection. Requests have no body, and `/items/<number>` in their first line."""

    def __init__(self, role: str, rng: Random) -> None:
        self._role = role
        self._rng = rng
        self._held = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._held = (self._held + data).split(b"\r\n\r\n")
        assert self._transport is not None
        self._transport.write(b"".join(self._answer(head) for head in heads))

    def _answer(self, head: bytes) -> bytes:
        number = int(head.split(b" ", 2)[1].rpartition(b"/")[2].partition(b"?")[0])
        wrong = self._role == ROLES[-1] and number % DIFFERS_EVERY == 0
        item = {"id": f"{self._rng.getrandbits(128):032x}", "price": number + wrong, "tags": ["a", "b"], "text": "x" * 900}
        body = json.dumps({"items": [item]}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def main() -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    ports = []
    for role in ROLES:
        server = await loop.create_server(partial(Build, role, Random(role)), "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
    sys.stdout.write(" ".join(map(str, ports)) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
