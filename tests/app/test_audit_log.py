"""The chain of verdicts: what it finds, and what a crash may leave."""

import errno
import fcntl
import hashlib
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.app import audit_log
from harness.app.audit_log import FIRST, append, verify
from harness.core.errors import SetupError
from harness.core.limits import AUDIT_PROBLEMS_SHOWN_MAX


def chain(path: Path, count: int) -> list[bytes]:
    """A file of so many lines, as they stand in it."""
    for number in range(count):
        append(path, {"run": f"run-{number}", "verdict": "pass", "labels": {"who": "José"}})
    return path.read_bytes().splitlines(keepends=True)


def test_lines_are_chained_numbered_and_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "audit.jsonl"
    mask = os.umask(0)
    try:
        lines = [json.loads(line) for line in chain(path, 3)]
    finally:
        os.umask(mask)
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert [line["previous"] for line in lines] == [FIRST, lines[0]["hash"], lines[1]["hash"]]
    assert [line["run"] for line in lines] == ["run-0", "run-1", "run-2"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    checked = verify(path)
    assert (checked.lines, checked.last, checked.problems) == (3, lines[2]["hash"], ())


def test_the_hash_is_that_of_canonical_json_without_it_as_any_tool_can_make_it(tmp_path: Path) -> None:
    (line,) = chain(tmp_path / "a", 1)
    said = json.loads(line)
    mark = said.pop("hash")
    plain = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert hashlib.sha256(plain).hexdigest() == mark


def test_appending_changes_nothing_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    before = b"".join(chain(path, 3))
    append(path, {"run": "x"})
    assert path.read_bytes().startswith(before)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_change_deletion_or_swap_of_lines_in_the_middle_is_found(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("audit") / "a"
    lines = chain(path, data.draw(st.integers(3, 6)))
    at = data.draw(st.integers(0, len(lines) - 2))
    what = data.draw(st.sampled_from(["byte", "delete", "swap", "repeat", "put in", "cut"]))
    if what == "byte":
        line = bytearray(lines[at])
        line[data.draw(st.integers(0, len(line) - 1))] ^= data.draw(st.integers(1, 255))
        lines[at] = bytes(line)
    elif what == "delete":
        del lines[at : data.draw(st.integers(at + 1, len(lines) - 1))]
    elif what == "swap":
        other = data.draw(st.integers(at + 1, len(lines) - 1))
        lines[at], lines[other] = lines[other], lines[at]
    elif what == "repeat":
        lines.insert(at, lines[data.draw(st.integers(0, len(lines) - 1))])
    elif what == "put in":
        lines.insert(at, data.draw(st.sampled_from([b"\n", b"{}\n", b"note\n", b'{"audit":1,\n', b"\0" * 9 + b"\n"])))
    else:
        lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at]) - 2))]
    path.write_bytes(b"".join(lines))
    assert verify(path).problems, what


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_line_forged_whole_is_found_by_the_next(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Somebody who knows the format can give a changed line its right hash; then the one after it does not follow."""
    path = tmp_path_factory.mktemp("audit") / "a"
    lines = chain(path, 4)
    at = data.draw(st.integers(0, 2))
    said = json.loads(lines[at])
    said["verdict"] = "fail"
    said["hash"] = audit_log.hash_of(said)
    lines[at] = audit_log.canonical(said) + b"\n"
    path.write_bytes(b"".join(lines))
    (problem,) = verify(path).problems
    assert problem.startswith(f"line {at + 2} does not follow")


@pytest.mark.parametrize(
    ("order", "problems"),
    [
        ([0, 2, 1, 3], ["line 2 is out of order", "line 4 is out of order", "line 3 is out of order"]),
        ([0, 3], ["line 2 has number 4: lines 2 to 3 of the chain are missing before it"]),
        ([1, 2], ["line 1 has number 2: line 1 of the chain is missing before it"]),
        ([0, 1, 1, 2], ["line 3 is out of order: it has number 2", "line 4"]),
    ],
)
def test_what_is_wrong_is_said_by_line(order: list[int], problems: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a"
    lines = chain(path, 4)
    path.write_bytes(b"".join(lines[index] for index in order))
    found = verify(path).problems
    assert len(found) >= 1
    for problem, start in zip(found, problems, strict=False):
        assert problem.startswith(start), found


def test_lines_cut_off_at_the_end_are_found_by_a_hash_that_was_noted(tmp_path: Path) -> None:
    path = tmp_path / "a"
    lines = chain(path, 3)
    noted = json.loads(lines[2])["hash"]
    append(path, {})
    checked = verify(path, noted)
    assert (checked.asked_at, checked.problems) == (3, ())
    path.write_bytes(b"".join(lines[:2]))
    assert verify(path).problems == ()
    (problem,) = verify(path, noted).problems
    assert problem.startswith(f"no line has the hash {noted}")


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(1, 200), zeros=st.integers(0, 3))
def test_a_torn_last_line_is_set_aside_in_sight(cut: int, zeros: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("audit") / "a"
    lines = chain(path, 3)
    torn = lines[2][:-1][:-cut] + b"\0" * zeros
    path.write_bytes(lines[0] + lines[1] + torn)
    if torn:
        (problem,) = verify(path).problems
        assert problem.startswith("line 3 is torn")
    done = append(path, {"run": "next"})
    assert path.read_bytes().startswith(lines[0] + lines[1] + torn), "nothing is taken away"
    checked = verify(path)
    assert (done.number, checked.lines, checked.problems) == (3, 3, ())
    assert checked.set_aside == ((3,) if torn else ())
    append(path, {})
    assert verify(path).problems == ()
    path.write_bytes(path.read_bytes().replace(torn + b"\n", b"", 1))
    assert bool(verify(path).problems) == bool(torn), "what was set aside cannot be taken out"


def test_a_whole_line_that_lacks_its_line_feed_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = b"".join(chain(path, 2))
    path.write_bytes(data[:-1])
    assert verify(path).problems == ()
    done = append(path, {})
    assert (done.number, done.torn) == (3, None)
    assert verify(path).problems == ()


def test_a_crash_after_the_line_feed_that_ends_a_torn_line_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a"
    lines = chain(path, 2)
    path.write_bytes(lines[0] + lines[1][:40] + b"\n" + lines[1][:30])
    assert append(path, {}).number == 2
    checked = verify(path)
    assert (checked.set_aside, checked.problems) == ((2, 3), ())


def test_nothing_is_chained_to_a_last_line_that_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    lines = chain(path, 2)
    damaged = lines[0] + lines[1].replace(b"pass", b"fail")
    path.write_bytes(damaged)
    with pytest.raises(SetupError, match="was changed"):
        append(path, {})
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("content", [b"# notes\n", b"x", b"{}\n", b"a" * 600_000])
def test_another_file_is_not_written_to(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(content)
    with pytest.raises(SetupError) as caught:
        append(path, {})
    assert caught.value.where == str(path)
    assert path.read_bytes() == content


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    before = b"".join(chain(path, 2))
    write = os.write

    def little(descriptor: int, data: bytes) -> int:
        if os.fstat(descriptor).st_size > len(before):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, bytes(data)[:10])

    monkeypatch.setattr(os, "write", little)
    with pytest.raises(SetupError, match="No space left"):
        append(path, {})
    assert path.read_bytes() == before


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused(make: object, tmp_path: Path) -> None:
    path = tmp_path / "a"
    make(path)  # type: ignore[operator]  # either of two
    with pytest.raises(SetupError):
        append(path, {})


def test_many_who_append_at_once_make_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "a"
    threads = [threading.Thread(target=lambda: [append(path, {}) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    checked = verify(path)
    assert (checked.lines, checked.problems) == (40, ())


def test_a_lock_that_is_never_given_up_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "AUDIT_LOCK_SECONDS_MAX", 0.1)
    path = tmp_path / "a"
    chain(path, 1)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SetupError, match="locked"):
            append(path, {})


def test_problems_that_are_told_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"nonsense\n" * 1000)
    problems = verify(path).problems
    assert len(problems) == AUDIT_PROBLEMS_SHOWN_MAX + 1
    assert problems[-1] == "and 980 more"


def test_an_empty_file_is_a_chain_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    checked = verify(path)
    assert (checked.lines, checked.last, checked.problems) == (0, "", ())
    with pytest.raises(SetupError, match="cannot be read"):
        verify(tmp_path / "b")


def test_a_line_that_can_be_read_and_is_nested_too_deep_to_be_written_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    lines = chain(path, 3)
    found = []
    for depth in (10, 500, *range(800, 1001), 5000, 50_000):  # one of them is read just so
        nested = b'{"labels":' + b"[" * depth + b"]" * depth + b"," + lines[1][1:]
        path.write_bytes(lines[0] + nested + lines[2])
        found.append(verify(path).problems)
        path.write_bytes(lines[0] + nested)
        with pytest.raises(SetupError):
            append(path, {"run": "x"})
    assert all(found)
    assert all(problems[0].startswith("line 2 ") for problems in found)
