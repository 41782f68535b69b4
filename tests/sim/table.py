"""The table of simulations: what is played, how often, and what has to come out. `python -m tests.sim` prints it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from harness.core.labels import Design
from harness.evidence.policy import Policy
from tests.sim import rare, scenarios
from tests.sim.hanging import hanging, noisy_fault
from tests.sim.scenarios import Outcome

Play = Callable[[int, Policy], Outcome]

WRONG_TEST_CHANCE = 1e-6
"""Chance that a row of the short form fails although the error rate holds."""


@dataclass(frozen=True)
class AlarmRow:
    """Nothing is wrong with the candidate: the gate may fail in at most alpha of the runs."""

    name: str
    play: Play
    alpha: float
    runs_short: int
    runs_long: int


@dataclass(frozen=True)
class PowerRow:
    """Something is wrong (or, with `passing`, nothing is): the share of runs that have to end so."""

    name: str
    play: Play
    share: float
    runs_short: int
    runs_long: int
    requests_max: int | None = None
    passes_max: int | None = None
    passing: bool = False


def alarms_allowed(runs: int, alpha: float, chance: float = WRONG_TEST_CHANCE) -> int:
    """The smallest count that so many runs exceed with a probability of at most `chance`, if each alarms with probability alpha."""
    tail, term = 1.0, (1.0 - alpha) ** runs
    for count in range(runs + 1):
        tail -= term
        if tail <= chance:
            return count
        term *= (runs - count) / (count + 1) * alpha / (1.0 - alpha)
    return runs


def ended_well(row: PowerRow, outcome: Outcome) -> bool:
    """Whether a run ended as the row wants."""
    if row.passing:
        return outcome.passed
    within = row.requests_max is None or (outcome.requests is not None and outcome.requests <= row.requests_max)
    return outcome.failed and within and (row.passes_max is None or outcome.passes <= row.passes_max)


def needed(row: PowerRow, runs: int) -> int:
    """How many of the runs have to end well: the share, less what chance takes away (five standard deviations)."""
    return max(1, math.floor(runs * row.share - 5.0 * math.sqrt(runs * row.share * (1.0 - row.share))))


ALARMS = (
    AlarmRow("three arms, 20 passes of 48 requests, no noise", partial(scenarios.passes_null, noise=0.0, passes=20), 0.01, 2, 50),
    AlarmRow("three arms, 20 passes, 1 % noise an arm and field", partial(scenarios.passes_null, noise=0.01, passes=20), 0.01, 10, 400),
    AlarmRow("three arms, 20 passes, 50 % noise", partial(scenarios.passes_null, noise=0.5, passes=20), 0.01, 8, 300),
    AlarmRow("three arms, 10 passes, 1 % noise, alpha 20 %", partial(scenarios.passes_null, noise=0.01, passes=10), 0.2, 20, 400),
    AlarmRow("three arms, 10 passes, 50 % noise, alpha 20 %", partial(scenarios.passes_null, noise=0.5, passes=10), 0.2, 15, 300),
    AlarmRow("two-arm stream of 2,000, 20 paths, 2 % noise, watched", partial(scenarios.watched_stream, noise=0.02), 0.01, 10, 400),
    AlarmRow("the same, alpha 20 %", partial(scenarios.watched_stream, noise=0.02), 0.2, 10, 400),
    AlarmRow(
        "two-arm stream of 2,000, 300 paths, 10 % noise, alpha 20 %", partial(scenarios.watched_stream, noise=0.1, paths=300), 0.2, 6, 300
    ),
    AlarmRow(
        "three-arm stream of 2,000, 20 paths, 2 % noise, alpha 20 %",
        partial(scenarios.watched_stream, noise=0.02, design=Design.THREE_ARM),
        0.2,
        8,
        300,
    ),
    AlarmRow(
        "two-arm stream of 2,000 with confirmation, one repeat in 5 requests, 20 paths, 2 % noise, alpha 20 %",
        partial(scenarios.confirmed_stream, rate=0.0, noise=0.02, paths=20, count=2000, every=5),
        0.2,
        8,
        300,
    ),
    AlarmRow(
        "split state, word under one URL, two arms", partial(scenarios.split_state, design=Design.TWO_ARM, by_value=False), 0.01, 10, 300
    ),
    AlarmRow(
        "split state, time under many URLs, three arms",
        partial(scenarios.split_state, design=Design.THREE_ARM, by_value=True),
        0.01,
        10,
        300,
    ),
    AlarmRow(
        "replay latency, 20 % of the time in slow spells of 0.3 s, 100 requests/s",
        partial(scenarios.latency_bursts, live=False, length_s=0.3, per_second=100.0),
        0.01,
        5,
        200,
    ),
    AlarmRow(
        "live latency, 20 % of the time in slow spells of 2 s",
        partial(scenarios.latency_bursts, live=True, length_s=2.0, count=6000),
        0.01,
        3,
        200,
    ),
    AlarmRow("no control, the candidate differs in exactly eps0, alpha 20 %", partial(scenarios.no_control, rate=0.01), 0.2, 15, 400),
    *(
        AlarmRow(f"20 passes of 120 requests, {name}", partial(scenarios.instances, what=what, passes=20), 0.01, 3, 100)
        for what, name in (
            ("constant", "a choice made at each start"),
            ("session", "a choice made for each session of 20 requests"),
            ("cache", "ten values cached at the first read"),
            ("counter", "a counter that misses 0.2 % of its events"),
            ("spell", "degraded spells of 30 requests"),
        )
    ),
    AlarmRow("the last, alpha 20 %", partial(scenarios.instances, what="spell", passes=20), 0.2, 2, 100),
    *(
        AlarmRow(
            f"{kind} over {length} requests, {where}",
            partial(hanging, length=length, spells=spells, live=live, design=Design.TWO_ARM if live else Design.THREE_ARM),
            0.01,
            3,
            120,
        )
        for live, where in ((False, "replay that is not from fresh state"), (True, "live"))
        for spells, kind in ((False, "measurements that drift"), (True, "slow spells"))
        for length in (20, 100)
    ),
    *(
        AlarmRow(
            f"late onset: two-arm stream of 10,000 with 20 restarts, 5 % noise on 20 paths{words}",
            partial(rare.restarted, noise=0.05, count=10_000, every=500, paths=20),
            alpha,
            6,
            400,
        )
        for alpha, words in ((0.01, ""), (0.2, ", alpha 20 %"))
    ),
)

POWER = (
    *(
        PowerRow(
            f"always another value, {words}: {'live' if live else 'replay'}, within {most:,}",
            partial(noisy_fault, what=what, live=live, design=Design.TWO_ARM if live else Design.THREE_ARM, count=most),
            0.95,
            2,
            40,
        )
        for what, words, replay, stream in (
            ("+5 %", "5 % larger, jitter 20 %", 6000, 8000),
            ("time zone", "in another time zone", 500, 2000),
            ("constant time", "stands still", 500, 2000),
            ("uuid 4 to 1", "UUIDs of version 1", 500, 2000),
            ("mix", "one of two in 70 % instead of 50 %", 3000, 4000),
        )
        for live, most in ((False, replay), (True, stream))
    ),
    PowerRow(
        "a difference on 1 request of 300: fails within 10 passes", partial(scenarios.one_of_300, noise=0.0), 0.99, 3, 100, passes_max=10
    ),
    PowerRow("the same beside a field with 1 % noise", partial(scenarios.one_of_300, noise=0.01), 0.9, 2, 60, passes_max=10),
    PowerRow(
        "wrong in 3 % of the answers, 300 requests: fails in the passes",
        partial(scenarios.intermittent, rate=0.03, requests=300),
        0.99,
        3,
        60,
        passes_max=20,
    ),
    PowerRow(
        "a difference on 1 request of 10,000 (0.01 %): fails within 10 passes",
        partial(rare.one_of_many, requests=10_000),
        0.99,
        1,
        20,
        passes_max=10,
    ),
    PowerRow(
        "0.1 % divergence in a live stream: fails within 25,000",
        partial(rare.diverging, rate=0.001, count=30_000),
        0.95,
        3,
        100,
        requests_max=25_000,
    ),
    PowerRow(
        "0.01 % divergence in a live stream: fails within 250,000",
        partial(rare.diverging, rate=0.0001, count=250_000),
        0.95,
        1,
        40,
        requests_max=250_000,
    ),
    *(
        PowerRow(
            f"from request 50,000 on {100 * wrong:.0f} % wrong, at a field with {100 * noise:.0f} % noise: within {within:,} more",
            partial(rare.late, noise=noise, wrong=wrong),
            0.95,
            2,
            60,
            requests_max=within,
        )
        for noise, wrong, within in ((0.01, 0.05, 1_500), (0.05, 0.2, 600))
    ),
    PowerRow(
        "1 % divergence in a live stream: fails within 3,000",
        partial(scenarios.diverging_stream, rate=0.01, noise=0.0),
        0.99,
        3,
        100,
        requests_max=3000,
    ),
    PowerRow(
        "0.1 % in a live stream with confirmation, one repeat in 50 requests: within 6,000",
        partial(scenarios.confirmed_stream, rate=0.001, noise=0.0),
        0.99,
        4,
        100,
        requests_max=6000,
    ),
    PowerRow(
        "the same under 1 % noise elsewhere",
        partial(scenarios.confirmed_stream, rate=0.001, noise=0.01),
        0.9,
        4,
        60,
        requests_max=6000,
    ),
    PowerRow(
        "1 % divergence under 1 % noise elsewhere: within 3,000",
        partial(scenarios.diverging_stream, rate=0.01, noise=0.01),
        0.95,
        2,
        100,
        requests_max=3000,
    ),
    PowerRow(
        "+10 % median latency, jitter 5 %: within 1,000 at 20/s",
        partial(scenarios.slower, factor=1.1, sigma=0.05),
        0.99,
        5,
        100,
        requests_max=1000,
    ),
    PowerRow(
        "+10 % median latency, jitter 10 %: within 1,000 at 20/s",
        partial(scenarios.slower, factor=1.1, sigma=0.1),
        0.95,
        5,
        100,
        requests_max=1000,
    ),
    PowerRow(
        "+10 % median latency, jitter 15 %: within 1,000 at 20/s",
        partial(scenarios.slower, factor=1.1, sigma=0.15),
        0.4,
        5,
        100,
        requests_max=1000,
    ),
    *(
        PowerRow(
            f"+5 % median latency, jitter {100 * sigma:.0f} %, 2 % tolerated: within {within:,} at 20/s",
            partial(scenarios.slower, factor=1.05, sigma=sigma, count=within, tolerance=0.02),
            0.95,
            3,
            100,
            requests_max=within,
        )
        for sigma, within in ((0.05, 1_000), (0.1, 3_000))
    ),
    PowerRow(
        "the same beside a flag that flaps at 30 %: fails in the passes",
        partial(scenarios.partial_noise, rate=0.3, difference="beside"),
        0.95,
        1,
        60,
        passes_max=20,
    ),
    PowerRow(
        "one request with a value that a flag flapping at 5 % never has",
        partial(scenarios.partial_noise, rate=0.05, difference="third"),
        0.9,
        1,
        60,
        passes_max=20,
    ),
    PowerRow("the same, flapping at 30 %", partial(scenarios.partial_noise, rate=0.3, difference="third"), 0.35, 4, 60, passes_max=20),
    PowerRow(
        "at one endpoint of 20 the flag, flapping at 10 %, is up in 40 %",
        partial(scenarios.partial_noise, rate=0.1, difference="more"),
        0.8,
        1,
        60,
        passes_max=20,
    ),
    *(
        PowerRow(
            f"honest A/A, 300 requests, 20 endpoints: a list of {elements} in any order",
            partial(scenarios.partial_noise, elements=elements),
            0.8,
            1,
            60,
            passing=True,
        )
        for elements in (2, 3, 5)
    ),
    *(
        PowerRow(f"the same with a flag that flaps at {rate:.0%}", partial(scenarios.partial_noise, rate=rate), 0.7, 4, 60, passing=True)
        for rate in (0.3, 0.1, 0.01)
    ),
    PowerRow("honest A/A of 48 requests, always-new UUID: passes", partial(scenarios.honest, rate=0.0), 0.999, 5, 200, passing=True),
    PowerRow(
        "the same with a field that is noisy in 5 % of a quarter of the answers",
        partial(scenarios.honest, rate=0.05),
        0.85,
        10,
        200,
        passing=True,
    ),
    PowerRow("the same with a field noisy in 10 %", partial(scenarios.honest, rate=0.1), 0.85, 10, 200, passing=True),
)
