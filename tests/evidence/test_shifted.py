"""A shift of noisy values that was accepted: as it was it has no say, another one fails, and the games stay fair."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Aspect, Design, FindingClass, Kind, ReasonCode, Role
from harness.evidence.accepted import code_of
from harness.evidence.expected import ExpectedChange, ExpectedChanges, ExpectedFacts, set_apart
from harness.evidence.findings import finding_id
from harness.evidence.ledger import Ledger
from harness.evidence.noise_bets import NOBODY, NoiseBet
from harness.evidence.policy import Policy
from harness.evidence.seen import Relation, Seen, seen_of
from harness.evidence.shifted import without_shifts
from tests.sim.world import Answer, Three, bets, compared

ENDPOINT = Answer(entity="/").endpoint
Draw = Callable[[random.Random, int], Three]


def entry(kind: Kind, seen: Seen, path: str = "$.x", **more: Any) -> ExpectedChange:
    name = finding_id(ENDPOINT, Aspect.BODY, path, kind)
    head: dict[str, Any] = {"id": name, "endpoint": ENDPOINT, "aspect": Aspect.BODY, "path": path, "kind": kind}
    return ExpectedChange(**head, reason="wanted", by="Ann", expires="2031-12-31", seen=seen, **more)


def shift(low: float, high: float) -> Seen:
    return Seen(relation=Relation.DIFFERENCE, low=low, high=high)


def run(draw: Draw, design: Design, *changes: ExpectedChange, seed: int = 1, trials: int = 600, alpha: float = 0.01) -> Ledger:
    rng, applied = random.Random(seed), ExpectedChanges(changes)
    ledger = Ledger(Policy(preset="rollout", alpha=alpha), accepted=applied)
    for number in range(trials):
        answer = Answer(entity=f"/items/{number}", values={"$.x": draw(rng, number)}, design=design, at_s=number * 0.1)
        ledger.fold(set_apart(bets(number, answer), compared(number, answer)[1], applied))
        if ledger.failed():
            break
    return ledger


def times(hours: float) -> Draw:
    """A time zone that is so many hours off."""

    def at(rng: random.Random, trial: int, off: float) -> str:
        return datetime.fromtimestamp(1.7e9 + trial + rng.random() + off, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]

    return lambda rng, trial: (at(rng, trial, 0.0), at(rng, trial, 0.0), at(rng, trial, hours * 3600.0))


def numbers(off: float, spread: float = 1.0) -> Draw:
    return lambda rng, _: (rng.gauss(10, spread), rng.gauss(10, spread), rng.gauss(10 + off, spread))


def as_seen(ledger: Ledger) -> tuple[ExpectedChange, ...]:
    """What `accept` would write of all findings of a run."""
    return tuple(entry(one.kind, seen_of(one.noted)) for one in ledger.snapshot().findings if one.noted is not None)


DESIGNS = pytest.mark.parametrize("design", [Design.TWO_ARM, Design.THREE_ARM])
FAULTS = {"time zone": times(9), "bias": numbers(0.8), "far off": numbers(30.0)}


@DESIGNS
@pytest.mark.parametrize("fault", FAULTS)
def test_a_shift_that_was_accepted_as_it_was_seen_does_not_fail_the_next_run(fault: str, design: Design) -> None:
    before = run(FAULTS[fault], design, trials=6000)
    assert before.failed() is not None
    changes = as_seen(before)
    assert changes
    after = run(FAULTS[fault], design, *changes, seed=2, trials=6000)
    assert after.failed() is None
    findings = after.snapshot().findings
    assert findings
    assert all(one.finding_class is FindingClass.EXPECTED for one in findings)
    assert all(one.expected for one in findings)


@DESIGNS
@pytest.mark.parametrize(
    ("kind", "seen", "now"),
    [
        (Kind.DISTANCE, shift(9 * 3600 - 2, 9 * 3600 + 2), times(-9)),
        (Kind.DISTANCE, shift(9 * 3600 - 2, 9 * 3600 + 2), times(10)),
        (Kind.BIAS, shift(0.2, 1.0), numbers(3.0)),
        (Kind.BIAS, shift(0.2, 1.0), numbers(-1.5)),
    ],
)
def test_another_shift_than_the_accepted_one_fails_as_accepted_but_changed(kind: Kind, seen: Seen, now: Draw, design: Design) -> None:
    change = entry(kind, seen)
    ledger = run(now, design, change, trials=5000)
    assert ledger.failed() is not None
    found = [one for one in ledger.snapshot().findings if one.finding_class is FindingClass.DIVERGENCE]
    assert found
    assert len({one.id for one in ledger.snapshot().findings}) == len(ledger.snapshot().findings)
    assert {code_of(one, ExpectedFacts(applied=(change,))) for one in found} == {ReasonCode.ACCEPTED_BUT_CHANGED}


@DESIGNS
@pytest.mark.parametrize("true", [0.0, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_the_games_stay_fair_for_every_shift_that_was_accepted_and_for_none(true: float, spread: float, design: Design) -> None:
    """Watched at an alpha of 50 %: no more alarms than that, by far."""
    changes = (entry(Kind.DISTANCE, shift(0.4, 4.1)), entry(Kind.BIAS, shift(0.4, 4.1)))
    alarms = sum(run(numbers(true, spread), design, *changes, seed=seed, trials=150, alpha=0.5).failed() is not None for seed in range(12))
    assert alarms <= 6


@pytest.mark.parametrize("jitter", [1.0, 5.0, 60.0])
def test_late_answers_of_one_arm_are_no_evidence_at_an_accepted_shift(jitter: float) -> None:
    """An arm that is late now and then, by about what the entry leaves open, is the candidate as often as another."""

    def late(rng: random.Random, _: int) -> Three:
        slow = rng.randrange(3)
        return tuple(rng.random() * 0.01 + (jitter if arm == slow else 0.0) + (100.0 if arm == 2 else 0.0) for arm in range(3))  # type: ignore[return-value]

    changes = (entry(Kind.DISTANCE, shift(97, 103)), entry(Kind.BIAS, shift(97, 103)))
    for seed in range(4):
        assert run(late, Design.THREE_ARM, *changes, seed=seed).failed() is None


OFFS = st.tuples(st.floats(-50, 50), st.floats(-50, 50))
ENDS = st.tuples(st.floats(-60, 60), st.floats(-60, 60))


@given(OFFS, ENDS, st.floats(0, 1), st.sampled_from([Design.TWO_ARM, Design.THREE_ARM]))
def test_whoever_is_named_is_so_under_the_true_shift(
    offs: tuple[float, float], ends: tuple[float, float], share: float, design: Design
) -> None:
    """The property that keeps the error rate: the candidate is named only where it is named under every shift of the range, and under
    none; and where another arm is named under none, it is named here."""
    low, high = sorted(ends)

    def named(off: float, seen: Seen) -> NoiseBet:
        bet = NoiseBet(Aspect.BODY, "$.x", 1, far=2, ranks=(0, 1, 2), off=off, off_control=offs[0])
        return without_shifts((bet,), design, {(Aspect.BODY, "$.x", kind): seen for kind in (Kind.DISTANCE, Kind.BIAS)})[0][0]

    kept = named(offs[1], shift(low, high))
    for true in (0.0, low, high, low + share * (high - low)):
        under = named(offs[1] - true, shift(0.0, 0.0))
        assert kept.far != 2 or under.far == 2
        assert kept.ranks is not None
        assert under.ranks is not None
        assert kept.ranks_low is not None
        assert under.ranks_low is not None
        assert kept.ranks[2] != 2 or under.ranks[2] == 2
        assert kept.ranks_low[2] != 0 or under.ranks_low[2] == 0
        if true in {0.0, low, high}:
            assert under.far in {2, NOBODY} or kept.far in {0, 1}


def test_what_was_as_accepted_is_counted() -> None:
    bet = NoiseBet(Aspect.BODY, "$.x", 7, far=2, ranks=(0, 1, 2), off=100.0, off_control=1.0)
    left, counted = without_shifts((bet,), Design.THREE_ARM, {(Aspect.BODY, "$.x", Kind.DISTANCE): shift(99, 101)})
    assert left[0].far != 2
    assert [(one.kind, one.odd) for one in counted] == [(Kind.DISTANCE, Role.CANDIDATE)]
    assert without_shifts((bet,), Design.THREE_ARM, {(Aspect.BODY, "$.y", Kind.DISTANCE): shift(99, 101)}) == ((bet,), ())
