"""A policy's rules on effects, folded trial by trial: one trial that breaks one fails the run, whatever its rate.

No statistics here: a rule says what must never happen, so it counts in every trial that was watched, warm-up and repeats too.
What is missing (`at_least`) proves nothing in a trial whose effects had not all come, that the candidate did not answer, or
that follows from an earlier divergence of its session; it is counted apart. What is too much (`at_most`) always counts. All
memory is bounded.
"""

import re
from typing import Final

from harness.core.labels import EffectsSeen
from harness.core.limits import EFFECT_OPERATIONS_MAX, EFFECTS_PER_ARM_MAX, ENDPOINTS_MAX, EXEMPLARS_PER_FINDING_MAX
from harness.evidence.bets import TrialBets
from harness.evidence.policy import EffectRule
from harness.evidence.snapshot import BrokenRule

EFFECT_RULES_MAX: Final = 256
"""Rules on effects in one policy."""


def pattern_of(text: str) -> re.Pattern[str]:
    """`*` stands for any characters, everything else for itself."""
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)


class EffectPattern:
    """Which effects a rule is about."""

    __slots__ = ("_pattern",)

    def __init__(self, text: str) -> None:
        self._pattern = pattern_of(text)

    def matches(self, collector: str, operation: str) -> bool:
        """Whether it is the pattern of `collector operation`, or of the operation alone."""
        return bool(self._pattern.fullmatch(operation) or self._pattern.fullmatch(f"{collector} {operation}"))


def rule_words(rule: EffectRule) -> str:
    """A rule for people."""
    sides = [f"at {name} {limit}" for name, limit in (("least", rule.at_least), ("most", rule.at_most)) if limit is not None]
    where = "" if rule.endpoint == "*" else f" for {rule.endpoint}"
    return f"{' and '.join(sides)} of `{rule.effect}`{where}"


class _Side:
    """One side of a rule at one endpoint."""

    __slots__ = ("candidate", "exemplars", "stable_broke", "stable_max", "stable_min", "trials", "untold")

    def __init__(self) -> None:
        self.trials = self.untold = self.candidate = self.stable_min = self.stable_max = self.stable_broke = 0
        self.exemplars: list[str] = []

    def broken(self, trial: str, candidate: int, stable: int, *, missing: bool, stable_too: bool) -> bool:
        """Count a trial that breaks it; whether it is worth an example (the 1st, 2nd, 4th, ... up to the bound)."""
        worst = min if missing else max
        self.candidate = worst(self.candidate, candidate) if self.trials else candidate
        self.stable_min = min(self.stable_min, stable) if self.trials else stable
        self.stable_max = max(self.stable_max, stable)
        self.stable_broke += stable_too
        self.trials += 1
        if len(self.exemplars) >= EXEMPLARS_PER_FINDING_MAX or self.trials & (self.trials - 1):
            return False
        self.exemplars.append(trial)
        return True


class HardRules:
    """The rules of one policy over one run."""

    def __init__(self, rules: tuple[EffectRule, ...]) -> None:
        self.rules = rules
        self.failed: tuple[int, int] | None = None
        """(trials folded, pass) when the first rule was broken."""
        self._effects = [EffectPattern(rule.effect) for rule in rules]
        self._endpoints = [pattern_of(rule.endpoint) for rule in rules]
        self._of_endpoint: dict[str, tuple[int, ...]] = {}
        self._of_effect: dict[tuple[str, str], tuple[int, ...]] = {}
        self._judged: dict[tuple[int, str], int] = {}
        self._sides: dict[tuple[int, str, bool], _Side] = {}
        self._collectors: list[set[str]] = [set() for _ in rules]
        self._met = [False] * len(rules)
        self._breaks = 0

    def fold(self, bets: TrialBets, folded: int) -> tuple[str, ...]:
        """Take a trial, the `folded`-th. Returns names of the rules of which it is worth keeping as an example."""
        if not self.rules or bets.effects_seen is EffectsSeen.NONE or bets.candidate is None:
            return ()
        sums: dict[int, tuple[int, int]] = {}
        done = 0
        for count in bets.effects:
            done += count.candidate
            for index in self._about(count.collector, count.operation):
                self._collectors[index].add(count.collector)
                candidate, stable = sums.get(index, (0, 0))
                sums[index] = candidate + count.candidate, stable + count.stable
        answered = bets.candidate.error is None and not bets.tainted
        certain = answered and bets.effects_seen is EffectsSeen.COMPLETE and done < EFFECTS_PER_ARM_MAX
        examples = []
        for index in self._rules_of(bets.endpoint):
            candidate, stable = sums.get(index, (0, 0))
            if self._judge(index, bets, candidate, stable, certain=certain):
                examples.append(f"rule-{index}")
        if self.failed is None and self._breaks:
            self.failed = (folded, bets.pass_index)
        return tuple(examples)

    def broken(self) -> tuple[BrokenRule, ...]:
        """What was broken, or may have been, in the order of the policy."""
        return tuple(self._view(index, endpoint, side, missing=missing) for (index, endpoint, missing), side in sorted(self._sides.items()))

    def unmet(self) -> tuple[str, ...]:
        """Rules in words that no judged trial was of the endpoint of."""
        return tuple(rule_words(rule) for rule, met in zip(self.rules, self._met, strict=True) if not met)

    def _judge(self, index: int, bets: TrialBets, candidate: int, stable: int, *, certain: bool) -> bool:
        rule = self.rules[index]
        self._met[index] = True
        key = (index, bets.endpoint)
        self._judged[key] = self._judged.get(key, 0) + 1
        example = False
        if rule.at_most is not None and candidate > rule.at_most:
            side = self._side(index, bets.endpoint, missing=False)
            example = side.broken(bets.trial, candidate, stable, missing=False, stable_too=stable > rule.at_most)
            self._breaks += 1
        if rule.at_least is not None and candidate < rule.at_least:
            side = self._side(index, bets.endpoint, missing=True)
            if certain:
                example |= side.broken(bets.trial, candidate, stable, missing=True, stable_too=stable < rule.at_least)
                self._breaks += 1
            else:
                side.untold += 1
        return example

    def _side(self, index: int, endpoint: str, *, missing: bool) -> _Side:
        return self._sides.setdefault((index, endpoint, missing), _Side())

    def _rules_of(self, endpoint: str) -> tuple[int, ...]:
        found = self._of_endpoint.get(endpoint)
        if found is None:
            if len(self._of_endpoint) > ENDPOINTS_MAX:
                self._of_endpoint.clear()
            found = tuple(index for index, pattern in enumerate(self._endpoints) if pattern.fullmatch(endpoint))
            self._of_endpoint[endpoint] = found
        return found

    def _about(self, collector: str, operation: str) -> tuple[int, ...]:
        found = self._of_effect.get((collector, operation))
        if found is None:
            if len(self._of_effect) > EFFECT_OPERATIONS_MAX:
                self._of_effect.clear()
            found = tuple(index for index, pattern in enumerate(self._effects) if pattern.matches(collector, operation))
            self._of_effect[collector, operation] = found
        return found

    def _view(self, index: int, endpoint: str, side: _Side, *, missing: bool) -> BrokenRule:
        rule = self.rules[index]
        limit = rule.at_least if missing else rule.at_most
        return BrokenRule(
            rule=index,
            effect=rule.effect,
            limit=limit or 0,
            missing=missing,
            why=rule.why,
            endpoint=endpoint,
            judged=self._judged[index, endpoint],
            trials=side.trials,
            untold=side.untold,
            candidate=side.candidate,
            stable_min=side.stable_min,
            stable_max=side.stable_max,
            stable_broke=side.stable_broke,
            collectors=tuple(sorted(self._collectors[index])),
            exemplars=tuple(side.exemplars),
        )
