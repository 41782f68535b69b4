"""CPU time of the data plane by itself: microseconds for each request, mirrored and not, beside a bare relay.

`python -m tests.bench.bench_dataplane --rounds 5 --seconds 5`. One process each, without comparison, evidence, store or metrics
(see live/dataplane.py), a keep-alive wrk in a closed loop, 2 KB of JSON. CPU time depends on the machine, and on how often a
write wakes a sleeping target: only the ratios within a round are aims.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from typing import Final

from tests.bench.live import documents, programs, wrk
from tests.bench.live.lab import Lab, lab, shown
from tests.bench.live.outcome import Outcome, Table, median, number
from tests.bench.live.rounds import Rounds, Way, interleaved, over, script_folder, troubles

HARNESS, BARE = "harness", "bare"
MIRRORED, UNMIRRORED = "mirrored", "unmirrored"
WAYS: Final = tuple((kind, mode) for kind in (HARNESS, BARE) for mode in (MIRRORED, UNMIRRORED))
MIRROR_RATIO_MAX: Final = 2.5
"""CPU time of a mirrored request to that of one that is only relayed: a copy is sent, read and made a trial of."""
BARE_RATIO_MAX: Final = 5.0
"""CPU time of a mirrored request to that of the bare mirror, which knows nothing of what it passes on."""


def main(arguments: Sequence[str] = ()) -> int:
    """Print the table. 1 when an aim was missed."""
    return shown(run, arguments)


def run(arguments: Sequence[str] = ()) -> Outcome:
    """Measure. Raises AbsentError where nginx or wrk is missing."""
    given = _parser().parse_args(arguments)
    with lab() as place, contextlib.ExitStack() as stack:
        ways = {f"{kind}, {mode}": way(place, stack, kind, mode) for kind, mode in WAYS}
        folder, paths = script_folder(place.folder, "all"), documents.paths()

        def drive(port: int, seconds: float) -> wrk.Load:
            return wrk.drive(port, paths, folder=folder, seconds=seconds, connections=given.connections)

        results = interleaved(
            ways, place.targets, lambda port: drive(port, given.seconds), rounds=given.rounds, warm_up=lambda port: drive(port, 1)
        )
    return outcome(results, given.connections)


def way(place: Lab, stack: contextlib.ExitStack, kind: str, mode: str) -> Way:
    """Start one proxy, which ends with the stack. Raises StartError."""
    port, ports = programs.free_port(), place.targets.ports
    targets = [ports["stable"], *([ports["candidate"]] if mode == MIRRORED else [])]
    command = [sys.executable, "-m", "tests.bench.live.dataplane", kind, *map(str, (port, *targets))]
    log = place.folder / f"{kind}-{mode}.log"
    return Way(port=port, pid=stack.enter_context(programs.running(command, port=port, log=log, folder=programs.ROOT)).pid)


def outcome(results: Rounds, connections: int) -> Outcome:
    """What the rounds say."""
    rows = tuple(
        (
            name,
            number(over(rounds, lambda one: one.cpu_micros()), 1),
            number(over(rounds, lambda one: one.load.rate)),
            number(over(rounds, lambda one: one.load.p99_ms), 2),
            number(sum(one.mirrored for one in rounds) / max(1, sum(one.forwarded for one in rounds)), 3),
        )
        for name, rounds in results.items()
    )
    table = Table(
        title="The data plane by itself, one process, 2 KB of JSON, closed loop",
        columns=("way", "CPU µs/request", "requests/s", "p99 ms", "copies/request"),
        rows=rows,
    )
    mirrored = f"{HARNESS}, {MIRRORED}"
    missed = troubles(results, connections)
    for other, most in ((f"{HARNESS}, {UNMIRRORED}", MIRROR_RATIO_MAX), (f"{BARE}, {MIRRORED}", BARE_RATIO_MAX)):
        pairs = zip(results[mirrored], results[other], strict=True)
        ratio = median([mine.cpu_micros() / max(theirs.cpu_micros(), 1e-9) for mine, theirs in pairs])
        if ratio > most:
            missed.append(f"a request costs {ratio:.2f} times the CPU time of '{other}' (aim: at most {most})")
    return Outcome(tables=(table,), missed=tuple(missed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_dataplane")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each round")
    parser.add_argument("--connections", type=int, default=32)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
