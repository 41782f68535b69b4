"""What a rollout pass claims, and how far each claim is: "the candidate's excess here is below delta", at error rate beta."""

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.core.labels import Design, FindingClass
from harness.evidence.martingale import LN10, log_pass
from harness.evidence.snapshot import Claim
from harness.evidence.weights import Pool

if TYPE_CHECKING:
    from harness.evidence.ledger import Ledger
    from harness.evidence.standing import Standing

THIN_BOUND: Final = 0.10
"""An endpoint whose own bound on the rate of diverging requests would be worse than this has too few requests for one."""
_GROWTH_MAX: Final = 2.0**40


def claims_of(ledger: "Ledger", standing: "Standing") -> tuple[Claim, ...]:
    """All claims, those not yet reached first.

    Only the first sending of a request counts: its repeats are no further traffic. Claimed are: status and transport, each over the
    whole run, at `delta_status`; and at `delta` each hypothesis seen (and any other field) of the
    endpoints that make up at least delta of the traffic. A thinner endpoint cannot make an excess of delta of all requests;
    what was seen there must still be accounted for. Paths whose control is noisy are left out: they are listed as noise.
    """
    if ledger.design is Design.NO_CONTROL:
        return ()
    policy = ledger.policy
    needed = -math.log(policy.beta)
    total = sum(endpoint.first for endpoint in ledger.endpoints.values())
    claims = []
    for pool in (Pool.STATUS, Pool.TRANSPORT):
        state = ledger.pools[pool]
        counts = Counts(state.first, state.control, state.control_half, total)
        claims.append(_claim(f"{pool.value} of all endpoints", counts, policy.delta_status, needed))
    for endpoint in ledger.endpoints.values():
        thin = endpoint.first < policy.delta * total
        if not thin:
            claims.append(_claim(f"{endpoint.name}: any one field", Counts(0, 0, 0, endpoint.first), policy.delta, needed))
        for h in endpoint.hypotheses.values():
            if not h.alone or not h.blocks or standing.noisy(endpoint, h):
                continue
            if thin and standing.class_of(endpoint, h) is FindingClass.NOISE:
                continue
            counts = Counts(h.first, h.control_first, h.control_half_first, endpoint.first)
            claims.append(_claim(f"{h.endpoint} {h.aspect} {h.path} {h.kind}", counts, policy.delta, needed))
    return tuple(sorted(claims, key=lambda claim: (claim.more_requests == 0, claim.hypothesis)))


class Counts(NamedTuple):
    """Trials by D: +1, -1, -1/2, and all of them."""

    candidate: int
    control: int
    control_half: int
    trials: int

    def log_pass(self, delta: float, factor: float = 1.0) -> float:
        """Evidence for an excess below delta, with all counts so many times as large."""
        candidate, control, control_half, trials = (round(count * factor) for count in self)
        return log_pass(candidate, control, control_half, trials, delta)


def _claim(name: str, counts: Counts, delta: float, needed: float) -> Claim:
    reached = counts.log_pass(delta)
    more = 0 if reached >= needed else _more(counts, delta, needed)
    return Claim(hypothesis=name, delta=delta, log10_w=reached / LN10, log10_needed=needed / LN10, more_requests=more)


def _more(counts: Counts, delta: float, needed: float) -> int | None:
    """How many more requests at the rates seen; None where the rates seen will never do."""
    base = counts if counts.trials else Counts(0, 0, 0, 1)
    high = 2.0
    while base.log_pass(delta, high) < needed:
        high *= 2.0
        if high > _GROWTH_MAX:
            return None
    low = high / 2.0
    while (high - low) * base.trials > 1.0:
        middle = (low + high) / 2.0
        if base.log_pass(delta, middle) >= needed:
            high = middle
        else:
            low = middle
    return max(1, math.ceil(high * base.trials) - counts.trials)
