"""Bytes to JSON values, with a defined result for everything that is not quite JSON. Knows nothing of comparing.

orjson reads what is plain (the hot path). What it would lose or refuse is read again with the standard library: integers
beyond 64 bits, NaN and Infinity, lone surrogates, repeated keys, other encodings, invalid UTF-8.
"""

import codecs
import json
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
import orjson

from comparators.paths import ITEM, key_step
from harness.core import limits

_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER: Final = b"0" * 19
_BIG_INTEGER: Final = re.compile(rb"-[0-9]{19,}|[0-9]{20,}")
_BEFORE_NUMBER: Final = frozenset(b" \t\r\n:,[")
_AFTER_NUMBER: Final = frozenset(b" \t\r\n,]}")
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_NESTED: Final = re.compile(rb"[\[\]{}]|\"[^\"\\]*(?:\\.[^\"\\]*)*\"?", re.DOTALL)

Flat = Callable[[Any], bytes]
"""A canonical text of a value: equal for equal values, whatever the order of the keys."""


class Document(msgspec.Struct, frozen=True, eq=False):
    """A parsed body."""

    value: Any = None
    text: bytes = b""
    """The value written again without white space, keys in their order; empty for what is not plain."""
    plain: bool = True
    """orjson reads and writes it without loss."""
    encoding: str = "UTF-8"
    duplicates: dict[str, tuple[str, ...]] = {}
    """Path of a repeated key -> the different values it was given, in order, as JSON text."""
    problem: str = ""
    """Why there is no value: it is not JSON, in the dialect accepted here."""
    too_deep: bool = False


def flat_plain(value: Any) -> bytes:
    """Canonical text of a plain value."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def flat_any(value: Any) -> bytes:
    """Canonical text of any value; slower."""
    return json.dumps(value, sort_keys=True).encode()


def parse(data: bytes) -> Document:
    """Read a body. Never raises: what cannot be read has a `problem` or is `too_deep`."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _parse_slowly(data)
    try:
        text = orjson.dumps(value)
    except TypeError:
        return Document(too_deep=True)
    if text == data:
        # What is written comes from the value alone, so nothing can have been lost. Compact writers mostly get here.
        return Document(value=value, text=data)
    # A repeated key is lost in the value, so the text written again has fewer colons; those in strings are in both.
    if data.count(b":") != text.count(b":") or _has_big_integer(data):
        return _parse_slowly(data)
    return Document(value=value, text=text)


def _has_big_integer(data: bytes) -> bool:
    """Whether there may be an integer beyond 64 bits, which orjson would read as a float."""
    zeros = data.translate(_DIGITS)
    start = zeros.find(_LONG_NUMBER)
    while start >= 0:
        start -= data[start - 1 : start] == b"-"
        match = _BIG_INTEGER.match(data, start)
        end = start + len(_LONG_NUMBER) if match is None else match.end()
        before, after = data[max(start - 1, 0) : start], data[end : end + 1]
        if match and (not before or before[0] in _BEFORE_NUMBER) and (not after or after[0] in _AFTER_NUMBER):
            return True
        start = zeros.find(_LONG_NUMBER, end)
    return False


def _parse_slowly(data: bytes) -> Document:
    text, encoding = _decode(data)
    text = text.removeprefix("\ufeff")
    if _depth(data) > limits.JSON_DEPTH_MAX:
        return Document(too_deep=True)
    repeats = _Repeats()
    try:
        value = json.loads(text, object_pairs_hook=repeats.collect, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        return Document(problem=f"not JSON: {error}", encoding=encoding)
    duplicates: dict[str, tuple[str, ...]] = {}
    if repeats.found:
        value = _strip_repeats(value, "$", duplicates)
    return Document(value=value, plain=False, encoding=encoding, duplicates=duplicates)


def _decode(data: bytes) -> tuple[str, str]:
    for bom, codec, label in _BOMS:
        if data.startswith(bom):
            return data.decode(codec, "replace"), label
    try:
        return data.decode(), "UTF-8"
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape"), "invalid UTF-8"


def _integer(digits: str) -> int | str:
    # The interpreter refuses to convert very long integers; their digits compare as well.
    return int(digits) if len(digits) <= 4000 else f"integer {digits}"


def _depth(data: bytes) -> int:
    """How deep brackets are nested, outside strings."""
    depth = deepest = 0
    for match in _NESTED.finditer(data):
        token = match[0]
        if token in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in b"]}":
            depth -= 1
    return deepest


class _Repeated(dict[str, Any]):
    """An object with repeated keys: the last value of each counts, the others are remembered."""

    repeats: dict[str, list[Any]]


class _Repeats:
    """Collects objects while json reads them, innermost first."""

    def __init__(self) -> None:
        self.found = False

    def collect(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        plain = dict(pairs)
        if len(plain) == len(pairs):
            return plain
        self.found = True
        repeated = _Repeated(plain)
        repeated.repeats = {}
        for key, value in pairs:
            repeated.repeats.setdefault(key, []).append(value)
        return repeated


def _strip_repeats(value: Any, path: str, duplicates: dict[str, tuple[str, ...]]) -> Any:
    """The value with ordinary objects only; notes where a key was repeated with different values."""
    if isinstance(value, list):
        return [_strip_repeats(item, path + ITEM, duplicates) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value, _Repeated):
        for key, values in value.repeats.items():
            texts = tuple(json.dumps(member, sort_keys=True) for member in values)
            if len(set(texts)) > 1:
                duplicates.setdefault(path + key_step(key), texts)
    return {key: _strip_repeats(member, path + key_step(key), duplicates) for key, member in value.items()}
