"""What the proxy adds to a client's latency at a steady rate, with every answer mirrored to secondary and candidate and compared.

`python -m tests.bench.bench_added_latency --rounds 10 --seconds 10`. Open loop: latency counts from the moment a request was due.
Rounds over direct, the project and the peers are interleaved, every other round in reverse order; what is added is the
difference to the direct round beside it, and the figures are medians over rounds.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final

from tests.bench.live import documents, openloop
from tests.bench.live.lab import lab, shown
from tests.bench.live.outcome import Outcome, Table, median, number, percent, percentile
from tests.bench.live.project import Counts
from tests.bench.live.rounds import DIRECT, PROJECT
from tests.bench.live.upstreams import LIVE

RATE: Final = 500.0
"""Requests a second."""
ADDED_MS_MAX: Final = {0.5: 0.5, 0.99: 3.0}
"""What may be added, by quantile."""
PEERS: Final = ("nginx-mirror", "envoy-mirror")
"""Measured beside it for scale."""

Loads = dict[str, list[openloop.Load]]


def main(arguments: Sequence[str] = ()) -> int:
    """Print the table. 1 when an aim was missed."""
    return shown(run, arguments)


def run(arguments: Sequence[str] = ()) -> Outcome:
    """Measure. Raises AbsentError where nginx is missing."""
    given = _parser().parse_args(arguments)
    prefix = LIVE if given.answers == "live" else ""
    with lab() as place, place.project(secondary=True, extra=given.proxy_option) as project:
        ports = {DIRECT: place.targets.ports["stable"], PROJECT: project.port}
        ports |= {name: peer.port for name in PEERS if (peer := place.peer(name)) is not None}
        drive = partial(openloop.drive, requests=openloop.paths_in_turn(documents.paths(prefix)), rate=given.rate)
        for port in ports.values():
            drive(port, count=int(given.rate))
        warmed = project.settled(int(given.rate))
        loads: Loads = {name: [] for name in ports}
        for turn in range(given.rounds):
            for name in list(ports)[:: -1 if turn % 2 else 1]:
                loads[name].append(drive(ports[name], count=int(given.rate * given.seconds)))
        sent = sum(load.due for load in loads[PROJECT])
        counts = project.settled(warmed.total + sent).since(warmed)
    conditions = f"{given.rate:,.0f} requests/s, {given.rounds} rounds of {given.seconds} s, secondary on, answers: {given.answers}"
    table = Table(
        title=f"Added latency at a steady rate ({conditions}; medians)",
        columns=("way", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms", "errors"),
        rows=tuple(_row(name, loads) for name in ports),
        notes=(f"compared: {percent(counts.compared, sent)} of the project's {sent:,} requests", _own_lateness(loads)),
    )
    return Outcome(tables=(table,), missed=tuple(missed(loads, sent, counts)), absent=tuple(place.absent))


def added(loads: Loads, name: str, share: float) -> float:
    """Milliseconds over direct at a quantile: the median of the rounds' differences."""
    pairs = zip(loads[name], loads[DIRECT], strict=True)
    return median([percentile(way.latencies_ms, share) - percentile(direct.latencies_ms, share) for way, direct in pairs])


def missed(loads: Loads, sent: int, counts: Counts) -> list[str]:
    """The aims that were not reached; figures that are not numbers reach none."""
    said = [
        f"p{100 * share:.0f}: {more:.2f} ms added (aim: less than {most} ms)"
        for share, most in ADDED_MS_MAX.items()
        if not (more := added(loads, PROJECT, share)) < most
    ]
    if counts.compared != sent:
        said.append(f"{counts.compared:,} of {sent:,} requests were compared (aim: all); shed: {counts.why_shed() or 'none'}")
    wrong = {name: _errors(rounds) for name, rounds in loads.items()}
    return said + [f"{name}: {count} errors; its figures are void" for name, count in wrong.items() if count]


def _row(name: str, loads: Loads) -> tuple[str, ...]:
    own = [number(median([percentile(load.latencies_ms, share) for load in loads[name]]), 2) for share in ADDED_MS_MAX]
    over = ["-" if name == DIRECT else number(added(loads, name, share), 2) for share in ADDED_MS_MAX]
    return (name, *own, *over, str(_errors(loads[name])))


def _errors(rounds: Sequence[openloop.Load]) -> int:
    return sum(load.bad + load.unanswered for load in rounds)


def _own_lateness(loads: Loads) -> str:
    """How late the load itself was: a busy machine shows here first."""
    late = [load.late_ms for rounds in loads.values() for load in rounds]
    p50, p99 = (median([percentile(one, share) for one in late]) for share in (0.5, 0.99))
    return f"requests were sent {p50:.2f} ms (p50) and {p99:.2f} ms (p99) after they were due; that is in every figure"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_added_latency")
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=5, help="of each round")
    parser.add_argument("--answers", choices=("files", "live"), default="live", help="live: one member of each answer is new")
    parser.add_argument("--proxy-option", action="append", default=[], help="a further word for the project's command; may be repeated")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
