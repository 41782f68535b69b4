"""Content codings: undone in reverse order, within a bound, and never with an exception."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.coding import DECODERS, Decoded, codings_of, gunzip, inflate, undo, with_length, without_coding


@given(st.binary(max_size=500), st.lists(st.sampled_from(["gzip", "x-gzip", "deflate"]), max_size=3))
def test_round_trip(data: bytes, codings: list[str]) -> None:
    coded = data
    for name in codings:
        coded = zlib.compress(coded) if name == "deflate" else gzip.compress(coded)
    assert undo(coded, codings) == Decoded(data, True)


@given(st.binary(max_size=200), st.sampled_from(sorted(DECODERS)))
def test_any_bytes(data: bytes, name: str) -> None:
    decoded = undo(data, [name], bytes_max=1000)
    assert decoded is None or len(decoded.data) <= 1000


def test_a_bomb_is_cut_at_the_bound() -> None:
    bomb = gzip.compress(b"\x00" * 10_000_000)
    decoded = gunzip(bomb, 1000)
    assert decoded == Decoded(b"\x00" * 1000, False)
    assert undo(gzip.compress(bomb), ["gzip", "gzip"], bytes_max=2000) is not None


def test_what_ends_early_is_incomplete() -> None:
    whole = gzip.compress(bytes(range(256)) * 20)
    decoded = gunzip(whole[:-20], 100_000)
    assert decoded is not None
    assert not decoded.complete
    trailing = gunzip(gzip.compress(b"abc") + b"rubbish", 100)
    assert trailing == Decoded(b"abc", False)
    assert inflate(b"rubbish", 100) is None


def test_many_small_members_take_time_by_their_length() -> None:
    """Not by its square: that would be minutes."""
    assert gunzip(gzip.compress(b"") * 800_000 + gzip.compress(b"abc"), 10) == Decoded(b"abc", True)


def test_unknown_codings_and_decoders_from_outside() -> None:
    assert undo(b"cba", ["reverse"]) is None
    assert undo(b"cba", ["reverse"], {"reverse": lambda data, _most: Decoded(data[::-1], True)}) == Decoded(b"abc", True)


@pytest.mark.parametrize(("value", "expected"), [("gzip", ["gzip"]), ("GZip, identity , br", ["gzip", "br"]), ("", []), ("identity", [])])
def test_names(value: str, expected: list[str]) -> None:
    assert codings_of((("content-encoding", value),)) == expected


def test_headers_follow_the_body() -> None:
    headers = (("Content-Encoding", "gzip"), ("Content-Length", "10"), ("A", "b"))
    assert without_coding(headers, 25) == (("Content-Length", "25"), ("A", "b"))
    assert with_length((("A", "b"),), 25) == (("A", "b"),)
