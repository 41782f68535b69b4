"""Accepted changes take from a trial's bets what lies within them, and nothing else."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Aspect, Design, FindingClass, Kind, Role
from harness.core.limits import HYPOTHESES_MAX
from harness.core.values import Comparison, Further
from harness.evidence.bets import TrialBets, bets_of, decode_bets, encode_bets
from harness.evidence.expected import ExpectedChange, ExpectedChanges, set_apart
from harness.evidence.findings import finding_id
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.restless import Restless
from harness.evidence.seen import ANYTHING, Relation, Seen, SeenSlice
from tests.evidence.build import pair, trial

ENDPOINT = "GET /{int}"


def change(path: str = "$.x", kind: Kind = Kind.VALUE, seen: Seen = ANYTHING, **more: Any) -> ExpectedChange:
    name = finding_id(ENDPOINT, Aspect.BODY, path, kind)
    return ExpectedChange(
        id=name,
        endpoint=ENDPOINT,
        aspect=Aspect.BODY,
        path=path,
        kind=kind,
        reason="wanted",
        by="Ann",
        expires="2031-12-31",
        **more,
        seen=seen,
    )


def apart(values: dict[str, tuple[Any, ...]], *changes: ExpectedChange, attributes: Any = (), **more: Any) -> TrialBets:
    comparison = pair(values)
    bets = msgspec.structs.replace(bets_of(trial(**more), comparison), attributes=attributes)
    return set_apart(bets, comparison, ExpectedChanges(changes))


TEN_ELEVEN = Seen(relation=Relation.VALUES, values=((10, 11),))


def test_what_lies_within_is_expected_and_no_bet() -> None:
    bets = apart({"$.x": (10, 10, 11), "$.y": (1, 1, 2)}, change(seen=TEN_ELEVEN))
    assert [bet.path for bet in bets.bets] == ["$.y"]
    assert [(bet.path, bet.odd) for bet in bets.expected] == [("$.x", Role.CANDIDATE)]
    assert decode_bets(encode_bets(bets)) == bets


@pytest.mark.parametrize(
    "values",
    [
        {"$.x": (10, 10, 12)},
        {"$.x": (10, 10, None)},
        {"$.y": (10, 10, 11)},
        {"$.x": (10, 11, 10)},
        {"$.x": (10, 11, 11)},
        {"$.x": (10, 12, 11)},
        {"$.x": (11, 10, 10)},
    ],
)
@pytest.mark.parametrize("design", [Design.TWO_ARM, Design.THREE_ARM])
def test_what_lies_outside_or_is_noise_stays_as_it_was(values: dict[str, tuple[Any, ...]], design: Design) -> None:
    without = msgspec.structs.replace(apart(values, design=design), noise=())
    if design is Design.TWO_ARM and values == {"$.x": (10, 12, 11)}:
        return  # both differ from stable in this way: no bet either way
    assert msgspec.structs.replace(apart(values, change(seen=TEN_ELEVEN), design=design), noise=()) == without


@pytest.mark.parametrize("arms", [(10, 10, 11), (10, 11, 10), (11, 10, 10), (10, 10, 12)])
def test_games_with_two_sides_skip_a_trial_whichever_arm_stands_alone(arms: tuple[Any, ...]) -> None:
    assert apart({"$.x": arms}, change(seen=TEN_ELEVEN), fresh=True).noise == ()
    assert apart({"$.x": (10, 11, 12)}, change(seen=TEN_ELEVEN)).noise == apart({"$.x": (10, 11, 12)}).noise


def test_another_endpoint_is_not_meant() -> None:
    elsewhere = msgspec.structs.replace(change(seen=TEN_ELEVEN), endpoint="GET /other")
    assert apart({"$.x": (10, 10, 11)}, elsewhere).expected == ()


def test_a_change_of_a_part_of_the_traffic_is_accepted_there_only() -> None:
    confined = change(seen=msgspec.structs.replace(TEN_ELEVEN, slice=SeenSlice(attribute="header.x-region", value="JP")))
    values = {"$.x": (10, 10, 11)}
    assert apart(values, confined, attributes=(("header.x-region", "JP"),)).expected
    assert not apart(values, confined, attributes=(("header.x-region", "DE"),)).expected
    assert not apart(values, confined).expected
    absent = change(seen=msgspec.structs.replace(TEN_ELEVEN, slice=SeenSlice(attribute="cookie.beta", value="absent")))
    assert apart(values, absent, attributes=(("in_flight", "1"),)).expected
    assert not apart(values, absent, attributes=(("cookie.beta", "present"),)).expected


@given(
    st.lists(st.tuples(*[st.sampled_from([10, 11, 12])] * 3), min_size=1, max_size=60),
    st.sampled_from([Design.TWO_ARM, Design.THREE_ARM]),
    st.sampled_from([TEN_ELEVEN, ANYTHING, Seen(relation=Relation.DIFFERENCE, low=-1, high=1)]),
)
def test_entries_only_take_evidence_against_the_candidate_away(arms: list[tuple[int, ...]], design: Design, seen: Seen) -> None:
    """The property that keeps the error rate: no E and no sum of the gate is larger with an entry than without."""
    plain, filtered = Ledger(Policy()), Ledger(Policy())
    for seq, values in enumerate(arms):
        for ledger, changes in ((plain, ()), (filtered, (change(seen=seen),))):
            bets = apart({"$.x": values}, *changes, seq=seq, entity=f"/{seq}", design=design)
            ledger.fold(msgspec.structs.replace(bets, noise=()))  # these games have two sides: see the test on them
    a, b = plain.snapshot(), filtered.snapshot()
    assert b.gate_log10 <= a.gate_log10 + 1e-9
    largest = {evidence.id: evidence.log10_e for evidence in (*a.findings, *a.noise)}
    assert all(evidence.log10_e <= largest[evidence.id] + 1e-9 for evidence in (*b.findings, *b.noise))
    assert all(x.log10_e <= y.log10_e + 1e-9 for x, y in zip(b.pools, a.pools, strict=True))


def folded(trials: int, *changes: ExpectedChange, values: tuple[Any, ...] = (10, 10, 11)) -> Ledger:
    ledger = Ledger(Policy())
    for seq in range(trials):
        ledger.fold(apart({"$.x": values}, *changes, seq=seq, entity=f"/{seq}"))
    return ledger


def test_expected_differences_raise_no_question_no_bet_and_go_into_no_pool_and_are_counted() -> None:
    snapshot = folded(40, change(seen=TEN_ELEVEN)).snapshot()
    (found,) = snapshot.findings
    assert (found.finding_class, found.diverged, found.expected, found.expected_first) == (FindingClass.EXPECTED, 40, 40, 40)
    assert (found.rate, found.exemplars, found.log10_e) == (1.0, ("t0",), 0.0)
    assert (snapshot.failed_at, snapshot.open_questions, snapshot.requests_diverged) == (None, 0, 0)
    assert all(pool.log10_e == 0.0 for pool in snapshot.pools)
    assert snapshot.gate_log10 <= 0.0
    assert folded(40).snapshot().failed_at is not None


def test_a_difference_outside_is_found_as_fast_as_without_an_entry() -> None:
    with_entry, without = folded(40, change(seen=TEN_ELEVEN), values=(10, 10, 12)), folded(40, values=(10, 10, 12))
    assert with_entry.snapshot().failed_at == without.snapshot().failed_at


def test_hypotheses_of_accepted_changes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert HYPOTHESES_MAX > 1
    monkeypatch.setattr("harness.evidence.ledger.HYPOTHESES_MAX", 1)
    ledger = Ledger(Policy())
    values = {"$.x": (10, 10, 11), "$.y": (10, 10, 11)}
    ledger.fold(apart(values, change(seen=TEN_ELEVEN), change("$.y", seen=TEN_ELEVEN)))
    assert len(ledger.snapshot().findings) == 1


def test_a_comparison_without_differences_is_left_alone() -> None:
    bets = bets_of(trial(), Comparison(trial="t", seq=0))
    assert set_apart(bets, Comparison(trial="t", seq=0), ExpectedChanges((change(),))) is bets


@pytest.mark.parametrize("odd", list(Role))
def test_an_accepted_field_that_is_drawn_anew_each_time_is_no_candidate_that_disagrees_with_itself(odd: Role) -> None:
    """Whichever arm is the odd one, so that the game stays fair."""
    here = Restless(Aspect.BODY, "$.x", Kind.VALUE, odd, changed=True)
    elsewhere = Restless(Aspect.BODY, "$.y", Kind.VALUE, odd, changed=True)
    bets = msgspec.structs.replace(apart({}), restless=(here, elsewhere))
    entries = ExpectedChanges((change(kind=Kind.EXTRA),))
    assert set_apart(bets, Comparison(trial="t", seq=0), entries).restless == (elsewhere,)
    assert set_apart(bets, Comparison(trial="t", seq=0), ExpectedChanges()).restless == (here, elsewhere)


@pytest.mark.parametrize(
    ("further", "covered"),
    [
        (Further(((10, 11), (10, 11))), True),
        (Further(((10, 11), (10, 12))), False),
        (Further(((10, 11), (10, None))), False),
        (Further(((10, 11),), left_out=1), False),
    ],
)
def test_every_differing_element_has_to_lie_within(further: Further, covered: bool) -> None:
    """A second difference of the same answer does not hide behind the first, and what was not looked at is not covered."""
    comparison = pair({"$.x": (10, 10, 11)})
    (found,) = comparison.stable_candidate
    comparison = msgspec.structs.replace(comparison, stable_candidate=(msgspec.structs.replace(found, further=further),))
    bets = set_apart(bets_of(trial(), comparison), comparison, ExpectedChanges((change(seen=TEN_ELEVEN),)))
    assert (len(bets.expected), len(bets.bets)) == (int(covered), int(not covered))


def test_bets_of_an_entry_that_is_not_applied_any_more_are_put_back() -> None:
    """A compare worker that has not heard yet that an entry is over."""
    values = {"$.x": (10, 10, 11), "$.a": (1, 1, 2)}
    stale = apart(values, change(seen=TEN_ELEVEN), change("$.a", seen=ANYTHING))
    assert len(stale.expected) == 2
    back = ExpectedChanges((change("$.a", seen=ANYTHING),)).restored(stale)
    assert ([bet.path for bet in back.bets], [bet.path for bet in back.expected]) == (["$.x"], ["$.a"])
    assert ExpectedChanges().restored(stale).bets == apart(values).bets
    for changes, expected in (((), 0), ((change(seen=TEN_ELEVEN), change("$.a", seen=ANYTHING)), 1)):
        ledger = Ledger(Policy(), accepted=ExpectedChanges(changes))
        ledger.fold(stale)
        assert {found.expected for found in ledger.snapshot().findings} == {expected}


def test_changes_are_sorted_by_what_they_are_held_to() -> None:
    shift, style = change(kind=Kind.DISTANCE), change("$.y", kind=Kind.STYLE, seen=Seen(requests=5, rate_high=0.3))
    slow = msgspec.structs.replace(change("p50", kind=Kind.SLOWER, seen=Seen(high=1.4)), aspect=Aspect.LATENCY)
    tail = msgspec.structs.replace(change("tail2x", kind=Kind.SLOWER, seen=Seen(rate_high=0.1)), aspect=Aspect.LATENCY)
    changes = ExpectedChanges((change(), shift, style, slow, tail))
    assert changes.places() == {ENDPOINT: frozenset({(Aspect.BODY, "$.x", Kind.VALUE)})}
    assert list(changes.shifts(ENDPOINT)) == [(Aspect.BODY, "$.x", Kind.DISTANCE)]
    assert changes.held(ENDPOINT, Aspect.BODY, "$.y", Kind.STYLE) == style.seen
    assert changes.slower(ENDPOINT) == (1.4, {"tail2x": 0.1})
    assert changes.slower("GET /other") == (None, {})
