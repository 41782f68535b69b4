"""The collector of row changes in PostgreSQL: what builds commit, by logical decoding, and how their tables end.

See docs/effects-postgres.md. psycopg is imported when the collector is opened, so that only those who use it need it.
"""

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

from harness.core import limits, limits_collectors
from harness.core.errors import SetupError
from harness.core.labels import Role
from harness.effects.api import Collector, Lapse, Observed, OpenTrial, TableState, Workplace
from harness.effects.naming import OTHER, Operations
from harness.effects.postgres.lapses import LapseBook
from harness.effects.postgres.options import SECTION, Options, read_options

if TYPE_CHECKING:
    from harness.effects.postgres.link import Place
    from harness.effects.postgres.nudge import Nudge
    from harness.effects.postgres.watch import Watch

_T = TypeVar("_T")
_FRESH_NS: Final = 20_000_000
"""How long ago a trial may have been settled for a drain to trust that: the round trip need not be made twice."""


class PostgresCollector(Collector):
    """Row changes of all targets, each in a database of its own."""

    name = "postgres"
    version = 1

    def __init__(
        self, options: Options, workplace: Workplace, keep_alive_seconds: float = limits_collectors.POSTGRES_KEEP_ALIVE_SECONDS
    ) -> None:
        self._options = options
        self._clock = workplace.clock
        self._rng = workplace.rng
        self._keep_alive_seconds = keep_alive_seconds
        self._roles: tuple[Role, ...] = ()
        self._plugins = ""
        self._lapses = LapseBook()
        self._operations = Operations()
        self._watches: dict[Role, Watch] = {}
        self._nudges: list[tuple[Nudge, tuple[Watch, ...]]] = []
        self._keeper: asyncio.Task[None] | None = None
        self._settled_ns: int | None = None

    @classmethod
    def make(cls, options: Mapping[str, object], workplace: Workplace) -> Self:
        """With the options of `effects.postgres`. Raises UsageError."""
        return cls(read_options(options), workplace)

    @property
    def mode(self) -> str:
        """The plugin that the servers use; empty before they were attached to."""
        return self._plugins

    async def open(self, roles: Collection[Role]) -> None:
        """Check what can be checked without the databases, which may come with the builds. Raises SetupError."""
        try:
            from harness.effects.postgres.link import check_dsn  # noqa: PLC0415  # needs psycopg
        except ImportError as error:
            what = f"row changes in PostgreSQL need psycopg, which cannot be imported: {error}"
            raise SetupError(what, where=SECTION, fix="install shadowdiff[postgres]") from error
        self._roles = tuple(roles)
        for role in self._roles:
            if not self._options.dsn_for(role):
                what = f"nothing says how to reach the database of {role}"
                raise SetupError(what, where=SECTION, fix=f"give `dsn` with {{role}} in it, or `dsn_of.{role}`")
            check_dsn(self._options.dsn_for(role), role)

    def names(self, role: Role) -> Mapping[str, str]:
        """`{postgres}` is the target's connection string."""
        return {"postgres": self._options.dsn_for(role)}

    async def attach(self) -> None:
        """Connect and begin to watch. Raises SetupError."""
        from harness.effects.postgres.watch import Watch  # noqa: PLC0415  # needs psycopg

        share = max(1, limits.EFFECTS_UNDRAINED_MAX // max(1, len(self._roles)))
        await self.detach()
        self._watches = {
            role: Watch(
                role,
                self._options,
                clock=self._clock,
                rng=self._rng,
                lapses=self._lapses,
                operations=self._operations,
                undrained_max=share,
            )
            for role in self._roles
        }
        try:
            places = dict(zip(self._roles, await _all([watch.connect() for watch in self._watches.values()]), strict=True))
            _check_places(places)
            await _all([watch.start() for watch in self._watches.values()])
        except BaseException:
            await self.detach()
            raise
        self._plugins = ", ".join(sorted({watch.plugin for watch in self._watches.values()}))
        self._nudges = self._nudges_of(places)
        self._keeper = asyncio.create_task(self._keep_alive())

    async def settle(self, trial: OpenTrial, deadline_ns: int) -> bool:
        """Fetch what is committed now: a build that commits before it answers has then been seen."""
        watches = [self._watches[role] for role in trial.roles if role in self._watches]
        if not watches:
            return False
        asked_ns = self._clock.monotonic_ns()
        tasks = {watch.fetch() for watch in watches}
        _, pending = await asyncio.wait(tasks, timeout=max(0.0, (deadline_ns - asked_ns) / 1e9))
        complete = not pending and all(task.result() for task in tasks)
        self._settled_ns = asked_ns if complete and len(watches) == len(self._watches) else None
        return complete

    async def drain(self) -> list[Observed]:
        """Fetch, unless a trial was settled just now, and hand out everything, target by target."""
        settled_ns, self._settled_ns = self._settled_ns, None
        if self._watches and (settled_ns is None or self._clock.monotonic_ns() - settled_ns > _FRESH_NS):
            await asyncio.wait({watch.fetch() for watch in self._watches.values()}, timeout=limits_collectors.POSTGRES_DRAIN_SECONDS_MAX)
        self._nudge()
        return [observed for watch in self._watches.values() for observed in watch.take()]

    async def final_state(self, role: Role) -> tuple[TableState, ...]:
        """The watched tables; nothing where the configuration does not want them."""
        if not self._options.final_state or role not in self._watches:
            return ()
        from harness.effects.postgres.state import tables_of  # noqa: PLC0415  # needs psycopg

        return await tables_of(role, self._options, self._clock, self._lapses)

    async def detach(self) -> None:
        """Drop the slots and close the connections, so that the databases can be dropped."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        nudges, self._nudges = self._nudges, []
        watches, self._watches = self._watches, {}
        await asyncio.gather(*(nudge.stop() for nudge, _ in nudges), *(watch.stop() for watch in watches.values()))

    async def close(self) -> None:
        """The same."""
        await self.detach()

    def lapses(self) -> tuple[Lapse, ...]:
        """Lost connections, tables of which less can be seen, what was beyond a bound."""
        overflow = self._operations.overflowed
        return self._lapses.all() + ((Lapse(f"row changes counted as `{OTHER}`", overflow, blind=False),) if overflow else ())

    def _nudges_of(self, places: "Mapping[Role, Place]") -> "list[tuple[Nudge, tuple[Watch, ...]]]":
        from harness.effects.postgres.nudge import Nudge  # noqa: PLC0415  # needs psycopg

        servers: dict[str, list[Watch]] = {}
        for role, place in places.items():
            servers.setdefault(place.server, []).append(self._watches[role])
        return [(Nudge(watches[0].dsn, watches[0].plugin, self._clock, self._rng), tuple(watches)) for watches in servers.values()]

    def _nudge(self) -> None:
        for nudge, watches in self._nudges:
            nudge.at(sum(watch.moved for watch in watches))

    async def _keep_alive(self) -> None:
        # Changes that nobody fetches hold the server's log back until its disk is full.
        while True:
            await asyncio.sleep(self._keep_alive_seconds)
            before_ns = self._clock.monotonic_ns() - int(self._keep_alive_seconds * 1e9)
            idle = {watch.fetch() for watch in self._watches.values() if watch.fetched_ns <= before_ns}
            if idle:
                await asyncio.wait(idle)
                self._nudge()


async def _all(doings: Iterable[Awaitable[_T]]) -> list[_T]:
    """Every result, or the first failure once all are over, so that none goes on unseen."""
    results = await asyncio.gather(*doings, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[_T]", results)


def _check_places(places: "Mapping[Role, Place]") -> None:
    """Raises SetupError."""
    seen: dict[tuple[str, str], Role] = {}
    for role, place in places.items():
        if place.wal_level != "logical":
            what = f"the server of {role} has wal_level = {place.wal_level}: its log does not hold row changes"
            raise SetupError(what, where=SECTION, fix="set wal_level = logical in its postgresql.conf and start it again")
        other = seen.setdefault((place.server, place.database), role)
        if other != role:
            what = f"{other} and {role} use the same database: their rows could not be told apart"
            raise SetupError(what, where=SECTION, fix="give each target a database of its own, and name it with {role} in `dsn`")
