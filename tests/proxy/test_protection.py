"""Cap and breakers together: whole trials only, and what is said of them."""

import pytest

from harness.core.labels import ErrorKind, Role, ShedReason
from harness.proxy.breaker import BreakerOptions, BreakerState
from harness.proxy.protection import Protection
from tests.proxy.test_breaker import SECOND, exchange

BOTH = (Role.SECONDARY, Role.CANDIDATE)
QUICK = BreakerOptions(exchanges_min=2, window=4, probes=1, open_s=1.0)


def fail(protection: Protection, role: Role, times: int, now_ns: int = SECOND) -> None:
    breaker = protection.breakers[role]
    for _ in range(times):
        breaker.end(breaker.begin(), exchange(now_ns, ErrorKind.RESET))


def test_one_target_in_distress_stops_the_whole_trial() -> None:
    for role in BOTH:
        protection = Protection(BOTH, rps_max=None, breaker=QUICK)
        assert protection.refuses(SECOND) is None
        fail(protection, role, 2)
        assert protection.refuses(SECOND) is ShedReason.BREAKER
        assert protection.refuses(2 * SECOND) is None, "it is tried again"


def test_the_cap_counts_what_is_sent_and_not_what_is_asked() -> None:
    protection = Protection(BOTH, rps_max=1.0, breaker=QUICK)
    assert [protection.refuses(SECOND) for _ in range(3)] == [None] * 3
    protection.sent(SECOND)
    assert protection.refuses(SECOND) is ShedReason.RATE
    assert protection.refuses(2 * SECOND) is None


def test_without_bounds_nothing_is_refused() -> None:
    protection = Protection(BOTH, rps_max=None, breaker=BreakerOptions(error_share=None))
    protection.sent(SECOND)
    assert protection.breakers == {}
    assert protection.refuses(SECOND) is None


def test_it_is_said_once_that_a_target_is_left_alone_and_once_that_it_recovered(caplog: pytest.LogCaptureFixture) -> None:
    protection = Protection(BOTH, rps_max=None, breaker=QUICK)
    fail(protection, Role.CANDIDATE, 2)
    for round_ in range(2, 5):
        fail(protection, Role.CANDIDATE, 1, round_ * SECOND)
    breaker = protection.breakers[Role.CANDIDATE]
    breaker.end(breaker.begin(), exchange(9 * SECOND))
    assert breaker.state is BreakerState.CLOSED
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "candidate is left alone for a while",
        "candidate is asked again",
    ]
