"""How a pass has the effects of its trials watched: what the runner asks of whoever watches. It knows no collector."""

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

from harness.core.labels import EffectsSeen, Role
from harness.core.values import Effect, Request


class WatchedEffects(NamedTuple):
    """What the arms of a trial did."""

    by_role: Mapping[Role, tuple[Effect, ...]]
    seen: EffectsSeen


NOT_WATCHED = WatchedEffects({}, EffectsSeen.NONE)


class WatchedTrial(Protocol):
    """One trial under watch. Ends with exactly one of `effects` and `abandon`."""

    def prepared(self, role: Role, request: Request) -> Request:
        """The request as this arm gets it, marked so that what it does can be told from what others do."""
        ...

    def answered(self, role: Role) -> None:
        """The arm's exchange is over."""
        ...

    async def effects(self) -> WatchedEffects:
        """All exchanges are over: what they did, once that is complete or a bounded time has passed. Never raises."""
        ...

    def abandon(self) -> None:
        """The trial does not come to its end."""
        ...


class Watch(Protocol):
    """Watches trial after trial."""

    async def begin(self, request: Request, roles: Collection[Role], *, alone: bool) -> WatchedTrial:
        """A trial is about to be sent; `request` is the one in recorded terms. Never raises."""
        ...
