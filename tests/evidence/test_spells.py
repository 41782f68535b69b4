"""Outside passes from fresh state trials make one bet a block: whatever hangs together from request to request does not alarm."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Design, Kind, Role
from harness.evidence import ledger as ledger_module
from harness.evidence.latency import LIVE_BLOCK, REPLAY_BLOCK, BlockRule
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.spells import Instances, OpenBlock, Part
from tests.sim.hanging import SECONDS_BETWEEN, hanging, noisy_fault
from tests.sim.world import Answer, Three, bets

POLICY = Policy(preset="rollout")
ARMS = (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)


def alarms(runs: int, *, length: float, live: bool, design: Design, spells: bool = False, count: int = 1500) -> int:
    played = (hanging(seed, POLICY, length=length, live=live, design=design, spells=spells, count=count) for seed in range(runs))
    return sum(outcome.failed for outcome in played)


@pytest.mark.parametrize(("live", "design"), [(True, Design.TWO_ARM), (False, Design.TWO_ARM), (False, Design.THREE_ARM)])
@pytest.mark.parametrize("length", [5, 20, 100])
@pytest.mark.parametrize("spells", [False, True], ids=["drifting gauges", "slow spells"])
def test_measurements_that_hang_together_do_not_alarm(length: float, live: bool, design: Design, spells: bool) -> None:
    assert alarms(3, length=length, live=live, design=design, spells=spells, count=1200) == 0


@pytest.mark.parametrize(("live", "design"), [(True, Design.TWO_ARM), (False, Design.THREE_ARM)])
def test_they_do_where_each_trial_is_a_witness(live: bool, design: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "LIVE_BLOCK", BlockRule(1, 0.0, stream=True))
    monkeypatch.setattr(ledger_module, "REPLAY_BLOCK", BlockRule(1, 0.0, stream=True))
    assert alarms(12, length=20, live=live, design=design) >= 2


@pytest.mark.parametrize("what", ["+5 %", "time zone", "constant time", "uuid 4 to 1", "mix"])
@pytest.mark.parametrize(
    ("live", "design", "most"), [(True, Design.TWO_ARM, 1720), (False, Design.THREE_ARM, 440), (False, Design.TWO_ARM, 940)]
)
def test_a_fault_that_shows_in_every_block_is_found(what: str, live: bool, design: Design, most: int) -> None:
    found = noisy_fault(3, POLICY, what=what, live=live, design=design).requests
    assert found is not None
    assert found <= {"+5 %": 10 * most, "mix": 4 * most}.get(what, most)


def folded(values: list[Three], *, live: bool = True, design: Design = Design.TWO_ARM) -> Ledger:
    ledger = Ledger(POLICY, live=live)
    for number, three in enumerate(values):
        at_s = number * SECONDS_BETWEEN[live]
        ledger.fold(bets(number, Answer(entity=f"/{number}", values={"$.x": three}, design=design, at_s=at_s)))
    return ledger


def apart(rng: random.Random, count: int) -> list[Three]:
    return [(rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(90, 1)) for _ in range(count)]


def distance_bets(ledger: Ledger) -> int:
    return sum(game.best().stake.bets for game in ledger.noise.games.values() if game.kind is Kind.DISTANCE)


def test_a_live_block_is_ten_seconds_and_a_hundred_trials_and_the_open_one_counts_for_nothing() -> None:
    assert (LIVE_BLOCK.pairs_min, LIVE_BLOCK.seconds_min) == (100, 10.0)
    values = apart(random.Random(1), 303)
    assert [distance_bets(folded(values[:count])) for count in (100, 101, 201, 202, 303)] == [0, 1, 1, 2, 3]
    open_one = folded(values[:100])
    assert all(game.log_e == 0.0 for game in open_one.noise.games.values())


def test_blocks_of_a_replay_are_short_and_grow() -> None:
    assert (REPLAY_BLOCK.pairs_min, REPLAY_BLOCK.seconds_min) == (20, 1.0)
    values = apart(random.Random(1), 3000)
    closed = [distance_bets(folded(values[:count], live=False)) for count in (20, 21, 46, 47, 78)]
    assert closed == [0, 1, 1, 2, 3]
    longest = OpenBlock(REPLAY_BLOCK, 999, Design.TWO_ARM, 1, 0)
    assert [longest.over(number, 5 * 10**9) for number in (99, 100)] == [False, True]
    assert [longest.over(100, at_ns) for at_ns in (4_999_999_999, 5 * 10**9)] == [False, True]


def test_within_a_block_time_and_number_say_when_it_ends_and_not_who_was_odd() -> None:
    rng = random.Random(5)
    values: list[Three] = [(rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(0, 1)) for _ in range(505)]
    swapped: list[Three] = [(p, c, s) for p, s, c in values]
    one, other = folded(values), folded(swapped)
    by_kind = [{game.kind: game for game in ledger.noise.games.values()} for ledger in (one, other)]
    assert by_kind[0].keys() == by_kind[1].keys()
    for kind, game in by_kind[0].items():
        for side, part in game.parts.items():
            stake, mirrored = part.stake, by_kind[1][kind].parts[side].stake
            assert (stake.bets, stake.wins) == (mirrored.bets, mirrored.bets - mirrored.wins)


@given(st.tuples(*[st.integers(0, 30)] * 3), st.permutations(range(3)))
def test_a_block_bets_on_the_arm_that_was_odd_most_often_whatever_the_arms_are_called(times: tuple[int, ...], order: list[int]) -> None:
    def most(counts: list[int]) -> Role | None:
        part = Part("g", 0.1, 1.0)
        part.odd = dict(zip(ARMS, counts, strict=True))
        found = part.most()
        assert not any(part.odd.values()), "the next block begins at nothing"
        return found

    before, after = most(list(times)), most([times[i] for i in order])
    assert after is (None if before is None else ARMS[order.index(ARMS.index(before))])
    assert before is (None if sorted(times)[1] == max(times) else ARMS[times.index(max(times))])


def test_a_trial_of_another_design_begins_a_new_block() -> None:
    rng, ledger = random.Random(2), Ledger(POLICY)
    for number in range(30):
        design = Design.THREE_ARM if number < 12 else Design.TWO_ARM
        values: dict[str, Three] = {"$.x": (rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(90, 1))}
        ledger.fold(bets(number, Answer(entity=f"/{number}", values=values, design=design, at_s=number * 0.05)))
    (game,) = [one for one in ledger.noise.games.values() if one.kind is Kind.DISTANCE]
    assert game.best().stake.log_e == pytest.approx(1.0986, abs=0.5), "one bet of three arms, at most threefold"
    assert game.best().stake.bets == 1


def test_folding_again_gives_the_same_bit_for_bit() -> None:
    values = apart(random.Random(9), 1700)
    one, other = folded(values), folded(values)
    assert one.snapshot() == other.snapshot()
    assert one.failed() == other.failed() is not None


def test_lasting_differences_of_the_stable_instances_are_noticed() -> None:
    lasting, even, one_spell = Instances(), Instances(), Instances()

    def block(instances: Instances, sign: int) -> bool:
        assert not any(instances.saw(sign, None) for _ in range(50)), "nothing is said before the block is closed"
        return instances.close()

    assert [block(lasting, 1) for _ in range(12)].count(True) == 1
    assert not any(block(even, sign) for _ in range(50) for sign in (1, -1))
    assert not any(one_spell.saw(1, 0) for _ in range(100)), "all of a pass is one witness"
    assert [lasting.saw(1, spell) for spell in range(3)] == [False] * 3, "it is said once"


def test_what_tells_instances_apart_gives_back_what_it_had_won() -> None:
    rng = random.Random(4)
    ledger = folded([(rng.gauss(10, 1), rng.gauss(50, 1), rng.gauss(90, 1)) for _ in range(1700)])
    assert ledger.failed() is None
    assert all(part.counted <= 0.0 for game in ledger.noise.games.values() if game.kind is Kind.BIAS for part in game.parts.values())
