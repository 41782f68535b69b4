"""Findings that share a cause, grouped under one root. Pure.

Two things tell of one cause: the finding follows from another one already (the status of the same answer; an earlier divergence of
its session), or the same requests of the same endpoint show both. The root is the gravest of a group, then the coarsest (a status
before a body, a kind before a value). That they have the cause in common is likely and not proven, so grouping changes what is shown
below what, and nothing of the verdict.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from harness.core.labels import CHANNEL_DEPTH, CHANNEL_OF, Aspect, FindingClass, Severity
from harness.core.limits import ROOTS_PER_ENDPOINT_MAX
from harness.evidence.snapshot import Evidence

LIKENESS_MIN: Final = 0.9
"""Requests that show both findings, as a part of those that show either (Jaccard's index)."""
REQUESTS_MIN: Final = 3
"""Distinct requests each of them needs: one or two may be the same by chance."""
_ASPECTS: Final = (Aspect.TRANSPORT, Aspect.STATUS, Aspect.EFFECTS, Aspect.BODY, Aspect.HEADERS)
_SEVERITIES: Final = tuple(Severity)


class Shown(msgspec.Struct, frozen=True):
    """Which distinct requests show a finding, by keyed hash."""

    requests: frozenset[int]
    more: bool = False
    """There are more than are remembered."""


def with_roots(findings: Iterable[Evidence], shown: Mapping[str, Shown]) -> list[Evidence]:
    """The findings in their order, each with its root: the end of what it follows from, or the head of its group.

    `shown` has those whose requests are known. What is noise, or follows from something already, founds no group.
    """
    listed = list(findings)
    by_id = {finding.id: finding for finding in listed}
    heads: dict[str, str] = {}
    groups: dict[str, list[tuple[str, Shown]]] = {}
    for finding in sorted(listed, key=_coarsest_first):
        requests = shown.get(finding.id)
        if (
            finding.root in by_id
            or finding.finding_class is FindingClass.NOISE
            or requests is None
            or len(requests.requests) < REQUESTS_MIN
        ):
            continue
        known = groups.setdefault(finding.endpoint, [])
        head = next((name for name, others in known if _alike(requests, others)), None)
        if head is not None:
            heads[finding.id] = head
        elif len(known) < ROOTS_PER_ENDPOINT_MAX:
            known.append((finding.id, requests))
    return [_rooted(finding, by_id, heads) for finding in listed]


def _alike(one: Shown, other: Shown) -> bool:
    fewer, more = sorted((len(one.requests), len(other.requests)))
    if one.more != other.more or fewer < LIKENESS_MIN * more:
        return False
    both = len(one.requests & other.requests)
    return both >= LIKENESS_MIN * (fewer + more - both)


def _coarsest_first(finding: Evidence) -> tuple[bool, int, int, int, int, float, str]:
    return (
        finding.finding_class is not FindingClass.DIVERGENCE,
        _SEVERITIES.index(finding.severity),
        _ASPECTS.index(finding.aspect) if finding.aspect in _ASPECTS else len(_ASPECTS),
        CHANNEL_DEPTH[CHANNEL_OF[finding.kind]],
        finding.path.count(".") + finding.path.count("["),
        -finding.log10_e,
        finding.id,
    )


def _rooted(finding: Evidence, by_id: Mapping[str, Evidence], heads: Mapping[str, str]) -> Evidence:
    """With the end of the chain of what it follows from; as it is where that leads back to itself."""
    seen = {finding.id}
    top = finding.id
    while True:
        above = heads.get(top) or (by_id[top].root if top in by_id else None)
        if above is None:
            break
        if above in seen:
            return finding
        seen.add(above)
        top = above
    return finding if top == finding.id else msgspec.structs.replace(finding, root=top)
