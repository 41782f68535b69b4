"""What evidence costs beside comparison: bets and fold of trials with 100 leaf paths, by how many of these differ in every arm."""

import random
import time
import uuid
from typing import Final, NamedTuple

import orjson

from comparators.plan import build_plan
from comparators.registry import load_comparators
from comparators.trial import compare_trial
from harness.core.labels import Design, Role
from harness.core.values import Arm, Exchange, Request, Response, Trial, body_of
from harness.evidence.bets import bets_of
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy

LEAVES: Final = 100
NOISY: Final = (0, 1, 8, LEAVES)
_SECRET: Final = b"of this run"


class Cost(NamedTuple):
    """Microseconds of CPU time a trial."""

    compare: float
    bets: float
    fold: float

    @property
    def ratio(self) -> float:
        """Evidence over comparison."""
        return (self.bets + self.fold) / self.compare


def trial(seq: int, noisy: int, design: Design) -> Trial:
    """A trial whose arms differ in so many leaves: numbers, times, identifiers and categories in turn."""
    arms = [_arm(role, seq, number, noisy) for number, role in enumerate(Role)]
    request = Request("GET", f"/x/{seq}")
    return Trial(
        id=f"t{seq}",
        seq=seq,
        endpoint="GET /x/{int}",
        request=request,
        stable=arms[0],
        secondary=arms[1],
        candidate=arms[2],
        design=design,
        entity=request.target,
    )


def _arm(role: Role, seq: int, number: int, noisy: int) -> Arm:
    own, same = random.Random(3 * seq + number), random.Random(seq)
    document = {f"f{leaf}": _value(leaf, own if leaf < noisy else same) for leaf in range(LEAVES)}
    response = Response(200, (("Content-Type", "application/json"),), body_of(orjson.dumps(document)))
    return Arm(role=role, exchange=Exchange(request=Request("GET", f"/x/{seq}"), response=response, ended_ns=5_000_000))


def _value(leaf: int, rng: random.Random) -> str | float:
    if leaf % 4 == 0:
        return rng.random() * 100
    if leaf % 4 == 1:
        return f"2026-01-01T00:00:{rng.randrange(60):02}.{rng.randrange(1000):03}Z"
    return str(uuid.UUID(int=rng.getrandbits(128))) if leaf % 4 == 2 else rng.choice(("open", "closed"))


def measure(noisy: int, design: Design, count: int = 200) -> Cost:
    """Over `count` trials."""
    plan = build_plan((), load_comparators())
    trials = [trial(seq, noisy, design) for seq in range(count)]
    ledger = Ledger(Policy(), live=True)
    start = time.process_time()
    compared = [compare_trial(one, plan) for one in trials]
    after = time.process_time()
    bets = [bets_of(one, found, _SECRET) for one, found in zip(trials, compared, strict=True)]
    bet = time.process_time()
    for one in bets:
        ledger.fold(one)
    done = time.process_time()
    return Cost(*(1e6 * seconds / count for seconds in (after - start, bet - after, done - bet)))


def main() -> None:
    """Print a table."""
    for design in (Design.THREE_ARM, Design.TWO_ARM):
        for noisy in NOISY:
            cost = measure(noisy, design)
            print(
                f"{design.value:9} {noisy:3} of {LEAVES} leaves differ: compare {cost.compare:6.0f} us, bets {cost.bets:6.0f} us, "
                f"fold {cost.fold:6.0f} us: {cost.ratio:.2f} of comparing"
            )


if __name__ == "__main__":
    main()
