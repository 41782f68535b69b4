"""Who is connected: the cap on their number, and their end when the server stops.

It knows nothing of what they say.
"""

import asyncio
from typing import Protocol

from harness.core.limits import CLIENTS_DEFAULT, CLIENTS_TURNED_AWAY_MAX
from harness.proxy.outbox import Outbox

LATE_SECONDS = 0.1
"""How long an idle connection stays open when the server stops: a request that is on its way by then is answered."""


class Closable(Protocol):
    """A connection that can be ended."""

    def stop(self) -> None:
        """Take no further request; close when what is under way was answered."""

    def kill(self) -> None:
        """Close now."""


class Clients:
    """The connections of a server."""

    def __init__(self, clients_max: int = CLIENTS_DEFAULT) -> None:
        self.clients_max = clients_max
        """How many are served at once. A lower one cuts nobody off."""
        self._connections: set[Closable] = set()
        self._turned_away: set[Closable] = set()
        self._none = asyncio.Event()
        self._none.set()
        self._stopping = False
        self._outbox: Outbox | None = None

    def outlet(self, transport: asyncio.BaseTransport) -> asyncio.Transport:
        """A client's transport, whose writes leave with those to the others."""
        if self._outbox is None:
            self._outbox = Outbox()
        return self._outbox.outlet(transport)

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: Closable) -> None:
        """A client came."""
        self._connections.add(connection)
        self._none.clear()
        if self._stopping:  # uvloop tells of a connection some time after it was accepted
            asyncio.get_running_loop().call_later(LATE_SECONDS, connection.stop)

    def turns_away(self, connection: Closable) -> bool:
        """Whether there are too many for a client that came just now."""
        if len(self._connections) - len(self._turned_away) <= self.clients_max:
            return False
        self._turned_away.add(connection)
        return True

    @property
    def overrun(self) -> bool:
        """Whether there are too many even of those who are only told so."""
        return len(self._turned_away) > CLIENTS_TURNED_AWAY_MAX

    def discard(self, connection: Closable) -> None:
        """A client went."""
        self._connections.discard(connection)
        self._turned_away.discard(connection)
        if not self._connections:
            self._none.set()

    async def stop(self, grace_s: float) -> None:
        """Let what is under way be answered, for at most `grace_s` seconds, and close all."""
        self._stopping = True
        for connection in list(self._connections):
            connection.stop()
        try:
            async with asyncio.timeout(grace_s):
                await self._none.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.kill()
            await self._none.wait()
