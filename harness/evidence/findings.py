"""What a finding is called, how grave it is, and in which order findings are listed."""

from hashlib import blake2b

from harness.core.effect_paths import effect_place
from harness.core.labels import CHANNEL_OF, Aspect, Channel, FindingClass, Kind, Severity
from harness.evidence.snapshot import Evidence


def finding_id(endpoint: str, aspect: Aspect, path: str, kind: Kind) -> str:
    """Twelve hex digits that are the same from run to run for the same (endpoint, aspect, path, kind)."""
    text = "\0".join((endpoint, aspect, path, kind))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def severity_of(aspect: Aspect, kind: Kind, path: str = "$") -> Severity:
    """How much it matters, by what it is about.

    Critical: another status, no answer, an effect that changes something outside and is missing, added, repeated or done with
    other values. Major: what a client reads in a body, a header that is gone, latency, an answer that contradicts itself, other
    reads outside, effects in another order where that matters. Minor: other header values, the order of equal elements.
    """
    if aspect is Aspect.EFFECTS:
        place = effect_place(path)
        in_order = place.whole and not place.operation and kind is Kind.ORDER
        return Severity.MAJOR if in_order or place.reads else Severity.CRITICAL
    if aspect in (Aspect.STATUS, Aspect.TRANSPORT):
        return Severity.CRITICAL
    if CHANNEL_OF[kind] is Channel.ORDER:
        return Severity.MINOR
    if aspect is Aspect.HEADERS and kind is not Kind.MISSING:
        return Severity.MINOR
    return Severity.MAJOR


_CLASS_RANK = {FindingClass.DIVERGENCE: 0, FindingClass.UNDECIDED: 1, FindingClass.EXPECTED: 2, FindingClass.NOISE: 3}
_SEVERITY_RANK = {severity: rank for rank, severity in enumerate(Severity)}


def gravest_first(evidence: Evidence) -> tuple[int, int, float, str]:
    """Sort key: class (divergence, then undecided), severity, strength of the evidence, id."""
    return (_CLASS_RANK[evidence.finding_class], _SEVERITY_RANK[evidence.severity], -evidence.log10_e, evidence.id)
