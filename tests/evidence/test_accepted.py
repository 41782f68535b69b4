"""What the gate says of accepted changes."""

from typing import Any

import msgspec
import pytest

from harness.core.labels import Control, Design, FindingClass, Kind, ReasonCode, VerdictState
from harness.core.values import Totals
from harness.evidence.accepted import changed_words, code_of, merged, told
from harness.evidence.expected import ExpectedChange, ExpectedFacts
from harness.evidence.gate import judge
from harness.evidence.policy import Policy
from harness.evidence.seen import Seen
from harness.evidence.snapshot import EndpointState, Evidence, Snapshot
from tests.evidence.test_expected import ENDPOINT, TEN_ELEVEN, change, folded

RARE = Seen(requests=1000, changed=10, rate_low=0.005, rate_high=0.02)


def snapshot(*findings: Evidence, requests: int = 100, compared: int = 100) -> Snapshot:
    state = EndpointState(endpoint=ENDPOINT, compared=compared, diverged=0, requests=requests)
    return Snapshot(
        seq=compared,
        control=Control.SECONDARY,
        design=Design.THREE_ARM,
        passes=2,
        gate_log10=0.0,
        gate_log10_threshold=2.0,
        findings=findings,
        endpoints=(state,) if compared else (),
        compared_in_passes={0: requests, 1: requests},
        fresh=True,
    )


def evidence(**changes: Any) -> Evidence:
    """Of a change that was accepted and is seen in all of 40 requests."""
    (found,) = folded(40, change(seen=TEN_ELEVEN)).snapshot().findings
    return msgspec.structs.replace(found, **changes)


def facts(*applied: ExpectedChange, **more: Any) -> ExpectedFacts:
    return ExpectedFacts(file="expected.yaml", applied=applied, **more)


@pytest.mark.parametrize(("often", "fails"), [(1, False), (2, False), (4, False), (30, True), (100, True)])
def test_far_more_often_than_seen_is_accepted_but_changed(often: int, fails: bool) -> None:
    said = told(snapshot(evidence(expected=often, expected_first=often)), facts(change(seen=RARE)))
    assert [reason.code for reason in said.failures] == [ReasonCode.ACCEPTED_BUT_CHANGED] * fails


def test_the_level_of_the_rate_is_shared_by_all_entries() -> None:
    others = tuple(change(f"$.y{n}", seen=RARE) for n in range(999))
    border = next(n for n in range(100) if told(snapshot(evidence(expected=n, expected_first=n)), facts(change(seen=RARE))).failures)
    assert not told(snapshot(evidence(expected=border, expected_first=border)), facts(change(seen=RARE), *others)).failures


def test_an_entry_that_says_no_rate_or_all_requests_cannot_be_exceeded() -> None:
    for seen in (Seen(), Seen(requests=10, changed=10, rate_low=0.7, rate_high=1.0)):
        assert not told(snapshot(evidence(expected=100, expected_first=100)), facts(change(seen=seen))).failures


@pytest.mark.parametrize(
    ("compared", "code"), [(0, ReasonCode.MUST_CHANGE_OPEN), (100, ReasonCode.MUST_CHANGE_OPEN), (400, ReasonCode.MUST_CHANGE)]
)
def test_must_change_fails_where_it_was_compared_enough_else_it_is_open(compared: int, code: ReasonCode) -> None:
    said = told(snapshot(requests=compared // 2, compared=compared), facts(change(seen=RARE, must_change=True)))
    assert [reason.code for reason in (*said.failures, *said.doubts)] == [code]
    assert bool(said.failures) is (code is ReasonCode.MUST_CHANGE)


def test_a_change_that_happened_is_neither_failure_nor_doubt() -> None:
    said = told(snapshot(evidence()), facts(change(must_change=True)))
    assert said[:2] == ((), ())
    assert "Ann until 2031-12-31" in said.notes[0].message


def test_a_divergence_at_an_accepted_place_is_called_accepted_but_changed() -> None:
    found = evidence(finding_class=FindingClass.DIVERGENCE)
    assert code_of(found, facts(change())) is ReasonCode.ACCEPTED_BUT_CHANGED
    assert code_of(msgspec.structs.replace(found, kind=Kind.NULL), facts(change())) is ReasonCode.ACCEPTED_BUT_CHANGED
    assert code_of(msgspec.structs.replace(found, path="$.y"), facts(change())) is ReasonCode.DIVERGENCE
    assert code_of(found, facts(expired=(change(),))) is ReasonCode.DIVERGENCE
    assert "accepted here by Ann (wanted)" in changed_words(found, facts(change()))
    assert not changed_words(found, facts())


def test_expired_and_self_accepted_entries_are_told() -> None:
    notes = told(snapshot(), facts(expired=(change(),), self_accepted=(change("$.y"),))).notes
    assert [reason.code for reason in notes] == [ReasonCode.ACCEPTANCE_EXPIRED, ReasonCode.SELF_ACCEPTED]
    assert "did not count" in notes[1].message
    allowed = told(snapshot(), facts(self_accepted=(change("$.y"),), self_accepted_applied=True)).notes
    assert "the policy allows it" in allowed[0].message


def test_the_gate_fails_doubts_and_passes_by_them() -> None:
    def verdict(of: Snapshot, expected: ExpectedFacts) -> VerdictState:
        totals = Totals(requests=of.seq, compared=of.seq)
        return judge(of, totals, Policy(), replayable=of.endpoints[0].requests, expected=expected).state

    must = change(seen=RARE, must_change=True)
    assert verdict(snapshot(requests=200, compared=400), facts(must)) is VerdictState.FAIL
    assert verdict(snapshot(requests=50, compared=100), facts(must)) is VerdictState.INCONCLUSIVE
    assert verdict(snapshot(evidence(), requests=50, compared=100), facts(change())) is VerdictState.PASS
    assert verdict(snapshot(evidence(expected_first=50), requests=50, compared=100), facts(change(seen=RARE))) is VerdictState.FAIL


@pytest.mark.parametrize(("control", "code"), [(Control.SECONDARY, ReasonCode.MUST_CHANGE), (Control.SELF, ReasonCode.MUST_CHANGE_OPEN)])
def test_a_shift_that_must_change_is_open_where_nobody_looks_for_it(control: Control, code: ReasonCode) -> None:
    shift = change(kind=Kind.DISTANCE, must_change=True)
    said = told(msgspec.structs.replace(snapshot(), control=control), facts(shift))
    assert [reason.code for reason in (*said.failures, *said.doubts)] == [code]


def test_a_shift_of_which_another_amount_is_found_is_one_finding() -> None:
    shown = evidence(kind=Kind.DISTANCE)
    assert merged([shown], [msgspec.structs.replace(shown, finding_class=FindingClass.DIVERGENCE)]) == []
    assert merged([shown], [msgspec.structs.replace(shown, id="ffffffffffff")]) == [shown]
