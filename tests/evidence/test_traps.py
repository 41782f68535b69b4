"""The traps that break a naive sequential test. Each shows what its handling prevents: with it all is well, without it not."""

import random

import pytest

from harness.core.labels import Control, Design, ReasonCode, VerdictState
from harness.core.values import Totals
from harness.evidence import ledger as ledger_module
from harness.evidence.gate import judge
from harness.evidence.keys import KeyMemory
from harness.evidence.latency import BlockRule
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.snapshot import Verdict
from tests.evidence.test_ledger import passes
from tests.sim import scenarios
from tests.sim.world import Answer, failed, fold_all

POLICY = Policy()
SEEDS = range(6)


@pytest.mark.parametrize("design", [Design.TWO_ARM, Design.THREE_ARM])
@pytest.mark.parametrize("by_value", [True, False])
def test_1_split_state_bets_once_per_key(design: Design, by_value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def alarms() -> int:
        return sum(scenarios.split_state(seed, POLICY, design=design, by_value=by_value, count=600).failed for seed in SEEDS)

    assert alarms() == 0
    monkeypatch.setattr(KeyMemory, "add", lambda self, key: True)
    assert alarms() >= 2


def frozen(*, fresh: bool) -> list[Answer]:
    """A time that was split by a race when its row was made, read again in every pass."""
    made = ("2024-01-01T00:00:01Z", "2024-01-01T00:00:01Z", "2024-01-01T00:00:02Z")
    return [Answer(entity="/1", entry=1, values={"$.made": made}, pass_index=index, fresh=fresh) for index in range(20)]


def test_1_repeats_of_a_read_confirm_the_read_only() -> None:
    ledger, wrongly_called_fresh = Ledger(POLICY), Ledger(POLICY)
    fold_all(ledger, frozen(fresh=False))
    fold_all(wrongly_called_fresh, frozen(fresh=True))
    assert not failed(ledger)
    assert failed(wrongly_called_fresh)


def test_2_bursts_make_one_bet_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def alarms() -> int:
        return sum(scenarios.latency_bursts(seed, POLICY, live=True, length_s=4.0, bursty=0.5, count=1500).failed for seed in range(8))

    assert alarms() == 0
    monkeypatch.setattr(ledger_module, "LIVE_BLOCK", BlockRule(1, 0.0))
    assert alarms() >= 2


def cold_start(*, marked: bool) -> list[Answer]:
    """A candidate that is slow until it is warm."""
    rng = random.Random(1)
    answers = []
    for i in range(900):
        a, b, c = (10 * rng.lognormvariate(0, 0.05) for _ in range(3))
        cold = i < 400
        answers.append(Answer(entity=f"/{i}", latency_ms=(a, b, c * (2 if cold else 1)), at_s=i * 0.06, warm_up=marked and cold))
    return answers


def test_3_warm_up_does_not_count() -> None:
    marked, unmarked = Ledger(POLICY), Ledger(POLICY)
    fold_all(marked, cold_start(marked=True))
    fold_all(unmarked, cold_start(marked=False))
    assert not failed(marked)
    assert failed(unmarked)


def test_3_a_stable_that_went_first_is_no_third_arm() -> None:
    """Live, stable reads the row before the shadows: it is never the odd one with the newer value, so 1/3 is not fair."""

    def alarms(design: Design) -> int:
        count = 0
        for seed in range(10):
            rng = random.Random(seed)
            ledger = Ledger(Policy(alpha=0.05), live=True)
            for i in range(500):
                old_new = ("1", "2", "1") if rng.random() < 0.5 else ("1", "1", "2")
                fold_all(ledger, [Answer(entity=f"/{i}", values={"$.x": old_new if i % 2 == 0 else ("1", "1", "1")}, design=design)], i)
            count += failed(ledger)
        return count

    assert alarms(Design.TWO_ARM) <= 2
    assert alarms(Design.THREE_ARM) >= 7


def verdict_of(answers: list[Answer], size: int) -> Verdict:
    ledger = Ledger(POLICY)
    fold_all(ledger, answers)
    return judge(ledger.snapshot(), Totals(requests=len(answers), compared=len(answers)), POLICY, replayable=size)


def test_4_no_control_is_said_and_never_passes() -> None:
    verdict = verdict_of(passes(2, size=40, wrong=(), control=Control.NONE, design=Design.NO_CONTROL), 40)
    assert verdict.state is VerdictState.INCONCLUSIVE
    assert verdict.reasons[0].code is ReasonCode.NO_CONTROL


def test_5_a_hanging_candidate_fails_and_does_not_vanish() -> None:
    late = (5.0, 5.0, 30_000.0)
    hanging = [
        Answer(entity=f"/{i}", entry=i, status=(200, 200, 0), latency_ms=late, at_s=i, fresh=True, pass_index=i // 12) for i in range(120)
    ]
    ledger = Ledger(POLICY)
    fold_all(ledger, hanging)
    snapshot = ledger.snapshot()
    assert failed(ledger)
    assert snapshot.findings[0].aspect == "transport"
    assert snapshot.endpoints[0].statuses["candidate"] == {"error": 120}
    assert snapshot.endpoints[0].latency["candidate"].p50_ms == pytest.approx(30_000, rel=0.02)


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, ReasonCode.VACUOUS_DATA), (401, ReasonCode.VACUOUS_AUTH), (503, ReasonCode.VACUOUS_ERRORS), (429, ReasonCode.VACUOUS_ERRORS)],
)
def test_6_and_8_answers_that_exercise_nothing_are_inconclusive(status: int, code: ReasonCode) -> None:
    for recorded in (200, None):
        verdict = verdict_of(passes(2, size=40, wrong=(), status=(status, status, status), recorded=recorded), 40)
        assert verdict.state is VerdictState.INCONCLUSIVE
        assert verdict.reasons[0].code is code
    assert verdict_of(passes(2, size=40, wrong=(), status=(status, status, status), recorded=status), 40).state is VerdictState.PASS


def test_traffic_that_was_not_reproduced_proves_nothing() -> None:
    answers = passes(2, size=40, wrong=(), recorded=200)
    lost = {3, 17, 29}
    changed = [
        Answer(
            entity=a.entity,
            entry=a.entry,
            pass_index=a.pass_index,
            fresh=True,
            recorded=200,
            status=(404,) * 3 if a.entry in lost else (200,) * 3,
        )
        for a in answers
    ]
    verdict = verdict_of(changed, 40)
    assert verdict.reasons[0].code is ReasonCode.TRAFFIC_NOT_REPRODUCED
    assert "6 of 80" in verdict.reasons[0].message
