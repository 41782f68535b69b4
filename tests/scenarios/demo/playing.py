"""Plays planned sessions against the order service in process, and compares two instances with the real comparators."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import orjson

from comparators.api import BodyView, RuleUse
from comparators.effects import compare_effects
from comparators.json_body import COMPARATOR
from harness.core.endpoint import EndpointMapper
from harness.core.labels import Aspect, Kind
from harness.core.values import Effect, Request, body_of
from harness.effects.egress.calls import Call
from harness.effects.egress.documents import Describer
from scenarios.demo.api import Answer, OrderService
from scenarios.demo.outside import IDEMPOTENCY_KEY, OutboundCall
from scenarios.demo.traffic import Session, Step

Key = tuple[str, Aspect, str, Kind]


class Ticking:
    """A clock that never shows the same time twice."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._time = start

    def __call__(self) -> float:
        self._time += 0.000137
        return self._time


class Client:
    """One client of an instance."""

    def __init__(self, build: str = "stable", seed: object = 0, tenant: str = "meadow", region: str = "eu-west") -> None:
        self.service = OrderService(build, Random(str(seed)), Ticking())
        self.headers = [("X-Tenant", tenant), ("X-Region", region)]

    def log_in(self, customer: int = 1001) -> None:
        """Log in; later requests carry the token."""
        status, view = self.ask("POST", "/login", {"customer": customer, "passphrase": "x"})
        assert status == 200
        self.headers = [*self.headers, ("Authorization", f"Bearer {view['token']}")]

    def ask(self, method: str, target: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        response = self.answer(method, target, body).response
        return response.status, orjson.loads(response.body.data)

    def answer(self, method: str, target: str, body: object = None) -> Answer:
        """The whole answer; a body given as bytes is sent as it is."""
        data = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        return self.service.answer(Request(method, target, tuple(self.headers), body_of(data)))


def play(build: str, seed: object, sessions: Sequence[Session]) -> Iterator[tuple[Step, Request, Answer]]:
    """Send all sessions, one after another, to one instance."""
    chance = Random(str(seed))
    service = OrderService(build, chance, Ticking(1_700_000_000.0 + chance.random()))
    for session in sessions:
        known: dict[str, str] = {}
        for step in session.steps:
            headers = [("X-Tenant", session.tenant), ("X-Region", session.region)]
            if step.signed:
                headers.append(("Authorization", f"Bearer {known['token']}"))
            data = b"" if step.body is None else orjson.dumps(step.body)
            request = Request(step.method, step.path.format_map(known), tuple(headers), body_of(data))
            answer = service.answer(request)
            if answer.response.status < 300:
                known |= {name: str(orjson.loads(answer.response.body.data)[member]) for name, member in step.learns}
            yield step, request, answer


def differing(left_build: str, right_build: str, sessions: Sequence[Session]) -> dict[Key, int]:
    """Where two instances differ, as findings are keyed, and in how many requests."""
    mapper, describer = EndpointMapper(), Describer((IDEMPOTENCY_KEY.lower(),))
    found: dict[Key, int] = {}
    for (_, request, ours), (_, _, theirs) in zip(play(left_build, "l", sessions), play(right_build, "r", sessions), strict=True):
        endpoint, left, right = mapper.endpoint(request), ours.response, theirs.response
        keys: set[Key] = set()
        if left.status != right.status:
            keys.add((endpoint, Aspect.STATUS, "$", Kind.CODE))
        assert len(left.headers) == len(right.headers)
        for (name, value), (other, other_value) in zip(left.headers, right.headers, strict=True):
            assert name == other
            if value != other_value:
                keys.add((endpoint, Aspect.HEADERS, name.lower(), Kind.VALUE))
        views = (BodyView(side.body.data, "application/json") for side in (left, right))
        keys.update((endpoint, d.aspect, d.path, d.kind) for d in COMPARATOR.compare(next(views), next(views), RuleUse()))
        done, done_there = (tuple(effect_of(call, describer) for call in side.calls) for side in (ours, theirs))
        keys.update((endpoint, d.aspect, d.path, d.kind) for d in compare_effects(done, done_there, RuleUse()))
        for key in keys:
            found[key] = found.get(key, 0) + 1
    return found


def effect_of(call: OutboundCall, describer: Describer) -> Effect:
    """A call as the collector of outbound calls would describe it."""
    body = orjson.dumps(call.body)
    made = Call(
        method="POST",
        url=f"http://{call.service}{call.path}",
        headers=(("Content-Type", "application/json"), *call.headers),
        body=body,
        size=len(body),
    )
    return describer.effect(made, place=call.service, target=call.path, digest="", at_ns=0)
