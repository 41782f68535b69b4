"""What is counted for the metrics: of compared trials by one process, added up over several, and of breakers. Bounded; no I/O.

An endpoint beyond the bound on label combinations counts as `other`.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar, cast

import msgspec

from harness.core.http import status_class
from harness.core.labels import Aspect, Kind, Role
from harness.core.limits import METRIC_SERIES_MAX, OTHER_ENDPOINT
from harness.core.values import Arm, Comparison, Trial

BUCKETS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds; one more bucket takes everything slower."""

_NAMES: Final = {role: role.value for role in Role}
"""Asking a member for its value is slow enough to show in what is done for every trial."""

_Labels = TypeVar("_Labels", bound=tuple[str, ...])


class Histogram(msgspec.Struct):
    """Counts for each bucket (not cumulated; the last takes the rest) and the sum in seconds."""

    counts: list[int]
    sum_seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        """Adds one value."""
        self.counts[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds


class Counters(msgspec.Struct):
    """What was counted so far. Counters of several processes are added up by `merged`."""

    requests: dict[tuple[str, str, str], int] = {}
    """By endpoint, target, code class."""
    differences: dict[tuple[str, str, str, str], int] = {}
    """By endpoint, aspect, kind, against."""
    durations: dict[tuple[str, str], Histogram] = {}
    """By endpoint, target."""


class TargetBreakers(msgspec.Struct, frozen=True, kw_only=True):
    """How the breakers of one shadow target stand. Each ingress worker has one of its own."""

    closed: int = 0
    """How many of them let trials through."""
    open: int = 0
    """How many leave the target alone."""
    probing: int = 0
    """How many try it with a few trials (half-open)."""
    opened: int = 0
    """How often they have opened, all together, so far."""


class TargetRepeats(msgspec.Struct, frozen=True, kw_only=True):
    """How often a target was asked again about live traffic."""

    sent: int = 0
    factor: int = 1
    """How much seldomer it is asked than it may be, because it suffers."""
    spent: bool = False
    """Nothing is left of the day's."""


def merged(parts: Iterable[Counters], series_max: int = METRIC_SERIES_MAX) -> Counters:
    """The sum of several processes' counters, within the bound on label combinations; nothing is shared with the parts."""
    total = Counters()
    for part in parts:
        _add(total.requests, part.requests, series_max)
        _add(total.differences, part.differences, series_max)
        for labels, histogram in part.durations.items():
            series = labels
            if series not in total.durations and len(total.durations) >= series_max:
                series = (OTHER_ENDPOINT, *labels[1:])
            into = total.durations.setdefault(series, _empty_histogram())
            into.counts = [mine + theirs for mine, theirs in zip(into.counts, histogram.counts, strict=True)]
            into.sum_seconds += histogram.sum_seconds
    return total


class TrialCounts:
    """Counts trials. Not thread-safe; `series_max` bounds the label combinations of each metric."""

    def __init__(self, series_max: int = METRIC_SERIES_MAX) -> None:
        self._series_max = series_max
        self.counters = Counters()
        """What was counted so far."""

    def observe_trial(self, trial: Trial, comparison: Comparison) -> None:
        """Count a compared trial; warm-up trials count like any other."""
        for arm in trial.arms():
            self._observe_arm(trial.endpoint, arm)
        for against, differences in (
            (Role.CANDIDATE, comparison.stable_candidate),
            (Role.SECONDARY, comparison.stable_secondary),
        ):
            for difference in differences:
                self._count_difference(trial.endpoint, difference.aspect, difference.kind, against)

    def _observe_arm(self, endpoint: str, arm: Arm) -> None:
        exchange = arm.exchange
        response = exchange.response
        code_class = status_class(response.status) if response is not None and exchange.error is None else "error"
        requests, durations = self.counters.requests, self.counters.durations
        role = _NAMES[arm.role]
        key = (endpoint, role, code_class)
        count = requests.get(key)
        if count is None:
            if len(requests) >= self._series_max:
                key = (OTHER_ENDPOINT, role, code_class)
            count = requests.get(key, 0)
        requests[key] = count + 1
        series = (endpoint, role)
        histogram = durations.get(series)
        if histogram is None:
            if len(durations) >= self._series_max:
                series = (OTHER_ENDPOINT, role)
            histogram = durations.setdefault(series, _empty_histogram())
        histogram.observe(max(0, exchange.ended_ns - exchange.started_ns) / 1e9)

    def _count_difference(self, endpoint: str, aspect: Aspect, kind: Kind, against: Role) -> None:
        differences = self.counters.differences
        key = (endpoint, aspect.value, kind.value, against.value)
        if key not in differences and len(differences) >= self._series_max:
            key = (OTHER_ENDPOINT, aspect.value, kind.value, against.value)
        differences[key] = differences.get(key, 0) + 1


def _empty_histogram() -> Histogram:
    return Histogram([0] * (len(BUCKETS_SECONDS) + 1))


def _add(into: dict[_Labels, int], part: Mapping[_Labels, int], series_max: int) -> None:
    for labels, count in part.items():
        series = labels
        if series not in into and len(into) >= series_max:
            series = cast("_Labels", (OTHER_ENDPOINT, *labels[1:]))
        into[series] = into.get(series, 0) + count
