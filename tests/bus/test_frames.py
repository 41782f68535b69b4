"""Frames survive any chopping, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bus import frames as module
from harness.bus.frames import Frame, FrameSplitter, framed
from harness.core.errors import ShadowdiffError

FRAMES = st.lists(st.tuples(st.sampled_from(Frame), st.binary(max_size=40)), max_size=12)


def chopped(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(sent=FRAMES, cuts=st.lists(st.integers(0, 1000), max_size=30), trailing=st.integers(0, 8))
def test_any_chopping_gives_the_same_frames(sent: list[tuple[Frame, bytes]], cuts: list[int], trailing: int) -> None:
    unfinished = framed(Frame.TRIAL, b"of which some is missing")[:trailing]
    splitter = FrameSplitter()
    found: list[tuple[Frame, bytes]] = []
    for piece in chopped(b"".join(framed(kind, payload) for kind, payload in sent) + unfinished, cuts):
        found += splitter.feed(piece)
    assert found == sent
    assert list(splitter.feed(b"")) == []


def test_byte_by_byte() -> None:
    splitter = FrameSplitter()
    found: list[tuple[Frame, bytes]] = []
    for byte in framed(Frame.RESULTS, b"abc") + framed(Frame.MESSAGE, b"") + framed(Frame.RECORD, b"d"):
        found += splitter.feed(bytes([byte]))
    assert found == [(Frame.RESULTS, b"abc"), (Frame.MESSAGE, b""), (Frame.RECORD, b"d")]


@given(before=FRAMES, kind=st.integers(len(Frame), 255), length=st.binary(min_size=4, max_size=4))
def test_an_unknown_kind_is_refused_after_what_came_before_it(before: list[tuple[Frame, bytes]], kind: int, length: bytes) -> None:
    frames = FrameSplitter().feed(b"".join(framed(each, payload) for each, payload in before) + length + bytes([kind]))
    assert [next(frames) for _ in before] == before
    with pytest.raises(ShadowdiffError, match="no frame"):
        next(frames)


def test_the_bound_holds_at_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUS_FRAME_BYTES_MAX", 10)
    whole = framed(Frame.TRIAL, b"0123456789")
    assert list(FrameSplitter().feed(whole)) == [(Frame.TRIAL, b"0123456789")]
    with pytest.raises(ShadowdiffError, match="11 bytes"):
        framed(Frame.TRIAL, b"0123456789a")
    with pytest.raises(ShadowdiffError, match="no frame"):
        list(FrameSplitter().feed(b"\x0b\x00\x00\x00\x01"))
