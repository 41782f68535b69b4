"""The benchmarks of the live path judge as they say: an aim that was missed, void or cannot be judged never counts as reached."""

import math
import re
from typing import Any

import pytest

from tests.bench import bench_added_latency, bench_effects_live, bench_livepath, bench_memory, bench_sustained
from tests.bench.live import openloop, programs, rounds, wrk
from tests.bench.live.processes import Use
from tests.bench.live.project import Counts

MIB = 1024 * 1024


def load(requests: int, p99_ms: float = 4.0, bad: int = 0) -> wrk.Load:
    return wrk.Load(requests=requests, seconds=1.0, received_bytes=0, p50_ms=1.0, p99_ms=p99_ms, bad=bad, broken=0)


def a_round(requests: int, *, p99_ms: float = 4.0, mirrored: int | None = None, counts: Counts | None = None, bad: int = 0) -> rounds.Round:
    return rounds.Round(
        load=load(requests, p99_ms, bad),
        forwarded=requests,
        mirrored=requests if mirrored is None else mirrored,
        cpu_s={"shadowdiff proxy": 0.05},
        counts=counts,
    )


def results(mine: rounds.Round) -> rounds.Rounds:
    return {"direct": [a_round(9000)], "nginx-mirror": [a_round(1000)], "envoy-mirror": [a_round(900)], rounds.PROJECT: [mine]}


@pytest.mark.parametrize(
    ("mine", "said"),
    [
        (a_round(1200), []),
        (a_round(1150), ["1.15 times the requests/s of nginx-mirror (aim: at least 1.2)"]),
        (a_round(1200, p99_ms=4.5), ["p99 4.50 ms, that of nginx-mirror 4.00 ms (aim: no worse)", "envoy-mirror"]),
        (a_round(1200, mirrored=600), ["50.0 % of the requests were mirrored (aim: all)"]),
    ],
)
def test_the_live_path_is_judged(mine: rounds.Round, said: list[str]) -> None:
    found = bench_livepath.missed(results(mine))
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))


def test_an_absent_peer_is_an_aim_that_was_missed() -> None:
    there = results(a_round(9000))
    del there["envoy-mirror"]
    assert bench_livepath.missed(there) == ["envoy-mirror was not there: nothing can be said about 1.2 times its requests/s"]


def test_ratios_are_of_rounds_near_in_time() -> None:
    """The machine was twice as fast in the second round, for both."""
    there = {"a": [a_round(100), a_round(200), a_round(100)], "b": [a_round(50), a_round(100), a_round(10)]}
    assert rounds.ratio(there, "a", "b") == 2.0
    assert rounds.over(there["b"], lambda one: one.cpu_micros()) == pytest.approx(1000)
    assert rounds.over(there["b"], lambda one: one.cpu_micros("another")) == 0


@pytest.mark.parametrize(("outcomes", "well"), [(99, False), (100, True), (132, True), (133, False)])
def test_each_request_has_an_outcome(outcomes: int, well: bool) -> None:
    found = rounds.troubles({rounds.PROJECT: [a_round(100, counts=Counts(compared=outcomes))]}, connections=32)
    assert found == ([] if well else [f"shadowdiff: 100 requests were answered, {outcomes} have an outcome"])


def test_wrong_answers_make_figures_void() -> None:
    assert rounds.troubles({"a": [a_round(100, bad=3)]}, 32) == ["a: 3 answers were errors, 0 connections failed; its figures are void"]


def steady(latency_ms: float, *, count: int = 100, **more: Any) -> openloop.Load:
    fields = {"due": 100, "seconds": 1.0, "latencies_ms": [latency_ms] * count, "late_ms": [0.1] * count, "bad": 0, "unanswered": 0}
    return openloop.Load(**{**fields, **more})


@pytest.mark.parametrize(
    ("mine", "compared", "said"),
    [
        (steady(1.4), 100, []),
        (steady(1.6), 100, ["p50: 0.60 ms added"]),
        (steady(4.1), 100, ["p50", "p99: 3.10 ms added"]),
        (steady(1.4), 99, ["99 of 100 requests were compared"]),
        (steady(math.nan, count=0, bad=100), 100, ["p50: nan", "p99: nan", "100 errors"]),
    ],
)
def test_added_latency_is_judged(mine: openloop.Load, compared: int, said: list[str]) -> None:
    loads = {"direct": [steady(1.0)], rounds.PROJECT: [mine]}
    found = bench_added_latency.missed(loads, 100, Counts(compared=compared))
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))


ASKED = {"stable": 100, "secondary": 100, "candidate": 100}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"at_end": Counts(compared=90)}, ["90 trials/s were compared"]),
        ({"counts": Counts(compared=99, shed=1, reasons={"rate": 1})}, ["1 trials were shed (aim: none): rate 1"]),
        ({"counts": Counts(compared=99)}, ["100 requests, 99 outcomes"]),
        ({"asked": {**ASKED, "candidate": 99}}, ["the targets were asked"]),
        ({"load": steady(1.0, seconds=2.0)}, ["50 answers/s of 100", "50 trials/s"]),
        ({"load": steady(1.0, unanswered=1)}, ["1 without an answer"]),
    ],
)
def test_a_sustained_rate_is_judged(change: dict[str, Any], said: list[str]) -> None:
    fields: dict[str, Any] = {
        "load": steady(1.0),
        "at_end": Counts(compared=100),
        "counts": Counts(compared=100),
        "asked": ASKED,
        "cpu_s": {},
    }
    found = bench_sustained.missed("files", bench_sustained.Result(**{**fields, **change}), 100.0)
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))


def sample(requests: int, rss_mib: int, *, peak_mib: int = 0, pid: int = 1, compared: int | None = None) -> bench_memory.Sample:
    use = Use(name="worker", cpu_s=0, rss_bytes=rss_mib * MIB, peak_bytes=max(rss_mib, peak_mib) * MIB, nice=0)
    counts = Counts(compared=requests if compared is None else compared)
    return bench_memory.Sample(requests=requests, counts=counts, uses={(pid, 7): use})


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (sample(1000, 124), []),
        (sample(1000, 126), ["worker: 1.26 times the memory after 1,000 trials of that after 100"]),
        (sample(1000, 100, peak_mib=301), ["worker: 301 MiB at its peak"]),
        (sample(1000, 100, pid=2), ["worker was started after 100 requests"]),
        (sample(1000, 100, compared=999), ["999 of 1,000 trials were compared; shed: none", "1,000 requests, 999 outcomes"]),
    ],
)
def test_memory_is_judged(last: bench_memory.Sample, said: list[str]) -> None:
    found = bench_memory.missed([sample(100, 100), last], 1000)
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))


def test_memory_is_asked_with_requests_that_are_all_different() -> None:
    requests = [bench_memory.request_of(number) for number in range(400)]
    assert len({request.split(b"\r\n", 1)[0] for request in requests}) == 400
    assert len({request.split(b"Authorization: ", 1)[1] for request in requests}) == 20


def test_a_run_with_the_projects_own_command() -> None:
    """Every request reaches each target once and has one outcome, whatever the machine's speed."""
    try:
        programs.program("nginx")
    except programs.AbsentError as absent:
        pytest.skip(str(absent))
    outcome = bench_sustained.run(["--rate", "50", "--seconds", "1", "--connections", "8"])
    assert [row[0] for row in outcome.tables[0].rows] == ["files", "live"]
    assert [row[0] for row in outcome.tables[1].rows if row[0].endswith("shadowdiff proxy")] == [
        "files: shadowdiff proxy",
        "live: shadowdiff proxy",
    ]
    wrong = re.compile(r"outcomes|asked|[1-9][0-9,]* (errors|without an answer)")  # a slow machine may miss a rate, and nothing else
    assert [sentence for sentence in outcome.missed if wrong.search(sentence)] == []


@pytest.mark.parametrize(
    ("mine", "said"),
    [
        (a_round(990), []),
        (a_round(900), ["0.900 times the requests/s of the same without effects (aim: at least 0.95)"]),
        (a_round(1000, p99_ms=5.0), ["p99 5.00 ms, without effects 4.00 ms (aim: at most 1.15 times that)"]),
    ],
)
def test_the_live_path_with_effects_is_judged_beside_itself(mine: rounds.Round, said: list[str]) -> None:
    assert bench_effects_live.missed({bench_effects_live.OFF: [a_round(1000)], bench_effects_live.ON: [mine]}) == said
