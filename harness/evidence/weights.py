"""How the error budget of a run is spread before anything is known: families, pools, endpoints, paths.

Weights add up to at most 1. A weight may depend on the past and on things that no arm has a say in, never on which arm
was the odd one in the bet it is used for.
"""

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Final

from harness.core.labels import CHANNEL_OF, Aspect, Channel, Kind


class Family(StrEnum):
    """What shares one part of the budget."""

    COARSE = "coarse"
    """Status, transport, effects, and the kind channel of every aspect."""
    VALUES = "values"
    """Format, shape, value and order."""
    NOISE = "noise"
    """How values relate that are new in every answer: distance, bias, style, mix, sequence. Of the part of values; without a pool."""
    LATENCY = "latency"
    DETERMINISM = "determinism"


FAMILY_WEIGHTS: Final = {Family.COARSE: 0.40, Family.VALUES: 0.30, Family.NOISE: 0.05, Family.LATENCY: 0.15, Family.DETERMINISM: 0.10}


class LatencyPart(StrEnum):
    """What shares the weight of latency, at each endpoint and in its pool."""

    MEDIAN = "median"
    TAILS = "tails"
    """All tails together, alike."""
    BUDGETS = "budgets"
    """All budgets of the policy together; kept for them where it has none."""


LATENCY_SHARES: Final = {LatencyPart.MEDIAN: 0.7, LatencyPart.TAILS: 0.2, LatencyPart.BUDGETS: 0.1}
POOLED_SHARE: Final = 0.5
"""Share of a family's weight on its pools; the rest is spread over endpoints and then paths."""


class Pool(StrEnum):
    """One hypothesis for the whole run, over every endpoint."""

    COARSE = "coarse"
    """Status, transport, and the kind channel of everything else: of effects, what is done and what not."""
    STATUS = "status"
    TRANSPORT = "transport"
    BODY_VALUES = "body_values"
    """Values in bodies, and those that effects are done with: generated ones must not drown what the coarse pool hears."""
    HEADER_VALUES = "header_values"
    LATENCY = "latency"
    DETERMINISM = "determinism"


POOL_WEIGHTS: Final = {
    Pool.COARSE: 0.12,
    Pool.STATUS: 0.05,
    Pool.TRANSPORT: 0.03,
    Pool.BODY_VALUES: 0.10,
    Pool.HEADER_VALUES: 0.05,
    Pool.LATENCY: 0.075,
    Pool.DETERMINISM: 0.05,
}

_COARSE_ASPECTS: Final = frozenset({Aspect.STATUS, Aspect.TRANSPORT, Aspect.EFFECTS})


def family_of(aspect: Aspect, kind: Kind) -> Family:
    """The family whose budget a hypothesis draws on."""
    if aspect in _COARSE_ASPECTS or CHANNEL_OF[kind] is Channel.KIND:
        return Family.COARSE
    return Family.LATENCY if aspect is Aspect.LATENCY else Family.VALUES


@lru_cache(maxsize=512)
def pools_of(aspect: Aspect, kind: Kind) -> tuple[Pool, ...]:
    """The pools that a bet of this sort goes into as well."""
    if aspect is Aspect.EFFECTS and CHANNEL_OF[kind] is not Channel.KIND:
        return (Pool.BODY_VALUES,)
    if family_of(aspect, kind) is Family.COARSE:
        if aspect is Aspect.STATUS:
            return (Pool.COARSE, Pool.STATUS)
        return (Pool.COARSE, Pool.TRANSPORT) if aspect is Aspect.TRANSPORT else (Pool.COARSE,)
    return (Pool.HEADER_VALUES,) if aspect is Aspect.HEADERS else (Pool.BODY_VALUES,)


def series(j: int) -> float:
    """1/(j(j+1)) for j = 1, 2, ...: adds up to 1 over any number of them."""
    return 1.0 / (j * (j + 1))


class EndpointShares:
    """Which share of a family's spread half each endpoint gets.

    Endpoints known before sending (a capture's) share alike, with one more share for those that come unexpectedly;
    these are numbered in the order in which they appear in the traffic, which no target decides.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = frozenset(known)
        self._late = 0

    def next_share(self, endpoint: str) -> float:
        """The share of an endpoint; to be asked once for each, when it appears."""
        part = 1.0 / (len(self._known) + 1)
        if endpoint in self._known:
            return part
        self._late += 1
        return part * series(self._late)
