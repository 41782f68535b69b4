"""Measurements that hang together from request to request, each instance's by itself, and faults among values that differ anyhow."""

import math
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from harness.core.labels import Design
from harness.core.values import Scalar
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from tests.sim.scenarios import Outcome
from tests.sim.world import Answer, Three, watch

SECONDS_BETWEEN: Final = {False: 0.05, True: 0.1}
"""Between two requests of a replay, and of live traffic: a block's least time is about its least number of requests then."""


def drifting(rng: random.Random, length: float) -> Iterator[Three]:
    """Gauges that drift: an autoregression of order one that forgets in about `length` requests, and some noise of its own."""
    keeps = math.exp(-1.0 / length)
    moves = math.sqrt(1.0 - keeps * keeps)
    levels = [rng.gauss(0, 1) for _ in range(3)]
    while True:
        levels = [keeps * level + moves * rng.gauss(0, 1) for level in levels]
        a, b, c = (round(50 + 10 * level + rng.gauss(0, 3), 6) for level in levels)
        yield a, b, c


def in_spells(rng: random.Random, length: float) -> Iterator[Three]:
    """Durations that are three standard deviations longer in spells of about `length` requests, a tenth of the time, in each arm."""
    slow = [False] * 3
    while True:
        slow = [rng.random() > 1.0 / length if one else rng.random() < 1.0 / (9.0 * length) for one in slow]
        a, b, c = (round(rng.gauss(80 if one else 50, 10), 6) for one in slow)
        yield a, b, c


def hanging(
    seed: int,
    policy: Policy,
    *,
    length: float,
    live: bool,
    design: Design,
    spells: bool = False,
    count: int = 3000,
) -> Outcome:
    """Arms alike, of which nothing is drawn anew: a stream, or passes that are not from fresh state."""
    rng = random.Random(seed)
    values = in_spells(rng, length) if spells else drifting(rng, length)
    return _played((next(values) for _ in range(count)), policy, live=live, design=design)


def _played(values: Iterator[Three], policy: Policy, *, live: bool, design: Design) -> Outcome:
    ledger = Ledger(policy, live=live, endpoints=() if live else ("GET /items/{int}",))
    step = SECONDS_BETWEEN[live]
    answers = (Answer(entity=f"/items/{i}", values={"$.x": three}, design=design, at_s=i * step) for i, three in enumerate(values))
    at = watch(ledger, answers)
    return Outcome(at is not None, requests=at)


def _now(rng: random.Random, trial: int, hours: float = 0.0) -> str:
    at = datetime.fromtimestamp(1.7e9 + trial + rng.random() + 3600 * hours, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


def _drawn(rng: random.Random, version: int = 4) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=version))


Draw = Callable[[random.Random, int], Scalar]

FAULTS: Final[dict[str, tuple[Draw, Draw]]] = {
    "+5 %": (lambda rng, i: rng.lognormvariate(3.0, 0.2), lambda rng, i: 1.05 * rng.lognormvariate(3.0, 0.2)),
    "time zone": (_now, lambda rng, i: _now(rng, i, 9.0)),
    "constant time": (_now, lambda rng, i: "2023-11-14T22:12:20.000"),
    "uuid 4 to 1": (lambda rng, i: _drawn(rng), lambda rng, i: _drawn(rng, 1)),
    "mix": (lambda rng, i: rng.choice("ab"), lambda rng, i: "a" if rng.random() < 0.7 else "b"),
}
"""What stable answers, and the candidate."""


def noisy_fault(seed: int, policy: Policy, *, what: str, live: bool, design: Design, count: int = 8000) -> Outcome:
    """A fault at a place whose values differ anyhow, outside passes from fresh state."""
    rng, (draw, other) = random.Random(seed), FAULTS[what]
    return _played(((draw(rng, i), draw(rng, i), other(rng, i)) for i in range(count)), policy, live=live, design=design)
