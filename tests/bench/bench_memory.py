"""Memory of each of the project's processes over a long run: it must not grow with the number of trials.

`python -m tests.bench.bench_memory --counts 10000 100000 1000000 --rate 2000` (the last takes minutes: a million at 2,000 a second
is 500 s). What could grow does vary: every request has an id of its own, sessions come and go, each answer has a new member
and a new header, and the candidate differs in one answer of a hundred.
"""

import argparse
import itertools
import sys
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from tests.bench.live import openloop
from tests.bench.live.documents import KINDS
from tests.bench.live.lab import Lab, lab, shown
from tests.bench.live.outcome import Outcome, Table, number
from tests.bench.live.processes import Identity, Use
from tests.bench.live.project import Counts
from tests.bench.live.upstreams import PLANTED

PROCESS_BYTES_MAX: Final = 300 * 1024 * 1024
"""Most that a process may ever have had resident."""
GROWTH_MAX: Final = 1.25
"""Resident memory after the last count to that after the first: what is bounded fills up, and no more."""
_REQUESTS_PER_SESSION: Final = 20
_REQUESTS_PER_TRIAL_MAX: Final = 4
"""Requests sent for each trial wanted, before the rest is given up."""
_PART: Final = 50_000
"""Requests sent in one go, so that the load's own record of latencies stays small."""
_MIB: Final = 1024 * 1024


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The processes after so many requests."""

    requests: int
    counts: Counts
    uses: dict[Identity, Use]


def main(arguments: Sequence[str] = ()) -> int:
    """Print the table. 1 when an aim was missed."""
    return shown(run, arguments)


def run(arguments: Sequence[str] = ()) -> Outcome:
    """Measure. Raises AbsentError where nginx is missing."""
    given = _parser().parse_args(arguments)
    with lab() as place:
        samples = _measure(place, given)
    return Outcome(tables=(_table(samples, given.rate),), missed=tuple(missed(samples[1:], max(given.counts))), absent=tuple(place.absent))


def request_of(number: int) -> bytes:
    """The request of a number: its own id, and a session shared with its neighbours."""
    session = f"Authorization: Bearer session-{number // _REQUESTS_PER_SESSION:08d}"
    return openloop.request_of(f"{PLANTED}/{KINDS[number % len(KINDS)]}/{number // len(KINDS)}", session)


def missed(samples: Sequence[Sample], wanted: int) -> list[str]:
    """The aims that were not reached. `samples` in order, the first after the first count; `wanted` trials in the end."""
    first, last = samples[0], samples[-1]
    peaks = {identity: use for sample in samples for identity, use in sample.uses.items()}
    said = [
        f"{use.name}: {use.peak_bytes / _MIB:.0f} MiB at its peak (aim: under {PROCESS_BYTES_MAX / _MIB:.0f})"
        for use in peaks.values()
        if use.peak_bytes > PROCESS_BYTES_MAX
    ]
    for identity, use in last.uses.items():
        if identity not in first.uses:
            said.append(f"{use.name} was started after {first.requests:,} requests: one before it must have ended")
        elif (growth := use.rss_bytes / first.uses[identity].rss_bytes) > GROWTH_MAX:
            said.append(
                f"{use.name}: {growth:.2f} times the memory after {last.counts.compared:,} trials"
                f" of that after {first.counts.compared:,} (aim: at most {GROWTH_MAX})"
            )
    if last.counts.compared < wanted:
        said.append(f"{last.counts.compared:,} of {wanted:,} trials were compared; shed: {last.counts.why_shed() or 'none'}")
    if last.counts.total != last.requests:
        said.append(f"{last.requests:,} requests, {last.counts.total:,} outcomes (aim: one for each)")
    return said


def _measure(place: Lab, given: argparse.Namespace) -> list[Sample]:
    samples: list[Sample] = []
    with place.project(secondary=True, extra=given.proxy_option) as project:
        samples.append(Sample(requests=0, counts=project.counts(), uses=project.uses()))
        sent, counts = 0, samples[0].counts
        for target in sorted(given.counts):
            # What is shed is asked again: only trials that were compared can fill anything.
            while counts.compared < target and sent < target * _REQUESTS_PER_TRIAL_MAX:
                part = min(target - counts.compared, _PART)
                openloop.drive(project.port, request_of, rate=given.rate, count=part, first=sent)
                sent += part
                counts = project.settled(sent)
            samples.append(Sample(requests=sent, counts=counts, uses=project.uses()))
    return samples


def _table(samples: Sequence[Sample], rate: float) -> Table:
    named: dict[Identity, str] = {}
    for sample in samples:
        for identity, use in sample.uses.items():
            if identity not in named:
                named[identity] = _distinct(use.name, named.values())
    rows = []
    for sample in samples:
        found = [sample.uses.get(identity) for identity in named]
        cells = ["-" if use is None else f"{number(use.rss_bytes / _MIB)} / {number(use.peak_bytes / _MIB)}" for use in found]
        rows.append((number(sample.requests), number(sample.counts.compared), number(sample.counts.shed), *cells))
    return Table(
        title=f"Memory of each process, MiB now / at its peak ({rate:,.0f} requests/s, secondary on)",
        columns=("requests", "compared", "shed", *named.values()),
        rows=tuple(rows),
    )


def _distinct(name: str, taken: Collection[str]) -> str:
    """The name, with a number where another process has it."""
    numbered = itertools.chain([name], (f"{name} {count}" for count in itertools.count(2)))
    return next(candidate for candidate in numbered if candidate not in taken)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_memory")
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 30_000], help="compared trials after which memory is read")
    parser.add_argument("--rate", type=float, default=2000.0, help="requests a second")
    parser.add_argument("--proxy-option", action="append", default=[], help="a further word for the project's command; may be repeated")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
