"""The gate: from where everything stands to pass, fail or inconclusive, always with reasons.

It fails closed: a pass needs every condition to hold, a failure needs evidence, and all else is inconclusive. A failure
beats what would make a run inconclusive: the evidence for it holds whatever else was not exercised, and the notes say what
was not. What it must not know: where the snapshot comes from.
"""

import math
from collections import Counter
from typing import Final

from harness.core.labels import Aspect, Control, Design, FindingClass, ReasonCode, RefusedReason, SkipReason, VerdictState
from harness.core.values import Totals
from harness.core.watched import EffectsFacts
from harness.evidence import accepted, covered, observed
from harness.evidence.expected import NOTHING_EXPECTED, ExpectedFacts
from harness.evidence.latency_standing import latency_words
from harness.evidence.martingale import binomial_upper
from harness.evidence.policy import Policy
from harness.evidence.snapshot import Blocking, Bound, Evidence, Reason, Snapshot, Verdict
from harness.evidence.words import count_of, listed, percent, reason

NOT_WATCHED: Final = EffectsFacts()
_LEFT_OUT: Final = frozenset(
    {SkipReason.EXCLUDED, SkipReason.SAMPLED_OUT, SkipReason.SWITCHED_OFF, SkipReason.OTHER_BUILD, SkipReason.EARLIER_EPOCH}
)
"""Never meant to be compared."""
MIXED_SHARE_MAX: Final = 0.01
"""Share of an epoch's requests that another build may answer: while one takes the other's place, both do."""
_NOT_COMPLETED: Final = frozenset({SkipReason.INTERRUPTED, SkipReason.TRUNCATED_REQUEST})
"""Skips that nobody wanted. All others are by rule."""
_TARGETS_FAULT: Final = frozenset({RefusedReason.UPSTREAM_UNREACHABLE, RefusedReason.UPSTREAM_BROKEN, RefusedReason.UPSTREAM_TIMEOUT})
"""Refusals that are no fault of the client's: these requests should have been compared."""


def judge(
    snapshot: Snapshot,
    totals: Totals,
    policy: Policy,
    *,
    interrupted: bool = False,
    ended: str = "",
    has_candidate: bool = True,
    replayable: int | None = None,
    unused_rules: tuple[str, ...] = (),
    effects: EffectsFacts = NOT_WATCHED,
    expected: ExpectedFacts = NOTHING_EXPECTED,
) -> Verdict:
    """The verdict.

    `replayable` is the number of requests of a capture that are to be compared in each pass, None for a stream.
    `ended` says why the run ended before its time, where nobody interrupted it. `unused_rules` are shown as a note. `effects` is
    what was watched beside the trials, `expected` what was accepted beforehand. The first reason is the headline.
    """
    of_accepted = accepted.told(snapshot, expected)
    notes = [
        *_notes(snapshot, totals, unused_rules),
        *observed.notes_of(snapshot, effects),
        *of_accepted.notes,
        *covered.notes_of(snapshot),
        *covered.idle_budgets(snapshot, policy.latency_budgets),
    ]
    if not has_candidate:
        return _verdict(VerdictState.INCONCLUSIVE, [reason(ReasonCode.NO_CANDIDATE, "No candidate was under test."), *notes])
    if totals.compared == 0 or snapshot.seq == 0:
        message = f"No request was compared ({count_of(totals.requests, 'request')} seen)."
        nothing = [*_interrupted(snapshot, ended, interrupted=interrupted), reason(ReasonCode.NO_DATA, message)]
        return _verdict(VerdictState.INCONCLUSIVE, [*nothing, *notes])
    doubts = _doubts(snapshot, totals, policy, ended, interrupted=interrupted, replayable=replayable)
    doubts += observed.doubts_of(snapshot, totals, policy, effects)
    doubts += of_accepted.doubts
    broken = observed.failures(snapshot, effects)
    if broken or of_accepted.failures or snapshot.proven_at is not None:
        why = [*observed.failed_words(broken), *_why_failed(snapshot, expected), *of_accepted.failures]
        return _verdict(VerdictState.FAIL, [*why, *doubts, *notes])
    doubts += _undecided(snapshot, policy, expected)
    if policy.preset == "rollout" and snapshot.design is not Design.NO_CONTROL:
        doubts += _open_claims(snapshot)
    if doubts:
        return _verdict(VerdictState.INCONCLUSIVE, [*doubts, *notes], blocking=_blocking(snapshot))
    make_bound = _rollout_bound if policy.preset == "rollout" else _capture_bound
    bound = make_bound(snapshot, policy, observed.compared_words(effects))
    notes = [*_not_fresh(snapshot, policy), *_thin(snapshot), *notes]
    return _verdict(VerdictState.PASS, [reason(ReasonCode.CLAIM_REACHED, bound.sentence), *notes], bound=bound)


def _verdict(state: VerdictState, reasons: list[Reason], *, bound: Bound | None = None, blocking: tuple[Blocking, ...] = ()) -> Verdict:
    return Verdict(state=state, reasons=tuple(reasons), bound=bound, blocking=blocking)


def _where(evidence: Evidence) -> str:
    return f"{evidence.endpoint}: {evidence.aspect} {evidence.path} {evidence.kind}"


def _unsteady(finding: Evidence) -> str:
    """The candidate disagrees with itself: in words."""
    steady = finding.still * 2 > finding.diverged
    what = "answers alike each time where stable does not" if steady else "answers one thing now and another then, where stable does not"
    stable = f"; one instance of stable alone is so in {finding.control_diverged:,}" if finding.control_diverged else ""
    return f"{_where(finding)}: asked again from fresh state, the candidate {what}, in {count_of(finding.diverged, 'repeat')}{stable}."


def _why_failed(snapshot: Snapshot, expected: ExpectedFacts) -> list[Reason]:
    """What the evidence proves; nothing where it does not fail the run by itself."""
    if snapshot.proven_at is None:
        return []
    reasons = []
    for f in snapshot.findings:
        if not f.blocks or f.finding_class is not FindingClass.DIVERGENCE:
            continue
        if f.aspect is Aspect.LATENCY:
            reasons.append(reason(accepted.latency_code(f, expected), latency_words(f) + accepted.changed_words(f, expected), f.id))
        elif f.aspect is Aspect.DETERMINISM:
            reasons.append(reason(ReasonCode.DIVERGENCE, _unsteady(f), f.id))
        else:
            repeats = f"; it came back in {f.confirmed} of {count_of(f.repeats, 'repeat')} from fresh state" if f.repeats else ""
            if f.repeats and f.log10_e < f.log10_threshold:
                repeats += ", and one request sent again proves it"
            control = "the control never differs there" if not f.control_diverged else f"the control differs in {f.control_diverged:,}"
            message = (
                f"{_where(f)}: the candidate alone differs in {f.diverged:,} of {count_of(f.compared, 'request')}, {control}{repeats}."
            )
            reasons.append(reason(accepted.code_of(f, expected), message + accepted.changed_words(f, expected), f.id))
    if not reasons:
        pools = ", ".join(pool.name for pool in snapshot.pools if pool.decided_at is not None)
        which = f" ({pools})" if pools else ""
        message = f"The candidate differs beyond noise over all differences together{which}; no single place is proven yet."
        reasons.append(reason(ReasonCode.POOLED_DIVERGENCE, message))
    return reasons


def _doubts(snapshot: Snapshot, totals: Totals, policy: Policy, ended: str, *, interrupted: bool, replayable: int | None) -> list[Reason]:
    """Everything that keeps a run without proven divergence from passing, but for undecided findings; gravest first."""
    return [
        *_vacuous(snapshot),
        *_not_reproduced(snapshot, policy),
        *_interrupted(snapshot, ended, interrupted=interrupted),
        *_no_control(snapshot, policy),
        *_mixed_builds(totals),
        *_incomplete(totals, policy),
        *_passes(snapshot, policy, replayable),
        *covered.doubts_of(snapshot, policy.coverage),
        *_uncomparable(snapshot),
    ]


def _interrupted(snapshot: Snapshot, ended: str, *, interrupted: bool) -> list[Reason]:
    if not (interrupted or ended):
        return []
    after = f"after {count_of(snapshot.seq, 'compared request')}" if snapshot.seq else "before any request was compared"
    message = f"The run ended {after}: {ended}." if ended else f"The run was interrupted {after}."
    return [reason(ReasonCode.INTERRUPTED, message)]


def _vacuous(snapshot: Snapshot) -> list[Reason]:
    compared = _compared(snapshot)
    if not snapshot.vacuous or 2 * snapshot.vacuous_trials <= compared:
        return []
    by_endpoint = {e.endpoint: e.compared for e in snapshot.endpoints}
    weights: Counter[str] = Counter()
    for endpoint, code in snapshot.vacuous.items():
        weights[code] += by_endpoint.get(endpoint, 0)
    code = ReasonCode(weights.most_common(1)[0][0])
    what = {ReasonCode.VACUOUS_AUTH: "401 or 403", ReasonCode.VACUOUS_DATA: "404", ReasonCode.VACUOUS_ERRORS: "429, 5xx or no answer"}[code]
    share = f"{snapshot.vacuous_trials:,} of {compared:,} went to endpoints that nearly always answered {what}"
    message = f"Most requests exercised nothing: {share} ({listed(snapshot.vacuous)})."
    return [reason(code, message)]


def _not_reproduced(snapshot: Snapshot, policy: Policy) -> list[Reason]:
    reasons = []
    compared = _compared(snapshot)
    for mismatches, total, what in (
        (snapshot.status_mismatch_recorded, snapshot.recorded, "stable's status class is not the recorded one"),
        (snapshot.status_mismatch_control, compared, "secondary's status class is not stable's"),
    ):
        if mismatches > policy.not_reproduced_share_max * total:
            message = f"The traffic was not reproduced: in {mismatches:,} of {count_of(total, 'request')} {what}."
            reasons.append(reason(ReasonCode.TRAFFIC_NOT_REPRODUCED, message))
    return reasons


def _no_control(snapshot: Snapshot, policy: Policy) -> list[Reason]:
    if snapshot.design is not Design.NO_CONTROL and snapshot.control not in (Control.NONE, Control.RECORDED):
        return []
    message = (
        f'There was no control: only "it differs in more than {percent(policy.eps0)} of the requests" could be tested, place by place.'
    )
    return [reason(ReasonCode.NO_CONTROL, message)]


def completed_share(totals: Totals) -> float:
    """Share of the requests that were compared, or skipped by rule, among those that could have been.

    What a client got wrong (a bad request, a body beyond the bound) and what the user leaves out of the sample are left out
    here too, or a small sample would hide any loss within it; what was shed, skipped for want of a whole
    body or time, or could not be had from stable counts against.
    """
    lost = sum(totals.shed.values())
    lost += sum(count for name, count in totals.skipped.items() if name in _NOT_COMPLETED)
    lost += sum(count for name, count in totals.refused.items() if name in _TARGETS_FAULT)
    done = totals.compared + sum(count for name, count in totals.skipped.items() if name not in _NOT_COMPLETED | _LEFT_OUT)
    return done / (done + lost) if done + lost else 0.0


def _incomplete(totals: Totals, policy: Policy) -> list[Reason]:
    share = completed_share(totals)
    if share >= policy.completed_share_min:
        return []
    parts = [f"{name} {count:,}" for counts in (totals.shed, totals.skipped, totals.refused) for name, count in sorted(counts.items())]
    needed = percent(policy.completed_share_min)
    message = f"Only {percent(share, up=False)} of the requests were completed; {needed} are needed ({', '.join(parts)})."
    return [reason(ReasonCode.LOW_COMPLETION, message)]


def _mixed_builds(totals: Totals) -> list[Reason]:
    """Two builds under the candidate's address: what one of them did cannot be told from what the other made of it."""
    others = totals.skipped.get(SkipReason.OTHER_BUILD, 0)
    answered = totals.compared + others
    if others <= MIXED_SHARE_MAX * answered:
        return []
    message = f"Another build of the candidate answered {others:,} of {count_of(answered, 'request')}: they were left out."
    return [reason(ReasonCode.MIXED_BUILDS, message)]


def _passes(snapshot: Snapshot, policy: Policy, replayable: int | None) -> list[Reason]:
    if policy.preset == "rollout":
        return []
    if replayable is None:
        message = "Preset capture speaks of a capture that was sent in passes; this was a stream. Judge it with preset rollout."
        return [reason(ReasonCode.TOO_LITTLE_DATA, message)]
    needed = math.ceil(policy.completed_share_min * replayable)
    whole = sum(1 for count in snapshot.compared_in_passes.values() if count >= max(1, needed))
    if whole >= policy.passes_min:
        return []
    message = f"Every request has to be compared in {policy.passes_min} passes or more; it was so in {whole}."
    return [reason(ReasonCode.TOO_LITTLE_DATA, message)]


def _uncomparable(snapshot: Snapshot) -> list[Reason]:
    if not snapshot.uncomparable:
        return []
    return [reason(ReasonCode.UNCOMPARABLE, f"In {count_of(snapshot.uncomparable, 'request')} a part could not be compared.")]


def _undecided(snapshot: Snapshot, policy: Policy, expected: ExpectedFacts) -> list[Reason]:
    reasons = []
    for f in snapshot.findings:
        if f.blocks and f.finding_class is FindingClass.UNDECIDED:
            repeats = f" and came back in {f.confirmed} of {count_of(f.repeats, 'repeat')}" if f.repeats else ""
            follows = f", following from finding {f.root}" if f.root else ""
            seen = f"{f.diverged:,} of {count_of(f.compared, 'request')}"
            message = f"{_where(f)}: the candidate alone differs in {seen}{repeats}{follows}; not enough to decide."
            reasons.append(reason(ReasonCode.UNDECIDED, message + accepted.changed_words(f, expected), f.id))
    if snapshot.pooled_candidate:
        beyond = count_of(snapshot.pooled_candidate, "difference")
        message = f"{beyond} of the candidate alone lie beyond the bound on hypotheses and were only pooled."
        reasons.append(reason(ReasonCode.UNDECIDED, message))
    if reasons and not snapshot.fresh and policy.preset != "rollout":
        message = "Repeats did not count: the targets were not brought back to a fresh state between passes."
        reasons.append(reason(ReasonCode.NOT_FRESH, message))
    return reasons


def _open_claims(snapshot: Snapshot) -> list[Reason]:
    open_claims = [claim for claim in snapshot.claims if claim.more_requests != 0]
    if snapshot.claims and not open_claims:
        return []
    worst = max((claim.more_requests or 0 for claim in open_claims), default=0)
    unknown = sum(claim.more_requests is None for claim in open_claims)
    more = f"about {count_of(worst, 'more request')} to the slowest" if worst else "how many more requests is unknown"
    message = (
        f"{count_of(len(open_claims), 'claim')} of the pass not reached yet, {more}"
        + (f"; {unknown} will not be reached at the rates seen" if unknown else "")
        + "."
    )
    return [reason(ReasonCode.TOO_LITTLE_DATA, message)]


def _blocking(snapshot: Snapshot) -> tuple[Blocking, ...]:
    undecided = [Blocking(_where(f), f.more_requests) for f in snapshot.findings if f.blocks and f.finding_class is FindingClass.UNDECIDED]
    return (*undecided, *(Blocking(c.hypothesis, c.more_requests) for c in snapshot.claims if c.more_requests != 0))


def _beside(snapshot: Snapshot, compared: str) -> str:
    """What a bound's sentence says in brackets: what was compared beside the answers, and what was left out."""
    noisy = sum(f.noisy for f in snapshot.noise)
    expected = sum(f.finding_class is FindingClass.EXPECTED for f in snapshot.findings)
    said = [
        compared,
        f"{count_of(noisy, 'noisy field')} left out" if noisy else "",
        f"{count_of(expected, 'accepted change')} left out" if expected else "",
    ]
    return f" ({'; '.join(filter(None, said))})" if any(said) else ""


def _capture_bound(snapshot: Snapshot, policy: Policy, compared: str) -> Bound:
    """The exact upper bound of the rate of diverging requests, by distinct requests: sending one again tells nothing of others."""
    requests = snapshot.requests_distinct
    level = 1.0 - policy.beta
    diverged = requests if snapshot.requests_diverged is None else min(snapshot.requests_diverged, requests)
    rate = binomial_upper(diverged, requests, level)
    shown = (
        "without a difference" if not diverged else f", {diverged:,} with a difference that did not come back or that the control shows too"
    )
    head = f"{count_of(requests, 'request')} {shown}".replace(" ,", ",")
    beside = _beside(snapshot, compared)
    if rate >= 1.0:
        sentence = f"{head}: nothing is claimed about other such requests{beside}."
    else:
        sentence = f"{head}: with {percent(level)} confidence fewer than {percent(rate)} of such requests differ{beside}."
    return Bound(requests=requests, rate=rate, level=level, sentence=sentence)


def _rollout_bound(snapshot: Snapshot, policy: Policy, compared: str) -> Bound:
    level = 1.0 - policy.beta
    requests = sum(e.requests for e in snapshot.endpoints)
    beside = _beside(snapshot, compared)
    sentence = (
        f"{count_of(requests, 'request')}: with {percent(level)} confidence the candidate's status differs beyond the control in fewer "
        f"than {percent(policy.delta_status)} of the requests, and any one field in fewer than {percent(policy.delta)}{beside}."
    )
    return Bound(requests=requests, rate=policy.delta, level=level, sentence=sentence)


def _not_fresh(snapshot: Snapshot, policy: Policy) -> list[Reason]:
    if snapshot.fresh or policy.preset == "rollout":
        return []
    message = "The passes were not sent from fresh state: nothing differed, but a later pass is no independent answer."
    return [reason(ReasonCode.NOT_FRESH, message)]


def _thin(snapshot: Snapshot) -> list[Reason]:
    if not snapshot.thin_endpoints:
        return []
    names = snapshot.thin_endpoints
    message = f"{count_of(len(names), 'endpoint')} had too few requests for a bound of their own: {listed(names)}."
    return [reason(ReasonCode.THIN_ENDPOINTS, message)]


def _notes(snapshot: Snapshot, totals: Totals, unused_rules: tuple[str, ...]) -> list[Reason]:
    """What a reader must know whatever the verdict is."""
    notes = []
    if not snapshot.latency_valid:
        notes.append(reason(ReasonCode.LATENCY_INVALID, "Stable and secondary differ in speed, so latency had no say."))
    elif not snapshot.latency_tails_valid:
        message = "Stable and secondary differ in the tails of their latency, so tails and latency budgets had no say."
        notes.append(reason(ReasonCode.LATENCY_INVALID, message))
    for skipped, code, what in (
        (SkipReason.WRITE, ReasonCode.WRITES_SKIPPED, "writes were not sent to the shadows"),
        (SkipReason.OTHER_HOST, ReasonCode.HOSTS_SKIPPED, "requests to other hosts were left out"),
        (SkipReason.BROKEN_ENTRY, ReasonCode.BROKEN_ENTRIES, "broken entries of the capture were left out"),
    ):
        if totals.skipped.get(skipped, 0):
            notes.append(reason(code, f"{totals.skipped[skipped]:,} {what}."))
    if snapshot.vacuous and 2 * snapshot.vacuous_trials <= _compared(snapshot):
        for name_of_code in sorted(set(snapshot.vacuous.values())):
            names = [name for name, of in snapshot.vacuous.items() if of == name_of_code]
            notes.append(reason(ReasonCode(name_of_code), f"{count_of(len(names), 'endpoint')} not exercised: {listed(names)}."))
    if unused_rules:
        notes.append(reason(ReasonCode.UNUSED_RULES, f"{count_of(len(unused_rules), 'rule')} matched nothing: {listed(unused_rules)}."))
    return notes


def _compared(snapshot: Snapshot) -> int:
    return sum(e.compared for e in snapshot.endpoints)
