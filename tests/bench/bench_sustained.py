"""A rate of trials that the whole of it must keep up with: stable, secondary and candidate, 2 KB of JSON each, nothing shed.

`python -m tests.bench.bench_sustained --seconds 120`. Open loop, so that a proxy that falls behind is not asked less. Two kinds of
answers: files (the same bytes from each arm) and live ones (one member and one header of each answer are new). The load, the
three targets and all of the project's processes share the machine's cores.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from tests.bench.live import documents, openloop, processes
from tests.bench.live.lab import Lab, lab, shown
from tests.bench.live.outcome import Outcome, Table, number, percentile
from tests.bench.live.project import Counts
from tests.bench.live.upstreams import LIVE

RATE: Final = 2000.0
"""Trials a second, nothing shed."""
ACHIEVED_MIN: Final = 0.99
"""Share of the rate that must have been answered within the time, and compared."""
_WARM_UP_SECONDS: Final = 2
_ANSWERS: Final = {"files": "", "live": LIVE}
"""Prefixes of the paths."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of answers."""

    load: openloop.Load
    at_end: Counts
    """When the last answer had come."""
    counts: Counts
    """When everything had settled."""
    asked: Mapping[str, int]
    """Requests by target."""
    cpu_s: Mapping[str, float]
    """By process of the project."""

    @property
    def compared_rate(self) -> float:
        """Trials compared a second while the load went on."""
        return self.at_end.compared / self.load.seconds


def main(arguments: Sequence[str] = ()) -> int:
    """Print the tables. 1 when an aim was missed."""
    return shown(run, arguments)


def run(arguments: Sequence[str] = ()) -> Outcome:
    """Measure. Raises AbsentError where nginx is missing."""
    given = _parser().parse_args(arguments)
    with lab() as place:
        results = {answers: _measure(place, prefix, given) for answers, prefix in _ANSWERS.items()}
    table = Table(
        title=f"Sustained: {given.rate:,.0f} requests/s for {given.seconds} s, secondary on, 2 KB of JSON",
        columns=("answers", "answered/s", "compared/s", "shed", "skipped", "refused", "p50 ms", "p99 ms", "CPU s/s"),
        rows=tuple(_row(answers, result) for answers, result in results.items()),
        notes=("compared/s is counted while the load goes on; CPU s/s is what all of the project's processes use together",),
    )
    rows = tuple(
        (f"{answers}: {process}", number(spent / result.load.seconds, 2), number(1e6 * spent / result.load.due, 1))
        for answers, result in results.items()
        for process, spent in result.cpu_s.items()
    )
    cpu = Table(title="CPU time of the project's processes", columns=("answers: process", "s/s", "µs/trial"), rows=rows)
    said = [aim for answers, result in results.items() for aim in missed(answers, result, given.rate)]
    return Outcome(tables=(table, cpu), missed=tuple(said), absent=tuple(place.absent))


def missed(answers: str, result: Result, rate: float) -> list[str]:
    """The aims that one kind of answers did not reach."""
    load, counts = result.load, result.counts
    said = []
    if load.rate < ACHIEVED_MIN * rate or load.bad or load.unanswered:
        said.append(f"{answers}: {load.rate:,.0f} answers/s of {rate:,.0f}, {load.bad} errors, {load.unanswered} without an answer")
    if result.compared_rate < ACHIEVED_MIN * rate:
        said.append(f"{answers}: {result.compared_rate:,.0f} trials/s were compared while the load went on (aim: {rate:,.0f})")
    if counts.shed:
        said.append(f"{answers}: {counts.shed:,} trials were shed (aim: none): {counts.why_shed()}")
    if counts.total != load.due:
        said.append(f"{answers}: {load.due:,} requests, {counts.total:,} outcomes (aim: one for each)")
    if not counts.shed and any(asked != load.due for asked in result.asked.values()):
        said.append(f"{answers}: the targets were asked {dict(result.asked)} times (aim: {load.due} each)")
    return said


def _measure(place: Lab, prefix: str, given: argparse.Namespace) -> Result:
    requests = openloop.paths_in_turn(documents.paths(prefix))
    with place.project(secondary=True, extra=given.proxy_option) as project:
        warm_up = int(given.rate * _WARM_UP_SECONDS)
        openloop.drive(project.port, requests, rate=given.rate, count=warm_up)
        before = project.settled(warm_up)
        uses, asked = project.uses(), place.targets.asked()
        count = int(given.rate * given.seconds)
        load = openloop.drive(project.port, requests, rate=given.rate, count=count, connections=given.connections)
        at_end = project.counts()
        settled = project.settled(before.total + count)
        now = place.targets.asked()
        return Result(
            load=load,
            at_end=at_end.since(before),
            counts=settled.since(before),
            asked={arm: now[arm] - asked[arm] for arm in now},
            cpu_s=processes.cpu_between(uses, project.uses()),
        )


def _row(answers: str, result: Result) -> tuple[str, ...]:
    counts, load = result.counts, result.load
    return (
        answers,
        number(load.rate),
        number(result.compared_rate),
        number(counts.shed),
        number(counts.skipped),
        number(counts.refused),
        number(percentile(load.latencies_ms, 0.5), 2),
        number(percentile(load.latencies_ms, 0.99), 2),
        number(sum(result.cpu_s.values()) / load.seconds, 2),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_sustained")
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--proxy-option", action="append", default=[], help="a further word for the project's command; may be repeated")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
