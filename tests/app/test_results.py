"""The supervisor's end of comparison: each result counts once, who is too fast is held, and what fails or hangs is told."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from comparators.plan import build_plan
from comparators.registry import load_comparators
from comparators.trial import compare_trial
from harness.app import results as module
from harness.app.results import Results, WatchedTrials
from harness.bus.messages import ENCODER, Result
from harness.bus.packing import encode_trial
from harness.core.errors import ShadowdiffError
from harness.core.labels import EffectsSeen, ErrorKind, Role, ShedReason, SkipReason
from harness.core.limits import FOLD_QUEUE_FRAMES_MAX, SEQUENCER_WINDOW_MAX
from harness.core.outcomes import Tally
from harness.core.values import Arm, Comparison, Effect, Exchange, TransportError, Trial
from harness.evidence.bets import EffectCount, TrialBets, bets_of, encode_bets
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.fold import Fold, TrialSource
from tests.app.support import evidence_threads, get, trial
from tests.proxy.rig import until

PLAN = build_plan((), load_comparators())


class Kept:
    """A keeper: what it was shown, behind a gate; it fails when told."""

    def __init__(self) -> None:
        self.trials: list[int | None] = []
        self.threads: set[str] = set()
        self.open = threading.Event()
        self.open.set()
        self.failure: Exception | None = None

    def keep_bets(self, bets: TrialBets) -> None:
        self.threads.add(threading.current_thread().name)
        assert self.open.wait(60)
        if self.failure is not None:
            raise self.failure

    def keep_trial(self, trial: TrialSource, comparison: Comparison, **_more: Any) -> None:
        found = trial()
        self.trials.append(None if found is None else found.seq)


class Held:
    """A link as far as it can be held."""

    def __init__(self) -> None:
        self._held = False

    def is_held(self) -> bool:
        return self._held

    def hold(self) -> None:
        self._held = True

    def unhold(self) -> None:
        self._held = False


class Rig:
    def __init__(self) -> None:
        self.kept = Kept()
        self.ledger = Ledger(Policy(), endpoints=("GET /items/{int}",))
        self.tally = Tally()
        self.watched: list[WatchedTrials] = []
        self.results = Results(Fold(self.ledger, self.kept), self.tally, self.watched.append)
        self.link = Held()

    def take(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.results.take(self.link, payload)  # type: ignore[arg-type]  # a link in memory

    def counts(self) -> tuple[int, int, int]:
        totals = self.tally.totals()
        return totals.compared, totals.diverged, totals.shed.get(ShedReason.WORKER_LOST, 0)


def result(stream: int, one: Trial, *, whole: bool = True) -> Result:
    compared = compare_trial(one, PLAN)
    return Result(stream, encode_bets(bets_of(one, compared, b"")), compared, encode_trial(one) if whole else b"")


def frame(stream: int, *seqs: int) -> bytes:
    return ENCODER.encode([result(stream, trial(seq)) for seq in seqs])


def run(body: Callable[[Rig], Awaitable[None]]) -> Rig:
    async def bounded() -> Rig:
        async with asyncio.timeout(100):
            rig = Rig()
            rig.results.start()
            await body(rig)
            return rig

    rig = asyncio.run(bounded())
    assert evidence_threads() == []
    return rig


def test_results_are_folded_in_order_in_a_thread_of_their_own_and_counted() -> None:
    async def body(rig: Rig) -> None:
        diverged = result(0, trial(1, candidate=b'{"price":11}'))
        failed = Exchange(request=get("/items/3"), response=None, error=TransportError(ErrorKind.TIMEOUT))
        late = msgspec.structs.replace(trial(3), candidate=Arm(role=Role.CANDIDATE, exchange=failed))
        rig.take(frame(0, 2, 0), ENCODER.encode([diverged, result(0, late)]), ENCODER.encode([result(7, trial(0), whole=False)]))
        await rig.results.stop(10)
        assert rig.kept.trials == [0, 1, 2, 3, None]
        assert rig.counts() == (5, 2, 0)
        assert rig.tally.totals().errors == {Role.CANDIDATE: 1}
        assert rig.results.folded == 5
        assert rig.kept.threads == {"evidence"}

    run(body)


def test_trials_whose_effects_were_watched_are_told_of_by_frame() -> None:
    async def body(rig: Rig) -> None:
        plain, charge = trial(1), Effect(collector="http", operation="POST a")
        complete = msgspec.structs.replace(
            plain, stable=msgspec.structs.replace(plain.stable, effects=(charge,)), effects_seen=EffectsSeen.COMPLETE
        )
        timed_out = msgspec.structs.replace(trial(2), effects_seen=EffectsSeen.TIMED_OUT)
        rig.take(frame(0, 0), ENCODER.encode([result(0, complete), result(0, timed_out)]))
        await rig.results.stop(10)
        assert rig.watched == [WatchedTrials(1, 1, (EffectCount("http", "POST a", 1, 0, 0),))]

    run(body)


def test_what_is_lost_is_counted_once_and_what_came_is_not_lost() -> None:
    async def body(rig: Rig) -> None:
        rig.take(frame(0, 0, 2))
        rig.results.lost(0, (0, 1))
        rig.take(frame(0, 1, 0))
        rig.results.lost(0, (1, 1))
        rig.results.close(0, 6)
        rig.take(frame(0, 3, 4))
        rig.results.lost(0, (5,))
        rig.take(frame(1, 0))
        await rig.results.stop(10)
        assert rig.counts() == (3, 0, 4)
        assert rig.kept.trials == [0, 2, 0]

    run(body)


def test_a_stream_that_ran_far_ahead_of_a_loss_does_not_stop_the_run() -> None:
    async def body(rig: Rig) -> None:
        rig.take(frame(0, SEQUENCER_WINDOW_MAX + 9))
        rig.results.lost(0, (2 * SEQUENCER_WINDOW_MAX + 9,))
        rig.results.close(0, 2 * SEQUENCER_WINDOW_MAX + 10)
        await rig.results.stop(10)
        assert rig.counts() == (1, 0, 2 * SEQUENCER_WINDOW_MAX + 9)

    run(body)


def test_a_snapshot_is_taken_between_two_steps() -> None:
    async def body(rig: Rig) -> None:
        rig.take(frame(0, 0, 1))
        await until(lambda: rig.results.folded == 2)
        assert (await rig.results.snapshot()).seq == 2
        await rig.results.stop(10)

    run(body)


@pytest.mark.parametrize("by", ["frames", "bytes"])
def test_who_is_faster_than_folding_is_held(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = frame(0, 0)
    if by == "bytes":
        monkeypatch.setattr(module, "FOLD_QUEUE_BYTES_MAX", 10 * len(payload))
    most = FOLD_QUEUE_FRAMES_MAX if by == "frames" else 10

    async def body(rig: Rig) -> None:
        rig.kept.open.clear()
        for seq in range(most):
            assert not rig.link.is_held()
            rig.take(frame(0, seq))
        assert rig.link.is_held()
        assert rig.results.holds(rig.link)  # type: ignore[arg-type]  # as above
        rig.take(frame(0, most))
        assert rig.results.waiting == most + 1, "what was under way is taken all the same"
        rig.kept.open.set()
        await until(lambda: not rig.link.is_held())
        assert not rig.results.holds(rig.link)  # type: ignore[arg-type]  # as above
        await rig.results.stop(10)
        assert rig.counts() == (most + 1, 0, 0)

    run(body)


def test_what_the_keeper_raises_ends_the_work_and_holds_nobody() -> None:
    async def body(rig: Rig) -> None:
        rig.kept.failure = ValueError("of the keeper")
        for seq in range(2 * FOLD_QUEUE_FRAMES_MAX):
            rig.take(frame(0, seq))
        assert rig.link.is_held()
        await until(lambda: not rig.link.is_held())
        with pytest.raises(ValueError, match="of the keeper"):
            rig.results.check()
        rig.take(*[frame(0, seq) for seq in range(2 * FOLD_QUEUE_FRAMES_MAX)])
        rig.results.close(0, 500)
        assert rig.results.waiting == 0, "nothing is kept for a run without a verdict"
        assert not rig.link.is_held()
        with pytest.raises(ValueError, match="of the keeper"):
            await rig.results.stop(10)

    run(body)


def test_garbage_ends_the_work() -> None:
    async def body(rig: Rig) -> None:
        rig.take(b"\xc1")
        with pytest.raises(msgspec.DecodeError):
            await rig.results.stop(10)

    run(body)


def test_an_error_from_elsewhere_while_the_thread_hangs_lets_everybody_go() -> None:
    async def body(rig: Rig) -> None:
        rig.kept.open.clear()
        for seq in range(FOLD_QUEUE_FRAMES_MAX):
            rig.take(frame(0, seq))
        await until(lambda: bool(rig.kept.threads))
        assert rig.link.is_held()
        rig.results.fail(ShadowdiffError("comparison hangs"))
        rig.results.fail(ShadowdiffError("the second is not the cause"))
        assert not rig.link.is_held()
        assert rig.results.waiting == 0
        rig.kept.open.set()
        with pytest.raises(ShadowdiffError, match="comparison hangs"):
            await rig.results.stop(10)
        assert rig.counts()[0] <= 1

    run(body)


def test_storage_that_hangs_is_given_up() -> None:
    async def body(rig: Rig) -> None:
        rig.kept.open.clear()
        rig.take(frame(0, 0), frame(0, 1))
        with pytest.raises(ShadowdiffError, match="storage hangs"):
            await rig.results.stop(0.05)
        rig.kept.open.set()
        await until(lambda: evidence_threads() == [])

    run(body)


def test_storage_that_is_slow_is_waited_for() -> None:
    async def body(rig: Rig) -> None:
        real = rig.kept.keep_bets

        def slow(bets: TrialBets) -> None:
            threading.Event().wait(0.4)
            real(bets)

        rig.kept.keep_bets = slow  # type: ignore[method-assign]  # made to take long
        rig.take(*[frame(0, seq) for seq in range(10)])
        await rig.results.stop(3.0)  # less than all of them take, and far more than one
        assert rig.counts() == (10, 0, 0)

    run(body)


def test_a_thread_that_does_not_end_after_the_last_frame_is_told() -> None:
    async def body(rig: Rig) -> None:
        opened = threading.Event()

        def hanging_snapshot() -> None:
            opened.wait(60)

        rig.results._fold.snapshot = hanging_snapshot  # type: ignore[method-assign,assignment]  # made to hang
        asking = asyncio.create_task(rig.results.snapshot())
        await asyncio.sleep(0)
        with pytest.raises(ShadowdiffError, match="its thread does not end"):
            await rig.results.stop(0.05)
        opened.set()
        await asking
        await until(lambda: evidence_threads() == [])

    run(body)


def test_a_run_that_never_started_ends_at_once() -> None:
    async def body() -> None:
        await Rig().results.stop(1)

    asyncio.run(body())


def test_a_system_that_forbids_priorities_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", forbidden)

    async def body(rig: Rig) -> None:
        rig.take(frame(0, 0))
        await rig.results.stop(10)
        assert rig.counts() == (1, 0, 0)

    run(body)


class OddOnly:
    """Admits what was sent at all and names the build `odd`."""

    def __init__(self) -> None:
        self.turned_away = 0

    def admits(self, build: str, started_ns: int) -> bool:
        assert started_ns == 1_000_000
        self.turned_away += build != "odd"
        return build == "odd"

    def warms_up(self, endpoint: str, started_ns: int) -> bool:
        return True

    def drained(self) -> dict[SkipReason, int]:
        turned_away, self.turned_away = self.turned_away, 0
        return {SkipReason.OTHER_BUILD: turned_away}


def test_what_is_not_admitted_is_counted_once_and_holds_up_nothing() -> None:
    async def body(r: Rig) -> None:
        tally, kept, warm = Tally(), Kept(), []
        kept.keep_bets = lambda bets: warm.append(bets.warm_up)  # type: ignore[method-assign]  # nothing else is asked of them
        results = Results(Fold(Ledger(Policy()), kept), tally, admission=OddOnly())
        results.start()
        found = [msgspec.structs.replace(result(1, trial(seq)), build="odd" if seq % 2 else "even") for seq in range(8)]
        for one in reversed(found):
            results.take(r.link, ENCODER.encode([one, one]))  # type: ignore[arg-type]  # a link in memory
        results.close(1, 9)
        await results.stop(10)
        totals = tally.totals()
        assert (totals.compared, totals.skipped, totals.shed) == (4, {"other_build": 4}, {"worker_lost": 1})
        assert kept.trials == [1, 3, 5, 7]
        assert warm == [True] * 4
        await r.results.stop(10)

    run(body)


def test_the_fold_is_exchanged_between_two_steps_and_what_fails_changes_nothing() -> None:
    async def body(r: Rig) -> None:
        r.kept.open.clear()
        r.take(frame(1, 0, 1), frame(1, 2))
        ledger = Ledger(Policy())
        await until(lambda: bool(r.kept.threads))  # the first frame is being folded
        asyncio.get_running_loop().call_soon(r.kept.open.set)
        await r.results.exchange(lambda fold: fold.successor(ledger))
        counted = r.counts()[0]
        assert counted == r.ledger.snapshot().seq, "exactly what the Fold before was given has been counted"
        r.take(frame(1, 3))

        def fail(fold: Fold) -> Fold:
            raise ShadowdiffError("no")

        with pytest.raises(ShadowdiffError):
            await r.results.exchange(fail)
        assert await r.results.in_thread(lambda: 7) == 7
        await r.results.stop(10)
        assert r.counts()[0] == 4 == counted + ledger.snapshot().seq

    run(body)


def test_a_repeat_is_folded_beside_the_traffic_and_is_no_request() -> None:
    """What was asked for an epoch that is over counts for nothing."""

    async def body(rig: Rig) -> None:
        wrong = msgspec.structs.replace(trial(0, candidate=b'{"price":11}'), fresh=False)
        rig.take(ENCODER.encode([result(0, wrong)]))
        while rig.results.folded < 1:
            await asyncio.sleep(0.01)
        again = trial(0, candidate=b'{"price":11}', repeat_of="t0")
        compared = compare_trial(again, PLAN)
        bets, first = bets_of(again, compared, b""), rig.results.fold
        assert await rig.results.fold_repeat(first, bets, compared) == rig.ledger.questions.urgency(bets.request)
        assert rig.ledger.repeats == 1
        await rig.results.exchange(lambda fold: fold.successor(Ledger(Policy(), endpoints=("GET /items/{int}",)), rig.kept))
        assert await rig.results.fold_repeat(first, bets, compared) is None
        assert (rig.ledger.repeats, rig.results.fold.snapshot().repeats) == (1, 0)
        await rig.results.stop(10)
        assert rig.counts() == (1, 1, 0)

    run(body)


def test_what_was_folded_before_comes_first_and_until_then_nobody_gets_a_snapshot() -> None:
    async def body() -> None:
        fold, tally = Fold(Ledger(Policy())), Tally()
        gate, left = threading.Event(), [2, 3, 0]

        def recall() -> int:
            assert gate.wait(60)
            return left.pop(0)

        results = Results(fold, tally, recall=recall)
        results.start()
        asked = asyncio.create_task(results.snapshot())
        changed = asyncio.create_task(results.exchange(lambda present: present))
        await asyncio.sleep(0)
        assert not asked.done()
        assert not changed.done()
        gate.set()
        await asked
        await changed
        assert (results.folded, left) == (5, [])
        await results.stop(60)

    asyncio.run(body())


def test_stored_trials_that_cannot_be_folded_again_end_the_judging() -> None:
    def recall() -> int:
        raise ShadowdiffError("damaged", where="run", fix="begin another")

    async def body() -> None:
        results = Results(Fold(Ledger(Policy())), Tally(), recall=recall)
        results.start()
        with pytest.raises(ShadowdiffError, match="damaged"):
            await results.snapshot()
        with pytest.raises(ShadowdiffError, match="damaged"):
            await results.stop(60)

    asyncio.run(body())
    assert evidence_threads() == []
