import re
import threading
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from harness.core.labels import Aspect, ErrorKind, Kind, Role, ShedReason, VerdictState
from harness.core.limits import OTHER_ENDPOINT
from harness.core.values import Comparison, Difference, Totals, TransportError, Trial
from harness.counters import BUCKETS_SECONDS, TargetBreakers, TargetRepeats, merged
from harness.evidence.snapshot import Reason, Verdict
from harness.metrics import METRICS, SHED_STAGE, MetricsState
from harness.resources import read_config
from tests.report import samples

DIFFERS = Comparison(
    trial="t",
    seq=0,
    stable_candidate=(Difference(Aspect.BODY, "$.a", Kind.VALUE), Difference(Aspect.BODY, "$.b", Kind.VALUE)),
    stable_secondary=(Difference(Aspect.HEADERS, "date", Kind.VALUE),),
)
LABELS = {
    "shadowdiff_requests_total": {"endpoint", "target", "code_class"},
    "shadowdiff_trials_total": {"outcome"},
    "shadowdiff_differences_total": {"endpoint", "aspect", "kind", "against"},
    "shadowdiff_findings": {"class", "severity"},
    "shadowdiff_shed_total": {"stage", "reason"},
    "shadowdiff_request_duration_seconds": {"endpoint", "target"},
    "shadowdiff_verdict": {"state"},
    "shadowdiff_verdict_timestamp_seconds": set(),
    "shadowdiff_run_info": {"run", "build"},
    "shadowdiff_resumes_total": set(),
    "shadowdiff_queue_depth": {"stage"},
    "shadowdiff_breakers": {"target", "state"},
    "shadowdiff_breaker_opened_total": {"target"},
    "shadowdiff_repeats_total": {"target"},
    "shadowdiff_repeats_back_off": {"target"},
    "shadowdiff_repeats_spent": {"target"},
}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def trial(endpoint: str = "GET /a", status: int = 200) -> Trial:
    answer = samples.response(status, {"a": 1})
    return samples.trial("x", endpoint, samples.GET_ORDER, answer, answer)


def state(**more: int) -> MetricsState:
    return MetricsState(run="run-1", build="b-1", clock=lambda: 1_700_000_000.0, **more)


def parsed(metrics: MetricsState) -> list[Metric]:
    return list(text_string_to_metric_families(metrics.render().decode()))


def values(metrics: MetricsState) -> Samples:
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in parsed(metrics) for sample in family.samples}


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def filled() -> MetricsState:
    metrics = state()
    metrics.observe_trial(trial(), DIFFERS)
    metrics.set_snapshot(
        samples.snapshot(samples.FINDINGS, samples.ENDPOINTS, samples.NOISE),
        Verdict(state=VerdictState.FAIL, reasons=(Reason(code=next(iter(samples.fail_report().reasons)).code, message="x"),)),
        Totals(requests=10, compared=6, skipped={"write": 2}, shed={"in_flight": 1}, refused={"bad_request": 1}),
    )
    metrics.set_queues({"compare": 3})
    metrics.set_resumes(2)
    metrics.set_breakers({"candidate": TargetBreakers(closed=1, open=2, opened=9), "secondary": TargetBreakers(probing=3)})
    metrics.set_repeats({"candidate": TargetRepeats(sent=7, factor=4, spent=True), "secondary": TargetRepeats(sent=7)})
    return metrics


def test_names_labels_and_help_are_those_of_the_design() -> None:
    assert set(METRICS) == set(LABELS)
    families = {}
    for family in parsed(filled()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        families[name] = family
        assert family.documentation == METRICS[name]
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == LABELS[name], name
    assert set(families) == set(LABELS)


def test_values() -> None:
    found = values(filled())
    assert value(found, "shadowdiff_requests_total", endpoint="GET /a", target="stable", code_class="2xx") == 1
    assert value(found, "shadowdiff_differences_total", endpoint="GET /a", aspect="body", kind="value", against="candidate") == 2
    assert value(found, "shadowdiff_differences_total", endpoint="GET /a", aspect="headers", kind="value", against="secondary") == 1
    assert value(found, "shadowdiff_findings", **{"class": "undecided", "severity": "major"}) == 1
    assert value(found, "shadowdiff_findings", **{"class": "expected", "severity": "major"}) == 0
    assert value(found, "shadowdiff_shed_total", stage="dispatch", reason="in_flight") == 1
    assert [value(found, "shadowdiff_verdict", state=name) for name in ("pass", "fail", "inconclusive")] == [0, 1, 0]
    assert value(found, "shadowdiff_verdict_timestamp_seconds") == 1_700_000_000
    assert value(found, "shadowdiff_run_info", run="run-1", build="b-1") == 1
    assert value(found, "shadowdiff_queue_depth", stage="compare") == 3
    assert value(found, "shadowdiff_resumes_total") == 2
    assert [value(found, "shadowdiff_breakers", target="candidate", state=state) for state in ("closed", "open", "probing")] == [1, 2, 0]
    assert value(found, "shadowdiff_breakers", target="secondary", state="probing") == 3
    assert value(found, "shadowdiff_breaker_opened_total", target="candidate") == 9
    assert value(found, "shadowdiff_breaker_opened_total", target="secondary") == 0
    for target, factor, spent in (("candidate", 4, 1), ("secondary", 1, 0)):
        assert value(found, "shadowdiff_repeats_total", target=target) == 7
        assert value(found, "shadowdiff_repeats_back_off", target=target) == factor
        assert value(found, "shadowdiff_repeats_spent", target=target) == spent


def test_outcomes_are_conserved() -> None:
    found = values(filled())
    assert sum(amount for (name, _), amount in found.items() if name == "shadowdiff_trials_total") == 10


def test_without_a_verdict_nothing_is_claimed() -> None:
    names = {name for name, _ in values(state())}
    assert "shadowdiff_verdict" not in names
    assert "shadowdiff_verdict_timestamp_seconds" not in names
    assert "shadowdiff_findings" in names


def test_a_replay_does_not_forget_the_last_verdict() -> None:
    metrics = filled()
    metrics.set_snapshot(samples.snapshot((), ()), None, Totals())
    assert value(values(metrics), "shadowdiff_verdict", state="fail") == 1


def test_errors_are_a_class_of_their_own() -> None:
    metrics = state()
    error = TransportError(ErrorKind.TIMEOUT)
    broken = msgspec.structs.replace(trial(), candidate=samples.arm(Role.CANDIDATE, samples.GET_ORDER, None, 0.0, error), secondary=None)
    metrics.observe_trial(broken, Comparison(trial="t", seq=0))
    found = values(metrics)
    assert value(found, "shadowdiff_requests_total", endpoint="GET /a", target="candidate", code_class="error") == 1
    assert value(found, "shadowdiff_request_duration_seconds_count", endpoint="GET /a", target="candidate") == 1


@given(st.lists(st.floats(min_value=0, max_value=200_000), min_size=1, max_size=30))
def test_every_duration_is_in_its_bucket(latencies_ms: list[float]) -> None:
    metrics = state()
    for latency_ms in latencies_ms:
        arm = samples.arm(Role.STABLE, samples.GET_ORDER, samples.response(200, 1), latency_ms)
        metrics.observe_trial(msgspec.structs.replace(trial(), stable=arm, secondary=None, candidate=None), Comparison(trial="t", seq=0))
    found = values(metrics)
    seconds = [int(latency_ms * 1e6) / 1e9 for latency_ms in latencies_ms]
    for bound in BUCKETS_SECONDS:
        bucket = value(found, "shadowdiff_request_duration_seconds_bucket", endpoint="GET /a", target="stable", le=str(bound))
        assert bucket == sum(second <= bound for second in seconds)
    assert value(found, "shadowdiff_request_duration_seconds_count", endpoint="GET /a", target="stable") == len(seconds)
    assert value(found, "shadowdiff_request_duration_seconds_sum", endpoint="GET /a", target="stable") == pytest.approx(sum(seconds))


def test_label_sets_are_bounded_and_nothing_is_lost() -> None:
    metrics = state(series_max=6)
    for number in range(50):
        metrics.observe_trial(trial(f"GET /{number}"), DIFFERS)
    counters = metrics.counters()
    assert sum(counters.requests.values()) == 150
    assert sum(counters.differences.values()) == 150
    assert sum(sum(histogram.counts) for histogram in counters.durations.values()) == 150
    assert len(counters.requests) <= 6 + 3
    assert counters.requests[OTHER_ENDPOINT, "stable", "2xx"] == 48


def test_processes_are_added_up() -> None:
    one, two = state(), state()
    one.observe_trial(trial(), DIFFERS)
    two.observe_trial(trial(), DIFFERS)
    two.observe_trial(trial("GET /b", 500), DIFFERS)
    one.set_other_processes([two.counters()])
    found = values(one)
    assert value(found, "shadowdiff_requests_total", endpoint="GET /a", target="stable", code_class="2xx") == 2
    assert value(found, "shadowdiff_requests_total", endpoint="GET /b", target="stable", code_class="5xx") == 1
    assert value(found, "shadowdiff_request_duration_seconds_count", endpoint="GET /a", target="stable") == 2
    total = merged([one.counters(), two.counters()])
    assert sum(total.requests.values()) == 15
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(total), type=type(total)) == total


def test_hostile_endpoints_stay_one_label() -> None:
    metrics = state()
    metrics.observe_trial(trial('GET /"}\n\\evil 1'), DIFFERS)
    assert value(values(metrics), "shadowdiff_requests_total", endpoint='GET /"}\n\\evil 1', target="stable", code_class="2xx") == 1


def test_the_global_registry_is_left_alone() -> None:
    filled().render()
    assert not [family for family in REGISTRY.collect() if family.name.startswith("shadowdiff")]


def test_it_may_be_read_while_it_is_fed() -> None:
    metrics = state()
    stop = threading.Event()

    def feed() -> None:
        while not stop.is_set():
            metrics.observe_trial(trial(), DIFFERS)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        for _ in range(20):
            found = values(metrics)
            key = ("shadowdiff_requests_total", frozenset({"endpoint": "GET /a", "target": "stable", "code_class": "2xx"}.items()))
            count = ("shadowdiff_request_duration_seconds_count", frozenset({"endpoint": "GET /a", "target": "stable"}.items()))
            assert found.get(key, 0) == found.get(count, 0)
    finally:
        stop.set()
        thread.join()


def test_every_shed_reason_has_a_stage() -> None:
    assert set(SHED_STAGE) == set(ShedReason)


def test_alert_rules_speak_of_metrics_that_exist() -> None:
    rules = yaml.safe_load(read_config("prometheus/alerts.yml"))
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len({alert["alert"] for alert in alerts}) == len(alerts) > 0
    for alert in alerts:
        named = set(re.findall(r"shadowdiff_\w+", alert["expr"]))
        assert named <= set(METRICS)
        assert named
        for name, wanted in re.findall(r"(shadowdiff_\w+)\{(\w+)=", alert["expr"]):
            assert wanted in LABELS[name]
        assert {"summary", "description"} <= set(alert["annotations"])


def test_the_documentation_has_every_metric_with_its_labels() -> None:
    doc = (Path(__file__).parents[1] / "docs/live.md").read_text(encoding="utf-8")
    rows = {
        name: set(re.findall(r"`([a-z_]+)`", labels))
        for name, labels in re.findall(r"^\| `(shadowdiff_\w+)` \|([^|]*)\|", doc, re.MULTILINE)
    }
    assert rows == LABELS
    for name, words in METRICS.items():
        assert f"| {words} |" in doc, name


def test_an_epoch_is_another_run_and_counters_go_on() -> None:
    state = MetricsState(run="r", build="a")
    state.begin("r.2", "b")
    assert b'shadowdiff_run_info{build="b",run="r.2"} 1.0' in state.render()
    assert b'build="a"' not in state.render()
