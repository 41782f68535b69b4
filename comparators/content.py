"""Undoing content codings (RFC 9110 8.4), never unfolding more than the bound. Knows nothing of comparing.

Each coding is undone in steps whose output is bounded, so that a few bytes cannot fill the memory.
"""

import zlib
from collections.abc import Callable
from typing import Final

import brotli
import msgspec
import zstandard

from harness.core import limits
from harness.core.http import header_values
from harness.core.values import Headers

_CHUNK_BYTES: Final = 64 * 1024
_BROTLI_CHUNK_BYTES: Final = 16
"""brotli gives out all that its input unfolds to, at most 16 MiB for each meta-block, so its input is fed in drops."""
_ZSTD_CHUNK_BYTES: Final = 256
"""The same for zstd: at most 128 KiB for each block, of four bytes or more."""
_ZSTD_WINDOW_BYTES_MAX: Final = 128 * 1024 * 1024
_CODINGS_MAX: Final = 8


class Decoded(msgspec.Struct, frozen=True):
    """A body without its content codings."""

    data: bytes
    complete: bool = True
    """False when only the beginning is there: it was cut by the harness, or unfolds beyond DECODED_BODY_BYTES_MAX."""
    problem: str = ""
    """Why a coding could not be undone; `data` is what came out before."""
    unknown: str = ""
    """A coding that is not known here; `data` is still coded."""


class _Step(msgspec.Struct, frozen=True):
    data: bytes
    ended: bool = True
    """The coded data came to its end."""
    full: bool = False
    """The bound was reached."""
    problem: str = ""


def codings_of(headers: Headers) -> tuple[str, ...]:
    """The content codings in the order in which they were applied, identity left out."""
    names = (name.strip().lower() for value in header_values(headers, "content-encoding") for name in value.split(","))
    return tuple(name.removeprefix("x-") for name in names if name not in ("", "identity"))


def decode(data: bytes, codings: tuple[str, ...], *, truncated: bool = False, bytes_max: int | None = None) -> Decoded:
    """Undo codings, last one first. `truncated` says that `data` is only the beginning, whose sudden end is no problem.

    `bytes_max` is DECODED_BODY_BYTES_MAX unless given.
    """
    bound = limits.DECODED_BODY_BYTES_MAX if bytes_max is None else bytes_max
    if len(codings) > _CODINGS_MAX:
        return Decoded(data=data, complete=not truncated, problem=f"{len(codings)} content codings")
    complete = not truncated
    if not data:
        return Decoded(data=data, complete=complete)
    for name in reversed(codings):
        undo = _CODINGS.get(name)
        if undo is None:
            return Decoded(data=data, complete=complete, unknown=name)
        step = undo(data, bound)
        data = step.data
        if step.problem:
            return Decoded(data=data, complete=False, problem=f"{name}: {step.problem}")
        if not step.ended and not step.full and complete:
            return Decoded(data=data, complete=False, problem=f"{name}: ends too early")
        complete = complete and not step.full
    return Decoded(data=data, complete=complete)


def _gzip(data: bytes, bytes_max: int) -> _Step:
    """All members of a gzip file; zeros between or after them are padding."""
    out = bytearray()
    rest = data
    while rest:
        step, rest = _inflate(rest, zlib.MAX_WBITS | 16, bytes_max - len(out))
        out += step.data
        if step.problem or step.full or not step.ended:
            return _Step(bytes(out), step.ended, step.full, step.problem)
        rest = rest.lstrip(b"\x00")
    return _Step(bytes(out), ended=bool(data))


def _deflate(data: bytes, bytes_max: int) -> _Step:
    """zlib as the standard says, or raw deflate as many servers send it."""
    step, _ = _inflate(data, zlib.MAX_WBITS, bytes_max)
    if step.problem:
        raw, _ = _inflate(data, -zlib.MAX_WBITS, bytes_max)
        return step if raw.problem else raw
    return step


def _inflate(data: bytes, window_bits: int, bytes_max: int) -> tuple[_Step, bytes]:
    engine = zlib.decompressobj(window_bits)
    out = bytearray()
    pending = data
    try:
        more = True
        while more and not engine.eof:
            room = min(_CHUNK_BYTES, bytes_max + 1 - len(out))
            piece = engine.decompress(pending, room)
            out += piece
            pending = engine.unconsumed_tail
            if len(out) > bytes_max:
                return _Step(bytes(out[:bytes_max]), ended=False, full=True), b""
            # A full piece may have left output behind although all input was taken.
            more = bool(pending) or len(piece) == room
    except zlib.error as error:
        return _Step(bytes(out), problem=str(error)), b""
    return _Step(bytes(out), ended=engine.eof), engine.unused_data


def _brotli(data: bytes, bytes_max: int) -> _Step:
    engine = brotli.Decompressor()
    out = bytearray()
    try:
        for start in range(0, len(data), _BROTLI_CHUNK_BYTES):
            out += engine.process(data[start : start + _BROTLI_CHUNK_BYTES])
            if len(out) > bytes_max:
                return _Step(bytes(out[:bytes_max]), ended=False, full=True)
    except brotli.error as error:
        return _Step(bytes(out), problem=str(error) or "not brotli")
    return _Step(bytes(out), ended=engine.is_finished())


def _zstd(data: bytes, bytes_max: int) -> _Step:
    """All frames, skippable ones included."""
    out = bytearray()
    rest = data
    ended = False
    try:
        while rest:
            engine = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX).decompressobj()
            fed = 0
            while fed < len(rest) and not engine.eof:
                out += engine.decompress(rest[fed : fed + _ZSTD_CHUNK_BYTES])
                fed += _ZSTD_CHUNK_BYTES
                if len(out) > bytes_max:
                    return _Step(bytes(out[:bytes_max]), ended=False, full=True)
            ended = engine.eof
            rest = engine.unused_data + rest[fed:] if ended else b""
    except zstandard.ZstdError as error:
        return _Step(bytes(out), problem=str(error))
    return _Step(bytes(out), ended=ended)


_CODINGS: Final[dict[str, Callable[[bytes, int], _Step]]] = {
    "gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
