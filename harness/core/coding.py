"""Content codings undone within a bound, as far as the standard library goes: gzip and deflate.

Codings that need other libraries (br, zstd) are handed in as decoders by whoever has them; core knows only the shape.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from harness.core import limits
from harness.core.http import header_values
from harness.core.values import Headers


class Decoded(msgspec.Struct, frozen=True):
    """What a coding unfolded to. `complete` is false where the input ended early or the bound was reached."""

    data: bytes
    complete: bool


Decoder = Callable[[bytes, int], Decoded | None]
"""Bytes and the most bytes to give back; None where the input is not of that coding."""


_PIECE_BYTES: Final = 16 * 1024
"""Fed to zlib at once: what lies behind the end of a member is copied, which for many small members would be all of it each time."""


def _inflate(data: bytes, bytes_max: int, wbits: int) -> Decoded | None:
    """Members one after another, as gzip allows (RFC 1952 2.2). Linear, however many there are."""
    out, at = bytearray(), 0
    while True:
        engine, start = zlib.decompressobj(wbits), len(out)
        try:
            while not engine.eof and len(out) <= bytes_max:
                piece = data[at : at + _PIECE_BYTES]
                out += engine.decompress(piece, bytes_max - len(out) + 1)
                at += len(piece) - len(engine.unused_data)
                if not piece:
                    break
        except zlib.error:
            return Decoded(bytes(out[:start]), False) if start else None
        if len(out) > bytes_max:
            return Decoded(bytes(out[:bytes_max]), False)
        if not engine.eof:
            return Decoded(bytes(out), False)
        if at >= len(data):
            return Decoded(bytes(out), True)


def gunzip(data: bytes, bytes_max: int) -> Decoded | None:
    """gzip (RFC 1952)."""
    return _inflate(data, bytes_max, zlib.MAX_WBITS | 16)


def inflate(data: bytes, bytes_max: int) -> Decoded | None:
    """deflate: a zlib stream (RFC 9110 8.4.1.2), or the bare one that some senders mean by it.

    A bare stream has no mark, and much that is none begins like one, so it counts only where it reaches its end.
    """
    decoded = _inflate(data, bytes_max, zlib.MAX_WBITS)
    if decoded is None:
        bare = _inflate(data, bytes_max, -zlib.MAX_WBITS)
        return bare if bare and bare.complete else None
    return decoded


DECODERS: Final[Mapping[str, Decoder]] = {"gzip": gunzip, "x-gzip": gunzip, "deflate": inflate}
"""The codings that core undoes by itself."""


def to_bytes(text: str) -> bytes:
    """UTF-8; bytes that were none and were read as surrogates come out as they were, other lone surrogates somehow."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def codings_of(headers: Headers) -> list[str]:
    """Content codings in the order they were applied, lower case, `identity` left out."""
    names = [name.strip().lower() for value in header_values(headers, "content-encoding") for name in value.split(",")]
    return [name for name in names if name and name != "identity"]


def undo(
    data: bytes,
    codings: list[str],
    decoders: Mapping[str, Decoder] = DECODERS,
    bytes_max: int = limits.DECODED_BODY_BYTES_MAX,
) -> Decoded | None:
    """The identity form, at most `bytes_max` long; None where a coding is unknown or the bytes are not of it."""
    decoded = Decoded(data, True)
    for name in reversed(codings):
        decoder = decoders.get(name)
        inner = decoder(decoded.data, bytes_max) if decoder else None
        if inner is None:
            return None
        decoded = Decoded(inner.data, inner.complete and decoded.complete)
    return decoded


def without_coding(headers: Headers, length_bytes: int) -> Headers:
    """Headers of the identity form: no Content-Encoding, and Content-Length set where there was one."""
    return with_length(tuple((name, value) for name, value in headers if name.lower() != "content-encoding"), length_bytes)


def with_length(headers: Headers, length_bytes: int) -> Headers:
    """Content-Length set to `length_bytes` where there is one; otherwise the same headers."""
    return tuple((name, str(length_bytes)) if name.lower() == "content-length" else (name, value) for name, value in headers)
