"""Secrets in message bodies, by media type: JSON, forms, multipart, text.

It knows bytes, media types and content codings, not headers beyond those that describe the body. What cannot be read
and may hold secrets (an unknown coding, protobuf) is replaced by nothing, with size and keyed digest kept.
"""

import codecs
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote_plus, unquote_plus

from harness.core import coding
from harness.core.http import media_type as media_type_of
from harness.core.jsonspans import Path, Span, SpanKind, escape, scan, splice, unescape
from harness.core.placeholders import Placeholders, is_card
from harness.core.redact_text import Names, TextRedactor, holds_count, speaks_about
from harness.core.values import Body, Headers

_KEYED: Final = "keyed-"
_MEDIA: Final = re.compile(r"(?:image|audio|video|font)/(?!svg)|application/(?:pdf|zip|gzip|wasm|vnd\.openxmlformats|font-|x-font-)")
"""Kept as they are."""
_STRUCTURED: Final = re.compile(r"protobuf|grpc|msgpack|messagepack|cbor|avro|thrift|java-serialized|x-amf|\bbson")
"""Binary forms of what would be redacted in JSON."""
_TEXT: Final = re.compile(
    r"text/|application/(?:[\w.\-]*\+)?(?:json|xml|javascript|ecmascript|x-ndjson|ndjson|jsonl|graphql|yaml|x-yaml|sql)"
)
_JSON: Final = re.compile(r"(?:[\w.\-]+/)(?:[\w.\-]+\+)?(?:json|x-ndjson|ndjson|jsonl|json-seq|csp-report)")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_STRINGS: Final = re.compile(rb"[\x20-\x7e]{6,}")
_CUT: Final = re.compile(r"(?:[0-9][0-9 \-]*|[^\s\"'<>&,;]+)\Z")
"""The unfinished end of a cut text: it may be half a secret, which no pattern knows."""
_DISPOSITION: Final = re.compile(r'content-disposition:[^\r\n]*?;\s*name="?(?P<name>[^"\r\n;]*)', re.IGNORECASE)
_FILE: Final = re.compile(r"content-disposition:[^\r\n]*;\s*filename\*?=", re.IGNORECASE)
_PART_TYPE: Final = re.compile(r"^content-type:\s*(?P<type>[^\r\n;]+)", re.IGNORECASE | re.MULTILINE)
_BOUNDARY: Final = re.compile(rb"\A(?:\r?\n)?--([^\r\n]{1,200}?)[ \t]*\r?\n")
_NOT_ASCII: Final = ("utf-16", "utf16", "utf-32", "utf32", "utf-7", "utf7", "cp037", "cp500", "cp1140", "ibm037", "ibm500", "ibm1140")
"""Charsets in which ASCII is not written as ASCII."""
_NESTED_JSON_MAX: Final = 3
_ROUNDS_MAX: Final = 4


class BodyRedactor:
    """Redacts bodies; part of a Redactor."""

    def __init__(self, placeholders: Placeholders, names: Names, text: TextRedactor, decoders: Mapping[str, coding.Decoder]) -> None:
        self._placeholders = placeholders
        self._names = names
        self._text = text
        self._decoders = decoders

    def redact(self, body: Body, media_type: str, headers: Headers) -> tuple[Body, bool]:
        """The redacted body, and whether it is identity-coded now while the original was coded."""
        if not body.size or not body.data:
            return self._keyed(body), False
        codings = coding.codings_of(headers)
        data: bytes | None = body.data
        complete = not body.truncated
        if codings:
            decoded = coding.undo(body.data, codings, self._decoders)
            if decoded is not None:
                data, complete = decoded.data, decoded.complete and complete
            elif not _is_text(body.data):
                # Captures often hold the decoded body beside the old header; this one is really coded.
                data = None
        new = self._bytes(data, media_type, headers, complete) if data is not None else None
        if new is None:
            return self._dropped(body), False
        if not codings and new == body.data:
            return self._keyed(body), False
        if complete:
            return Body(data=new, size=len(new)), bool(codings)
        size = len(new) + max(1, body.size - len(body.data))
        return Body(data=new, size=size, digest=self._keyed(body).digest or self._digest(body)), bool(codings)

    def secret(self, names: Path | list[str]) -> bool:
        """Whether what stands at a path is secret by one of its names. A nearer name may only speak about it."""
        last = ""
        found = False
        for name in names:
            if isinstance(name, str):
                last = name
                found = found or self._names.sensitive(name)
        return found and not speaks_about(last)

    def pairs(self, text: str, *, complete: bool = True) -> str:
        """`a=1&b=2`, form-encoded: values of sensitive names, and secrets by form in the others and in names."""
        if not text:
            return text
        out = [self._pair(pair) for pair in text.split("&")]
        if not complete:
            name, mark, _ = out[-1].partition("=")
            out[-1] = name + mark if mark else ""
        return "&".join(out)

    def _pair(self, pair: str) -> str:
        raw_name, mark, raw = pair.partition("=")
        name, value = unquote_plus(raw_name, errors="surrogateescape"), unquote_plus(raw, errors="surrogateescape")
        if self._names.allowed(name):
            return pair
        new_name = self._text.redact(name)
        shown = raw_name if new_name == name else _quoted(new_name)
        new = self._placeholders.of_credential(value) if self._names.sensitive(name) else self._leaf_text(value, 0)
        return f"{shown}{mark}{raw if new == value else _quoted(new)}"

    def _digest(self, body: Body) -> str:
        return _KEYED + self._placeholders.digest(body.data + body.digest.encode("utf-8", "surrogatepass"))

    def _dropped(self, body: Body) -> Body:
        return Body(data=b"", size=body.size, digest=self._digest(body))

    def _keyed(self, body: Body) -> Body:
        """A plain digest of the whole would let anybody test guesses, so it is keyed too."""
        if not body.digest or body.digest.startswith(_KEYED):
            return body
        digest = _KEYED + self._placeholders.digest(body.digest.encode("utf-8", "surrogatepass"))
        return Body(data=body.data, size=body.size, digest=digest)

    def _bytes(self, data: bytes, media_type: str, headers: Headers, complete: bool) -> bytes | None:
        """Identity bytes redacted; None where they cannot be read and may hold secrets."""
        essence, parameters = media_type_of(headers)
        media_type = media_type.lower() or essence
        if media_type.startswith("multipart/"):
            return self._multipart(data, parameters.get("boundary", ""), complete)
        if _MEDIA.match(media_type):
            return data
        charset = _charset(parameters.get("charset", ""), data)
        known = _TEXT.match(media_type) is not None or _JSON.fullmatch(media_type) is not None or media_type.endswith("-urlencoded")
        if not (known or charset != "utf-8" or _is_text(data)):
            return self._binary(data, media_type)
        try:
            text = data.decode(charset, "surrogateescape" if charset == "utf-8" else "strict")
        except (UnicodeError, LookupError):
            return None
        new = self._by_type(text, media_type, complete)
        # What a cut end leaves behind may be an unfinished end itself.
        for _ in range(_ROUNDS_MAX if not complete else 0):
            again = self._by_type(new, media_type, complete)
            if again == new:
                break
            new = again
        return data if new == text else new.encode(charset, "surrogateescape")

    def _by_type(self, text: str, media_type: str, complete: bool) -> str:
        if _JSON.fullmatch(media_type) or (not media_type.endswith("-urlencoded") and text.lstrip()[:1] in {"{", "["}):
            return self._json(text, complete=complete)
        if media_type.endswith("-urlencoded"):
            return self.pairs(text, complete=complete)
        new = self._text.redact(text)
        return new if complete else _CUT.sub("", new)

    def _binary(self, data: bytes, media_type: str) -> bytes | None:
        if _STRUCTURED.search(media_type):
            return None
        for match in _STRINGS.finditer(data):
            text = match.group().decode("ascii")
            if self._text.redact(text) != text:
                return None
        return data

    def _json(self, text: str, *, complete: bool = True, depth: int = 0) -> str:
        """Leaves and keys replaced in place; what is not JSON (the rest of a cut document) as text."""
        start = 1 if text.startswith("\ufeff") else 0
        found = scan(text[start:])
        pieces = [piece for span in found.spans if (piece := self._span(text, span, start, depth))]
        new = splice(text[: start + found.end], pieces)
        last = found.spans[-1] if found.spans else None
        if not complete and last and last.kind is SpanKind.NUMBER and start + last.end == len(text):
            new = new[: len(new) - _length_now(pieces, last, start)]
        return new + self._tail(text[start + found.end :], found.path, complete)

    def _span(self, text: str, span: Span, offset: int, depth: int) -> tuple[int, int, str] | None:
        start, end = span.start + offset, span.end + offset
        if self._names.any_allowed and any(isinstance(name, str) and self._names.allowed(name) for name in span.path):
            return None
        if span.kind is SpanKind.KEY:
            name = str(span.path[-1])
            new = self._text.redact(name)
            return None if new == name else (start, end, escape(new))
        literal = text[start:end]
        secret = self.secret(span.path)
        if span.kind is SpanKind.NUMBER:
            new = self._number(literal, secret, span.path)
            return None if new == literal else (start, end, new)
        value = unescape(literal)
        new = self._named(span.path, value) if secret else self._leaf_text(value, depth)
        return None if new == value else (start, end, escape(new))

    def _named(self, path: Path, value: str) -> str:
        name = next((part.lower() for part in reversed(path) if isinstance(part, str)), "")
        if name in {"cookie", "set-cookie"} and "=" in value:
            pairs = value.split(";") if name == "cookie" else value.split(";", 1)[:1]
            hidden = ";".join(self._cookie(pair) for pair in pairs)
            return hidden if name == "cookie" else hidden + value[len(pairs[0]) :]
        return self._placeholders.of_credential(value)

    def _cookie(self, pair: str) -> str:
        name, mark, value = pair.partition("=")
        return f"{name}{mark}{self._placeholders.of(value.strip())}" if mark else self._placeholders.of(pair)

    def _leaf_text(self, value: str, depth: int) -> str:
        if value[:1] in {"{", "["} and depth < _NESTED_JSON_MAX:
            return self._json(value, depth=depth + 1)
        return self._text.redact(value)

    def _number(self, literal: str, secret: bool, path: Path) -> str:
        names: Iterable[str] = (part for part in reversed(path) if isinstance(part, str))
        if secret:
            return literal if holds_count(next(iter(names), "")) else self._placeholders.of_number(literal)
        return self._placeholders.of_number(literal) if literal.isdigit() and is_card(literal) else literal

    def _tail(self, tail: str, path: Path, complete: bool) -> str:
        if not tail:
            return tail
        if tail.startswith('"') and self.secret(path):
            inner = unescape(tail + '"') if not tail.endswith('"') else tail.strip('"')
            return escape(self._placeholders.of_credential(inner)) if inner else tail
        new = self._text.redact(tail)
        return new if complete else _CUT.sub("", new)

    def _multipart(self, data: bytes, boundary: str, complete: bool) -> bytes | None:
        """Parts one by one (RFC 7578); the delimiters stay as they are."""
        sniffed = _BOUNDARY.match(data)
        mark = boundary.encode("latin-1", "replace") if boundary else sniffed[1] if sniffed else b""
        if not mark or b"--" + mark not in data:
            text = data.decode("utf-8", "surrogateescape") if _is_text(data) else None
            return self._text.redact(text).encode("utf-8", "surrogateescape") if text is not None else self._binary(data, "")
        pieces = data.split(b"--" + mark)
        out = [pieces[0], *(self._part(piece, complete or index < len(pieces) - 2) for index, piece in enumerate(pieces[1:]))]
        return (b"--" + mark).join(out)

    def _part(self, piece: bytes, complete: bool) -> bytes:
        split = re.search(rb"\r?\n\r?\n", piece)
        if not split:
            return piece
        head = piece[: split.start()].decode("utf-8", "surrogateescape")
        content = piece[split.end() :]
        ending = b"\r\n" if content.endswith(b"\r\n") else b"\n" if content.endswith(b"\n") else b""
        content = content[: len(content) - len(ending)]
        disposition, kind = _DISPOSITION.search(head), _PART_TYPE.search(head)
        name = disposition["name"] if disposition else ""
        new_head = self._text.redact(head).encode("utf-8", "surrogateescape")
        media_type = kind["type"].strip().lower() if kind else ""
        if self._names.allowed(name):
            new: bytes | None = content
        elif content and self._names.sensitive(name) and not _FILE.search(head):
            new = self._placeholders.of_credential(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        else:
            new = self._bytes(content, media_type or "text/plain", (), complete)
        return (
            new_head + split.group() + (new if new is not None else b"redacted-" + self._placeholders.digest(content, 6).encode()) + ending
        )


def _quoted(text: str) -> str:
    return quote_plus(coding.to_bytes(text), safe="@")


def _length_now(pieces: list[tuple[int, int, str]], last: Span, offset: int) -> int:
    """Length of the last span in the new text."""
    if pieces and pieces[-1][0] == last.start + offset:
        return len(pieces[-1][2])
    return last.end - last.start


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        # A cut may fall inside a character.
        if error.start < len(data) - 3:
            return False
        text = data[: error.start].decode("utf-8")
    return _CONTROL.search(text) is None


def _charset(name: str, data: bytes) -> str:
    """The codec to read text with: `utf-8` for all that write ASCII as ASCII, which is enough to find secrets."""
    if data[:4] in {codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE}:
        return "utf-32"
    if data[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        return "utf-16"
    lowered = name.strip().lower().replace("_", "-")
    if not lowered.startswith(_NOT_ASCII):
        return "utf-8"
    try:
        return codecs.lookup(lowered).name
    except LookupError:
        return "utf-8"
