from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import harness.frames
from harness.core.errors import SetupError
from harness.frames import FrameReader, FrameWriter, measure, new_file, old_file, sync_file, write_whole

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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    frames=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    cut=st.integers(min_value=0, max_value=300),
    more=st.lists(st.binary(min_size=1, max_size=9), max_size=3),
)
def test_a_file_whose_writer_was_killed_goes_on_behind_its_whole_frames(
    tmp_path: Path, frames: list[bytes], cut: int, more: list[bytes]
) -> None:
    path = written(tmp_path, frames)
    path.write_bytes(path.read_bytes()[:cut])
    shown: list[bytes] = []
    whole = measure(path, MAGIC, look=shown.append)
    assert shown == frames[: whole.frames]
    assert whole.bytes + whole.cut == path.stat().st_size
    writer = FrameWriter(old_file(path, whole.bytes), MAGIC, prefix_only=True, whole=whole)
    for frame in more:
        assert writer.append(frame)
    writer.close()
    assert list(FrameReader(path, MAGIC)) == [*shown, *more]
    assert (writer.written, writer.bytes) == (whole.frames + len(more), path.stat().st_size)


def test_damage_behind_what_the_disk_had_taken_is_a_tail_and_before_it_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, [b"one", b"two", b"three"])
    durable = len(MAGIC) + 2 * 8 + len(b"onetwo")
    data = path.read_bytes()
    for tail in (data[:-1] + b"?", data[:durable] + bytes(64)):  # a changed byte; zeros, which read as empty frames
        path.write_bytes(tail)
        assert measure(path, MAGIC, durable=durable) == (2, durable, len(tail) - durable)
        with pytest.raises(SetupError, match="damaged"):
            measure(path, MAGIC, durable=durable + 1)
    path.write_bytes(data[: durable - 1] + b"?" + data[durable:])
    with pytest.raises(SetupError, match="damaged"):
        measure(path, MAGIC, durable=durable)
    path.write_bytes(b"something else altogether\n")
    with pytest.raises(SetupError, match="not a file of this kind"):
        measure(path, MAGIC)
    path.unlink()
    with pytest.raises(SetupError, match="cannot be read"):
        measure(path, MAGIC)


def test_a_file_can_be_synced_by_name(tmp_path: Path) -> None:
    sync_file(written(tmp_path, [b"one"]))
    with pytest.raises(FileNotFoundError):
        sync_file(tmp_path / "none")
