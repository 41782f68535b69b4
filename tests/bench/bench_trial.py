"""What a live trial costs after the sockets, stage by stage, in CPU time of one process.

The way it goes: decode a trial, compare, bets, encode what was found (one process); decode that, put into order, fold (the
next). Every trial is decoded anew, as it is in a run, so that no two arms share an object.
"""

import gc
import random
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from comparators.plan import Plan, build_plan
from comparators.registry import load_comparators
from comparators.trial import compare_trial
from harness.core.labels import Aspect, Control, Design, Kind, Role
from harness.core.values import Arm, Comparison, Exchange, Headers, Request, Response, Trial, body_of
from harness.evidence.bets import ArmOutcome, Bet, TrialBets, bets_of
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.sequencer import Sequencer
from tests.bench.bench_json import SEED, document, with_three_differences

COMPARE_US_MAX: Final = {"alike": 50.0, "one noisy leaf": 110.0}
"""Aims for comparison and bets together, by case."""
FOLD_US_MAX: Final = {"alike": 20.0}
"""Aims for a fold."""
MEMORY_TRIALS: Final = 1_000_000
MEMORY_GROWTH_MB_MAX: Final = 16.0
"""Growth allowed in the second half of MEMORY_TRIALS; the first fills what is bounded (the keys, above all)."""
STAGES: Final = ("decode", "compare", "bets", "encode", "decode found", "order and fold")
_SECRET: Final = b"of this run"
_ROUNDS: Final = 150
_TRIALS: Final = 32
_ENDPOINTS: Final = 8

Found = tuple[TrialBets, Comparison]
_ENCODER: Final = msgspec.msgpack.Encoder()
_TRIAL: Final = msgspec.msgpack.Decoder(Trial)
_FOUND: Final = msgspec.msgpack.Decoder(Found)


def headers(seq: int, number: int) -> Headers:
    """Ten fields; the arms differ in Date."""
    return (
        ("Server", "shop"),
        ("Date", f"Mon, 06 May 2024 10:{seq // 60 % 60:02}:{(seq + number) % 60:02} GMT"),
        ("Content-Type", "application/json"),
        ("Content-Length", "2048"),
        ("Connection", "keep-alive"),
        ("Cache-Control", "private, max-age=60"),
        ("ETag", f'"{seq % 97:08x}"'),
        ("Vary", "Accept-Encoding"),
        ("X-Frame-Options", "DENY"),
        ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    )


def bodies(case: str, seq: int) -> tuple[bytes, bytes, bytes]:
    """What stable, secondary and candidate answer."""
    value = document(2_000, random.Random(SEED))
    value["page"]["number"] = seq
    if case == "alike":
        return (orjson.dumps(value),) * 3
    if case == "candidate differs":
        return orjson.dumps(value), orjson.dumps(value), orjson.dumps(with_three_differences(value))
    places = value["items"] if case == "all differ" else value["items"][:1]
    texts = []
    for number in range(3):
        rng = random.Random(3 * seq + number)
        for item in places:
            item["id"] = f"{rng.getrandbits(128):032x}"
            if case == "all differ":
                item["created_at"] = f"2024-05-06T10:00:{rng.randrange(60):02}Z"
        texts.append(orjson.dumps(value if case != "all differ" or number < 2 else with_three_differences(value)))
    return texts[0], texts[1], texts[2]


CASES: Final = ("alike", "one noisy leaf", "candidate differs", "all differ")


def trial(case: str, seq: int) -> Trial:
    """Three arms of about 2 KB of JSON."""
    asked = (("Host", "shop.example"), ("Accept", "application/json"), ("User-Agent", "bench/1"), ("Accept-Encoding", "gzip"))
    request = Request("GET", f"/v{seq % _ENDPOINTS}/orders/{seq}", asked, host="shop.example")
    rng = random.Random(seq)

    def arm(role: Role, number: int, body: bytes) -> Arm:
        started = 1_000_000_000 * 60 + seq * 200_000 + number * 1000
        exchange = Exchange(
            request=request,
            response=Response(200, headers(seq, number), body_of(body), "OK"),
            started_ns=started,
            first_byte_ns=started + 900_000,
            ended_ns=started + 1_000_000 + rng.randrange(200_000),
        )
        return Arm(role=role, exchange=exchange, intended_ns=started)

    stable, secondary, candidate = (
        arm(role, number, body) for number, (role, body) in enumerate(zip(Role, bodies(case, seq), strict=True))
    )
    return Trial(
        id=f"t{seq}",
        seq=seq,
        endpoint=f"GET /v{seq % _ENDPOINTS}/orders/{{int}}",
        request=request,
        stable=stable,
        secondary=secondary,
        candidate=candidate,
        design=Design.TWO_ARM,
        order=(Role.STABLE, Role.CANDIDATE, Role.SECONDARY),
        entity=f"/v{seq % _ENDPOINTS}/orders/{seq}",
        in_flight=3,
    )


class Way:
    """The two processes' parts, one after the other, over batches of trials."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ledger = Ledger(Policy(preset="rollout"), live=True)
        self._sequencer = Sequencer()
        self.folded = 0
        self.seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self.bytes = 0

    def run(self, frames: list[bytes]) -> None:
        """Take a batch in order; notes the CPU seconds of each stage for one trial."""
        trials = self._timed("decode", _TRIAL.decode, frames)
        compared = self._timed("compare", lambda one: (one, compare_trial(one, self._plan)), trials)
        found = self._timed("bets", lambda pair: (bets_of(pair[0], pair[1], _SECRET), pair[1]), compared)
        encoded = self._timed("encode", _ENCODER.encode, found)
        decoded = self._timed("decode found", _FOUND.decode, encoded)
        self._timed("order and fold", self._fold, decoded)
        self.bytes = len(encoded[0])

    def _fold(self, found: Found) -> None:
        for bets in self._sequencer.push(found[0]):
            self._ledger.fold(bets)
            self.folded += 1

    def _timed(self, stage: str, function: Callable[[Any], Any], values: list[Any]) -> list[Any]:
        start = time.process_time()
        results = [function(value) for value in values]
        self.seconds[stage].append((time.process_time() - start) / len(values))
        return results

    def microseconds(self, stage: str) -> float:
        """Median over the batches, for one trial."""
        return statistics.median(self.seconds[stage]) * 1e6


def measure(rounds: int = _ROUNDS, count: int = _TRIALS) -> dict[str, Way]:
    """All cases, their rounds interleaved. What was imported is left out of garbage collection, as long-lived processes do."""
    gc.collect()
    gc.freeze()
    plan = build_plan((), load_comparators())
    ways = {case: Way(plan) for case in CASES}
    for index in range(rounds):
        for case, way in ways.items():
            way.run([_ENCODER.encode(trial(case, seq)) for seq in range(index * count, (index + 1) * count)])
    return ways


def synthetic(seq: int, rng: random.Random) -> TrialBets:
    """The bets of a trial of one of forty endpoints with three noisy paths each: an answer read once, a session of its own."""
    number = rng.randrange(40)
    bets = tuple(
        Bet(Aspect.BODY, f"$.noisy{path}", Kind.VALUE, rng.choice((*Role, None)), True, True, rng.getrandbits(63) + 1)
        for path in range(3)
        if rng.random() < 0.3
    )
    return TrialBets(
        seq=seq,
        trial=f"t{seq}",
        endpoint=f"GET /e{number}/{{int}}",
        design=Design.TWO_ARM if rng.random() < 0.5 else Design.THREE_ARM,
        control=Control.SECONDARY,
        pass_index=0,
        fresh=False,
        warm_up=False,
        tainted=False,
        repeat=False,
        request=rng.getrandbits(63),
        captured=False,
        session=rng.getrandbits(63),
        started_ns=seq * 500_000,
        stable=ArmOutcome(200, rng.lognormvariate(1, 1)),
        secondary=ArmOutcome(200, rng.lognormvariate(1, 1)),
        candidate=ArmOutcome(200 if rng.random() < 0.999 else 500, rng.lognormvariate(1, 1)),
        bets=bets,
    )


def resident_mb() -> float:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 1e6


def memory(count: int = MEMORY_TRIALS) -> tuple[float, float, float]:
    """Resident MB at the start, after half of the trials, and at the end."""
    rng = random.Random(SEED)
    ledger, sequencer = Ledger(Policy(preset="rollout"), live=True), Sequencer()
    found = [resident_mb()]
    for seq in range(count):
        for bets in sequencer.push(synthetic(seq, rng)):
            ledger.fold(bets)
        if seq + 1 in (count // 2, count):
            found.append(resident_mb())
    return found[0], found[1], found[2]


def main() -> int:
    """Print the tables. Returns 1 when an aim was missed."""
    ways = measure()
    print(f"a trial after the sockets: three arms, 2 KB JSON, ten headers; CPU µs for each (seed {SEED}; medians of {_ROUNDS} rounds)")
    print(f"{'case':<18} " + " ".join(f"{stage:>15}" for stage in STAGES) + f" {'compare + bets':>15} {'trials/s':>9}")
    missed = False
    for case, way in ways.items():
        micros = {stage: way.microseconds(stage) for stage in STAGES}
        ours = micros["compare"] + micros["bets"]
        first = sum(micros[stage] for stage in STAGES[:4])
        print(f"{case:<18} " + " ".join(f"{micros[stage]:>15.1f}" for stage in STAGES) + f" {ours:>15.1f} {1e6 / first:>9.0f}")
        missed |= ours > COMPARE_US_MAX.get(case, ours) or micros["order and fold"] > FOLD_US_MAX.get(case, micros["order and fold"])
    print("trials/s: of the comparing process, decode to encode, one core\n")
    start, half, end = memory()
    print(f"ledger over {MEMORY_TRIALS:,} trials: {start:.0f} MB at the start, {half:.0f} MB after half, {end:.0f} MB at the end")
    return int(missed or end - half > MEMORY_GROWTH_MB_MAX)


if __name__ == "__main__":
    raise SystemExit(main())
