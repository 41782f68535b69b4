"""`python -m tests.sim [RUNS_SHARE]`: the long form of the simulations, as a table. Exits 1 where a row does not hold."""

import sys
import time

from harness.evidence.martingale import binomial_upper
from harness.evidence.policy import Policy
from tests.sim import demo_runs
from tests.sim.table import ALARMS, POWER, alarms_allowed, ended_well, needed


def _alarms(share: float) -> bool:
    held = True
    print("| nothing is wrong: how often the gate fails | alpha | runs | alarms | at most (95 %) |\n|---|---|---|---|---|")
    for row in ALARMS:
        runs = max(2, round(row.runs_long * share))
        count = sum(row.play(seed, Policy(alpha=row.alpha)).failed for seed in range(runs))
        held &= count <= alarms_allowed(runs, row.alpha)
        print(f"| {row.name} | {row.alpha:.0%} | {runs} | {count} | {binomial_upper(count, runs, 0.95):.1%} |", flush=True)
    return held


def _power(share: float) -> bool:
    held = True
    print("\n| what should come out | runs | did so | median requests | median passes |\n|---|---|---|---|---|")
    for row in POWER:
        runs = max(2, round(row.runs_long * share))
        outcomes = [row.play(seed, Policy()) for seed in range(runs)]
        good = sum(ended_well(row, outcome) for outcome in outcomes)
        held &= good >= needed(row, runs)
        requests = sorted(outcome.requests for outcome in outcomes if outcome.requests is not None)
        passes = sorted(outcome.passes for outcome in outcomes)
        middle = f"{requests[len(requests) // 2]:,}" if requests else "-"
        print(f"| {row.name} | {runs} | {good} | {middle} | {passes[len(passes) // 2] or '-'} |", flush=True)
    return held


def main(share: float) -> int:
    """Play everything; 0 if every row holds."""
    started = time.monotonic()
    held = [_alarms(share), _power(share), demo_runs.show(share)]
    print(f"\n{time.monotonic() - started:.0f} s; {'every row holds' if all(held) else 'SOME ROWS DO NOT HOLD'}")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))
