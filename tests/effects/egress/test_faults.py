"""Faults: the first whose host matches decides, by its share; and what is wrong with one is said."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.effects.egress.faults import EgressFault, fault_for, problems


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("*", "api.test", True),
        ("api.test", "API.test", True),
        ("API.TEST", "api.test.", True),
        ("*.test", "api.test", True),
        ("*.test", "test", False),
        ("api?.test", "api2.test", True),
        ("api.test", "api.test.evil", False),
        ("::1", "[::1]", True),
        ("[0:0::1]", "::1", True),
        ("[::1]", ":", False),
        ("[ab].test", "a.test", False),
        ("müller.example", "xn--mller-kva.example", True),
        ("*.müller.example", "a.müller.example", True),
    ],
)
def test_hosts(pattern: str, host: str, matches: bool) -> None:
    fault = EgressFault(host=pattern, error=503)
    assert (fault_for([fault], host, random.Random(1)) is fault) == matches


def test_the_first_that_matches_decides() -> None:
    first, second = EgressFault(host="a.test", error=500), EgressFault(delay_ms=5)
    assert fault_for([first, second], "a.test", random.Random(1)) is first
    assert fault_for([first, second], "b.test", random.Random(1)) is second
    assert fault_for([], "a.test", random.Random(1)) is None


def test_a_fault_concerns_its_share_of_the_calls() -> None:
    rng = random.Random(7)
    fault = EgressFault(error=500, share=0.25)
    hit = sum(fault_for([fault], "a.test", rng) is fault for _ in range(4000))
    assert 800 < hit < 1200


def test_a_seed_repeats_the_draws() -> None:
    fault = EgressFault(reset=True, share=0.5)
    draws = [[fault_for([fault], "a", rng) is None for _ in range(50)] for rng in (random.Random(3), random.Random(3))]
    assert draws[0] == draws[1]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (EgressFault(host=" ", error=500), "`host` is empty"),
        (EgressFault(host="https://a.test", error=500), "not a URL"),
        (EgressFault(host="a.test:80", error=500), "without a port"),
        (EgressFault(host="[::1]:80", error=500), "without a port"),
        (EgressFault(delay_ms=-1), "`delay_ms`"),
        (EgressFault(delay_ms=float("inf")), "`delay_ms`"),
        (EgressFault(delay_ms=float("nan")), "`delay_ms`"),
        (EgressFault(error=200), "`error`"),
        (EgressFault(error=600), "`error`"),
        (EgressFault(error=500, share=0), "`share`"),
        (EgressFault(error=500, share=1.1), "`share`"),
        (EgressFault(error=500, share=float("nan")), "`share`"),
        (EgressFault(error=500, reset=True), "exclude each other"),
        (EgressFault(), "does nothing"),
    ],
)
def test_what_is_wrong_is_said(fault: EgressFault, said: str) -> None:
    found = problems(fault)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    "fault", [EgressFault(error=503), EgressFault(host="::1", reset=True, share=0.5), EgressFault(delay_ms=1.5, error=400)]
)
def test_a_fault_that_can_be(fault: EgressFault) -> None:
    assert problems(fault) == []


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"host": "*", "delay": 1}, EgressFault)


@given(pattern=st.text(max_size=20), host=st.text(max_size=20))
def test_any_pattern_and_host_may_come(pattern: str, host: str) -> None:
    fault = EgressFault(host=pattern, error=500)
    assert fault_for([fault], host, random.Random(1)) in (fault, None)
    assert isinstance(problems(fault), list)
