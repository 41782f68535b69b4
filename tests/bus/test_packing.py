"""A trial comes out of its bytes as it went in, and what arms share is carried once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bus.packing import decode_trial, encode_trial
from harness.core.labels import ErrorKind, Role
from harness.core.limits import BUS_SHARED_BODY_BYTES_MIN
from harness.core.values import Arm, Body, Exchange, Request, Response, TransportError, Trial, body_of

LARGE = b"x" * BUS_SHARED_BODY_BYTES_MIN
BODIES = st.sampled_from([body_of(b""), body_of(b"{}"), body_of(LARGE), body_of(LARGE + b"y"), Body(LARGE, len(LARGE) + 9, "ab" * 32)])
REQUESTS = BODIES.map(lambda body: Request("POST", "/a", (("Host", "h"),), body, "h"))
ANSWERS = st.one_of(st.none(), BODIES.map(lambda body: Response(200, (("A", "é"),), body)))


def arm(role: Role, request: Request, answer: Response | None) -> Arm:
    error = None if answer is not None else TransportError(ErrorKind.RESET, "gone")
    return Arm(role=role, exchange=Exchange(request=request, response=answer, error=error))


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    request = draw(REQUESTS)
    arms = [arm(role, draw(st.one_of(st.just(request), REQUESTS)), draw(ANSWERS)) for role in Role]
    secondary = draw(st.booleans())
    return Trial(
        id="t", seq=3, endpoint="POST /a", request=request, stable=arms[0], secondary=arms[1] if secondary else None, candidate=arms[2]
    )


@given(trial=trials())
def test_a_trial_comes_out_as_it_went_in(trial: Trial) -> None:
    assert decode_trial(encode_trial(trial)) == trial


def test_what_all_arms_have_in_common_is_carried_once() -> None:
    request, answer = Request("POST", "/a", body=body_of(LARGE)), Response(200, body=body_of(LARGE))
    arms = [arm(role, request, answer) for role in Role]
    trial = Trial(id="t", seq=0, endpoint="POST /a", request=request, stable=arms[0], secondary=arms[1], candidate=arms[2])
    assert len(encode_trial(trial)) < 2 * len(LARGE) + 2_000
    assert decode_trial(encode_trial(trial)) == trial


def test_garbage_is_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_trial(b"\xc1")
