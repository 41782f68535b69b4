"""JSON read as places in its own text: every leaf with its path and its span.

Redaction and identifier rewriting replace leaves inside the text, so that everything else (order, white space, big
numbers, duplicate keys) stays as it was written. It reads as far as the text is JSON and says where it stopped, which
also serves truncated documents; a sequence of documents (NDJSON) reads like one.
"""

import json
import re
from enum import StrEnum
from typing import Final

import msgspec

from harness.core import limits

Path = tuple[str | int, ...]


class SpanKind(StrEnum):
    """What stands in a span."""

    KEY = "key"
    STRING = "string"
    NUMBER = "number"


class Span(msgspec.Struct, frozen=True):
    """One key, string or number: its path (a key's own name is last), and where its text stands, quotes included."""

    path: Path
    kind: SpanKind
    start: int
    end: int


class Scan(msgspec.Struct, frozen=True):
    """The spans read, where reading stopped, and the path of the value expected there.

    `end == len(text)` where the whole text is JSON (or white space).
    """

    spans: list[Span]
    end: int
    path: Path


_S: Final = r"[ \t\r\n]*+"
_STRING: Final = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_VALUE: Final = rf"(?:({_STRING})|(-?[0-9][0-9.eE+\-]*+)|(true|false|null|NaN|-?Infinity)|([{{\[]))(?:{_S}(,))?"
_TOKEN: Final = re.compile(
    rf"{_S}(?:(?P<string>{_STRING})|(?P<number>-?[0-9][0-9.eE+\-]*)|(?P<mark>[{{}}\[\]:,])|(?P<word>true|false|null|NaN|-?Infinity))",
    re.DOTALL,
)
_MEMBER: Final = re.compile(rf"{_S}({_STRING}){_S}:{_S}{_VALUE}", re.DOTALL)
"""A whole member of an object and the comma behind it: one step where four tokens would be."""
_ELEMENT: Final = re.compile(rf"(){_S}{_VALUE}", re.DOTALL)
_SPACE: Final = re.compile(_S)


class _Frame:
    """One open container."""

    __slots__ = ("is_object", "path", "want", "where")

    def __init__(self, is_object: bool, path: Path) -> None:
        self.is_object = is_object
        self.path = path
        self.where: str | int = "" if is_object else 0
        self.want = "key" if is_object else "value"
        """One of key, colon, value, comma."""


def scan(text: str) -> Scan:
    """All keys, strings and numbers of a JSON text, in order. Total; stops at what is not JSON or nests too deep."""
    spans: list[Span] = []
    stack: list[_Frame] = []
    position = 0
    while True:
        if stack:
            position = _members(text, position, stack, spans)
        frame = stack[-1] if stack else None
        path = (*frame.path, frame.where) if frame else ()
        match = _TOKEN.match(text, position)
        if not match:
            return Scan(spans, _end_of_space(text, position), path)
        want = frame.want if frame else "value"
        kind = match.lastgroup
        token = match[kind or 0]
        start = match.start(kind or 0)
        if kind == "mark":
            if not _mark(token, want, stack, path):
                return Scan(spans, start, path)
        elif want == "key" and kind == "string" and frame:
            frame.where = unescape(token)
            frame.want = "colon"
            spans.append(Span((*frame.path, frame.where), SpanKind.KEY, start, match.end()))
        elif want == "value":
            if kind == "string":
                spans.append(Span(path, SpanKind.STRING, start, match.end()))
            elif kind == "number":
                spans.append(Span(path, SpanKind.NUMBER, start, match.end()))
            if frame:
                frame.want = "comma"
        else:
            return Scan(spans, start, path)
        position = match.end()


def _members(text: str, position: int, stack: list[_Frame], spans: list[Span]) -> int:
    """Takes whole members and elements as long as they come, and gives the position behind them."""
    while True:
        frame = stack[-1]
        if frame.want == "key":
            match = _MEMBER.match(text, position)
        elif frame.want == "value" and not frame.is_object:
            match = _ELEMENT.match(text, position)
        else:
            return position
        if not match:
            return position
        key, string, number, _, opening, comma = match.groups()
        if opening and len(stack) >= limits.JSON_DEPTH_MAX:
            return position
        if key:
            frame.where = key[1:-1] if "\\" not in key else unescape(key)
        path = (*frame.path, frame.where)
        if key:
            spans.append(Span(path, SpanKind.KEY, match.start(1), match.end(1)))
        if string:
            spans.append(Span(path, SpanKind.STRING, match.start(2), match.end(2)))
        elif number:
            spans.append(Span(path, SpanKind.NUMBER, match.start(3), match.end(3)))
        elif opening:
            frame.want = "comma"
            stack.append(_Frame(opening == "{", path))
            position = match.end(5)
            continue
        if not comma:
            frame.want = "comma"
        elif not frame.is_object:
            frame.where = int(frame.where) + 1
        else:
            frame.want = "key"
        position = match.end()


def _mark(token: str, want: str, stack: list[_Frame], path: Path) -> bool:
    """Takes one punctuation mark; False where JSON has none there."""
    frame = stack[-1] if stack else None
    if token in "{[":
        if want != "value" or len(stack) >= limits.JSON_DEPTH_MAX:
            return False
        if frame:
            frame.want = "comma"
        stack.append(_Frame(token == "{", path))
        return True
    if frame is None:
        return False
    if token in "}]":
        # A comma before the end is let through: the text is read, not judged.
        if frame.is_object != (token == "}") or want == "colon" or (frame.is_object and want == "value"):
            return False
        stack.pop()
        return True
    if token == ":" and want == "colon":
        frame.want = "value"
        return True
    if token == "," and want == "comma":
        frame.want = "key" if frame.is_object else "value"
        if isinstance(frame.where, int):
            frame.where += 1
        return True
    return False


def _end_of_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def unescape(literal: str) -> str:
    """The value of a JSON string literal; where its escapes are not JSON, its inner text."""
    if "\\" not in literal:
        return literal[1:-1]
    try:
        return str(json.loads(literal, strict=False))
    except ValueError:
        return literal[1:-1]


def escape(value: str) -> str:
    """A JSON string literal; surrogates (bytes that were no UTF-8) are escaped, so that it can always be encoded."""
    return json.dumps(value, ensure_ascii=not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value))


def splice(text: str, pieces: list[tuple[int, int, str]]) -> str:
    """`text` with the spans (start, end, new text), in ascending order, replaced."""
    out: list[str] = []
    position = 0
    for start, end, new in pieces:
        out += (text[position:start], new)
        position = end
    out.append(text[position:])
    return "".join(out)
