"""Rules that others judge by, watched on the same streams as ours: each looks after every request or block of requests.

Diffy keeps a field where the candidate differs from primary more often than secondary does, by 20 % of both together and by
0.03 % of all requests (the defaults of its two thresholds). Kayenta compares two samples of a metric by the Mann-Whitney test and
calls one higher where the confidence interval of the shift lies beyond 0.25 times its estimate (spinnaker/kayenta,
`MannWhitneyClassifier`; its judge uses a confidence of 0.98). Both are meant for one look at the end.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tests.sim.world import Answer

RELATIVE_MIN: Final = 20.0
"""Per cent of raw and noise together."""
ABSOLUTE_MIN: Final = 0.03
"""Per cent of the requests."""
CONFIDENCE: Final = 0.98
TOLERANCE: Final = 0.25
LOOK_EVERY: Final = 100
"""Requests between two looks of the Mann-Whitney test."""
LOOK_FROM: Final = 50
"""Diffy's rule is asked from this request on: before it one noisy answer is a fifth of them."""

Sample = npt.NDArray[np.float64]


@dataclass
class Counts:
    """Of one field."""

    raw: int = 0
    """Requests in which the candidate differs from stable."""
    noise: int = 0
    """Requests in which secondary does."""


def keeps(counts: Counts, total: int) -> bool:
    """Whether Diffy shows the field as a difference."""
    if counts.raw <= counts.noise:
        return False
    apart = counts.raw - counts.noise
    return apart / (counts.raw + counts.noise) * 100 > RELATIVE_MIN and apart / total * 100 > ABSOLUTE_MIN


def diffy(answers: Iterable[Answer]) -> int | None:
    """The number of requests after which Diffy's rule shows a field for the first time; None if it never does."""
    fields: defaultdict[str, Counts] = defaultdict(Counts)
    for total, answer in enumerate(answers, 1):
        for path, (stable, secondary, candidate) in answer.values.items():
            if stable != candidate:
                fields[path].raw += 1
            if stable != secondary:
                fields[path].noise += 1
        if total >= LOOK_FROM and any(keeps(counts, total) for counts in fields.values()):
            return total
    return None


def mann_whitney(answers: Iterable[Answer], *, every: int = LOOK_EVERY) -> int | None:
    """The number of requests after which the test of the candidate's latency against secondary's rejects; None if it never does."""
    secondary: list[float] = []
    candidate: list[float] = []
    for total, answer in enumerate(answers, 1):
        secondary.append(answer.latency_ms[1])
        candidate.append(answer.latency_ms[2])
        if total % every == 0 and rejects(secondary, candidate):
            return total
    return None


def rejects(control: Sequence[float], experiment: Sequence[float]) -> bool:
    """Whether the experiment is called higher: the confidence interval of the shift begins beyond a quarter of its estimate.

    That is the test with the experiment moved back by that quarter, since the interval holds the shifts that are not rejected.
    """
    lower, higher = np.sort(np.asarray(control)), np.sort(np.asarray(experiment))
    estimate = abs(shift(lower, higher))
    return p_greater(lower, higher - TOLERANCE * estimate) < (1.0 - CONFIDENCE) / 2.0


def shift(control: Sample, experiment: Sample) -> float:
    """The Hodges-Lehmann estimate: the median of all differences of a pair, by halving. Both samples are sorted."""
    low, high = float(experiment[0] - control[-1]), float(experiment[-1] - control[0])
    half = len(control) * len(experiment) / 2.0
    while high - low > 1e-6 * max(1.0, abs(low), abs(high)):
        middle = (low + high) / 2.0
        below = int(np.searchsorted(experiment, control + middle).sum())
        low, high = (middle, high) if below < half else (low, middle)
    return (low + high) / 2.0


def p_greater(control: Sample, experiment: Sample) -> float:
    """One-sided Mann-Whitney p value that the experiment is larger, by the normal approximation with ties at their mean rank."""
    both = np.concatenate([control, experiment])
    order = np.argsort(both, kind="stable")
    _, first, counts = np.unique(both[order], return_index=True, return_counts=True)
    ranks = np.empty(len(both))
    ranks[order] = np.repeat(first + (counts + 1) / 2.0, counts)
    n, m = len(control), len(experiment)
    u = float(ranks[n:].sum()) - m * (m + 1) / 2.0
    total = n + m
    ties = float((counts**3 - counts).sum()) / (total * (total - 1))
    deviation = math.sqrt(n * m / 12.0 * (total + 1 - ties))
    if deviation == 0.0:
        return 1.0
    return 0.5 * math.erfc((u - n * m / 2.0 - 0.5) / deviation / math.sqrt(2.0))
