"""What becomes of each outbound call: recorded as an effect, broken on purpose, sent outside, or answered from a tape."""

import asyncio
import random
from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from harness.core import limits, limits_collectors
from harness.core.clock import Clock
from harness.core.labels import Role
from harness.core.values import Effect, Headers
from harness.effects.api import Lapse, Observed
from harness.effects.egress import flows
from harness.effects.egress.calls import Answer, Call, TapedCall
from harness.effects.egress.documents import Describer
from harness.effects.egress.faults import EgressFault, fault_for
from harness.effects.egress.library import Library
from harness.effects.egress.matching import endpoint_key
from harness.effects.egress.options import HostOptions, Mode, Options, Unmatched, address_of
from harness.effects.egress.proxy import Connection
from harness.effects.egress.trial_tapes import Tie, TrialTape, TrialTapes
from harness.effects.room import Room

_STATE: Final = "shadowdiff"
_WEBSOCKET: Final = "websocket"
FROM_STABLE: Final = "answered from stable's call"
FROM_TAPE: Final = "answered from the tape"
WAITING: Final = "waiting for stable's call"
CHANGED: Final = ", though its content differs"


_SPARED: Final = HostOptions(ignore=True)


class Entry:
    """An effect, with what is still to be said of it."""

    __slots__ = ("decided", "effect", "note", "role", "trace")

    def __init__(self, role: Role, effect: Effect, trace: str) -> None:
        self.role = role
        self.effect = effect
        self.trace = trace
        self.note = ""
        self.decided = False

    def observed(self) -> Observed:
        """As it is handed on."""
        effect = msgspec.structs.replace(self.effect, note=self.note) if self.note else self.effect
        return Observed(role=self.role, effect=effect, trace=self.trace)


class _UnderWay:
    """A call between its head and its end."""

    __slots__ = ("asked", "collected", "entered", "headers", "host", "number", "seen", "taped", "tie", "websocket")

    def __init__(self, headers: Headers, tie: Tie) -> None:
        self.headers = headers
        self.tie = tie
        self.entered: TrialTape | None = None
        self.host: HostOptions | None = None
        self.seen: flows.Seen | None = None
        self.asked = False
        self.taped = False
        """Its answer is for the tape."""
        self.number = 0
        self.collected: flows.Collected | None = None
        self.websocket = False


class CallDesk:
    """Decides about calls, and keeps their effects until they are drained."""

    def __init__(
        self,
        options: Options,
        trials: TrialTapes,
        *,
        clock: Clock,
        seed: int,
        library: Library | None = None,
        write: Callable[[TapedCall], None],
    ) -> None:
        """`library` answers in mode `tape`; `write` takes stable's calls in mode `record`."""
        self.mode = options.mode
        self.entries: list[Entry] = []
        self._room = Room()
        self.describer = Describer(options.headers)
        self._options = options
        self._trials = trials
        self._clock = clock
        self._seed = seed
        self._library = library
        self._write = write
        self._lapses: dict[tuple[str, Role | None, bool], int] = {}
        self._drawn: dict[tuple[str, Role, str], int] = {}
        self._hosts: dict[tuple[str, int], HostOptions] = {}
        self._spared: frozenset[tuple[str, int]] = frozenset()

    def spare(self, addresses: Collection[tuple[str, int]]) -> None:
        """Pass on what goes to these hosts and ports, and say nothing of it."""
        self._spared = frozenset(addresses)
        self._hosts.clear()

    # What the proxy asks

    def ignores(self, host: str, port: int) -> bool:
        """See proxy.Desk."""
        return self._host(host.lower(), port).ignore

    def may_tunnel(self, role: Role, host: str, port: int) -> bool:
        """See proxy.Desk."""
        return self._goes_outside(role) or self._rule(self._host(host.lower(), port)) is Unmatched.PASS

    def upstream(self, host: str, port: int) -> tuple[str, int]:
        """See proxy.Desk."""
        where = self._host(host.lower(), port).upstream
        return (address_of(where) if where else None) or (host, port)

    def lapse(self, what: str, role: Role | None = None, *, blind: bool = True) -> None:
        """See proxy.Desk."""
        key = (what, role, blind)
        if key not in self._lapses and len(self._lapses) >= limits_collectors.EGRESS_LAPSES_MAX:
            key = ("further troubles of outbound calls", None, True)
        self._lapses[key] = self._lapses.get(key, 0) + 1

    def arrived(self, connection: Connection, flow: Any) -> None:
        """See proxy.Desk."""
        headers = flow.request.headers
        for name in ("proxy-connection", "proxy-authorization"):  # they are meant for the proxy
            headers.pop(name, None)
        if headers.get("upgrade", "").lower() == "h2c":  # what follows could not be read
            for name in ("upgrade", "http2-settings", "connection"):
                headers.pop(name, None)
        state = flow.metadata[_STATE] = _UnderWay(fields := flows.pairs(headers), self._trials.tie(fields, connection.role))
        self._enter(state, connection.role, state.tie.trial)

    async def asked(self, connection: Connection, flow: Any) -> None:
        """See proxy.Desk."""
        state: _UnderWay = flow.metadata[_STATE]
        role, at_ns = connection.role, self._clock.monotonic_ns()
        seen = state.seen = flows.seen(flow.request, state.headers)
        state.asked = True
        host = state.host = self._host(seen.host, seen.port)
        if host.ignore:
            return
        effect = self.describer.effect(seen.call, place=seen.place, target=seen.target, digest=seen.digest, at_ns=at_ns)
        entry = Entry(role, effect, state.tie.trace)
        self._keep(entry)
        state.websocket = _WEBSOCKET in flow.request.headers.get("upgrade", "").lower()
        if state.websocket:
            self.lapse("the messages of a WebSocket are not watched", role)
        try:
            if self._options.faults and await self._break(connection, flow, state, entry):
                return
            await self._decide(role, flow, state, entry)
        except asyncio.CancelledError:
            entry.note = "the build hung up before it was answered"
            raise
        finally:
            entry.decided = True

    def answering(self, connection: Connection, flow: Any) -> None:
        """See proxy.Desk. What comes from outside is passed on as it comes."""
        del connection
        state = flow.metadata.get(_STATE)
        if state is None or flow.server_conn.timestamp_start is None or flow.response.timestamp_end is not None:
            return
        if state.taped:
            state.collected = flows.Collected()
        flow.response.stream = state.collected or True

    def over(self, connection: Connection, flow: Any) -> None:
        """See proxy.Desk."""
        state: _UnderWay | None = flow.metadata.pop(_STATE, None)
        if state is None:
            if flow.error is not None:
                self.lapse("a build's request was not valid HTTP", connection.role)
            return
        error = flow.error.msg if flow.error is not None else ""
        if not state.asked:
            if "body_size_limit" in error:
                error = f"its body is larger than {limits.REQUEST_BODY_BYTES_MAX} bytes: it was refused with 413"
            else:
                error = "the build hung up in the middle of it"
            self.lapse(f"a call was not seen whole: {error}", connection.role)
        elif state.seen is not None:
            if why := connection.why_unreached(error):
                self.lapse(f"{state.seen.place} {why}: its calls were answered with 502", connection.role, blind=False)
            if state.taped:
                self._tape(state, state.seen.call, flow, error)
        if state.entered is not None:
            state.entered.left(connection.role)

    # What the collector asks

    def drain(self, waiting_since_ns: int = 0) -> list[Observed]:
        """Effects of which all is known, in the order of their calls; and those that have waited since an earlier time."""
        for entry in self.entries:
            if not entry.decided and entry.effect.at_ns < waiting_since_ns:
                entry.decided, entry.note = True, WAITING
        found = [entry for entry in self.entries if entry.decided]
        self.entries = [entry for entry in self.entries if not entry.decided]
        for entry in found:
            self._room.leave(entry.effect)
        return [entry.observed() for entry in found]

    def release(self, trace: str) -> None:
        """A trial's effects are wanted now: those that wait are handed on as waiting."""
        for entry in self.entries:
            if entry.trace == trace and not entry.decided:
                entry.decided, entry.note = True, WAITING

    def forget(self) -> None:
        """Leave out what was seen so far."""
        self.entries = []
        self._room.clear()

    def ended(self, trace: str) -> None:
        """A trial is over."""
        for key in [key for key in self._drawn if key[0] == trace]:
            del self._drawn[key]

    def lapses(self) -> tuple[Lapse, ...]:
        """See Collector."""
        found = [Lapse(what, count, role, blind) for (what, role, blind), count in self._lapses.items()]
        others = (
            *self._trials.troubles(),
            (self.describer.operations.overflowed, "outbound calls had more endpoints than are told apart"),
        )
        return (*found, *(Lapse(what, count, None, blind=False) for count, what in others if count))

    # How a call is decided

    def _host(self, host: str, port: int) -> HostOptions:
        key = (host, port)
        if (found := self._hosts.get(key)) is None:
            if len(self._hosts) >= limits.ENDPOINT_CACHE_MAX:
                self._hosts.clear()
            found = self._hosts[key] = _SPARED if key in self._spared else self._options.host(host, port)
        return found

    def _rule(self, host: HostOptions) -> Unmatched:
        return host.unmatched or self._options.unmatched

    def _goes_outside(self, role: Role) -> bool:
        return self.mode in {Mode.OBSERVE, Mode.RECORD} or (self.mode is Mode.VIRTUALISE and role is Role.STABLE)

    def _enter(self, state: _UnderWay, role: Role, trial: TrialTape | None) -> None:
        if trial is not None:
            trial.entered(role)
            state.entered = trial

    def _keep(self, entry: Entry) -> None:
        if not self._room.takes(entry.effect):
            self.lapse("more outbound calls than are kept until they are asked for", entry.role)
            return
        self.entries.append(entry)

    async def _break(self, connection: Connection, flow: Any, state: _UnderWay, entry: Entry) -> bool:
        """Apply the fault that this call draws; whether that was the end of it."""
        fault = self._fault(connection.role, state)
        if fault is None:
            return False
        if fault.delay_ms:
            await asyncio.sleep(fault.delay_ms / 1000)
        if fault.reset:
            entry.note = "fault: reset"
            connection.reset()
            flow.kill()
            return True
        if fault.error:
            entry.note = f"fault: {fault.error}"
            flow.response = flows.refused(fault.error, "a fault as configured")
            return True
        return False

    def _fault(self, role: Role, state: _UnderWay) -> EgressFault | None:
        """Drawn by what the call is, not by who makes it: the same call of each target draws the same."""
        assert state.seen is not None
        key = (state.tie.trace, role, endpoint_key(state.seen.call))
        if len(self._drawn) >= limits.ENDPOINT_CACHE_MAX:
            self._drawn.clear()
        number = self._drawn[key] = self._drawn.get(key, 0) + 1
        rng = random.Random(f"{self._seed}/{key[0]}/{key[2]}/{number}")
        return fault_for(self._options.faults, state.seen.host, rng)

    async def _decide(self, role: Role, flow: Any, state: _UnderWay, entry: Entry) -> None:
        """Set the answer, or let the call go outside."""
        if self._goes_outside(role):
            if role is Role.STABLE and self.mode is not Mode.OBSERVE:
                trial = state.tie.trial
                state.number = trial.next_number() if trial else self._trials.next_untied_number()
                state.taped = True
            return
        assert state.seen is not None
        call = state.seen.call
        taped = None
        if state.websocket:
            self.lapse("a WebSocket cannot be answered from a tape", role)
        elif self._library is not None:
            taped, entry.note = self._from_library(self._library, call, role, state)
        else:
            taped, entry.note = await self._from_stable(call, role, state, entry)
        if taped is not None and taped.answer.status != 101:
            flow.response = flows.response_of(taped.answer, call.method, http2=flow.request.is_http2)
            return
        self._unmatched(flow, state, entry)

    def _from_library(self, library: Library, call: Call, role: Role, state: _UnderWay) -> tuple[TapedCall | None, str]:
        match = library.match(call, role, state.tie.trial.tape if state.tie.trial else None)
        return (None, "") if match is None else (match.taped, FROM_TAPE + ("" if match.exact else CHANGED))

    async def _from_stable(self, call: Call, role: Role, state: _UnderWay, entry: Entry) -> tuple[TapedCall | None, str]:
        found = await self._trials.match(call, role, state.tie)
        if found is None:
            return None, ""
        if found.trial is not None and state.tie.trial is None:
            entry.trace = found.trial.trial.trace
            self._enter(state, role, found.trial)
        return found.match.taped, FROM_STABLE + ("" if found.match.exact else CHANGED)

    def _unmatched(self, flow: Any, state: _UnderWay, entry: Entry) -> None:
        assert state.host is not None
        assert state.seen is not None
        rule, host = self._rule(state.host), state.host
        if rule is Unmatched.PASS:
            entry.note = "no match: passed on"
        elif rule is Unmatched.STUB:
            entry.note = "no match: stub"
            flow.response = flows.made(host.stub_status, host.stub_headers, host.stub_body.encode())
        else:
            entry.note = "no match: failed"
            flow.response = flows.refused(flows.UNMATCHED_STATUS, "no answer to this call on the tape", state.seen.call)

    def _tape(self, state: _UnderWay, call: Call, flow: Any, error: str) -> None:
        body = state.collected.body if state.collected is not None else (b"" if flow.response is None else flow.response.raw_content or b"")
        if error or flow.response is None:
            answer = Answer(error=error or "the connection ended without an answer")
        elif body is None:
            answer = Answer(error=f"the answer is longer than the {limits.CAPTURE_BODY_BYTES_MAX} bytes that are kept of one")
            self.lapse("an answer from outside was too long for the tape: others get 502 instead", Role.STABLE, blind=False)
        else:
            answer = flows.answer_of(flow.response, body)
        if self.mode is Mode.VIRTUALISE:
            self._trials.add(call, answer, state.tie.trial, state.number)
        else:
            trial = state.tie.trial.trial if state.tie.trial else None
            if isinstance(answer, flows.TrailedAnswer):
                self.lapse("an answer's trailers are not kept in the tape file", Role.STABLE, blind=False)
            request, name = (trial.request, trial.trace) if trial else ("", "")
            self._write(TapedCall(request=request, number=state.number, call=call, answer=answer, trial=name))
