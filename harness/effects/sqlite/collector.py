"""The rows that builds change in SQLite: a copy of a database for each target, with triggers that log what is written to it.

What SQLite does blocks, so all but a look at whether anything changed runs in a thread. A lock of the build's is never waited for:
what cannot be read now is read later.
"""

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import msgspec

from harness.core import limits_collectors
from harness.core.errors import SetupError
from harness.core.labels import Role
from harness.core.values import Effect
from harness.effects.api import Collector, Lapse, Observed, OpenTrial, TableState, Workplace
from harness.effects.naming import Operations, document
from harness.effects.room import Room
from harness.effects.sections import of_role, read_section
from harness.effects.sqlite.copying import fresh_copy
from harness.effects.sqlite.database import DELETED, INSERTED, UPDATED, Busy, Change, Database, Look, connect
from harness.effects.sqlite.state import OutOfTime, plain, read_state

RETRY_SECONDS: Final = 0.002
_VERBS: Final = {INSERTED: "INSERT", UPDATED: "UPDATE", DELETED: "DELETE"}
T = TypeVar("T")
_WHERE: Final = "effects.sqlite"
_UNWATCHABLE: Final = "give the build a whole SQLite database; effects.sqlite.ignore_tables leaves tables out"
_NO_FILE: Final = "there is no database file: the build wrote none, or elsewhere (is {sqlite} in its command or env?)"
_BUSY: Final = "the database was locked until the wait for a trial's effects was over: what it wrote comes late"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `effects.sqlite`."""

    source: str | None = None
    """Database file that is copied before each start; without one the build makes its own."""
    path: str | None = None
    """Where the copy for `{role}` lies; without it in a folder of the run."""
    tables: tuple[str, ...] = ()
    """Patterns of tables; without any, all."""
    ignore_tables: tuple[str, ...] = ()
    """Patterns of tables that are left out."""
    final_state: bool = True
    """Whether tables are compared at the end of each pass."""

    def wants(self, table: str) -> bool:
        """Whether a table is watched."""
        if any(fnmatchcase(table, pattern) for pattern in self.ignore_tables):
            return False
        return not self.tables or any(fnmatchcase(table, pattern) for pattern in self.tables)


def _check(options: Options) -> Iterable[str]:
    if options.path and "{role}" not in options.path:
        yield "path: each target needs a file of its own: write {role} into it"


class SqliteCollector(Collector):
    """Watches one database file for each target."""

    name = "sqlite"
    version = 1
    live = False

    def __init__(self, options: Options, workplace: Workplace) -> None:
        self._options = options
        self._clock = workplace.clock
        self._folder = workplace.folder
        self._databases: dict[Role, Database] = {}
        self._operations = Operations()
        self._seen: list[Observed] = []
        self._room = Room()
        self._lapses: Counter[tuple[str, Role | None, bool]] = Counter()
        self._blind = 0
        """What may have been missed so far."""
        self._blind_before: dict[str, int] = {}
        """The same when a trial that is open began."""
        self._lock = asyncio.Lock()
        self._attached = False

    @classmethod
    def make(cls, options: Mapping[str, object], workplace: Workplace) -> Self:
        """See Collector."""
        return cls(read_section(Options, options, _WHERE, _check), workplace)

    async def open(self, roles: Collection[Role]) -> None:
        """See Collector."""
        for role in roles:
            self._databases[role] = Database(self._path(role), self._options.wants, partial(self._lapse_of, role))

    def names(self, role: Role) -> Mapping[str, str]:
        """`sqlite`: the path of a target's copy."""
        return {"sqlite": str(self._path(role))}

    async def prepare(self, role: Role) -> None:
        """A fresh copy for a target that is about to start. Raises SetupError."""
        async with self._lock:
            if database := self._databases.get(role):
                database.detach()
            source = Path(self._options.source) if self._options.source else None
            given_up = threading.Event()
            await _in_thread(partial(fresh_copy, source, self._path(role), given_up.is_set), given_up)

    async def attach(self) -> None:
        """Put the triggers in; a build that has no file yet is watched from when it has one. Raises SetupError."""
        async with self._lock:
            for role, database in self._databases.items():
                await self._attach(role, database)
            self._seen.clear()
            self._room.clear()
            self._attached = True

    async def _attach(self, role: Role, database: Database) -> None:
        deadline_ns = self._clock.monotonic_ns() + int(limits_collectors.SQLITE_ATTACH_SECONDS_MAX * 1e9)
        path = self._path(role)
        while True:
            try:
                await _in_thread(database.attach)
            except Busy as error:
                if self._clock.monotonic_ns() >= deadline_ns:
                    fix = "the build must not keep it locked while it waits for requests (PRAGMA locking_mode, an open transaction)"
                    raise SetupError(f"the database of {role} stays locked", where=str(path), fix=fix) from error
                await asyncio.sleep(RETRY_SECONDS)
            except sqlite3.Error as error:
                raise SetupError(f"the database of {role} cannot be watched: {error}", where=str(path), fix=_UNWATCHABLE) from error
            else:
                return

    def begin(self, trial: OpenTrial) -> None:
        """See Collector."""
        self._blind_before[trial.trace] = self._blind

    async def settle(self, trial: OpenTrial, deadline_ns: int) -> bool:
        """What a build committed before it answered is in its log: only a lock can be in the way. What was lost does not come."""
        while True:
            async with self._lock:
                if await self._read():
                    return self._blind == self._blind_before.get(trial.trace, self._blind)
            if self._clock.monotonic_ns() >= deadline_ns:
                self._lapse(_BUSY, None, blind=False)
                return False
            await asyncio.sleep(RETRY_SECONDS)

    async def drain(self) -> list[Observed]:
        """See Collector."""
        async with self._lock:
            await self._read()
            seen, self._seen = self._seen, []
            self._room.clear()
            return seen

    def end(self, trial: OpenTrial) -> None:
        """See Collector."""
        self._blind_before.pop(trial.trace, None)

    async def final_state(self, role: Role) -> tuple[TableState, ...]:
        """All watched tables of a target."""
        path = self._path(role)
        if not self._options.final_state or not path.exists():
            return ()
        deadline_ns = self._clock.monotonic_ns() + int(limits_collectors.SQLITE_STATE_SECONDS_MAX * 1e9)
        given_up = threading.Event()

        def late() -> bool:
            return given_up.is_set() or self._clock.monotonic_ns() >= deadline_ns

        try:
            return await asyncio.to_thread(self._state, role, path, late)
        except OutOfTime:
            self._lapse(f"the final state took more than {limits_collectors.SQLITE_STATE_SECONDS_MAX:.0f} s to read", role, blind=True)
        except sqlite3.Error as error:
            self._lapse(f"the final state cannot be read: {error}", role, blind=True)
        finally:
            given_up.set()
        return ()

    def _state(self, role: Role, path: Path, late: Callable[[], bool]) -> tuple[TableState, ...]:
        def lapse(what: str) -> None:
            self._lapse(what, role, blind=True)

        with closing(connect(path, "rw")) as connection:
            connection.execute("PRAGMA busy_timeout = 5000")
            return read_state(connection, self._options.wants, lapse, late)

    async def detach(self) -> None:
        """See Collector."""
        async with self._lock:
            for role, database in self._databases.items():
                if self._attached and not self._path(role).exists():
                    self._lapse(_NO_FILE, role, blind=True)
                database.detach()
            self._attached = False

    async def close(self) -> None:
        """See Collector."""
        await self.detach()

    def lapses(self) -> tuple[Lapse, ...]:
        """See Collector."""
        found = [Lapse(what, count, role, blind) for (what, role, blind), count in self._lapses.items()]
        if self._operations.overflowed:
            found.append(Lapse("tables beyond the bound on names count as one", self._operations.overflowed, None, blind=False))
        return tuple(found)

    async def _read(self) -> bool:
        """Take in what was logged since the last time; returns whether all could be read. The lock is held."""
        if not self._attached:
            return True
        complete = True
        to_read: list[tuple[Role, Database]] = []
        for role, database in self._databases.items():
            try:
                look = database.look()
            except Busy:
                complete = False
            except sqlite3.Error as error:
                self._lapse(f"the database cannot be read: {error}", role, blind=True)
            else:
                if look is Look.CHANGED:
                    to_read.append((role, database))
        if not to_read:
            return complete
        return await _in_thread(partial(self._read_all, to_read)) and complete

    def _read_all(self, to_read: list[tuple[Role, Database]]) -> bool:
        complete = True
        for role, database in to_read:
            try:
                database.read()
            except Busy:
                complete = False
            except sqlite3.Error as error:
                self._lapse(f"the database cannot be read: {error}", role, blind=True)
            changes = database.take()
            effects = [effect for change in changes if self._room.takes(effect := self._effect(change))]
            self._seen += [Observed(role=role, effect=effect) for effect in effects]
            if left_out := len(changes) - len(effects):
                self._lapse("changes beyond what is held until they are asked for", role, blind=True, count=left_out)
        return complete

    def _effect(self, change: Change) -> Effect:
        operation = self._operations.named(_VERBS[change.op], change.table)
        at_ns = self._clock.monotonic_ns()
        return Effect(collector=self.name, operation=operation, document=_document(change), at_ns=at_ns, keys=change.generated)

    def _path(self, role: Role) -> Path:
        if self._options.path:
            return Path(of_role(self._options.path, role)).absolute()
        return self._folder.absolute() / f"{role}.sqlite"

    def _lapse_of(self, role: Role, what: str, count: int, blind: bool) -> None:
        self._lapse(what, role, blind=blind, count=count)

    def _lapse(self, what: str, role: Role | None, *, blind: bool, count: int = 1) -> None:
        self._blind += blind
        key = (what, role, blind)
        if key in self._lapses or len(self._lapses) < limits_collectors.SQLITE_LAPSES_MAX:
            self._lapses[key] += count
        else:
            self._lapses["more that could not be seen", None, True] += count


async def _in_thread(work: Callable[[], T], given_up: threading.Event | None = None) -> T:
    """Work that blocks; one who is cancelled meanwhile leaves only when it is done, so that nobody else comes in its way.

    `given_up` tells the work that it may end at once.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if given_up is not None:
            given_up.set()
        await asyncio.wait([task])
        raise


def _document(change: Change) -> bytes:
    fields: dict[str, object] = {}
    if change.new is not None:
        new = {column: plain(value) for column, value in change.new.items()}
        fields["row"] = new
        if change.op == UPDATED and change.old is not None:
            fields["changed"] = {column: plain(value) for column, value in change.old.items() if not _same(value, change.new[column])}
    elif change.old is not None:
        fields["old"] = {column: plain(value) for column, value in change.old.items()}
    return document(fields)


def _same(old: object, new: object) -> bool:
    """1 and 1.0 are not the same to SQLite's readers."""
    return type(old) is type(new) and old == new
