"""A candidate that disagrees with itself is named; noise that all arms have is not; the odds are fair and the memory bounded."""

import random

import msgspec
import pytest

from harness.core.labels import Aspect, Control, Design, FindingClass, Kind, ReasonCode, Role, VerdictState
from harness.core.limits import RESTLESS_PLACES_MAX
from harness.core.values import Totals
from harness.evidence import determinism
from harness.evidence.bets import ArmOutcome, TrialBets, decode_bets, encode_bets
from harness.evidence.determinism import DeterminismBook, path_of
from harness.evidence.gate import judge
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.restless import Restless
from harness.evidence.wealth import Wealth
from harness.evidence.weights import FAMILY_WEIGHTS, POOL_WEIGHTS, Family, Pool

ENDPOINT = "GET /x"


def bets(seq: int, pass_index: int, *found: Restless, request: int = 0, design: Design = Design.THREE_ARM) -> TrialBets:
    well = ArmOutcome(200, 1.0)
    return TrialBets(
        seq=seq,
        trial=f"t{seq}",
        endpoint=ENDPOINT,
        design=design,
        control=Control.SECONDARY,
        pass_index=pass_index,
        fresh=True,
        warm_up=False,
        tainted=False,
        repeat=False,
        request=request,
        captured=True,
        session=0,
        started_ns=0,
        stable=well,
        secondary=well,
        candidate=well,
        restless=found,
    )


def odd(role: Role, *, changed: bool = True, path: str = "$.a") -> Restless:
    return Restless(Aspect.BODY, path, Kind.VALUE, role, changed=changed)


def played(passes: int, *found: Restless, requests: int = 3) -> Ledger:
    ledger = Ledger(Policy(), endpoints=(ENDPOINT,))
    for pass_index in range(passes):
        for request in range(requests):
            ledger.fold(bets(ledger.folded, pass_index, *(found if pass_index % 2 else ()), request=request))
    return ledger


@pytest.mark.parametrize("changed", [True, False], ids=["unsteady", "frozen"])
def test_a_candidate_that_disagrees_with_itself_fails_and_is_named(changed: bool) -> None:
    ledger = played(20, odd(Role.CANDIDATE, changed=changed))
    snapshot = ledger.snapshot()
    (finding,) = snapshot.findings
    assert (finding.aspect, finding.path, finding.finding_class) == (Aspect.DETERMINISM, "$.a", FindingClass.DIVERGENCE)
    assert (finding.diverged, finding.still) == (30, 0 if changed else 30)
    assert finding.decided_pass is not None
    assert finding.log10_e >= finding.log10_threshold
    verdict = judge(snapshot, Totals(requests=60, compared=60), Policy(), replayable=3)
    assert verdict.state is VerdictState.FAIL
    (said,) = (one for one in verdict.reasons if one.finding == finding.id)
    assert said.code is ReasonCode.DIVERGENCE
    assert ("alike each time" in said.message) is not changed
    assert [pool.decided_at is not None for pool in snapshot.pools if pool.name == "determinism"] == [True]


def test_an_instance_of_stable_that_is_the_odd_one_is_no_evidence_against_the_candidate() -> None:
    snapshot = played(20, odd(Role.SECONDARY)).snapshot()
    assert (snapshot.findings, snapshot.proven_at) == ((), None)


def test_a_pass_is_one_game_however_many_requests_it_has() -> None:
    few, many = (played(2, odd(Role.CANDIDATE), requests=requests) for requests in (2, 200))
    stakes = [next(iter(ledger.determinism.places.values())).stake.log_e for ledger in (few, many)]
    assert stakes[1] <= 1.1, "at most threefold"
    assert stakes[0] <= stakes[1]


def test_what_is_not_proven_keeps_nothing_from_passing() -> None:
    snapshot = played(4, odd(Role.CANDIDATE)).snapshot()
    assert (snapshot.findings, snapshot.noise, snapshot.open_questions) == ((), (), 0)


def test_chance_rarely_fails() -> None:
    """Each arm flaps alike, at alpha 20 % so that alarms are seen at all: at most 17 of 30 with chance 1e-6."""

    def run(seed: int) -> bool:
        rng = random.Random(seed)
        ledger = Ledger(Policy(alpha=0.2), endpoints=(ENDPOINT,))
        for pass_index in range(40):
            for request in range(5):
                changed = {role for role in Role if rng.random() < 0.3}
                found: list[Restless] = []
                if pass_index % 2 and len(changed) in (1, 2):
                    one = changed if len(changed) == 1 else set(Role) - changed
                    found = [odd(one.pop(), changed=len(changed) == 1, path=f"$.f{rng.randrange(4)}")]
                ledger.fold(bets(ledger.folded, pass_index, *found, request=request))
        return ledger.snapshot().proven_at is not None

    assert sum(run(seed) for seed in range(30)) <= 17


def test_the_finding_that_the_place_differs_at_all_is_its_root() -> None:
    assert path_of(Aspect.BODY, "$.a") == "$.a"
    assert path_of(Aspect.HEADERS, "x-a") == "headers x-a"


def test_beyond_the_bound_places_are_pooled_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RESTLESS_PLACES_MAX >= 1000
    monkeypatch.setattr(determinism, "RESTLESS_PLACES_MAX", 2)
    book, wealth = DeterminismBook(), Wealth(0.01)
    for index in range(5):
        found = [odd(Role.CANDIDATE, path=f"$.f{index}")]
        book.fold(ENDPOINT, found, share=1.0, design=Design.THREE_ARM, spell=None, wealth=wealth)
    assert (len(book.places), book.overflow, book.pool.bets) == (2, 3, 5)


def test_arms_that_disagree_with_each_other_about_it_leave_the_pool_alone() -> None:
    book, wealth = DeterminismBook(), Wealth(0.01)
    found = [odd(Role.CANDIDATE), odd(Role.STABLE, path="$.b")]
    book.fold(ENDPOINT, found, share=1.0, design=Design.THREE_ARM, spell=None, wealth=wealth)
    assert book.pool.bets == 0


def test_weights_add_up_to_one_and_pools_to_half_of_it() -> None:
    assert sum(FAMILY_WEIGHTS.values()) == pytest.approx(1.0)
    assert POOL_WEIGHTS[Pool.DETERMINISM] == pytest.approx(FAMILY_WEIGHTS[Family.DETERMINISM] / 2)
    assert sum(POOL_WEIGHTS.values()) <= 0.5 + 1e-12


def test_it_is_stored_and_read_again() -> None:
    one = bets(0, 1, odd(Role.CANDIDATE, changed=False))
    assert decode_bets(encode_bets(one)) == one
    assert msgspec.structs.asdict(one.restless[0])["changed"] is False


def test_the_first_pass_of_a_pair_is_looked_at_without_it() -> None:
    ledger = Ledger(Policy(), endpoints=(ENDPOINT,))
    for pass_index in range(4):
        ledger.fold(bets(pass_index, pass_index, *([odd(Role.CANDIDATE)] if pass_index % 2 else [])))
        assert ledger.wealth.pair_open is (pass_index % 2 == 0)
    ledger = played(21, odd(Role.CANDIDATE))
    assert ledger.wealth.pair_open, "the 21st pass is the first of a pair"
    others = Ledger(Policy()).wealth
    others.pair_open = True
    sums = [wealth._sum(latency=False, tails=False) for wealth in (ledger.wealth, others)]
    assert sums[0] == pytest.approx(sums[1]), "what was won on determinism is in no sum now"
    ledger.wealth.pair_open = False
    assert ledger.wealth._sum(latency=False, tails=False) > 100.0
    unpaired = Ledger(Policy(), endpoints=(ENDPOINT,))
    unpaired.fold(msgspec.structs.replace(bets(0, 0), fresh=False))
    assert not unpaired.wealth.pair_open
