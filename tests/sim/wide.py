"""A hundred thousand requests of a thousand fields, looked at after each: nothing is wrong. `python -m tests.sim.wide [SHARE]`.

With 50 % noise one such run takes a quarter of an hour.
"""

import sys
import time

from harness.evidence.martingale import binomial_upper
from tests.sim.beside import fields, ours

SITUATIONS = ((0.0, 20), (0.01, 20), (0.5, 1))
"""Noise of each arm and field, and runs."""


def alarms(noise: float, runs: int, *, count: int = 100_000, paths: int = 1000) -> int:
    """How many of so many runs fail."""
    return sum(ours(fields(seed, count=count, paths=paths, noise=noise)) is not None for seed in range(runs))


def main(share: float) -> int:
    """Play everything; 0 if every row holds."""
    started, held = time.monotonic(), True
    print("| 100,000 requests, 1,000 fields, nothing wrong, watched | runs | alarms | at most (95 %) |\n|---|---|---|---|")
    for noise, runs_long in SITUATIONS:
        runs = max(1, round(runs_long * share))
        count = alarms(noise, runs)
        held &= count <= max(1, round(0.05 * runs))
        print(f"| {noise:.0%} noise an arm and field | {runs} | {count} | {binomial_upper(count, runs, 0.95):.1%} |", flush=True)
    print(f"\n{time.monotonic() - started:.0f} s; {'every row holds' if held else 'SOME ROWS DO NOT HOLD'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))
