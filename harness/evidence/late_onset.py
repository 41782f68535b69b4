"""A difference that begins late, at a place that has bet for long: money kept back, laid on the stakes again and again.

A stake that played on noise for 50,000 requests has lost what it would need to see a difference that begins then: a fair game leaves
little on the high stakes. So a part of each hypothesis' money is kept back, and at every restart a part of that is laid on the stakes
as it was at the start (as in the mixtures over starting times of Shin, Ramdas & Rinaldo 2023, "E-detectors", and of Robbins &
Siegmund 1970). E is what lies on the stakes and what is kept back: moving money changes no E, so each E stays a supermartingale that
starts at 1. When to restart hangs on the number of requests alone, which no arm has a say in.

All money on one stake grows alike from then on, whenever it was laid there, so the sum over all restarts needs no more state than one:
exactly, and however many there were.

The start keeps 0.9 and the k-th restart gets 0.1/(k(k+1)). The weights 1/((k+1)(k+2)) would leave the start half and give ten times
as much to late restarts. Requests until the gate fails (median of 40 runs, one noisy field, the candidate wrong in 5 % of the answers,
noise of 1 % / 5 %; `python -m tests.sim.restarts 40`), without restarts, with these weights and with those: from the first request on
428 / 1,086, 440 / 1,091 and 485 / 1,114; from request 50,000 on 3,125 / 6,928, 780 / 1,578 and 666 / 1,403. What is there from the
start is the usual case.
"""

import math
from typing import Final

RESTART_OBSERVATIONS: Final = 10_000
"""Requests between two restarts: of the endpoint, or of the run for a pool."""
LATE_SHARE: Final = 0.1
"""Share of a hypothesis' money that is kept back at its start."""


def due(observed: int) -> int:
    """How many restarts there have been after so many requests."""
    return observed // RESTART_OBSERVATIONS


def falls_at(restart: int) -> int:
    """After how many requests a restart is made."""
    return restart * RESTART_OBSERVATIONS


def kept_back(restarts: int) -> float:
    """The share that is kept back after so many restarts: what 1/(k(k+1)) for k = 1 .. `restarts` leaves of `LATE_SHARE`."""
    return LATE_SHARE / (restarts + 1)


def log_laid(before: int, now: int) -> float:
    """Log of the share that the restarts after the first `before` of them, up to `now`, lay on the stakes: `now` > `before`."""
    return math.log(kept_back(before) - kept_back(now))
