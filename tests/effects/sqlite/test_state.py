"""Final states: digests that do not mind the order of rows and mind everything else."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits, limits_collectors
from harness.effects.api import TableState
from harness.effects.sqlite.state import OutOfTime, plain, read_state

VALUES = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.binary(max_size=4), st.text("ab1.", max_size=4)
)


def _state(
    rows: list[tuple[object, object]], table: str = "CREATE TABLE t (a, b)", late: Callable[[], bool] = lambda: False
) -> tuple[TableState, list[str]]:
    told: list[str] = []
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(table)
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        (state,) = read_state(connection, lambda _: True, told.append, late)
        assert not connection.in_transaction
    return state, told


@given(rows=st.lists(st.tuples(VALUES, VALUES), max_size=6), order=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[tuple[object, object]], order: object) -> None:
    shuffled = list(rows)
    order.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    one, two = _state(rows)[0], _state(shuffled)[0]
    assert (one.rows, one.digests) == (two.rows, two.digests)


@pytest.mark.parametrize(("left", "right"), [(1, 1.0), (1, "1"), ("1", b"1"), (None, ""), (None, "None"), (0, None), ("a", "b")])
def test_other_values_have_other_digests(left: object, right: object) -> None:
    one, two = _state([(left, 1), (5, 1)])[0], _state([(right, 1), (5, 1)])[0]
    assert one.digests["a"] != two.digests["a"]
    assert one.digests["b"] == two.digests["b"]


def test_rows_that_are_there_twice_do_not_cancel_out() -> None:
    assert _state([(1, 1), (1, 1)])[0].digests != _state([(2, 2), (2, 2)])[0].digests


def test_first_rows_are_by_primary_key_else_by_all_columns() -> None:
    rows: list[tuple[object, object]] = [(index % 7, 100 - index) for index in range(50)]
    by_key = _state(rows, "CREATE TABLE t (a, b PRIMARY KEY)")[0]
    assert [orjson.loads(row)["b"] for row in by_key.first] == list(range(51, 51 + limits.EFFECT_TABLE_ROWS_SHOWN_MAX))
    by_all = _state(rows)[0]
    got = [tuple(orjson.loads(row).values()) for row in by_all.first]
    assert got == sorted(rows, key=str)[: len(got)] or got == sorted(got)
    assert len(got) == limits.EFFECT_TABLE_ROWS_SHOWN_MAX


def test_a_large_table_is_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_collectors, "SQLITE_STATE_ROWS_MAX", 2)
    state, told = _state([(1, 1), (2, 2), (3, 3)])
    assert (state.rows, state.digests) == (3, {})
    assert len(told) == 1


def test_time_that_is_up() -> None:
    with pytest.raises(OutOfTime):
        _state([(1, 1)], late=lambda: True)
    looks = iter([False, True])
    with pytest.raises(OutOfTime):
        _state([(1, 1)], late=lambda: next(looks))


def test_an_order_that_only_the_build_knows_is_a_lapse() -> None:
    told: list[str] = []
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.create_collation("mine", lambda a, b: (a > b) - (a < b))
        connection.execute("CREATE TABLE t (a TEXT COLLATE mine)")
        connection.execute("INSERT INTO t VALUES ('x')")
        connection.create_collation("mine", None)
        (state,) = read_state(connection, lambda _: True, told.append, lambda: False)
    assert (state.rows, state.first, len(state.digests), len(told)) == (1, (), 1, 1)


@pytest.mark.parametrize(
    ("value", "text"), [(b"\x00a", "hex:0061"), (float("inf"), "inf"), (1.5, 1.5), (2**60, 2**60), (None, None), ("a", "a")]
)
def test_plain_values(value: object, text: object) -> None:
    assert plain(value) == text


def test_a_generated_column_that_only_the_build_can_compute_is_left_out() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.create_function("mine", 1, lambda value: value, deterministic=True)
        connection.execute("CREATE TABLE t (a, b AS (mine(a)) VIRTUAL)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.create_function("mine", 1, None)
        (state,) = read_state(connection, lambda _: True, print, lambda: False)
    assert list(state.digests) == ["a"]


def test_a_sort_that_takes_too_long_is_interrupted() -> None:
    looks = iter([False])
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute(
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 200000) INSERT INTO t SELECT -x FROM c"
        )
        with pytest.raises(OutOfTime):
            read_state(connection, lambda _: True, print, lambda: next(looks, True))
        assert not connection.in_transaction
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (200_000,)
