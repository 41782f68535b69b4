"""Frames on a stream between the harness's own processes: a 4-byte little-endian length, a byte that says what it is, the payload.

Pure: bytes in, frames out. What the payloads mean is in `messages`.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from harness.core.errors import ShadowdiffError
from harness.core.limits import BUS_FRAME_BYTES_MAX

_HEAD: Final = struct.Struct("<IB")


class Frame(IntEnum):
    """What a frame holds."""

    MESSAGE = 0
    """One of `messages.Message`."""
    TRIAL = 1
    """A trial to be compared."""
    RESULTS = 2
    """A list of `messages.Result`."""
    COUNTERS = 3
    """A compare worker's metrics so far."""
    RECORD = 4
    """A live exchange to be recorded: request and exchange."""


def framed(kind: Frame, payload: bytes) -> bytes:
    """A frame's bytes. Raises ShadowdiffError beyond the bound: the sender must look first."""
    return frame_head(kind, len(payload)) + payload


def frame_head(kind: Frame, size: int) -> bytes:
    """What stands before a payload of `size` bytes. Raises as `framed`."""
    if size > BUS_FRAME_BYTES_MAX:
        raise ShadowdiffError(f"a frame of {size} bytes is beyond the bound", where="bus", fix="report this")
    return _HEAD.pack(size, kind)


class FrameSplitter:
    """Cuts a stream into frames, however it was chopped up."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._needed = 0
        """Bytes that the rest must have before there is anything to cut: a large frame is put together once, not with each piece."""

    def feed(self, data: bytes) -> Iterator[tuple[Frame, bytes]]:
        """The frames that `data` completes. Raises ShadowdiffError for bytes that are no frame."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
        start, end, needed = 0, len(data), 0
        while end - start >= _HEAD.size:
            length, kind = _HEAD.unpack_from(data, start)
            if length > BUS_FRAME_BYTES_MAX or kind >= len(Frame):
                raise ShadowdiffError("bytes that are no frame", where="bus", fix="report this: the harness's processes disagree")
            after = start + _HEAD.size + length
            if after > end:
                needed = after - start
                break
            yield _KINDS[kind], data[start + _HEAD.size : after]
            start = after
        self._rest, self._needed = bytearray(memoryview(data)[start:]), needed


_KINDS: Final = tuple(Frame)
