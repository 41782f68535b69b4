"""What a policy wants exercised, and what it lets differ: reasons of the gate about both. Pure."""

from typing import Final

from harness.core.labels import FindingClass, ReasonCode
from harness.evidence.budgets import budget_path
from harness.evidence.hard_rules import pattern_of
from harness.evidence.policy import CoverageWanted, LatencyBudget
from harness.evidence.snapshot import Reason, Snapshot
from harness.evidence.words import count_of, listed, reason

_WORDS_OF_METHOD: Final = 2
"""An endpoint is `METHOD template`, or a host, then that."""


def doubts_of(snapshot: Snapshot, wanted: CoverageWanted) -> list[Reason]:
    """What keeps a run from passing for want of coverage. An endpoint that only looked exercised (`vacuous`) was not."""
    compared = [state.endpoint for state in snapshot.endpoints if state.compared and state.endpoint not in snapshot.vacuous]
    methods = {word for name in compared for word in name.split(" ")[:_WORDS_OF_METHOD]}
    requests = sum(state.requests for state in snapshot.endpoints if state.endpoint in set(compared))
    missing = [pattern for pattern in wanted.endpoints if not any(map(pattern_of(pattern).fullmatch, compared))]
    unused = [method for method in wanted.methods if method not in methods]
    said = []
    if missing:
        said.append(f"no compared endpoint is {listed(missing)}")
    if unused:
        said.append(f"no compared request was {listed(unused)}")
    if requests < wanted.requests_min:
        said.append(f"{count_of(requests, 'request')} compared, {wanted.requests_min:,} needed")
    return [reason(ReasonCode.TOO_LITTLE_COVERAGE, f"The policy asks for more coverage: {'; '.join(said)}.")] if said else []


def notes_of(snapshot: Snapshot) -> list[Reason]:
    """What differs and does not block, so that nobody takes a pass for more than it is."""
    names = [
        f"{one.endpoint}: {one.aspect} {one.path} {one.kind}"
        for one in snapshot.findings
        if not one.blocks and one.finding_class in (FindingClass.DIVERGENCE, FindingClass.UNDECIDED)
    ]
    if not names:
        return []
    return [reason(ReasonCode.NOT_BLOCKING, f"{count_of(len(names), 'difference')} that the policy does not let block: {listed(names)}.")]


def idle_budgets(snapshot: Snapshot, budgets: tuple[LatencyBudget, ...]) -> list[Reason]:
    """Latency budgets that no compared endpoint fits: they judge nothing, and a slip in a pattern would look like a promise kept."""
    compared = [state.endpoint for state in snapshot.endpoints if state.compared]
    names = [f"{one.endpoint} ({budget_path(one)})" for one in budgets if not any(map(pattern_of(one.endpoint).fullmatch, compared))]
    if not compared or not names:
        return []
    message = f"{count_of(len(names), 'latency budget')} judged nothing, as no compared endpoint fits: {listed(names)}."
    return [reason(ReasonCode.UNUSED_RULES, message)]
