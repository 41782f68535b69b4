"""Reads a policy, by the name of a packaged one or by file, into harness.evidence.policy.Policy, and checks its ranges."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from harness.core.errors import UsageError
from harness.core.labels import RunMode
from harness.core.limits import EFFECTS_PER_ARM_MAX, PASSES_MAX
from harness.evidence.conditions import apply, words
from harness.evidence.hard_rules import EFFECT_RULES_MAX
from harness.evidence.policy import Policy, PolicyOrigin, digest_of
from harness.settings.check import Checker
from harness.settings.latency_budgets import check_latency_budgets
from harness.settings.policy_files import read_chain
from harness.settings.policy_merge import merge
from harness.settings.policy_parts import check_blocks, check_coverage, check_locked
from harness.settings.problems import ConfigError, Problem, closest, preview
from harness.settings.tree import Entry, MappingNode, Node, Scalar, SequenceNode

PRESETS: Final = ("capture", "rollout")
DEFAULT_POLICY: Final = "default"
ROLLOUT_POLICY: Final = "rollout"


class Range(msgspec.Struct, frozen=True):
    """What a number may be: above or from `low`, up to `high`."""

    low: float
    high: float
    low_open: bool = True

    def admits(self, number: float) -> bool:
        """Whether the number is in range."""
        return (number > self.low if self.low_open else number >= self.low) and number <= self.high

    def words(self) -> str:
        """For people."""
        return f"{'above' if self.low_open else 'from'} {self.low:g} up to {self.high:g}"


RANGES: Final = {
    "alpha": Range(0, 0.5),
    "beta": Range(0, 0.5),
    "delta": Range(0, 0.5),
    "delta_status": Range(0, 0.5),
    "eps0": Range(0, 0.5),
    "latency_tolerance": Range(0, 10, low_open=False),
    "latency_requests_min": Range(1, 1_000_000, low_open=False),
    "completed_share_min": Range(0, 1),
    "not_reproduced_share_max": Range(0, 1, low_open=False),
    "noisy_share": Range(0, 1),
    "passes_min": Range(1, PASSES_MAX, low_open=False),
    "passes_max": Range(1, PASSES_MAX, low_open=False),
    "effects_seen_share_min": Range(0, 1),
}
"""By field of Policy; every number has one."""
EFFECT_RANGES: Final = {
    "at_most": Range(0, EFFECTS_PER_ARM_MAX - 1, low_open=False),
    "at_least": Range(1, EFFECTS_PER_ARM_MAX - 1, low_open=False),
}
"""By field of EffectRule: of one request no more effects are kept, so larger numbers could not be told apart."""
_PARTS: Final = {"blocks": check_blocks, "coverage": check_coverage, "locked": check_locked, "latency_budgets": check_latency_budgets}
"""What looks at keys that hold more than a number, by key."""
_DIGEST_CHARS_SHOWN: Final = 128
"""Of a digest that is required: twice what one has."""
_COLLECTOR: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")


class LoadedPolicy(msgspec.Struct, frozen=True):
    """A policy, its digest (SHA-256 hex of its canonical content) and the file it came from."""

    policy: Policy
    digest: str
    """Of the whole content, with what it extends and all conditions, whichever of them apply."""
    file: Path
    ref: str = ""
    """The ref at which the file was read; empty where that was its folder."""
    origins: dict[str, str] = {}
    """File and line by key; keys without one have their defaults."""
    locked: dict[str, str] = {}
    """File and line by locked key."""
    conditions: tuple[str, ...] = ()
    """Those that apply to the candidate's labels, in words."""
    whole: Policy | None = None
    """The policy with all its conditions, once labels have been applied."""

    @property
    def origin(self) -> PolicyOrigin:
        """For a report."""
        return PolicyOrigin(digest=self.digest, ref=self.ref, conditions=self.conditions)


class PolicySource(NamedTuple):
    """Where a policy that is named is read, and what it must be."""

    ref: str | None = None
    digest: str | None = None


def policy_name(given: str | None, mode: RunMode) -> str:
    """The policy of a run that names none: `rollout` for the proxy, whose traffic is a stream; `default` elsewhere."""
    if given is not None:
        return given
    return ROLLOUT_POLICY if mode is RunMode.PROXY else DEFAULT_POLICY


def load_policy(name: str, *, folder: Path, ref: str | None = None) -> LoadedPolicy:
    """A policy by name (a file of `folder`, where the packaged ones are) or by path, together with what it extends.

    With `ref`, files are read as they are there, in their Git repository. Raises UsageError, with every problem at once, where it
    cannot be read, is out of range, or loosens what it must not (SetupError where Git does not answer): such a policy never passes.
    """
    problems: list[Problem] = []
    chain = read_chain(name, folder=folder, ref=ref, problems=problems)
    merged = merge(chain, _check_keys)
    least, most = (merged.values.get(key, getattr(Policy(), key)) for key in ("passes_min", "passes_max"))
    if least > most:
        checker, entry = merged.origins.get("passes_min") or merged.origins["passes_max"]
        checker.report(entry, "passes_min", f"{least} is more than passes_max, {most}")
    if problems:
        raise ConfigError(problems, subject="policy")
    path = chain[0].path
    own_name = {"name": path.stem} if chain[0].entry("name") is None else {}
    policy = Policy(**{**merged.values, **own_name, "locked": tuple(sorted(merged.locked))})
    origins = {key: checker.at(entry) for key, (checker, entry) in merged.origins.items() if key not in own_name}
    return LoadedPolicy(policy, digest_of(policy), path, (ref or "") if chain[0].at_ref else "", origins, merged.locked)


def for_labels(loaded: LoadedPolicy, labels: Mapping[str, str]) -> LoadedPolicy:
    """The policy as it is for a candidate with these labels: with its conditions applied. The digest stays that of the whole.

    Raises UsageError where the conditions that apply do not go together.
    """
    applied = apply(loaded.policy, labels)
    said = tuple(words(loaded.policy.when[index]) for index in applied.which)
    return msgspec.structs.replace(loaded, policy=applied.policy, conditions=said, whole=loaded.policy)


def check_digest(loaded: LoadedPolicy, required: str) -> None:
    """Raises UsageError with both digests where the policy is not the one that is required."""
    if required.strip().lower() != loaded.digest:
        raise UsageError(
            f"the policy's digest is {loaded.digest}, and {required.strip()[:_DIGEST_CHARS_SHOWN]} is required",
            where=str(loaded.file),
            fix="judge by the policy that was agreed on (--policy-ref reads it from a branch), or require the new digest",
        )


def _check_keys(checker: Checker, tree: MappingNode) -> None:
    """What types do not say of the keys of a policy."""
    _check_ranges(checker, tree, RANGES)
    _check_effects(checker, tree)
    for entry in tree.entries:
        if (
            entry.key == "preset"
            and isinstance(entry.node, Scalar)
            and isinstance(entry.node.value, str)
            and entry.node.text not in PRESETS
        ):
            near, allowed = closest(entry.node.text, PRESETS), " or ".join(PRESETS)
            checker.report(entry, "preset", f"{preview(entry.node.text)} is not allowed", allowed=allowed, near=near)
        elif entry.key in _PARTS:
            _PARTS[entry.key](checker, entry.node, entry.key)


def _check_ranges(checker: Checker, tree: MappingNode, ranges: Mapping[str, Range], prefix: str = "") -> None:
    for entry in tree.entries:
        number = getattr(entry.node, "value", None)
        bounds = ranges.get(entry.key)
        if bounds is None or isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            continue
        if not bounds.admits(number):
            checker.report(entry, prefix + entry.key, f"{number:g} is out of range", allowed=bounds.words())


def _check_effects(checker: Checker, tree: MappingNode) -> None:
    """What types do not say of rules on effects and of the collectors that are required."""
    for entry in tree.entries:
        items = entry.node.items if isinstance(entry.node, SequenceNode) else ()
        if entry.key == "effects":
            if len(items) > EFFECT_RULES_MAX:
                checker.report(entry, entry.key, f"{len(items)} rules are too many", allowed=f"up to {EFFECT_RULES_MAX}")
            for index, item in enumerate(items):
                if isinstance(item, MappingNode):
                    _check_effect_rule(checker, item, f"effects[{index}].")
        elif entry.key == "require_effects":
            for index, item in enumerate(items):
                if isinstance(item, Scalar) and not _COLLECTOR.fullmatch(item.text):
                    what = f"{preview(item.text)} is no name of a collector"
                    checker.report(item, f"require_effects[{index}]", what, allowed="names as in effects.collect, such as http or postgres")


def _check_effect_rule(checker: Checker, rule: MappingNode, prefix: str) -> None:
    _check_ranges(checker, rule, EFFECT_RANGES, prefix)
    by_key: dict[str, Entry] = {entry.key: entry for entry in rule.entries}
    for key in ("effect", "endpoint"):
        if key in by_key and not _text(by_key[key].node, "?").strip():
            checker.report(by_key[key], prefix + key, "is empty", allowed="a pattern, in which * stands for any characters")
    limits = {key: getattr(by_key[key].node, "value", None) for key in EFFECT_RANGES if key in by_key}
    if all(limit is None for limit in limits.values()):
        checker.report(rule, prefix.rstrip("."), "says neither at_most nor at_least", allowed="at_most, at_least or both")
    least, most = limits.get("at_least"), limits.get("at_most")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        checker.report(by_key["at_least"], f"{prefix}at_least", f"{least} is more than at_most, {most}")


def _text(node: Node, other: str) -> str:
    return node.text if isinstance(node, Scalar) else other
