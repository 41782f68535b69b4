"""The values that travel through the house: frozen, complete, and the same after a journey over a file."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Aspect, ErrorKind, Kind, Role
from harness.core.values import Arm, Body, Comparison, Difference, Exchange, Request, Response, Totals, TransportError, Trial, body_of

TEXT = st.text(st.characters(max_codepoint=255), max_size=12)
HEADERS = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
BODIES = st.binary(max_size=20).map(body_of)
REQUESTS = st.builds(Request, method=TEXT, target=TEXT, headers=HEADERS, body=BODIES, host=TEXT)
RESPONSES = st.builds(Response, status=st.integers(100, 999), headers=HEADERS, body=BODIES, reason=TEXT, trailers=HEADERS)
ERRORS = st.builds(TransportError, kind=st.sampled_from(ErrorKind), message=TEXT)
EXCHANGES = st.builds(
    Exchange,
    request=REQUESTS,
    response=st.none() | RESPONSES,
    error=st.none() | ERRORS,
    started_ns=st.integers(0, 2**62),
    ended_ns=st.integers(0, 2**62),
)


def arms(role: Role) -> st.SearchStrategy[Arm]:
    return st.builds(Arm, role=st.just(role), exchange=EXCHANGES)


TRIALS = st.builds(
    Trial,
    id=TEXT,
    seq=st.integers(0, 2**62),
    endpoint=TEXT,
    request=REQUESTS,
    stable=arms(Role.STABLE),
    secondary=st.none() | arms(Role.SECONDARY),
    candidate=st.none() | arms(Role.CANDIDATE),
    recorded=st.none() | RESPONSES,
)
DIFFERENCES = st.builds(
    Difference,
    aspect=st.sampled_from(Aspect),
    path=TEXT,
    kind=st.sampled_from(Kind),
    left=st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT,
)


@given(TRIALS)
def test_a_trial_is_the_same_after_it_was_stored(trial: Trial) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(trial), type=Trial) == trial


@given(st.lists(DIFFERENCES, max_size=4).map(tuple))
def test_a_comparison_is_the_same_after_it_was_stored(found: tuple[Difference, ...]) -> None:
    comparison = Comparison(trial="t0", seq=0, stable_candidate=found)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(comparison), type=Comparison) == comparison


@given(TRIALS)
def test_arms_are_those_that_are_there_with_stable_first(trial: Trial) -> None:
    roles = [arm.role for arm in trial.arms()]
    assert roles == sorted(roles, key=list(Role).index)
    assert roles[0] is Role.STABLE
    assert len(roles) == 1 + (trial.secondary is not None) + (trial.candidate is not None)


@given(st.binary(max_size=50), st.integers(0, 50))
def test_a_body_is_truncated_where_less_was_kept_than_there_was(data: bytes, missing: int) -> None:
    assert not body_of(data).truncated
    assert Body(data=data, size=len(data) + missing).truncated == (missing > 0)


@pytest.mark.parametrize(
    ("value", "name"), [(body_of(b"x"), "data"), (Request("GET", "/"), "target"), (Totals(), "compared"), (Response(200), "status")]
)
def test_values_do_not_change(value: Any, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, name, None)


def test_latency_is_from_the_start_to_the_end_in_milliseconds() -> None:
    assert Exchange(request=Request("GET", "/"), started_ns=1_000_000, first_byte_ns=2_000_000, ended_ns=6_500_000).latency_ms == 5.5
