"""A fresh copy of a SQLite database, whole even where part of it is still in a write-ahead log. Blocks while it copies."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from harness.core.errors import SetupError
from harness.effects.sqlite.database import connect, is_busy

COMPANIONS: Final = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database file."""
_MAGIC: Final = b"SQLite format 3\x00"
_PAGES: Final = 2_000
"""Copied between two questions whether somebody still wants it: a few MB."""


class _GivenUpError(Exception):
    """Nobody wants the copy any more."""


def fresh_copy(source: Path | None, target: Path, given_up: Callable[[], bool] = lambda: False) -> None:
    """Make `target` a copy of `source`, or nothing at all without a source; what was there is removed. Raises SetupError.

    Only a database is ever removed, and never the source: a mistaken path must not cost a file. Once it is `given_up`, which is
    asked again and again, it ends, and `target` is not there.
    """
    try:
        _check(source, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(target)
        if source is not None:
            try:
                _copy(source, target, given_up)
            except _GivenUpError:
                _remove(target)
    except OSError as error:
        raise SetupError(f"the database cannot be copied: {error}", where=str(target), fix="see effects.sqlite.path") from error
    except sqlite3.Error as error:
        raise SetupError(f"the database cannot be copied: {error}", where=str(source), fix="see effects.sqlite.source") from error


def _check(source: Path | None, target: Path) -> None:
    if source is not None and not source.is_file():
        raise SetupError("no such database", where=str(source), fix="give an existing file as effects.sqlite.source")
    if not target.exists():
        return
    if source is not None and target.samefile(source):
        raise SetupError("a target's copy would replace its source", where=str(target), fix="give another effects.sqlite.path")
    if not target.is_file():
        raise SetupError("not a file, so it is not replaced", where=str(target), fix="give another effects.sqlite.path")
    with target.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head and head != _MAGIC:
        raise SetupError("not a SQLite database, so it is not replaced", where=str(target), fix="give another effects.sqlite.path")


def _remove(target: Path) -> None:
    for suffix in ("", *COMPANIONS):
        target.with_name(target.name + suffix).unlink(missing_ok=True)


def _copy(source: Path, target: Path, given_up: Callable[[], bool]) -> None:
    def go_on(*_: object) -> None:
        if given_up():
            raise _GivenUpError

    with closing(_reader(source)) as reader, closing(connect(target, "rwc")) as writer:
        # One transaction that reads the whole: without it the copy would begin anew whenever somebody writes to the source.
        _begin(reader, go_on)
        reader.backup(writer, pages=_PAGES, progress=go_on)
        if reader.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            writer.execute("PRAGMA journal_mode = wal")


def _begin(reader: sqlite3.Connection, go_on: Callable[[], None]) -> None:
    """Begin to read, once nobody keeps the source locked."""
    reader.execute("PRAGMA busy_timeout = 250")
    reader.execute("BEGIN")
    while True:
        go_on()
        try:
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
        else:
            return


def _reader(source: Path) -> sqlite3.Connection:
    """Read-only. A database in WAL mode that has no log is open nowhere, and reading it as such would leave two files beside it."""
    with source.open("rb") as file:
        head = file.read(20)
    if head[18:] == b"\x02\x02" and not source.with_name(source.name + "-wal").exists():
        return connect(source, "ro&immutable=1")
    return connect(source, "ro")
