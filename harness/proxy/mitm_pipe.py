"""A transport in memory between a front, which owns the socket, and a client connection of the native path.

It knows nothing of sockets, and nothing of what the front speaks.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from harness.core.limits import STREAM_BUFFER_BYTES_MAX


class Pipe(asyncio.Transport):
    """What the protocol writes waits here until the front takes it. Belongs to the running event loop.

    `wake` is called whenever there is something new for the front: bytes, an end, or room for more of the client's bytes.
    """

    def __init__(self, wake: Callable[["Pipe"], None], *, half_close: bool = False, extra: dict[str, Any] | None = None) -> None:
        """`half_close`: the front can end its direction alone. `extra` is what `get_extra_info` knows."""
        super().__init__(extra)
        self._loop = asyncio.get_running_loop()
        self._wake = wake
        self._half_close = half_close
        self._protocol: asyncio.Protocol | None = None
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._owed = 0
        self._high = STREAM_BUFFER_BYTES_MAX
        self._full = False
        self._closing = False
        self._eof = False
        self.aborted = False
        """The protocol cut the connection: the client must not take what it got for complete."""
        self.reading = True
        """The protocol takes more of the client's bytes."""

    def connect(self, protocol: asyncio.Protocol) -> None:
        """Begin."""
        self._protocol = protocol
        protocol.connection_made(self)

    @property
    def over(self) -> bool:
        """Nothing more comes from the protocol, and the client has all it wrote."""
        return self._closing and not self.get_write_buffer_size()

    @property
    def waiting(self) -> int:
        """Bytes to take."""
        return self._size

    def owe(self, size: int) -> None:
        """So many bytes of what was taken wait at the front for the client to give room. The pipe is not over before."""
        if self._protocol is not None:
            self._owed = size
            self._end_if_over()

    @property
    def eof(self) -> bool:
        """The protocol writes no more, still reads, and all it wrote was taken."""
        return self._eof and not self._size

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._protocol is not None and not self._closing:
            self._protocol.data_received(data)

    def feed_eof(self) -> None:
        """The client sends no more."""
        if self._protocol is not None and not self._closing and not self._protocol.eof_received():
            self.close()

    def lost(self, error: Exception | None = None) -> None:
        """The client is gone, or has all. The protocol hears of it once."""
        self._closing = True
        self._drop()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(error)
            self._wake(self)

    def take(self, bytes_max: int) -> bytes:
        """Some of what was written: at least one piece where there is any, and no further ones beyond `bytes_max`."""
        pieces: list[bytes] = []
        count = 0
        while self._waiting and (not pieces or count + len(self._waiting[0]) <= bytes_max):
            pieces.append(self._waiting.popleft())
            count += len(pieces[-1])
        self._size -= count
        if self._full and self._size <= self._high // 4:
            self._full = False
            if self._protocol is not None:
                self._protocol.resume_writing()
        self._end_if_over()
        return b"".join(pieces)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not data or self._closing or self._eof:
            return
        self._waiting.append(bytes(data))
        self._size += len(data)
        self._wake(self)
        if self._size > self._high and not self._full and self._protocol is not None:
            self._full = True
            self._protocol.pause_writing()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._end_if_over()
        self._wake(self)

    def abort(self) -> None:
        self._drop()
        if self.aborted:
            return
        self.aborted = self._closing = True
        self._loop.call_soon(self.lost)
        self._wake(self)

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return self._size + self._owed

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:  # noqa: ARG002 - asyncio's form
        self._high = STREAM_BUFFER_BYTES_MAX if high is None else high

    def can_write_eof(self) -> bool:
        return self._half_close

    def write_eof(self) -> None:
        self._eof = True
        self._wake(self)

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False
        self._wake(self)

    def resume_reading(self) -> None:
        self.reading = True
        self._wake(self)

    def _end_if_over(self) -> None:
        if self.over:
            self._loop.call_soon(self._lost_if_over)

    def _lost_if_over(self) -> None:
        """What was taken last may be owed since."""
        if self.over:
            self.lost()

    def _drop(self) -> None:
        self._waiting.clear()
        self._size = self._owed = 0
