"""Which build answers: labels, and what it takes to believe that another has taken the place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.app.builds import RETURN_FACTOR, Believed, BuildGuard, build_in, label_in_body, label_of
from harness.core.labels import Control, Design
from harness.core.limits import BUILD_LABEL_CHARS_MAX
from harness.core.plain import PlainArm, PlainTrial
from tests.app.support import trial

QUICK = Believed(answers=3, seconds=1.0, polls=2)
S = 1_000_000_000


def test_the_first_label_names_the_build_and_another_must_last() -> None:
    guard = BuildGuard("", QUICK)
    assert guard.answered("", 0)
    assert guard.build == ""
    assert guard.answered("a", 0)
    assert guard.build == "a"
    assert [guard.answered("b", at) for at in (1 * S, S, S, S)] == [False] * 4
    assert (guard.rival, guard.settled) == ("b", ""), "often enough, not long enough"
    assert not guard.answered("b", 2 * S)
    assert guard.settled == "b"
    assert not guard.answered("a", 2 * S), "until the epoch has begun nothing counts"
    guard.begin("b")
    assert (guard.build, guard.rival, guard.settled) == ("b", "", "")


def test_an_answer_without_a_label_is_the_builds_own_unless_a_rival_was_heard() -> None:
    guard = BuildGuard("a", QUICK)
    assert guard.answered("", 0)
    guard.answered("b", 0)
    assert not guard.answered("", 0)
    assert guard.answered("a", 0)
    assert guard.answered("", 0)


@given(st.lists(st.sampled_from("abc"), max_size=60))
def test_a_build_is_believed_only_after_so_many_answers_of_it_alone(labels: list[str]) -> None:
    guard = BuildGuard("a", Believed(answers=4, seconds=0.0))
    run = 0
    for before, label in zip(["a", *labels], labels, strict=False):
        guard.answered(label, 0)
        run = run + 1 if label == before else 1
        assert bool(guard.settled) == (label != "a" and run >= 4)
        if guard.settled:
            return


def test_a_build_that_comes_back_must_last_longer() -> None:
    guard = BuildGuard("a", Believed(answers=2, seconds=0.0))
    guard.begin("b")
    for _ in range(2 * RETURN_FACTOR - 1):
        guard.answered("a", 0)
        assert not guard.settled
    guard.answered("a", 0)
    assert guard.settled == "a"


def test_the_version_path_says_it_too_and_silence_says_nothing() -> None:
    guard = BuildGuard("a", QUICK)
    guard.polled("b", 0)
    guard.polled("", 0)
    assert not guard.answered("", 0), "who answers now is not known"
    assert guard.settled == ""
    guard.polled("b", 0)
    assert guard.settled == "b"
    other = BuildGuard("a", QUICK)
    other.polled("b", 0)
    other.polled("a", 0)
    assert (other.rival, other.answered("", 0)) == ("", True)


@pytest.mark.parametrize(
    ("body", "label"),
    [
        (b' {"build": "b-1", "version": "2"}', "b-1"),
        (b'{"version": 7}', "7"),
        (b'{"commit": "abc"}', "abc"),
        (b'{"build": ["x"]}', ""),
        (b"{}", ""),
        (b"v1.2\n", "v1.2"),
        (b"[1]", "[1]"),
        (b"\xff\x00", "\ufffd"),
        (b"", ""),
    ],
)
def test_labels_in_bodies(body: bytes, label: str) -> None:
    assert label_in_body(body) == label


def test_labels_are_bounded_and_printable() -> None:
    assert label_of(" a\x1b[31m\n ") == "a[31m"
    assert len(label_of("x" * 10_000)) == BUILD_LABEL_CHARS_MAX


def plain(candidate: bytes) -> PlainTrial:
    head = b"HTTP/1.1 200 OK\r\nX-Build: stables\r\nContent-Length: 0\r\n\r\n"
    arms = [PlainArm(b"", answer, len(answer), True, 0, 0, 0, 0) for answer in (head, candidate)]
    return PlainTrial(
        "t", 0, "GET /", b"GET / HTTP/1.1\r\n\r\n", "h", b"", arms[0], None, arms[1], Control.NONE, Design.NO_CONTROL, (), "", "", 1, False
    )


def test_the_candidates_header_is_read_also_where_its_answer_was_left_out() -> None:
    assert build_in(plain(b""), "x-build") == "stables", "it answered as stable did, byte for byte"
    assert build_in(plain(b"HTTP/1.1 200 OK\r\nx-build: own\r\n\r\n"), "x-build") == "own"
    assert build_in(plain(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"), "x-build") == ""
    assert build_in(trial(0), "content-type") == "application/json"
    assert build_in(trial(0), "x-build") == ""
