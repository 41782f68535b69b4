"""What the gate says of accepted changes: changed since, missing, expired, accepted by the change under test itself. Pure."""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from harness.core.labels import Aspect, Control, FindingClass, Kind, ReasonCode
from harness.evidence.expected import MEDIAN, RATE_LEVEL, ExpectedChange, ExpectedFacts, is_held
from harness.evidence.hypothesis import Hypothesis
from harness.evidence.martingale import LN10, excess_interval, log_rate_e
from harness.evidence.snapshot import Evidence, Interval, Reason, Snapshot
from harness.evidence.words import count_of, listed, percent, reason

HAPPENS_LEVEL: Final = 0.05
"""A change that still happened would have been missed with this chance at most, where its absence is told."""
RATE_UNKNOWN: Final = 0.1
"""Rate that is taken for an entry which says none, when its absence is to be told."""


class Told(NamedTuple):
    """What is to be said of the accepted changes of a run."""

    failures: tuple[Reason, ...]
    doubts: tuple[Reason, ...]
    """They keep a run from passing."""
    notes: tuple[Reason, ...]


def told(snapshot: Snapshot, expected: ExpectedFacts) -> Told:
    """What is to be said, beside what evidence says of differences that lie outside of what was accepted."""
    by_id = {finding.id: finding for finding in (*snapshot.findings, *snapshot.noise)}
    failures: list[Reason] = []
    doubts: list[Reason] = []
    for change in expected.applied:
        found = by_id.get(change.id)
        if (more := _too_often(change, found, snapshot, len(expected.applied))) is not None:
            failures.append(more)
        elif found is not None and _outside(found, len(expected.applied)):
            failures.append(_more_often(change, found))
        slower = found is not None and found.aspect is Aspect.LATENCY
        if change.must_change and (found is None or not (found.expected or slower)):
            missing = _missing(change, found, snapshot)
            (failures if missing.code is ReasonCode.MUST_CHANGE else doubts).append(missing)
    return Told(tuple(failures), tuple(doubts), tuple(_notes(snapshot, expected)))


def with_expected(evidence: Evidence, hypothesis: Hypothesis, trials: int) -> Evidence:
    """Evidence with what was seen of an accepted change. Where nothing else is to be said of the place, it is the finding's class.

    `trials` are those of the endpoint that follow from no earlier divergence.
    """
    if not hypothesis.expected:
        return evidence
    evidence = msgspec.structs.replace(evidence, expected=hypothesis.expected, expected_first=hypothesis.expected_first)
    if evidence.finding_class is not FindingClass.NOISE:
        return evidence
    low, high = excess_interval(float(hypothesis.expected), float(hypothesis.expected), trials, evidence.interval.level)
    return msgspec.structs.replace(
        evidence,
        finding_class=FindingClass.EXPECTED,
        diverged=hypothesis.expected + evidence.diverged,
        rate=hypothesis.expected / max(1, trials),
        interval=Interval(low, high, evidence.interval.level),
        exemplars=evidence.exemplars or (hypothesis.expected_example,),
    )


def merged(findings: list[Evidence], apart: list[Evidence]) -> list[Evidence]:
    """The findings without those on a shift that was accepted of which the same place shows another shift as well."""
    also = {one.id for one in apart}
    return [finding for finding in findings if finding.id not in also]


def changed_since(finding: Evidence, expected: ExpectedFacts) -> ExpectedChange | None:
    """The accepted change at a finding's place, of which the finding shows another form: the same kind first."""
    here = [
        change
        for change in expected.applied
        if (change.endpoint, change.aspect, change.path) == (finding.endpoint, finding.aspect, finding.path)
    ]
    return next((change for change in here if change.kind is finding.kind), here[0] if here else None)


def code_of(finding: Evidence, expected: ExpectedFacts) -> ReasonCode:
    """Why a divergence fails: it is one, or an accepted change that is not as it was accepted any more."""
    return ReasonCode.DIVERGENCE if changed_since(finding, expected) is None else ReasonCode.ACCEPTED_BUT_CHANGED


def latency_code(finding: Evidence, expected: ExpectedFacts) -> ReasonCode:
    """The same for a finding on latency."""
    return ReasonCode.LATENCY if changed_since(finding, expected) is None else ReasonCode.ACCEPTED_BUT_CHANGED


def changed_words(finding: Evidence, expected: ExpectedFacts) -> str:
    """What is added to the words about a finding, where a change was accepted at its place; empty elsewhere."""
    change = changed_since(finding, expected)
    if change is None:
        return ""
    return f" A change was accepted here by {change.by} ({change.reason}), and this lies outside of what was seen then."


def _where(change: ExpectedChange) -> str:
    return f"{change.endpoint}: {change.aspect} {change.path} {change.kind}"


def _too_often(change: ExpectedChange, found: Evidence | None, snapshot: Snapshot, entries: int) -> Reason | None:
    """Told by a test of "each request shows it with chance at most the upper end of what was seen" that holds at every look.

    Requests that are sent again count once. An entry that says no rate, or all requests, cannot be exceeded.
    """
    seen, limit = change.seen, change.seen.rate_high
    if found is None or not found.expected_first or not seen.requests or not 0.0 < limit < 1.0:
        return None
    requests = _requests(snapshot, change.endpoint, first=True)
    if log_rate_e(found.expected_first, max(requests, found.expected_first), limit) < math.log(entries / RATE_LEVEL):
        return None
    message = (
        f"{_where(change)}: the change that {change.by} accepted was seen in {seen.changed:,} of {count_of(seen.requests, 'request')}, "
        f"and shows in {found.expected_first:,} of {requests:,} now."
    )
    return reason(ReasonCode.ACCEPTED_BUT_CHANGED, message, change.id)


def _outside(found: Evidence, entries: int) -> bool:
    """Whether noisy values, latency or determinism show what was accepted of them more often, by a test that holds at every look."""
    return found.noted is not None and found.noted.outside_log10 * LN10 >= math.log(entries / RATE_LEVEL)


def _more_often(change: ExpectedChange, found: Evidence) -> Reason:
    now = 0.0 if found.noted is None else found.noted.hits / max(1, found.noted.looks)
    message = (
        f"{_where(change)}: what {change.by} accepted was seen in at most {percent(change.seen.rate_high)} of the traffic, "
        f"and shows in {percent(now)} now."
    )
    return reason(ReasonCode.ACCEPTED_BUT_CHANGED, message, change.id)


def _missing_held(change: ExpectedChange, snapshot: Snapshot) -> Reason:
    """The same for what is told of many requests only: it failed where the latency as a whole lies below what was accepted."""
    state = next((state for state in snapshot.endpoints if state.endpoint == change.endpoint), None)
    interval = None if state is None else state.interval
    below = change.seen.low is not None and interval is not None and interval.high < change.seen.low
    if change.aspect is Aspect.LATENCY and change.path == MEDIAN and below and interval is not None:
        message = (
            f"{_where(change)}: it must change ({change.reason}), and the ratio of the medians is between {interval.low:.3g} "
            f"and {interval.high:.3g} now."
        )
        return reason(ReasonCode.MUST_CHANGE, message, change.id)
    message = f"{_where(change)}: it must change ({change.reason}), and was not found beyond chance in this traffic."
    return reason(ReasonCode.MUST_CHANGE_OPEN, message, change.id)


def _missing(change: ExpectedChange, found: Evidence | None, snapshot: Snapshot) -> Reason:
    """A change that must happen did not: told where it would have been seen, else open."""
    if is_held(change.aspect, change.kind):
        return _missing_held(change, snapshot)
    compared = _requests(snapshot, change.endpoint, first=False)
    rate = change.seen.changed / change.seen.requests if change.seen.changed and change.seen.requests else RATE_UNKNOWN
    needed = 1 if rate >= 1.0 else math.ceil(math.log(HAPPENS_LEVEL) / math.log1p(-rate))
    if found is not None and found.diverged and found.finding_class is not FindingClass.NOISE:
        aside = " What differs there lies outside of what was accepted."
    else:
        aside = ""
    # Without a second instance of stable nobody looks for a shift.
    unseen = change.kind is Kind.DISTANCE and snapshot.control is not Control.SECONDARY
    if compared >= needed and not unseen:
        message = f"{_where(change)}: it must change ({change.reason}), and did not in {count_of(compared, 'compared request')}.{aside}"
        return reason(ReasonCode.MUST_CHANGE, message, change.id)
    more = "only a secondary would tell" if unseen else f"about {count_of(needed - compared, 'more request')} would tell"
    message = f"{_where(change)}: it must change ({change.reason}), and has not in {count_of(compared, 'compared request')}; {more}.{aside}"
    return reason(ReasonCode.MUST_CHANGE_OPEN, message, change.id)


def _requests(snapshot: Snapshot, endpoint: str, *, first: bool) -> int:
    state = next((state for state in snapshot.endpoints if state.endpoint == endpoint), None)
    if state is None:
        return 0
    return state.requests if first else state.compared


def _notes(snapshot: Snapshot, expected: ExpectedFacts) -> list[Reason]:
    notes = []
    by_id = {finding.id: finding for finding in (*snapshot.findings, *snapshot.noise)}
    shown = [change for change in expected.applied if (found := by_id.get(change.id)) is not None and found.expected]
    if shown:
        words = listed(f"{_where(change)} in {_share(by_id, change)}, accepted by {change.by} until {change.expires}" for change in shown)
        notes.append(reason(ReasonCode.EXPECTED, f"{count_of(len(shown), 'accepted change')} seen, as accepted: {words}."))
    if expected.expired:
        words = listed(f"{_where(change)} (until {change.expires}, {change.by})" for change in expected.expired)
        notes.append(
            reason(ReasonCode.ACCEPTANCE_EXPIRED, f"{count_of(len(expected.expired), 'accepted change')} no longer held: {words}.")
        )
    if expected.self_accepted:
        how = "counted, as the policy allows it" if expected.self_accepted_applied else "did not count"
        words = listed(_where(change) for change in expected.self_accepted)
        number = count_of(len(expected.self_accepted), "change")
        notes.append(reason(ReasonCode.SELF_ACCEPTED, f"{number} accepted by the change under test itself {how}: {words}."))
    return notes


def _share(by_id: Mapping[str, Evidence], change: ExpectedChange) -> str:
    found = by_id[change.id]
    return f"{found.expected:,} of {count_of(found.compared, 'request')}"
