"""Open trials and their tapes: which one a call belongs to, and how long it waits."""

import asyncio

import pytest

from harness.core import limits_collectors
from harness.core.labels import Role
from harness.core.trace import with_trace
from harness.effects.api import OpenTrial
from harness.effects.egress.calls import Answer, Call
from harness.effects.egress.trial_tapes import Signal, Tie, TrialTapes
from tests.effects.egress.rig import ROLES, run

ANSWER = Answer(status=200, body=b"a")


def trial(number: int, roles: tuple[Role, ...] = ROLES) -> OpenTrial:
    return OpenTrial(trace=f"{number:032x}", roles=roles, request=f"r{number}")


def call(path: str = "/a", body: bytes = b"") -> Call:
    return Call(method="POST", url=f"http://a.test{path}", body=body, size=len(body))


def test_a_call_is_tied_by_its_trace_else_to_the_only_open_trial() -> None:
    trials = TrialTapes()
    assert trials.tie((), Role.CANDIDATE) == Tie(None, "")
    trials.begin(trial(1))
    assert trials.tie((), Role.CANDIDATE).trace == trial(1).trace
    trials.begin(trial(2))
    assert trials.tie((), Role.CANDIDATE) == Tie(None, "")
    assert trials.tie(with_trace((), trial(1).trace, Role.STABLE), Role.STABLE).trial is trials.open[trial(1).trace]
    trials.end(trial(1))
    trials.end(trial(1))
    assert trials.tie(with_trace((), trial(1).trace, Role.STABLE), Role.STABLE) == Tie(None, trial(1).trace)
    # What names no trial may be late of the one that ended: it is nobody's until trials go one at a time again.
    assert trials.tie(with_trace((), "9" * 32, Role.STABLE), Role.STABLE) == Tie(None, "")
    trials.end(trial(2))
    trials.begin(trial(3))
    assert trials.tie(with_trace((), "9" * 32, Role.STABLE), Role.STABLE).trace == trial(3).trace


def test_ended_trials_are_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_collectors, "EGRESS_ENDED_TRIALS_MAX", 2)
    trials = TrialTapes()
    for number in (1, 2, 3):
        trials.begin(trial(number))
        trials.end(trial(number))
    known = [trials.tie(with_trace((), trial(number).trace, Role.STABLE), Role.STABLE).trace for number in (1, 2, 3)]
    assert known == ["", trial(2).trace, trial(3).trace]


def test_a_call_may_end_after_its_trial() -> None:
    trials = TrialTapes()
    trials.begin(trial(1))
    held = trials.open[trial(1).trace]
    held.entered(Role.STABLE)
    trials.end(trial(1))
    held.left(Role.STABLE)
    assert held.quiet


def test_nobody_waits_for_a_stable_that_takes_no_part() -> None:
    async def main() -> None:
        trials = TrialTapes()
        trials.begin(trial(1, (Role.CANDIDATE,)))
        assert await trials.match(call(), Role.CANDIDATE, trials.tie((), Role.CANDIDATE)) is None
        assert trials.waits_given_up == 0

    run(main)


def test_a_wait_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_collectors, "EGRESS_HOLD_SECONDS_MAX", 0.01)
    monkeypatch.setattr(limits_collectors, "EGRESS_UNTIED_HOLD_SECONDS_MAX", 0.01)

    async def main() -> None:
        trials = TrialTapes()
        assert await trials.match(call(), Role.CANDIDATE, Tie(None, "")) is None
        trials.starting = False
        assert await trials.match(call(), Role.CANDIDATE, Tie(None, "")) is None
        assert trials.waits_given_up == 0
        trials.begin(trial(1))
        assert await trials.match(call(), Role.CANDIDATE, trials.tie((), Role.CANDIDATE)) is None
        assert trials.waits_given_up == 1

    run(main)


def test_a_call_waits_for_stables_calls_under_way_also_when_its_exchange_is_over() -> None:
    async def main() -> None:
        trials = TrialTapes()
        trials.begin(trial(1))
        tie = trials.tie((), Role.CANDIDATE)
        assert tie.trial is not None
        tie.trial.entered(Role.STABLE)
        tie.trial.answered(Role.STABLE)
        waiting = asyncio.create_task(trials.match(call(body=b"changed"), Role.CANDIDATE, tie))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        trials.add(call(body=b"1"), ANSWER, tie.trial, tie.trial.next_number())
        tie.trial.left(Role.STABLE)
        found = await waiting
        assert found is not None
        assert not found.match.exact
        assert found.trial is tie.trial

    run(main)


def test_an_untied_call_that_several_trials_have_is_answered_but_nobodys() -> None:
    async def main() -> None:
        trials = TrialTapes()
        for number in (1, 2):
            trials.begin(trial(number))
            trials.add(call(), ANSWER, trials.open[trial(number).trace], 0)
        found = await trials.match(call(), Role.CANDIDATE, Tie(None, ""))
        assert found is not None
        assert found.trial is None
        other = await trials.match(call(), Role.CANDIDATE, Tie(None, ""))
        assert other is not None
        assert other.trial is trials.open[trial(2).trace]

    run(main)


def test_a_full_tape_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_collectors, "EGRESS_TAPED_CALLS_MAX", 2)
    trials = TrialTapes()
    trials.begin(trial(1))
    tape = trials.open[trial(1).trace]
    for _ in range(3):
        trials.add(call(), ANSWER, tape, tape.next_number())
    assert trials.left_out == 1
    assert [trials.next_untied_number() for _ in range(4)] == [0, 1, 0, 1]


def test_a_trial_settles_when_no_call_is_under_way() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        trials = TrialTapes()
        assert await trials.settle(trial(1), 0.0)
        trials.begin(trial(1))
        assert await trials.settle(trial(1), 0.0)
        tape = trials.open[trial(1).trace]
        tape.entered(Role.CANDIDATE)
        assert not await trials.settle(trial(1), loop.time())
        settling = asyncio.create_task(trials.settle(trial(1), loop.time() + 30))
        await asyncio.sleep(0)
        tape.left(Role.CANDIDATE)
        assert await settling

    run(main)


def test_a_signal_wakes_those_that_wait_now() -> None:
    async def main() -> None:
        signal = Signal()
        loop = asyncio.get_running_loop()
        signal.fire()
        assert not await signal.wait(loop.time())
        waiting = [asyncio.create_task(signal.wait(loop.time() + 30)) for _ in range(2)]
        await asyncio.sleep(0)
        signal.fire()
        assert await asyncio.gather(*waiting) == [True, True]

    run(main)


def test_builds_that_start_again_find_nothing_of_their_last_start() -> None:
    async def main() -> None:
        trials = TrialTapes()
        trials.add(call(), ANSWER, None, trials.next_untied_number())
        assert (await trials.match(call(), Role.SECONDARY, Tie(None, ""))) is not None
        trials.start()
        waiting = asyncio.create_task(trials.match(call(), Role.CANDIDATE, Tie(None, "")))
        await asyncio.sleep(0)
        assert not waiting.done()
        trials.close()
        assert await waiting is None

    run(main)


def test_what_stable_does_outside_of_trials_takes_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_collectors, "EGRESS_UNTIED_BYTES_MAX", 1000)
    trials = TrialTapes()
    for _ in range(50):
        trials.add(call(), Answer(status=200, body=b"x" * 100), None, trials.next_untied_number())
        assert len(trials._untied) <= 11
