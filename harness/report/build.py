"""The pure function from what a run left behind to its report. Decides nothing: it orders, bounds and names."""

import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from harness.core.canon import Rule
from harness.core.labels import NEXT_STEP, FindingClass, RefusedReason, Role, Severity, ShedReason, SkipReason
from harness.core.limits import REPORT_EXEMPLARS_MAX, REPORT_FINDINGS_MAX, REPORT_NOISE_MAX
from harness.core.values import Totals
from harness.core.watched import EffectsFacts
from harness.evidence.expected import NOTHING_EXPECTED, ExpectedFacts
from harness.evidence.policy import Policy, PolicyOrigin, digest_of
from harness.evidence.seen import Seen
from harness.evidence.slices import Slice
from harness.evidence.snapshot import (
    EndpointState,
    Evidence,
    Interval,
    LatencyChannel,
    LatencyEffect,
    Reason,
    Snapshot,
    TargetLatency,
    Verdict,
)
from harness.report.effect_facts import bounded_facts
from harness.report.effect_words import blind_words
from harness.report.model import (
    SCHEMA,
    Accepted,
    Blind,
    Coverage,
    EndpointView,
    Exemplar,
    FindingView,
    LatencyView,
    PolicyFacts,
    Report,
    RequestTotals,
    RuleView,
    RunFacts,
    SettingUsed,
)
from harness.report.text import clean, method_of, shown_setting

NOTHING_SEEN: Final[Mapping[str, Seen]] = {}
NO_EFFECTS: Final = EffectsFacts()
"""A run that watched none."""
SEVERITY_ORDER: Final = {severity: index for index, severity in enumerate(Severity)}
CLASS_ORDER: Final = {
    FindingClass.DIVERGENCE: 0,
    FindingClass.UNDECIDED: 1,
    FindingClass.EXPECTED: 2,
    FindingClass.NOISE: 3,
}


def policy_digest(policy: Policy) -> str:
    """SHA-256 (hex) of the policy's values, the same for the same numbers wherever they came from."""
    return digest_of(policy)


def coverage_of(snapshot: Snapshot, not_compared: Iterable[str] = ()) -> Coverage:
    """What the snapshot's endpoints exercised."""
    methods: dict[str, int] = {}
    classes: dict[str, int] = {}
    for state in snapshot.endpoints:
        method = method_of(state.endpoint)
        methods[method] = methods.get(method, 0) + state.compared
        for status_class, count in state.statuses.get(Role.STABLE, {}).items():
            classes[status_class] = classes.get(status_class, 0) + count
    return Coverage(
        endpoints=sum(1 for state in snapshot.endpoints if state.compared),
        methods=dict(sorted(methods.items())),
        status_classes=dict(sorted(classes.items())),
        vacuous={clean(endpoint): code for endpoint, code in sorted(snapshot.vacuous.items())},
        thin=tuple(clean(endpoint) for endpoint in snapshot.thin_endpoints),
        not_compared=tuple(sorted(clean(endpoint) for endpoint in not_compared)),
    )


def build_report(
    *,
    run: RunFacts,
    policy: Policy,
    snapshot: Snapshot,
    verdict: Verdict | None,
    totals: Totals,
    rules: Iterable[Rule] = (),
    rules_used: Iterable[int] = (),
    exemplars: Iterable[Exemplar] = (),
    blind: Iterable[Blind] = (),
    coverage: Coverage | None = None,
    settings: Iterable[SettingUsed] = (),
    effects: EffectsFacts = NO_EFFECTS,
    origin: PolicyOrigin | None = None,
    seen: Mapping[str, Seen] = NOTHING_SEEN,
    expected: ExpectedFacts = NOTHING_EXPECTED,
) -> Report:
    """Everything that is said about a run, as one value.

    `verdict` is None for a replay, which judges nothing. `rules_used` are indices into `rules`. Exemplars must have
    been built from redacted trials; they are attached by finding id, and one of an unknown finding is left out.
    `origin` says which policy it is where `policy` is not the whole of it.
    What could not be seen of `effects` is put beside `blind`. `seen` is what was seen of findings, by id and redacted; `expected`
    the accepted changes.
    Numbers that are not finite become the largest finite ones, so that the report stays JSON.
    """
    listed = sorted(snapshot.findings, key=_gravest_first)[:REPORT_FINDINGS_MAX]
    watched = bounded_facts(effects)
    shown = _shared_out(listed, exemplars)
    used = frozenset(rules_used)
    rule_views = tuple(_rule_view(index, rule, used=index in used) for index, rule in enumerate(rules))
    return Report(
        schema=SCHEMA,
        verdict=verdict.state if verdict else None,
        reasons=tuple(_reason(reason) for reason in verdict.reasons) if verdict else (),
        run=run,
        policy=_policy_facts(policy, origin),
        control=snapshot.control,
        totals=_request_totals(totals),
        errors={Role(role): count for role, count in sorted(totals.errors.items())},
        passes=snapshot.passes,
        bound=verdict.bound if verdict else None,
        endpoints=tuple(_endpoint_view(state) for state in sorted(snapshot.endpoints, key=lambda state: state.endpoint)),
        findings=tuple(_accepted_view(_finding_view(evidence, shown.get(evidence.id, ())), seen, expected) for evidence in listed),
        noise=tuple(_finding_view(evidence, ()) for evidence in snapshot.noise[:REPORT_NOISE_MAX]),
        rules=rule_views,
        unused_rules=tuple(view for view in rule_views if not view.used),
        blocking=verdict.blocking if verdict else (),
        blind=(*blind, *_blind_of(snapshot), *_blind_effects(effects, watched)),
        coverage=coverage or coverage_of(snapshot),
        settings=tuple(settings),
        effects=watched,
        repeats=_repeats(snapshot),
    )


def _repeats(snapshot: Snapshot) -> dict[Role, int]:
    if not snapshot.repeats:
        return {}
    return {Role.STABLE: snapshot.repeats_of_stable, Role.SECONDARY: snapshot.repeats, Role.CANDIDATE: snapshot.repeats}


def settings_used(values: Mapping[str, tuple[object, str]]) -> tuple[SettingUsed, ...]:
    """Settings as key -> (value, source), as a report shows them: sorted, secrets redacted, values bounded."""
    return tuple(
        SettingUsed(key=clean(key), value=shown_setting(key, value), source=clean(source))
        for key, (value, source) in sorted(values.items())
    )


def _gravest_first(evidence: Evidence) -> tuple[int, int, float, str]:
    return (
        SEVERITY_ORDER[evidence.severity],
        CLASS_ORDER[evidence.finding_class],
        -evidence.log10_e,
        evidence.id,
    )


def _shared_out(listed: list[Evidence], exemplars: Iterable[Exemplar]) -> dict[str, list[Exemplar]]:
    """Exemplars by finding, REPORT_EXEMPLARS_MAX in all: one for each finding in order, then a second for each, and so on."""
    offered: dict[str, list[Exemplar]] = {evidence.id: [] for evidence in listed}
    for exemplar in exemplars:
        if exemplar.finding in offered:
            offered[exemplar.finding].append(exemplar)
    turns = sorted((turn, place, name) for place, name in enumerate(offered) for turn in range(len(offered[name])))
    shown: dict[str, list[Exemplar]] = {}
    for turn, _, name in turns[:REPORT_EXEMPLARS_MAX]:
        shown.setdefault(name, []).append(offered[name][turn])
    return shown


def _policy_facts(policy: Policy, origin: PolicyOrigin | None) -> PolicyFacts:
    origin = origin or PolicyOrigin(digest=policy_digest(policy))
    return PolicyFacts(
        name=policy.name,
        digest=origin.digest,
        preset=policy.preset,
        alpha=policy.alpha,
        beta=policy.beta,
        delta=policy.delta,
        ref=clean(origin.ref),
        conditions=tuple(clean(words) for words in origin.conditions),
    )


def _request_totals(totals: Totals) -> RequestTotals:
    return RequestTotals(
        requests=totals.requests,
        compared=totals.compared,
        diverged=totals.diverged,
        shed={ShedReason(reason): count for reason, count in totals.shed.items()},
        skipped={SkipReason(reason): count for reason, count in totals.skipped.items()},
        refused={RefusedReason(reason): count for reason, count in totals.refused.items()},
    )


def _reason(reason: Reason) -> Reason:
    return Reason(
        code=reason.code,
        message=clean(reason.message),
        finding=reason.finding,
        next_step=clean(reason.next_step or NEXT_STEP[reason.code]),
    )


def _finding_view(evidence: Evidence, exemplars: Iterable[Exemplar]) -> FindingView:
    return FindingView(
        id=evidence.id,
        endpoint=clean(evidence.endpoint),
        aspect=evidence.aspect,
        path=clean(evidence.path),
        kind=evidence.kind,
        finding_class=evidence.finding_class,
        severity=evidence.severity,
        compared=evidence.compared,
        diverged=evidence.diverged,
        control_diverged=evidence.control_diverged,
        log10_e=_finite(evidence.log10_e),
        log10_threshold=_finite(evidence.log10_threshold),
        rate=_finite(evidence.rate),
        interval=_finite_interval(evidence.interval),
        root=evidence.root,
        decided_at=evidence.decided_at,
        decided_pass=evidence.decided_pass,
        confirmed=evidence.confirmed,
        repeats=evidence.repeats,
        more_requests=evidence.more_requests,
        log10_confirmation=_finite(evidence.log10_confirmation),
        followers=evidence.followers,
        noisy=evidence.noisy,
        detail=clean(evidence.detail),
        blocks=evidence.blocks,
        slice=None if evidence.slice is None else _slice_view(evidence.slice),
        exemplars=tuple(exemplars),
        latency=None if evidence.latency is None else _finite_effect(evidence.latency),
        expected=evidence.expected,
        occurs=evidence.occurs,
    )


def _accepted_view(view: FindingView, seen: Mapping[str, Seen], expected: ExpectedFacts) -> FindingView:
    """A finding with what was seen of it, and who accepted it or once did."""
    change = next((change for change in (*expected.applied, *expected.expired, *expected.self_accepted) if change.id == view.id), None)
    said = None
    if change is not None:
        said = Accepted(reason=clean(change.reason), by=clean(change.by), expires=clean(change.expires), must_change=change.must_change)
    return msgspec.structs.replace(view, seen=seen.get(view.id), accepted=said)


def _slice_view(found: Slice) -> Slice:
    return msgspec.structs.replace(found, attribute=clean(found.attribute), value=clean(found.value), sentence=clean(found.sentence))


def _endpoint_view(state: EndpointState) -> EndpointView:
    return EndpointView(
        endpoint=clean(state.endpoint),
        compared=state.compared,
        diverged=state.diverged,
        bound=state.bound,
        latency=LatencyView(
            targets={Role(role): _finite_latency(latency) for role, latency in state.latency.items()},
            ratio=None if state.ratio is None else _finite(state.ratio),
            interval=None if state.interval is None else _finite_interval(state.interval),
            gates=state.latency_gates,
            channels=tuple(_finite_channel(channel) for channel in state.latency_channels),
        ),
        statuses={Role(role): dict(sorted(counts.items())) for role, counts in state.statuses.items()},
    )


def _rule_view(index: int, rule: Rule, *, used: bool) -> RuleView:
    return RuleView(
        index=index,
        action=rule.action,
        endpoint=clean(rule.endpoint),
        aspect=rule.aspect,
        path=clean(rule.path),
        why=clean(rule.why),
        used=used,
    )


def _blind_of(snapshot: Snapshot) -> list[Blind]:
    """What the ledger itself could not hold, and what the report's own bounds leave out."""
    found: list[Blind] = []
    if snapshot.pooled_hypotheses:
        found.append(Blind(what="paths beyond the bound on hypotheses: they count in the pools only", count=snapshot.pooled_hypotheses))
    if snapshot.uncomparable:
        found.append(Blind(what="requests of which a comparator could not finish a part", count=snapshot.uncomparable))
    if not snapshot.latency_valid:
        found.append(Blind(what="latency: stable and secondary differ from each other in speed"))
    if len(snapshot.findings) > REPORT_FINDINGS_MAX:
        found.append(Blind(what="findings beyond the report's bound", count=len(snapshot.findings) - REPORT_FINDINGS_MAX))
    if len(snapshot.noise) > REPORT_NOISE_MAX:
        found.append(Blind(what="noise entries beyond the report's bound", count=len(snapshot.noise) - REPORT_NOISE_MAX))
    return found


def _blind_effects(effects: EffectsFacts, shown: EffectsFacts) -> list[Blind]:
    """What could not be seen of effects, and what the report's own bounds leave out of them."""
    found = [Blind(what=clean(what), count=count) for what, count in blind_words(shown)]
    for what, count in (
        ("operations that belong to no request, beyond the report's bound", len(effects.unattributed) - len(shown.unattributed)),
        ("tables and columns that ended otherwise, beyond the report's bound", len(effects.tables) - len(shown.tables)),
    ):
        if count:
            found.append(Blind(what=what, count=count))
    return found


_FLOAT_MAX: Final = 1e308


def _finite(value: float) -> float:
    if math.isnan(value):
        return 0.0
    return max(-_FLOAT_MAX, min(_FLOAT_MAX, value))


def _finite_interval(interval: Interval) -> Interval:
    return Interval(low=_finite(interval.low), high=_finite(interval.high), level=interval.level)


def _finite_channel(channel: LatencyChannel) -> LatencyChannel:
    return msgspec.structs.replace(channel, log10_e=_finite(channel.log10_e), log10_threshold=_finite(channel.log10_threshold))


def _finite_effect(effect: LatencyEffect) -> LatencyEffect:
    return LatencyEffect(
        channel=_finite_channel(effect.channel),
        ratio=None if effect.ratio is None else _finite(effect.ratio),
        candidate=None if effect.candidate is None else _finite_latency(effect.candidate),
        control=None if effect.control is None else _finite_latency(effect.control),
    )


def _finite_latency(latency: TargetLatency) -> TargetLatency:
    return TargetLatency(p50_ms=_finite(latency.p50_ms), p90_ms=_finite(latency.p90_ms), p99_ms=_finite(latency.p99_ms))
