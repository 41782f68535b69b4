"""Spans of JSON: they point at what a parser reads, and reading stops where the JSON does."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.jsonspans import SpanKind, escape, scan, splice, unescape

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in leaves(inner, (*path, name))]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in leaves(inner, (*path, index))]
    if isinstance(value, bool) or value is None or (isinstance(value, float) and not math.isfinite(value)):
        return []
    return [(path, value)]


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_spans_are_the_leaves(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    found = scan(text)
    assert found.end == len(text)
    read = [
        (span.path, unescape(text[span.start : span.end]) if span.kind is SpanKind.STRING else json.loads(text[span.start : span.end]))
        for span in found.spans
        if span.kind is not SpanKind.KEY
    ]
    assert read == leaves(value)


@given(VALUES, st.integers(0, 40))
def test_a_cut_document_is_read_up_to_the_cut(value: Any, cut: int) -> None:
    text = json.dumps(value)
    found = scan(text[: len(text) - cut] if cut else text)
    whole = scan(text)
    settled = [span for span in found.spans if span.end < len(text) - cut]
    assert settled == whole.spans[: len(settled)]


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", 0),
        ("  ", 2),
        ("{", 1),
        ('{"a" 1}', 5),
        ('{"a": 1 "b"}', 8),
        ("{1: 2}", 1),
        ("[1 2]", 3),
        ("]", 0),
        (",", 0),
        ("{]", 1),
        ('{"a":}', 5),
        ('{"a"}', 4),
        ("[1,,2]", 3),
        ("{:}", 1),
        ('{"a": {"b": [}]', 13),
        ('["open', 1),
        ("[tru", 1),
    ],
)
def test_where_reading_stops(text: str, end: int) -> None:
    assert scan(text).end == end


def test_what_is_let_through() -> None:
    for text in ('{"a":1}\n{"a":2}\n', "[1,]", "[NaN, -Infinity]", '"a" "b"', '{"a":1,"a":2}', '["\t"]'):
        assert scan(text).end == len(text)


def test_the_path_of_what_is_missing() -> None:
    assert scan('{"a": [1, {"b": "x').path == ("a", 1, "b")


def test_depth_is_bounded() -> None:
    assert scan("[" * 100_000).end == 200


@given(st.text())
def test_escape_and_unescape(text: str) -> None:
    assert unescape(escape(text)) == text


def test_odd_literals() -> None:
    assert unescape('"\\x"') == "\\x"
    assert escape("\udcff\ud800").isascii()
    assert escape("é") == '"é"'


def test_splice() -> None:
    assert splice("abcdef", [(1, 2, "XX"), (4, 6, "")]) == "aXXcd"
    assert splice("abc", []) == "abc"
