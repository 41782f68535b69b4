"""Rounds of closed-loop load over several proxies in turn: what a round of each showed, and what the rounds show together."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.bench.live import processes, wrk
from tests.bench.live.outcome import Table, median, number
from tests.bench.live.project import Counts, Project
from tests.bench.live.upstreams import Upstreams

DIRECT: Final = "direct"
"""No proxy: the load goes to stable itself."""
PROJECT: Final = "shadowdiff"
_QUIET_SECONDS: Final = 0.3
"""Without a request at any target: then no copy is under way any more."""
_QUIET_SECONDS_MAX: Final = 10.0


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way to the documents: a port, and whose processes are on it."""

    port: int
    pid: int | None = None
    project: Project | None = None


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What one round over one way showed."""

    load: wrk.Load
    forwarded: int
    """Requests that reached stable."""
    mirrored: int
    """Requests that reached the candidate."""
    cpu_s: Mapping[str, float]
    """By process of the proxy."""
    counts: Counts | None
    """What the project says became of the requests."""

    def cpu_micros(self, process: str | None = None) -> float:
        """CPU microseconds for each request, of one process or all."""
        spent = sum(self.cpu_s.values()) if process is None else self.cpu_s.get(process, 0.0)
        return 1e6 * spent / max(1, self.load.requests)


Rounds = dict[str, list[Round]]
"""By the name of the way."""


def interleaved(
    ways: Mapping[str, Way], targets: Upstreams, drive: Callable[[int], wrk.Load], *, rounds: int, warm_up: Callable[[int], object]
) -> Rounds:
    """Drive every way once in each round, after a warm-up that is not counted. Both callables get a port."""
    for way in ways.values():
        before = way.project.counts() if way.project is not None else None
        asked = targets.asked()["stable"]
        warm_up(way.port)
        now = _when_quiet(targets)
        if way.project is not None and before is not None:
            way.project.settled(before.total + now["stable"] - asked)
    results: Rounds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            results[name].append(_round(way, targets, drive))
    return results


def _round(way: Way, targets: Upstreams, drive: Callable[[int], wrk.Load]) -> Round:
    asked, uses = targets.asked(), _uses(way)
    counts = way.project.counts() if way.project is not None else None
    load = drive(way.port)
    now = _when_quiet(targets)
    forwarded = now["stable"] - asked["stable"]
    # What waits for comparison is compared before the next proxy's turn, and its CPU time is counted here.
    settled = way.project.settled(counts.total + forwarded) if way.project is not None and counts is not None else None
    return Round(
        load=load,
        forwarded=forwarded,
        mirrored=now["candidate"] - asked["candidate"],
        cpu_s=processes.cpu_between(uses, _uses(way)),
        counts=settled.since(counts) if settled is not None and counts is not None else None,
    )


def _when_quiet(targets: Upstreams) -> dict[str, int]:
    """What the targets were asked, once copies that were still under way when the load ended have arrived."""
    deadline = time.monotonic() + _QUIET_SECONDS_MAX
    asked = targets.asked()
    while True:
        time.sleep(_QUIET_SECONDS)
        before, asked = asked, targets.asked()
        if asked == before or time.monotonic() > deadline:
            return asked


def _uses(way: Way) -> dict[processes.Identity, processes.Use]:
    return {} if way.pid is None else processes.tree(way.pid)


def over(rounds: Sequence[Round], value: Callable[[Round], float]) -> float:
    """The median over rounds."""
    return median([value(one) for one in rounds])


def cpu_table(rounds: Sequence[Round], uses: Mapping[processes.Identity, processes.Use]) -> Table:
    """CPU time of the project's processes, those of one name together; `uses` says which there are."""
    nice = {use.name: use.nice for use in uses.values()}
    spent = {name: median([one.cpu_micros(name) for one in rounds]) for name in nice}
    rows = tuple((name, number(micros, 1), str(nice[name])) for name, micros in spent.items())
    return Table(title="CPU time of the project's processes", columns=("process", "µs/request", "nice"), rows=rows)


def ratio(results: Rounds, name: str, other: str) -> float:
    """Requests/s of one way to those of another: the median of what each round says, since a round's two are near in time."""
    pairs = zip(results[name], results[other], strict=True)
    return median([mine.load.rate / max(theirs.load.rate, 1e-9) for mine, theirs in pairs])


def troubles(results: Rounds, connections: int) -> list[str]:
    """What makes figures void: wrong answers, broken connections, requests without an outcome."""
    said = []
    for name, rounds in results.items():
        bad, broken = sum(one.load.bad for one in rounds), sum(one.load.broken for one in rounds)
        if bad or broken:
            said.append(f"{name}: {bad} answers were errors, {broken} connections failed; its figures are void")
        # What wrk had under way when its time was up may or may not have become a request.
        said += [
            f"{name}: {one.load.requests} requests were answered, {one.counts.total} have an outcome"
            for one in rounds
            if one.counts is not None and not one.load.requests <= one.counts.total <= one.load.requests + connections
        ]
    return said


def script_folder(folder: Path, name: str) -> Path:
    """A folder for one load's script."""
    own = folder / f"load-{name}"
    own.mkdir(exist_ok=True)
    return own
