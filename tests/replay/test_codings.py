import gzip
import zlib

import brotli
import pytest
import zstandard

from harness.core import limits
from harness.core.values import Response, body_of
from replay import codings
from replay.codings import plain_body, unbrotli, unzstd

TEXT = b"hello " * 2000


def coded(data: bytes, coding: str) -> Response:
    return Response(200, (("Content-Encoding", coding),), body_of(data))


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("br", brotli.compress(TEXT)),
        ("zstd", zstandard.compress(TEXT)),
        ("br, gzip", gzip.compress(brotli.compress(TEXT))),
        ("identity", TEXT),
    ],
)
def test_every_coding_is_undone(coding: str, data: bytes) -> None:
    assert plain_body(coded(data, coding)) == TEXT


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "unknown"])
def test_what_is_not_of_the_coding_stays(coding: str) -> None:
    assert plain_body(coded(b"\x07nonsense\xff", coding)) == b"\x07nonsense\xff"


def test_nothing_unfolds_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = b"\0" * 5_000_000
    for undo, data in ((unbrotli, brotli.compress(bomb)), (unzstd, zstandard.compress(bomb))):
        found = undo(data, 1000)
        assert found is not None
        assert (len(found.data), found.complete) == (1000, False)
    monkeypatch.setattr(codings, "CAPTURE_BODY_BYTES_MAX", 500)
    assert plain_body(coded(gzip.compress(bomb), "gzip")) == b"\0" * 500
    assert limits.CAPTURE_BODY_BYTES_MAX > 500


def test_a_cut_body_is_not_complete() -> None:
    data = brotli.compress(bytes(range(256)) * 100)
    found = unbrotli(data[: len(data) // 2], 100_000)
    assert found is not None
    assert not found.complete
    harmed = data[: len(data) // 2] + b"\xff" * 3000
    again = unbrotli(harmed, 100_000)
    assert again is None or not again.complete
