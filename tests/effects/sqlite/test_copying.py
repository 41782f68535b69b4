"""Copies are whole, fresh, and never cost a file that is no copy."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harness.core.errors import SetupError
from harness.effects.sqlite import copying
from harness.effects.sqlite.copying import COMPANIONS, fresh_copy


def _rows(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT x FROM t ORDER BY x").fetchall()


def _seed(path: Path, mode: str = "delete") -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (1)")
    return connection


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_source_that_is_in_use_is_copied_whole(tmp_path: Path, mode: str) -> None:
    source, target = tmp_path / "seed.db", tmp_path / "new" / "stable.db"
    with closing(_seed(source, mode)):
        fresh_copy(source, target)
        assert (source.with_name("seed.db-wal").exists()) == (mode == "wal")
    assert _rows(target) == [(1,)]
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)


def test_what_an_earlier_pass_left_is_gone(tmp_path: Path) -> None:
    source, target = tmp_path / "seed.db", tmp_path / "stable.db"
    _seed(source).close()
    fresh_copy(source, target)
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
        connection.commit()
    for suffix in COMPANIONS:
        target.with_name(target.name + suffix).write_bytes(b"left over")
    fresh_copy(source, target)
    assert _rows(target) == [(1,)]
    fresh_copy(None, target)
    assert list(tmp_path.iterdir()) == [source]


def test_only_databases_are_replaced_and_never_the_source(tmp_path: Path) -> None:
    source, text = tmp_path / "seed.db", tmp_path / "notes.txt"
    _seed(source).close()
    text.write_text("precious")
    with pytest.raises(SetupError, match="not a SQLite database"):
        fresh_copy(source, text)
    with pytest.raises(SetupError, match="would replace its source"):
        fresh_copy(source, source)
    link = tmp_path / "link.db"
    link.symlink_to(source)
    with pytest.raises(SetupError, match="would replace its source"):
        fresh_copy(source, link)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SetupError, match="not a file"):
        fresh_copy(source, tmp_path / "folder")
    assert text.read_text() == "precious"
    assert _rows(source) == [(1,)]


def test_an_empty_file_may_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "stable.db"
    target.touch()
    fresh_copy(None, target)
    assert not target.exists()


def test_a_source_that_is_not_there_or_no_database(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no such database"):
        fresh_copy(tmp_path / "none.db", tmp_path / "a.db")
    (tmp_path / "text").write_bytes(b"no database" * 500)
    with pytest.raises(SetupError, match="cannot be copied"):
        fresh_copy(tmp_path / "text", tmp_path / "a.db")


def test_nothing_is_left_beside_a_source_in_wal_mode(tmp_path: Path) -> None:
    """It may lie where nothing can be written."""
    folder = tmp_path / "seeds"
    folder.mkdir()
    _seed(folder / "seed.db", "wal").close()
    fresh_copy(folder / "seed.db", tmp_path / "a.db")
    assert list(folder.iterdir()) == [folder / "seed.db"]
    assert _rows(tmp_path / "a.db") == [(1,)]


def test_a_copy_that_is_given_up_ends_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "seed.db", tmp_path / "stable.db"
    with closing(_seed(source)) as seed:
        seed.execute("INSERT INTO t WITH RECURSIVE n(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM n WHERE x < 20000) SELECT x FROM n")
    monkeypatch.setattr(copying, "_PAGES", 1)
    asked: list[bool] = []

    def given_up() -> bool:
        asked.append(target.exists())
        return len(asked) > 3

    fresh_copy(source, target, given_up)
    assert len(asked) == 4, "it was asked while it copied, and not any more once it was given up"
    assert list(tmp_path.iterdir()) == [source]
    fresh_copy(source, target, lambda: False)
    assert len(_rows(target)) == 20000


def test_a_copy_in_parts_is_one_look_at_a_source_that_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "seed.db", tmp_path / "stable.db"
    monkeypatch.setattr(copying, "_PAGES", 1)
    with closing(_seed(source, "wal")) as seed:
        seed.execute("INSERT INTO t WITH RECURSIVE n(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM n WHERE x < 2000) SELECT x FROM n")
        asked = 0

        def writes() -> bool:
            nonlocal asked
            asked += 1
            if asked > 1:
                seed.execute("INSERT INTO t VALUES (9999)")
            assert asked < 1000, "it begins anew at every write"
            return False

        fresh_copy(source, target, writes)
    assert _rows(target) == [(x,) for x in range(1, 2001)]


def test_a_source_that_stays_locked_is_waited_for_until_it_is_given_up(tmp_path: Path) -> None:
    source, target = tmp_path / "seed.db", tmp_path / "stable.db"
    asked = 0

    def given_up() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    with closing(_seed(source)) as seed:
        seed.execute("BEGIN EXCLUSIVE")
        fresh_copy(source, target, given_up)
        seed.execute("COMMIT")
    assert asked == 3
    assert list(tmp_path.iterdir()) == [source]
