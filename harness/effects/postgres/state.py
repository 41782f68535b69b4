"""The tables of a target as they are at the end of a pass: rows, a digest of each column, the first rows."""

from typing import Any, Final, cast

import psycopg
from psycopg import sql

from harness.core import limits, limits_collectors
from harness.core.clock import Clock
from harness.core.labels import Role
from harness.effects.api import TableState
from harness.effects.naming import document
from harness.effects.postgres.changes import SORT_OF_OID, Cell, Sort, Table, value_of
from harness.effects.postgres.lapses import LapseBook
from harness.effects.postgres.link import FAILURES, Link, words
from harness.effects.postgres.options import Options

_NULL_HASH: Final = 0x5AD0_D1FF
"""Counts for NULL, so that it differs from every text, and from a row less."""
_DIGEST_MASK: Final = (1 << 64) - 1


async def tables_of(role: Role, options: Options, clock: Clock, lapses: LapseBook) -> tuple[TableState, ...]:
    """Every watched table of a target, as of one moment. Never raises: what cannot be read is a lapse."""
    dsn = options.dsn_for(role)
    link = None
    try:
        link = await Link.connect(dsn)
        return await _read(link, role, options, clock, lapses)
    except FAILURES as error:
        lapses.note(f"the tables at the end of a pass could not be read: {words(error, dsn)}", role, blind=False)
        return ()
    finally:
        if link is not None:
            await link.close()


async def _read(link: Link, role: Role, options: Options, clock: Clock, lapses: LapseBook) -> tuple[TableState, ...]:
    connection = link.connection
    await connection.set_read_only(True)
    await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
    await connection.execute(f"set statement_timeout = '{int(limits_collectors.POSTGRES_TABLE_SECONDS_MAX * 1000)}ms'".encode())
    tables = [table for table in await link.tables() if not table.part and options.watches(table.shown)]
    if len(tables) > limits_collectors.POSTGRES_TABLES_MAX:
        lapses.note(
            "tables beyond the bound were not compared at the end of a pass",
            role,
            len(tables) - limits_collectors.POSTGRES_TABLES_MAX,
            blind=False,
        )
    until_ns = clock.monotonic_ns() + int(limits_collectors.POSTGRES_STATE_SECONDS_MAX * 1e9)
    found = []
    async with connection.transaction():
        for table in tables[: limits_collectors.POSTGRES_TABLES_MAX]:
            if clock.monotonic_ns() > until_ns:
                lapses.note("tables were not compared at the end of a pass: there was no time left", role, blind=False)
                continue
            try:
                async with connection.transaction():
                    found.append(await _state_of(connection, table))
            except psycopg.Error as error:
                if connection.closed:
                    raise
                what = f"{table.shown} was not compared at the end of a pass: {words(error, options.dsn_for(role))}"
                lapses.note(what, role, blind=False)
    return tuple(found)


async def _state_of(connection: "psycopg.AsyncConnection[tuple[object, ...]]", table: Table) -> TableState:
    sums = cast("tuple[Any, ...]", await (await connection.execute(_sums(table))).fetchone())
    rows = await (await connection.execute(_first(table))).fetchall()
    digests = {name: f"{int(total or 0) & _DIGEST_MASK:016x}" for (name, _), total in zip(table.columns, sums[1:], strict=True)}
    first = tuple(_row(table, cast("tuple[str | None, ...]", row)) for row in rows)
    return TableState(table=table.shown, rows=int(sums[0]), digests=digests, first=first)


def _name(table: Table) -> sql.Composable:
    return sql.Identifier(table.schema, table.name)


def _text(column: str) -> sql.Composable:
    return sql.SQL('({}::text collate pg_catalog."C")').format(sql.Identifier(column))


def _sums(table: Table) -> sql.Composed:
    # A sum of hashes does not depend on the order of the rows and, other than an exclusive or, sees each of equal rows.
    columns = [
        sql.SQL(", sum(coalesce(pg_catalog.hashtextextended({}, 0), {}))").format(_text(name), sql.Literal(_NULL_HASH))
        for name, _ in table.columns
    ]
    return sql.SQL("select count(*){} from {}").format(sql.Composed(columns), _name(table))


def _first(table: Table) -> sql.Composed:
    columns = [
        sql.SQL("pg_catalog.left({}, {})").format(_text(name), sql.Literal(limits_collectors.POSTGRES_CELL_CHARS_MAX))
        for name, _ in table.columns
    ]
    # Types without an order of their own (json, say) have one as text.
    order: list[sql.Composable] = [sql.Identifier(name) for name in table.primary] or [_text(name) for name, _ in table.columns]
    by = sql.SQL(" order by {}").format(sql.SQL(", ").join(order)) if order else sql.SQL("")
    return sql.SQL("select {} from {}{} limit {}").format(
        sql.SQL(", ").join(columns), _name(table), by, sql.Literal(limits.EFFECT_TABLE_ROWS_SHOWN_MAX)
    )


def _row(table: Table, texts: tuple[str | None, ...]) -> bytes:
    cells = {name: Cell(SORT_OF_OID.get(number, Sort.TEXT), text) for (name, number), text in zip(table.columns, texts, strict=True)}
    try:
        return document({name: value_of(cell) for name, cell in cells.items()})
    except (TypeError, ValueError, RecursionError):
        return document({name: cell.text for name, cell in cells.items()})
