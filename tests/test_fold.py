"""Folding: every trial of every stream has exactly one end, and the ledger sees each stream in its own order."""

from collections import defaultdict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.plan import build_plan
from comparators.registry import load_comparators
from comparators.trial import compare_trial
from harness.core.errors import ShadowdiffError
from harness.core.labels import Design, Role
from harness.core.limits import SEQUENCER_WINDOW_MAX
from harness.core.values import Comparison
from harness.evidence.bets import TrialBets, bets_of
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.fold import Fold, TrialSource
from tests.app.support import trial

PLAN = build_plan((), load_comparators())
SAMPLE = trial(0)
COMPARED = compare_trial(SAMPLE, PLAN)
BETS = bets_of(SAMPLE, COMPARED, b"")


class Kept:
    """Writes down what is folded: the run's number, and which trial it was."""

    def __init__(self) -> None:
        self.bets: list[tuple[int, str]] = []
        self.trials: list[tuple[int | None, bool]] = []

    def keep_bets(self, bets: TrialBets) -> None:
        self.bets.append((bets.seq, bets.trial))

    def keep_trial(self, trial: TrialSource, comparison: Comparison, *, endpoint: str, exemplar: bool) -> None:
        found = trial()
        self.trials.append((None if found is None else found.seq, exemplar))


def made() -> tuple[Fold, Ledger, Kept]:
    ledger, kept = Ledger(Policy(), endpoints=("GET /items/{int}",)), Kept()
    return Fold(ledger, kept), ledger, kept


def bets(stream: int, seq: int) -> TrialBets:
    return msgspec.structs.replace(BETS, seq=seq, trial=f"{stream}/{seq}")


def push(fold: Fold, stream: int, seq: int, comparison: Comparison = COMPARED) -> bool:
    return fold.push(stream, bets(stream, seq), comparison, lambda: trial(seq))


@given(data=st.data())
def test_each_trial_has_one_end_whatever_comes_in_whatever_order(data: st.DataObject) -> None:
    """Streams interleaved; each trial comes not at all, once or twice, and may be said to be lost before or after that."""
    counts = data.draw(st.lists(st.integers(0, 8), min_size=1, max_size=3))
    pool = [(what, stream, seq) for stream, count in enumerate(counts) for seq in range(count) for what in ("push", "push", "missing")]
    steps = data.draw(st.lists(st.sampled_from(pool), max_size=60)) if pool else []
    fold, ledger, kept = made()
    compared, lost = defaultdict[tuple[int, int], int](int), defaultdict[tuple[int, int], int](int)
    for what, stream, seq in steps:
        if what == "push":
            compared[stream, seq] += push(fold, stream, seq)
        else:
            lost[stream, seq] += fold.missing(stream, seq)
    ends = {number for number in compared if compared[number]} | {number for number in lost if lost[number]}
    assert all(compared[number] + lost[number] == 1 for number in ends)
    at_the_end = [fold.close(stream, count) for stream, count in enumerate(counts)]
    for stream, count in enumerate(counts):
        assert sum(compared[stream, seq] + lost[stream, seq] for seq in range(count)) + at_the_end[stream] == count
    assert fold.folded == len(kept.bets) == sum(compared.values()) == ledger.snapshot().seq
    assert [number for number, _ in kept.bets] == list(range(fold.folded)), "the run's numbers are dense"
    for stream in range(len(counts)):
        order = [int(name.split("/")[1]) for _, name in kept.bets if name.startswith(f"{stream}/")]
        assert order == sorted(order), "within a stream the order is the sender's"
    assert fold.gaps() == ""
    assert not fold._waiting, "nothing is kept of what is over"


def test_nothing_is_kept_of_a_result_that_was_given_up_before_it_came() -> None:
    fold, _, kept = made()
    assert fold.missing(0, 1)
    assert not push(fold, 0, 1), "given up while an earlier one is waited for"
    assert push(fold, 0, 0)
    assert [seq for seq, _ in kept.trials] == [0]
    assert not fold._waiting


def test_what_is_waited_for_is_said() -> None:
    fold, _, _ = made()
    push(fold, 0, 2)
    push(fold, 0, 1)
    assert fold.gaps() == "2 trials wait for number 0, which never came"
    assert fold.close(0, 3) == 1
    assert fold.gaps() == ""


def test_a_stream_that_ran_far_ahead_of_a_loss_gives_up_what_it_waits_for() -> None:
    fold, _, _ = made()
    assert fold.make_room(0, SEQUENCER_WINDOW_MAX - 1) == 0
    assert push(fold, 0, 1)
    assert fold.make_room(0, SEQUENCER_WINDOW_MAX) == 1, "number 0"
    assert fold.folded == 1, "number 1 went on"
    assert fold.make_room(0, SEQUENCER_WINDOW_MAX + 4) == 3, "1 was there"
    assert push(fold, 0, SEQUENCER_WINDOW_MAX + 4)
    assert not push(fold, 0, 0), "it comes after all, and counts for nothing"
    with pytest.raises(ShadowdiffError, match="is waited for"):
        fold.make_room(0, 10 * SEQUENCER_WINDOW_MAX)


def test_rules_used_and_exemplars_are_told() -> None:
    fold, _, kept = made()
    push(fold, 0, 0, msgspec.structs.replace(COMPARED, rules_used=(3, 1)))
    push(fold, 0, 0, msgspec.structs.replace(COMPARED, rules_used=(7,)))
    assert fold.rules_used == {1, 3}, "what comes twice counts once"
    assert kept.trials == [(0, False)]
    differing = trial(1, candidate=b'{"price":11}')
    found = compare_trial(differing, PLAN)
    fold.push(0, bets_of(differing, found, b""), found, lambda: differing)
    assert kept.trials == [(0, False), (1, True)]
    assert fold.snapshot().seq == 2


def test_a_keeper_is_not_needed() -> None:
    ledger = Ledger(Policy(), endpoints=("GET /items/{int}",))
    fold = Fold(ledger)
    assert push(fold, 5, 0)
    assert ledger.snapshot().seq == 1


@given(data=st.data())
def test_over_a_change_of_epoch_each_result_is_folded_by_exactly_one_fold(data: st.DataObject) -> None:
    """Some have come and wait for an earlier number; some are said to be lost; the streams go on with the successor."""
    order = data.draw(st.permutations([(stream, seq) for stream in range(2) for seq in range(6)]))
    cut = data.draw(st.integers(0, len(order)))
    never = data.draw(st.sets(st.sampled_from(order), max_size=3))
    first, _, before = made()
    for stream, seq in order[:cut]:
        if (stream, seq) not in never:
            push(first, stream, seq)
    ledger, after = Ledger(Policy(), endpoints=("GET /items/{int}",)), Kept()
    second = first.successor(ledger, after)
    came = {f"{stream}/{seq}" for stream, seq in order[:cut] if (stream, seq) not in never}
    assert {name for _, name in before.bets} == came, "nothing that has come is left to wait"
    for stream, seq in order:
        assert second.has_seen(stream, seq) is (f"{stream}/{seq}" in came)
        if (stream, seq) not in never:
            push(second, stream, seq)
    assert sum(second.close(stream, 6) for stream in range(2)) == len(never)
    names = [name for _, name in (*before.bets, *after.bets)]
    assert sorted(names) == sorted(f"{stream}/{seq}" for stream, seq in order if (stream, seq) not in never)
    assert [number for number, _ in after.bets] == list(range(len(after.bets))), "each epoch counts from 0"
    assert ledger.snapshot().seq == len(after.bets)


class Asked:
    """A watcher: what it was told; it may ask at some endpoints."""

    def __init__(self, *endpoints: str) -> None:
        self.endpoints = endpoints
        self.told: list[tuple[int, bool, bool]] = []

    def may_ask(self, endpoint: str) -> bool:
        return endpoint in self.endpoints

    def folded(self, fold: Fold, bets: TrialBets, trial: TrialSource, *, asked: bool) -> None:
        self.told.append((bets.seq, asked, fold.urgency(bets.request) is not None))


def diverging(seq: int, *, repeat: bool = False) -> tuple[TrialBets, Comparison]:
    changes = {"repeat_of": "t0", "order": (Role.CANDIDATE, Role.SECONDARY)} if repeat else {}
    one = trial(seq, candidate=b'{"price":11}', fresh=repeat, design=Design.TWO_ARM, **changes)
    found = compare_trial(one, PLAN)
    return bets_of(one, found, b""), found


@pytest.mark.parametrize("stateless", [True, False])
def test_questions_are_raised_where_somebody_can_ask(stateless: bool) -> None:
    ledger, kept = Ledger(Policy(), live=True), Kept()
    fold, watcher = Fold(ledger, kept), Asked("GET /items/{int}") if stateless else Asked()
    fold.watcher = watcher
    one, found = diverging(0)
    fold.push(0, one, found, lambda: trial(0))
    assert watcher.told == [(0, stateless, stateless)]
    assert fold.successor(Ledger(Policy(), live=True)).watcher is watcher


def test_a_repeat_is_folded_for_its_question_and_not_kept_as_a_trial() -> None:
    ledger, kept = Ledger(Policy(), live=True), Kept()
    fold = Fold(ledger, kept)
    fold.watcher = Asked("GET /items/{int}")
    one, found = diverging(0)
    fold.push(0, one, found, lambda: trial(0))
    again, found = diverging(0, repeat=True)
    assert again.request == one.request
    assert again.stable_kept, "stable was not sent to"
    fold.push(-2, again, found, lambda: None)
    assert [number for number, _ in kept.bets] == [0, 1]
    assert len(kept.trials) == 1
    snapshot = fold.snapshot()
    assert (snapshot.repeats, snapshot.repeats_of_stable) == (1, 0)
    (finding,) = snapshot.findings
    assert (finding.compared, finding.confirmed, finding.repeats) == (1, 1, 1)


@given(odd=st.lists(st.booleans(), max_size=12), killed=st.integers(0, 12))
def test_a_fold_that_recalls_what_was_kept_stands_where_the_one_before_stood(odd: list[bool], killed: int) -> None:
    """Wherever it was killed: the ledgers are alike, numbers go on, and kept trials are not kept twice."""
    diverging = trial(0, candidate=b'{"price":11}')
    worse = compare_trial(diverging, PLAN)
    found = [(bets_of(diverging, worse, b""), worse) if bad else (BETS, COMPARED) for bad in odd]

    def nth(seq: int) -> TrialBets:
        return msgspec.structs.replace(found[seq][0], seq=seq, trial=f"0/{seq}", request=seq)

    whole, ledger, _ = made()
    for seq in range(len(odd)):
        whole.push(0, nth(seq), found[seq][1], lambda: None)
    fold, resumed, kept = made()
    before = min(killed, len(odd))
    for seq in range(before):
        fold.recall(nth(seq), found[seq][1] if seq % 2 else None)
    for seq in range(before, len(odd)):
        fold.push(1, msgspec.structs.replace(nth(seq), seq=seq - before), found[seq][1], lambda: None)
    assert resumed.snapshot() == ledger.snapshot()
    assert fold.folded == len(odd)
    assert kept.bets == [(seq, f"0/{seq}") for seq in range(before, len(odd))]


def test_after_the_machine_was_started_anew_times_go_on() -> None:
    times: list[int] = []

    class Times(Kept):
        def keep_bets(self, bets: TrialBets) -> None:
            times.append(bets.started_ns)

    fold = Fold(Ledger(Policy()), Times())
    fold.use_rules((1, 2))
    fold.later_ns = 500
    push(fold, 0, 0)
    push(fold.successor(Ledger(Policy()), Times()), 0, 1)
    assert times == [BETS.started_ns + 500] * 2
    assert fold.rules_used >= {1, 2}
