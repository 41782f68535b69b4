"""Which places block, by the rules of a policy. Pure.

It is decided by the place alone (endpoint, aspect, path, kind), never by what was seen there, so that which hypotheses have a
part in the gate's sum says nothing about the arms.
"""

from collections.abc import Iterable
from typing import Final

from harness.core.labels import Aspect, Kind, Severity
from harness.evidence.findings import severity_of
from harness.evidence.hard_rules import pattern_of
from harness.evidence.policy import WhatBlocks
from harness.evidence.restless import Restless

_RANK: Final = {severity: rank for rank, severity in enumerate(Severity)}
"""The gravest first."""


class Blocks:
    """The rules of one policy."""

    __slots__ = ("_rules",)

    def __init__(self, rules: tuple[WhatBlocks, ...]) -> None:
        self._rules = tuple((rule, pattern_of(rule.endpoint)) for rule in rules)

    def blocks(self, endpoint: str, aspect: Aspect, path: str, kind: Kind) -> bool:
        """Whether a difference at this place may fail a run, or keep it from passing."""
        return not self._rules or self.decide(endpoint, aspect, severity_of(aspect, kind, path))

    def decide(self, endpoint: str, aspect: Aspect, severity: Severity) -> bool:
        """The same for all places of one severity: the first rule that fits decides, and what none fits blocks."""
        for rule, pattern in self._rules:
            if rule.aspect not in (None, aspect) or not _is_of(severity, rule):
                continue
            if pattern.fullmatch(endpoint):
                return rule.block
        return True


def _is_of(severity: Severity, rule: WhatBlocks) -> bool:
    """Whether a rule is about differences of this severity: one that blocks about graver ones too, another about milder ones too."""
    if rule.severity is None:
        return True
    milder = _RANK[severity] - _RANK[rule.severity]
    return milder <= 0 if rule.block else milder >= 0


def restless_parts(endpoint: str, found: Iterable[Restless], blocks: Blocks) -> tuple[list[Restless], list[Restless]]:
    """Places where an arm disagrees with itself: those that block, as the finding about each would, and the others."""
    parts: tuple[list[Restless], list[Restless]] = ([], [])
    for one in found:
        parts[not blocks.blocks(endpoint, Aspect.DETERMINISM, one.path, one.kind)].append(one)
    return parts
