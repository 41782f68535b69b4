"""Checks the latency budgets of a policy: what types do not say enough about."""

import math
from typing import Final

from harness.evidence.budgets import LATENCY_BUDGETS_MAX
from harness.settings.check import Checker
from harness.settings.problems import preview
from harness.settings.tree import MappingNode, Node, Scalar, SequenceNode

_QUANTILES: Final = (0.5, 0.999)
_LIMITS: Final = {"max_increase": 100.0, "max_ms": 3_600_000.0}


def check_latency_budgets(checker: Checker, node: Node, key: str) -> None:
    """Reports everything that is wrong with them at once."""
    items = node.items if isinstance(node, SequenceNode) else ()
    if len(items) > LATENCY_BUDGETS_MAX:
        checker.report(node, key, f"{len(items)} budgets are too many", allowed=f"up to {LATENCY_BUDGETS_MAX}")
    for index, item in enumerate(items):
        if isinstance(item, MappingNode):
            _check(checker, item, f"{key}[{index}]")


def _check(checker: Checker, budget: MappingNode, where: str) -> None:
    given = 0
    for entry in budget.entries:
        text = entry.node.text if isinstance(entry.node, Scalar) else "?"
        if entry.key == "endpoint" and not text.strip():
            checker.report(entry, f"{where}.endpoint", "is empty", allowed="a pattern, in which * stands for any characters")
        number = entry.node.value if isinstance(entry.node, Scalar) else None
        largest = _LIMITS.get(entry.key)
        if largest is not None:
            given += number is not None
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            continue
        if entry.key == "quantile" and not _QUANTILES[0] <= number <= _QUANTILES[1]:
            allowed = f"from {_QUANTILES[0]:g} up to {_QUANTILES[1]:g}"
            checker.report(entry, f"{where}.quantile", f"{preview(text)} is out of range", allowed=allowed)
        elif largest is not None and (not 0.0 <= number <= largest or (entry.key == "max_ms" and not number)):
            allowed = f"{'above' if entry.key == 'max_ms' else 'from'} 0 up to {largest:g}"
            checker.report(entry, f"{where}.{entry.key}", f"{preview(text)} is out of range", allowed=allowed)
    if given != 1:
        said = "says both max_increase and max_ms" if given else "says neither max_increase nor max_ms"
        checker.report(budget, where, said, allowed="one of them")
