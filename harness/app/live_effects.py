"""Side effects of live traffic: the collectors run beside the supervisor, and what they see goes to the compare workers.

Many requests are under way at once, so only effects that name their trace find their trial; all others are counted by
target. Nothing here is waited for by a client.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from harness.app import parts
from harness.app.effects import Effects
from harness.app.results import WatchedTrials
from harness.bus.messages import EffectsOrders, SeenEffects
from harness.core.clock import Clock
from harness.core.labels import Role
from harness.core.limits import EFFECT_OPERATIONS_MAX
from harness.core.redact import Redactor
from harness.core.values import Effect
from harness.core.watched import EffectsFacts, LapseFact, Unattributed, Watched, joined
from harness.effects.api import Observed
from harness.effects.hub import DRAIN_SECONDS_MAX, Drained, Hub
from harness.report.redacted import redact_facts
from harness.settings.effects import EffectsSettings

ASK_SECONDS: Final = 0.05
"""How often the collectors are asked what they saw."""
PATIENCE_SECONDS: Final = 0.5
"""How long a collector may take to answer before the others' answers are told without its own."""
MARGIN_SECONDS: Final = 0.005
"""Between what a collector saw and its next answer."""
EFFECTS_PER_MESSAGE_MAX: Final = 2_000
"""Effects told at once."""

Tell = Callable[[SeenEffects], int]
"""Told to all compare workers; how many could not be told."""


class Attributed:
    """What compare workers have found the trials of, as the folded bets say."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], Counter[str]] = {}
        self.complete = 0
        self.timed_out = 0

    def fold(self, watched: WatchedTrials) -> None:
        """Trials were folded."""
        self.complete += watched.complete
        self.timed_out += watched.timed_out
        for count in watched.effects:
            key = (count.collector, count.operation)
            if key not in self.counts and len(self.counts) >= EFFECT_OPERATIONS_MAX:
                key = (count.collector, "other")
            known = self.counts.setdefault(key, Counter())
            known.update({"stable": count.stable, "secondary": count.secondary, "candidate": count.candidate})


class LiveEffects:
    """The collectors of a live run. Use `start`, then `stop`."""

    def __init__(self, settings: EffectsSettings, *, identity: parts.Identity, clock: Clock, redactor: Redactor) -> None:
        self._settings = settings
        self._effects = Effects(settings, identity=identity, clock=clock, redactor=redactor, live=True)
        self._clock = clock
        self._redactor = redactor
        self._seen: dict[tuple[str, str], Counter[str]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._roles: tuple[Role, ...] = ()
        self._started = False
        self.attributed = Attributed()
        self._troubles: Counter[str] = Counter()
        """Why what was seen could not be handed on, and how often."""
        self.before = EffectsFacts()
        """What a process saw of this run that is no more."""
        self._doubted_ns = 0
        """When what was seen was last lost, or may have been. A collector that answers again does not say what it lost."""

    @property
    def on(self) -> bool:
        """Whether anything is watched."""
        return self._effects.on

    def orders(self) -> EffectsOrders | None:
        """What compare workers are told; None where nothing is watched."""
        hub = self._effects.hub
        if hub is None:
            return None
        delay_s = max((collector.delay_s for collector in hub.collectors), default=0.0)
        return EffectsOrders(wait_ns=int(self._settings.wait_s * 1e9), delay_ns=int(delay_s * 1e9), ordered=self._settings.ordered)

    async def start(self, roles: Collection[Role]) -> None:
        """Begin to listen. Raises SetupError."""
        self._roles = tuple(roles)
        await self._effects.open(roles)
        await self._effects.attach()
        self._started = True

    def places(self) -> list[str]:
        """Where each target is to send what: for people."""
        return [
            f"{role}: " + ", ".join(f"{name} {text}" for name, text in sorted(self._effects.names(role).items()))
            for role in self._roles
            if self._effects.names(role)
        ]

    def watch(self, tell: Tell) -> None:
        """Ask the collectors again and again, and tell what they saw."""
        if self._effects.hub is not None:
            self._asking = asyncio.create_task(self._ask(tell), name="effects")

    async def stop(self) -> None:
        """Ask a last time, and close.

        Stored states are not compared: not all that changed them was mirrored.
        """
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
            self._asking = None
        try:
            if (hub := self._effects.hub) is not None and self._started:
                for _ in range(2):  # what they were asked for before, and what came since
                    await self._hand_on(hub, _to_nobody, last=True)
                await hub.detach()
        finally:
            await self._effects.close()

    def facts(self) -> EffectsFacts:
        """What the run knows of effects beside its trials."""
        facts = self._effects.facts()
        if not facts.watched:
            return facts
        rest = self._unattributed()
        found = msgspec.structs.replace(
            facts,
            watched=tuple(self._watched(one, rest) for one in facts.watched),
            complete=self.attributed.complete,
            timed_out=self.attributed.timed_out,
            unattributed=tuple(rest),
        )
        return joined(self.before, redact_facts(self._redactor, found))

    async def _ask(self, tell: Tell) -> None:
        hub = self._effects.hub
        assert hub is not None
        while True:
            await self._hand_on(hub, tell)
            await asyncio.sleep(ASK_SECONDS)

    async def _hand_on(self, hub: Hub, tell: Tell, *, last: bool = False) -> None:
        """Ask once, and tell. A collector of another package that gives out nonsense must not end the asking."""
        try:
            self._tell(await hub.drained(DRAIN_SECONDS_MAX if last else PATIENCE_SECONDS, stragglers=last), tell)
        except Exception as error:  # noqa: BLE001 - counted and shown; the others are asked on
            self._doubted_ns = self._clock.monotonic_ns()
            self._troubles[f"what was seen could not be handed on: {type(error).__name__}"] += 1

    def _tell(self, drained: Drained, tell: Tell) -> None:
        if drained.failed:
            self._doubted_ns = self._clock.monotonic_ns()
        for one in drained.observed:
            self._count(one)
        named = [(one.trace, one.role, one.effect) for one in drained.observed if one.trace]
        until_ns = max(0, drained.told_ns - int(MARGIN_SECONDS * 1e9))
        for start in range(0, max(1, len(named)), EFFECTS_PER_MESSAGE_MAX):
            last = start + EFFECTS_PER_MESSAGE_MAX >= len(named)
            told = tuple(named[start : start + EFFECTS_PER_MESSAGE_MAX])
            if untold := tell(SeenEffects(told, until_ns if last else 0, self._doubted_ns)):
                self._troubles["comparison was too busy to be told what was seen"] += untold

    def _count(self, one: Observed) -> None:
        effect: Effect = one.effect
        key = (effect.collector, effect.operation)
        if key not in self._seen and len(self._seen) >= EFFECT_OPERATIONS_MAX:
            key = (effect.collector, "other")
        self._seen.setdefault(key, Counter())[str(one.role)] += 1

    def _unattributed(self) -> list[Unattributed]:
        """What was seen and found no trial."""
        rest = []
        for key, seen in sorted(self._seen.items(), key=lambda item: (-item[1].total(), item[0])):
            left = seen - self.attributed.counts.get(key, Counter())
            if left.total():
                rest.append(Unattributed(collector=key[0], operation=key[1], counts=dict(sorted(left.items()))))
        return rest

    def _watched(self, one: Watched, rest: list[Unattributed]) -> Watched:
        seen: Counter[str] = Counter(dict.fromkeys(map(str, self._roles), 0))
        for (collector, _), counts in self.attributed.counts.items():
            if collector == one.collector:
                seen.update(counts)
        left: Counter[str] = Counter()
        for each in rest:
            if each.collector == one.collector:
                left.update(each.counts)
        roles = {str(role) for role in self._roles}
        lapses = (*one.lapses, *(LapseFact(what=what, count=count) for what, count in self._troubles.items()))
        return msgspec.structs.replace(
            one,
            seen={role: count for role, count in seen.items() if role in roles},
            unattributed=dict(sorted(left.items())),
            late={},
            lapses=lapses,
        )


def _to_nobody(seen: SeenEffects) -> int:
    """Nobody compares any more: what was seen is only counted."""
    del seen
    return 0
