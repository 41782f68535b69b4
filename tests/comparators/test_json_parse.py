"""Reading JSON: everything that is not quite JSON has a defined result."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.json_parse import flat_any, flat_plain, parse
from harness.core import limits
from tests.comparators.support import DOCUMENTS


@given(DOCUMENTS, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_plain_json_is_read_as_json_reads_it(value: Any, indent: int | str | None, ascii_only: bool) -> None:
    document = parse(json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode())
    assert json.dumps(document.value) == json.dumps(value)
    assert document.plain
    assert not document.duplicates


@given(
    st.binary(max_size=60)
    | st.text('[]{}",:0123456789.eE-+ntfaluNIi\\u \ufeff\ud800', max_size=40).map(lambda t: t.encode("utf-8", "surrogatepass"))
)
def test_nothing_is_ever_raised(data: bytes) -> None:
    document = parse(data)
    if not document.problem and not document.too_deep:
        flat_any(document.value)
        if document.plain:
            flat_plain(document.value)


@given(
    DOCUMENTS.map(lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
    | st.text('[]{}",:019.e-a', max_size=30).map(str.encode)
    | st.sampled_from([b'{"a":1,"a":1}', b'{"a":1,"a":2}', b'{"a":[1e22,12345678901234567890123,18446744073709551615]}'])
)
def test_what_a_compact_writer_wrote_is_read_as_anything_else(data: bytes) -> None:
    """White space at the end keeps the short way from being taken."""
    short, long = parse(data), parse(data + b"\n")
    assert repr(short.value) == repr(long.value)
    assert (short.duplicates, bool(short.problem), short.too_deep) == (long.duplicates, bool(long.problem), long.too_deep)
    if short.plain and long.plain:
        assert short.text == long.text


@pytest.mark.parametrize(
    ("data", "value", "plain"),
    [
        (b"18446744073709551615", 18446744073709551615, True),
        (b"18446744073709551615 ", 18446744073709551615, False),
        (b"18446744073709551616", 18446744073709551616, False),
        (b"9223372036854775807", 9223372036854775807, True),
        (b"-9223372036854775809", -9223372036854775809, False),
        (b'{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}, False),
        (b"[1,98765432109876543210987]", [1, 98765432109876543210987], False),
        (b"0.12345678901234567890123", 0.12345678901234568, True),
        (b"1.5e-00000000000000000000001", 0.15, True),
        (b'"12345678901234567890123"', "12345678901234567890123", True),
        (b'["9e107d9d372bb6826bd81d3542a41900000000000000000000"]', ["9e107d9d372bb6826bd81d3542a41900000000000000000000"], True),
        (b"Infinity", math.inf, False),
        (b"1E400", math.inf, False),
        (b'"\\ud800"', "\ud800", False),
        (b'{"a":1,"a":1}', {"a": 1}, False),
        (b'{"a" : 1, "b:c" : "d:e"}', {"a": 1, "b:c": "d:e"}, True),
        (b"9" * 5_000, "integer " + "9" * 5_000, False),
    ],
)
def test_values(data: bytes, value: Any, plain: bool) -> None:
    document = parse(data)
    assert document.value == value
    assert type(document.value) is type(value)
    assert document.plain is plain
    assert not document.duplicates


def test_nan() -> None:
    assert math.isnan(parse(b"NaN").value)


@pytest.mark.parametrize(
    ("data", "duplicates"),
    [
        (b'{"a":1,"a":2}', {"$.a": ("1", "2")}),
        (b'{"x":[{"a":1,"a":{"b":2}}]}', {"$.x[*].a": ("1", '{"b": 2}')}),
        (b'{"x":{"a":1,"a":1},"b":1,"b":2}', {"$.b": ("1", "2")}),
        (b'{"a":{"c":1,"c":2},"a":{"c":3,"c":4}}', {"$.a": ('{"c": 2}', '{"c": 4}'), "$.a.c": ("3", "4")}),
    ],
)
def test_repeated_keys(data: bytes, duplicates: dict[str, tuple[str, ...]]) -> None:
    document = parse(data)
    assert document.duplicates == duplicates
    assert type(document.value) is dict


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b'\xef\xbb\xbf{"a":1}', "UTF-8 with a byte order mark"),
        ('{"a":1}'.encode("utf-16"), "UTF-16"),
        ('{"a":1}'.encode("utf-32"), "UTF-32"),
        (b'{"a":1,"b":"\xff"}', "invalid UTF-8"),
    ],
)
def test_encodings(data: bytes, encoding: str) -> None:
    document = parse(data)
    assert document.encoding == encoding
    assert document.value["a"] == 1


@pytest.mark.parametrize("data", [b"", b"{", b"{]", b"nope", b"[1,]", b"\x00"])
def test_what_is_not_json(data: bytes) -> None:
    assert parse(data).problem.startswith("not JSON")


@pytest.mark.parametrize("depth", [limits.JSON_DEPTH_MAX + 60, 1_000, 20_000])
def test_what_is_too_deep(depth: int) -> None:
    assert parse(b"[" * depth + b"]" * depth).too_deep


def test_brackets_in_strings_are_no_depth_and_quotes_no_trap() -> None:
    document = parse(b'["' + b"[" * 1_000 + b'", NaN]')
    assert not document.too_deep
    assert document.value[0] == "[" * 1_000
    assert parse(b'"' + b'\\"' * 200_000).problem, "linear, although the string never ends"
