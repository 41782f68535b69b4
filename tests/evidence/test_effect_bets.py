"""What effects are worth as evidence: compared by the real comparator, bet on, and folded."""

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.plan import build_plan
from comparators.trial import compare_trial
from harness.core.labels import Aspect, Design, EffectsSeen, Kind, Role
from harness.core.values import Arm, Effect, Trial
from harness.evidence import bets as bets_module
from harness.evidence.bets import Bet, bets_of
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.weights import Pool
from tests.evidence.build import arm, trial

PLAN = build_plan((), ())
ORDERED = build_plan((), (), ("*",))
POLICY = Policy()
ROLES = (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)
CHARGE = "POST payments.test/charge"
AT_CHARGE = "$['http POST payments.test/charge']"
Effects = tuple[Effect, ...]
Three = tuple[Effects, Effects, Effects]


def effect(document: Any, operation: str = CHARGE) -> Effect:
    return Effect(collector="http", operation=operation, document=json.dumps(document).encode())


def watched(effects: Three, **fields: Any) -> Trial:
    """A trial whose arms (stable, secondary, candidate) answered alike and did this."""

    def doing(index: int) -> Arm:
        return msgspec.structs.replace(arm(ROLES[index]), effects=effects[index])

    seen = {"effects_seen": EffectsSeen.COMPLETE, "stable": doing(0), "secondary": doing(1), "candidate": doing(2)}
    return msgspec.structs.replace(trial(**fields), **seen)


def bets(effects: Three, **fields: Any) -> tuple[Bet, ...]:
    one = watched(effects, **fields)
    return bets_of(one, compare_trial(one, ORDERED)).bets


A = effect({"amount": 5})


@pytest.mark.parametrize(
    ("times", "odd", "kind"),
    [
        ((1, 1, 2), Role.CANDIDATE, Kind.DUPLICATED),
        ((2, 2, 1), Role.CANDIDATE, Kind.FEWER),
        ((1, 2, 1), Role.SECONDARY, Kind.DUPLICATED),
        ((2, 1, 2), Role.SECONDARY, Kind.FEWER),
        ((2, 1, 1), Role.STABLE, Kind.DUPLICATED),
        ((1, 2, 2), Role.STABLE, Kind.FEWER),
        ((1, 1, 0), Role.CANDIDATE, Kind.MISSING),
        ((0, 0, 2), Role.CANDIDATE, Kind.EXTRA),
        ((0, 1, 1), Role.STABLE, Kind.MISSING),
    ],
)
def test_how_often_is_seen_from_the_odd_one(times: tuple[int, int, int], odd: Role, kind: Kind) -> None:
    (bet,) = bets(((A,) * times[0], (A,) * times[1], (A,) * times[2]))
    assert (bet.aspect, bet.path, bet.kind, bet.odd) == (Aspect.EFFECTS, AT_CHARGE, kind, odd)


@pytest.mark.parametrize("times", [(0, 1, 2), (1, 2, 3), (3, 1, 0), (2, 0, 1)])
def test_where_all_differ_nobody_is_odd(times: tuple[int, int, int]) -> None:
    assert {bet.odd for bet in bets(((A,) * times[0], (A,) * times[1], (A,) * times[2]))} == {None}


ONE = st.builds(
    effect,
    st.fixed_dictionaries({"n": st.integers(0, 1), "id": st.sampled_from([f"3f2504e0-4f89-41d3-9a0c-0305e82c330{i}" for i in range(4)])}),
    st.sampled_from([CHARGE, "GET rates.test/today"]),
)
ARMS = st.lists(ONE, max_size=3).map(tuple)


@given(st.tuples(ARMS, ARMS, ARMS), st.permutations(range(3)))
def test_permuting_the_arms_permutes_the_odd_one(effects: Three, order: list[int]) -> None:
    moved = (effects[order[0]], effects[order[1]], effects[order[2]])
    before = {(b.path, b.kind, b.odd, b.key) for b in bets(effects) if b.odd is not None}
    after = {(b.path, b.kind, ROLES[order[ROLES.index(b.odd)]], b.key) for b in bets(moved) if b.odd is not None}
    assert before == after


@given(st.tuples(ARMS, ARMS, ARMS))
def test_swapping_candidate_and_secondary_turns_a_two_arm_bet_round(effects: Three) -> None:
    before = {(b.path, b.kind, b.d, b.key) for b in bets(effects, design=Design.TWO_ARM) if b.d}
    swapped = (effects[0], effects[2], effects[1])
    assert before == {(b.path, b.kind, -b.d, b.key) for b in bets(swapped, design=Design.TWO_ARM) if b.d}


# Once per key


def key(effects: Three, **fields: Any) -> int:
    (bet,) = bets(effects, **fields)
    return bet.key


TWICE: Three = ((A,), (A,), (A, A))
DEARER: Three = ((A,), (A,), (effect({"amount": 6}),))
READ = effect({}, "GET rates.test/today")
ALSO_READS: Three = ((), (), (READ,))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_done_again_in_another_trial_is_new(method: str) -> None:
    assert key(TWICE, method=method, seq=1) != key(TWICE, method=method, seq=2)
    assert key(TWICE, method=method, seq=1) == key(TWICE, method=method, seq=1)


def test_a_read_that_a_write_gives_rise_to_is_new() -> None:
    assert key(ALSO_READS, method="POST", seq=1) != key(ALSO_READS, method="POST", seq=2)
    assert key(ALSO_READS, seq=1) == key(ALSO_READS, seq=2)
    assert key(ALSO_READS, seq=1) != key(ALSO_READS, seq=2, entity="/2")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_value_that_something_is_done_with_may_come_from_stored_state(method: str) -> None:
    assert key(DEARER, method=method, seq=1) == key(DEARER, method=method, seq=2)
    assert key(DEARER, method=method, seq=1) != key(DEARER, method=method, seq=2, entity="/2")
    fresh = [key(DEARER, method=method, seq=i, pass_index=i, fresh=True) for i in (1, 2)]
    assert fresh[0] != fresh[1]


def test_the_order_is_new_in_each_trial() -> None:
    other: Three = ((A, READ), (A, READ), (READ, A))
    assert key(other, seq=1) != key(other, seq=2)


# Runs


def run(seed: int, doing: Callable[[random.Random, int], Three], *, design: Design, count: int = 200, method: str = "POST") -> Ledger:
    """One run of trials one after the other, on ten things."""
    rng = random.Random(seed)
    ledger = Ledger(POLICY, endpoints=("GET /{int}",), design=design)
    for seq in range(count):
        one = watched(doing(rng, seq), seq=seq, entity=f"/{seq % 10}", method=method, design=design)
        ledger.fold(bets_of(one, compare_trial(one, PLAN)))
    return ledger


def failed(ledger: Ledger) -> bool:
    return ledger.failed() is not None


def noisy(rates: tuple[float, float, float]) -> Callable[[random.Random, int], Three]:
    """Each arm charges with a key of its own, and now and then does so again, or does something else as well."""

    def doing(rng: random.Random, seq: int) -> Three:
        def one(rate: float) -> Effects:
            charge = effect({"amount": 5, "key": f"{rng.getrandbits(128):032x}"})
            if rng.random() >= rate:
                return (charge,)
            return charge, rng.choice((charge, effect({"n": seq % 3}, "POST audit.test/log"), READ))

        return one(rates[0]), one(rates[1]), one(rates[2])

    return doing


@pytest.mark.parametrize("design", [Design.THREE_ARM, Design.TWO_ARM])
def test_noise_that_all_arms_have_alike_is_no_alarm(design: Design) -> None:
    """At alpha 1 % an alarm in twenty runs is unlikely; the seeds are fixed, so it is always the same runs."""
    assert sum(failed(run(seed, noisy((0.3, 0.3, 0.3)), design=design)) for seed in range(20)) == 0


@pytest.mark.parametrize("design", [Design.THREE_ARM, Design.TWO_ARM])
def test_more_than_the_noise_is_found(design: Design) -> None:
    assert all(failed(run(seed, noisy((0.1, 0.1, 0.7)), design=design)) for seed in range(3))


@pytest.mark.parametrize("design", [Design.THREE_ARM, Design.TWO_ARM])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_same_charge_twice_again_and_again_is_found(design: Design, method: str) -> None:
    """On one URL, with the same values each time."""

    def doing(rng: random.Random, seq: int) -> Three:
        return TWICE

    ledger = run(1, doing, design=design, count=40, method=method)
    assert failed(ledger)
    found = next(e for e in ledger.snapshot().findings if e.aspect is Aspect.EFFECTS)
    assert (found.path, found.kind, found.decided_at is not None) == (AT_CHARGE, Kind.DUPLICATED, True)


def split(seed: int, *, whole: bool) -> Callable[[random.Random, int], Three]:
    """A flag of each stored thing, that a race once left otherwise in one arm, says what is done whenever the thing is read."""
    draw = random.Random(seed)
    odd = [draw.choice((0, 1, 2)) if draw.random() < 0.5 else None for _ in range(10)]

    def doing(rng: random.Random, seq: int) -> Three:
        def one(index: int) -> Effects:
            is_odd = odd[seq % 10] == index
            if whole:
                return () if is_odd else (READ,)
            return (effect({"status": "open" if is_odd else "paid"}, "POST audit.test/log"),)

        return one(0), one(1), one(2)

    return doing


@pytest.mark.parametrize("whole", [True, False])
def test_state_that_was_split_once_is_no_alarm(whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def alarms() -> int:
        runs = (run(seed, split(seed, whole=whole), design=Design.THREE_ARM, method="GET") for seed in range(8))
        return sum(map(failed, runs))

    assert alarms() == 0
    monkeypatch.setattr(bets_module._Reader, "_is_deed", lambda *_: True)
    assert alarms() >= 2, "it would be, if each trial were new evidence"


def test_ids_that_are_new_each_time_do_not_drown_what_is_not_done() -> None:
    """Rows differ in every trial, in one arm or in all; what the coarse pool hears is the call that is missing."""

    def doing(rng: random.Random, seq: int) -> Three:
        def row() -> Effect:
            return effect({"row": {"id": f"{rng.getrandbits(64):016x}", "shard": rng.randrange(4)}}, "INSERT public.orders")

        call = effect({"n": seq}, f"POST x{seq % 40}.test/charge")
        return (row(), call), (row(), call), (row(),)

    ledger = run(1, doing, design=Design.THREE_ARM, count=40)
    assert failed(ledger)
    coarse = ledger.pools[Pool.COARSE]
    assert (coarse.decided_at is not None, coarse.stake.bets, coarse.stake.wins) == (True, 40, 40)
    values = [e for e in ledger.snapshot().findings if e.path.startswith("$['http INSERT public.orders'].row.id")]
    assert all(e.decided_at is None for e in values)
