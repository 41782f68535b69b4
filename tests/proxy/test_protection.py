"""Cap and breakers together: whole trials only, and what is said of them."""

import asyncio

import pytest

from harness.core.labels import ErrorKind, Role, ShedReason
from harness.proxy.breaker import BreakerOptions, BreakerState
from harness.proxy.dispatch import DispatchOptions
from harness.proxy.protection import Protection
from tests.proxy.rig import Seen, Upstream, answers, get, ok, rig, run, until
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


def test_openings_are_counted_and_go_on_being_so_where_protection_begins_anew() -> None:
    protection = Protection(BOTH, rps_max=None, breaker=QUICK)
    fail(protection, Role.CANDIDATE, 2)
    for round_ in range(2, 5):
        fail(protection, Role.CANDIDATE, 1, round_ * SECOND)
    assert protection.opened == {Role.CANDIDATE: 4}
    anew = Protection(BOTH, rps_max=None, breaker=QUICK, opened=protection.opened)
    fail(anew, Role.CANDIDATE, 2)
    fail(anew, Role.SECONDARY, 2)
    assert anew.opened == {Role.CANDIDATE: 5, Role.SECONDARY: 1}


async def endless(_upstream: Upstream, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _seen: Seen) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        await writer.drain()


def test_a_target_whose_answers_have_no_end_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.proxy.shadow.SHADOW_ANSWER_BYTES_MAX", 200_000)
    never_again = BreakerOptions(exchanges_min=4, window=4, open_s=1000.0)

    async def main() -> None:
        answer = answers(ok(b"hello"))
        async with rig(answer, secondary=answer, candidate=endless, dispatch=DispatchOptions(breaker=never_again)) as r:
            for count in range(1, 5):
                assert b"hello" in await r.talk(get("/"))
                await until(lambda: len(r.trials) == count)  # noqa: B023 - awaited at once
            for _ in range(3):
                assert b"hello" in await r.talk(get("/"))
            await r.settled()
            assert len(r.candidate.seen) == 4
            assert r.tally.totals().shed == {"breaker": 3}
            failed = [trial.candidate.exchange.error for trial in r.trials if trial.candidate is not None]
            assert [error.kind for error in failed if error is not None] == [ErrorKind.TOO_LARGE] * 4, "all are compared"

    run(main())


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
