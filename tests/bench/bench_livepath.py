"""The live path beside its peers, as fast as one client program can ask: requests/s and p99, everything mirrored, one worker each.

`python -m tests.bench.bench_livepath --rounds 5 --seconds 10`. Rounds of all proxies are interleaved, so that a slow minute
of the machine hits all alike; the figures are medians over rounds. `mirrored` is counted where the copies arrive, at the
candidate: a proxy that sheds copies shows it there. Peers that are not installed are named, and an aim about them is missed.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final

from tests.bench.live import documents, wrk
from tests.bench.live.lab import lab, shown
from tests.bench.live.outcome import Outcome, Table, number, percent
from tests.bench.live.peers import PEERS
from tests.bench.live.rounds import DIRECT, PROJECT, Rounds, Way, cpu_table, interleaved, over, ratio, script_folder, troubles
from tests.bench.live.upstreams import LIVE

RATIO_MIN: Final = 1.2
"""Requests/s to those of each peer in BEATEN; p99 must be no worse than theirs."""
BEATEN: Final = ("nginx-mirror", "envoy-mirror")
MIRRORED_MIN: Final = 0.995
"""Share of the project's requests that must reach the candidate for the ratio to be one of mirrors; the load ends amid requests."""


def main(arguments: Sequence[str] = ()) -> int:
    """Print the tables. 1 when an aim was missed."""
    return shown(run, arguments)


def run(arguments: Sequence[str] = ()) -> Outcome:
    """Measure. Raises AbsentError where nginx or wrk is missing."""
    given = _parser().parse_args(arguments)
    names = [name for name in PEERS if not given.only or name in given.only]
    with lab() as place, place.project(workers=1, extra=given.proxy_option) as project:
        ways = {DIRECT: Way(port=place.targets.ports["stable"])}
        for name in names:
            if (peer := place.peer(name)) is not None:
                ways[name] = Way(port=peer.port, pid=peer.pid)
        ways[PROJECT] = Way(port=project.port, pid=project.pid, project=project)
        paths = documents.paths(LIVE if given.answers == "live" else "")
        load = partial(wrk.drive, paths=paths, folder=script_folder(place.folder, "livepath"), connections=given.connections)
        results = interleaved(
            ways, place.targets, partial(load, seconds=given.seconds), rounds=given.rounds, warm_up=partial(load, seconds=1)
        )
        cpu = cpu_table(results[PROJECT], project.uses())
    conditions = f"{given.connections} connections, {given.rounds} rounds of {given.seconds} s, answers: {given.answers}"
    title = f"The live path beside its peers ({conditions}; medians)"
    return Outcome(
        tables=(_table(title, results), _outcomes(results), cpu),
        missed=(*missed(results), *troubles(results, given.connections)),
        absent=tuple(place.absent),
    )


def _table(title: str, results: Rounds) -> Table:
    rows = []
    for name, rounds in results.items():
        mirrored = sum(one.mirrored for one in rounds), sum(one.forwarded for one in rounds)
        cells = (
            number(over(rounds, lambda one: one.load.rate)),
            number(over(rounds, lambda one: one.load.p50_ms), 2),
            number(over(rounds, lambda one: one.load.p99_ms), 2),
            "-" if name == DIRECT else percent(*mirrored),
            "-" if name == DIRECT else number(over(rounds, lambda one: one.cpu_micros()), 1),
            f"{ratio(results, PROJECT, name):.2f}",
        )
        rows.append((name, *cells))
    columns = ("proxy", "requests/s", "p50 ms", "p99 ms", "mirrored", "CPU µs/request", f"{PROJECT} / it")
    return Table(title=title, columns=columns, rows=tuple(rows))


def _outcomes(results: Rounds) -> Table:
    """What became of the project's requests, over all rounds."""
    counts = [one.counts for one in results[PROJECT] if one.counts is not None]
    reasons = sorted({reason for one in counts for reason in one.reasons})
    named = {
        "compared": sum(one.compared for one in counts),
        **{f"shed: {reason}": sum(one.reasons.get(reason, 0) for one in counts) for reason in reasons},
        "skipped": sum(one.skipped for one in counts),
        "refused": sum(one.refused for one in counts),
    }
    total = sum(one.total for one in counts)
    return Table(
        title="What became of the project's requests",
        columns=("outcome", "requests", "share"),
        rows=tuple((name, number(count), percent(count, total)) for name, count in named.items()),
    )


def missed(results: Rounds) -> list[str]:
    """The aims that were not reached, or could not be judged."""
    said = []
    mine = results[PROJECT]
    p99 = over(mine, lambda one: one.load.p99_ms)
    for name in BEATEN:
        if name not in results:
            said.append(f"{name} was not there: nothing can be said about {RATIO_MIN} times its requests/s")
            continue
        times, theirs = ratio(results, PROJECT, name), over(results[name], lambda one: one.load.p99_ms)
        if times < RATIO_MIN:
            said.append(f"{times:.2f} times the requests/s of {name} (aim: at least {RATIO_MIN})")
        if p99 > theirs:
            said.append(f"p99 {p99:.2f} ms, that of {name} {theirs:.2f} ms (aim: no worse)")
    mirrored = sum(one.mirrored for one in mine) / max(1, sum(one.forwarded for one in mine))
    if mirrored < MIRRORED_MIN:
        said.append(f"{100 * mirrored:.1f} % of the requests were mirrored (aim: all)")
    return said


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_livepath")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--only", nargs="+", choices=tuple(PEERS), help="these peers only")
    parser.add_argument("--answers", choices=("files", "live"), default="files", help="live: one member of each answer is new")
    parser.add_argument("--proxy-option", action="append", default=[], help="a further word for the project's command; may be repeated")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
