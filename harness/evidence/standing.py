"""Reads a ledger and says where each hypothesis stands: divergence, noise or undecided, and what is still open.

It changes nothing. The rules of closing are here; the rules of betting are the ledger's.
"""

import math
from itertools import chain
from typing import TYPE_CHECKING, Final

import msgspec

from harness.core.labels import Design, FindingClass
from harness.core.limits import SLICE_FINDINGS_MAX
from harness.evidence.accepted import merged, with_expected
from harness.evidence.claims import THIN_BOUND, claims_of
from harness.evidence.confirm import EVENED_LOG_E_MAX
from harness.evidence.determinism import evidence_of
from harness.evidence.findings import gravest_first, severity_of
from harness.evidence.hypothesis import Hypothesis, log10_threshold
from harness.evidence.latency_standing import LatencyStanding
from harness.evidence.martingale import LN10, binomial_upper, excess_interval, log_pass
from harness.evidence.noise_standing import Look
from harness.evidence.roots import Shown, with_roots
from harness.evidence.snapshot import EndpointState, Evidence, Interval, PoolEvidence, Snapshot
from harness.evidence.weights import Pool

if TYPE_CHECKING:
    from harness.evidence.ledger import EndpointLedger, Ledger

LEVEL: Final = 0.95
"""Coverage of intervals."""


class Standing:
    """One look at a ledger."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger
        self._policy = ledger.policy
        self._latency = LatencyStanding(ledger)
        self._seen = sum(
            1 for _, hypothesis in ledger.hypotheses() if hypothesis.alone and hypothesis.blocks and ledger.decided(hypothesis) is None
        )
        """Among how many hypotheses the largest evidence is looked for."""

    def class_of(self, endpoint: "EndpointLedger", hypothesis: Hypothesis) -> FindingClass:
        """What the evidence says. Followers of an earlier divergence share the fate of their root."""
        if self._ledger.decided(hypothesis) is not None:
            return FindingClass.DIVERGENCE
        if hypothesis.alone:
            return FindingClass.NOISE if self.closed(endpoint, hypothesis) else FindingClass.UNDECIDED
        if not hypothesis.followers:
            return FindingClass.NOISE
        root = self._ledger.by_id.get(hypothesis.root or "")
        if root is None or root is hypothesis:
            return FindingClass.UNDECIDED
        of_root = self.class_of(self._ledger.endpoints[root.endpoint], root) if root.alone else FindingClass.NOISE
        return FindingClass.NOISE if of_root is FindingClass.NOISE else FindingClass.UNDECIDED

    def closed(self, endpoint: "EndpointLedger", hypothesis: Hypothesis) -> bool:
        """Whether what was seen is accounted for by noise.

        Preset capture: every question about it is settled (it does not come back beyond the control), and either the control
        differs here too and the evidence is not worth mentioning, or an excess of delta is rejected. Preset rollout: an excess
        of delta is rejected; or the control differs too, the evidence is not worth mentioning, and the path is noisy or its
        endpoint thinner than delta. Questions, which nobody may be there to repeat, are not asked for. Never without a control.
        """
        if self._ledger.design is Design.NO_CONTROL:
            return False
        noisy = self.noisy(endpoint, hypothesis)
        evened = hypothesis.control > 0 and hypothesis.stake.log_e < self._worth_mentioning(hypothesis)
        excluded = log_pass(
            hypothesis.first, hypothesis.control_first, hypothesis.control_half_first, endpoint.first, self._policy.delta
        ) >= -math.log(self._policy.beta)
        if self._policy.preset == "rollout":
            thin = endpoint.exercise.compared < self._policy.delta * (self._ledger.folded - self._ledger.repeats)
            return excluded or (evened and (noisy or thin))
        settled = not self._ledger.questions.unsettled(hypothesis) and (noisy or not hypothesis.unasked)
        return settled and (evened or excluded)

    def _worth_mentioning(self, hypothesis: Hypothesis) -> float:
        """The log E from which on an excess of the candidate keeps a hypothesis open.

        Where the candidate stands alone no more often than a stable instance does, the largest of m fair games is above m
        with a good chance at any time, so it has to be beyond that.
        """
        if hypothesis.alone > hypothesis.odd_control + hypothesis.control_half:
            return EVENED_LOG_E_MAX
        return max(EVENED_LOG_E_MAX, math.log(self._seen or 1))

    def noisy(self, endpoint: "EndpointLedger", hypothesis: Hypothesis) -> bool:
        """Whether its control differs too often for a claim at delta."""
        return hypothesis.noisy(endpoint.exercise.compared, self._policy.noisy_share)

    def snapshot(self) -> Snapshot:
        """The whole."""
        ledger = self._ledger
        findings: list[Evidence] = []
        noise: list[Evidence] = []
        shown: set[int] = set()
        too_many = open_questions = 0
        for endpoint, hypothesis in ledger.hypotheses():
            evidence = with_expected(self._evidence(endpoint, hypothesis), hypothesis, endpoint.untainted)
            if evidence.finding_class is FindingClass.NOISE:
                noise.append(evidence)
            else:
                findings.append(evidence)
                is_open = hypothesis.blocks and evidence.finding_class is FindingClass.UNDECIDED and hypothesis.alone > 0
                open_questions += ledger.fresh and is_open
            if not evidence.noisy:
                shown |= hypothesis.requests
                too_many += hypothesis.requests_overflow
        for endpoint in ledger.endpoints.values():
            findings += self._latency.findings(endpoint)
            open_questions += self._latency.open_questions(endpoint)
        restless = self._restless(findings)
        apart = self._at_noisy_places(findings)
        findings = merged(findings, apart) + restless + apart
        open_questions += ledger.noise.in_sight() + ledger.determinism.in_sight() if ledger.fresh else 0
        open_questions += ledger.fresh and sum(one.finding_class is FindingClass.UNDECIDED for one in apart)
        findings, noise = ([self._blocking(one) for one in found] for found in (findings, noise))
        findings.sort(key=gravest_first)
        findings = self._explained(findings)
        noise.sort(key=gravest_first)
        vacuous = {name: str(code) for name, e in sorted(ledger.endpoints.items()) if (code := e.exercise.vacuous()) is not None}
        endpoints = tuple(self._endpoint(e) for _, e in sorted(ledger.endpoints.items()))
        wealth = ledger.wealth
        reached, proven = ledger.failed(), ledger.proven()
        return Snapshot(
            seq=ledger.folded,
            control=ledger.control,
            design=ledger.design,
            passes=len(ledger.passes),
            gate_log10=math.log10(wealth.largest(latency=ledger.latency.valid, tails=ledger.latency.tails_valid)),
            gate_log10_threshold=-math.log10(self._policy.alpha),
            findings=tuple(findings),
            noise=tuple(noise),
            endpoints=endpoints,
            open_questions=open_questions,
            pooled_hypotheses=ledger.overflow,
            compared_in_passes=dict(sorted(ledger.passes.items())),
            status_mismatch_recorded=ledger.reproduction.mismatch_recorded,
            recorded=ledger.reproduction.recorded,
            status_mismatch_control=ledger.reproduction.mismatch_control,
            vacuous=vacuous,
            vacuous_trials=sum(ledger.endpoints[name].exercise.compared for name in vacuous),
            latency_valid=ledger.latency.valid,
            latency_tails_valid=ledger.latency.tails_valid,
            failed_at=None if reached is None else reached[0],
            failed_pass=None if reached is None else reached[1],
            proven_at=None if proven is None else proven[0],
            hard=ledger.hard.broken(),
            rules_unmet=ledger.hard.unmet(),
            pools=self._pools(),
            claims=claims_of(ledger, self) if self._policy.preset == "rollout" else (),
            fresh=ledger.fresh,
            requests_distinct=sum(e.first_sends for name, e in ledger.endpoints.items() if name not in vacuous),
            requests_diverged=None if too_many else len(shown),
            uncomparable=ledger.uncomparable,
            repeats=ledger.repeats,
            repeats_of_stable=ledger.repeats_of_stable,
            pooled_candidate=ledger.overflow_alone,
            thin_endpoints=tuple(
                e.endpoint for e in endpoints if e.endpoint not in vacuous and binomial_upper(0, e.requests, LEVEL) > THIN_BOUND
            ),
        )

    def _restless(self, findings: list[Evidence]) -> list[Evidence]:
        """Places where the candidate disagrees with itself, below the finding that they differ at all, where there is one."""
        ledger = self._ledger
        roots = {(one.endpoint, one.aspect, one.path): one for one in findings}
        passing = (ledger.folded, max(ledger.passes, default=0))
        found = []
        for place, decided in chain(
            ledger.determinism.named(ledger.wealth, *passing), ledger.determinism_aside.named(ledger.aside, *passing)
        ):
            root = roots.get((place.endpoint, place.aspect, place.path))
            one = evidence_of(
                place,
                decided,
                compared=ledger.endpoints[place.endpoint].exercise.compared,
                alpha=self._policy.alpha,
                root=None if root is None else root.id,
            )
            occurs = root.occurs if root is not None else ledger.occurs.of(one.id, ledger.passes, pairs=True)
            found.append(msgspec.structs.replace(one, occurs=occurs))
        return found

    def _blocking(self, evidence: Evidence) -> Evidence:
        """Evidence that says whether its place blocks."""
        blocks = self._ledger.blocks.blocks(evidence.endpoint, evidence.aspect, evidence.path, evidence.kind)
        return evidence if blocks else msgspec.structs.replace(evidence, blocks=False)

    def _at_noisy_places(self, findings: list[Evidence]) -> list[Evidence]:
        """What is found where values differ anyhow, below the finding on the values themselves, where there is one."""
        ledger = self._ledger
        look = Look(
            roots={(one.endpoint, one.aspect, one.path): one.id for one in findings},
            alpha=self._policy.alpha,
            passes=len(ledger.fresh_passes) if ledger.fresh else None,
            now=(ledger.folded, max(ledger.passes, default=0)),
            design=ledger.design,
        )
        return list(ledger.noise.evidence(look))

    def _explained(self, findings: list[Evidence]) -> list[Evidence]:
        """The findings with the part of the traffic that each is confined to, and grouped under their roots."""
        ledger = self._ledger
        for place, finding in enumerate(findings[:SLICE_FINDINGS_MAX]):
            if (found := ledger.slices.explain(finding.id, finding.endpoint)) is not None:
                findings[place] = msgspec.structs.replace(finding, slice=found)
        known = {finding.id: ledger.by_id[finding.id] for finding in findings if finding.id in ledger.by_id}
        return with_roots(findings, {name: Shown(frozenset(one.requests), one.requests_overflow) for name, one in known.items()})

    def _evidence(self, endpoint: "EndpointLedger", hypothesis: Hypothesis) -> Evidence:
        stake = hypothesis.stake
        compared = endpoint.exercise.compared
        total = hypothesis.alone - hypothesis.odd_control - 0.5 * hypothesis.control_half
        squares = hypothesis.alone + hypothesis.odd_control + 0.25 * hypothesis.control_half
        low, high = excess_interval(total, squares, endpoint.untainted, LEVEL)
        finding_class = self.class_of(endpoint, hypothesis)
        decided_at, decided_pass = self._ledger.decided(hypothesis) or (None, None)
        return Evidence(
            id=hypothesis.id,
            endpoint=hypothesis.endpoint,
            aspect=hypothesis.aspect,
            path=hypothesis.path,
            kind=hypothesis.kind,
            finding_class=finding_class,
            severity=severity_of(hypothesis.aspect, hypothesis.kind, hypothesis.path),
            compared=compared,
            diverged=hypothesis.alone + hypothesis.followers,
            control_diverged=hypothesis.control,
            log10_e=hypothesis.log10_e_max,
            log10_threshold=log10_threshold(stake.weight, self._policy.alpha) if stake.weight else 0.0,
            rate=total / max(1, endpoint.untainted),
            interval=Interval(low, high, LEVEL),
            decided_at=decided_at,
            decided_pass=decided_pass,
            confirmed=hypothesis.repeats[0],
            repeats=hypothesis.repeats[1],
            root=(hypothesis.beside or None) if hypothesis.alone else hypothesis.root,
            exemplars=tuple(hypothesis.exemplars),
            more_requests=self._more(hypothesis, compared) if finding_class is FindingClass.UNDECIDED else None,
            noisy=self.noisy(endpoint, hypothesis),
            followers=hypothesis.followers,
            log10_confirmation=self._ledger.confirmations.get(hypothesis.id, 0.0) / LN10,
            occurs=None if finding_class is FindingClass.NOISE else self._ledger.occurs.of(hypothesis.id, self._ledger.passes),
        )

    def _more(self, hypothesis: Hypothesis, compared: int) -> int | None:
        """About how many more requests of the endpoint would name it, if the candidate goes on to stand alone as often.
        From fresh state a pass counts as one sighting, however many it shows."""
        stake = hypothesis.stake
        if not stake.weight or not hypothesis.alone:
            return None
        gain = math.log10(3.0 if self._ledger.design is Design.THREE_ARM else 2.0)
        missing = max(0.0, log10_threshold(stake.weight, self._policy.alpha) - max(0.0, stake.log_e / LN10))
        sightings = min(hypothesis.alone, len(self._ledger.passes)) if self._ledger.fresh else hypothesis.alone
        return math.ceil(math.ceil(missing / gain) * compared / sightings)

    def _endpoint(self, endpoint: "EndpointLedger") -> EndpointState:
        latency = endpoint.latency
        requests = endpoint.first_sends
        return EndpointState(
            endpoint=endpoint.name,
            compared=endpoint.exercise.compared,
            diverged=endpoint.diverged,
            bound=binomial_upper(0, requests, LEVEL) if requests and not endpoint.diverged else None,
            latency=latency.quantiles(),
            ratio=latency.ratio(),
            interval=latency.interval(),
            latency_gates=endpoint.latency_blocks and self._ledger.latency.valid and self._ledger.latency.gates(latency),
            latency_channels=self._latency.channels(latency),
            statuses=endpoint.exercise.statuses(),
            requests=requests,
        )

    def _pools(self) -> tuple[PoolEvidence, ...]:
        ledger = self._ledger
        states = [(pool.value, state.stake, ledger.pool_decided(state)) for pool, state in ledger.pools.items()]
        if ledger.determinism.pool.bets:
            states.append((Pool.DETERMINISM.value, ledger.determinism.pool, ledger.determinism.pool_decided_at))
        found = tuple(
            PoolEvidence(
                name=name,
                log10_e=stake.log_e_max / LN10,
                log10_threshold=log10_threshold(stake.weight, self._policy.alpha),
                decided_at=decided_at,
            )
            for name, stake, decided_at in states
        )
        return found + self._latency.pools()
