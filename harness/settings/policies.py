"""Reads a policy, by the name of a packaged one or by file, into harness.evidence.policy.Policy, and checks its ranges."""

import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import inspect

from harness.core.errors import UsageError
from harness.core.labels import RunMode
from harness.core.limits import EFFECTS_PER_ARM_MAX, PASSES_MAX
from harness.evidence.hard_rules import EFFECT_RULES_MAX
from harness.evidence.policy import Policy, content_of
from harness.settings.check import Checker, Invalid
from harness.settings.forms import is_policy_file
from harness.settings.keys import Facts
from harness.settings.problems import ConfigError, Problem, closest, preview
from harness.settings.tree import Entry, MappingNode, Node, Scalar, SequenceNode, read_yaml_file

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
_COLLECTOR: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")


class LoadedPolicy(msgspec.Struct, frozen=True):
    """A policy, its digest (SHA-256 hex of its canonical content) and the file it came from."""

    policy: Policy
    digest: str
    file: Path


def policy_name(given: str | None, mode: RunMode) -> str:
    """The policy of a run that names none: `rollout` for the proxy, whose traffic is a stream; `default` elsewhere."""
    if given is not None:
        return given
    return ROLLOUT_POLICY if mode is RunMode.PROXY else DEFAULT_POLICY


def load_policy(name: str, *, folder: Path) -> LoadedPolicy:
    """A policy by name (a file of `folder`, where the packaged ones are) or by path.

    Raises UsageError, with every problem at once, where it cannot be read or is out of range: such a policy never passes.
    """
    if is_policy_file(name):
        path = Path(name).expanduser()
    else:
        path = folder / f"{name}.yaml"
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        if name not in known:
            near = closest(name, known)
            hint = f'did you mean "{near}"? ' if near else ""
            raise UsageError(
                f"no policy is called {preview(name)}", fix=f"{hint}known: {', '.join(known)}; or give a file, e.g. ./policy.yaml"
            )
    problems: list[Problem] = []
    tree = read_yaml_file(path, problems)
    checker = Checker(str(path), problems)
    kind = inspect.type_info(Policy)
    found = checker.value(tree, kind, "", Facts())
    _check_ranges(checker, tree, RANGES)
    _check_effects(checker, tree)
    if isinstance(found, Invalid) or not isinstance(found, dict):
        raise ConfigError(problems, subject="policy")
    policy = msgspec.convert({"name": path.stem, **found}, Policy)
    if policy.preset not in PRESETS:
        node = next((entry for entry in tree.entries if entry.key == "preset"), tree)
        checker.report(
            node, "preset", f"{preview(policy.preset)} is not allowed", allowed=" or ".join(PRESETS), near=closest(policy.preset, PRESETS)
        )
    if policy.passes_min > policy.passes_max:
        node = next((entry for entry in tree.entries if entry.key in {"passes_min", "passes_max"}), tree)
        checker.report(node, "passes_min", f"{policy.passes_min} is more than passes_max, {policy.passes_max}")
    if problems:
        raise ConfigError(problems, subject="policy")
    return LoadedPolicy(policy, digest_of(policy), path)


def digest_of(policy: Policy) -> str:
    """SHA-256 of the policy's canonical JSON: the same for the same numbers, however the file is written."""
    return hashlib.sha256(msgspec.json.encode(content_of(policy))).hexdigest()


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
