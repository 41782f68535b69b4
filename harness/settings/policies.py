"""Reads a policy, by the name of a packaged one or by file, into harness.evidence.policy.Policy, and checks its ranges."""

import hashlib
import math
from pathlib import Path
from typing import Final

import msgspec
from msgspec import inspect

from harness.core.errors import UsageError
from harness.core.labels import RunMode
from harness.core.limits import PASSES_MAX
from harness.evidence.policy import Policy
from harness.settings.check import Checker, Invalid
from harness.settings.forms import is_policy_file
from harness.settings.keys import Facts
from harness.settings.problems import ConfigError, Problem, closest, preview
from harness.settings.tree import MappingNode, read_yaml_file

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
}
"""By field of Policy; every number has one."""


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
    if isinstance(found, Invalid) or not isinstance(found, dict):
        _check_ranges(checker, tree)
        raise ConfigError(problems, subject="policy")
    policy = msgspec.convert({"name": path.stem, **found}, Policy)
    _check_ranges(checker, tree)
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
    return hashlib.sha256(msgspec.json.encode(policy, order="deterministic")).hexdigest()


def _check_ranges(checker: Checker, tree: MappingNode) -> None:
    for entry in tree.entries:
        number = getattr(entry.node, "value", None)
        bounds = RANGES.get(entry.key)
        if bounds is None or isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            continue
        if not bounds.admits(number):
            checker.report(entry, entry.key, f"{number:g} is out of range", allowed=bounds.words())
