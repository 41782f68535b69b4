"""Message bodies as lines that people can compare: content codings undone, JSON indented with sorted keys, bounded.

For showing only: nothing here decides whether two bodies differ. Values are never changed, numbers keep their spelling.
"""

import json
from collections.abc import Sequence
from typing import Final

import brotli
import msgspec
import zstandard

from harness.core.coding import DECODERS, Decoded, codings_of, undo
from harness.core.http import media_type
from harness.core.limits import (
    DECODED_BODY_BYTES_MAX,
    JSON_DEPTH_MAX,
    REPORT_BODY_CHARS_MAX,
    REPORT_BODY_LINES_MAX,
    REPORT_LINE_CHARS_MAX,
)
from harness.core.values import Body, Headers
from harness.report.model import BodyView
from harness.report.text import bounded, visible

LEAD_LINES: Final = 12
"""Equal lines kept in front of the first difference."""


class Lines(msgspec.Struct, frozen=True):
    """A body made readable and not yet bounded."""

    lines: tuple[str, ...] = ()
    size: int = 0
    note: str = ""


def read_body(headers: Headers, body: Body) -> Lines:
    """A body's readable lines; for a binary or unreadable one no lines and a note. Never raises on any input."""
    notes = ["only the first part was kept"] if body.truncated else []
    if not body.data:
        return Lines(size=body.size, note="; ".join(notes))
    data, coding_note = _decoded(body.data, headers)
    if coding_note:
        notes.append(coding_note)
    text = _as_text(data, media_type(headers)[1].get("charset", ""))
    if text is None:
        notes.append(f"binary, {body.size:,} bytes")
        return Lines(size=body.size, note="; ".join(notes))
    indented = _indented_json(text) if text.lstrip()[:1] in ("{", "[") else None
    return Lines(lines=tuple((text if indented is None else indented).split("\n")), size=body.size, note="; ".join(notes))


def read_document(data: bytes) -> Lines:
    """The readable lines of an effect's document, or of any other JSON text that is whole. Never raises."""
    text = data.decode("utf-8", "backslashreplace")
    indented = _indented_json(text)
    return Lines(lines=tuple((text if indented is None else indented).split("\n")), size=len(data))


def view_bodies(
    bodies: Sequence[Lines | None], *, chars_max: int = REPORT_BODY_CHARS_MAX, lines_max: int = REPORT_BODY_LINES_MAX
) -> list[BodyView]:
    """The same stretch of several bodies, around the first line in which they differ; None gives an empty view."""
    first = _first_line_shown([body.lines for body in bodies if body is not None], chars_max, lines_max)
    return [BodyView() if body is None else _view(body, first, chars_max, lines_max) for body in bodies]


def _view(body: Lines, first: int, chars_max: int, lines_max: int) -> BodyView:
    shown: list[str] = []
    chars = 0
    cut = first > 0
    for line in body.lines[first:]:
        text = bounded(visible(bounded(line, REPORT_LINE_CHARS_MAX)), REPORT_LINE_CHARS_MAX)
        cut = cut or len(line) > REPORT_LINE_CHARS_MAX
        chars += len(text) + 1
        if chars > chars_max or len(shown) >= lines_max:
            cut = True
            break
        shown.append(text)
    return BodyView(text="\n".join(shown), first_line=first + 1, cut=cut, size=body.size, note=body.note)


def _first_line_shown(bodies: Sequence[tuple[str, ...]], chars_max: int, lines_max: int) -> int:
    """0 where everything fits, else a little before the first line that differs."""
    fits = all(len(lines) <= lines_max and sum(map(len, lines)) + len(lines) <= chars_max for lines in bodies)
    if fits or len(bodies) < 2:
        return 0
    for index, row in enumerate(zip(*bodies, strict=False)):
        if len(set(row)) > 1:
            return max(0, index - LEAD_LINES)
    shortest, longest = min(map(len, bodies)), max(map(len, bodies))
    return max(0, shortest - LEAD_LINES) if shortest < longest else 0


def _decoded(data: bytes, headers: Headers) -> tuple[bytes, str]:
    """Data with its content codings undone, or as it is with a note that says why not."""
    codings = codings_of(headers)
    decoded = undo(data, codings, _DECODERS, DECODED_BODY_BYTES_MAX)
    if decoded is None:
        return data, f"content coding {visible(bounded(', '.join(codings), 40))} could not be undone"
    return decoded.data, "" if decoded.complete else "only the first part could be decoded"


def _unbrotli(data: bytes, bytes_max: int) -> Decoded | None:
    """br (RFC 7932)."""
    engine = brotli.Decompressor()
    out = bytearray()
    try:
        for start in range(0, len(data), _CHUNK_BYTES):
            out += engine.process(data[start : start + _CHUNK_BYTES])
            if len(out) > bytes_max:
                return Decoded(bytes(out[:bytes_max]), complete=False)
    except brotli.error:
        return Decoded(bytes(out), complete=False) if out else None
    return Decoded(bytes(out), complete=engine.is_finished())


def _unzstd(data: bytes, bytes_max: int) -> Decoded | None:
    """zstd (RFC 8878), windows up to 8 MiB as RFC 9659 has them."""
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 23).stream_reader(data, read_across_frames=True)
    try:
        out = reader.read(bytes_max + 1)
    except zstandard.ZstdError:
        return None
    return Decoded(out[:bytes_max], complete=len(out) <= bytes_max)


_CHUNK_BYTES: Final = 4096
_DECODERS: Final = {**DECODERS, "br": _unbrotli, "zstd": _unzstd}


def _as_text(data: bytes, charset: str) -> str | None:
    """Text, or None for what is not text in UTF-8 or in the charset it names."""
    if b"\0" in data[:1024]:
        return None
    for name in ("utf-8", charset):
        try:
            return data.decode(name).replace("\r\n", "\n") if name else None
        except (UnicodeDecodeError, LookupError, ValueError):
            continue
    return None


class _Number(str):
    """A number in the spelling it came in."""

    __slots__ = ()


class _Pairs(list[tuple[str, object]]):
    """An object's members; a repeated key is kept."""

    __slots__ = ()


def _indented_json(text: str) -> str | None:
    """JSON with one member a line and keys in order, or None where it is not JSON (or too deep)."""
    try:
        value = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_Pairs)
        out: list[str] = []
        _write(value, out, "")
    except (ValueError, RecursionError):
        return None
    return "".join(out)


def _write(value: object, out: list[str], indent: str) -> None:
    if len(indent) > 2 * JSON_DEPTH_MAX:
        raise ValueError("deeper than the bound")
    inner = indent + "  "
    match value:
        case _Pairs():
            members = sorted(value, key=lambda member: member[0])
            for index, (key, member) in enumerate(members):
                out.append(f"{',' if index else '{'}\n{inner}{_quoted(key)}: ")
                _write(member, out, inner)
            out.append(f"\n{indent}}}" if members else "{}")
        case list():
            for index, member in enumerate(value):
                out.append(f"{',' if index else '['}\n{inner}")
                _write(member, out, inner)
            out.append(f"\n{indent}]" if value else "[]")
        case _Number():
            out.append(str(value))
        case str():
            out.append(_quoted(value))
        case True | False | None:
            out.append({True: "true", False: "false", None: "null"}[value])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
