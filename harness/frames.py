"""Files that a failing disk may cut but not corrupt: frames appended to one, and whole files replaced in one step.

A frame is a 4-byte big-endian length, a 4-byte CRC-32 and the payload, behind a magic line. What the payloads mean is
not known here.
"""

import contextlib
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol

from harness.core.errors import SetupError
from harness.core.limits import STORE_BUFFER_BYTES_MAX, STORE_FRAME_BYTES_MAX

_HEAD: Final = struct.Struct(">II")
_PRIVATE_FILE: Final = 0o600


class Sink(Protocol):
    """What a frame file needs of an unbuffered file."""

    def write(self, data: bytes, /) -> int | None: ...
    def seek(self, offset: int, /) -> int: ...
    def truncate(self, size: int, /) -> int: ...
    def close(self) -> None: ...


class FrameWriter:
    """Appends frames to one file; a failing write loses the frames it was about, which are counted, and nothing else.

    With `prefix_only` everything after a loss is lost too, so that what is on disk is a true beginning. A frame that would make
    the file larger than `bytes_max` is lost as well.
    """

    def __init__(self, sink: Sink, magic: bytes, *, prefix_only: bool, bytes_max: float = math.inf, whole: "Whole | None" = None) -> None:
        """`whole` is what the file holds already, where `sink` stands at the end of it."""
        self.written = 0 if whole is None else whole.frames
        self.lost = 0
        self.bytes = 0 if whole is None else whole.bytes
        self._sink = sink
        self._prefix_only = prefix_only
        self._bytes_max = bytes_max
        begun = self.bytes > 0
        self._waiting = bytearray(b"" if begun else magic)
        self._waiting_frames = 0
        self._offset = self.bytes
        self._magic_waits = not begun

    def append(self, payload: bytes) -> bool:
        """False where the frame is already known to be lost."""
        size = self._offset + len(self._waiting) + _HEAD.size + len(payload)
        if len(payload) > STORE_FRAME_BYTES_MAX or size > self._bytes_max or (self._prefix_only and self.lost):
            self.lost += 1
            return False
        self._waiting += _HEAD.pack(len(payload), zlib.crc32(payload)) + payload
        self._waiting_frames += 1
        return self.flush() if len(self._waiting) >= STORE_BUFFER_BYTES_MAX else True

    def flush(self) -> bool:
        """Writes what waits. False where that failed."""
        data = bytes(self._waiting)
        if not data:
            return True
        try:
            view = memoryview(data)
            while view:
                view = view[self._sink.write(bytes(view)) or 0 :]
        except OSError:
            self._give_up()
            return False
        self._offset += len(data)
        self.bytes = self._offset
        self.written += self._waiting_frames
        self._magic_waits = False
        self._waiting.clear()
        self._waiting_frames = 0
        return True

    def close(self) -> None:
        """Flushes and closes; a failure is counted like any other."""
        self.flush()
        with contextlib.suppress(OSError):
            self._sink.close()

    def _give_up(self) -> None:
        """Forgets the waiting frames and cuts off what was written of them."""
        self.lost += self._waiting_frames
        self._waiting_frames = 0
        magic = bytes(self._waiting[: self._waiting.index(b"\n") + 1]) if self._magic_waits else b""
        self._waiting = bytearray(magic)
        with contextlib.suppress(OSError):
            self._sink.truncate(self._offset)
            self._sink.seek(self._offset)


class Whole(NamedTuple):
    """What of a file can be relied on: its first bytes, which are whole frames."""

    frames: int
    bytes: int
    """With the magic line; 0 where not even that is whole."""
    cut: int
    """Bytes of a torn tail behind them."""


def measure(path: Path, magic: bytes, *, durable: int = 0, look: Callable[[bytes], None] = lambda _payload: None) -> Whole:
    """Look through a file whose writer was killed. Raises SetupError for what is missing, or damaged within its first `durable` bytes.

    Damage behind those is a torn tail: what was written last, and was not on the disk yet when the machine lost its power. `look` is
    shown what can be relied on.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(magic))
            there = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise SetupError(f"cannot be read: {error.strerror}", where=str(path), fix="begin another run") from error
    reader = FrameReader(path, magic)
    frames, size = 0, len(magic) if start == magic else 0
    try:
        for payload in reader:
            if not payload:
                break  # zeros that a disk left behind read as empty frames
            frames += 1
            size += _HEAD.size + len(payload)
            look(payload)
    except SetupError:
        if not size:
            raise
    if size < durable:
        fix = "begin another run; what follows the damage cannot be trusted"
        raise SetupError(f"damaged: {durable} bytes were written, and {size} can be read", where=str(path), fix=fix)
    return Whole(frames, size, there - size)


def old_file(path: Path, size: int) -> BinaryIO:
    """An unbuffered file that goes on behind its first `size` bytes; what follows them is cut off. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
    file = os.fdopen(descriptor, "wb", buffering=0)
    try:
        file.truncate(size)
        file.seek(size)
    except OSError:
        file.close()
        raise
    return file


def sync_file(path: Path) -> None:
    """Have the disk take what was written to a file. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def new_file(path: Path) -> BinaryIO:
    """A new unbuffered file that only its owner may read. Raises FileExistsError where there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), _PRIVATE_FILE)
    return os.fdopen(descriptor, "wb", buffering=0)


def write_whole(target: Path, data: bytes) -> None:
    """Writes beside the target and moves it there in one step. On OSError the old file is as it was."""
    temporary = target.with_name(f".{target.name}.new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    try:
        with new_file(temporary) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


class FrameReader:
    """Iterates the frames of one file. `truncated_bytes` counts, after the end was reached, a tail that is no whole frame."""

    def __init__(self, path: Path, magic: bytes) -> None:
        self.path = path
        self._magic = magic
        self.frames = 0
        self.truncated_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        self.frames = self.truncated_bytes = 0
        try:
            with self.path.open("rb") as file:
                start = file.read(len(self._magic))
                if start != self._magic:
                    self._check_start(start)
                    return
                while head := file.read(_HEAD.size):
                    payload = self._payload(file, head)
                    if payload is None:
                        return
                    self.frames += 1
                    yield payload
        except FileNotFoundError as error:
            raise SetupError("a file of the run is missing", where=str(self.path), fix="run it again; this one is damaged") from error
        except OSError as error:
            raise SetupError(f"cannot be read: {error.strerror}", where=str(self.path), fix="check the file's permissions") from error

    def _check_start(self, start: bytes) -> None:
        if self._magic.startswith(start):
            self.truncated_bytes = len(start)
            return
        raise SetupError("not a file of this kind, or of another version", where=str(self.path), fix="use the shadowdiff that wrote it")

    def _payload(self, file: BinaryIO, head: bytes) -> bytes | None:
        """One frame's payload; None at a truncated tail. Raises SetupError for damage."""
        if len(head) < _HEAD.size:
            self.truncated_bytes = len(head)
            return None
        length, checksum = _HEAD.unpack(head)
        if length > STORE_FRAME_BYTES_MAX:
            raise self._damage("its length is beyond the bound")
        payload = file.read(length)
        if len(payload) < length:
            self.truncated_bytes = len(head) + len(payload)
            return None
        if zlib.crc32(payload) != checksum:
            raise self._damage("its checksum is wrong")
        return payload

    def _damage(self, what: str) -> SetupError:
        return SetupError(
            f"frame {self.frames} is damaged: {what}", where=str(self.path), fix="run it again; what follows the damage cannot be trusted"
        )
