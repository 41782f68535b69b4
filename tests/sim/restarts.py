"""How much a hypothesis should keep back for differences that begin late: `python -m tests.sim.restarts RUNS` prints a table.

One hypothesis with two arms bets alone, with the weight that the first value of one endpoint has. Requests until the gate's sum
reaches 100, from the moment at which the candidate begins to be wrong.
"""

import math
import random
import statistics
import sys
from collections.abc import Callable
from typing import Final
from unittest.mock import patch

from harness.core.labels import Design, Role
from harness.evidence import hypothesis, late_onset
from harness.evidence.hypothesis import Stake

_WEIGHT: Final = (0.0375 + 0.1) / 2
_THRESHOLD: Final = 100.0
_REQUESTS_MAX: Final = 20_000

KeptBack = Callable[[int], float]
"""The share that is kept back after so many restarts; None for no restarts."""
WEIGHTS: Final[dict[str, KeptBack | None]] = {
    "no restarts": None,
    "0.9, 0.1/(k(k+1))": late_onset.kept_back,
    "1/((k+1)(k+2))": lambda restarts: 1.0 / (restarts + 2),
}


def requests_until_found(seed: int, share: KeptBack | None, *, noise: float, wrong: float, onset: int) -> int:
    """One run: each arm's answer is another one with chance `noise`, from request `onset` on the candidate's with `wrong` as well."""
    if share is None:
        return _run(random.Random(seed), Stake(1.0), noise=noise, wrong=wrong, onset=onset)
    with patch.object(late_onset, "kept_back", share), patch.multiple(hypothesis, kept_back=share, LATE_SHARE=share(0)):
        return _run(random.Random(seed), Stake(1.0, stream=True), noise=noise, wrong=wrong, onset=onset)


def _run(rng: random.Random, stake: Stake, *, noise: float, wrong: float, onset: int) -> int:
    either = 2.0 * noise * (1.0 - noise)
    at = 0
    while True:  # from bet to bet
        at += 1 + int(math.log(1.0 - rng.random()) / math.log(1.0 - either))
        if at > onset:
            break
        stake.bet(Design.TWO_ARM, rng.choice((Role.CANDIDATE, Role.SECONDARY)), observed=at)
    differs = 1.0 - (1.0 - noise) * (1.0 - wrong)
    ours, others = differs * (1.0 - noise), noise * (1.0 - differs)
    for number in range(1, _REQUESTS_MAX):
        draw = rng.random()
        if draw < ours + others:
            stake.bet(Design.TWO_ARM, Role.CANDIDATE if draw < ours else Role.SECONDARY, observed=onset + number)
            if 1.0 - _WEIGHT + _WEIGHT * math.exp(min(600.0, stake.log_e)) >= _THRESHOLD:
                return number
    return _REQUESTS_MAX


def main(runs: int) -> None:
    """Print the table."""
    print("| wrong in 5 % of the answers, from request | noise | " + " | ".join(WEIGHTS) + " |")
    print("|---|---|" + "---|" * len(WEIGHTS))
    for onset in (0, 50_000):
        for noise in (0.01, 0.05):
            found = [
                statistics.median(requests_until_found(seed, share, noise=noise, wrong=0.05, onset=onset) for seed in range(runs))
                for share in WEIGHTS.values()
            ]
            print(f"| {onset:,} | {noise:.0%} | " + " | ".join(f"{median:,.0f}" for median in found) + " |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
