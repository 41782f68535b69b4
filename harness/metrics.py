"""Prometheus metrics of a run, on a registry of their own. Counts what the pipeline shows; knows no socket.

Counters live in `MetricsState`, which the pipeline's thread feeds and the admin port's thread reads. Label sets are
bounded: an endpoint beyond the bound counts as `other`.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from harness.core.labels import FindingClass, Severity, ShedReason, VerdictState
from harness.core.limits import METRIC_SERIES_MAX
from harness.core.values import Comparison, Totals, Trial
from harness.counters import BUCKETS_SECONDS, Counters, Histogram, TargetBreakers, TargetRepeats, TrialCounts, merged
from harness.evidence.snapshot import Snapshot, Verdict

SHED_STAGE: Final[dict[ShedReason, str]] = {
    ShedReason.IN_FLIGHT: "dispatch",
    ShedReason.QUEUE_FULL: "compare",
    ShedReason.SHUTDOWN: "dispatch",
    ShedReason.FAULT: "dispatch",
    ShedReason.RATE: "dispatch",
    ShedReason.BREAKER: "dispatch",
    ShedReason.WORKER_LOST: "compare",
    ShedReason.KILLED: "compare",
    ShedReason.LAG: "dispatch",
}
"""Where in the house each shedding happens."""

METRICS: Final[dict[str, str]] = {
    "shadowdiff_requests_total": "Exchanges with a target in compared trials.",
    "shadowdiff_trials_total": "Requests by outcome; their sum is the number of requests that have one.",
    "shadowdiff_differences_total": "Differences found, before any evidence; against says which arm differs from stable.",
    "shadowdiff_findings": "Findings now.",
    "shadowdiff_shed_total": "Trials given up under load before sending, or lost with a process of the harness.",
    "shadowdiff_request_duration_seconds": "From the start of sending to the last byte or the error.",
    "shadowdiff_verdict": "1 for the verdict now, 0 for the others.",
    "shadowdiff_verdict_timestamp_seconds": "When the verdict was last decided, in seconds since the epoch.",
    "shadowdiff_run_info": "The run and the build under test.",
    "shadowdiff_resumes_total": "Times that the run went on after the proxy had been killed; what that lost is shed, killed.",
    "shadowdiff_queue_depth": "Trials waiting, by stage.",
    "shadowdiff_breakers": "Ingress workers whose breaker of a shadow target stands so now.",
    "shadowdiff_breaker_opened_total": "Times that a breaker of a shadow target has opened, in all ingress workers.",
    "shadowdiff_repeats_total": "Requests of live traffic that a target was asked again, to see whether a difference comes back.",
    "shadowdiff_repeats_back_off": "By how much seldomer a target is asked again than it may be, because it became slower or failed more.",
    "shadowdiff_repeats_spent": "1 where a target may not be asked again for now, because the day's requests are used up.",
}
"""Every metric with its help text."""


class MetricsState:
    """What the metrics say now. `observe_trial` and the rest may be called from different threads."""

    def __init__(self, *, run: str, build: str = "", clock: Callable[[], float] = time.time, series_max: int = METRIC_SERIES_MAX) -> None:
        """`clock` gives seconds since the epoch; `series_max` bounds the label combinations of each metric."""
        self._lock = threading.Lock()
        self._run = run
        self._build = build
        self._clock = clock
        self._counts = TrialCounts(series_max)
        self._snapshot: Snapshot | None = None
        self._verdict: Verdict | None = None
        self._verdict_at = 0.0
        self._totals = Totals()
        self._queues: dict[str, int] = {}
        self._breakers: dict[str, TargetBreakers] = {}
        self._repeats: dict[str, TargetRepeats] = {}
        self._resumes = 0
        self._other_processes: tuple[Counters, ...] = ()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_RunCollector(self))

    def observe_trial(self, trial: Trial, comparison: Comparison) -> None:
        """Counts a compared trial; warm-up trials count like any other."""
        with self._lock:
            self._counts.observe_trial(trial, comparison)

    def begin(self, run: str, build: str) -> None:
        """Another epoch begins: another run and build are under test, and nothing is judged yet. Counters go on."""
        with self._lock:
            self._run, self._build = run, build
            self._snapshot, self._verdict = None, None

    def set_snapshot(self, snapshot: Snapshot, verdict: Verdict | None, totals: Totals) -> None:
        """The ledger's last word, the gate's answer to it (None where nothing is judged), and where every request went."""
        with self._lock:
            self._snapshot, self._totals = snapshot, totals
            if verdict is not None:
                self._verdict, self._verdict_at = verdict, self._clock()

    def set_queues(self, depths: Mapping[str, int]) -> None:
        """Trials waiting now, by stage (a fixed set of names of the harness's own)."""
        with self._lock:
            self._queues = dict(depths)

    def set_breakers(self, breakers: Mapping[str, TargetBreakers]) -> None:
        """How the breakers stand now, by shadow target."""
        with self._lock:
            self._breakers = dict(breakers)

    def set_repeats(self, repeats: Mapping[str, TargetRepeats]) -> None:
        """How often targets were asked again, by target."""
        with self._lock:
            self._repeats = dict(repeats)

    def set_resumes(self, count: int) -> None:
        """How often the run went on after the proxy had been killed."""
        with self._lock:
            self._resumes = count

    def set_other_processes(self, counters: Iterable[Counters]) -> None:
        """The last counters of every other process; they replace the ones given before."""
        with self._lock:
            self._other_processes = tuple(counters)

    def counters(self) -> Counters:
        """A copy of everything counted, all processes together."""
        with self._lock:
            return merged((self._counts.counters, *self._other_processes))

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)

    def families(self) -> Iterator[Metric]:
        """Every metric of METRICS, from one consistent moment."""
        with self._lock:
            counters = merged((self._counts.counters, *self._other_processes))
            snapshot, verdict, verdict_at = self._snapshot, self._verdict, self._verdict_at
            totals, queues, breakers, resumes = self._totals, dict(self._queues), dict(self._breakers), self._resumes
            repeats = dict(self._repeats)
        yield from _count_families(counters)
        yield _trials_family(totals)
        yield _shed_family(totals)
        yield _findings_family(snapshot)
        yield from _verdict_families(verdict, verdict_at)
        info = _gauge("shadowdiff_run_info", ("run", "build"))
        info.add_metric((self._run, self._build), 1)
        yield info
        resumed = _counter("shadowdiff_resumes_total", ())
        resumed.add_metric((), resumes)
        yield resumed
        depth = _gauge("shadowdiff_queue_depth", ("stage",))
        for stage, waiting in sorted(queues.items()):
            depth.add_metric((stage,), waiting)
        yield depth
        yield from _breaker_families(breakers)
        yield from _repeat_families(repeats)


class _RunCollector(Collector):
    def __init__(self, state: MetricsState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        return self._state.families()


def _count_families(counters: Counters) -> Iterator[Metric]:
    requests = _counter("shadowdiff_requests_total", ("endpoint", "target", "code_class"))
    for request_labels, count in sorted(counters.requests.items()):
        requests.add_metric(request_labels, count)
    yield requests
    differences = _counter("shadowdiff_differences_total", ("endpoint", "aspect", "kind", "against"))
    for difference_labels, count in sorted(counters.differences.items()):
        differences.add_metric(difference_labels, count)
    yield differences
    name = "shadowdiff_request_duration_seconds"
    durations = HistogramMetricFamily(name, METRICS[name], labels=("endpoint", "target"))
    for duration_labels, histogram in sorted(counters.durations.items()):
        durations.add_metric(duration_labels, _cumulated(histogram), histogram.sum_seconds)
    yield durations


def _cumulated(histogram: Histogram) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    running = 0
    for bound, count in zip((*map(str, BUCKETS_SECONDS), "+Inf"), histogram.counts, strict=True):
        running += count
        buckets.append((bound, running))
    return buckets


def _trials_family(totals: Totals) -> Metric:
    trials = _counter("shadowdiff_trials_total", ("outcome",))
    outcomes = {
        "compared": totals.compared,
        "shed": sum(totals.shed.values()),
        "skipped": sum(totals.skipped.values()),
        "refused": sum(totals.refused.values()),
    }
    for outcome, count in outcomes.items():
        trials.add_metric((outcome,), count)
    return trials


def _shed_family(totals: Totals) -> Metric:
    shed = _counter("shadowdiff_shed_total", ("stage", "reason"))
    for reason in ShedReason:
        shed.add_metric((SHED_STAGE[reason], reason.value), totals.shed.get(reason.value, 0))
    return shed


def _findings_family(snapshot: Snapshot | None) -> Metric:
    findings = _gauge("shadowdiff_findings", ("class", "severity"))
    counts = {(finding_class, severity): 0 for finding_class in FindingClass for severity in Severity}
    for evidence in (*snapshot.findings, *snapshot.noise) if snapshot else ():
        counts[evidence.finding_class, evidence.severity] += evidence.blocks
    for (finding_class, severity), count in counts.items():
        findings.add_metric((finding_class.value, severity.value), count)
    return findings


def _verdict_families(verdict: Verdict | None, verdict_at: float) -> Iterator[Metric]:
    states = _gauge("shadowdiff_verdict", ("state",))
    if verdict is not None:
        for state in VerdictState:
            states.add_metric((state.value,), int(state is verdict.state))
    yield states
    timestamp = _gauge("shadowdiff_verdict_timestamp_seconds", ())
    if verdict is not None:
        timestamp.add_metric((), verdict_at)
    yield timestamp


def _breaker_families(breakers: Mapping[str, TargetBreakers]) -> Iterator[Metric]:
    stand = _gauge("shadowdiff_breakers", ("target", "state"))
    opened = _counter("shadowdiff_breaker_opened_total", ("target",))
    for target, those in sorted(breakers.items()):
        for state, count in (("closed", those.closed), ("open", those.open), ("probing", those.probing)):
            stand.add_metric((target, state), count)
        opened.add_metric((target,), those.opened)
    yield stand
    yield opened


def _repeat_families(repeats: Mapping[str, TargetRepeats]) -> Iterator[Metric]:
    sent = _counter("shadowdiff_repeats_total", ("target",))
    back_off = _gauge("shadowdiff_repeats_back_off", ("target",))
    spent = _gauge("shadowdiff_repeats_spent", ("target",))
    for target, those in sorted(repeats.items()):
        sent.add_metric((target,), those.sent)
        back_off.add_metric((target,), those.factor)
        spent.add_metric((target,), int(those.spent))
    yield sent
    yield back_off
    yield spent


def _counter(name: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(name, METRICS[name], labels=labels)


def _gauge(name: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, METRICS[name], labels=labels)
