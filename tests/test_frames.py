from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import harness.frames
from harness.core.errors import SetupError
from harness.frames import FrameReader, FrameWriter, new_file, write_whole

MAGIC = b"frames of a test 1\n"


def written(tmp_path: Path, frames: list[bytes]) -> Path:
    path = tmp_path / "frames"
    with path.open("wb", buffering=0) as file:
        writer = FrameWriter(file, MAGIC, prefix_only=True)
        for frame in frames:
            writer.append(frame)
        writer.close()
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(frames=st.lists(st.binary(max_size=40), max_size=6), cut=st.integers(min_value=0, max_value=300))
def test_a_file_cut_anywhere_gives_whole_frames_and_names_the_rest(tmp_path: Path, frames: list[bytes], cut: int) -> None:
    path = written(tmp_path, frames)
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    reader = FrameReader(path, MAGIC)
    read = list(reader)
    assert read == frames[: len(read)]
    used = len(MAGIC) + sum(8 + len(frame) for frame in read) if cut >= len(MAGIC) else 0
    assert reader.truncated_bytes == min(cut, len(data)) - used


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    frames=st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4),
    place=st.integers(min_value=0),
    flip=st.integers(min_value=1, max_value=255),
)
def test_damage_is_never_read_as_data(tmp_path: Path, frames: list[bytes], place: int, flip: int) -> None:
    path = written(tmp_path, frames)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= flip
    path.write_bytes(data)
    reader = FrameReader(path, MAGIC)
    read: list[bytes] = []
    named = False
    try:
        read.extend(reader)
    except SetupError as error:
        named = error.where == str(path)
    assert named or reader.truncated_bytes > 0
    assert read == frames[: len(read)]
    assert len(read) < len(frames)


def test_frames_beyond_the_bound_are_lost_or_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, [b"x" * 50])
    monkeypatch.setattr(harness.frames, "STORE_FRAME_BYTES_MAX", 10)
    with pytest.raises(SetupError, match="frame 0 is damaged: its length is beyond the bound"):
        list(FrameReader(path, MAGIC))
    with (tmp_path / "more").open("wb", buffering=0) as file:
        writer = FrameWriter(file, MAGIC, prefix_only=False)
        assert not writer.append(b"x" * 11)
        assert writer.append(b"x" * 10)
        writer.close()
    assert (writer.lost, writer.written) == (1, 1)


def test_a_whole_file_is_new_or_old(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_whole(target, b"one")
    with pytest.raises(FileExistsError):
        new_file(target)
    write_whole(target, b"two")
    assert target.read_bytes() == b"two"
    with pytest.raises(OSError, match="No such file"):
        write_whole(tmp_path / "none" / "file", b"x")
