"""The demo at simulation speed: its whole chain with the code itself (tests/sim/demo_world), run after run, as a table.

Planned traffic is played live and recorded, redacted, as a .gor file; the recording is replayed pass after pass against
fresh instances, compared, folded and judged. `python -m tests.sim.demo_runs [RUNS_SHARE]` prints the table.
"""

import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from harness.core.labels import Aspect, FindingClass, Kind, VerdictState
from harness.evidence.martingale import binomial_upper
from harness.evidence.snapshot import Evidence, Snapshot
from replay.capture import load_captures
from scenarios.demo.faults import FAULTS, PlantedFault
from tests.sim.demo_world import STABLE, Gate, Live
from tests.sim.virtual_time import VirtualLoop

CANDIDATE: Final = "candidate"
SEEDS: Final = range(1, 6)
"""For which all planted faults have to be found."""
RUNS_LONG: Final = 200
"""Runs of the stable build against itself, in the long form."""
PASSING_SHARE: Final = 0.95
"""Share of those that have to pass. None may fail; the rest is inconclusive."""


@dataclass(frozen=True)
class Left:
    """A place that was still undecided at the end of the gate."""

    place: str
    alone: int
    compared: int
    control: int
    came_back: int
    repeats: int


@dataclass(frozen=True)
class Ended:
    """How one demo ended. All but what says so is of the gate."""

    seed: int
    candidate: str
    """The build that was the candidate."""
    verdict: VerdictState
    passes: int
    found: dict[str, int]
    """Planted faults by name, and the pass that named them."""
    found_live: frozenset[str]
    """Planted faults that the live run named."""
    unplanned: tuple[str, ...]
    """Places called divergence, by either run, that no planted fault explains."""
    left: tuple[Left, ...]

    @property
    def missed(self) -> tuple[str, ...]:
        """Planted faults that the gate did not name."""
        return tuple(fault.name for fault in FAULTS if fault.name not in self.found)


def run(seed: int, candidate: str) -> Ended:
    """One demo from its seed. Deterministic."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        recording, live = runner.run(Live(seed, candidate).run())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "traffic.gor"
        file.write_bytes(recording)
        capture = load_captures([str(file)])
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        gate, verdict = runner.run(Gate(seed, candidate, capture).run())
    named, named_live = _named(gate), _named(live)
    return Ended(
        seed=seed,
        candidate=candidate,
        verdict=verdict.state,
        passes=gate.passes,
        found={fault.name: min(passes) for fault in FAULTS if (passes := [(f.decided_pass or 0) + 1 for f in _showing(fault, named)])},
        found_live=frozenset(fault.name for fault in FAULTS if _showing(fault, named_live)),
        unplanned=tuple(_place(f) for f in (*named_live, *named) if not any(fault.explains(*_key(f)) for fault in FAULTS)),
        left=tuple(
            Left(_place(f), f.diverged, f.compared, f.control_diverged, f.confirmed, f.repeats)
            for f in gate.findings
            if f.finding_class is FindingClass.UNDECIDED
        ),
    )


def _named(snapshot: Snapshot) -> list[Evidence]:
    return [f for f in snapshot.findings if f.finding_class is FindingClass.DIVERGENCE]


def _showing(fault: PlantedFault, named: Iterable[Evidence]) -> list[Evidence]:
    return [f for f in named if fault.shown_by(*_key(f))]


def _key(f: Evidence) -> tuple[str, Aspect, str, Kind]:
    return f.endpoint, f.aspect, f.path, f.kind


def _place(f: Evidence) -> str:
    return f"{f.endpoint}: {f.aspect} {f.path} {f.kind}"


def _candidate(seed: int) -> Ended:
    return run(seed, CANDIDATE)


def _against_itself(seed: int) -> Ended:
    return run(seed, STABLE)


def show(share: float = 1.0) -> bool:
    """Play the demo for all its seeds, print what came of it; whether it is as it should be."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        held = _show_candidate(pool.map(_candidate, SEEDS))
        runs = max(2, round(RUNS_LONG * share))
        return _show_against_itself(list(pool.map(_against_itself, range(1, runs + 1)))) and held


def _show_candidate(runs: Iterable[Ended]) -> bool:
    names = [fault.name for fault in FAULTS]
    print(f"\n| the demo's candidate, seed | verdict | passes | {' | '.join(names)} | unplanned | undecided |")
    print("|---" * (len(names) + 5) + "|")
    held = True
    for end in runs:
        held &= as_planted(end)
        named = [_when(end, name) for name in names]
        print(f"| {end.seed} | {end.verdict} | {end.passes} | {' | '.join(named)} | {len(end.unplanned)} | {len(end.left)} |", flush=True)
        for place in end.unplanned:
            print(f"called divergence without having been planted: {place}")
    return held


def _when(end: Ended, name: str) -> str:
    when = f"pass {end.found[name]}" if name in end.found else "MISSED"
    return f"{when}, live" if name in end.found_live else when


def as_planted(end: Ended) -> bool:
    """Whether a run of the candidate came out as planted."""
    return end.verdict is VerdictState.FAIL and not end.missed and not end.unplanned


def not_alarmed(end: Ended) -> bool:
    """Whether a run of the stable build against itself called nothing a divergence."""
    return end.verdict is not VerdictState.FAIL and not end.found and not end.found_live and not end.unplanned


def _show_against_itself(runs: Sequence[Ended]) -> bool:
    verdicts = Counter(end.verdict for end in runs)
    passes = sorted(end.passes for end in runs)
    alarms = sum(not not_alarmed(end) for end in runs)
    print(
        "\n| stable against itself in the demo | runs | pass | fail | inconclusive | alarms at most (95 %) | passes (median, 90 %, most) |"
    )
    print("|---|---|---|---|---|---|---|")
    upper = binomial_upper(alarms, len(runs), 0.95)
    spread = f"{passes[len(passes) // 2]}, {passes[len(passes) * 9 // 10]}, {passes[-1]}"
    print(f"| | {len(runs)} | {' | '.join(str(verdicts[state]) for state in VerdictState)} | {upper:.1%} | {spread} |", flush=True)
    for place, count in Counter(left.place for end in runs for left in end.left).most_common():
        print(f"undecided at the end in {count} of {len(runs)}: {place}")
    for end in runs:
        if not not_alarmed(end):
            named = ", ".join((*end.unplanned, *end.found, *end.found_live)) or "no single place"
            print(f"seed {end.seed}: {end.verdict}, called divergence: {named}")
    return alarms == 0 and verdicts[VerdictState.PASS] >= PASSING_SHARE * len(runs)


def main() -> None:
    """`python -m tests.sim.demo_runs [RUNS_SHARE]`: this table alone. Exits 1 where it is not as it should be."""
    sys.exit(0 if show(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0) else 1)


if __name__ == "__main__":
    main()
