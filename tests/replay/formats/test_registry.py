import gzip
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint
from itertools import chain

import pytest

from harness.core.errors import CaptureError, UsageError
from replay.entry import BrokenKind, Item
from replay.formats.api import Format, WritableFormat
from replay.formats.registry import GROUP, Budget, choose_format, installed_formats, read_capture
from tests.replay.build import CAPTURES, FORMATS, bad, good, read


class Lines:
    """A third party's format: one GET for each line."""

    name = "lines"
    version = 3
    extensions = (".lines",)

    def sniff(self, head: bytes) -> bool:
        return head.startswith(b"lines:")

    def read(self, chunks: Iterable[bytes], file: str) -> Iterator[Item]:
        return iter(())


def test_the_built_in_formats_are_found() -> None:
    assert [codec.name for codec in FORMATS] == ["gor", "har", "mitm"]
    assert [isinstance(codec, WritableFormat) for codec in FORMATS] == [True, False, False]
    assert all(codec.version >= 1 for codec in FORMATS)


def test_another_package_can_add_a_format() -> None:
    point = EntryPoint("lines", f"{__name__}:Lines", GROUP)
    assert installed_formats([point])[0].name == "lines"
    assert isinstance(Lines(), Format)


@pytest.mark.parametrize("value", ["no.such.module:X", "replay.formats.har:NOTHING", "replay.formats.har:json"])
def test_a_format_that_cannot_be_used_is_named(value: str) -> None:
    with pytest.raises(UsageError, match="bad"):
        installed_formats([EntryPoint("bad", value, GROUP)])


def test_content_counts_before_the_name() -> None:
    head = (CAPTURES / "httpbin.har").read_bytes()[:2000]
    assert choose_format(head, "x.gor", FORMATS).name == "har"
    assert choose_format(b"???", "X.GOR.gz", FORMATS).name == "gor"
    for name in ("httpbin.gor", "httpbin.har", "httpbin.mitm"):
        assert choose_format((CAPTURES / name).read_bytes()[:8192], "noname", FORMATS).name == name.split(".")[1]


def test_what_nobody_knows_is_said_with_the_formats() -> None:
    with pytest.raises(CaptureError) as caught:
        read(b"GIF89a....", "cat.gif")
    assert caught.value.where == "cat.gif"
    assert "gor, har, mitm" in caught.value.fix


def test_an_empty_file_is_said() -> None:
    for data in (b"", gzip.compress(b"")):
        with pytest.raises(CaptureError, match="empty"):
            read(data, "x.har")


def test_gzip_members_and_padding_are_undone() -> None:
    data = (CAPTURES / "httpbin.gor").read_bytes()
    folded = gzip.compress(data[:1000]) + gzip.compress(data[1000:]) + b"\0" * 512
    for piece_bytes in (1, 999, len(folded)):
        assert read(folded, "x", piece_bytes=piece_bytes) == read(data, "x")


@pytest.mark.parametrize("name", ["httpbin.gor", "httpbin.har", "httpbin.mitm"])
def test_gzip_that_ends_early_gives_what_is_there(name: str) -> None:
    folded = gzip.compress((CAPTURES / name).read_bytes())
    items = read(folded[: len(folded) * 2 // 3], name)
    assert good(items)
    assert [item.kind for item in bad(items)][-1] is BrokenKind.TRUNCATED
    assert "gzip" in bad(items)[-1].what


def test_damaged_gzip_is_said() -> None:
    folded = bytearray(gzip.compress((CAPTURES / "httpbin.gor").read_bytes()))
    folded[40:60] = b"\xff" * 20
    with pytest.raises(CaptureError, match="gzip"):
        read(bytes(folded)[:70], "x")
    with pytest.raises(CaptureError, match="gzip"):
        read(gzip.compress(b'{"log": {"version": "1.2", "x": "y"}}')[:-12], "x.har")


def test_a_bomb_is_stopped_at_the_bound() -> None:
    record = b"1 aaaaaaaa 5 0\nGET / HTTP/1.1\r\n\r\n\n" + "🐵🙈🙉".encode() + b"\n"
    folded = gzip.compress(record * 200_000)
    items = list(read_capture([folded], "x", FORMATS, Budget(3_000_000)))
    assert items[-1] in bad(items)
    assert bad(items)[-1].kind is BrokenKind.TOO_LARGE
    assert 0 < len(good(items)) < 200_000


def test_reading_is_lazy() -> None:
    data = (CAPTURES / "httpbin.gor").read_bytes()

    def endless() -> Iterator[bytes]:
        while True:
            yield data

    items = read_capture(chain([data], endless()), "x", FORMATS)
    assert good([next(items) for _ in range(100)])
