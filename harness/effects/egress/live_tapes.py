"""Tapes of live traffic: one for each trace that stable's calls name, and stable's latest calls by their content.

Nobody says when a trial of live traffic begins and ends. Stable has answered before the others are asked, so what a call of
theirs is to be answered from is there, or comes soon, or never. One event loop only.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, NamedTuple

from harness.core import limits_collectors
from harness.core.labels import Role
from harness.core.trace import trace_of
from harness.core.values import Headers
from harness.effects.api import OpenTrial
from harness.effects.egress.calls import Answer, Call, TapedCall
from harness.effects.egress.matching import Match, Tape
from harness.effects.egress.trial_tapes import Found, Tie, TrialTape, TrialTapes

PAUSES_SECONDS: Final = (0.0, 0.05, 0.2)
"""Before each look for a call that no trace leads to."""
CALL_BYTES: Final = 1024
"""What a call with its answer takes beside their bodies."""


def weight_of(taped: TapedCall) -> int:
    """Memory that a taped call takes, in bytes, about."""
    return CALL_BYTES + len(taped.call.body) + len(taped.answer.body)


class LiveTape(TrialTape):
    """The calls that name one trace."""

    def __init__(self, trace: str, began_s: float) -> None:
        super().__init__(OpenTrial(trace=trace, roles=(), request=""), Tape())
        self.began_s = began_s
        self.weight = 0
        self.wanted = False
        """Another target named this trace, so it is one that the harness gave to all of them."""


class _Recorded(NamedTuple):
    taped: TapedCall
    tape: LiveTape | None
    at_s: float


class _Shelf:
    """Calls by their content, from some time on."""

    def __init__(self, since_s: float) -> None:
        self.tape = Tape()
        self.since_s = since_s
        self.weight = 0


class Recent:
    """Stable's latest calls, to be found by their content. They are sorted in only when somebody looks."""

    def __init__(self) -> None:
        self._unsorted: deque[_Recorded] = deque(maxlen=limits_collectors.EGRESS_LIVE_RECENT_CALLS_MAX)
        self._weight = 0
        self._young = self._old = _Shelf(0.0)

    def add(self, taped: TapedCall, tape: LiveTape | None, now_s: float) -> None:
        """Stable's call was answered."""
        if len(self._unsorted) == limits_collectors.EGRESS_LIVE_RECENT_CALLS_MAX:
            self._drop_first()
        self._unsorted.append(_Recorded(taped, tape, now_s))
        self._weight += weight_of(taped)
        while self._unsorted and (
            self._weight > limits_collectors.EGRESS_LIVE_TAPES_BYTES_MAX
            or self._unsorted[0].at_s < now_s - limits_collectors.EGRESS_LIVE_RECENT_SECONDS
        ):
            self._drop_first()

    def take(self, call: Call, role: Role, now_s: float) -> Match | None:
        """The same call, the oldest first; each target may use each once. None where there is none."""
        while self._unsorted:
            recorded = self._drop_first()
            if recorded.at_s >= now_s - limits_collectors.EGRESS_LIVE_RECENT_SECONDS and (
                recorded.tape is None or not recorded.tape.wanted
            ):
                self._sort_in(recorded.taped, now_s)
        if self._young.since_s < now_s - limits_collectors.EGRESS_LIVE_RECENT_SECONDS:
            self._renew(now_s)
        for shelf in (self._old, self._young):
            if shelf.tape.has_exact(call, role):
                return shelf.tape.take(call, role)
        return None

    def _drop_first(self) -> _Recorded:
        recorded = self._unsorted.popleft()
        self._weight -= weight_of(recorded.taped)
        return recorded

    def _sort_in(self, taped: TapedCall, now_s: float) -> None:
        shelf = self._young
        full = (
            len(shelf.tape) >= limits_collectors.EGRESS_LIVE_RECENT_CALLS_MAX
            or shelf.weight > limits_collectors.EGRESS_LIVE_TAPES_BYTES_MAX // 2
        )
        if full or shelf.since_s < now_s - limits_collectors.EGRESS_LIVE_RECENT_SECONDS:
            self._renew(now_s)
        self._young.tape.add(taped)
        self._young.weight += weight_of(taped)

    def _renew(self, now_s: float) -> None:
        """What is on the older shelf goes, and on the younger one too where that is as old by now."""
        gap = self._young.since_s < now_s - 2 * limits_collectors.EGRESS_LIVE_RECENT_SECONDS
        self._old, self._young = _Shelf(now_s) if gap else self._young, _Shelf(now_s)


class LiveTapes(TrialTapes):
    """All tapes of live traffic, bounded by age, number and size: the oldest go first."""

    def __init__(self, *, kept: bool, now_s: Callable[[], float]) -> None:
        """`kept`: others are answered from stable's calls, so those are kept. `now_s` is the event loop's time."""
        super().__init__()
        self._kept = kept
        self._now_s = now_s
        self._tapes: OrderedDict[str, LiveTape] = OrderedDict()
        self._weight = 0
        self._recent = Recent()
        self._by_content = 0
        self._lost = 0
        self._dropped = 0

    def tie(self, headers: Headers, role: Role) -> Tie:
        """The trace that a call names, and its tape: begun by stable's first call with it."""
        trace = trace_of(headers)
        if not trace or not self._kept:
            return Tie(None, trace)
        tape = self._tapes.get(trace)
        if role is not Role.STABLE:
            if tape is not None:
                tape.wanted = True
        elif tape is None:
            tape = self._tapes[trace] = LiveTape(trace, self._now_s())
            self._make_room()
        return Tie(tape, trace)

    def add(self, call: Call, answer: Answer, trial: TrialTape | None, number: int) -> TapedCall:
        """Stable's call was answered."""
        taped = TapedCall(request="", number=number, call=call, answer=answer)
        tape = trial if isinstance(trial, LiveTape) and self._tapes.get(trial.trial.trace) is trial else None
        self._recent.add(taped, tape, self._now_s())
        if tape is None:
            return taped
        if number >= limits_collectors.EGRESS_TAPED_CALLS_MAX:
            self.left_out += 1
            return taped
        tape.add(taped)
        tape.weight += weight_of(taped)
        self._weight += weight_of(taped)
        self._make_room()
        return taped

    async def match(self, call: Call, role: Role, tie: Tie) -> Found | None:
        """Stable's call of the same trace, else the same call of stable's whatever its trace; None where there is none in time.

        Where the live request carried tracing of the client's own, stable's calls name that, and no trace leads to them.
        """
        for pause_s in PAUSES_SECONDS:
            if pause_s and not self._closed:
                await asyncio.sleep(pause_s)
            tape = self._tapes.get(tie.trace)
            if tape is not None:
                tape.wanted = True
                match = await self._on_tape(tape, call, role)
                return None if match is None else Found(match, tape)
            if (match := self._recent.take(call, role, self._now_s())) is not None:
                self._by_content += 1
                return Found(match, None)
        self._lost += 1
        return None

    def close(self) -> None:
        """Nobody waits any more."""
        super().close()
        for tape in self._tapes.values():
            tape.ended()

    def troubles(self) -> tuple[tuple[int, str], ...]:
        """See TrialTapes."""
        return (
            (self.waits_given_up, "a call waited in vain for the answer to one of stable's"),
            (self._by_content, "a call was answered from the same one of stable's that named another trace or none"),
            (self._lost, "a call named a trace that no call of stable's names, and none of stable's was the same"),
            (self._dropped, "stable's calls of a trace were too many to be kept for as long as others may ask"),
            (self.left_out, "stable made more calls in a trial than a tape holds"),
        )

    async def _on_tape(self, tape: LiveTape, call: Call, role: Role) -> Match | None:
        began_s = asyncio.get_running_loop().time()
        while not tape.tape.has_exact(call, role):
            until_s = began_s + limits_collectors.EGRESS_LIVE_UNDER_WAY_SECONDS_MAX
            if tape.stable_done:
                if (match := tape.tape.take(call, role)) is not None:
                    return match
                until_s = began_s + limits_collectors.EGRESS_LIVE_COMING_SECONDS_MAX
            if self._closed:
                return None
            if not await tape.changed.wait(until_s):
                self.waits_given_up += not tape.stable_done
                return tape.tape.take(call, role)
        return tape.tape.take(call, role)

    def _make_room(self) -> None:
        now_s = self._now_s()
        while self._tapes:
            tape = next(iter(self._tapes.values()))
            old = tape.began_s < now_s - limits_collectors.EGRESS_LIVE_TAPE_SECONDS_MAX
            if (
                not old
                and len(self._tapes) <= limits_collectors.EGRESS_LIVE_TAPES_MAX
                and self._weight <= limits_collectors.EGRESS_LIVE_TAPES_BYTES_MAX
            ):
                return
            self._dropped += not old
            self._weight -= tape.weight
            del self._tapes[tape.trial.trace]
            tape.ended()
