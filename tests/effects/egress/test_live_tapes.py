"""Tapes of live traffic: a call finds stable's by its trace, else by its content; nothing is kept for ever, nobody waits for long."""

import asyncio

import pytest

from harness.core import limits_collectors
from harness.core.labels import Role
from harness.core.trace import with_trace
from harness.core.values import Headers
from harness.effects.egress import live_tapes
from harness.effects.egress.calls import Answer, Call, TapedCall
from harness.effects.egress.live_tapes import LiveTapes, Recent
from harness.effects.egress.trial_tapes import Found, Tie
from tests.effects.egress.rig import run

ANSWER = Answer(status=200, body=b"a")


class Now:
    """The event loop's time, stepped by hand."""

    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


def trace(number: int) -> str:
    return f"{number:032x}"


def named(number: int, role: Role = Role.STABLE) -> Headers:
    return with_trace((), trace(number), role)


def call(path: str = "/a", body: bytes = b"") -> Call:
    return Call(method="POST", url=f"http://a.test{path}", body=body, size=len(body))


def stable_called(tapes: LiveTapes, headers: Headers, made: Call, answer: Answer = ANSWER) -> TapedCall:
    tie = tapes.tie(headers, Role.STABLE)
    number = tie.trial.next_number() if tie.trial is not None else tapes.next_untied_number()
    return tapes.add(made, answer, tie.trial, number)


async def asked(tapes: LiveTapes, number: int, made: Call, role: Role = Role.CANDIDATE) -> Found | None:
    headers = named(number, role) if number else ()
    return await tapes.match(made, role, tapes.tie(headers, role))


def troubles(tapes: LiveTapes) -> list[int]:
    return [count for count, _ in tapes.troubles()]


def test_each_target_gets_stables_answer_of_the_same_trace() -> None:
    async def main() -> None:
        tapes = LiveTapes(kept=True, now_s=Now())
        first, second = (stable_called(tapes, named(number), call(body=b"%d" % number)) for number in (1, 2))
        for role in (Role.SECONDARY, Role.CANDIDATE):
            found = await asked(tapes, 2, call(body=b"2"), role)
            assert found is not None
            assert (found.match.taped, found.match.exact) == (second, True)
        found = await asked(tapes, 1, call(body=b"changed"))
        assert found is not None
        assert (found.match.taped, found.match.exact) == (first, False), "a like one, of its own trace only"
        assert sum(troubles(tapes)) == 0

    run(main)


def test_a_call_waits_for_stables_answer_that_is_under_way_and_for_a_call_that_comes_after_stables_answer() -> None:
    async def main() -> None:
        tapes = LiveTapes(kept=True, now_s=asyncio.get_running_loop().time)
        tie = tapes.tie(named(1), Role.STABLE)
        assert tie.trial is not None
        tie.trial.entered(Role.STABLE)
        waiting = asyncio.create_task(asked(tapes, 1, call()))
        await asyncio.sleep(0)
        assert not waiting.done()
        taped = tapes.add(call(), ANSWER, tie.trial, 0)
        found = await waiting
        assert found is not None
        assert found.match.taped is taped
        tie.trial.left(Role.STABLE)
        waiting = asyncio.create_task(asked(tapes, 2, call("/later")))
        await asyncio.sleep(0)
        later = stable_called(tapes, named(2), call("/later"))
        found = await waiting
        assert found is not None
        assert found.match.taped is later

    run(main)


def test_waits_are_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("EGRESS_LIVE_UNDER_WAY_SECONDS_MAX", "EGRESS_LIVE_COMING_SECONDS_MAX"):
        monkeypatch.setattr(limits_collectors, bound, 0.01)
    monkeypatch.setattr(live_tapes, "PAUSES_SECONDS", (0.0, 0.01))

    async def main() -> None:
        tapes = LiveTapes(kept=True, now_s=asyncio.get_running_loop().time)
        assert await asked(tapes, 9, call()) is None
        assert troubles(tapes) == [0, 0, 1, 0, 0], "no trace, and nothing like it"
        stable_called(tapes, named(1), call("/other"))
        assert await asked(tapes, 1, call()) is None
        assert troubles(tapes) == [0, 0, 1, 0, 0], "stable made no such call: that is a finding, not a trouble"
        tie = tapes.tie(named(2), Role.STABLE)
        assert tie.trial is not None
        tie.trial.entered(Role.STABLE)
        assert await asked(tapes, 2, call()) is None
        assert troubles(tapes) == [1, 0, 1, 0, 0]
        tapes.close()
        assert await asked(tapes, 2, call()) is None

    run(main)


@pytest.mark.parametrize("client", [0, 7], ids=["no trace", "the client's own trace"])
def test_where_no_trace_leads_to_it_the_same_call_is_found_and_counted(client: int) -> None:
    async def main() -> None:
        tapes = LiveTapes(kept=True, now_s=Now())
        taped = [stable_called(tapes, named(client) if client else (), call(body=b"x"), Answer(status=status)) for status in (200, 201)]
        for number, expected in enumerate(taped, start=1):
            found = await asked(tapes, number, call(body=b"x"))
            assert found is not None
            assert (found.match.taped, found.match.exact, found.trial) == (expected, True, None)
        assert troubles(tapes) == [0, 2, 0, 0, 0]
        assert await asked(tapes, 3, call(body=b"y")) is None, "only the very same"
        assert await asked(tapes, 3, call(body=b"x")) is None, "each target may use each call once"

    run(main)


def test_a_call_whose_own_trial_has_asked_by_trace_is_not_given_to_others() -> None:
    async def main() -> None:
        tapes = LiveTapes(kept=True, now_s=Now())
        stable_called(tapes, named(1), call())
        assert await asked(tapes, 1, call()) is not None
        assert await asked(tapes, 2, call()) is None

    run(main)


def test_old_tapes_go_and_what_was_dropped_too_early_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_collectors, "EGRESS_LIVE_TAPES_MAX", 2)
    monkeypatch.setattr(live_tapes, "PAUSES_SECONDS", (0.0,))

    async def main() -> None:
        now = Now()
        tapes = LiveTapes(kept=True, now_s=now)
        for number in (1, 2, 3):
            stable_called(tapes, named(number), call(f"/{number}"))
        assert troubles(tapes)[3] == 1
        assert tapes.tie(named(1, Role.CANDIDATE), Role.CANDIDATE).trial is None
        assert tapes.tie(named(2, Role.CANDIDATE), Role.CANDIDATE).trial is not None
        now.s += limits_collectors.EGRESS_LIVE_TAPE_SECONDS_MAX + 1
        stable_called(tapes, named(4), call("/4"))
        assert tapes.tie(named(3, Role.CANDIDATE), Role.CANDIDATE).trial is None
        assert troubles(tapes)[3] == 1, "those were old"

    run(main)


def test_memory_is_bounded_and_a_call_that_ends_after_its_tape_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_collectors, "EGRESS_LIVE_TAPES_BYTES_MAX", 3 * live_tapes.CALL_BYTES)

    async def main() -> None:
        tapes = LiveTapes(kept=True, now_s=Now())
        tie = tapes.tie(named(1), Role.STABLE)
        assert tie.trial is not None
        tie.trial.entered(Role.STABLE)
        large = Answer(status=200, body=bytes(4 * live_tapes.CALL_BYTES))
        tapes.add(call(), large, tie.trial, 0)
        assert tapes.tie(named(1, Role.CANDIDATE), Role.CANDIDATE) == Tie(None, trace(1))
        tie.trial.left(Role.STABLE)
        tapes.add(call(), ANSWER, tie.trial, 1)
        for number in range(2, 20):
            stable_called(tapes, named(number), call(f"/{number}"))
        assert len([number for number in range(2, 20) if tapes.tie(named(number), Role.CANDIDATE).trial]) <= 3

    run(main)


def test_recent_calls_are_forgotten() -> None:
    recent, taped = Recent(), TapedCall(request="", number=0, call=call(), answer=ANSWER)
    recent.add(taped, None, 1000.0)
    assert recent.take(call(), Role.SECONDARY, 1000.0) is not None
    assert recent.take(call(), Role.CANDIDATE, 1000.0 + limits_collectors.EGRESS_LIVE_RECENT_SECONDS + 1) is not None
    recent.add(taped, None, 1100.0)
    late_s = 1100.0 + limits_collectors.EGRESS_LIVE_RECENT_SECONDS + 1
    assert recent.take(call(), Role.CANDIDATE, late_s) is None
    assert recent.take(call(), Role.CANDIDATE, late_s + 3 * limits_collectors.EGRESS_LIVE_RECENT_SECONDS) is None


def test_observed_calls_are_named_and_not_kept() -> None:
    tapes = LiveTapes(kept=False, now_s=Now())
    assert tapes.tie(named(1), Role.STABLE) == Tie(None, trace(1))
    assert tapes.tie((), Role.STABLE) == Tie(None, "")
