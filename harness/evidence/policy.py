"""The numbers a verdict is decided by. A policy is data; this is its value once read and checked."""

from typing import Final

import msgspec


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


_LATER: Final = ("effects", "require_effects", "effects_seen_share_min")
"""Fields that policies had not from the start."""


def content_of(policy: Policy) -> dict[str, object]:
    """What a digest of a policy is made of, in the order of its fields: a field that came later counts only where it is set, so that
    a policy that does not use it keeps the digest that it had."""
    fields = msgspec.structs.asdict(policy)
    plain = Policy()
    return {name: value for name, value in fields.items() if name not in _LATER or value != getattr(plain, name)}
