"""The simulated situations: each plays one run from a seed and says how it ended."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from harness.core.labels import Control, Design, VerdictState
from harness.core.values import Scalar, Totals
from harness.evidence.bets import TrialBets
from harness.evidence.gate import judge
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from tests.sim.world import Answer, Three, bets, bursts, failed, flips, requests_of, run_passes, watch


@dataclass(frozen=True)
class Outcome:
    """How one run ended."""

    failed: bool
    passed: bool = False
    requests: int | None = None
    """Requests until it failed."""
    passes: int = 0


def _judged(rng: random.Random, capture_size: int, endpoints: int, values: object, policy: Policy, passes: int | None = None) -> Outcome:
    capture = requests_of(capture_size, endpoints, values)  # type: ignore[arg-type]  # strings are values
    ledger, snapshot = run_passes(rng, capture, policy, passes=passes)
    totals = Totals(requests=snapshot.seq, compared=snapshot.seq)
    verdict = judge(snapshot, totals, policy, replayable=capture_size)
    reached = ledger.failed()
    return Outcome(
        verdict.state is VerdictState.FAIL,
        verdict.state is VerdictState.PASS,
        reached[0] if reached else None,
        reached[1] + 1 if reached else snapshot.passes,
    )


def passes_null(seed: int, policy: Policy, *, noise: float, passes: int | None = None) -> Outcome:
    """Three arms alike, 48 requests on 6 endpoints, 3 fields of which each arm now and then answers something else."""

    def values(rng: random.Random, entry: int) -> dict[str, Three]:
        return {f"$.f{i}": flips(rng, noise) for i in range(3)}

    return _judged(random.Random(seed), 48, 6, values, policy, passes)


def honest(seed: int, policy: Policy, *, rate: float) -> Outcome:
    """An A/A run of 48 requests under preset capture: a UUID that is new in every answer, and one field noisy in `rate` of them."""

    def values(rng: random.Random, entry: int) -> dict[str, Three]:
        uuids: Three = (rng.getrandbits(64), rng.getrandbits(64), rng.getrandbits(64))
        return {"$.id": uuids, "$.flag": flips(rng, rate / 3) if entry % 4 == 0 else ("a", "a", "a")}

    return _judged(random.Random(seed), 48, 6, values, policy)


def one_of_300(seed: int, policy: Policy, *, noise: float) -> Outcome:
    """A deterministic difference on one request of 300; one field of every answer is noisy."""
    odd = random.Random(seed).randrange(300)

    def values(rng: random.Random, entry: int) -> dict[str, Three]:
        return {"$.price": ("1.00", "1.00", "1.01") if entry == odd else ("1.00", "1.00", "1.00"), "$.flag": flips(rng, noise)}

    return _judged(random.Random(seed + 1), 300, 20, values, policy)


def intermittent(seed: int, policy: Policy, *, rate: float, requests: int) -> Outcome:
    """The candidate is wrong in `rate` of its answers, at random."""

    def values(rng: random.Random, entry: int) -> dict[str, Three]:
        return {"$.total": ("1", "1", "2" if rng.random() < rate else "1")}

    return _judged(random.Random(seed), requests, 8, values, policy)


_GROUPS: Final = {"constant": (1, 1, "ab"), "session": (20, 100, "ab"), "cache": (1, 10, "abc")}
"""Requests in a row that go together, how many such groups there are, and what is chosen from."""


def instances(
    seed: int, policy: Policy, *, what: str, redrawn: bool = True, passes: int | None = None, requests: int = 120, endpoints: int = 8
) -> Outcome:
    """Three arms alike whose answers hang together within one start: what an instance did once it does again and again.

    `constant`: a coin at the start; `session`: a coin for each twenty requests; `cache`: for each of ten stored values the
    one of three that was read first; `counter`: now and then an event is missed; `spell`: now and then degraded for a while.
    """
    rng = random.Random(seed)
    state: list[dict[int, str]] = [{}, {}, {}]
    count = [0, 0, 0]

    def values(_: random.Random, entry: int) -> dict[str, Three]:
        if entry == 0 and redrawn:
            for arm in state:
                arm.clear()
            count[:] = [0, 0, 0]
        found: list[Scalar] = []
        for index, arm in enumerate(state):
            if what in _GROUPS:
                group = _GROUPS[what]
                found.append(arm.setdefault(entry // group[0] % group[1], rng.choice(group[2])))
            elif what == "counter":
                count[index] += rng.random() >= 0.002
                found.append(count[index])
            else:
                count[index] = 30 if not count[index] and rng.random() < 0.003 else max(0, count[index] - 1)
                found.append(count[index] > 0)
        return {"$.x": (found[0], found[1], found[2])}

    return _judged(rng, requests, endpoints, values, policy, passes)


def partial_noise(seed: int, policy: Policy, *, elements: int = 0, rate: float = 0.0, difference: str = "") -> Outcome:
    """300 requests on 20 endpoints with a list of so many elements in any order (or a flag that flaps at `rate`).

    `difference`: `beside` (the price of one request is wrong as well), `third` (at one request the candidate always gives a
    value that the noise never has), `more` (at one endpoint the candidate's flag is up 30 points more often).
    """
    rng = random.Random(seed)
    odd = rng.randrange(300)

    def one(index: int, entry: int) -> Scalar:
        if elements:
            return "".join(rng.sample("abcde"[:elements], elements))
        more = 0.3 if difference == "more" and index == 2 and entry % 20 == odd % 20 else 0.0
        if difference == "third" and index == 2 and entry == odd:
            return "z"
        return "x" if rng.random() < rate + more else "y"

    def values(_: random.Random, entry: int) -> dict[str, Three]:
        found: dict[str, Three] = {"$.x": (one(0, entry), one(1, entry), one(2, entry))}
        if difference == "beside":
            found["$.price"] = ("1.00", "1.00", "1.01" if entry == odd else "1.00")
        return found

    return _judged(rng, 300, 20, values, policy)


def _stream(rng: random.Random, count: int, *, noise: float, divergence: float, paths: int, design: Design) -> Iterator[Answer]:
    for seq in range(count):
        values = {f"$.f{rng.randrange(paths)}": flips(rng, noise)}
        if divergence:
            values["$.bad"] = ("1", "1", "2" if rng.random() < divergence else "1")
        latency = (rng.lognormvariate(1.6, 0.3), rng.lognormvariate(1.6, 0.3), rng.lognormvariate(1.6, 0.3))
        yield Answer(entity=f"/items/{seq}", values=values, latency_ms=latency, at_s=seq * 0.02, design=design)


def watched_stream(
    seed: int, policy: Policy, *, noise: float, paths: int = 20, count: int = 2000, design: Design = Design.TWO_ARM
) -> Outcome:
    """A live stream, looked at after every request, with noise on many paths."""
    rng = random.Random(seed)
    ledger = Ledger(policy, live=True)
    at = watch(ledger, _stream(rng, count, noise=noise, divergence=0.0, paths=paths, design=design))
    return Outcome(at is not None, requests=at)


def diverging_stream(seed: int, policy: Policy, *, rate: float, noise: float, count: int = 6000) -> Outcome:
    """A live stream in which one field of the candidate is wrong in `rate` of the requests."""
    rng = random.Random(seed)
    ledger = Ledger(policy, live=True)
    at = watch(ledger, _stream(rng, count, noise=noise, divergence=rate, paths=5, design=Design.TWO_ARM))
    return Outcome(at is not None, requests=at)


def confirmed_stream(
    seed: int, policy: Policy, *, rate: float, noise: float, paths: int = 5, count: int = 6000, every: int = 50, daily: int = 2000
) -> Outcome:
    """A live stream of requests without state, in which `rate` of them are wrong whenever they are sent; after each `every`-th one
    the most urgent one that has a question is sent again, equals in turn: one a second at 50 a second."""
    rng = random.Random(seed)
    ledger = Ledger(policy, live=True)
    wrong: dict[int, tuple[str, bool]] = {}
    waiting: dict[int, float] = {}
    seq = 0

    def send(number: int, bad: bool, path: str, *, repeat: bool) -> TrialBets:
        nonlocal seq
        values = {path: flips(rng, noise), "$.bad": ("1", "1", "2" if bad else "1")}
        latency = (rng.lognormvariate(1.6, 0.3), rng.lognormvariate(1.6, 0.3), rng.lognormvariate(1.6, 0.3))
        answer = Answer(
            entity=f"/items/{number}",
            values=values,
            latency_ms=latency,
            at_s=number * 0.02,
            design=Design.TWO_ARM,
            repeat=repeat,
            fresh=repeat,
        )
        one = bets(seq, answer)
        ledger.fold(one)
        seq += 1
        return one

    for number in range(count):
        path, bad = f"$.f{rng.randrange(paths)}", rng.random() < rate
        one = send(number, bad, path, repeat=False)
        if number not in wrong and ledger.questions.about(one.request):
            wrong[number] = path, bad
            waiting[number] = 0.0
        if waiting and number % every == 0 and ledger.repeats < daily:
            asked = max(waiting, key=waiting.__getitem__)
            del waiting[asked]
            path, bad = wrong[asked]
            urgency = ledger.questions.urgency(send(asked, bad, path, repeat=True).request)
            if urgency is not None:
                waiting[asked] = urgency
        if failed(ledger):
            return Outcome(True, requests=number + 1)
    return Outcome(False)


def split_state(seed: int, policy: Policy, *, design: Design, by_value: bool, count: int = 1200) -> Outcome:
    """Thirty stored values of which a third were split by a race when they were made, each read again and again.

    `by_value`: the value is a time that is read under many URLs; else it is a plain word under one URL.
    """
    rng = random.Random(seed)
    stored: list[Three] = []
    for index in range(30):
        early, late = (f"2024-01-01T00:{index:02d}:0{x}Z" for x in (1, 2)) if by_value else ("open", "paid")
        values = [early, early, early]
        if rng.random() < 1 / 3:
            values[rng.randrange(3)] = late
        stored.append((values[0], values[1], values[2]))

    def stream() -> Iterator[Answer]:
        for seq in range(count):
            item = rng.randrange(30)
            entity = f"/items/{item}?view={rng.randrange(50)}" if by_value else f"/items/{item}"
            yield Answer(entity=entity, values={"$.made": stored[item]}, design=design, at_s=seq * 0.02)

    ledger = Ledger(policy, live=True)
    at = watch(ledger, stream())
    return Outcome(at is not None, requests=at)


def latency_bursts(
    seed: int, policy: Policy, *, live: bool, length_s: float, per_second: float = 50.0, count: int = 3000, bursty: float = 0.2
) -> Outcome:
    """All arms alike and each slow by itself, five times as slow, in spells that last about `length_s`, for `bursty` of the time."""
    rng = random.Random(seed)
    rate = bursty / (1.0 - bursty) / length_s
    arms = [next(bursts(random.Random(rng.random()), rate, length_s, 5.0)) for _ in range(3)]

    def stream() -> Iterator[Answer]:
        for seq in range(count):
            at_s = seq / per_second
            a, b, c = (rng.lognormvariate(1.6, 0.2) * arm(at_s) for arm in arms)
            yield Answer(entity=f"/items/{seq}", latency_ms=(a, b, c), at_s=at_s, design=Design.TWO_ARM if live else Design.THREE_ARM)

    ledger = Ledger(policy, live=live, endpoints=() if live else ("GET /items/{int}",))
    at = watch(ledger, stream())
    return Outcome(at is not None, requests=at)


def slower(
    seed: int, policy: Policy, *, factor: float, sigma: float, endpoints: int = 10, count: int = 1000, tolerance: float | None = None
) -> Outcome:
    """Replay, with the candidate slower by `factor` at one of ten endpoints: how many requests to it until the gate fails."""
    if tolerance is not None:
        policy = msgspec.structs.replace(policy, latency_tolerance=tolerance)
    rng = random.Random(seed)
    names = tuple(f"GET /e{i}" for i in range(endpoints))
    ledger = Ledger(policy, endpoints=names)
    for seq in range(count):
        a, b, c = (rng.lognormvariate(3.0, sigma) for _ in range(3))
        answer = Answer(endpoint=names[0], entity="/e0", latency_ms=(a, b, c * factor), at_s=seq * 0.05)
        if watch(ledger, [answer]):
            return Outcome(True, requests=seq + 1)
    return Outcome(failed(ledger))


def no_control(seed: int, policy: Policy, *, rate: float, count: int = 1500, paths: int = 1) -> Outcome:
    """Without a control, a candidate of which each of `paths` fields differs in exactly `rate` of the requests."""
    rng = random.Random(seed)

    def stream() -> Iterator[Answer]:
        for seq in range(count):
            values: dict[str, Three] = {f"$.v{i}": ("1", None, "2" if rng.random() < rate else "1") for i in range(paths)}
            yield Answer(entity=f"/items/{seq}", values=values, design=Design.NO_CONTROL, control=Control.NONE)

    ledger = Ledger(policy, live=True, control=Control.NONE, design=Design.NO_CONTROL)
    at = watch(ledger, stream())
    return Outcome(at is not None, requests=at)
