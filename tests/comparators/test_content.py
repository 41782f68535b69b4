"""Content codings: undone in both directions, bounded, and honest about what is broken."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from comparators.content import codings_of, decode

MEGABYTE = 1024 * 1024


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


def in_members(data: bytes) -> bytes:
    middle = len(data) // 2
    return gzip.compress(data[:middle]) + gzip.compress(data[middle:]) + b"\x00\x00"


def in_frames(data: bytes) -> bytes:
    middle = len(data) // 2
    return zstandard.compress(data[:middle]) + zstandard.compress(data[middle:])


CODERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("gzip", in_members),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli.compress),
    ("zstd", zstandard.compress),
    ("zstd", in_frames),
]


@given(st.sampled_from(CODERS), st.binary(max_size=2_000))
def test_what_was_coded_comes_back(coder: tuple[str, Callable[[bytes], bytes]], data: bytes) -> None:
    name, code = coder
    found = decode(code(data), (name,))
    assert (found.data, found.complete, found.problem, found.unknown) == (data, True, "", "")


@pytest.mark.parametrize(("name", "code"), CODERS)
def test_a_large_body(name: str, code: Callable[[bytes], bytes]) -> None:
    data = bytes(range(256)) * 1_000
    assert decode(code(data), (name,)).data == data


def test_several_codings_are_undone_last_first() -> None:
    assert decode(brotli.compress(gzip.compress(b"x")), ("gzip", "br")).data == b"x"


@pytest.mark.parametrize(("name", "code"), CODERS)
def test_a_bomb_is_never_unfolded(name: str, code: Callable[[bytes], bytes]) -> None:
    bomb = code(b"\x00" * (64 * MEGABYTE))
    tracemalloc.start()
    found = decode(bomb, (name,), bytes_max=MEGABYTE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(found.data), found.complete, found.problem) == (MEGABYTE, False, "")
    assert peak < 40 * MEGABYTE


@pytest.mark.parametrize(("name", "code"), CODERS)
def test_exactly_the_bound_is_complete(name: str, code: Callable[[bytes], bytes]) -> None:
    data = b"\x01" * 70_000
    assert decode(code(data), (name,), bytes_max=70_000).complete
    assert not decode(code(data), (name,), bytes_max=69_999).complete


@pytest.mark.parametrize(("name", "code"), CODERS)
def test_a_body_that_ends_too_early(name: str, code: Callable[[bytes], bytes]) -> None:
    coded = code(bytes(range(256)) * 50)[:-12]
    cut = decode(coded, (name,))
    assert cut.problem
    assert not cut.complete
    known = decode(coded, (name,), truncated=True)
    assert not known.complete
    assert not known.problem or name == "br" or "frame" in known.problem


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_garbage(name: str) -> None:
    found = decode(b"this is not coded at all", (name,))
    assert found.problem.startswith(name)
    assert not found.complete


def test_an_empty_body_needs_no_coding() -> None:
    assert decode(b"", ("gzip",)).problem == ""


def test_unknown_and_too_many_codings() -> None:
    assert decode(b"x", ("compress",)).unknown == "compress"
    assert decode(gzip.compress(b"x"), ("compress", "gzip")).unknown == "compress"
    assert decode(b"x", ("gzip",) * 9).problem == "9 content codings"


def test_reading_the_header() -> None:
    assert codings_of((("Content-Encoding", "gzip, BR"), ("content-encoding", "identity"), ("Content-Encoding", "x-gzip,"))) == (
        "gzip",
        "br",
        "gzip",
    )
    assert codings_of(()) == ()


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "br", "zstd"]), st.booleans())
def test_nothing_is_raised(data: bytes, name: str, truncated: bool) -> None:
    decode(data, (name,), truncated=truncated, bytes_max=1_000)


@given(st.sampled_from(CODERS), st.integers(0, 60), st.integers(0, 255))
def test_a_damaged_body_is_said_to_be_broken_or_comes_out(coder: tuple[str, Callable[[bytes], bytes]], place: int, value: int) -> None:
    name, code = coder
    coded = bytearray(code(b"some text that is coded " * 20))
    coded[place % len(coded)] = value
    decode(bytes(coded), (name,), bytes_max=10_000)
