"""The numbers a verdict is decided by. A policy is data; this is its value once read and checked."""

import msgspec


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
