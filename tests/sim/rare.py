"""Situations in which nearly every answer is alike: a difference in one of ten thousand, or one that begins late.

An answer in which all arms agree says the same each time, so its bets are made once and folded again and again.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import msgspec

from harness.core.labels import Design
from harness.core.values import Scalar
from harness.evidence import late_onset
from harness.evidence.bets import TrialBets
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from tests.sim.scenarios import Outcome
from tests.sim.world import Answer, Three, bets, failed, flips

_PER_SECOND = 50.0


def _alike(clean: TrialBets, seq: int, request: int, pass_index: int = 0) -> TrialBets:
    return msgspec.structs.replace(clean, seq=seq, request=request, pass_index=pass_index, started_ns=int(seq / _PER_SECOND * 1e9))


def one_of_many(seed: int, policy: Policy, *, requests: int, endpoints: int = 20) -> Outcome:
    """A deterministic difference on one request of a capture, sent again and again from fresh state."""
    odd = random.Random(seed).randrange(requests)
    names = [f"GET /e{number}" for number in range(endpoints)]
    ledger = Ledger(policy, endpoints=names)
    clean = [bets(0, Answer(endpoint=name, entity=name, entry=0, fresh=True)) for name in names]
    values: dict[str, Three] = {"$.price": ("1", "1", "2")}
    wrong = Answer(endpoint=names[odd % endpoints], entity=f"/e/{odd}", values=values, entry=odd, fresh=True)
    for pass_index in range(policy.passes_max):
        for entry in range(requests):
            seq = pass_index * requests + entry
            if entry == odd:
                ledger.fold(bets(seq, replace(wrong, pass_index=pass_index, at_s=seq / _PER_SECOND)))
            else:
                ledger.fold(_alike(clean[entry % endpoints], seq, entry, pass_index))
        if ledger.snapshot().open_questions == 0 and pass_index + 1 >= policy.passes_min:
            break
    reached = ledger.failed()
    if reached is None:
        return Outcome(False, passes=pass_index + 1)
    return Outcome(True, requests=reached[0], passes=reached[1] + 1)


def diverging(seed: int, policy: Policy, *, rate: float, count: int) -> Outcome:
    """A live stream in which one field of the candidate is wrong in `rate` of the requests, and nothing else differs."""
    return _stream(seed, policy, count=count, noise=0.0, wrong=rate, onset=0, paths=1)


def late(seed: int, policy: Policy, *, noise: float, wrong: float, onset: int = 50_000, more: int = 20_000) -> Outcome:
    """A live stream with a field of which each arm now and then answers something else; from request `onset` on the candidate is wrong
    there in `wrong` of the answers as well. Counts the requests since then."""
    end = _stream(seed, policy, count=onset + more, noise=noise, wrong=wrong, onset=onset, paths=1)
    if end.requests is None:
        return end
    return Outcome(end.requests > onset, requests=end.requests - onset)


def restarted(seed: int, policy: Policy, *, noise: float, count: int, every: int, paths: int) -> Outcome:
    """Stable against itself in a live stream, with a restart every so many requests."""
    with _restarts(every):
        return _stream(seed, policy, count=count, noise=noise, wrong=0.0, onset=0, paths=paths)


@contextmanager
def _restarts(every: int) -> Iterator[None]:
    before, late_onset.RESTART_OBSERVATIONS = late_onset.RESTART_OBSERVATIONS, every  # type: ignore[misc]  # shorter, for the time it takes
    try:
        yield
    finally:
        late_onset.RESTART_OBSERVATIONS = before  # type: ignore[misc]


def _stream(seed: int, policy: Policy, *, count: int, noise: float, wrong: float, onset: int, paths: int) -> Outcome:
    """Watched at every request. One of `paths` fields may differ in an answer, as `flips` has it."""
    rng = random.Random(seed)
    ledger = Ledger(policy, live=True)
    clean = bets(0, Answer(entity="/items", design=Design.TWO_ARM))
    for seq in range(count):
        stable, secondary, candidate = flips(rng, noise)
        bad: Scalar = "wrong" if wrong and seq >= onset and rng.random() < wrong else candidate
        if stable == secondary == bad:
            ledger.fold(_alike(clean, seq, 0))
            continue
        path = f"$.f{rng.randrange(paths)}"
        ledger.fold(
            bets(
                seq,
                Answer(entity=f"/items/{seq}", values={path: (stable, secondary, bad)}, design=Design.TWO_ARM, at_s=seq / _PER_SECOND),
            )
        )
        if failed(ledger):
            return Outcome(True, requests=seq + 1)
    return Outcome(failed(ledger))
