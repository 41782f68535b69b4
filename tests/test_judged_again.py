"""Judging again gives the same answer for the same inputs, bit for bit, however many workers there were."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.labels import Aspect, Kind
from harness.core.values import Comparison, Difference, Totals
from harness.evidence.bets import TrialBets, bets_of, decode_bets, encode_bets
from harness.evidence.gate import judge
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.fold import Fold, TrialSource
from tests.app.support import trial

ENDPOINTS = ("GET /items/{int}",)
VALUES = st.tuples(*[st.sampled_from((1, 1, 1, 1, 2, 3))] * 3)
"""Of stable, secondary and candidate in one place of one answer."""
TRIALS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=40)


class Frames:
    """Keeps bets as a run does: encoded, in the order in which they were judged."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def keep_bets(self, bets: TrialBets) -> None:
        self.frames.append(encode_bets(bets))

    def keep_trial(self, trial: TrialSource, comparison: Comparison, *, endpoint: str, exemplar: bool) -> None:
        pass


def compared(seq: int, values: tuple[tuple[int, ...], ...], *, fresh: bool, passes: int) -> tuple[TrialBets, Comparison]:
    """A trial with two places, each of which has a value for every arm."""

    def between(left: int, right: int) -> tuple[Difference, ...]:
        return tuple(
            Difference(Aspect.BODY, f"$.v{place}", Kind.VALUE, each[left], each[right], f"$.v{place}")
            for place, each in enumerate(values)
            if each[left] != each[right]
        )

    comparison = Comparison(
        trial=f"t{seq}", seq=seq, stable_candidate=between(0, 2), stable_secondary=between(0, 1), secondary_candidate=between(1, 2)
    )
    sent = msgspec.structs.replace(trial(seq % 10), id=f"t{seq}", seq=seq, fresh=fresh, pass_index=seq * passes // 40)
    return bets_of(sent, comparison, b"secret"), comparison


def answer(ledger: Ledger, policy: Policy, count: int) -> bytes:
    """Snapshot and verdict, encoded."""
    snapshot = ledger.snapshot()
    verdict = judge(snapshot, Totals(requests=count, compared=count), policy, replayable=count)
    return msgspec.msgpack.encode((snapshot, verdict))


def folded(results: list[tuple[int, TrialBets, Comparison]], policy: Policy) -> tuple[bytes, list[bytes]]:
    """What a run comes to whose results arrive in this order, and the frames that it stores."""
    ledger, kept = Ledger(policy, endpoints=ENDPOINTS), Frames()
    fold = Fold(ledger, kept)
    for stream, bets, comparison in results:
        assert fold.push(stream, bets, comparison, lambda: None)
    assert not fold.gaps()
    return answer(ledger, policy, len(results)), kept.frames


def refolded(frames: list[bytes], policy: Policy) -> bytes:
    """What `judge` makes of stored bets."""
    ledger = Ledger(policy, endpoints=ENDPOINTS)
    for frame in frames:
        ledger.fold(decode_bets(frame))
    return answer(ledger, policy, len(frames))


@settings(max_examples=60, deadline=None)
@given(values=TRIALS, fresh=st.booleans(), passes=st.integers(1, 4), workers=st.integers(1, 8), data=st.data())
def test_any_number_of_workers_gives_the_same_snapshot_verdict_and_stored_bets(
    values: list[tuple[tuple[int, ...], ...]], fresh: bool, passes: int, workers: int, data: st.DataObject
) -> None:
    """Each worker takes the trials that fall to it, in order, and is as fast or as slow as it likes."""
    policy = Policy()
    results = [(0, *compared(seq, each, fresh=fresh, passes=passes)) for seq, each in enumerate(values)]
    expected, frames = folded(results, policy)
    shares: list[list[tuple[int, TrialBets, Comparison]]] = [[] for _ in range(workers)]
    for result in results:
        shares[data.draw(st.integers(0, workers - 1))].append(result)
    arrived = []
    while any(shares):
        arrived.append(data.draw(st.sampled_from([share for share in shares if share])).pop(0))
    assert folded(arrived, policy) == (expected, frames)
    assert refolded(frames, policy) == expected


@settings(max_examples=60, deadline=None)
@given(streams=st.lists(TRIALS, min_size=1, max_size=3), data=st.data())
def test_streams_that_come_in_any_turn_are_judged_again_as_they_were(
    streams: list[list[tuple[tuple[int, ...], ...]]], data: st.DataObject
) -> None:
    """Across streams the order is that of folding, which is stored; within one it is the sender's, whoever compared it."""
    policy = Policy(preset="rollout")
    left = [
        (stream, *compared(seq, each, fresh=False, passes=1)) for stream, values in enumerate(streams) for seq, each in enumerate(values)
    ]
    arrived = data.draw(st.permutations(left))
    live, frames = folded(arrived, policy)
    assert len(frames) == len(left)
    assert refolded(frames, policy) == live
    assert refolded(frames, policy) == live, "and once more"


@settings(max_examples=30, deadline=None)
@given(values=TRIALS, alpha=st.sampled_from([1e-6, 0.01, 0.4]))
def test_another_policy_over_stored_bets_is_as_if_the_run_had_had_it(values: list[tuple[tuple[int, ...], ...]], alpha: float) -> None:
    results = [(0, *compared(seq, each, fresh=True, passes=3)) for seq, each in enumerate(values)]
    _, frames = folded(results, Policy())
    other = Policy(alpha=alpha, preset="rollout")
    assert refolded(frames, other) == folded(results, other)[0]
