"""Side effects in a replay: the collectors that the settings name, and the watch that the runner asks about each trial."""

import hashlib
import random
import secrets
import shutil
import tempfile
from collections.abc import Collection, Mapping
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

import msgspec

from harness.app import parts
from harness.app.signals import Stop
from harness.core.clock import Clock
from harness.core.errors import SetupError, UsageError
from harness.core.labels import Design, Role
from harness.core.redact import Redactor
from harness.core.trace import trace_id, with_trace
from harness.core.values import Request
from harness.core.watched import EffectsFacts, LapseFact
from harness.effects.api import Collector, OpenTrial, Workplace
from harness.effects.hub import Hub
from harness.report.redacted import redact_facts, redact_row
from harness.settings.effects import EffectsSettings
from harness.targets.isolation import Isolation, ports_at, unreachable_in
from harness.targets.process import LOOPBACK
from replay.watch import WatchedEffects

GROUP: Final = "shadowdiff.effects"
IDLE: Final = "effects.{name} is set, but effects.collect does not name {name}: it watches nothing and keeps nothing back"
_HALF: Final = 2**62


class Effects:
    """The collectors of a run, from before the builds start until after they stopped. With none, everything does nothing.

    It is what surrounds the targets (`harness.targets.supervisor.Surroundings`) and what watches a pass (`replay.watch.Watch`).
    """

    def __init__(
        self,
        settings: EffectsSettings,
        *,
        identity: parts.Identity,
        clock: Clock,
        redactor: Redactor,
        live: bool = False,
        started: Collection[Role] = (),
        stop: Stop | None = None,
    ) -> None:
        """`started`: the roles whose builds the harness starts; `stop` ends what collectors take long for before a pass.

        Raises UsageError, and SetupError where builds cannot be isolated.
        """
        self._settings = settings
        self._redactor = redactor
        self._stop = stop or Stop()
        self._isolation = _isolation(started) if settings.isolate else None
        self._rng = parts.rng_of(identity, "traces")
        self._folder = Path(tempfile.gettempdir()) / f"shadowdiff-effects-{identity.id}-{secrets.token_hex(4)}"
        self.hub: Hub | None = None
        """None where nothing is watched."""
        if settings.collect:
            host = LOOPBACK if self._isolation is None else self._isolation.plan.host
            collectors = _collectors(settings, self._folder, parts.rng_of(identity, "effects"), clock, redactor, live=live, host=host)
            self.hub = Hub(collectors, clock=clock, wait_s=settings.wait_s, hide=partial(redact_row, redactor))

    @property
    def on(self) -> bool:
        """Whether anything is watched."""
        return self.hub is not None

    def versions(self) -> dict[str, str]:
        """Collector name to version."""
        return {} if self.hub is None else {collector.name: str(collector.version) for collector in self.hub.collectors}

    def design(self, design: Design) -> Design:
        """What the arms are worth: where stable is treated otherwise than the others, the odd one out is no third of the time."""
        favoured = self.hub is not None and self.hub.favours_stable
        return Design.TWO_ARM if favoured and design is Design.THREE_ARM else design

    async def open(self, roles: Collection[Role]) -> None:
        """Begin to listen, before any build starts.

        Raises SetupError, UsageError where isolated builds could not reach a collector, and StoppedError.
        """
        if self._isolation is not None:
            self._isolation.open()
        if self.hub is None:
            return
        try:
            self._folder.mkdir(mode=0o700)
            for collector in self.hub.collectors:
                (self._folder / collector.name).mkdir(mode=0o700)
        except OSError as error:
            raise SetupError(f"cannot be made: {error.strerror}", where=str(self._folder), fix="make room, or set TMPDIR") from error
        await self._stop.heeded(self.hub.open(roles))
        if self._isolation is not None:
            _let_reach(self._isolation, self.hub)

    def names(self, role: Role) -> Mapping[str, str]:
        """See `Surroundings`."""
        return {} if self.hub is None else self.hub.names(role)

    def env(self, role: Role) -> Mapping[str, str]:
        """See `Surroundings`."""
        return {} if self.hub is None else self.hub.env(role)

    def host(self, role: Role) -> str:
        """See `Surroundings`."""
        return LOOPBACK if self._isolation is None or role not in self._isolation.roles else self._isolation.plan.address(role)

    def entered(self, role: Role, command: list[str]) -> list[str]:
        """See `Surroundings`."""
        return command if self._isolation is None or role not in self._isolation.roles else self._isolation.entered(role, command)

    async def prepare(self) -> None:
        """See `Surroundings`. Raises StoppedError too."""
        if self.hub is not None:
            await self._stop.heeded(self.hub.prepare())

    async def attach(self) -> None:
        """The builds are ready. Raises SetupError and StoppedError."""
        if self.hub is not None:
            await self._stop.heeded(self.hub.attach())

    async def begin(self, request: Request, roles: Collection[Role], *, alone: bool) -> "_TrialWatch":
        """See `replay.watch.Watch`."""
        assert self.hub is not None, "only asked where something is watched"
        trial = OpenTrial(trace=trace_id(self._draw()), roles=tuple(roles), request=request_key(request))
        await self.hub.begin(trial, alone=alone)
        return _TrialWatch(self.hub, trial, keep_tracing=self._settings.keep_tracing)

    async def end_pass(self, *, whole: bool = True) -> None:
        """The pass is over (not `whole`: interrupted), and the builds are about to stop."""
        if self.hub is not None:
            await self.hub.end_pass(whole=whole)

    async def close(self) -> None:
        """Stop listening, and remove what the collectors kept for the run."""
        try:
            if self.hub is not None:
                await self.hub.close()
        finally:
            if self._isolation is not None:
                self._isolation.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def check(self) -> None:
        """Raise what went wrong with something that users asked for: a tape that could not be written, say. After `close`."""
        if self.hub is not None and self.hub.problem is not None:
            raise self.hub.problem

    def facts(self) -> EffectsFacts:
        """What the run knows of effects beside its trials, redacted; once closed, also what isolated builds tried in vain."""
        facts = EffectsFacts() if self.hub is None else redact_facts(self._redactor, self.hub.facts())
        return facts if self._isolation is None else _with_refused(facts, self._isolation.refused)

    def _draw(self) -> int:
        return self._rng.randrange(_HALF) << 64 | self._rng.randrange(_HALF)


class _TrialWatch:
    """See `replay.watch.WatchedTrial`."""

    def __init__(self, hub: Hub, trial: OpenTrial, *, keep_tracing: bool) -> None:
        self._hub = hub
        self._trial = trial
        self._keep = keep_tracing

    def prepared(self, role: Role, request: Request) -> Request:
        """The request with the trial's trace."""
        return msgspec.structs.replace(request, headers=with_trace(request.headers, self._trial.trace, role, keep=self._keep))

    def answered(self, role: Role) -> None:
        """The arm's exchange is over."""
        self._hub.answered(self._trial, role)

    async def effects(self) -> WatchedEffects:
        """What the arms did."""
        found = await self._hub.seen(self._trial)
        return WatchedEffects(found.effects, found.state)

    def abandon(self) -> None:
        """Nobody asks for its effects any more."""
        self._hub.abandon(self._trial)


def idle_sections(settings: EffectsSettings) -> list[str]:
    """Collectors that are configured though `collect` does not name them: they watch nothing, and nothing they would keep back is."""
    default = EffectsSettings()
    sections = [name for name in settings.__struct_fields__ if isinstance(getattr(default, name), msgspec.Struct)]
    said = [name for name in sections if getattr(settings, name) != getattr(default, name)]
    return [name for name in (*said, *settings.plugins) if name not in settings.collect]


def _isolation(started: Collection[Role]) -> Isolation:
    """Networks for the builds that are started here. Raises UsageError where there is none: a safety that does nothing is no safety."""
    if not started:
        raise UsageError(
            "no build is started here that could be isolated",
            where="effects.isolate",
            fix="give targets as commands, or leave it out: docs/effects-safety.md says how to do it by hand",
        )
    # Not the run's seed: two runs with the same one may be under way.
    return Isolation.planned(started, random.SystemRandom())


def _let_reach(isolation: Isolation, hub: Hub) -> None:
    """Each build may connect to the addresses that the collectors tell it. Raises UsageError where one cannot be reached."""
    for role in isolation.roles:
        told = [*hub.names(role).values(), *hub.env(role).values()]
        if lost := unreachable_in(told):
            raise UsageError(
                f"a collector listens on {lost}, which an isolated build cannot reach",
                where="effects.isolate",
                fix="leave its `listen` out for builds that are started here",
            )
        isolation.allow(role, ports_at(isolation.plan.host, told))


def _with_refused(facts: EffectsFacts, refused: Mapping[Role, int]) -> EffectsFacts:
    """The facts with what isolated builds tried in vain, told with their calls."""
    what = "tries to reach the outside without its proxy were refused (effects.isolate)"
    lapses = tuple(LapseFact(what=what, count=count, role=str(role), blind=False) for role, count in refused.items() if count)
    watched = tuple(
        msgspec.structs.replace(each, lapses=(*each.lapses, *lapses)) if each.collector == "http" else each for each in facts.watched
    )
    return msgspec.structs.replace(facts, watched=watched)


def request_key(request: Request) -> str:
    """The same for the same request in every run: method, target and body."""
    digest = hashlib.sha256(f"{request.method}\0{request.target}\0".encode("utf-8", "surrogatepass"))
    digest.update(request.body.digest.encode() if request.body.truncated else request.body.data)
    return digest.hexdigest()[:32]


def _collectors(
    settings: EffectsSettings, folder: Path, rng: Any, clock: Clock, redactor: Redactor, *, live: bool, host: str
) -> list[Collector]:
    """The collectors named, each with a folder of its own. Raises UsageError."""
    known = {point.name: point for point in entry_points(group=GROUP)}
    unknown = [name for name in settings.collect if name not in known]
    if unknown:
        raise UsageError(
            f"no collector is called {', '.join(unknown)}", where="effects.collect", fix=f"installed are: {', '.join(sorted(known))}"
        )
    found = []
    if live and (absent := [name for name in dict.fromkeys(settings.collect) if not _class(known[name]).live]):
        raise UsageError(
            f"live traffic cannot be watched by {', '.join(absent)}, which has to be there before the builds start",
            where="effects.collect",
            fix="leave it out, or watch it in a replay",
        )
    for name in dict.fromkeys(settings.collect):
        workplace = Workplace(folder=folder / name, clock=clock, rng=rng, redactor=redactor, host=host, live=live)
        found.append(_class(known[name]).make(_options(settings, name), workplace))
    return found


def _class(point: EntryPoint) -> type[Collector]:
    try:
        found = point.load()
    except Exception as error:
        raise UsageError(
            f"the collector `{point.name}` cannot be loaded: {error}", where="effects.collect", fix="update or remove its package"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Collector)):
        raise UsageError(f"`{point.name}` is no collector", where="effects.collect", fix="update or remove its package")
    if found.name != point.name:
        raise UsageError(
            f"the collector `{point.name}` calls itself `{found.name}`", where="effects.collect", fix="update or remove its package"
        )
    return found


def _options(settings: EffectsSettings, name: str) -> Mapping[str, object]:
    section = getattr(settings, name, None)
    if isinstance(section, msgspec.Struct):
        options: dict[str, object] = _said(msgspec.to_builtins(section))
        return options
    return dict(settings.plugins.get(name, {}))


def _said(value: Any) -> Any:
    """A section without the keys that say nothing: a collector has its own default for them."""
    if isinstance(value, dict):
        return {name: _said(item) for name, item in value.items() if item is not None}
    return value
