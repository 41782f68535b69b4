"""The same streams judged by this project, by Diffy's rule and by a watched Mann-Whitney test: `python -m tests.sim.beside [SHARE]`.

Each looks again and again, as one does in front of a dashboard, and counts as alarmed from the first time that it calls the
candidate different. What differs and what not is known here, since the streams are drawn.
"""

import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from harness.core.labels import Design
from harness.core.values import Scalar
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from tests.sim import peers
from tests.sim.world import Answer, Three, bursts, flips, watch

Stream = Callable[[int], Iterator[Answer]]
"""From a seed, the same each time."""


@dataclass(frozen=True)
class Row:
    """One situation."""

    name: str
    stream: Stream
    differs: bool
    """Whether anything is wrong with the candidate."""
    about: str
    """`values` or `latency`: which of the peers' rules can be asked."""
    runs_short: int
    runs_long: int
    at_least: float = 0.0
    """Share of the runs that this project has to fail, where something is wrong."""


@dataclass(frozen=True)
class Result:
    """How often, and after how many requests."""

    alarms: int
    runs: int
    median: int | None


def fields(
    seed: int, *, count: int, paths: int, noise: float, divergence: float = 0.0, onset: int = 0, own: float = 0.0
) -> Iterator[Answer]:
    """Each of `paths` fields of each arm is another one in `noise` of the answers. From request `onset` on one more field of the
    candidate is wrong in `divergence` of them, beside `own` noise of its own."""
    rng = random.Random(seed)
    for seq in range(count):
        values: dict[str, Three] = {f"$.f{path}": flips(rng, noise) for path in _noisy(rng, paths, noise)}
        if divergence or own:
            stable, secondary, candidate = flips(rng, own)
            wrong = seq >= onset and rng.random() < divergence
            values["$.bad"] = (stable, secondary, "wrong" if wrong else candidate)
        yield Answer(entity=f"/items/{seq}", values=values, at_s=seq * 0.02, design=Design.TWO_ARM)


def _noisy(rng: random.Random, paths: int, noise: float) -> range | list[int]:
    """The fields that may differ at all in this answer, so that a thousand quiet ones cost nothing: any of three arms flips there."""
    if noise == 0.0:
        return []
    if noise >= 0.2:
        return range(paths)
    some = 1.0 - (1.0 - noise) ** 3
    found: list[int] = []
    path = -1
    while True:
        path += 1 + int(math.log(1.0 - rng.random()) / math.log(1.0 - some))
        if path >= paths:
            return found
        found.append(path)


def split(seed: int, *, count: int) -> Iterator[Answer]:
    """Thirty stored values, a third of them split by a race when they were made; half of the requests ask for three of these."""
    rng = random.Random(seed)
    stored: list[Three] = []
    for _ in range(30):
        values: list[Scalar] = ["open", "open", "open"]
        if rng.random() < 1 / 3:
            values[rng.randrange(3)] = "paid"
        stored.append((values[0], values[1], values[2]))
    for seq in range(count):
        item = rng.randrange(3) if rng.random() < 0.5 else rng.randrange(30)
        yield Answer(entity=f"/items/{item}", values={"$.state": stored[item]}, at_s=seq * 0.02, design=Design.TWO_ARM)


def times(seed: int, *, count: int, factor: float = 1.0, spells: float = 0.0, sigma: float = 0.2) -> Iterator[Answer]:
    """Latencies of 50 requests a second; the candidate's longer by `factor`; each arm by itself five times as slow for `spells` of
    the time, 2 s at a time."""
    rng = random.Random(seed)
    arms = [next(bursts(random.Random(rng.random()), spells / (1.0 - spells) / 2.0, 2.0, 5.0)) if spells else _steady for _ in range(3)]
    for seq in range(count):
        at_s = seq / 50.0
        a, b, c = (rng.lognormvariate(1.6, sigma) * arm(at_s) for arm in arms)
        yield Answer(entity=f"/items/{seq}", latency_ms=(a, b, c * factor), at_s=at_s, design=Design.TWO_ARM)


def _steady(_: float) -> float:
    return 1.0


ROWS = (
    Row("nothing wrong, 50 fields, no noise", partial(fields, count=3000, paths=50, noise=0.0), False, "values", 2, 40),
    Row("nothing wrong, 50 fields, 1 % noise", partial(fields, count=3000, paths=50, noise=0.01), False, "values", 3, 40),
    Row("nothing wrong, 20 fields, 50 % noise", partial(fields, count=3000, paths=20, noise=0.5), False, "values", 2, 20),
    Row("nothing wrong, stored values split by a race", partial(split, count=3000), False, "values", 3, 100),
    Row("nothing wrong, slow spells of 2 s", partial(times, count=6000, spells=0.2), False, "latency", 3, 100),
    Row(
        "1 % of one field wrong, no noise",
        partial(fields, count=6000, paths=1, noise=0.0, divergence=0.01),
        True,
        "values",
        3,
        60,
        at_least=0.95,
    ),
    Row(
        "1 % of one field wrong, from request 3,000 on",
        partial(fields, count=9000, paths=1, noise=0.0, divergence=0.01, onset=3000),
        True,
        "values",
        2,
        60,
        at_least=0.95,
    ),
    Row(
        "10 % of one field wrong, which flaps in 50 % anyway",
        partial(fields, count=6000, paths=1, noise=0.0, divergence=0.1, own=0.5),
        True,
        "values",
        2,
        40,
    ),
    Row(
        "0.1 % of one field wrong, no noise",
        partial(fields, count=30_000, paths=1, noise=0.0, divergence=0.001),
        True,
        "values",
        1,
        20,
        at_least=0.9,
    ),
    Row("median latency +5 %", partial(times, count=20_000, factor=1.05), True, "latency", 1, 20),
    Row("median latency +10 %", partial(times, count=20_000, factor=1.1), True, "latency", 2, 20, at_least=0.9),
    Row("median latency +10 %, slow spells of 2 s", partial(times, count=20_000, factor=1.1, spells=0.2), True, "latency", 1, 20),
)


def ours(stream: Iterator[Answer]) -> int | None:
    """The number of requests after which the gate fails."""
    return watch(Ledger(Policy(preset="rollout"), live=True), stream)


def played(row: Row, judge: Callable[[Iterator[Answer]], int | None], runs: int) -> Result:
    """Judge so many runs of a situation."""
    ends = [judge(row.stream(seed)) for seed in range(runs)]
    found = sorted(end for end in ends if end is not None)
    return Result(len(found), runs, found[len(found) // 2] if found else None)


def allowed(row: Row, result: Result) -> bool:
    """Whether this project ended as it has to; exact to one run in a million where nothing is wrong."""
    if row.differs:
        return result.alarms >= math.floor(result.runs * row.at_least)
    return result.alarms <= max(1, round(0.05 * result.runs))


def cell(result: Result | None) -> str:
    """For the table."""
    if result is None:
        return "-"
    share = f"{result.alarms} of {result.runs}"
    return f"{share}, after {result.median:,}" if result.median is not None else share


def main(share: float) -> int:
    """Play everything; 0 if every row holds."""
    started, held = time.monotonic(), True
    print("| the same stream, watched | shadowdiff | Diffy's rule | Mann-Whitney |\n|---|---|---|---|")
    for row in ROWS:
        runs = max(1, round(row.runs_long * share))
        mine = played(row, ours, runs)
        diffy = played(row, peers.diffy, runs) if row.about == "values" else None
        mann_whitney = played(row, peers.mann_whitney, runs) if row.about == "latency" else None
        held &= allowed(row, mine)
        print(f"| {row.name} | {cell(mine)} | {cell(diffy)} | {cell(mann_whitney)} |", flush=True)
    print(f"\n{time.monotonic() - started:.0f} s; {'every row holds' if held else 'SOME ROWS DO NOT HOLD'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))
