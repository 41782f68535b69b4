"""Accepted findings of style, sequence, mix, latency and determinism: as they were they have no say, and beyond it they fail."""

import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from harness.core.labels import Aspect, Design, FindingClass, Kind, ReasonCode, Role, VerdictState
from harness.core.values import Totals
from harness.evidence.determinism import path_of
from harness.evidence.expected import ExpectedChange, ExpectedChanges, ExpectedFacts
from harness.evidence.findings import finding_id
from harness.evidence.gate import judge
from harness.evidence.ledger import Ledger
from harness.evidence.policy import LatencyBudget, Policy
from harness.evidence.restless import Restless
from harness.evidence.seen import Relation, Seen, seen_of
from harness.evidence.snapshot import Evidence, Snapshot, Verdict
from tests.evidence.test_determinism import ENDPOINT as DETERMINISM_ENDPOINT
from tests.evidence.test_determinism import bets as determinism_bets
from tests.evidence.test_determinism import odd
from tests.sim.world import Answer, Three, bets

ENDPOINT = Answer(entity="/").endpoint
Draw = Callable[[random.Random, int], Three]


def entry(found: Evidence, **more: Any) -> ExpectedChange:
    """What `accept` would write of a finding."""
    assert found.noted is not None
    head = {name: getattr(found, name) for name in ("id", "endpoint", "aspect", "path", "kind")}
    seen = seen_of(found.noted, ratio=found.aspect is Aspect.LATENCY)
    return ExpectedChange(**head, reason="wanted", by="Ann", expires="2031-12-31", seen=more.pop("seen", seen), **more)


def verdict(snapshot: Snapshot, *changes: ExpectedChange) -> Verdict:
    facts = ExpectedFacts(applied=changes)
    return judge(snapshot, Totals(requests=snapshot.seq, compared=snapshot.seq), Policy(preset="rollout"), expected=facts)


def codes(of: Verdict) -> list[ReasonCode]:
    return [reason.code for reason in of.reasons]


def noisy(draw: Draw, *changes: ExpectedChange, seed: int = 1, trials: int = 800, fresh: int = 0) -> Ledger:
    """A stream, or so many passes from fresh state."""
    rng, ledger = random.Random(seed), Ledger(Policy(preset="rollout"), accepted=ExpectedChanges(changes))
    for pass_index in range(max(1, fresh)):
        for number in range(trials):
            answer = Answer(
                entity=f"/items/{number}",
                values={"$.x": draw(rng, number)},
                design=Design.THREE_ARM,
                at_s=number * 0.02,
                entry=number if fresh else None,
                pass_index=pass_index,
                fresh=bool(fresh),
            )
            ledger.fold(bets(ledger.folded, answer))
    return ledger


def hex_digits(rng: random.Random, digits: int) -> str:
    return f"{rng.getrandbits(4 * digits):0{digits}x}"


def longer(share: float) -> Draw:
    """The candidate's identifiers are longer, in a share of the answers."""
    return lambda rng, _: (hex_digits(rng, 16), hex_digits(rng, 16), hex_digits(rng, 24 if rng.random() < share else 16))


def counted(rng: random.Random, trial: int) -> Three:
    """The candidate counts its identifiers up."""
    drawn = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(2)]
    return drawn[0], drawn[1], str(uuid.UUID(int=0x6F9619FF8B864D11B42D00CF40000000 + trial))


def mixed(share: float) -> Draw:
    return lambda rng, _: (rng.choice("ab"), rng.choice("ab"), "a" if rng.random() < share else "b")


@pytest.mark.parametrize(("draw", "kind"), [(longer(0.3), Kind.STYLE), (counted, Kind.SEQUENCE), (mixed(0.85), Kind.MIX)])
@pytest.mark.parametrize("fresh", [0, 20])
def test_style_sequence_and_mix_that_were_accepted_have_no_say_and_are_listed(draw: Draw, kind: Kind, fresh: int) -> None:
    size = 60 if fresh else 1500
    before = noisy(draw, trials=size, fresh=fresh).snapshot()
    changes = [entry(found) for found in before.findings if found.finding_class is FindingClass.DIVERGENCE]
    assert before.failed_at is not None
    assert kind in {change.kind for change in changes}
    after = noisy(draw, *changes, seed=2, trials=size, fresh=fresh).snapshot()
    assert after.failed_at is None
    (found,) = (found for found in after.findings if found.kind is kind)
    assert found.finding_class is FindingClass.EXPECTED
    assert found.expected
    said = verdict(after, *changes)
    assert said.state is not VerdictState.FAIL
    assert ReasonCode.EXPECTED in codes(said)


@pytest.mark.parametrize("fresh", [0, 20])
def test_a_style_that_shows_far_more_often_than_it_was_accepted_fails(fresh: int) -> None:
    size = 60 if fresh else 1500
    change = entry(next(f for f in noisy(longer(0.2), trials=size, fresh=fresh).snapshot().findings if f.kind is Kind.STYLE))
    assert 0.1 < change.seen.rate_high < 0.7
    same = noisy(longer(0.2), change, seed=3, trials=size, fresh=fresh).snapshot()
    assert verdict(same, change).state is not VerdictState.FAIL
    more = noisy(longer(1.0), change, seed=3, trials=size, fresh=fresh).snapshot()
    said = verdict(more, change)
    assert (said.state, codes(said)[0]) == (VerdictState.FAIL, ReasonCode.ACCEPTED_BUT_CHANGED)
    assert more.failed_at is None, "its evidence is no part of the gate's sum"


def test_evidence_that_grows_beyond_the_accepted_rate_keeps_the_passes_going() -> None:
    change = entry(next(f for f in noisy(longer(0.1), trials=60, fresh=20).snapshot().findings if f.kind is Kind.STYLE))
    open_questions = [noisy(longer(1.0), change, trials=60, fresh=passes).snapshot().open_questions for passes in (2, 4, 20)]
    assert open_questions[1]
    assert open_questions[-1] == 0


def slow(
    factor: float, *changes: ExpectedChange, tail: float = 0.0, seed: int = 1, trials: int = 2000, policy: Policy | None = None
) -> Snapshot:
    rng = random.Random(seed)
    ledger = Ledger(policy or Policy(), endpoints=(ENDPOINT,), accepted=ExpectedChanges(changes))
    for number in range(trials):
        base = [20.0 * rng.lognormvariate(0, 0.1) for _ in range(3)]
        base[2] *= factor * (5.0 if rng.random() < tail else 1.0)
        ledger.fold(bets(number, Answer(entity=f"/items/{number}", latency_ms=(base[0], base[1], base[2]), at_s=number * 0.05)))
    return ledger.snapshot()


def of_median(snapshot: Snapshot) -> Evidence:
    return next(found for found in snapshot.findings if found.path == "p50")


def test_a_slow_down_that_was_accepted_is_its_ceiling() -> None:
    before = slow(1.3)
    assert before.failed_at is not None
    change = entry(of_median(before))
    assert change.seen.relation is Relation.RATIO
    assert change.seen.median == pytest.approx(1.3, rel=0.03)
    assert change.seen.low is not None
    assert change.seen.high is not None
    assert 1.2 < change.seen.low < 1.3 < change.seen.high < 1.4
    same = slow(1.3, change, seed=2)
    assert same.failed_at is None
    assert of_median(same).finding_class is FindingClass.EXPECTED
    assert ReasonCode.EXPECTED in codes(verdict(same, change))
    slower = slow(1.8, change, seed=2)
    said = verdict(slower, change)
    assert (said.state, codes(said)[0]) == (VerdictState.FAIL, ReasonCode.ACCEPTED_BUT_CHANGED)
    assert of_median(slower).finding_class is FindingClass.DIVERGENCE


def test_a_candidate_as_fast_as_stable_does_not_fail_by_an_accepted_slow_down() -> None:
    assert slow(1.0, entry(of_median(slow(1.3)))).failed_at is None


def test_a_slow_down_that_must_happen_and_did_not_fails() -> None:
    change = entry(of_median(slow(1.3)), must_change=True)
    assert codes(verdict(slow(1.3, change, seed=2), change))[0] is not ReasonCode.MUST_CHANGE
    assert ReasonCode.MUST_CHANGE in codes(verdict(slow(1.0, change), change))
    assert ReasonCode.MUST_CHANGE_OPEN in codes(verdict(slow(1.0, change, trials=40), change))


def test_tails_that_were_accepted_are_held_to_their_share() -> None:
    before = slow(1.0, tail=0.1, trials=3000)
    changes = [entry(found) for found in before.findings if found.aspect is Aspect.LATENCY and found.path.startswith("tail")]
    assert before.failed_at is not None
    assert changes
    assert all(0.09 < change.seen.rate_high < 0.3 for change in changes)
    same = slow(1.0, *changes, tail=0.1, seed=2, trials=3000)
    assert {found.finding_class for found in same.findings if found.id in {change.id for change in changes}} == {FindingClass.EXPECTED}
    assert verdict(same, *changes).state is not VerdictState.FAIL
    more = slow(1.0, *changes, tail=0.45, seed=2, trials=3000)
    said = verdict(more, *changes)
    assert said.state is VerdictState.FAIL
    assert ReasonCode.ACCEPTED_BUT_CHANGED in codes(said)


def test_an_accepted_median_leaves_a_budget_of_the_policy_alone() -> None:
    policy = Policy(latency_budgets=(LatencyBudget(quantile=0.9, max_ms=22.0),))
    change = entry(of_median(slow(1.5)))
    found = slow(1.5, change, policy=policy)
    assert found.failed_at is not None
    assert any(one.path.startswith("budget") for one in found.findings)


def repeated(passes: int, *changes: ExpectedChange, share: float = 1.0, changed: bool = True, requests: int = 10) -> Snapshot:
    ledger = Ledger(Policy(), endpoints=(DETERMINISM_ENDPOINT,), accepted=ExpectedChanges(changes))
    for pass_index in range(passes):
        for request in range(requests):
            shown: tuple[Restless, ...] = (odd(Role.CANDIDATE, changed=changed),) if request < share * requests else ()
            ledger.fold(determinism_bets(ledger.folded, pass_index, *(shown if pass_index % 2 else ()), request=request))
    return ledger.snapshot()


def test_a_candidate_that_disagrees_with_itself_is_held_to_how_often_it_did() -> None:
    before = repeated(24, share=0.1)
    change = entry(next(found for found in before.findings if found.aspect is Aspect.DETERMINISM))
    assert before.failed_at is not None
    assert change.path == path_of(Aspect.BODY, "$.a")
    assert change.seen.rate_high < 0.5
    same = repeated(24, change, share=0.1)
    (found,) = same.findings
    assert (same.failed_at, found.finding_class) == (None, FindingClass.EXPECTED)
    assert verdict(same, change).state is not VerdictState.FAIL
    for more in (repeated(24, change, share=1.0), repeated(24, change, share=1.0, changed=False)):
        assert more.failed_at is None
        assert codes(verdict(more, change))[0] is ReasonCode.ACCEPTED_BUT_CHANGED


def test_what_was_not_found_again_is_open_where_it_must_change() -> None:
    change = entry(next(iter(repeated(24, share=0.1).findings)), must_change=True)
    assert ReasonCode.MUST_CHANGE_OPEN in codes(verdict(repeated(4, change, share=0.0), change))
    assert ReasonCode.MUST_CHANGE_OPEN not in codes(verdict(repeated(24, change, share=0.1), change))


def test_an_entry_without_a_rate_is_held_to_none() -> None:
    name = finding_id(ENDPOINT, Aspect.BODY, "$.x", Kind.STYLE)
    head: dict[str, Any] = {"id": name, "endpoint": ENDPOINT, "aspect": Aspect.BODY, "path": "$.x", "kind": Kind.STYLE}
    change = ExpectedChange(**head, reason="wanted", by="Ann", expires="2031-12-31", seen=Seen())
    assert verdict(noisy(longer(1.0), change).snapshot(), change).state is not VerdictState.FAIL
