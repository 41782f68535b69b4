import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import ShadowdiffError
from harness.evidence.bets import TrialBets
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.sequencer import Sequencer
from harness.evidence.snapshot import Snapshot
from tests.sim.world import Answer, bets, flips


def answers(count: int) -> list[TrialBets]:
    rng = random.Random(5)
    found = []
    for seq in range(count):
        pass_index, entry = divmod(seq, 20)
        values = {"$.a": flips(rng, 0.2), "$.b": ("x", "x", "y" if entry == 3 else "x")}
        latency = (rng.random() + 1, rng.random() + 1, rng.random() + 2)
        found.append(
            bets(
                seq, Answer(entity=f"/{entry}", values=values, entry=entry, pass_index=pass_index, fresh=True, latency_ms=latency, at_s=seq)
            )
        )
    return found


ALL = answers(60)


def folded(order: list[TrialBets]) -> Snapshot:
    ledger = Ledger(Policy(latency_requests_min=10))
    sequencer = Sequencer()
    for one in order:
        for released in sequencer.push(one):
            ledger.fold(released)
    assert sequencer.waiting == 0
    return ledger.snapshot()


IN_ORDER = folded(ALL)


@settings(deadline=None, max_examples=25)
@given(st.permutations(ALL))
def test_any_order_gives_the_same_snapshot(order: list[TrialBets]) -> None:
    assert folded(order) == IN_ORDER


def test_a_result_waits_for_the_earlier_ones() -> None:
    sequencer = Sequencer()
    assert sequencer.push(ALL[1]) == []
    assert sequencer.waiting == 1
    assert sequencer.push(ALL[0]) == ALL[:2]
    assert sequencer.next_seq == 2


def test_a_lost_number_is_passed_over_and_counted() -> None:
    sequencer = Sequencer()
    assert sequencer.push(ALL[1]) == []
    assert sequencer.missing(2) == []
    assert sequencer.missing(0) == [ALL[1]]
    assert sequencer.push(ALL[3]) == [ALL[3]]
    assert sequencer.lost == 2


def test_a_second_delivery_is_dropped_and_counted() -> None:
    sequencer = Sequencer()
    sequencer.push(ALL[0])
    sequencer.push(ALL[2])
    assert sequencer.push(ALL[0]) == []
    assert sequencer.push(ALL[2]) == []
    assert sequencer.missing(2) == []
    assert sequencer.duplicates == 3


def test_the_window_is_bounded() -> None:
    sequencer = Sequencer(first=1, window=3)
    assert sequencer.accepts(3)
    assert not sequencer.accepts(4)
    with pytest.raises(ShadowdiffError, match="still waited for"):
        sequencer.push(ALL[4])
