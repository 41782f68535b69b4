"""Answers from a tape file: what belongs to the request first, then anything."""

from harness.core.labels import Role
from harness.effects.egress.calls import Answer, Call, TapedCall
from harness.effects.egress.library import Library
from harness.effects.egress.tapefile import TapeLibrary


def call(path: str, body: bytes = b"") -> Call:
    return Call(method="POST", url=f"http://a.test{path}", body=body, size=len(body))


def taped(request: str, number: int, path: str, body: bytes, answer: str) -> TapedCall:
    return TapedCall(request=request, number=number, call=call(path, body), answer=Answer(status=200, body=answer.encode()))


def body_of(library: Library, path: str, body: bytes, request: str | None) -> bytes | None:
    match = library.match(call(path, body), Role.CANDIDATE, None if request is None else library.tape_for(request))
    return None if match is None else match.taped.answer.body


def library() -> Library:
    return Library(
        TapeLibrary([taped("r1", 0, "/pay", b"5", "own"), taped("r2", 0, "/pay", b"6", "other"), taped("r2", 1, "/keys", b"", "keys")])
    )


def test_the_same_call_is_looked_for_in_the_own_tape_then_anywhere_then_a_like_one() -> None:
    assert body_of(library(), "/pay", b"5", "r1") == b"own"
    assert body_of(library(), "/pay", b"6", "r1") == b"other"
    assert body_of(library(), "/pay", b"7", "r1") == b"own"
    assert body_of(library(), "/keys", b"", "r1") == b"keys"
    assert body_of(library(), "/pay", b"6", None) == b"other"
    assert body_of(library(), "/elsewhere", b"", "r1") is None


def test_what_belongs_to_no_trial_may_be_used_once_in_a_pass() -> None:
    at = library()
    assert [body_of(at, "/keys", b"", None) for _ in range(2)] == [b"keys", None]
    at.renew()
    assert body_of(at, "/keys", b"", None) == b"keys"
