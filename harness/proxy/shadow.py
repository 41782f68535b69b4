"""A trial whose shadows are under way: one request sent to each shadow target, until all of them have answered.

Whether it may be sent at all was decided before (dispatch); what becomes of the trial is not known here.
"""

from collections.abc import Callable

import msgspec

from harness.core.labels import Control, Design, Role
from harness.core.limits import SHADOW_ANSWER_BYTES_MAX
from harness.core.plain import (
    AnyExchange,
    AnyTrial,
    PlainArm,
    PlainExchange,
    PlainTrial,
    arm_beside,
    is_alike,
    opened_exchange,
    stables_arm,
)
from harness.core.trace import trace_of, with_trace
from harness.core.values import Arm, Headers, Request, Trial
from harness.proxy.breaker import Breaker
from harness.proxy.call import Call
from harness.proxy.plain import PlainRequest
from harness.proxy.tracing import Tracing, carries_tracing, senders, trace_fields, trace_lines
from harness.proxy.upstream import UpstreamPool
from harness.proxy.wire import GUARD_HEADER

# Looking a member up by its enumeration is slow enough to show in what is done for every trial.
_SECONDARY, _CANDIDATE = Role.SECONDARY, Role.CANDIDATE
_GUARD: Headers = ((GUARD_HEADER, "1"),)


class Lane(msgspec.Struct, frozen=True):
    """The way to one shadow target."""

    role: Role
    pool: UpstreamPool
    breaker: Breaker | None


class ShadowTrial:
    """A trial whose shadows are under way."""

    __slots__ = (
        "_answer_bytes_max",
        "_beside",
        "_calls",
        "_done",
        "_endpoint",
        "_entity",
        "_id",
        "_in_flight",
        "_like",
        "_order",
        "_plain",
        "_request",
        "_session",
        "_stable",
        "_stable_trace",
        "_trace",
        "_tracing",
        "_warm_up",
        "answers",
        "held_bytes",
    )

    def __init__(
        self,
        request: Request,
        plain: PlainRequest | None,
        stable: AnyExchange,
        *,
        trial_id: str,
        endpoint: str,
        entity: str,
        session: str,
        order: tuple[Role, ...],
        in_flight: int,
        warm_up: bool,
        held_bytes: int,
        done: Callable[["ShadowTrial"], None],
        tracing: Tracing | None = None,
    ) -> None:
        self._request = request
        self._plain = plain
        self._stable = stable
        self._like = stable.answer if isinstance(stable, PlainExchange) else None
        self._id = trial_id
        self._endpoint = endpoint
        self._entity = entity
        self._session = session
        self._order = order
        self._in_flight = in_flight
        self._warm_up = warm_up
        self._done = done
        self._trace = self._stable_trace = ""
        self._beside = ""
        """What the baggage of a plain request holds beside its trace."""
        self._tracing: Tracing | None = None
        """Set where a request that is not plain has tracing of its own, which the shadows must not get."""
        if tracing is not None:
            self._trace = given = tracing.given(stable)
            if not given:
                self._trace = tracing.new()
                if plain is None:
                    self._stable_trace = trace_of(request.headers)
                else:
                    found = senders(plain, stable.traced_at if isinstance(stable, PlainExchange) else 0, keep=tracing.keep)
                    self._plain, self._stable_trace, self._beside = found.plain, found.trace, found.beside
            if plain is None and carries_tracing(request.headers):
                self._tracing = tracing
        self._calls: list[tuple[Call, Lane, int]] = []
        self._answer_bytes_max = SHADOW_ANSWER_BYTES_MAX + 2 * answered_bytes(stable)
        self.held_bytes = held_bytes
        self.answers: dict[Role, tuple[AnyExchange, int]] = {}
        """The exchanges that are over, and when each was meant to begin."""

    def send(self, lane: Lane, intended_ns: int) -> None:
        """Send the request to one arm. Both arms get the same bytes, but for a Host that is rewritten."""
        role, breaker = lane.role, lane.breaker
        ticket = 0 if breaker is None else breaker.begin()

        def answered(exchange: AnyExchange) -> None:
            if breaker is not None:
                breaker.end(ticket, exchange)
            self.answers[role] = (exchange, intended_ns)
            if len(self.answers) == len(self._order) - 1:
                self._done(self)

        request, plain, extra, lines = self._request, self._plain, _GUARD, b""
        if self._trace:
            if plain is not None:
                lines = trace_lines(self._trace, role, self._beside)
            elif self._tracing is not None:
                headers = with_trace(request.headers, self._trace, role, keep=self._tracing.keep)
                request = msgspec.structs.replace(request, headers=headers)
            else:
                extra = (*_GUARD, *trace_fields(self._trace, role))
        try:
            call = lane.pool.submit(
                request,
                answered,
                extra=extra,
                plain=plain,
                plain_extra=lines,
                like=self._like,
                answer_bytes_max=self._answer_bytes_max,
            )
        except Exception:  # whatever it is, the breaker's turn is given back; then it is raised
            if breaker is not None:
                breaker.give_up(ticket)
            raise
        self._calls.append((call, lane, ticket))

    def abort(self) -> None:
        """Give the exchanges up; nothing more is heard of them."""
        for call, lane, ticket in self._calls:
            call.abort()
            if lane.breaker is not None and lane.role not in self.answers:
                lane.breaker.give_up(ticket)

    def trial(self, seq: int, control: Control, design: Design, *, whole: bool = True) -> AnyTrial:
        """All of it, once every arm has answered; unless `whole`, only its outline where all are plain and alike."""
        return self._plain_trial(seq, control, design, whole=whole) or Trial(
            id=self._id,
            seq=seq,
            endpoint=self._endpoint,
            request=self._request,
            stable=self._arm(Role.STABLE, self._stable, self._stable.started_ns),
            secondary=self._answered(Role.SECONDARY),
            candidate=self._answered(Role.CANDIDATE),
            control=control,
            design=design,
            order=self._order,
            session=self._session,
            entity=self._entity,
            in_flight=self._in_flight,
            warm_up=self._warm_up,
            trace=self._trace,
            stable_trace=self._stable_trace,
        )

    def _answered(self, role: Role) -> Arm | None:
        answer = self.answers.get(role)
        return None if answer is None else self._arm(role, *answer)

    def _arm(self, role: Role, exchange: AnyExchange, intended_ns: int) -> Arm:
        return Arm(role=role, exchange=opened_exchange(exchange, self._request), intended_ns=intended_ns)

    def _plain_trial(self, seq: int, control: Control, design: Design, *, whole: bool) -> PlainTrial | None:
        """The same where every arm's exchange was plain."""
        plain, stable = self._plain, self._stable
        if plain is None or not isinstance(stable, PlainExchange):
            return None
        for exchange, _ in self.answers.values():
            if not isinstance(exchange, PlainExchange):
                return None
            whole = whole or not is_alike(stable, exchange)
        arms: dict[Role, PlainArm] = {}
        for role, (exchange, intended_ns) in self.answers.items():
            assert isinstance(exchange, PlainExchange)
            arms[role] = arm_beside(stable, exchange, intended_ns, whole=whole)
        return PlainTrial(
            self._id,
            seq,
            self._endpoint,
            plain.came,
            self._request.host,
            plain.body,
            stables_arm(stable, whole=whole),
            arms.get(_SECONDARY),
            arms.get(_CANDIDATE),
            control,
            design,
            self._order,
            self._session,
            self._entity,
            self._in_flight,
            self._warm_up,
            self._trace,
            self._stable_trace,
        )


def answered_bytes(exchange: AnyExchange) -> int:
    """Length of the answer's body."""
    if isinstance(exchange, PlainExchange):
        return exchange.answer.body_bytes
    return 0 if exchange.response is None else exchange.response.body.size
