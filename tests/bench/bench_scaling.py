"""How requests/s depend on the number of workers and on the size of the answers, everything mirrored.

`python -m tests.bench.bench_scaling --rounds 5 --seconds 10`. There is no aim here: on a machine whose cores are all busy with
the load and the targets, more workers cannot help, and the table shows it. It fails only where answers are wrong.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from tests.bench.live import documents, rounds, wrk
from tests.bench.live.lab import Lab, lab, shown
from tests.bench.live.outcome import Outcome, Table, number, percent
from tests.bench.live.project import options
from tests.bench.live.rounds import DIRECT, PROJECT, Rounds, Way

WORKERS: Final = (1, 2, 4)
SIZES: Final = {"1 KB": (1_000, 32), "20 KB": (20_000, 32), "1 MB": (1_000_000, 8), "50 MB": (50_000_000, 2)}
"""Bytes of an answer, and connections."""
_CONNECTIONS: Final = 64
_PEER: Final = "nginx-mirror"
_MB: Final = 1e6


def main(arguments: Sequence[str] = ()) -> int:
    """Print the tables. 1 when answers were wrong."""
    return shown(run, arguments)


def run(arguments: Sequence[str] = ()) -> Outcome:
    """Measure. Raises AbsentError where nginx or wrk is missing."""
    given = _parser().parse_args(arguments)
    with lab() as place:
        troubles: list[str] = []
        tables = (_by_workers(place, given, troubles), _by_size(place, given, troubles))
    return Outcome(tables=tables, missed=tuple(troubles), absent=tuple(place.absent))


def _by_workers(place: Lab, given: argparse.Namespace, troubles: list[str]) -> Table:
    counts = WORKERS if "--workers" in options() else (1,)
    if len(counts) == 1:
        place.absent.append("more than one worker: this version has no --workers")
    with contextlib.ExitStack() as stack:
        ways = {DIRECT: Way(port=place.targets.ports["stable"])}
        for count in counts:
            running = stack.enter_context(place.project(workers=count, extra=given.proxy_option))
            ways[f"{count} workers" if count > 1 else "1 worker"] = Way(port=running.port, pid=running.pid, project=running)
        results = _drive(place, ways, given, documents.paths(), _CONNECTIONS)
    troubles += rounds.troubles(results, _CONNECTIONS)
    columns = ("way", "requests/s", "p50 ms", "p99 ms", "mirrored", "CPU µs/request")
    rows = tuple((name, *_cells(name, of)) for name, of in results.items())
    title = f"Requests/s by workers ({os.cpu_count()} cores for load, targets and proxy together; {_CONNECTIONS} connections)"
    return Table(title=title, columns=columns, rows=rows)


def _by_size(place: Lab, given: argparse.Namespace, troubles: list[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    with place.project(workers=1, extra=given.proxy_option) as running:
        ways = {DIRECT: Way(port=place.targets.ports["stable"])}
        if (peer := place.peer(_PEER)) is not None:
            ways[_PEER] = Way(port=peer.port, pid=peer.pid)
        ways[PROJECT] = Way(port=running.port, pid=running.pid, project=running)
        for label in given.sizes:
            size, connections = SIZES[label]
            prefix = f"/{size}"
            documents.write(place.folder / "www", prefix, size)
            results = _drive(place, ways, given, documents.paths(prefix, size), connections)
            troubles += [f"{label}: {said}" for said in rounds.troubles(results, connections)]
            rows += [(f"{label}, {name}", *_cells(name, of), _throughput(of)) for name, of in results.items()]
    columns = ("answer, way", "requests/s", "p50 ms", "p99 ms", "mirrored", "CPU µs/request", "MB/s")
    return Table(title="Requests/s by size of the answer (one worker)", columns=columns, rows=tuple(rows))


def _drive(place: Lab, ways: Mapping[str, Way], given: argparse.Namespace, paths: Sequence[str], connections: int) -> Rounds:
    load: Callable[..., wrk.Load] = partial(
        wrk.drive, paths=paths, folder=rounds.script_folder(place.folder, "scaling"), connections=connections
    )
    timed = partial(load, seconds=given.seconds)
    return rounds.interleaved(ways, place.targets, timed, rounds=given.rounds, warm_up=partial(load, seconds=1))


def _cells(name: str, of: Sequence[rounds.Round]) -> tuple[str, ...]:
    rate = rounds.over(of, lambda one: one.load.rate)
    through = name != DIRECT
    return (
        number(rate, 0 if rate >= 100 else 1),
        number(rounds.over(of, lambda one: one.load.p50_ms), 2),
        number(rounds.over(of, lambda one: one.load.p99_ms), 2),
        percent(sum(one.mirrored for one in of), sum(one.forwarded for one in of)) if through else "-",
        number(rounds.over(of, lambda one: one.cpu_micros()), 1) if through else "-",
    )


def _throughput(of: Sequence[rounds.Round]) -> str:
    return number(rounds.over(of, lambda one: one.load.received_bytes / one.load.seconds / _MB))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_scaling")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each round")
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=list(SIZES), help="these sizes only")
    parser.add_argument("--proxy-option", action="append", default=[], help="a further word for the project's command; may be repeated")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
