"""The identifiers of one session while it is replayed: one map for each arm, and what was lost on the way.

The names of things are those of the recording. Each arm issues its own; its requests are rewritten to them and its answers
restored from them. Pure but for its memory.

All arms are treated alike, or the odd one out would not be the candidate with chance 1/3: each is learned against the
recorded answer, and the arm that serves as its control is the next one in the order that the coin gave. An entry without
a recorded answer teaches nothing, for every name that one arm's answer gave would hide where that arm is the odd one.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from harness.core.correlate import Contradiction, IdMap
from harness.core.entities import is_id_integer
from harness.core.labels import Role
from harness.core.limits import SESSION_IDENTIFIERS_MAX
from harness.core.values import Effect, Exchange, Request, Response, body_of
from replay.codings import DECODERS
from replay.identifiers import issued_values, used_values

_JSON: Final = (("Content-Type", "application/json"),)


class Learned(msgspec.Struct, frozen=True):
    """What one entry's answers taught."""

    exchanges: dict[Role, Exchange]
    """With the answers restored."""
    mapped: int = 0
    contradictions: int = 0


class SessionIdentifiers:
    """Identifier maps of a session, one for each role. Memory is bounded by SESSION_IDENTIFIERS_MAX for each."""

    def __init__(self, roles: Iterable[Role]) -> None:
        self._maps = {role: IdMap(decoders=DECODERS) for role in roles}
        self._lost: dict[str, None] = {}

    def rewrite(self, role: Role, request: Request) -> tuple[Request, int]:
        """A request as this arm must get it, and in how many places it was changed."""
        return self._maps[role].rewrite_request(request)

    def is_tainted(self, request: Request) -> bool:
        """Whether the request uses an identifier that some arm failed to issue while another did."""
        return bool(self._lost) and not self._lost.keys().isdisjoint(used_values(request))

    def learn(self, request: Request, recorded: Response | None, exchanges: dict[Role, Exchange]) -> Learned:
        """Learn from the answers of one entry, then restore them. `exchanges` are in the order of sending.

        Nothing is learned where `recorded` is None.

        An arm without an answer, with another status than the recorded one, with an answer that contradicts what it
        issued before, or without a recorded identifier in it, has lost identifiers. Where only some arms have, requests
        that use one are tainted from here on.
        """
        mapped = contradictions = 0
        losers: list[Role] = []
        contradicted: list[Contradiction] = []
        if recorded is not None:
            order = list(exchanges)
            for at, role in enumerate(order):
                answer = exchanges[role].response
                if answer is None:
                    losers.append(role)
                    continue
                control = exchanges[order[(at + 1) % len(order)]].response if len(order) > 1 else None
                result = self._maps[role].learn(request, recorded, answer, control)
                mapped += result.mapped
                contradictions += len(result.contradictions)
                contradicted += result.contradictions
                if not result.aligned or result.contradictions or result.lost:
                    losers.append(role)
            if losers and len(losers) < len(order):
                self._lose(request, recorded, exchanges, losers, contradicted)
        restored = {role: self._restore(role, exchange, request) for role, exchange in exchanges.items()}
        return Learned(restored, mapped, contradictions)

    def restored_effects(self, role: Role, effects: tuple[Effect, ...], request: Request) -> tuple[Effect, ...]:
        """What an arm did, in recorded terms as its answer is. `request` is the one in recorded terms."""
        if not effects or not len(self._maps[role]):
            return effects
        return tuple(self._restored_effect(role, effect, request) for effect in effects)

    def _restored_effect(self, role: Role, effect: Effect, request: Request) -> Effect:
        as_answer = Response(200, _JSON, body_of(effect.document))
        restored, changed = self._maps[role].restore_response(as_answer, request)
        return msgspec.structs.replace(effect, document=restored.body.data) if changed else effect

    def _restore(self, role: Role, exchange: Exchange, request: Request) -> Exchange:
        if exchange.response is None:
            return exchange
        answer, changed = self._maps[role].restore_response(exchange.response, request)
        return msgspec.structs.replace(exchange, response=answer) if changed else exchange

    def _lose(
        self,
        request: Request,
        recorded: Response,
        exchanges: dict[Role, Exchange],
        losers: Iterable[Role],
        contradicted: Iterable[Contradiction],
    ) -> None:
        """Note the identifiers that the recorded answer created and a loser neither gave nor replaced by one of its own."""
        made = [value for value, created in issued_values(request, recorded) if created]
        lost: list[str] = []
        for role in losers:
            answer = exchanges[role].response
            given: set[str] = set()
            if answer is not None and answer.status == recorded.status:
                given = {value for value, _ in issued_values(request, answer)}
            lost += [value for value in made if value not in given and not self._is_mapped(role, value)]
        for found in contradicted:
            lost += [value for value in made if value == found.recorded or value.endswith(f"#{found.recorded}")]
        for value in lost:
            self._lost[value] = None
            if len(self._lost) > SESSION_IDENTIFIERS_MAX:
                del self._lost[next(iter(self._lost))]

    def _is_mapped(self, role: Role, value: str) -> bool:
        """Whether an arm has an identifier of its own in the place of this one: a request for it would be rewritten."""
        kind, _, pair = value.partition(" ")
        entity, _, number = value.rpartition("#")
        if kind == "cookie":
            probe = Request("GET", "/", (("Cookie", pair),))
        else:
            probe = Request("GET", f"/{entity}/{number}" if entity and is_id_integer(number) else f"/{value}")
        return self._maps[role].rewrite_request(probe)[1] > 0
