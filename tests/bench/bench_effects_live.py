"""The live path with effects watched beside itself without: requests/s, p99 and CPU time, everything mirrored, one worker each.

`python -m tests.bench.bench_effects_live --rounds 5 --seconds 8`. The builds make no calls: what is measured is what watching
costs those who wait for an answer (a trace for each request, trials that wait for what is seen), not what a call costs, which
is bench_egress. Once as clients send without tracing of their own, once with it. Rounds of both are interleaved, and the ratio
is the median of what each round says.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

from tests.bench.live import documents, wrk
from tests.bench.live.lab import Lab, lab, shown
from tests.bench.live.outcome import Outcome, Table, number, percent
from tests.bench.live.project import Counts, Project
from tests.bench.live.rounds import Rounds, Way, cpu_table, interleaved, over, ratio, script_folder, troubles

RATIO_MIN: Final = 0.95
"""Requests/s with effects to those without."""
P99_RATIO_MAX: Final = 1.15
ON: Final = "with effects"
OFF: Final = "without"
PLAIN: Final = "no tracing of the client's own"
TRACED: Final = "tracing of the client's own"
_HEADERS: Final = ("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",)
_CONFIGURATION: Final = "effects:\n  collect: [http]\n"


def main(arguments: Sequence[str] = ()) -> int:
    """Print the tables. 1 when an aim was missed."""
    return shown(run, arguments)


def run(arguments: Sequence[str] = ()) -> Outcome:
    """Measure. Raises AbsentError where nginx or wrk is missing."""
    given = _parser().parse_args(arguments)
    tables: list[Table] = []
    said: list[str] = []
    with lab() as place, place.project() as without, place.project(extra=_watching(place)) as watched:
        for case in (PLAIN, TRACED):
            if given.only and given.only != case.partition(" ")[0]:
                continue
            projects = {OFF: without, ON: watched}
            results = _measured(place, projects, given, _HEADERS if case == TRACED else ())
            tables += [_table(f"The live path, {case} ({_conditions(given)})", results)]
            tables += [cpu_table(results[name], projects[name].uses()) for name in projects]
            said += [f"{case}: {what}" for what in (*missed(results), *troubles(results, given.connections))]
    return Outcome(tables=tuple(tables), missed=tuple(said), absent=())


def _measured(place: Lab, projects: dict[str, Project], given: argparse.Namespace, headers: Sequence[str]) -> Rounds:
    ways = {name: Way(port=one.port, pid=one.pid, project=one) for name, one in projects.items()}
    folder = script_folder(place.folder, "effects")
    load = partial(wrk.drive, paths=documents.paths(), folder=folder, connections=given.connections, headers=headers)
    return interleaved(ways, place.targets, partial(load, seconds=given.seconds), rounds=given.rounds, warm_up=partial(load, seconds=1))


def _watching(place: Lab) -> tuple[str, ...]:
    """Words for the project's command."""
    file = place.folder / "effects.yaml"
    file.write_text(_CONFIGURATION)
    return ("--config", str(file))


def _conditions(given: argparse.Namespace) -> str:
    return f"{given.connections} connections, {given.rounds} rounds of {given.seconds} s; medians"


def _table(title: str, results: Rounds) -> Table:
    rows = []
    for name, rounds in results.items():
        counts = [one.counts for one in rounds if one.counts is not None]
        cells = (
            number(over(rounds, lambda one: one.load.rate)),
            number(over(rounds, lambda one: one.load.p50_ms), 2),
            number(over(rounds, lambda one: one.load.p99_ms), 2),
            percent(sum(one.mirrored for one in rounds), sum(one.forwarded for one in rounds)),
            percent(sum(one.compared for one in counts), sum(one.total for one in counts)),
            number(over(rounds, lambda one: one.cpu_micros()), 1),
            f"{ratio(results, name, OFF):.3f}",
            _why_shed(counts),
        )
        rows.append((name, *cells))
    columns = ("effects", "requests/s", "p50 ms", "p99 ms", "mirrored", "compared", "CPU µs/request", f"it / {OFF}", "shed")
    return Table(title=title, columns=columns, rows=tuple(rows))


def _why_shed(counts: Sequence[Counts]) -> str:
    reasons: Counter[str] = Counter()
    for one in counts:
        reasons.update(one.reasons)
    return Counts(reasons=dict(reasons)).why_shed() or "-"


def missed(results: Rounds) -> list[str]:
    """The aims that were not reached."""
    said = []
    if (times := ratio(results, ON, OFF)) < RATIO_MIN:
        said.append(f"{times:.3f} times the requests/s of the same without effects (aim: at least {RATIO_MIN})")
    mine, theirs = (over(results[name], lambda one: one.load.p99_ms) for name in (ON, OFF))
    if mine > P99_RATIO_MAX * theirs:
        said.append(f"p99 {mine:.2f} ms, without effects {theirs:.2f} ms (aim: at most {P99_RATIO_MAX} times that)")
    return said


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_effects_live")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--only", choices=("no", "tracing"), help="one of the two cases: without or with tracing of the client's own")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
