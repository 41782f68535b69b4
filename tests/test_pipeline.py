"""The one way from trial to ledger: order, bounds, what is shown to whom, and what happens when a part of it fails."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from comparators.api import BodyView, RuleUse
from comparators.plan import build_plan
from comparators.registry import load_comparators
from harness import pipeline as module
from harness.core.canon import Rule, RuleAction
from harness.core.errors import ShadowdiffError
from harness.core.labels import ErrorKind, Kind, Role
from harness.core.limits import COMPARE_QUEUE_MAX
from harness.core.outcomes import Tally
from harness.core.values import Arm, CaptureRef, Comparison, Difference, Exchange, TransportError, Trial
from harness.evidence.bets import TrialBets
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.fold import Fold, TrialSource
from harness.pipeline import Pipeline, kept_bytes
from tests.app.support import evidence_threads, get, trial

OTHER = b'{"price":11}'


class Kept:
    """Keeper and observer in one: writes down what it is shown, and by which thread."""

    def __init__(self) -> None:
        self.bets: list[TrialBets] = []
        self.trials: list[tuple[Trial, Comparison, bool]] = []
        self.observed: list[int] = []
        self.threads: set[str] = set()

    def keep_bets(self, bets: TrialBets) -> None:
        self.threads.add(threading.current_thread().name)
        self.bets.append(bets)

    def keep_trial(self, trial: TrialSource, comparison: Comparison, *, endpoint: str, exemplar: bool) -> None:
        found = trial()
        assert found is not None
        self.trials.append((found, comparison, exemplar))

    def observe_trial(self, trial: Trial, comparison: Comparison) -> None:
        assert comparison.seq == trial.seq
        self.observed.append(trial.seq)


class Gate:
    """An observer that holds the pipeline's thread until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()

    def observe_trial(self, trial: Trial, comparison: Comparison) -> None:
        self.reached.set()
        assert self.opened.wait(60)


class Failing:
    """An observer that breaks its promise at the n-th trial."""

    def __init__(self, at: int = 0) -> None:
        self._at = at

    def observe_trial(self, trial: Trial, comparison: Comparison) -> None:
        if trial.seq == self._at:
            raise ValueError("an observer of another kind")


def made(**changes: Any) -> tuple[Pipeline, Ledger, Tally, Kept]:
    ledger, tally, kept = Ledger(Policy(), endpoints=("GET /items/{int}",)), Tally(), Kept()
    fields: dict[str, Any] = {"plan": build_plan((), load_comparators()), "observers": (kept,)}
    return Pipeline(fold=Fold(ledger, kept), tally=tally, **{**fields, **changes}), ledger, tally, kept


def run(body: Callable[[], Awaitable[None]]) -> None:
    """Run it, and leave no thread behind."""

    async def bounded() -> None:
        async with asyncio.timeout(100):
            await body()

    asyncio.run(bounded())
    assert evidence_threads() == []


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_trials_are_compared_folded_counted_and_shown() -> None:
    pipeline, ledger, tally, kept = made()

    async def body() -> None:
        pipeline.start()
        for seq in range(100):
            await pipeline.put(trial(seq, candidate=OTHER if seq % 10 == 0 else b'{"price":10}'))
        await pipeline.drain()
        assert pipeline.queued == 0
        snapshot = await pipeline.snapshot()
        assert snapshot.seq == 100
        await pipeline.stop()

    run(body)
    assert kept.observed == list(range(100))
    assert [bets.seq for bets in kept.bets] == [kept_trial.seq for kept_trial, _, _ in kept.trials] == list(range(100))
    assert kept.threads == {"evidence"}, "the ledger and the disk have one owner"
    totals = tally.totals()
    assert (totals.compared, totals.diverged) == (100, 10)
    assert [f.path for f in ledger.snapshot().findings] == ["$.price"]


def test_an_arm_that_answers_otherwise_in_the_next_pass_is_noted() -> None:
    pipeline, _, _, kept = made()

    async def body() -> None:
        pipeline.start()
        for seq in range(4):
            entry = CaptureRef("a.har", seq % 2)
            await pipeline.put(
                trial(seq, candidate=OTHER if seq == 3 else b'{"price":10}', pass_index=seq // 2, capture=entry, entity="/items/0")
            )
        await pipeline.stop()

    run(body)
    assert [[(one.path, one.odd, one.changed) for one in bets.restless] for bets in kept.bets] == [
        [],
        [],
        [],
        [("$.price", Role.CANDIDATE, True)],
    ]


def test_an_exemplar_is_a_trial_that_a_finding_names() -> None:
    pipeline, ledger, _, kept = made()

    async def body() -> None:
        pipeline.start()
        for seq in range(12):
            await pipeline.put(trial(seq, candidate=OTHER if seq in {3, 5, 7, 9, 11} else b'{"price":10}'))
        await pipeline.stop()

    run(body)
    flagged = tuple(kept_trial.id for kept_trial, _, exemplar in kept.trials if exemplar)
    assert flagged == ledger.snapshot().findings[0].exemplars
    assert flagged[:2] == ("t3", "t5")
    assert len(flagged) < 5


def test_bets_are_folded_and_kept_in_sequence_order_whatever_order_trials_come_in() -> None:
    pipeline, ledger, _, kept = made()
    straight, straight_ledger, _, _ = made()

    async def body() -> None:
        pipeline.start()
        straight.start()
        for seq in (2, 0, 3, 1, 5, 4):
            await pipeline.put(trial(seq, candidate=OTHER))
        for seq in range(6):
            await straight.put(trial(seq, candidate=OTHER))
        await pipeline.stop()
        await straight.stop()

    run(body)
    assert kept.observed == [2, 0, 3, 1, 5, 4]
    assert [bets.seq for bets in kept.bets] == list(range(6))
    assert ledger.snapshot() == straight_ledger.snapshot()


def test_a_number_that_never_comes_is_an_error_and_no_verdict() -> None:
    pipeline, ledger, _, _ = made()

    async def body() -> None:
        pipeline.start()
        await pipeline.put(trial(0))
        await pipeline.put(trial(2))
        with pytest.raises(ShadowdiffError, match="number 1, which never came"):
            await pipeline.drain()
        with pytest.raises(ShadowdiffError):
            await pipeline.stop()

    run(body)
    assert ledger.folded == 1


def test_replay_waits_for_room_and_loses_nothing() -> None:
    gate = Gate()
    pipeline, ledger, tally, _ = made(observers=(gate,))
    total = COMPARE_QUEUE_MAX + 200

    async def fill() -> None:
        for seq in range(total):
            await pipeline.put(trial(seq))

    async def body() -> None:
        pipeline.start()
        filling = asyncio.create_task(fill())
        await until(lambda: pipeline.queued == COMPARE_QUEUE_MAX)
        assert not filling.done()
        gate.opened.set()
        await filling
        await pipeline.stop()

    run(body)
    assert ledger.folded == tally.totals().compared == total


def test_bytes_are_bounded_as_trials_are(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    pipeline, ledger, _, _ = made(observers=(gate,))
    monkeypatch.setattr(module, "COMPARE_QUEUE_BYTES_MAX", 3 * kept_bytes(trial(0)))

    async def fill() -> None:
        for seq in range(10):
            await pipeline.put(trial(seq))

    async def body() -> None:
        pipeline.start()
        filling = asyncio.create_task(fill())
        await asyncio.to_thread(gate.reached.wait, 60)
        await asyncio.sleep(0.02)
        assert not filling.done(), "it waits, since nothing was folded"
        assert pipeline.queued < 3, "bytes in the thread count as well"
        gate.opened.set()
        await filling
        await pipeline.drain()
        await pipeline.stop()

    run(body)
    assert ledger.folded == 10


@pytest.mark.parametrize("at", [0, 40])
def test_what_fails_in_the_thread_surfaces_at_once_and_everywhere(at: int) -> None:
    pipeline, _, tally, _ = made(observers=(Failing(at),))

    async def fill() -> None:
        for seq in range(2 * COMPARE_QUEUE_MAX):
            await pipeline.put(trial(seq))

    async def body() -> None:
        pipeline.start()
        with pytest.raises(ValueError, match="another kind"):
            await fill()
        for failing in (pipeline.drain, pipeline.stop):
            with pytest.raises(ValueError, match="another kind"):
                await failing()
        with pytest.raises(ValueError, match="another kind"):
            pipeline.check()

    run(body)
    assert tally.totals().compared <= at


def test_a_replay_that_waits_for_room_hears_of_the_failure() -> None:
    gate = Gate()
    pipeline, _, _, _ = made(observers=(gate, Failing()))

    async def fill() -> None:
        for seq in range(2 * COMPARE_QUEUE_MAX):
            await pipeline.put(trial(seq))

    async def body() -> None:
        pipeline.start()
        filling = asyncio.create_task(fill())
        await until(lambda: pipeline.queued == COMPARE_QUEUE_MAX)
        gate.opened.set()
        with pytest.raises(ValueError, match="another kind"):
            await filling
        with pytest.raises(ValueError, match="another kind"):
            await pipeline.stop()

    run(body)


class Raising:
    """A comparator of another package, with a defect."""

    name = "defect"
    version = 1
    priority = 100

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def matches(self, media_type: str) -> bool:
        return media_type == "application/json"

    def compare(self, left: BodyView, right: BodyView, rules: RuleUse) -> Iterator[Difference]:
        raise self._error


def test_a_comparator_that_raises_makes_the_trial_uncomparable_and_stops_nothing() -> None:
    pipeline, ledger, tally, kept = made(plan=build_plan((), (Raising(ZeroDivisionError()), *load_comparators())))

    async def body() -> None:
        pipeline.start()
        for seq in range(3):
            await pipeline.put(trial(seq, candidate=OTHER))
        await pipeline.stop()

    run(body)
    assert tally.totals().compared == 3
    found = [difference for _, comparison, _ in kept.trials for difference in comparison.stable_candidate]
    assert {difference.kind for difference in found} == {Kind.UNCOMPARABLE}
    assert all("defect" in difference.note and "ZeroDivisionError" in difference.note for difference in found)
    assert ledger.snapshot().uncomparable == 3


def test_a_comparator_cannot_choose_the_exit_code() -> None:
    pipeline, _, _, _ = made(plan=build_plan((), (Raising(SystemExit(0)), *load_comparators())))

    async def body() -> None:
        pipeline.start()
        await pipeline.put(trial(0, candidate=OTHER))
        with pytest.raises(ShadowdiffError, match="tried to end the program") as caught:
            await pipeline.stop()
        assert caught.value.exit_code == 5

    run(body)


def test_rules_that_had_an_effect_are_known() -> None:
    rules = (Rule(action=RuleAction.IGNORE, path="$.price"), Rule(action=RuleAction.IGNORE, path="$.nothing"))
    ledger, tally = Ledger(Policy()), Tally()
    fold = Fold(ledger)
    pipeline = Pipeline(plan=build_plan(rules, load_comparators()), fold=fold, tally=tally)

    async def body() -> None:
        pipeline.start()
        await pipeline.put(trial(0))
        await pipeline.drain()
        assert fold.rules_used == frozenset()
        await pipeline.put(trial(1, candidate=OTHER))
        await pipeline.stop()

    run(body)
    assert fold.rules_used == {0}
    assert tally.totals().diverged == 0
    assert ledger.snapshot().findings == ()


def test_errors_of_targets_are_outcomes_of_compared_trials() -> None:
    dead = Arm(role=Role.CANDIDATE, exchange=Exchange(request=get("/items/0"), error=TransportError(ErrorKind.TIMEOUT)))
    pipeline, _, tally, kept = made()

    async def body() -> None:
        pipeline.start()
        await pipeline.put(trial(0, candidate=OTHER))
        await pipeline.put(msgspec.structs.replace(trial(1), candidate=dead))
        await pipeline.stop()

    run(body)
    assert tally.totals().errors == {"candidate": 1}
    assert tally.totals().compared == 2
    assert kept_bytes(kept.trials[1][0]) == 2 * len(b'{"price":10}')


def test_values_in_stored_bets_are_hashed_with_the_runs_own_key() -> None:
    keys = []
    for secret in (b"a" * 32, b"b" * 32, b"a" * 32):
        pipeline, _, _, kept = made(secret=secret)

        async def body(pipeline: Pipeline = pipeline) -> None:
            pipeline.start()
            await pipeline.put(trial(0, candidate=OTHER))
            await pipeline.stop()

        run(body)
        keys.append([bet.key for bet in kept.bets[0].bets])
    assert keys[0] == keys[2] != keys[1]


def test_a_pipeline_that_was_never_started_ends_quietly() -> None:
    pipeline, _, tally, _ = made()

    async def body() -> None:
        pipeline.check()
        await pipeline.put(trial(0))
        assert pipeline.queued == 1
        await pipeline.drain()
        await pipeline.stop()

    run(body)
    assert tally.totals().compared == 0


def test_nothing_is_taken_after_the_end() -> None:
    pipeline, _, _, _ = made()

    async def body() -> None:
        pipeline.start()
        await pipeline.stop()
        with pytest.raises(ShadowdiffError, match="after the end"):
            await pipeline.put(trial(0))

    run(body)


def test_a_stop_that_is_cancelled_still_ends_the_thread() -> None:
    gate = Gate()
    pipeline, _, _, _ = made(observers=(gate,))

    async def body() -> None:
        pipeline.start()
        await pipeline.put(trial(0))
        await asyncio.to_thread(gate.reached.wait, 60)
        stopping = asyncio.create_task(pipeline.stop())
        await asyncio.sleep(0)
        threading.Timer(0.05, gate.opened.set).start()
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping

    run(body)


def test_work_that_hangs_is_given_up_as_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: object) -> None:
        release.wait(60)

    monkeypatch.setattr("harness.pipeline.compare_trial", hang)

    async def body() -> None:
        pipeline = Pipeline(plan=build_plan((), load_comparators()), fold=Fold(Ledger(Policy())), tally=Tally(), stall_s=0.2)
        pipeline.start()
        await pipeline.put(trial(0))
        with pytest.raises(ShadowdiffError, match="hangs"):
            await pipeline.stop()

    try:
        asyncio.run(body())
    finally:
        release.set()
