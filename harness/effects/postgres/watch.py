"""Watches one target's rows: fetches what was committed, turns it into effects, keeps them until they are drained.

Once started it raises nothing: a connection that is lost is a lapse, and is made anew with a new slot.
"""

import asyncio
import contextlib
import datetime
from collections.abc import Iterable
from typing import Final

import psycopg

from harness.core import limits, limits_collectors
from harness.core.clock import Clock, Rng
from harness.core.errors import SetupError
from harness.core.labels import Role
from harness.core.values import Effect
from harness.effects.api import Observed
from harness.effects.naming import Operations
from harness.effects.postgres.changes import Action, Change, Entry, Identity, Message, Table, document_of, trace_named, with_traces
from harness.effects.postgres.lapses import LapseBook
from harness.effects.postgres.link import FAILURES, READERS, SLOT_PREFIX, Link, Place, Raw, shown, words
from harness.effects.postgres.options import ANY_FIX, SECTION, Options, matches

_SLOT_NAMES_TRIED: Final = 5
_FETCHES_MAX: Final = 100
"""How often a fetch asks again when there was more, so that a target that never stops writing cannot hold it."""
_NAMES_SHOWN_MAX: Final = 10


class Watch:
    """One target. `connect` and `start` may raise SetupError, the rest never raises."""

    def __init__(
        self,
        role: Role,
        options: Options,
        *,
        clock: Clock,
        rng: Rng,
        lapses: LapseBook,
        operations: Operations,
        undrained_max: int = limits.EFFECTS_UNDRAINED_MAX,
    ) -> None:
        self.role = role
        self.dsn = options.dsn_for(role)
        self.plugin = ""
        self.fetched_ns = 0
        """When the last fetch that succeeded began."""
        self.moved = 0
        """Changes seen."""
        self._options = options
        self._clock = clock
        self._rng = rng
        self._lapses = lapses
        self._operations = operations
        self._undrained_max = undrained_max
        self._link: Link | None = None
        self._tables: dict[tuple[str, str], Table] = {}
        self._unfit: set[tuple[str, str, int]] = set()
        self._held: list[Observed] = []
        self._held_bytes = 0
        self._lock = asyncio.Lock()
        self._queued: asyncio.Task[bool] | None = None
        self._running: set[asyncio.Task[bool]] = set()
        self._lost = ""
        """Why there is no link, while there is none."""
        self._seen_until = 0.0
        self._tried_ns = 0

    async def connect(self) -> Place:
        """Reach the database. Raises SetupError with the server's words."""
        try:
            self._link = await Link.connect(self.dsn)
            return await self._link.place()
        except FAILURES as error:
            fix = "the database has to be there, and let the user in, when the builds are ready"
            raise self._setup_error("cannot be reached", error, fix) from None

    async def start(self) -> None:
        """Read the catalogue and create the slot; changes from now on are seen. Raises SetupError."""
        assert self._link is not None
        self._held, self._held_bytes, self._lost = [], 0, ""
        try:
            await self._link.drop_left_over()
            await self._read_catalogue(self._link)
        except FAILURES as error:
            raise self._setup_error("cannot be looked at", error, ANY_FIX) from None
        wanted = self._options.plugin
        for plugin in ("test_decoding", "wal2json") if wanted == "auto" else (wanted,):
            try:
                await self._create_slot(self._link, plugin)
            except FAILURES as error:
                if wanted == "auto" and plugin == "test_decoding" and _is_barred(error):
                    continue
                raise self._setup_error("gives no replication slot", error, _slot_fix(error, plugin)) from None
            self.plugin = plugin
            break
        self._say_what_cannot_be_seen()
        self._seen_until = self._clock.time()
        self.fetched_ns = self._clock.monotonic_ns()

    def fetch(self) -> "asyncio.Task[bool]":
        """Bring what was committed up to now; whether that succeeded. Those who ask while a fetch waits for its turn share it."""
        if self._queued is None:
            self._queued = asyncio.create_task(self._in_turn())
            self._running.add(self._queued)
            self._queued.add_done_callback(self._running.discard)
        return self._queued

    def take(self) -> list[Observed]:
        """What was fetched and not yet taken, in commit order."""
        held, self._held, self._held_bytes = self._held, [], 0
        return held

    async def stop(self) -> None:
        """Drop the slot and let go of the database."""
        if self._running:
            _, pending = await asyncio.wait(set(self._running), timeout=limits_collectors.POSTGRES_DETACH_SECONDS_MAX)
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending)
        if self._lost:
            self._lapses.note(f"row changes after {_when(self._seen_until)} were not seen: {self._lost}", self.role)
        link, self._link = self._link, None
        if link is not None:
            with contextlib.suppress(*FAILURES):
                async with asyncio.timeout(limits_collectors.POSTGRES_DETACH_SECONDS_MAX):
                    await link.drop_slot()
            await link.close()

    async def _in_turn(self) -> bool:
        async with self._lock:
            self._queued = None  # who asks from now on wants what is committed later
            return await self._fetch_now()

    async def _fetch_now(self) -> bool:
        if self._link is None and not await self._reconnect():
            return False
        began_ns = self._clock.monotonic_ns()
        began = self._clock.time()
        try:
            async with asyncio.timeout(limits_collectors.POSTGRES_FETCH_SECONDS_MAX):
                await self._fetch_all()
        except FAILURES as error:
            await self._lose(words(error, self.dsn))
            await self._reconnect()
            return False
        except Exception as error:  # noqa: BLE001 - who drains does not ask how a fetch ended: it must not be lost unsaid
            self._lapses.note(f"row changes were fetched and lost by a fault of the harness ({type(error).__name__})", self.role)
            return False
        self.fetched_ns, self._seen_until = began_ns, began
        return True

    async def _fetch_all(self) -> None:
        flushed = False
        for _ in range(_FETCHES_MAX):
            assert self._link is not None
            found = await self._link.changes()
            if found.left_out:
                what = "row changes beyond what is taken at once were not seen (a very large transaction)"
                self._lapses.note(what, self.role, found.left_out)
            if found.rows:
                await self._take_in(self._link, found.rows)
            if found.behind and not flushed:
                await self._link.flush()
                flushed = True
            elif not found.more:
                return

    async def _take_in(self, link: Link, rows: list[Raw]) -> None:
        transactions: list[list[Entry]] = []
        current = b""
        for raw in rows:
            if not transactions or raw.transaction != current:
                current = raw.transaction
                transactions.append([])
            transactions[-1].extend(self._read(raw.data))
        if any(not self._fits(entry) for entries in transactions for entry in entries):
            await self._read_catalogue(link)
            self._remember_unfit(transactions)
        at_ns = self._clock.monotonic_ns()
        for entries in transactions:
            self._keep(entries, at_ns)

    def _read(self, data: bytes) -> tuple[Entry, ...]:
        try:
            return READERS[self.plugin](data.decode("utf-8", "replace"))
        except ValueError as error:
            self._lapses.note(f"changes that {self.plugin} wrote down could not be read: {error}", self.role)
            return ()

    def _keep(self, entries: list[Entry], at_ns: int) -> None:
        if any(isinstance(entry, Message) and not trace_named(entry.content) for entry in entries):
            self._lapses.note("messages of transactions that hold neither a trace id nor a traceparent", self.role, blind=False)
        truncated: set[str] = set()
        for change, trace in with_traces(entries):
            table = self._tables.get((change.schema, change.table))
            name = table.shown if table is not None else f"{change.schema}.{change.table}"
            self.moved += 1
            if not self._options.watches(name):
                continue
            if change.action is Action.TRUNCATE:
                if name in truncated:  # a part of a table that was named before
                    continue
                truncated.add(name)
            document = document_of(change, table)
            if len(self._held) >= self._undrained_max or self._held_bytes + len(document) > limits_collectors.POSTGRES_UNDRAINED_BYTES_MAX:
                self._lapses.note("row changes came faster than they were taken and were left out", self.role)
                continue
            operation = self._operations.named(change.action, name)
            keys = table.generated if table is not None and change.action is Action.INSERT else ()
            effect = Effect(collector="postgres", operation=operation, document=document, at_ns=at_ns, keys=keys)
            self._held.append(Observed(role=self.role, effect=effect, trace=trace))
            self._held_bytes += len(document)

    def _fits(self, entry: Entry) -> bool:
        if not isinstance(entry, Change) or (entry.schema, entry.table, len(entry.new) + len(entry.old)) in self._unfit:
            return True
        table = self._tables.get((entry.schema, entry.table))
        return table is not None and table.fits(entry)

    def _remember_unfit(self, transactions: Iterable[list[Entry]]) -> None:
        # What does not fit even now (the table is gone again) must not have the catalogue read with each fetch.
        for entries in transactions:
            for entry in entries:
                if isinstance(entry, Change) and not self._fits(entry) and len(self._unfit) < limits_collectors.POSTGRES_UNFIT_ROWS_MAX:
                    self._unfit.add((entry.schema, entry.table, len(entry.new) + len(entry.old)))

    async def _read_catalogue(self, link: Link) -> None:
        self._tables = {(table.schema, table.name): table for table in await link.tables()}

    async def _create_slot(self, link: Link, plugin: str) -> None:
        for attempt in range(_SLOT_NAMES_TRIED):
            name = f"{SLOT_PREFIX}{self._rng.randrange(1 << 32):08x}_{self.role}"
            try:
                return await link.create_slot(name, plugin)
            except psycopg.errors.DuplicateObject:  # another run with the same seed
                if attempt == _SLOT_NAMES_TRIED - 1:
                    raise
        return None

    async def _lose(self, why: str) -> None:
        self._lost = why
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _reconnect(self) -> bool:
        """A new link in place of a lost one: the gap is a lapse. Returns whether there is one."""
        now_ns = self._clock.monotonic_ns()
        if self._tried_ns and now_ns - self._tried_ns < limits_collectors.POSTGRES_RECONNECT_SECONDS * 1e9:
            return False
        self._tried_ns = now_ns
        link = None
        try:
            async with asyncio.timeout(limits_collectors.POSTGRES_CONNECT_SECONDS_MAX + limits_collectors.POSTGRES_SLOT_SECONDS_MAX):
                link = await Link.connect(self.dsn)
                await link.drop_left_over()
                await self._read_catalogue(link)
                await self._create_slot(link, self.plugin)
        except FAILURES as error:
            if link is not None:
                await link.close()
            self._lost = self._lost or words(error, self.dsn)
            return False
        self._link = link
        now = self._clock.time()
        self._lapses.note(f"row changes between {_when(self._seen_until)} and {_when(now)} were not seen: {self._lost}", self.role)
        self._lost, self._seen_until = "", now
        return True

    def _say_what_cannot_be_seen(self) -> None:
        watched = [table for table in self._tables.values() if self._options.watches(table.shown) and not table.whole]
        keyless = [f"{table.schema}.{table.name}" for table in watched if table.identity is Identity.NONE]
        if keyless and self.plugin == "wal2json":
            self._lapses.stand(f"updates and deletes of tables without a primary key or REPLICA IDENTITY FULL: {_some(keyless)}", self.role)
        elif keyless:
            what = f"old values in tables without a primary key or REPLICA IDENTITY FULL: {_some(keyless)}"
            self._lapses.stand(what, self.role, blind=False)
        if unlogged := [table.shown for table in watched if table.unlogged]:
            self._lapses.stand(f"row changes of unlogged tables: {_some(unlogged)}", self.role)
        names = [table.shown for table in self._tables.values()]
        for pattern in self._options.tables:
            if not any(matches(pattern, name) for name in names):
                self._lapses.stand(f"no table is like {pattern!r} ({SECTION}.tables) when the builds are ready", self.role)

    def _setup_error(self, problem: str, error: BaseException, fix: str) -> SetupError:
        what = f"the database of {self.role} ({shown(self.dsn)}) {problem}: {words(error, self.dsn)}"
        return SetupError(what, where=SECTION, fix=fix)


def _is_barred(error: BaseException) -> bool:
    """Whether a server has not got a plugin, or does not let it be used."""
    not_allowed = isinstance(error, psycopg.errors.InsufficientPrivilege) and "output_plugin" in words(error, "")
    return not_allowed or isinstance(error, psycopg.errors.UndefinedFile)


def _slot_fix(error: BaseException, plugin: str) -> str:
    if isinstance(error, psycopg.errors.InsufficientPrivilege) and _is_barred(error):
        return f"let the server load {plugin} (output_plugin_libraries), or use another plugin ({SECTION}.plugin)"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return "give the user the right: ALTER ROLE name REPLICATION"
    if isinstance(error, psycopg.errors.ConfigurationLimitExceeded):
        return "raise max_replication_slots (one for each target and one more) and start the server again, or drop slots nobody uses"
    if isinstance(error, psycopg.errors.UndefinedFile):
        return f"install {plugin} at the server, or use another plugin ({SECTION}.plugin)"
    if isinstance(error, psycopg.errors.QueryCanceled):
        return "a transaction has been open all the time (pg_stat_activity, pg_prepared_xacts); a slot can only start when it has ended"
    return ANY_FIX


def _when(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%H:%M:%S UTC")


def _some(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN_MAX
    return ", ".join(names[:_NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
