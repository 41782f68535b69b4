"""Writes of one turn of the event loop leave together, at its end.

Each write to a socket whose reader sleeps wakes that reader, which costs more than the write. Sent in one burst, the
first wakes it and the others find it awake. What is written to one connection in a turn also leaves in one piece. Knows
nothing of HTTP.
"""

import asyncio
from typing import Final, cast

WRITE_AT_ONCE_BYTES: Final = 32 * 1024
"""So large a piece does not wait: nothing is won by it, and whoever writes must hear in time that its reader is slower."""


class Outbox:
    """The connections with something to send. Belongs to the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Outlet] = []

    def outlet(self, transport: asyncio.BaseTransport) -> asyncio.Transport:
        """A transport like this one, whose writes leave with those of the others."""
        return cast("asyncio.Transport", _Outlet(cast("asyncio.Transport", transport), self))

    def add(self, outlet: "_Outlet") -> None:
        """It has something to send."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(outlet)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for outlet in waiting:
            outlet.flush()


class _Outlet:
    """What the proxy uses of asyncio.Transport. The order of writes, end and close is kept; an abort drops what has not left."""

    __slots__ = ("_outbox", "_transport", "_unsent", "get_extra_info", "is_closing", "pause_reading", "resume_reading")

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        self._transport = transport
        self._outbox = outbox
        self._unsent: list[bytes] = []
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.get_extra_info = transport.get_extra_info

    def write(self, data: bytes) -> None:
        if not self._unsent:
            self._outbox.add(self)
        self._unsent.append(data)
        if len(data) >= WRITE_AT_ONCE_BYTES:
            self.flush()

    def flush(self) -> None:
        unsent = self._unsent
        if unsent:
            self._unsent = []
            if not self._transport.is_closing():
                self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def write_eof(self) -> None:
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        self._unsent = []
        self._transport.abort()

    def can_write_eof(self) -> bool:
        return self._transport.can_write_eof()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + sum(map(len, self._unsent))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._transport.get_write_buffer_limits()
