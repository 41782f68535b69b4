"""One connection to a target's database and the temporary replication slot in it. Only this folder's modules import psycopg.

A temporary slot is gone with its connection, and also with any error in it: after an error a link is of no more use.
"""

import contextlib
import re
from collections.abc import Callable
from typing import Final, LiteralString, NamedTuple, cast

import psycopg
from psycopg import sql
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict

from harness.core import limits, limits_collectors
from harness.core.errors import SetupError
from harness.core.labels import Role
from harness.effects.postgres import json_plugin, text_plugin
from harness.effects.postgres.changes import Entry, Identity, Table
from harness.effects.postgres.options import ANY_FIX, SECTION

SLOT_PREFIX: Final = "shadowdiff_"
FAILURES: Final = (psycopg.Error, OSError, TimeoutError, UnicodeError)
"""What a server or the way to it may do to a link."""
READERS: Final[dict[str, Callable[[str], tuple[Entry, ...]]]] = {"test_decoding": text_plugin.read, "wal2json": json_plugin.read}
"""What reads a plugin's text, by its name."""
_OPTIONS: Final[dict[str, tuple[str, ...]]] = {"test_decoding": text_plugin.OPTIONS, "wal2json": json_plugin.OPTIONS}
_WORDS_CHARS_MAX: Final = 300

_SESSION: Final[tuple[LiteralString, ...]] = (
    "set datestyle = 'ISO, YMD'",
    "set intervalstyle = 'postgres'",
    "set timezone = 'UTC'",
    "set extra_float_digits = 1",
    "set bytea_output = 'hex'",
    "set lc_monetary = 'C'",
    "set search_path = ''",
    "set synchronous_commit = 'local'",
    "set statement_timeout = 0",
    "set lock_timeout = 0",
)
"""So that the text of a value depends on nothing but the value."""
_LEFT_OVER: Final = r"""
select slot_name::text from pg_catalog.pg_replication_slots
where slot_name ~ '^shadowdiff_[0-9a-f]{8}_[a-z]+$' and slot_type = 'logical' and not temporary and not active
"""
_FLUSH: Final = "select 1 from pg_catalog.pg_logical_emit_message(true, 'shadowdiff-flush', '')"
_PLACE: Final = """
select pg_catalog.pg_postmaster_start_time()::text, d.oid::text, pg_catalog.current_setting('wal_level')
from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()
"""
_TABLES: Final = r"""
select n.nspname::text, c.relname::text, rn.nspname::text, r.relname::text,
  case when c.relreplident = 'f' then 'full' when identity.columns is null then 'none' else 'key' end,
  coalesce(identity.columns, '{}'), coalesce(key.columns, '{}'), coalesce(a.names, '{}'), coalesce(a.types, '{}'),
  coalesce(made.columns, '{}'), c.relispartition, c.relkind = 'p', c.relpersistence = 'u'
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_class r on r.oid = coalesce(pg_catalog.pg_partition_root(c.oid), c.oid)
join pg_catalog.pg_namespace rn on rn.oid = r.relnamespace
left join lateral (
  select array_agg(t.attname::text order by t.attnum) names, array_agg(t.atttypid::oid::text order by t.attnum) types
  from pg_catalog.pg_attribute t where t.attrelid = c.oid and t.attnum > 0 and not t.attisdropped) a on true
left join lateral (
  select array_agg(t.attname::text order by k.place) columns
  from pg_catalog.pg_index i, unnest(i.indkey::int2[]) with ordinality k(attnum, place), pg_catalog.pg_attribute t
  where i.indrelid = c.oid and i.indisprimary and k.place <= i.indnkeyatts and t.attrelid = c.oid and t.attnum = k.attnum) key on true
left join lateral (
  select array_agg(t.attname::text order by k.place) columns
  from pg_catalog.pg_index i, unnest(i.indkey::int2[]) with ordinality k(attnum, place), pg_catalog.pg_attribute t
  where i.indrelid = c.oid and i.indisvalid and i.indimmediate and k.place <= i.indnkeyatts
    and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end
    and t.attrelid = c.oid and t.attnum = k.attnum) identity on true
left join lateral (
  select array_agg(t.attname::text order by t.attnum) columns
  from pg_catalog.pg_attribute t
  left join pg_catalog.pg_attrdef d on d.adrelid = t.attrelid and d.adnum = t.attnum
  where t.attrelid = r.oid and t.attnum > 0 and not t.attisdropped
    and (t.attidentity <> '' or pg_catalog.pg_get_expr(d.adbin, d.adrelid) like '%nextval(%')) made on true
where c.relkind in ('r', 'p') and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
order by 1, 2
"""


class Raw(NamedTuple):
    """One row that a slot gave: its transaction and its text."""

    transaction: bytes
    data: bytes


class Changes(NamedTuple):
    """What a slot gave at once: whole transactions in commit order."""

    rows: list[Raw]
    behind: bool
    """There may be more that the server has not written to disk yet; `flush` has it do so."""
    left_out: int
    """Rows beyond the bounds."""
    more: bool
    """There may be more that was not asked for."""


class Place(NamedTuple):
    """Which database of which server a link leads to."""

    server: str
    database: str
    wal_level: str


class _Bytes(Loader):
    """Text as it comes: what an application put into the log need not be text at all."""

    def load(self, data: "bytes | bytearray | memoryview") -> bytes:
        return bytes(data)


class Link:
    """One connection. Everything but `close` may raise FAILURES."""

    def __init__(self, connection: "psycopg.AsyncConnection[tuple[object, ...]]") -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._cursor.adapters.register_loader("text", _Bytes)
        self._cursor.adapters.register_loader("xid", _Bytes)
        self._fetch: sql.Composed | None = None
        self._slot = ""

    @classmethod
    async def connect(cls, dsn: str) -> "Link":
        """A connection in which values are written the same way at all targets."""
        connection = await psycopg.AsyncConnection.connect(
            dsn,
            autocommit=True,
            connect_timeout=limits_collectors.POSTGRES_CONNECT_SECONDS_MAX,
            client_encoding="utf8",
            fallback_application_name="shadowdiff",
        )
        try:
            for setting in _SESSION:
                await connection.execute(setting)
        except BaseException:
            await connection.close()
            raise
        return cls(connection)

    async def place(self) -> Place:
        """Where it leads."""
        found = await (await self._connection.execute(_PLACE)).fetchone()
        assert found is not None
        return Place(*(str(part) for part in found))

    async def drop_left_over(self) -> int:
        """Drop slots that earlier runs left behind, so that they hold no log back; the number dropped."""
        dropped = 0
        for (name,) in await (await self._connection.execute(_LEFT_OVER)).fetchall():
            with contextlib.suppress(psycopg.Error):  # another run was quicker, or it is in use again
                await self._connection.execute("select pg_catalog.pg_drop_replication_slot(%s)", (name,))
                dropped += 1
        return dropped

    async def create_slot(self, name: str, plugin: str) -> None:
        """Begin to watch: what is committed from now on is kept for `changes`."""
        await self._connection.execute(f"set statement_timeout = '{limits_collectors.POSTGRES_SLOT_SECONDS_MAX}s'".encode())
        await self._connection.execute("select pg_catalog.pg_create_logical_replication_slot(%s, %s, true)", (name, plugin))
        await self._connection.execute("set statement_timeout = 0")
        self._slot = name
        self._fetch = _fetch_of(name, _OPTIONS[plugin])

    async def drop_slot(self) -> None:
        """The opposite."""
        name, self._slot, self._fetch = self._slot, "", None
        if name:
            await self._connection.execute("select pg_catalog.pg_drop_replication_slot(%s)", (name,))

    async def changes(self) -> Changes:
        """What was committed since the last call, in one round trip."""
        assert self._fetch is not None
        rows: list[Raw] = []
        size = left_out = count = 0
        behind = False
        # Row by row, so that a transaction of a million rows fills no memory here. Preparing the statement gains nothing: decoding
        # makes the server forget every plan. For the same reason it is kept to as few functions as can be.
        async for row in self._cursor.stream(self._fetch):
            transaction, data, written, flushed = cast("tuple[bytes | None, bytes, str, str]", row)
            if transaction is None:  # nothing was committed
                return Changes([], written != flushed, 0, False)
            count += 1
            behind = written != flushed
            size += len(data)
            if len(rows) < limits.EFFECTS_UNDRAINED_MAX and size <= limits_collectors.POSTGRES_FETCH_BYTES_MAX:
                rows.append(Raw(transaction, data))
            else:
                left_out += 1
        return Changes(rows, behind, left_out, count >= limits_collectors.POSTGRES_FETCH_CHANGES)

    async def flush(self) -> None:
        """Have everything written to disk that the server's log holds, by a transaction of our own that changes nothing."""
        await self._connection.execute(_FLUSH)

    async def tables(self) -> list[Table]:
        """All tables of users."""
        found = await (await self._connection.execute(_TABLES)).fetchall()
        return [_table(row) for row in found]

    @property
    def connection(self) -> "psycopg.AsyncConnection[tuple[object, ...]]":
        """For questions of one's own."""
        return self._connection

    async def close(self) -> None:
        """Let go, slot included; never raises."""
        with contextlib.suppress(*FAILURES):
            await self._connection.close()


def _fetch_of(name: str, options: tuple[str, ...]) -> sql.Composed:
    # What is not yet on disk is not decoded: a transaction committed with synchronous_commit = off, say. Whether there is such is
    # asked first (the outer side of the join); asked afterwards, it might have been written in between.
    return sql.SQL(
        "select b.xid, b.data, p.written, p.flushed from ("
        "select pg_catalog.pg_current_wal_insert_lsn() as written, pg_catalog.pg_current_wal_flush_lsn() as flushed) as p"
        " left join pg_catalog.pg_logical_slot_get_changes({}, null, {}, {}) as b on true"
    ).format(sql.Literal(name), sql.Literal(limits_collectors.POSTGRES_FETCH_CHANGES), sql.SQL(", ").join(map(sql.Literal, options)))


def _table(row: "tuple[object, ...]") -> Table:
    schema, name, root_schema, root, identity, key, primary, names, types, made, part, whole, unlogged = row
    assert isinstance(key, list)
    assert isinstance(primary, list)
    assert isinstance(names, list)
    assert isinstance(types, list)
    assert isinstance(made, list)
    return Table(
        schema=str(schema),
        name=str(name),
        shown=f"{root_schema}.{root}",
        identity=Identity(str(identity)),
        key=tuple(key),
        primary=tuple(primary),
        columns=tuple(zip(names, types, strict=True)),
        generated=tuple(sorted(made, key=lambda column: column not in primary)),
        part=bool(part),
        whole=bool(whole),
        unlogged=bool(unlogged),
    )


def check_dsn(dsn: str, role: Role) -> None:
    """Raises SetupError where a connection string cannot be read."""
    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        # What is quoted there may be a piece of the password.
        problem = re.sub(r'"[^"]*"', "…", " ".join(str(error).split()))
        what = f"the connection string of {role} cannot be read: {problem}"
        raise SetupError(what, where=f"{SECTION}.dsn", fix=ANY_FIX) from None


def words(error: BaseException, dsn: str) -> str:
    """What a server or psycopg said, on one line, without the password."""
    diagnosed = error.diag if isinstance(error, psycopg.Error) else None
    text = ""
    if diagnosed is not None and diagnosed.message_primary:
        text = diagnosed.message_primary + (f" ({diagnosed.message_hint})" if diagnosed.message_hint else "")
    text = " ".join((text or str(error)).split()) or type(error).__name__
    for secret in _secrets(dsn):
        text = text.replace(secret, "***")
    return text[:_WORDS_CHARS_MAX]


def shown(dsn: str) -> str:
    """A connection string for people: no password."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "(unreadable)"
    return " ".join(f"{key}={parts[key]}" for key in ("host", "port", "dbname", "user") if parts.get(key))


def _secrets(dsn: str) -> list[str]:
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return [dsn]
    return [str(parts[key]) for key in ("password", "sslpassword") if parts.get(key)]
