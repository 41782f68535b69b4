"""All collectors of a run as one: opened, asked and closed together, and what they saw given to the trials it belongs to.

It owns the order of things around a trial. What a collector raises once the builds are ready is a lapse of that collector:
the run goes on and says what it could not see.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from harness.core.clock import Clock
from harness.core.errors import SetupError, ShadowdiffError
from harness.core.labels import EffectsSeen, Role
from harness.core.values import Effect
from harness.core.watched import EffectsFacts, LapseFact, Watched
from harness.effects.api import Collector, Observed, OpenTrial
from harness.effects.attribution import Attribution
from harness.effects.generated_keys import GeneratedKeys
from harness.effects.states import Hide, States

FINAL_STATE_SECONDS_MAX: Final = 60.0
"""How long a collector may take to look at the stored state of one target."""
BEGIN_SECONDS_MAX: Final = 120.0
"""How long a collector may take to open, or to connect to what the builds use."""
DRAIN_SECONDS_MAX: Final = 10.0
"""How long a collector may take to say what it saw, beyond which that is a lapse."""
HANGS_MAX: Final = 3
"""How often in a row a collector may take too long over the same; it is not waited for any more then, for a run has to end."""

_NAMED: Final = "generated keys were compared by where they were made, not by number"
_FORGOTTEN: Final = "generated keys were made so long ago that they were compared by number again"

T = TypeVar("T")


class Seen(msgspec.Struct, frozen=True):
    """The effects of one trial."""

    effects: dict[Role, tuple[Effect, ...]]
    state: EffectsSeen


class Drained(NamedTuple):
    """What was seen since the last look."""

    observed: list[Observed]
    told_ns: int
    """Everything that any collector saw up to then has been given out (monotonic); 0 where one has never answered."""
    failed: bool
    """A collector failed meanwhile: what it saw up to now may be lost."""


class Hub:
    """The collectors of one run. `wait_s` bounds the wait for a trial's effects after its last answer."""

    def __init__(self, collectors: Iterable[Collector], *, clock: Clock, wait_s: float, hide: Hide) -> None:
        self.collectors = tuple(collectors)
        self._clock = clock
        self._wait_s = wait_s
        self._attribution = Attribution()
        self._states = States(hide)
        self._keys = GeneratedKeys()
        self._locks = {collector.name: asyncio.Lock() for collector in self.collectors}
        self._failures: Counter[tuple[str, str]] = Counter()
        self._hangs: Counter[tuple[str, str]] = Counter()
        self._failed_before: dict[str, int] = {}
        """Open trial -> failures until it began."""
        self._opened: list[Collector] = []
        self._draining: dict[str, _Draining] = {}
        """Collectors that were asked and have not answered yet."""
        self._told_ns = dict.fromkeys(self._locks, 0)
        self._roles: tuple[Role, ...] = ()
        self.problem: SetupError | None = None
        """Something that users asked for could not be kept."""
        self.complete = 0
        self.timed_out = 0

    @property
    def favours_stable(self) -> bool:
        """Whether some collector treats stable otherwise than the others, so that three arms are not alike."""
        return any(collector.favours_stable for collector in self.collectors)

    async def open(self, roles: Collection[Role]) -> None:
        """Begin to listen. Raises SetupError, with everything closed again."""
        self._roles = tuple(roles)
        try:
            for collector in self.collectors:
                self._opened.append(collector)
                await _begun(collector, "open", collector.open(roles))
        except BaseException:
            await self.close()
            raise
        addresses = own_addresses(text for role in self._roles for text in self.names(role).values())
        for collector in self.collectors:
            collector.spare(addresses)

    def names(self, role: Role) -> dict[str, str]:
        """Placeholders for a target's command and environment."""
        return {name: text for collector in self.collectors for name, text in collector.names(role).items()}

    def env(self, role: Role) -> dict[str, str]:
        """Environment variables for a target that the harness starts."""
        return {name: text for collector in self.collectors for name, text in collector.env(role).items()}

    async def prepare(self) -> None:
        """The builds are about to start. Raises SetupError."""
        for collector in self.collectors:
            for role in self._roles:
                await _begun(collector, "prepare", collector.prepare(role))

    async def attach(self) -> None:
        """The builds are ready. What they did while starting is nobody's. Raises SetupError, with all of them detached again."""
        self._keys.clear()
        try:
            for collector in self.collectors:
                await _begun(collector, "attach", collector.attach())
        except BaseException:  # a cancellation too: the builds stop next, and need what is theirs for that
            await self.detach()
            raise
        for collector in self.collectors:
            found = await self._guarded(collector, "drain", collector.drain, DRAIN_SECONDS_MAX)
            self._told(collector, "drain", partial(self._attribution.file_late, found or (), collector.name))

    async def begin(self, trial: OpenTrial, *, alone: bool) -> None:
        """A trial is about to be sent. `alone`: no other is under way, so what was done until now is not its doing."""
        if alone:
            await self.look()
        self._failed_before[trial.trace] = self._failures.total()
        self._attribution.begin(trial, alone=alone)
        for collector in self.collectors:
            self._told(collector, "begin", partial(collector.begin, trial))

    def answered(self, trial: OpenTrial, role: Role) -> None:
        """A target's exchange in a trial is over."""
        for collector in self.collectors:
            self._told(collector, "answered", partial(collector.answered, trial, role))

    async def seen(self, trial: OpenTrial) -> Seen:
        """All exchanges of a trial are over: its effects, once they are complete or the wait is over."""
        deadline_ns = self._clock.monotonic_ns() + int(self._wait_s * 1e9)
        try:
            settled = await asyncio.gather(*(self._settled(collector, trial, deadline_ns) for collector in self.collectors))
            await self.look()
        except BaseException:  # a cancellation: nobody asks for its effects any more
            self.abandon(trial)
            raise
        # A collector that failed at any time since the trial began may have missed some of its effects.
        complete = all(settled) and self._failures.total() == self._failed_before.get(trial.trace)
        effects = self._keys.resolved(self._ended(trial))
        self.complete += complete
        self.timed_out += not complete
        return Seen(effects, EffectsSeen.COMPLETE if complete else EffectsSeen.TIMED_OUT)

    def abandon(self, trial: OpenTrial) -> None:
        """A trial was not sent to its end: forget it."""
        self._ended(trial)

    async def look(self) -> None:
        """Ask every collector what it saw, and file it."""
        await asyncio.gather(*(self._drained(collector) for collector in self.collectors))
        self._attribution.looked()

    async def drained(self, patience_s: float, *, stragglers: bool = False) -> Drained:
        """What all collectors saw since they were last asked, for whoever attributes it in another place.

        One that takes longer than `patience_s` holds up none of the others: what it gives out is told at a later call, and it
        is waited for again only where `stragglers` are.
        """
        asked: set[asyncio.Task[list[Observed] | None]] = set()
        for collector in self.collectors:
            if collector.name not in self._draining:
                task = asyncio.create_task(self._drained_alone(collector), name=f"drain-{collector.name}")
                self._draining[collector.name] = _Draining(self._clock.monotonic_ns(), task)
                asked.add(task)
        if stragglers:
            asked = {draining.task for draining in self._draining.values()}
        if asked:
            await asyncio.wait(asked, timeout=patience_s)
        observed: list[Observed] = []
        failed = False
        for name, draining in list(self._draining.items()):
            if not draining.task.done():
                continue
            del self._draining[name]
            if (found := draining.task.result()) is None:
                failed = True
            else:
                observed += found
                self._told_ns[name] = draining.asked_ns
        return Drained(observed, min(self._told_ns.values(), default=0), failed)

    async def end_pass(self, *, whole: bool = True) -> None:
        """A pass is over: what came late is filed, the stored states are compared, and the builds are let go of.

        Not `whole`: it was interrupted, so that a request may have come to some targets only, and somebody waits for the end.
        """
        await self.look()
        for collector in self.collectors if whole else ():
            lapses = self._lapse_count(collector)
            # All targets at once, or whatever still writes by itself would have written more at the last one.
            found = await asyncio.gather(
                *(
                    self._asked(collector, "final_state", partial(collector.final_state, role), FINAL_STATE_SECONDS_MAX)
                    for role in self._roles
                )
            )
            states = {role: tables or () for role, tables in zip(self._roles, found, strict=True)}
            # Where a look failed, what was not seen may be there all the same.
            seen_all = self._lapse_count(collector) == lapses
            self._told(collector, "final_state", partial(self._states.add, collector.name, states, whole=seen_all))
        await self.detach()

    async def detach(self) -> None:
        """Let go of what belongs to the builds."""
        for collector in self.collectors:
            await self._guarded(collector, "detach", collector.detach, DRAIN_SECONDS_MAX)

    async def close(self) -> None:
        """Stop listening. What fails at that is a lapse; a file that could not be written is told as `problem` besides.

        A cancellation, which a second signal gives, ends the wait for one of them; the others are closed all the same.
        """
        cancelled: asyncio.CancelledError | None = None
        for draining in self._draining.values():
            draining.task.cancel()
        while self._opened:
            collector = self._opened.pop(0)
            try:
                async with asyncio.timeout(DRAIN_SECONDS_MAX):
                    await collector.close()
            except SetupError as error:
                self.problem = self.problem or error
                self._failures[collector.name, error.what] += 1
            except Exception as error:  # noqa: BLE001 - the others are closed all the same
                self._failures[collector.name, f"`close` failed: {type(error).__name__}"] += 1
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    def facts(self) -> EffectsFacts:
        """What the run knows of effects beside its trials."""
        attribution = self._attribution
        return EffectsFacts(
            watched=tuple(self._watched(collector) for collector in self.collectors),
            complete=self.complete,
            timed_out=self.timed_out,
            unattributed=attribution.unattributed(),
            tables=self._states.differences(),
            tables_compared=self._states.compared,
        )

    def _watched(self, collector: Collector) -> Watched:
        name, attribution = collector.name, self._attribution
        lapses = self._own_lapses(collector)
        lapses += [LapseFact(what=what, count=count) for (owner, what), count in self._failures.items() if owner == name]
        lapses += [
            LapseFact(what="effects of one request beyond the bound were left out", count=count, role=str(role))
            for (owner, role), count in attribution.cut.items()
            if owner == name
        ]
        lapses += [LapseFact(what=what, count=counts[name], blind=False) for what, counts in self._keys_said() if counts[name]]
        return Watched(
            collector=name,
            version=str(collector.version),
            mode=collector.mode,
            seen={str(role): attribution.seen[name, role] for role in self._roles},
            unattributed=attribution.unattributed_of(name),
            late={str(role): count for (owner, role), count in sorted(attribution.late.items()) if owner == name},
            lapses=tuple(lapses),
        )

    def _keys_said(self) -> tuple[tuple[str, Counter[str]], ...]:
        return ((_NAMED, self._keys.named), (_FORGOTTEN, self._keys.forgotten))

    def _own_lapses(self, collector: Collector) -> list[LapseFact]:
        try:
            return [
                LapseFact(what=lapse.what, count=lapse.count, role="" if lapse.role is None else str(lapse.role), blind=lapse.blind)
                for lapse in collector.lapses()
            ]
        except Exception as error:  # noqa: BLE001 - as in `_guarded`
            self._failures[collector.name, f"`lapses` failed: {type(error).__name__}"] = 1  # it is asked again and again
            return []

    def _lapse_count(self, collector: Collector) -> int:
        failures = sum(count for (owner, _), count in self._failures.items() if owner == collector.name)
        return failures + sum(lapse.count for lapse in self._own_lapses(collector))

    def _ended(self, trial: OpenTrial) -> dict[Role, tuple[Effect, ...]]:
        self._failed_before.pop(trial.trace, None)
        effects = self._attribution.end(trial)
        for collector in self.collectors:
            self._told(collector, "end", partial(collector.end, trial))
        return effects

    async def _settled(self, collector: Collector, trial: OpenTrial, deadline_ns: int) -> bool:
        left_s = max(0.0, (deadline_ns - self._clock.monotonic_ns()) / 1e9)
        found = await self._asked(collector, "settle", partial(collector.settle, trial, deadline_ns), left_s + DRAIN_SECONDS_MAX)
        return bool(found)

    async def _drained(self, collector: Collector) -> None:
        async with self._locks[collector.name]:
            observed = await self._asked(collector, "drain", collector.drain, DRAIN_SECONDS_MAX)
            self._told(collector, "drain", partial(self._attribution.file, observed or (), collector.name))

    async def _drained_alone(self, collector: Collector) -> list[Observed] | None:
        """What a collector saw since it was last asked; None, and a lapse, where it does not say it."""
        found = await self._guarded(collector, "drain", collector.drain, DRAIN_SECONDS_MAX)
        if found is None or all(isinstance(one, Observed) for one in found):
            return found
        self._failures[collector.name, "`drain` gave out what is no observation"] += 1
        return None

    async def _asked(self, collector: Collector, what: str, call: Callable[[], Awaitable[T]], seconds_max: float) -> T | None:
        """As `_guarded`, without waiting again for what hung again and again."""
        if self._hangs[collector.name, what] >= HANGS_MAX:
            self._failures[collector.name, f"`{what}` was not tried again"] += 1
            return None
        return await self._guarded(collector, what, call, seconds_max)

    async def _guarded(self, collector: Collector, what: str, call: Callable[[], Awaitable[T]], seconds_max: float) -> T | None:
        """What a collector answers; None, and a lapse, where it raises or hangs."""
        try:
            async with asyncio.timeout(seconds_max):
                found = await call()
        except TimeoutError:
            self._hangs[collector.name, what] += 1
            self._failures[collector.name, f"`{what}` took longer than {seconds_max:g} s"] += 1
        except ShadowdiffError as error:
            self._failures[collector.name, error.what] += 1
        except Exception as error:  # noqa: BLE001 - collectors of other packages must not stop the run
            self._failures[collector.name, f"`{what}` failed: {type(error).__name__}"] += 1
        else:
            self._hangs.pop((collector.name, what), None)
            return found
        return None

    def _told(self, collector: Collector, what: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - as above
            self._failures[collector.name, f"`{what}` failed: {type(error).__name__}"] += 1


class _Draining(NamedTuple):
    """A collector was asked what it saw."""

    asked_ns: int
    task: "asyncio.Task[list[Observed] | None]"


async def _begun(collector: Collector, what: str, work: Awaitable[None]) -> None:
    """Wait for something without which the run cannot begin. Raises SetupError where it takes too long or fails."""
    try:
        async with asyncio.timeout(BEGIN_SECONDS_MAX):
            await work
    except TimeoutError:
        said = f"the collector `{collector.name}` hangs: `{what}` took longer than {BEGIN_SECONDS_MAX:g} s"
        raise SetupError(said, where="effects.collect", fix="see whether what it watches can be reached, or leave it out") from None
    except ShadowdiffError:
        raise
    except Exception as error:
        said = f"the collector `{collector.name}` failed: `{what}` raised {type(error).__name__}: {error}"
        raise SetupError(said, where="effects.collect", fix="update its package, or leave it out") from error


def own_addresses(texts: Iterable[str]) -> frozenset[tuple[str, int]]:
    """Hosts and ports of those texts that are addresses: `HOST:PORT` or URLs."""
    found = set()
    for text in texts:
        try:
            parts = urlsplit(text if "://" in text else f"//{text}")
            host, port = parts.hostname, parts.port
        except ValueError:
            continue
        if host and port:
            found.add((host, port))
    return frozenset(found)
