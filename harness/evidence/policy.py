"""The numbers a verdict is decided by. A policy is data; this is its value once read and checked."""

import hashlib
from typing import Any, Final

import msgspec

from harness.core.labels import Aspect, Severity


class EffectRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the candidate may do to the outside for one request, whatever stable does. In patterns `*` stands for any characters.

    Forbidden is `at_most: 0`, required is `at_least: 1`. All effects that match count together.
    """

    effect: str
    """A pattern of `collector operation`, or of the operation alone."""
    endpoint: str = "*"
    """A pattern of the endpoint of the request."""
    at_most: int | None = None
    at_least: int | None = None
    why: str = ""
    """For people."""


class WhatBlocks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a place (endpoint, aspect, path, kind) blocks; the first rule that fits decides, and what none fits blocks."""

    block: bool
    severity: Severity | None = None
    """Fits places at least as grave."""
    aspect: Aspect | None = None
    endpoint: str = "*"
    """A pattern, in which `*` stands for any characters."""
    why: str = ""
    """For people."""


class CoverageWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What traffic must have exercised, or nothing passes."""

    endpoints: tuple[str, ...] = ()
    """Patterns, in which `*` stands for any characters; each must fit a compared endpoint."""
    methods: tuple[str, ...] = ()
    requests_min: int = 0
    """Compared requests, each counted once, however many passes."""


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of the policy that have other values where the candidate's labels fit."""

    labels: dict[str, str]
    """Pattern by label; all of them must fit (see harness.evidence.conditions)."""
    set: dict[str, Any]
    """Value by key of the policy."""
    why: str = ""
    """For people."""


class LatencyBudget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a quantile of the candidate's latency may be at the endpoints that a pattern fits: one of the two limits."""

    endpoint: str = "*"
    """A pattern, in which `*` stands for any characters."""
    quantile: float = 0.99
    max_increase: float | None = None
    """How far above the control's, as a share of it: 0.1 is ten per cent."""
    max_ms: float | None = None
    """Milliseconds, whatever the control's is."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What blocks, at which error rates. Probabilities are between 0 and 1."""

    name: str = "default"
    preset: str = "capture"
    """`capture`: a pass speaks of this capture; `rollout`: of the traffic, by delta."""
    alpha: float = 0.01
    """Chance that a candidate that behaves like stable fails, for the whole run."""
    beta: float = 0.05
    """Chance that a passing claim is wrong."""
    delta: float = 0.01
    """Rate of diverging requests per field that a rollout pass excludes."""
    delta_status: float = 0.005
    """The same for status, pooled over the run."""
    eps0: float = 0.01
    """Without a control: the rate of differing requests taken for noise."""
    latency_tolerance: float = 0.05
    """Relative slow-down of the median that is tolerated."""
    latency_requests_min: int = 100
    """Compared requests of an endpoint below which latency is reported and does not gate."""
    completed_share_min: float = 0.99
    """Completed (compared or skipped by rule) requests, as a share, below which nothing passes."""
    not_reproduced_share_max: float = 0.05
    """Share of requests whose status class differs from the recorded one (or secondary's from stable's)."""
    noisy_share: float = 0.05
    """A path whose control differs in more than this share of trials does not gate at delta."""
    passes_min: int = 2
    passes_max: int = 20
    effects: tuple[EffectRule, ...] = ()
    """Hard rules: one trial that breaks one fails the run, outside `alpha`."""
    require_effects: tuple[str, ...] = ()
    """Collectors without which nothing passes."""
    effects_seen_share_min: float = 0.95
    """Trials judged with all their effects, and effects of the candidate that belong to a trial, as shares below which nothing
    passes where collectors are required or there are rules on effects."""
    extends: str | None = None
    """Another policy, by name or by file, whose keys count where this one has none. A policy that was read has none left."""
    locked: tuple[str, ...] = ()
    """Keys that a policy which extends this one may make stricter only."""
    blocks: tuple[WhatBlocks, ...] = ()
    """Which places block; all of them where no rule says otherwise."""
    coverage: CoverageWanted = CoverageWanted()
    """What must have been exercised."""
    when: tuple[Condition, ...] = ()
    """Conditions on the candidate's labels, applied in order. A policy that labels were applied to has none left."""
    latency_budgets: tuple[LatencyBudget, ...] = ()
    """Limits on quantiles of latency; within `alpha`."""
    allow_self_accepted: bool = False
    """Whether accepted changes count that the change under test itself adds over the base ref."""


_LATER: Final = (
    "effects",
    "require_effects",
    "effects_seen_share_min",
    "extends",
    "locked",
    "blocks",
    "coverage",
    "when",
    "latency_budgets",
    "allow_self_accepted",
)
"""Fields that policies had not from the start."""


class PolicyOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """Which policy a verdict is by, beside its numbers."""

    digest: str
    """Of the whole, whichever of its conditions apply."""
    ref: str = ""
    """The ref of a repository at which it was read."""
    conditions: tuple[str, ...] = ()
    """Its conditions that apply to the candidate's labels, in words."""


def content_of(policy: Policy) -> dict[str, object]:
    """What a digest of a policy is made of, in the order of its fields: a field that came later counts only where it is set, so that
    a policy that does not use it keeps the digest that it had."""
    fields = msgspec.structs.asdict(policy)
    plain = Policy()
    return {name: value for name, value in fields.items() if name not in _LATER or value != getattr(plain, name)}


def digest_of(policy: Policy) -> str:
    """SHA-256 (hex) of the policy's canonical JSON: the same for the same numbers, however and wherever it is written.

    Mappings within it are in the order of their keys already, as they are read (harness/settings/policies.py).
    """
    return hashlib.sha256(msgspec.json.encode(content_of(policy))).hexdigest()
