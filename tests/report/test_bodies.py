import gzip
import json
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from harness.core.limits import REPORT_BODY_CHARS_MAX, REPORT_BODY_LINES_MAX, REPORT_LINE_CHARS_MAX
from harness.core.values import Body, body_of
from harness.report.bodies import Lines, read_body, read_document, view_bodies

TEXT = b'{"b":[1,2.50,1e400,12345678901234567890123],"a":{"x":null,"y":true},"e":{},"l":[],"a":"dup"}'
SHOWN = """{
  "a": {
    "x": null,
    "y": true
  },
  "a": "dup",
  "b": [
    1,
    2.50,
    1e400,
    12345678901234567890123
  ],
  "e": {},
  "l": []
}"""


def coded(coding: str, data: bytes) -> Lines:
    return read_body((("Content-Encoding", coding),), body_of(data))


def test_json_is_indented_and_numbers_keep_their_spelling() -> None:
    assert "\n".join(read_body((), body_of(TEXT)).lines) == SHOWN


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("br", brotli.compress(TEXT)),
        ("zstd", zstandard.ZstdCompressor().compress(TEXT)),
        ("identity", TEXT),
        ("gzip, br", brotli.compress(gzip.compress(TEXT))),
    ],
)
def test_content_codings_are_undone(coding: str, data: bytes) -> None:
    assert "\n".join(coded(coding, data).lines) == SHOWN


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "rot13"])
def test_an_unreadable_coding_is_said(coding: str) -> None:
    shown = coded(coding, b"\xff\xfe not coded at all")
    assert "could not be undone" in shown.note


def test_a_truncated_coding_shows_what_there_is() -> None:
    squeezed = brotli.compress(json.dumps(list(range(5000))).encode())
    shown = coded("br", squeezed[: len(squeezed) // 2])
    assert shown.note == "" or "first part" in shown.note


def test_a_bomb_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.report.bodies.DECODED_BODY_BYTES_MAX", 1000)
    for coding, data in (
        ("br", brotli.compress(b"a" * 100_000)),
        ("zstd", zstandard.ZstdCompressor().compress(b"a" * 100_000)),
        ("gzip", gzip.compress(b"a" * 100_000)),
    ):
        shown = coded(coding, data)
        assert sum(map(len, shown.lines)) <= 1000
        assert "first part" in shown.note


def test_binary_and_empty_and_other_charsets() -> None:
    assert read_body((), body_of(b"\x89PNG\0\0")).note == "binary, 6 bytes"
    assert read_body((), Body(b"", 0)).lines == ()
    assert read_body((("Content-Type", "text/plain; charset=latin-1"),), body_of(b"caf\xe9")).lines == ("café",)
    assert read_body((("Content-Type", "text/plain; charset=nonsense"),), body_of(b"caf\xe9")).note.startswith("binary")
    assert "only the first part was kept" in read_body((), Body(b"abc", 900)).note


def test_deep_and_broken_json_is_shown_as_it_is() -> None:
    deep = b"[" * 5000 + b"]" * 5000
    assert read_body((), body_of(deep)).lines == (deep.decode(),)
    middling = b"[" * 300 + b"]" * 300
    assert read_body((), body_of(middling)).lines == (middling.decode(),)
    assert read_body((), body_of(b"{broken")).lines == ("{broken",)


def test_long_bodies_show_the_same_stretch_around_the_first_difference() -> None:
    left = [f"line {number}" for number in range(2000)]
    right = [*left[:1500], "other", *left[1501:]]
    views = view_bodies([Lines(tuple(left)), None, Lines(tuple(right))])
    assert views[0].first_line == views[2].first_line == 1500 - 12 + 1
    assert "line 1500" in views[0].text
    assert "other" in views[2].text
    assert views[0].cut
    assert views[1].text == ""


def test_a_body_that_only_ends_earlier_is_shown_at_its_end() -> None:
    left = tuple(f"line {number}" for number in range(2000))
    views = view_bodies([Lines(left), Lines(left[:1000])])
    assert "line 999" in views[1].text
    assert "line 1000" in views[0].text
    same = view_bodies([Lines(left), Lines(left)])
    assert same[0].first_line == 1


@given(st.binary(max_size=3000), st.sampled_from(["", "gzip", "br", "zstd", "deflate"]))
def test_any_bytes_give_a_bounded_view(data: bytes, coding: str) -> None:
    headers = (("Content-Encoding", coding),) if coding else ()
    (view,) = view_bodies([read_body(headers, body_of(data))])
    assert len(view.text) <= REPORT_BODY_CHARS_MAX
    assert view.text.count("\n") < REPORT_BODY_LINES_MAX
    view.text.encode("utf-8")


def test_long_lines_are_cut() -> None:
    (view,) = view_bodies([Lines(("x" * 100_000,))])
    assert len(view.text) == REPORT_LINE_CHARS_MAX
    assert view.cut


def test_documents_are_indented_and_what_is_no_json_is_text() -> None:
    assert read_document(b'{"b":1.50,"a":[]}').lines == ("{", '  "a": [],', '  "b": 1.50', "}")
    assert read_document(b"plain\nwords").lines == ("plain", "words")
    assert read_document(b"\xff").lines == ("\\xff",)


def test_tighter_bounds_can_be_given() -> None:
    (view,) = view_bodies([Lines(tuple("abcdef"))], chars_max=100, lines_max=3)
    assert (view.text, view.cut) == ("a\nb\nc", True)
    (view,) = view_bodies([Lines(tuple("abcdef"))], chars_max=4, lines_max=30)
    assert (view.text, view.cut) == ("a\nb", True)
