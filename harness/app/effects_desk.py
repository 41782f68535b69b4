"""Where live trials wait in a compare worker for what their arms did, which comes by another way and a little later.

Trials leave in the order in which they came. One is complete when the collectors have told of everything up to some time
after its last answer; it is judged without that when a bounded time has passed, and says so. Of one that was under way before
the desk was there nothing is said: what its arms did may have been told before. Pure but for its memory.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

import msgspec

from harness.bus.messages import EffectsOrders, SeenEffects
from harness.core.labels import EffectsSeen, Role
from harness.core.limits import EFFECTS_KEPT_MAX, EFFECTS_PER_ARM_MAX
from harness.core.plain import AnyTrial, PlainTrial
from harness.core.values import Arm, Effect, Trial

KEPT_BYTES_MAX: Final = 128 * 1024 * 1024
"""Documents of effects that wait for their trial."""

# Looking a member up by its enumeration is slow enough to show in what is done for every trial.
_COMPLETE, _TIMED_OUT = EffectsSeen.COMPLETE, EffectsSeen.TIMED_OUT

_Owner = TypeVar("_Owner")


class Held(msgspec.Struct, Generic[_Owner], frozen=True, gc=False):
    """A trial that waits."""

    owner: _Owner
    payload: bytes
    trial: AnyTrial
    complete_ns: int
    """Up to when the collectors must have told of everything."""
    until_ns: int
    """When it is judged in any case."""


class EffectsDesk(Generic[_Owner]):
    """Trials in wait, and effects that no trial has asked for yet. All times are of the machine's monotonic clock."""

    def __init__(self, orders: EffectsOrders, since_ns: int = 0) -> None:
        """`since_ns`: from when on it is told what is seen."""
        self._wait_ns, self._delay_ns = orders.wait_ns, orders.delay_ns
        self._since_ns = since_ns
        self._waiting: deque[Held[_Owner]] = deque()
        self._told_ns = 0
        """Up to when everything has been told."""
        self._clear_ns = since_ns
        """Of trials that began before it, not everything may be known."""
        self._by_trace: OrderedDict[str, list[tuple[Role, Effect]]] = OrderedDict()
        self._effects = self._bytes = 0
        self._stable_traces: dict[str, int] = {}
        """Traces of senders among the trials in wait, and how many have each."""
        self._shared: set[str] = set()
        """Those that several had at a time."""

    def __len__(self) -> int:
        return len(self._waiting)

    def tell(self, seen: SeenEffects) -> None:
        """Take what collectors have seen. Effects that nobody asks for are dropped, the oldest trace first."""
        for trace, role, effect in seen.effects:
            self._by_trace.setdefault(trace, []).append((role, effect))
            self._effects += 1
            self._bytes += len(effect.document)
        while self._effects > EFFECTS_KEPT_MAX or self._bytes > KEPT_BYTES_MAX:
            self._taken(next(iter(self._by_trace)))
        self._told_ns = max(self._told_ns, seen.until_ns)
        self._clear_ns = max(self._clear_ns, seen.blind_ns)

    def hold(self, owner: _Owner, payload: bytes, trial: AnyTrial, now_ns: int) -> None:
        """A trial came."""
        complete_ns = last_ended_ns(trial) + self._delay_ns
        self._waiting.append(Held(owner, payload, trial, complete_ns, now_ns + self._wait_ns))
        if trace := trial.stable_trace:
            count = self._stable_traces.get(trace, 0) + 1
            self._stable_traces[trace] = count
            if count > 1:
                self._shared.add(trace)

    def ready(self, now_ns: int) -> Iterator[tuple[Held[_Owner], EffectsSeen]]:
        """Those that can be judged, in their order."""
        while self._waiting:
            first = self._waiting[0]
            complete = self._told_ns >= first.complete_ns
            if not complete and now_ns < first.until_ns:
                return
            self._waiting.popleft()
            known = complete and _began_ns(first.trial) >= self._clear_ns
            yield first, _COMPLETE if known else _TIMED_OUT

    def forget(self, owner: _Owner) -> None:
        """Nobody waits for this owner's trials any more."""
        for held in self._waiting:
            if held.owner is owner and (trace := held.trial.stable_trace):
                self._left(trace)
        self._waiting = deque(held for held in self._waiting if held.owner is not owner)

    def effects_of(self, trial: AnyTrial) -> dict[Role, tuple[Effect, ...]]:
        """What the arms did, taken from the desk; to be asked once a trial.

        Where the live request carried a trace of its own, what stable did is found under that. Several trials with one trace
        cannot be told apart at stable: then nothing is known of any arm, rather than everything be missing at one.
        """
        theirs, by_trace = trial.stable_trace, self._by_trace
        shared = bool(theirs) and self._left(theirs)
        if not by_trace or (trial.trace not in by_trace and theirs not in by_trace):  # most live requests do nothing outside
            return {}
        found: dict[Role, list[Effect]] = {}
        self._take(trial.trace, found)
        if theirs:
            self._take(theirs, found)
        if shared or self._is_older(trial):
            return {}
        return {role: tuple(sorted(effects, key=_when)[:EFFECTS_PER_ARM_MAX]) for role, effects in found.items()}

    def _left(self, trace: str) -> bool:
        """A trial with a sender's trace leaves. Whether others had that trace beside it."""
        shared = trace in self._shared
        left = self._stable_traces[trace] - 1
        if left:
            self._stable_traces[trace] = left
        else:
            del self._stable_traces[trace]
            self._shared.discard(trace)
        return shared

    def _is_older(self, trial: AnyTrial) -> bool:
        """Whether a trial was under way before the desk was there."""
        return _began_ns(trial) < self._since_ns

    def _take(self, trace: str, found: dict[Role, list[Effect]]) -> None:
        for role, effect in self._taken(trace):
            found.setdefault(role, []).append(effect)

    def _taken(self, trace: str) -> list[tuple[Role, Effect]]:
        effects = self._by_trace.pop(trace, [])
        self._effects -= len(effects)
        self._bytes -= sum(len(effect.document) for _, effect in effects)
        return effects


def with_effects(trial: Trial, effects: dict[Role, tuple[Effect, ...]], seen: EffectsSeen) -> Trial:
    """The trial with what its arms did."""

    def arm(one: Arm) -> Arm:
        return msgspec.structs.replace(one, effects=effects[one.role]) if one.role in effects else one

    return msgspec.structs.replace(
        trial,
        stable=arm(trial.stable),
        secondary=None if trial.secondary is None else arm(trial.secondary),
        candidate=None if trial.candidate is None else arm(trial.candidate),
        effects_seen=seen,
    )


def last_ended_ns(trial: AnyTrial) -> int:
    """When the last of a trial's answers was over."""
    if isinstance(trial, PlainTrial):
        ended_ns = trial.stable.ended_ns
        for arm in (trial.secondary, trial.candidate):
            if arm is not None and arm.ended_ns > ended_ns:
                ended_ns = arm.ended_ns
        return ended_ns
    return max(arm.exchange.ended_ns for arm in trial.arms())


def _began_ns(trial: AnyTrial) -> int:
    """When stable was asked, which is before the others were."""
    return trial.stable.started_ns if isinstance(trial, PlainTrial) else trial.stable.exchange.started_ns


def _when(effect: Effect) -> int:
    return effect.at_ns
