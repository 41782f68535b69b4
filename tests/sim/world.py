"""A small world that sends trials to a ledger: what the arms answer is given, everything after that is the code itself."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from harness.core.labels import Aspect, Control, Design, ErrorKind, Kind, Role
from harness.core.values import Arm, CaptureRef, Comparison, Difference, Exchange, Request, Response, Scalar, TransportError, Trial
from harness.evidence.bets import TrialBets, bets_of
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.snapshot import Snapshot

Three = tuple[Scalar, Scalar, Scalar]
"""What stable, secondary and candidate answer at a path."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One request and what the three arms make of it."""

    endpoint: str = "GET /items/{int}"
    entity: str = "/items/1"
    values: dict[str, Three] = field(default_factory=dict)
    status: tuple[int, int, int] = (200, 200, 200)
    latency_ms: tuple[float, float, float] = (5.0, 5.0, 5.0)
    at_s: float = 0.0
    entry: int | None = None
    pass_index: int = 0
    fresh: bool = False
    design: Design = Design.THREE_ARM
    control: Control = Control.SECONDARY
    recorded: int | None = None
    session: str = ""
    tainted: bool = False
    warm_up: bool = False
    repeat: bool = False
    method: str = "GET"


def _arm(role: Role, answer: Answer, index: int) -> Arm:
    started = int(answer.at_s * 1e9)
    ended = started + int(answer.latency_ms[index] * 1e6)
    request = Request(answer.method, answer.entity)
    status = answer.status[index]
    if status:
        return Arm(role=role, exchange=Exchange(request=request, response=Response(status), started_ns=started, ended_ns=ended))
    error = TransportError(ErrorKind.TIMEOUT)
    return Arm(role=role, exchange=Exchange(request=request, error=error, started_ns=started, ended_ns=ended))


def differences(answer: Answer, left: int, right: int) -> tuple[Difference, ...]:
    """What comparators would find between two arms."""
    a, b = answer.status[left], answer.status[right]
    if not (a and b):
        return () if a == b else (Difference(Aspect.TRANSPORT, "$", Kind.ERROR, a, b, "$"),)
    found = [Difference(Aspect.STATUS, "$", Kind.CODE, a, b, "$")] if a != b else []
    for path, values in answer.values.items():
        x, y = values[left], values[right]
        if x != y:
            kind = Kind.NULL if x is None or y is None else Kind.VALUE
            found.append(Difference(Aspect.BODY, path, kind, x, y, path))
    return tuple(found)


def compared(seq: int, answer: Answer) -> tuple[Trial, Comparison]:
    """The trial and its comparison."""
    has_control = answer.control in (Control.SECONDARY, Control.SELF)
    trial = Trial(
        id=f"t{seq}",
        seq=seq,
        endpoint=answer.endpoint,
        request=Request(answer.method, answer.entity),
        stable=_arm(Role.STABLE, answer, 0),
        secondary=_arm(Role.SECONDARY, answer, 1) if has_control else None,
        candidate=_arm(Role.CANDIDATE, answer, 2),
        control=answer.control,
        design=answer.design,
        pass_index=answer.pass_index,
        fresh=answer.fresh,
        capture=None if answer.entry is None else CaptureRef("sim.har", answer.entry),
        recorded=None if answer.recorded is None else Response(answer.recorded),
        session=answer.session,
        entity=answer.entity,
        tainted=answer.tainted,
        warm_up=answer.warm_up,
        repeat_of="t0" if answer.repeat else None,
    )
    comparison = Comparison(
        trial=trial.id,
        seq=seq,
        stable_candidate=differences(answer, 0, 2),
        stable_secondary=differences(answer, 0, 1) if has_control else (),
        secondary_candidate=differences(answer, 1, 2) if has_control else (),
        cross_compared=has_control,
    )
    return trial, comparison


def bets(seq: int, answer: Answer) -> TrialBets:
    """As a comparator worker would send them."""
    return bets_of(*compared(seq, answer))


def fold_all(ledger: Ledger, answers: Iterable[Answer], first: int = 0) -> int:
    """Fold everything; returns the next sequence number."""
    seq = first
    for answer in answers:
        ledger.fold(bets(seq, answer))
        seq += 1
    return seq


def watch(ledger: Ledger, answers: Iterable[Answer], *, stop: bool = True) -> int | None:
    """Fold and look at the gate at every request; the number of requests after which it failed, or None."""
    for seq, answer in enumerate(answers):
        ledger.fold(bets(seq, answer))
        if stop and failed(ledger):
            return seq + 1
    return ledger.folded if failed(ledger) else None


def failed(ledger: Ledger) -> bool:
    """Whether the gate has failed by now."""
    return ledger.failed() is not None


Capture = list[Callable[[random.Random, int], Answer]]
"""Requests: each gives its answer for a pass."""


def run_passes(rng: random.Random, capture: Capture, policy: Policy, *, passes: int | None = None) -> tuple[Ledger, Snapshot]:
    """Send a capture again and again, as `--passes auto` does: until nothing is open (or a fixed number of times)."""
    endpoints = sorted({request(random.Random(0), 0).endpoint for request in capture})
    ledger = Ledger(policy, endpoints=endpoints)
    seq = 0
    snapshot = ledger.snapshot()
    for pass_index in range(passes or policy.passes_max):
        seq = fold_all(ledger, (request(rng, pass_index) for request in capture), seq)
        snapshot = ledger.snapshot()
        if passes is None and pass_index + 1 >= policy.passes_min and snapshot.open_questions == 0:
            break
    return ledger, snapshot


def requests_of(count: int, endpoints: int, answer: Callable[[random.Random, int], dict[str, Three]]) -> Capture:
    """A capture of `count` requests over so many endpoints, each from fresh state, with values drawn anew in every pass."""

    def request(entry: int) -> Callable[[random.Random, int], Answer]:
        def send(rng: random.Random, pass_index: int) -> Answer:
            return Answer(
                endpoint=f"GET /e{entry % endpoints}/{{int}}",
                entity=f"/e{entry % endpoints}/{entry}",
                values=answer(rng, entry),
                latency_ms=(rng.lognormvariate(1.6, 0.3), rng.lognormvariate(1.6, 0.3), rng.lognormvariate(1.6, 0.3)),
                at_s=pass_index * 5.0 + entry * 0.01,
                entry=entry,
                pass_index=pass_index,
                fresh=True,
                recorded=200,
            )

        return send

    return [request(entry) for entry in range(count)]


def flips(rng: random.Random, rate: float) -> Three:
    """Each arm by itself now and then answers something else."""
    if rate == 0.0:
        return "a", "a", "a"
    return tuple("b" if rng.random() < rate else "a" for _ in range(3))  # type: ignore[return-value]  # three of them


def bursts(rng: random.Random, rate: float, length_s: float, factor: float) -> Iterator[Callable[[float], float]]:
    """For ever: one arm's slowness as a function of time; slow spells of exponential length start at `rate` a second."""
    while True:
        ends, next_start = -1.0, rng.expovariate(rate)

        def slow(at_s: float) -> float:
            nonlocal ends, next_start
            while at_s >= next_start:
                ends = next_start + rng.expovariate(1.0 / length_s)
                next_start = ends + rng.expovariate(rate)
            return factor if at_s < ends else 1.0

        yield slow
