"""The content codings that recorded answers come in, those of core and br and zstd, each undone within a bound."""

from collections.abc import Mapping
from typing import Final

import brotli
import zstandard

from harness.core.coding import DECODERS as CORE_DECODERS
from harness.core.coding import Decoded, Decoder, codings_of, undo
from harness.core.limits import CAPTURE_BODY_BYTES_MAX
from harness.core.values import Response

_PIECE_BYTES: Final = 1024


def unbrotli(data: bytes, bytes_max: int) -> Decoded | None:
    """br (RFC 7932), piece by piece, so that a small body cannot unfold to a large one."""
    engine = brotli.Decompressor()
    out = bytearray()
    try:
        for at in range(0, len(data), _PIECE_BYTES):
            out += engine.process(data[at : at + _PIECE_BYTES])
            if len(out) > bytes_max:
                return Decoded(bytes(out[:bytes_max]), False)
    except brotli.error:
        return Decoded(bytes(out), False) if out else None
    return Decoded(bytes(out), bool(engine.is_finished()))


def unzstd(data: bytes, bytes_max: int) -> Decoded | None:
    """zstd (RFC 8878)."""
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data, read_across_frames=True) as reader:
            out = reader.read(bytes_max + 1)
    except zstandard.ZstdError:
        return None
    return Decoded(out[:bytes_max], len(out) <= bytes_max)


DECODERS: Final[Mapping[str, Decoder]] = {**CORE_DECODERS, "br": unbrotli, "zstd": unzstd}
"""Every coding that replay can undo."""


def plain_body(response: Response) -> bytes:
    """A body with its content codings undone, within the capture bound; as it is where that cannot be done."""
    codings = codings_of(response.headers)
    if not codings or not response.body.data:
        return response.body.data
    decoded = undo(response.body.data, codings, DECODERS, CAPTURE_BODY_BYTES_MAX)
    return response.body.data if decoded is None else decoded.data
