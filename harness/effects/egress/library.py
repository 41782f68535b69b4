"""Answers from a tape file: first from what it holds of the same request, then from anything in it. Pure."""

from harness.core.labels import Role
from harness.effects.egress.calls import Call
from harness.effects.egress.matching import Match, Tape
from harness.effects.egress.tapefile import TapeLibrary


class Library:
    """A tape file in use. Each target may use each call once: those of a request once in each trial, those of others once in a pass."""

    def __init__(self, tapes: TapeLibrary) -> None:
        self._tapes = tapes

    def tape_for(self, request: str) -> Tape:
        """The tape of the next trial with this request."""
        return self._tapes.tape_for(request)

    def match(self, call: Call, role: Role, own: Tape | None) -> Match | None:
        """The same call in the trial's own tape, or anywhere; else the next one to the same endpoint, likewise."""
        anywhere, taker = self._tapes.any, str(role)
        if own is None:
            return anywhere.take(call, taker)
        if own.has_exact(call, taker):
            return own.take(call, taker)
        if anywhere.has_exact(call, taker):
            return anywhere.take(call, taker)
        return own.take(call, taker) or anywhere.take(call, taker)

    def renew(self) -> None:
        """A pass begins: what belongs to no trial may be used again, and trials are counted anew."""
        self._tapes.again()
        for role in Role:
            self._tapes.any.forget(role)
