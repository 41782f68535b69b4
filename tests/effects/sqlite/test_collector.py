"""What the collector says of a build that writes to SQLite in a process of its own."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from harness.core import limits, limits_collectors
from harness.core.errors import SetupError, UsageError
from harness.core.labels import Role
from harness.effects.sqlite.collector import SqliteCollector
from tests.effects.sqlite.conftest import TRIAL, Rig

Make = Callable[..., Rig]
ORDERS = "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, price REAL, note BLOB)"


@pytest.mark.parametrize("mode", ["wal", "delete", "truncate", "persist"])
def test_inserts_updates_and_deletes_in_the_order_in_which_they_were_made(rig: Make, mode: str) -> None:
    one = rig()
    build = one.started(f"PRAGMA journal_mode = {mode}", ORDERS, "INSERT INTO orders VALUES (1, 'at start', 0, NULL)")
    assert one.seen() == []
    build.do(
        "INSERT INTO orders VALUES (2, 'book', 12.5, x'00ff')",
        "UPDATE orders SET price = 13, item = item WHERE id = 2",
        "DELETE FROM orders WHERE id = 1",
    )
    assert one.seen() == [
        ("INSERT orders", {"row": {"id": 2, "item": "book", "price": 12.5, "note": "hex:00ff"}}),
        ("UPDATE orders", {"row": {"id": 2, "item": "book", "price": 13.0, "note": "hex:00ff"}, "changed": {"price": 12.5}}),
        ("DELETE orders", {"old": {"id": 1, "item": "at start", "price": 0.0, "note": None}}),
    ]
    assert one.seen() == []
    assert one.lapses() == []


def test_effects_say_what_they_are(rig: Make) -> None:
    one = rig()
    one.started(ORDERS).do("INSERT INTO orders (item) VALUES ('x')")
    before = time.monotonic_ns()
    (seen,) = one.drained()
    assert (seen.role, seen.trace, seen.effect.collector, seen.effect.writes) == (Role.STABLE, "", "sqlite", True)
    assert before <= seen.effect.at_ns <= time.monotonic_ns()


def test_what_is_rolled_back_did_not_happen(rig: Make) -> None:
    one = rig()
    build = one.started(ORDERS)
    build.do("BEGIN", "INSERT INTO orders (item) VALUES ('lost')")
    assert one.seen() == []
    build.do("ROLLBACK", "INSERT INTO orders (item) VALUES ('kept')")
    assert [document["row"]["item"] for _, document in one.seen()] == ["kept"]
    assert one.lapses() == []


def test_the_build_sees_its_own_changes_and_rowid(rig: Make) -> None:
    """The triggers write to the log after each row; none of it may show in what the build asks SQLite about its statement."""
    one = rig()
    build = one.started(
        ORDERS, "CREATE TABLE log (what)", "CREATE TRIGGER own AFTER INSERT ON orders BEGIN INSERT INTO log VALUES (new.id); END"
    )
    for index in range(1, 4):
        answer = build.do(f"INSERT INTO orders (id, item) VALUES ({index * 1000}, 'x')")
        assert (answer["changes"], answer["last"]) == (1, index * 1000)
    assert build.do("UPDATE orders SET price = 1")["changes"] == 3
    assert build.do("INSERT INTO orders (item) VALUES ('y') RETURNING id")["rows"] == [[3001]]
    answer = build.do("DELETE FROM orders")
    assert (answer["changes"], answer["last"]) == (4, 3001)
    assert len(one.seen()) == 4 + 4 + 3 + 4


def test_values_are_exact(rig: Make) -> None:
    one = rig()
    build = one.started("CREATE TABLE v (a)")
    values = [2**53 + 1, -(2**63), 1.0, 1, 0.1, "1", "", "é\u2028'\"", None, 1e999]
    for value in values[:-1]:
        assert "error" not in build.ask("INSERT INTO v VALUES (?)", value)
    build.do(
        "INSERT INTO v VALUES (9e999)", "INSERT INTO v VALUES (CAST(x'ff41' AS TEXT))", "INSERT INTO v VALUES (CAST(x'610062' AS TEXT))"
    )
    got = [document["row"]["a"] for _, document in one.seen()]
    assert got == [*values[:-1], "inf", "hex:ff41", "a\x00b"]
    assert [type(value) for value in got[2:4]] == [float, int]


def test_a_long_value_is_cut_and_the_effect_stays_within_its_bound(rig: Make) -> None:
    one = rig()
    build = one.started("CREATE TABLE v (a, b)")
    build.do("INSERT INTO v VALUES (printf('%.*c', 5000000, 'x'), zeroblob(9000000))")
    ((_, document),) = one.seen()
    assert document["row"]["a"].endswith("… 5000000 characters")
    assert document["row"]["b"].startswith("hex:0000")
    assert document["row"]["b"].endswith("… 9000000 bytes")
    with closing(sqlite3.connect(one.path)) as connection:
        assert (
            connection.execute("SELECT max(length(v0) + length(v1)) FROM _shadowdiff_log").fetchone()[0] < limits.EFFECT_DOCUMENT_BYTES_MAX
        )


def test_odd_tables(rig: Make) -> None:
    one = rig()
    build = one.started(
        'CREATE TABLE "we""ird ü\'s" ("a""b" TEXT, "select" INTEGER, "新" TEXT)',
        "CREATE TABLE pairs (a TEXT, b INTEGER, PRIMARY KEY (b, a)) WITHOUT ROWID",
        "CREATE TABLE made (x INTEGER, twice INTEGER AS (x * 2) STORED, thrice INTEGER AS (x * 3) VIRTUAL)",
        f"CREATE TABLE wide ({', '.join(f'c{i}' for i in range(1500))})",
        "CREATE VIEW shown AS SELECT * FROM made",
    )
    build.do(
        'INSERT INTO "we""ird ü\'s" VALUES (1, 2, 3)',
        "INSERT INTO pairs VALUES ('x', 1)",
        "INSERT INTO made (x) VALUES (5)",
        "INSERT INTO wide (c0, c1499) VALUES (1, 2)",
        "UPDATE wide SET c700 = 'seven'",
    )
    weird, pairs, made, wide, update = one.seen()
    assert weird == ("INSERT we\"ird ü's", {"row": {'a"b': "1", "select": 2, "新": "3"}})
    assert pairs == ("INSERT pairs", {"row": {"a": "x", "b": 1}})
    assert made == ("INSERT made", {"row": {"x": 5, "twice": 10}})
    assert (wide[1]["row"]["c0"], wide[1]["row"]["c1499"], len(wide[1]["row"])) == (1, 2, 1500)
    assert update[1]["changed"] == {"c700": None}
    assert one.lapses() == []


def test_cascades_replacements_and_upserts(rig: Make) -> None:
    one = rig()
    build = one.started(
        "PRAGMA foreign_keys = ON",
        "CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent(id) ON DELETE CASCADE ON UPDATE CASCADE)",
        "INSERT INTO parent VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO child VALUES (10, 1), (11, 1)",
    )
    build.do("UPDATE parent SET id = 7 WHERE id = 1")
    assert sorted(operation for operation, _ in one.seen()) == ["UPDATE child", "UPDATE child", "UPDATE parent"]
    build.do("DELETE FROM parent WHERE id = 7")
    assert sorted(operation for operation, _ in one.seen()) == ["DELETE child", "DELETE child", "DELETE parent"]
    build.do("INSERT INTO parent VALUES (3, 'b') ON CONFLICT (name) DO UPDATE SET name = 'c'")
    assert one.seen() == [("UPDATE parent", {"row": {"id": 2, "name": "c"}, "changed": {"name": "b"}})]
    build.do("INSERT OR REPLACE INTO parent VALUES (2, 'd')")
    assert one.seen() == [("INSERT parent", {"row": {"id": 2, "name": "d"}})]
    build.do("PRAGMA recursive_triggers = ON", "INSERT OR REPLACE INTO parent VALUES (2, 'e')")
    assert one.seen() == [("DELETE parent", {"old": {"id": 2, "name": "d"}}), ("INSERT parent", {"row": {"id": 2, "name": "e"}})]
    build.do("INSERT OR IGNORE INTO parent VALUES (2, 'f')")
    assert one.seen() == []


def test_virtual_tables_are_a_lapse_and_their_own_tables_are_left_out(rig: Make) -> None:
    one = rig()
    build = one.started("CREATE VIRTUAL TABLE words USING fts5(body)", "CREATE TABLE words_per_day (n)")
    build.do("INSERT INTO words VALUES ('hello')", "INSERT INTO words_per_day VALUES (1)")
    assert one.seen() == [("INSERT words_per_day", {"row": {"n": 1}})]
    (lapse,) = one.collector.lapses()
    assert "virtual table words" in lapse.what
    assert (lapse.blind, lapse.role) == (True, Role.STABLE)


def test_tables_are_chosen_by_patterns(rig: Make) -> None:
    one = rig(tables=["app_*"], ignore_tables=["*_cache", "app_fts"])
    build = one.started(
        "CREATE TABLE app_a (x)", "CREATE TABLE app_cache (x)", "CREATE TABLE b (x)", "CREATE VIRTUAL TABLE app_fts USING fts5(b)"
    )
    build.do(*(f"INSERT INTO {name} VALUES (1)" for name in ("app_a", "app_cache", "b", "app_fts")))
    assert [operation for operation, _ in one.seen()] == ["INSERT app_a"]
    assert one.lapses() == []
    assert [state.table for state in one.run(one.collector.final_state(Role.STABLE))] == ["app_a"]


def test_a_schema_that_changes_while_watched(rig: Make) -> None:
    one = rig()
    build = one.started("CREATE TABLE a (x)")
    build.do("INSERT INTO a VALUES (1)", "CREATE TABLE late (p, q, r)", "ALTER TABLE a ADD COLUMN y")
    assert one.seen() == [("INSERT a", {"row": {"x": 1}})]
    build.do("INSERT INTO late VALUES (1, 2, 3)", "UPDATE a SET y = 5", "DROP TABLE a", "ALTER TABLE late RENAME TO later")
    assert one.seen() == [
        ("INSERT late", {"row": {"p": 1, "q": 2, "r": 3}}),
        ("UPDATE a", {"row": {"x": 1, "y": 5}, "changed": {"y": None}}),
    ]
    build.do("DELETE FROM later")
    assert one.seen() == [("DELETE later", {"old": {"p": 1, "q": 2, "r": 3}})]
    assert any("table a was made or altered" in what for what in one.lapses())


def test_more_changes_than_the_log_holds_are_counted_as_lost(rig: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "harness.effects.sqlite.triggers._TRIM", "DELETE FROM _shadowdiff_log WHERE id <= (SELECT max(id) FROM _shadowdiff_log) - 10;"
    )
    one = rig()
    build = one.started("CREATE TABLE n (x)")
    build.do("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 25) INSERT INTO n SELECT x FROM c")
    assert [document["row"]["x"] for _, document in one.seen()] == list(range(16, 26))
    (lapse,) = one.collector.lapses()
    assert (lapse.count, lapse.blind) == (15, True)
    build.do("INSERT INTO n VALUES (26)")
    assert [document["row"]["x"] for _, document in one.seen()] == [26]
    with closing(sqlite3.connect(one.path)) as connection:
        assert connection.execute("SELECT count(*) FROM _shadowdiff_log").fetchone() == (10,)


def test_undrained_effects_are_bounded(rig: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EFFECTS_UNDRAINED_MAX", 3)
    one = rig()
    build = one.started("CREATE TABLE n (x)")
    build.do("INSERT INTO n VALUES (1), (2), (3), (4), (5)")
    assert len(one.seen()) == 3
    assert [lapse.count for lapse in one.collector.lapses()] == [2]


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_locked_database_is_read_later_and_never_raises(rig: Make, mode: str) -> None:
    one = rig()
    build = one.started(f"PRAGMA journal_mode = {mode}", ORDERS)
    build.do("INSERT INTO orders (item) VALUES ('before')", "BEGIN EXCLUSIVE", "INSERT INTO orders (item) VALUES ('inside')")
    complete = one.run(one.collector.settle(TRIAL, time.monotonic_ns() + 30_000_000))
    early = [one.effect for one in one.drained()]
    # In WAL mode a writer does not keep readers out; a rollback journal's exclusive lock does.
    assert (complete, len(early)) == ((True, 1) if mode == "wal" else (False, 0))
    assert [lapse.blind for lapse in one.collector.lapses()] == ([] if mode == "wal" else [False])
    build.do("COMMIT")
    assert len(early) + len(one.seen()) == 2


def test_the_build_never_meets_a_lock_of_a_collector_that_looks_all_the_time_in_wal_mode(rig: Make) -> None:
    one = rig()
    build = one.started("PRAGMA journal_mode = wal", ORDERS, busy_s=0.0)
    failed: list[object] = []

    def write() -> None:
        for index in range(300):
            answer = build.ask("INSERT INTO orders (item) VALUES (?)", str(index))
            if "error" in answer:
                failed.append(answer)

    thread = threading.Thread(target=write)
    thread.start()
    seen = []
    while thread.is_alive():
        seen += one.drained()
    thread.join()
    seen += one.drained()
    assert failed == []
    assert len(seen) == 300


def test_attach_waits_for_a_lock_and_gives_up(rig: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_collectors, "SQLITE_ATTACH_SECONDS_MAX", 0.05)
    one = rig()
    one.run(one.collector.prepare(Role.STABLE))
    build = one.writer()
    build.do(ORDERS, "BEGIN IMMEDIATE", "INSERT INTO orders (item) VALUES ('x')")
    with pytest.raises(SetupError, match="stays locked"):
        one.run(one.collector.attach())
    build.do("COMMIT")
    one.run(one.collector.attach())


def test_a_file_that_is_no_database_is_an_error_of_setup(rig: Make) -> None:
    one = rig()
    one.path.write_bytes(b"this is a text and no database at all" * 100)
    with pytest.raises(SetupError, match="cannot be watched"):
        one.run(one.collector.attach())


def test_a_database_that_is_made_or_replaced_later(rig: Make) -> None:
    one = rig()
    one.run(one.collector.prepare(Role.STABLE))
    one.run(one.collector.attach())
    assert one.seen() == []
    assert not one.path.exists()
    one.path.touch()
    assert one.seen() == []
    assert one.path.stat().st_size == 0, "a build may yet look whether it has to fill it"
    build = one.writer()
    build.do(ORDERS)
    assert one.seen() == []
    build.do("INSERT INTO orders (item) VALUES ('x')")
    assert len(one.seen()) == 1
    assert one.lapses() == []
    one.path.unlink()
    assert one.seen() == []
    other = one.writer()
    other.do("CREATE TABLE new (x)", "INSERT INTO new VALUES (0)")
    assert one.seen() == []
    other.do("INSERT INTO new VALUES (1)")
    assert one.seen() == [("INSERT new", {"row": {"x": 1}})]
    replaced, unseen = one.collector.lapses()
    assert "the file of the database was replaced" in replaced.what
    assert "table new was made or altered while it was watched" in unseen.what
    assert replaced.blind
    assert unseen.blind


def test_what_a_build_wrote_to_a_file_that_it_then_replaced_is_said_to_be_lost(rig: Make, tmp_path: Path) -> None:
    """The new file has no rows of its own that would tell."""
    one = rig()
    build = one.started("CREATE TABLE a (x)")
    build.do("INSERT INTO a VALUES (1)")
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection:
        connection.execute("CREATE TABLE a (x)")
    (tmp_path / "new.db").replace(one.path)
    assert one.run(one.collector.settle(TRIAL, time.monotonic_ns()))
    assert one.drained() == []
    assert [(lapse.what.split(" while")[0], lapse.blind) for lapse in one.collector.lapses()] == [
        ("the file of the database was replaced", True)
    ]
    one.writer().do("INSERT INTO a VALUES (2)")
    assert one.seen() == [("INSERT a", {"row": {"x": 2}})]


def test_a_build_that_puts_an_older_copy_in_the_place_of_its_file(rig: Make) -> None:
    """What was reported is not reported again."""
    one = rig()
    build = one.started("CREATE TABLE a (x)")
    build.do("INSERT INTO a VALUES (1)")
    saved = one.path.read_bytes()
    build.do("INSERT INTO a VALUES (2)")
    assert len(one.seen()) == 2
    build.close()
    one.writers.remove(build)
    one.path.write_bytes(saved)
    other = one.writer()
    other.do("CREATE TABLE b (x)")
    assert one.seen() == []
    other.do("INSERT INTO a VALUES (3)")
    assert one.seen() == [("INSERT a", {"row": {"x": 3}})]
    assert any("emptied the log" in what for what in one.lapses())


def test_a_database_that_is_nowhere_at_the_end_is_a_lapse(rig: Make) -> None:
    """A build that was not told where its copy lies writes elsewhere: nothing would be seen, and nothing said."""
    one = rig()
    one.run(one.collector.prepare(Role.STABLE))
    one.run(one.collector.attach())
    assert one.seen() == []
    assert one.lapses() == []
    for _ in range(2):
        one.run(one.collector.detach())
    (lapse,) = one.collector.lapses()
    assert "there is no database file" in lapse.what
    assert (lapse.count, lapse.role, lapse.blind) == (1, Role.STABLE, True)


def test_a_trial_of_which_rows_were_lost_is_not_complete_and_the_next_one_is(rig: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that something must be done may not be taken for broken because the log was too short."""
    monkeypatch.setattr(
        "harness.effects.sqlite.triggers._TRIM", "DELETE FROM _shadowdiff_log WHERE id <= (SELECT max(id) FROM _shadowdiff_log) - 2;"
    )
    one = rig()
    build = one.started("CREATE TABLE n (x)")

    def settled(*statements: str) -> bool:
        one.collector.begin(TRIAL)
        build.do(*statements)
        complete = one.run(one.collector.settle(TRIAL, time.monotonic_ns() + 60 * 10**9))
        one.collector.end(TRIAL)
        return complete

    assert settled("INSERT INTO n VALUES (1), (2)")
    assert not settled("INSERT INTO n VALUES (1), (2), (3)")
    assert settled("INSERT INTO n VALUES (4)")


def test_whoever_is_cancelled_leaves_nobody_at_work(rig: Make) -> None:
    one = rig()
    build = one.started(ORDERS)
    build.do("INSERT INTO orders (item) VALUES ('x'), ('y')")

    async def cancelled() -> None:
        task = asyncio.create_task(one.collector.drain())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            assert len(await task) == 2

    one.run(cancelled())
    assert one.lapses() == []
    build.do("INSERT INTO orders (item) VALUES ('z')")
    assert one.seen()[-1][1]["row"]["item"] == "z"


def test_a_build_that_empties_or_drops_every_table_it_finds(rig: Make) -> None:
    one = rig()
    build = one.started("CREATE TABLE a (x)")
    build.do("INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (2)")
    assert len(one.seen()) == 2
    build.do("DELETE FROM _shadowdiff_log", "INSERT INTO a VALUES (3), (4), (5)")
    assert [document["row"]["x"] for _, document in one.seen()] == [3, 4, 5]
    build.do("DELETE FROM _shadowdiff_log")
    assert one.seen() == []
    build.do("INSERT INTO a VALUES (6)")
    assert len(one.seen()) == 1
    assert [lapse.count for lapse in one.collector.lapses()] == [2]
    build.do("DROP TABLE _shadowdiff_log", "DROP TABLE a", "CREATE TABLE a (x, y)")
    assert one.seen() == []
    build.do("INSERT INTO a VALUES (4, 5)")
    assert one.seen() == [("INSERT a", {"row": {"x": 4, "y": 5}})]
    assert "the log of changes was dropped" in one.lapses()[-1]


def test_each_pass_begins_with_a_fresh_copy_without_what_an_earlier_one_left(rig: Make, tmp_path: Path) -> None:
    source = tmp_path / "seed.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.executescript("CREATE TABLE a (x); INSERT INTO a VALUES (1);")
    one = rig(source=str(source))
    for _ in range(2):
        build = one.started()
        assert build.do("SELECT count(*) FROM a")["rows"] == [[1]]
        build.do("INSERT INTO a VALUES (2)")
        assert one.seen() == [("INSERT a", {"row": {"x": 2}})]
        one.run(one.collector.detach())
        build.do("INSERT INTO a VALUES (3)")
        assert one.drained() == []
    # A build that goes on with a file that was watched before: the log begins anew, once.
    one.run(one.collector.attach())
    build.do("INSERT INTO a VALUES (4)")
    assert one.seen() == [("INSERT a", {"row": {"x": 4}})]
    assert one.lapses() == []


def test_final_state(rig: Make) -> None:
    one = rig()
    build = one.started(ORDERS)
    build.do("INSERT INTO orders VALUES (2, 'b', 1, NULL), (1, 'a', 2, x'01')")
    (state,) = one.run(one.collector.final_state(Role.STABLE))
    assert (state.table, state.rows, sorted(state.digests)) == ("orders", 2, ["id", "item", "note", "price"])
    assert state.first[0] == b'{"id":1,"item":"a","price":2.0,"note":"hex:01"}'
    assert rig(final_state=False).run(one.collector.final_state(Role.CANDIDATE)) == ()


def test_final_state_that_takes_too_long_is_a_lapse(rig: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = rig()
    one.started(ORDERS)
    monkeypatch.setattr(limits_collectors, "SQLITE_STATE_SECONDS_MAX", 0.0)
    assert one.run(one.collector.final_state(Role.STABLE)) == ()
    assert [lapse.blind for lapse in one.collector.lapses()] == [True]


def test_a_path_of_the_users_own(rig: Make, tmp_path: Path) -> None:
    one = rig(path=str(tmp_path / "data" / "{role}.db"))
    one.started(ORDERS)
    assert one.path == tmp_path / "data" / "stable.db"
    with pytest.raises(UsageError, match=r"effects.sqlite.path"):
        Rig(tmp_path, path="same.db")
    with pytest.raises(UsageError, match=r"effects.sqlite.sorce"):
        Rig(tmp_path, sorce="x")


def test_it_is_the_entry_point() -> None:
    assert (SqliteCollector.name, SqliteCollector.favours_stable) == ("sqlite", False)


def test_which_column_sqlite_numbers_itself(rig: Make) -> None:
    one = rig()
    build = one.started(
        "CREATE TABLE plain (id INTEGER PRIMARY KEY, a)",
        "CREATE TABLE auto (a, no integer primary key autoincrement)",
        "CREATE TABLE apart (a, id INTEGER, PRIMARY KEY (id))",
        "CREATE TABLE without (id INTEGER PRIMARY KEY, a) WITHOUT ROWID",
        "CREATE TABLE down (id INTEGER PRIMARY KEY DESC, a)",
        "CREATE TABLE worded (id INT PRIMARY KEY, a)",
        "CREATE TABLE named (id TEXT PRIMARY KEY, a)",
        "CREATE TABLE two (id INTEGER, a, PRIMARY KEY (id, a))",
        "CREATE TABLE none (id INTEGER, a)",
    )
    tables = ["plain", "auto", "apart", "without", "down", "worded", "named", "two", "none"]
    build.do("CREATE TABLE later (id INTEGER PRIMARY KEY, a)")
    one.seen()
    build.do(*(f"INSERT INTO {table} ({'no' if table == 'auto' else 'id'}, a) VALUES (5, 'x')" for table in [*tables, "later"]))
    found = {seen.effect.operation.removeprefix("INSERT "): seen.effect.keys for seen in one.drained()}
    made = {"plain": ("id",), "auto": ("no",), "apart": ("id",), "later": ("id",)}
    assert found == {table: made.get(table, ()) for table in [*tables, "later"]}
    build.do("UPDATE plain SET a = 'y'", "DELETE FROM plain")
    assert [seen.effect.keys for seen in one.drained()] == [(), ()]


def test_the_key_of_another_table_is_not_one_that_sqlite_made(rig: Make) -> None:
    """One row for each user: written for the wrong one, it must not read as the right one."""
    one = rig()
    build = one.started(
        "CREATE TABLE users (id INTEGER PRIMARY KEY)",
        "CREATE TABLE settings (user_id INTEGER PRIMARY KEY)",
        "CREATE TABLE user_profiles (user_id INTEGER PRIMARY KEY REFERENCES users(id))",
        "CREATE TABLE orders (order_id INTEGER PRIMARY KEY)",
        "CREATE TABLE customer_orders (order_id INTEGER PRIMARY KEY)",
        "CREATE TABLE notes (author_id INTEGER PRIMARY KEY)",
        "CREATE TABLE accounts (id TEXT PRIMARY KEY)",
        "CREATE TABLE balances (account_id INTEGER PRIMARY KEY)",
    )
    tables = ["users", "settings", "user_profiles", "orders", "customer_orders", "notes", "accounts", "balances"]
    build.do(*(f"INSERT INTO {table} VALUES (5)" for table in tables))
    found = {seen.effect.operation.removeprefix("INSERT "): seen.effect.keys for seen in one.drained()}
    assert found == {
        "users": ("id",),
        "settings": (),
        "user_profiles": (),
        "orders": ("order_id",),
        "customer_orders": ("order_id",),
        "notes": ("author_id",),
        "accounts": (),
        "balances": ("account_id",),
    }


def test_a_table_that_is_ordered_by_a_collation_of_the_builds_own(rig: Make) -> None:
    """It can be watched, not read; the others can be both."""
    one = rig()
    one.run(one.collector.prepare(Role.STABLE))
    with closing(sqlite3.connect(one.path, isolation_level=None)) as build:
        build.create_collation("mine", lambda a, b: (a > b) - (a < b))
        build.execute("CREATE TABLE odd (a TEXT COLLATE mine PRIMARY KEY) WITHOUT ROWID")
        build.execute("CREATE TABLE indexed (a TEXT COLLATE mine PRIMARY KEY, b)")
        build.execute("INSERT INTO odd VALUES ('x')")
        one.run(one.collector.attach())
        build.execute("INSERT INTO odd VALUES ('y')")
        build.execute("INSERT INTO indexed VALUES ('z', 1)")
        assert [operation for operation, _ in one.seen()] == ["INSERT odd", "INSERT indexed"]
        assert one.lapses() == []
        build.execute("ALTER TABLE odd ADD COLUMN b")
        assert one.seen() == []
        assert "table odd was made or altered" in one.lapses()[0]
        (state,) = one.run(one.collector.final_state(Role.STABLE))
    assert (state.table, state.rows, sorted(state.digests)) == ("indexed", 1, ["a", "b"])
    assert any("final state of table odd cannot be read" in what for what in one.lapses())


def test_a_copy_that_is_cancelled_ends_before_it_is_whole_and_leaves_nothing(
    rig: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "seed.db"
    with contextlib.closing(sqlite3.connect(source)) as seed:
        seed.execute("CREATE TABLE t (x)")
        seed.execute("INSERT INTO t WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000) SELECT x FROM n")
        seed.commit()
    seed = sqlite3.connect(source, isolation_level=None)
    one = rig(source=str(source))
    seed.execute("BEGIN EXCLUSIVE")  # whoever copies it waits

    async def cancelled() -> None:
        task = asyncio.create_task(one.collector.prepare(Role.STABLE))
        async with asyncio.timeout(60):
            while not one.path.exists():
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    one.run(cancelled())
    assert not one.path.exists()
    seed.close()
