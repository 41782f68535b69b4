"""Exchanges and trials whose messages were plain, as bytes: what one process reads by its ends only, another reads by its fields.

A message is plain if it came whole, in the usual form (`name: value` lines, a body with Content-Length or none). Whoever read
it so has checked that (harness/proxy/plain.py); what is here reads such bytes again and checks nothing. Most of live traffic is of
this kind, and in most of it candidate and stable say the same, byte for byte: such a trial is never read by its fields at all.
"""

from typing import Final

import msgspec

from harness.core.labels import Control, Design, EffectsSeen, Role
from harness.core.values import Arm, Body, Exchange, Headers, Request, Response, Trial, body_of

_STATUS: Final = slice(9, 12)
_REASON_AT: Final = 13
"""Where they are in the first line of an answer: `HTTP/1.1 200 OK`."""
# Looking a member up by its enumeration is slow enough to show in what is done for every trial.
_STABLE, _SECONDARY, _CANDIDATE = Role.STABLE, Role.SECONDARY, Role.CANDIDATE


def without(data: bytes, spans: tuple[tuple[int, int], ...]) -> bytes:
    """The bytes without these spans, which are in their order."""
    if not spans:
        return data
    parts, at = [], 0
    for start, end in spans:
        parts.append(data[at:start])
        at = end
    parts.append(data[at:])
    return b"".join(parts)


class PlainAnswer(msgspec.Struct, frozen=True, gc=False):
    """A plain answer."""

    data: bytes
    """The whole answer, as it came."""
    head_bytes: int
    """How much of it is its head."""
    keep_alive: bool
    """Whether the target takes another request on the connection."""
    hops: tuple[tuple[int, int], ...]
    """Where in `data` the lines are that concern the target's connection only, in their order."""

    @property
    def body_bytes(self) -> int:
        """Length of the body."""
        return len(self.data) - self.head_bytes

    def raw(self) -> bytes:
        """The whole answer without what concerns the target's connection only."""
        return without(self.data, self.hops)


class PlainExchange(msgspec.Struct, frozen=True, gc=False):
    """As Exchange, with a plain request and a plain answer."""

    sent: bytes
    """The request's head as it was sent."""
    answer: PlainAnswer
    started_ns: int
    first_byte_ns: int
    ended_ns: int
    trace: str = ""
    """The trace that the request was given on its way."""
    traced_at: int = 0
    """Where the first line of its sender's tracing begins in the request's head, before that was written for a target; 0 where it
    has none, or nobody has looked."""

    @property
    def error(self) -> None:
        """It came to its end."""


class PlainArm(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """As Arm. What it answered may be said by reference to what stable did."""

    sent: bytes
    """The request's head as it was sent; left out where stable's body is."""
    answer: bytes
    """The whole answer; only its head where the body is stable's, byte for byte; nothing where all of it is."""
    head_bytes: int
    same_body: bool
    """The body is stable's, and left out; of stable itself: left out, as all arms answered alike and nobody asks for it."""
    intended_ns: int
    started_ns: int
    first_byte_ns: int
    ended_ns: int


class PlainTrial(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """As Trial, of live traffic, where every arm's exchange is plain."""

    id: str
    seq: int
    endpoint: str
    head: bytes
    """The client's head, as it came."""
    host: str
    body: bytes
    stable: PlainArm
    secondary: PlainArm | None
    candidate: PlainArm | None
    control: Control
    design: Design
    order: tuple[Role, ...]
    session: str
    entity: str
    in_flight: int
    warm_up: bool
    trace: str = ""
    stable_trace: str = ""

    @property
    def alike(self) -> bool:
        """Whether every arm answered as stable did, byte for byte."""
        secondary, candidate = self.secondary, self.candidate
        return (secondary is None or not secondary.answer) and (candidate is None or not candidate.answer)


AnyExchange = Exchange | PlainExchange
AnyTrial = Trial | PlainTrial


def status_of(exchange: AnyExchange) -> int | None:
    """The status that was answered; None where there was no answer."""
    if isinstance(exchange, PlainExchange):
        return _status(exchange.answer.data)
    return None if exchange.response is None else exchange.response.status


def stables_arm(exchange: PlainExchange, *, whole: bool = True) -> PlainArm:
    """Stable's part in a trial; unless `whole`, for who asks nothing more of it, its answer is the head."""
    answer = exchange.answer
    return PlainArm(
        exchange.sent if whole else b"",
        answer.data if whole else answer.data[: answer.head_bytes],
        answer.head_bytes,
        not whole,
        exchange.started_ns,
        exchange.started_ns,
        exchange.first_byte_ns,
        exchange.ended_ns,
    )


def is_alike(stable: PlainExchange, exchange: PlainExchange) -> bool:
    """Whether another arm answered as stable did, byte for byte."""
    return exchange.answer is stable.answer or exchange.answer.data == stable.answer.data


def arm_beside(stable: PlainExchange, exchange: PlainExchange, intended_ns: int, *, whole: bool = True) -> PlainArm:
    """Another arm's part; unless `whole`, without what was sent to it."""
    answer, known = exchange.answer, stable.answer
    data, same_body = answer.data, True
    if answer is known or data == known.data:
        data = b""
    elif data[answer.head_bytes :] == known.data[known.head_bytes :]:
        data = data[: answer.head_bytes]
    else:
        same_body = False
    return PlainArm(
        exchange.sent if whole else b"",
        data,
        answer.head_bytes,
        same_body,
        intended_ns,
        exchange.started_ns,
        exchange.first_byte_ns,
        exchange.ended_ns,
    )


def opened_exchange(exchange: AnyExchange, request: Request) -> Exchange:
    """The exchange by its fields; `request` is the client's."""
    if isinstance(exchange, Exchange):
        return exchange
    return Exchange(
        request=read_request(exchange.sent, request.body, request.host),
        response=read_answer(exchange.answer.data, exchange.answer.head_bytes),
        started_ns=exchange.started_ns,
        first_byte_ns=exchange.first_byte_ns,
        ended_ns=exchange.ended_ns,
    )


def opened(trial: AnyTrial) -> Trial:
    """The trial by its fields. Raises ValueError for bytes that are no messages, and where stable's body was left out."""
    if isinstance(trial, Trial):
        return trial
    if trial.stable.same_body:
        raise ValueError("the body of stable's answer was left out")
    request = read_request(trial.head, body_of(trial.body), trial.host)
    stable = read_answer(trial.stable.answer, trial.stable.head_bytes)

    def arm(role: Role, plain: PlainArm | None) -> Arm | None:
        if plain is None:
            return None
        answer = read_answer(plain.answer, plain.head_bytes, stable.body if plain.same_body else None) if plain.answer else stable
        return _arm(role, plain, read_request(plain.sent, request.body, request.host), answer)

    return _trial(
        trial,
        request,
        _arm(Role.STABLE, trial.stable, read_request(trial.stable.sent, request.body, request.host), stable),
        arm(Role.SECONDARY, trial.secondary),
        arm(Role.CANDIDATE, trial.candidate),
    )


def outlined(trial: PlainTrial, effects_seen: EffectsSeen = EffectsSeen.NONE) -> Trial:
    """The trial without header fields and bodies of answers: for who looks at neither, where all arms are alike. Raises as `opened`.

    `effects_seen` says of a trial without effects whether they were watched.
    """
    method, target, _ = trial.head[: trial.head.index(b"\r")].decode("latin-1").split(" ")
    request = Request(method, target, (), body_of(trial.body), trial.host)
    answer = Response(_status(trial.stable.answer))
    secondary, candidate = trial.secondary, trial.candidate
    return _trial(
        trial,
        request,
        _arm(_STABLE, trial.stable, request, answer),
        None if secondary is None else _arm(_SECONDARY, secondary, request, answer),
        None if candidate is None else _arm(_CANDIDATE, candidate, request, answer),
        effects_seen=effects_seen,
    )


def _trial(
    plain: PlainTrial,
    request: Request,
    stable: Arm,
    secondary: Arm | None,
    candidate: Arm | None,
    *,
    effects_seen: EffectsSeen = EffectsSeen.NONE,
) -> Trial:
    return Trial(
        id=plain.id,
        seq=plain.seq,
        endpoint=plain.endpoint,
        request=request,
        stable=stable,
        secondary=secondary,
        candidate=candidate,
        control=plain.control,
        design=plain.design,
        order=plain.order,
        session=plain.session,
        entity=plain.entity,
        in_flight=plain.in_flight,
        warm_up=plain.warm_up,
        trace=plain.trace,
        stable_trace=plain.stable_trace,
        effects_seen=effects_seen,
    )


def _arm(role: Role, plain: PlainArm, sent: Request, answer: Response) -> Arm:
    exchange = Exchange(
        request=sent,
        response=answer,
        started_ns=plain.started_ns,
        first_byte_ns=plain.first_byte_ns,
        ended_ns=plain.ended_ns,
    )
    return Arm(role=role, exchange=exchange, intended_ns=plain.intended_ns)


def read_request(head: bytes, body: Body, host: str) -> Request:
    """A plain request by its fields."""
    line, headers = _read(head)
    method, target, _ = line.split(" ")
    return Request(method, target, headers, body, host)


def read_answer(answer: bytes, head_bytes: int, body: Body | None = None) -> Response:
    """A plain answer by its fields, with this body where one is given."""
    line, headers = _read(answer[:head_bytes])
    return Response(_status(answer), headers, body_of(answer[head_bytes:]) if body is None else body, line[_REASON_AT:])


def _read(head: bytes) -> tuple[str, Headers]:
    """First line and fields."""
    line, *fields = head.decode("latin-1").split("\r\n")[:-2]
    return line, tuple([(name, value) for name, _, value in [field.partition(": ") for field in fields]])


def _status(answer: bytes) -> int:
    return int(answer[_STATUS])
