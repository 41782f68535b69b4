"""The trials that are open: which one a call belongs to, the tape of each, and waiting for what stable has yet to do.

Knows nothing of mitmproxy. One event loop only.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from harness.core import limits_collectors
from harness.core.labels import Role
from harness.core.trace import trace_of
from harness.core.values import Headers
from harness.effects.api import OpenTrial
from harness.effects.egress.calls import Answer, Call, TapedCall
from harness.effects.egress.matching import Match, Tape


class Signal:
    """Something changed: wakes all that wait."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        """Wake all that wait now."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, until_s: float) -> bool:
        """Until the next `fire`, or the event loop's time `until_s`; whether it was fired."""
        event = self._event
        try:
            async with asyncio.timeout_at(until_s):
                await event.wait()
        except TimeoutError:
            return event.is_set()
        return True


class TrialTape:
    """One open trial: its calls under way, and stable's on a tape."""

    def __init__(self, trial: OpenTrial, tape: Tape, anywhere: Signal | None = None) -> None:
        """`anywhere` is fired beside this trial's own signal."""
        self.trial = trial
        self.tape = tape
        self.changed = Signal()
        self._anywhere = anywhere
        self._stable_over = Role.STABLE not in trial.roles
        self._in_flight: dict[Role, int] = {}
        self._numbers = 0

    @property
    def quiet(self) -> bool:
        """No call is under way."""
        return not any(self._in_flight.values())

    @property
    def stable_done(self) -> bool:
        """Nothing more is to come onto the tape."""
        return self._stable_over and not self._in_flight.get(Role.STABLE)

    def next_number(self) -> int:
        """Position of the next call of stable."""
        self._numbers += 1
        return self._numbers - 1

    def entered(self, role: Role) -> None:
        """A call is under way."""
        self._in_flight[role] = self._in_flight.get(role, 0) + 1

    def left(self, role: Role) -> None:
        """It is over. That may come after the trial's end."""
        self._in_flight[role] = max(0, self._in_flight.get(role, 0) - 1)
        self._fire()

    def add(self, taped: TapedCall) -> None:
        """Stable's call was answered."""
        self.tape.add(taped)
        self._fire()

    def answered(self, role: Role) -> None:
        """A target's exchange is over."""
        if role is Role.STABLE:
            self._stable_over = True
            self._fire()

    def ended(self) -> None:
        """The trial is over: what still waits for it waits in vain."""
        self._stable_over = True
        self._in_flight.clear()
        self._fire()

    def _fire(self) -> None:
        self.changed.fire()
        if self._anywhere is not None:
            self._anywhere.fire()


class Tie(NamedTuple):
    """What a call belongs to."""

    trial: TrialTape | None
    trace: str
    """Of an open or an ended trial; empty where neither is known."""


class Found(NamedTuple):
    """A call's match on a tape."""

    match: Match
    trial: TrialTape | None
    """Whose tape it was, where that is certain."""
    timed_out: bool = False


class TrialTapes:
    """All open trials, and a tape of what stable does outside of them (at its start, in the background)."""

    def __init__(self, tape_for: Callable[[str], Tape] = lambda _request: Tape()) -> None:
        """`tape_for` gives the tape that a trial begins with, by its request."""
        self.open: dict[str, TrialTape] = {}
        self._tape_for = tape_for
        self._ended: dict[str, None] = {}
        self._changed = Signal()
        self._untied = Tape()
        self._untied_calls = 0
        self._untied_bytes = 0
        self._crowded = False
        """More than one trial was open since none was: a call that names none may be of one that has ended."""
        self._closed = False
        self.starting = True
        """The builds start, one perhaps long after the other: calls without a trial wait as long as others."""
        self.left_out = 0
        """Calls of stable that were too many for a tape."""
        self.waits_given_up = 0
        """Calls that waited in vain for stable to end its arm."""

    def begin(self, trial: OpenTrial) -> None:
        """A trial is about to be sent."""
        self._crowded = self._crowded or bool(self.open)
        self.open[trial.trace] = TrialTape(trial, self._tape_for(trial.request), self._changed)
        self._ended.pop(trial.trace, None)

    def end(self, trial: OpenTrial) -> None:
        """A trial was judged."""
        if (found := self.open.pop(trial.trace, None)) is None:
            return
        found.ended()
        self._crowded = self._crowded and bool(self.open)
        self._ended[trial.trace] = None
        if len(self._ended) > limits_collectors.EGRESS_ENDED_TRIALS_MAX:
            del self._ended[next(iter(self._ended))]

    def start(self) -> None:
        """The builds are about to start: what was done outside of trials before answers nobody any more."""
        self.starting = True
        self._forget_untied()

    def close(self) -> None:
        """Nobody waits any more."""
        self._closed = True
        for trial in self.open.values():
            trial.ended()
        self._changed.fire()

    def tie(self, headers: Headers, role: Role) -> Tie:
        """The trial a call names, else the only one where they go one at a time. A trace that is none of ours means nothing."""
        del role
        trace = trace_of(headers)
        if (found := self.open.get(trace)) is not None:
            return Tie(found, trace)
        if trace in self._ended:
            return Tie(None, trace)
        if len(self.open) == 1 and not self._crowded:
            ((trace, found),) = self.open.items()
            return Tie(found, trace)
        return Tie(None, "")

    def add(self, call: Call, answer: Answer, trial: TrialTape | None, number: int) -> TapedCall:
        """Stable's call was answered. What is given back is on the tape, unless that is full."""
        taped = TapedCall(request=trial.trial.request if trial else "", number=number, call=call, answer=answer)
        if number >= limits_collectors.EGRESS_TAPED_CALLS_MAX:
            self.left_out += 1
        elif trial is not None:
            trial.add(taped)
        else:
            self._untied.add(taped)
            self._untied_bytes += len(call.body) + len(answer.body)
            self._changed.fire()
        return taped

    def next_untied_number(self) -> int:
        """Position of the next call that belongs to no trial. A full tape of those is begun anew: nobody asks for the old ones."""
        if self._untied_calls >= limits_collectors.EGRESS_TAPED_CALLS_MAX or self._untied_bytes > limits_collectors.EGRESS_UNTIED_BYTES_MAX:
            self._forget_untied()
        self._untied_calls += 1
        return self._untied_calls - 1

    def _forget_untied(self) -> None:
        self._untied, self._untied_calls, self._untied_bytes = Tape(), 0, 0

    async def match(self, call: Call, role: Role, tie: Tie) -> Found | None:
        """Stable's call that this one is the like of: the same one as soon as stable's was answered, else, when stable will make
        no more, its next one to the same endpoint. None where there is none in time."""
        until_s = asyncio.get_running_loop().time()
        if tie.trial is None:
            hold_s = limits_collectors.EGRESS_HOLD_SECONDS_MAX if self.starting else limits_collectors.EGRESS_UNTIED_HOLD_SECONDS_MAX
            return await self._match_untied(call, role, tie, until_s + hold_s)
        trial = tie.trial
        until_s += limits_collectors.EGRESS_HOLD_SECONDS_MAX
        while not trial.stable_done and not trial.tape.has_exact(call, role):
            if not await trial.changed.wait(until_s):
                self.waits_given_up += 1
                return None
        match = trial.tape.take(call, role)
        return None if match is None else Found(match, trial)

    async def _match_untied(self, call: Call, role: Role, tie: Tie, until_s: float) -> Found | None:
        while True:
            having = [] if tie.trace else [each for each in self.open.values() if each.tape.has_exact(call, role)]
            if having:
                match = having[0].tape.take(call, role)
                return None if match is None else Found(match, having[0] if len(having) == 1 else None)
            if self._closed or self._untied.has_exact(call, role) or not await self._changed.wait(until_s):
                match = self._untied.take(call, role)
                return None if match is None else Found(match, None)

    def troubles(self) -> tuple[tuple[int, str], ...]:
        """What did not go as it should, and how often; it may be 0 times. Nothing was missed by it."""
        return (
            (self.waits_given_up, "a call waited in vain for stable to end its part of the trial"),
            (self.left_out, "stable made more calls in a trial than a tape holds"),
        )

    async def settle(self, trial: OpenTrial, until_s: float) -> bool:
        """Until no call of a trial is under way, or the event loop's time `until_s`."""
        if (found := self.open.get(trial.trace)) is None:
            return True
        while not found.quiet:
            if not await found.changed.wait(until_s):
                return found.quiet
        return True
