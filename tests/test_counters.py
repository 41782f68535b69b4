"""Counting compared trials: bounded, conserved, and the same however many processes counted."""

from collections import Counter
from itertools import chain

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from comparators.plan import build_plan
from comparators.registry import load_comparators
from comparators.trial import compare_trial
from harness.core.labels import ErrorKind, Role
from harness.core.limits import OTHER_ENDPOINT
from harness.core.values import Arm, Exchange, TransportError
from harness.counters import BUCKETS_SECONDS, Counters, Histogram, TrialCounts, merged
from tests.app.support import get, trial

PLAN = build_plan((), load_comparators())


def observed(counts: TrialCounts, endpoint: str, *, differs: bool = False) -> None:
    one = trial(0, endpoint=endpoint, candidate=b'{"price":11}' if differs else b'{"price":10}')
    counts.observe_trial(one, compare_trial(one, PLAN))


def test_what_is_counted_of_a_trial() -> None:
    counts = TrialCounts()
    observed(counts, "GET /a")
    observed(counts, "GET /a", differs=True)
    counters = counts.counters
    assert counters.requests == {("GET /a", role.value, "2xx"): 2 for role in Role}
    assert counters.differences == {("GET /a", "body", "value", "candidate"): 1}
    assert set(counters.durations) == {("GET /a", role.value) for role in Role}
    histogram = counters.durations["GET /a", "stable"]
    assert sum(histogram.counts) == 2
    assert histogram.counts[BUCKETS_SECONDS.index(0.005)] == 2


def test_an_arm_that_failed_is_a_class_of_its_own() -> None:
    counts = TrialCounts()
    failed = Exchange(request=get("/"), response=None, error=TransportError(ErrorKind.TIMEOUT), started_ns=0, ended_ns=1)
    one = msgspec.structs.replace(trial(0), candidate=Arm(role=Role.CANDIDATE, exchange=failed))
    counts.observe_trial(one, compare_trial(one, PLAN))
    assert counts.counters.requests["GET /items/{int}", "candidate", "error"] == 1


@given(seconds=st.lists(st.floats(0, 100)))
def test_every_duration_is_in_one_bucket(seconds: list[float]) -> None:
    histogram = Histogram([0] * (len(BUCKETS_SECONDS) + 1))
    for value in seconds:
        histogram.observe(value)
    assert sum(histogram.counts) == len(seconds)
    for index, bound in enumerate(BUCKETS_SECONDS):
        assert sum(histogram.counts[: index + 1]) == sum(value <= bound for value in seconds)


def test_label_combinations_are_bounded_and_nothing_is_lost() -> None:
    counts = TrialCounts(series_max=6)
    for number in range(20):
        observed(counts, f"GET /{number}", differs=True)
    counters = counts.counters
    assert sum(counters.requests.values()) == 60
    assert sum(counters.differences.values()) == 20
    assert sum(sum(histogram.counts) for histogram in counters.durations.values()) == 60
    assert len(counters.requests) <= 6 + len(Role)
    assert len(counters.durations) <= 6 + len(Role)
    assert len(counters.differences) <= 7
    assert counters.requests[OTHER_ENDPOINT, "stable", "2xx"] == 18


ENDPOINTS = st.lists(st.sampled_from([f"GET /{letter}" for letter in "abcdefghij"]), max_size=12)


@given(parts=st.lists(ENDPOINTS, max_size=4), series_max=st.integers(1, 40))
def test_processes_are_added_up_within_the_bound(parts: list[list[str]], series_max: int) -> None:
    several = []
    for endpoints in parts:
        counts = TrialCounts()
        for endpoint in endpoints:
            observed(counts, endpoint)
        several.append(counts.counters)
    before = msgspec.msgpack.encode(several)
    total = merged(several, series_max)
    assert msgspec.msgpack.encode(several) == before, "the parts stay as they are"
    assert sum(total.requests.values()) == 3 * sum(map(len, parts))
    assert sum(sum(histogram.counts) for histogram in total.durations.values()) == 3 * sum(map(len, parts))
    assert len(total.requests) <= series_max + len(Role)
    assert len(total.durations) <= series_max + len(Role)
    if series_max == 40:
        everything = Counter(chain.from_iterable(parts))
        assert {endpoint: total.requests[endpoint, "stable", "2xx"] for endpoint in everything} == everything


def test_nothing_is_shared_with_the_parts_and_the_way_over_the_bus_changes_nothing() -> None:
    counts = TrialCounts()
    observed(counts, "GET /a", differs=True)
    total = merged((counts.counters,))
    assert total == counts.counters
    observed(counts, "GET /a", differs=True)
    assert total.requests["GET /a", "stable", "2xx"] == 1
    assert sum(total.durations["GET /a", "stable"].counts) == 1
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(total), type=Counters) == total
    assert merged(()) == Counters()
