"""The bounded copy of a body."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from harness.core.values import Body
from harness.proxy.capture import BodyCapture, Budget


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(0, 100))
def test_prefix_size_and_digest_whatever_the_pieces(pieces: list[bytes], bytes_max: int) -> None:
    capture = BodyCapture(bytes_max=bytes_max)
    for piece in pieces:
        capture.add(piece)
    whole = b"".join(pieces)
    digest = hashlib.sha256(whole).hexdigest() if len(whole) > bytes_max else ""
    assert capture.body() == Body(data=whole[:bytes_max], size=len(whole), digest=digest)


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(0, 100))
def test_a_shared_budget_is_never_exceeded_and_is_given_back(pieces: list[bytes], bytes_max: int) -> None:
    budget = Budget(bytes_max)
    captures = [BodyCapture(budget), BodyCapture(budget)]
    for i, piece in enumerate(pieces):
        captures[i % 2].add(piece)
        assert budget.held <= bytes_max
    for i, capture in enumerate(captures):
        whole = b"".join(pieces[i::2])
        body = capture.body()
        assert whole.startswith(body.data)
        assert body.size == len(whole)
        assert capture.starved is body.truncated
        assert body.digest == (hashlib.sha256(whole).hexdigest() if body.truncated else "")
        capture.release()
        capture.release()
    assert budget.held == 0
