"""Tape files: what is written is read, without its secrets; and whatever is done to a file, it is refused or it is the same."""

import errno
import gzip
import hashlib
import os
import stat
import zlib
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import SetupError
from harness.core.redact import RedactionRules, Redactor
from harness.effects.egress import tapefile
from harness.effects.egress.calls import Answer, Call, TapedCall
from harness.effects.egress.tapefile import TapeLibrary, TapeWriter, partial_of, read_tape

SAMPLES = Path(__file__).parent / "samples"
PLAIN = Redactor(b"key", RedactionRules(enabled=False))
REDACTOR = Redactor(b"key")
JSON_TYPE = (("Content-Type", "application/json"),)


def call(url: str = "http://a.test/x", body: bytes = b"") -> Call:
    return Call(method="POST", url=url, headers=JSON_TYPE, body=body, size=len(body))


def taped(request: str = "r", number: int = 0, trial: str = "0", body: bytes = b"{}", answer: Answer | None = None) -> TapedCall:
    answer = answer or Answer(status=200, headers=JSON_TYPE, body=b"[]")
    return TapedCall(request=request, number=number, trial=trial, call=call(body=body), answer=answer)


def unnamed(calls: Iterable[TapedCall]) -> list[TapedCall]:
    return [msgspec.structs.replace(each, trial="") for each in calls]


def written(path: Path, *calls: TapedCall, redactor: Redactor = PLAIN) -> Path:
    writer = TapeWriter.open(path, redactor)
    for each in calls:
        writer.write(each)
    writer.close()
    return path


def line_of(record: object) -> bytes:
    data = msgspec.json.encode(record)
    return b"%08x %s\n" % (zlib.crc32(data), data)


def refusal(path: Path) -> SetupError:
    with pytest.raises(SetupError) as caught:
        read_tape(path)
    assert caught.value.where.startswith(str(path))
    assert caught.value.what
    assert caught.value.fix
    return caught.value


LATIN = st.text(st.characters(max_codepoint=255), max_size=12)
HEADERS = st.lists(st.tuples(LATIN, LATIN), max_size=3).map(tuple)
TAPED = st.builds(
    TapedCall,
    request=st.sampled_from(["one", "two", ""]),
    number=st.integers(0, 5),
    trial=st.sampled_from(["0", "1"]),
    call=st.builds(Call, method=LATIN, url=st.text(max_size=20), headers=HEADERS, body=st.binary(max_size=20), size=st.integers(20, 99)),
    answer=st.builds(Answer, status=st.integers(0, 599), headers=HEADERS, body=st.binary(max_size=20), error=st.text(max_size=9)),
)


@given(calls=st.lists(TAPED, max_size=6))
@settings(max_examples=60)
def test_what_is_written_is_read(calls: list[TapedCall], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = written(tmp_path_factory.mktemp("tape") / "a.tape", *calls)
    library = read_tape(path)
    assert [msgspec.structs.replace(each, trial="") for each in library.calls] == [
        msgspec.structs.replace(each, trial="") for each in calls
    ]
    assert library.left_out == 0
    assert library.any is library.any
    assert library.any.unused("me") == library.calls
    assert not partial_of(path).exists()


def test_a_tape_is_text_that_people_can_read_and_nobody_else_may(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tape", taped(body=b'{"n":1}'), taped(number=1, body=b"\xff"))
    lines = path.read_bytes().splitlines()
    assert len(lines) == 4
    assert lines[0][9:] == b'{"format":"shadowdiff-tape","version":1}'
    assert rb'"body":"{\"n\":1}"' in lines[1]
    assert b'"body64":"/w=="' in lines[2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_text_that_is_no_unicode_is_written_somehow(tmp_path: Path) -> None:
    odd = msgspec.structs.replace(taped(), call=Call(method="GET", url="http://a.test/\udcff\ud800", headers=(("a", "\udcfe"),)))
    assert len(read_tape(written(tmp_path / "a.tape", odd)).calls) == 1


def test_no_secret_reaches_the_file(tmp_path: Path) -> None:
    secret = TapedCall(
        request="r",
        number=0,
        call=Call(
            method="POST",
            url="http://user:hunter2@a.test/x?api_key=hunter2&card=4111111111111111",
            headers=(*JSON_TYPE, ("Authorization", "Bearer hunter2hunter2"), ("Cookie", "sid=hunter2")),
            body=b'{"password":"hunter2","n":1}',
            size=28,
        ),
        answer=Answer(
            status=200,
            headers=(*JSON_TYPE, ("Set-Cookie", "sid=hunter2; Path=/"), ("Content-Encoding", "gzip"), ("Content-Length", "99")),
            body=gzip.compress(b'{"access_token":"hunter2","mail":"ann@mail.example"}'),
            error="token=hunter2 was refused",
        ),
    )
    path = tmp_path / "a.tape"
    writer = TapeWriter.open(path, REDACTOR)
    writer.write(secret)
    during = partial_of(path).read_bytes()
    writer.close()
    for data in (during, path.read_bytes()):
        assert b'"n' in data
        assert not any(word in data for word in (b"hunter2", b"4111111111111111", b"ann@mail.example", b"user:"))
    answer = read_tape(path).calls[0].answer
    assert answer.body.startswith(b'{"access_token":"redacted-')
    assert ("Content-Length", str(len(answer.body))) in answer.headers
    assert not any(name == "Content-Encoding" for name, _ in answer.headers)


def test_an_answer_that_redaction_cannot_read_is_no_empty_answer(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    writer = TapeWriter.open(path, REDACTOR)
    answer = Answer(status=200, headers=(("Content-Type", "application/x-protobuf"), ("Content-Encoding", "zz")), body=b"\x00\xff" * 9)
    writer.write(taped(answer=answer))
    writer.close()
    assert writer.withheld == 1
    read = read_tape(path).calls[0].answer
    assert (read.status, read.body) == (200, b"")
    assert read.error == "its body (application/x-protobuf, zz, 18 bytes) is not on the tape: redaction cannot read it"


def test_trials_of_a_request_take_turns(tmp_path: Path) -> None:
    order = [("k", 1, "x", b"1"), ("k", 0, "y", b"2"), ("k", 0, "x", b"0"), ("k", 1, "y", b"3"), ("other", 0, "z", b"4")]
    library = read_tape(written(tmp_path / "a.tape", *(taped(*each) for each in order)))
    bodies = [[each.call.body for each in library.tape_for("k").unused("")] for _ in range(3)]
    assert bodies == [[b"0", b"1"], [b"2", b"3"], [b"0", b"1"]]
    assert len(library.tape_for("unknown")) == 0
    one, two = library.tape_for("other"), library.tape_for("other")
    assert one.take(call(body=b"4"), "me")
    assert two.take(call(body=b"4"), "me"), "each tape is a fresh one"


def test_a_trial_without_calls_keeps_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    writer = TapeWriter.open(path, PLAIN)
    for trial, body in (("first", b"1"), ("without", b""), ("third", b"3")):
        writer.begin("k", trial)
        if body:
            writer.write(taped("k", 0, trial, body))
        writer.end(trial)
    writer.close()
    library = read_tape(path)

    def turn() -> list[bytes]:
        return [each.call.body for each in library.tape_for("k").unused("")]

    assert [turn() for _ in range(4)] == [[b"1"], [], [b"3"], [b"1"]]
    library.again()
    assert turn() == [b"1"], "a pass begins with the first"


def test_trials_without_a_name_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    calls = [taped("k", number, "", body) for number, body in ((0, b"a"), (1, b"b"), (0, b"c"), (1, b"d"))]
    library = read_tape(written(tmp_path / "a.tape", *calls))
    assert [[each.call.body for each in library.tape_for("k").unused("")] for _ in range(2)] == [[b"a", b"b"], [b"c", b"d"]]


def test_a_library_knows_its_hosts() -> None:
    calls = [msgspec.structs.replace(taped(), call=call(url)) for url in ("http://A.test:80/", "https://a.test/x", "http://[::1]:9/")]
    assert TapeLibrary(calls).hosts == {"a.test", "[::1]"}


def test_until_it_is_closed_a_tape_has_not_its_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tape", taped(body=b"old"))
    writer = TapeWriter.open(path, PLAIN)
    writer.write(taped(body=b"new"))
    assert read_tape(path).calls[0].call.body == b"old"
    error = refusal(partial_of(path))
    assert "the tape is cut: 1 calls and no end" in error.what
    writer.close()
    assert read_tape(path).calls[0].call.body == b"new"
    writer.close()
    path.unlink()
    partial_of(path).touch()
    assert "did not end (a.tape.partial is there)" in refusal(path).fix


def test_what_a_killed_run_left_does_not_hinder_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    partial_of(path).write_bytes(b"left over")
    assert len(read_tape(written(path, taped())).calls) == 1


def test_no_tape_can_be_written_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "a.tape", tmp_path):
        with pytest.raises(SetupError) as caught:
            TapeWriter.open(path, PLAIN)
        assert caught.value.where == str(path)
        assert caught.value.fix


def test_two_runs_cannot_record_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    first, second = TapeWriter.open(path, PLAIN), TapeWriter.open(path, PLAIN)
    second.write(taped(body=b"second"))
    with pytest.raises(SetupError, match="another run records to the same file"):
        first.close()
    second.close()
    assert [each.call.body for each in read_tape(path).calls] == [b"second"]


class FullDisk:
    """A file on a disk with so many bytes left."""

    def __init__(self, path: Path, left: int) -> None:
        self._file = path.open("wb", buffering=0)
        self._left = left

    def write(self, data: bytes) -> int:
        if self._left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = self._file.write(data[: self._left])
        self._left -= count
        return count

    def truncate(self, size: int) -> int:
        self._file.seek(size)
        return self._file.truncate(size)

    def fileno(self) -> int:
        return self._file.fileno()

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@pytest.mark.parametrize("left", range(0, 700, 23))
def test_a_full_disk_is_said_once_and_at_the_end(tmp_path: Path, left: int) -> None:
    path = tmp_path / "a.tape"
    writer = TapeWriter(path, PLAIN, FullDisk(partial_of(path), left))  # type: ignore[arg-type]  # all that is used of a file
    for number in range(9):
        writer.write(taped(number=number))
    assert "No space left" in writer.problem
    assert writer.written + writer.left_out == 9
    with pytest.raises(SetupError, match="No space left") as caught:
        writer.close()
    assert str(path) in caught.value.where
    assert "a.tape.partial" in caught.value.fix
    writer.close()
    assert not path.exists()
    kept = partial_of(path).read_bytes()
    assert kept == b"" or kept.endswith(b"\n")
    assert kept.count(b"\n") == (writer.written + 1 if kept else 0)


def test_what_does_not_fit_is_counted_and_the_tape_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapefile, "TAPE_CALLS_MAX", 2)
    library = read_tape(written(tmp_path / "a.tape", *(taped(number=n) for n in range(5))))
    assert (len(library.calls), library.left_out) == (2, 3)
    monkeypatch.setattr(tapefile, "TAPE_CALLS_MAX", 1)
    assert "more than 1 calls" in refusal(tmp_path / "a.tape").what


def test_a_tape_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapefile, "TAPE_BYTES_MAX", 2_000)
    path = written(tmp_path / "a.tape", *(taped(number=n, body=b"x" * 300) for n in range(9)))
    assert path.stat().st_size <= 2_000
    library = read_tape(path)
    assert 0 < len(library.calls) < 9
    assert len(library.calls) + library.left_out == 9
    monkeypatch.setattr(tapefile, "TAPE_BYTES_MAX", 1_000)
    assert "are the most that is read" in refusal(path).what


def test_a_record_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapefile, "CAPTURE_RECORD_BYTES_MAX", 500)
    library = read_tape(written(tmp_path / "a.tape", taped(body=b"x" * 500), taped()))
    assert (len(library.calls), library.left_out) == (1, 1)


def test_the_sample_of_version_1_is_still_read() -> None:
    library = read_tape(SAMPLES / "version-1.tape")
    assert library.hosts == {"payments.test", "files.test"}
    places = [(each.request, each.trial, each.number) for each in library.calls]
    assert places == [("4f1d", "0", 0), ("4f1d", "0", 1), ("4f1d", "1", 0), ("90aa", "0", 0)]
    first, second, _, last = library.calls
    assert first.call.body == b'{"amount":1250,"card":"9999","token":"redacted-cdc1469d9321"}'
    assert (second.answer.body, last.answer.error) == (b"\x89PNG\xff", "connection refused")
    body = b'{"token":"the real one","card":"9999","amount":1250}'
    live = msgspec.structs.replace(first.call, body=body, size=len(body))
    match = library.tape_for("4f1d").take(live, "candidate")
    assert match is not None
    assert (match.exact, match.taped) == (True, first)


def test_older_versions_are_brought_up_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(old: str, new: str) -> object:
        return lambda record: {(new if name == old else name): value for name, value in record.items()}

    path = tmp_path / "a.tape"
    data = written(path, taped()).read_bytes().replace(b'"request"', b'"key"')
    lines = [line[9:] for line in data.splitlines()]
    head, record = (b"%08x %s\n" % (zlib.crc32(line), line) for line in lines[:2])
    end = msgspec.json.decode(lines[2])
    end["digest"] = hashlib.blake2b(head + record, digest_size=16).hexdigest()
    path.write_bytes(head + record + line_of(end))
    monkeypatch.setattr(tapefile, "VERSION", 3)
    monkeypatch.setattr(tapefile, "_UPGRADES", {1: renamed("key", "name"), 2: renamed("name", "request")})
    assert read_tape(path).calls == (taped(),)


def test_every_version_but_the_last_has_its_step_and_every_version_its_sample() -> None:
    assert set(tapefile._UPGRADES) == set(range(1, tapefile.VERSION))
    assert {each.name for each in SAMPLES.glob("*.tape")} == {f"version-{n}.tape" for n in range(1, tapefile.VERSION + 1)}


def test_files_that_are_no_tape(tmp_path: Path) -> None:
    missing = refusal(tmp_path / "none.tape")
    assert (missing.what, missing.exit_code) == ("there is no such tape", 4)
    assert "no regular file" in refusal(tmp_path).what
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refusal(tmp_path / "pipe").what
    for content, said in [
        (b"", "empty"),
        (b"GET / HTTP/1.1\r\n", "not a tape"),
        (b"\x00" * 5000, "not a tape"),
        (b'{"log":{"version":"1.2"}}', "not a tape"),
        (line_of({"format": "other", "version": 1}), "not a tape"),
        (line_of({"format": "shadowdiff-tape", "version": 2}), "version 2, and this shadowdiff reads up to 1"),
        (b'00000000 {"format":"shadowdiff-tape","version":7,"and":"more"}\nother lines', "version 7"),
        (line_of({"format": "shadowdiff-tape", "version": 0}), "header"),
        (line_of({"format": "shadowdiff-tape"}), "header"),
    ]:
        path = tmp_path / "a.tape"
        path.write_bytes(content)
        assert said in refusal(path).what, content


def test_where_the_damage_is_said(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tape", *(taped(number=n, body=b'{"n":%d}' % n) for n in range(3)))
    lines = path.read_bytes().splitlines(keepends=True)
    for content, line, said in [
        ([*lines[:2], lines[2].replace(b'"n', b'"m', 1), *lines[3:]], 3, "checksum"),
        (lines[:-1], 4, "the tape is cut: 3 calls and no end"),
        ([*lines[:2], lines[2][:-9]], 3, "cut inside a line, behind 1 calls"),
        ([lines[0], lines[2], lines[1], *lines[3:]], 5, "digest"),
        ([*lines[:3], lines[4]], 4, "2 calls are here, and 3 were recorded"),
        ([*lines, lines[1]], 6, "behind the end"),
        ([lines[0], line_of([1]), *lines[1:]], 2, "JSON object"),
        ([lines[0], line_of({"request": 1}), *lines[1:]], 2, "no record of a call"),
        ([*lines[:4], line_of({"end": -1})], 5, "no end record"),
    ]:
        path.write_bytes(b"".join(content))
        error = refusal(path)
        assert said in error.what
        assert error.where == f"{path}, line {line}"


def test_line_ends_of_other_systems_do_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tape", taped())
    before = read_tape(path).calls
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_tape(path).calls == before


WHOLE = (SAMPLES / "version-1.tape").read_bytes()
EXPECTED = read_tape(SAMPLES / "version-1.tape").calls


def refused_or_the_same(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        calls = read_tape(path).calls
    except SetupError:
        refusal(path)
    else:
        assert calls == EXPECTED


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "a.tape"


def test_any_cut_is_refused(damaged: Path) -> None:
    for length in range(len(WHOLE)):
        refused_or_the_same(damaged, WHOLE[:length])


@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255))
@settings(max_examples=300)
def test_any_changed_byte_is_refused_or_does_no_harm(damaged: Path, at: int, byte: int) -> None:
    refused_or_the_same(damaged, WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])


@given(data=st.data())
@settings(max_examples=200)
def test_any_mixture_is_refused_or_does_no_harm(damaged: Path, data: st.DataObject) -> None:
    at, to = sorted(data.draw(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)))))
    put = data.draw(st.one_of(st.binary(max_size=40), st.sampled_from(WHOLE.splitlines(keepends=True))))
    refused_or_the_same(damaged, WHOLE[:at] + put + WHOLE[to:])


@given(junk=st.binary(max_size=200))
def test_any_line_with_a_right_checksum_is_borne(damaged: Path, junk: bytes) -> None:
    head = WHOLE.splitlines(keepends=True)[0]
    damaged.write_bytes(head + b"%08x %s\n" % (zlib.crc32(junk), junk))
    refusal(damaged)
    damaged.write_bytes(junk)
    refusal(damaged)
