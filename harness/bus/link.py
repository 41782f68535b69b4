"""One end of a connection between two of the harness's processes, on an event loop: frames in, frames out.

It never waits: whoever sends looks at `unsent` first where much may be sent. An end that breaks is told once.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec

from harness.bus.frames import Frame, FrameSplitter, frame_head
from harness.bus.messages import ENCODER, Message
from harness.core.errors import ShadowdiffError
from harness.core.limits import BUS_BURST_BYTES_MAX


class Link(asyncio.Protocol):
    """A connection. `received` gets each frame in order; `lost` is called once when it is over, after all frames.

    After a write that failed, what the other end had sent before may stay unread. What is no frame or no message, and what
    `received` refuses with a ShadowdiffError, ends the connection.
    """

    def __init__(self, received: Callable[["Link", Frame, bytes], None], lost: Callable[["Link"], None]) -> None:
        self._received = received
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._splitter = FrameSplitter()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._closed = False

    @property
    def open(self) -> bool:
        """Whether anything can still be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def unsent(self) -> int:
        """Bytes that the other end has not taken yet."""
        return (self._transport.get_write_buffer_size() if self._transport is not None else 0) + sum(map(len, self._waiting))

    def send(self, message: Message) -> None:
        """Send a message; nothing happens where the connection is over."""
        self.send_frame(Frame.MESSAGE, ENCODER.encode(message))

    def send_frame(self, kind: Frame, payload: bytes, *, within_s: float = 0.0) -> None:
        """Send a frame, together with all that are sent in the same turn of the loop, or `within_s` seconds.

        A pause makes one wake-up of the other end out of many, where nobody waits for the frame.
        """
        if not self.open:
            return
        if not self._waiting:
            self._waiting_bytes = 0
            if within_s:
                self._loop.call_later(within_s, self._flush)
            else:
                self._loop.call_soon(self._flush)
        self._waiting += (frame_head(kind, len(payload)), payload)
        self._waiting_bytes += len(payload)
        if self._waiting_bytes >= BUS_BURST_BYTES_MAX:
            self._flush()

    def hold(self) -> None:
        """Read nothing for a while."""
        if self._transport is not None and self.open and self._transport.is_reading():
            self._transport.pause_reading()

    def unhold(self) -> None:
        """Read on."""
        if self._transport is not None and self.open and not self._transport.is_reading():
            self._transport.resume_reading()

    def close(self) -> None:
        """End the connection once what was sent is gone; one that is only being made ends when it is."""
        self._closed = True
        self._flush()
        if self._transport is not None:
            self._transport.close()

    async def wait_over(self, seconds: float) -> None:
        """Returns once the connection is over; it is broken off where the other end has not taken everything in so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports are of no asyncio class.
        self._transport = cast("asyncio.Transport", transport)
        if self._closed:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            for kind, payload in self._splitter.feed(data):
                self._received(self, kind, payload)
        except (ShadowdiffError, msgspec.MsgspecError, UnicodeDecodeError):  # msgspec leaves text that is no UTF-8 as it is
            assert self._transport is not None
            self._transport.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        self._waiting = []
        self._over.set()
        self._lost(self)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting and self._transport is not None and self.open:
            self._transport.write(b"".join(waiting))
