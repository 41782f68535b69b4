"""Final states, table by table: what differs at the candidate only, what is noise, and which rows to look at."""

from collections.abc import Mapping, Sequence

import orjson

from harness.core.labels import Role
from harness.effects.api import TableState
from harness.effects.states import ABSENT, States


def state(rows: Sequence[Mapping[str, object]], table: str = "orders", **digests: str) -> TableState:
    return TableState(table=table, rows=len(rows), digests=digests, first=tuple(orjson.dumps(row) for row in rows))


def states() -> States:
    return States(lambda row: {name: "hidden" if name == "card" else value for name, value in row.items()})


def test_equal_states_have_no_difference() -> None:
    found = states()
    same = (state([{"id": 1}], id="aa"),)
    found.add("sqlite", {Role.STABLE: same, Role.SECONDARY: same, Role.CANDIDATE: same})
    assert found.differences() == ()
    assert found.compared == 1


def test_a_row_too_many_is_the_candidates_and_its_rows_are_shown() -> None:
    found = states()
    stable = (state([{"id": 1, "card": "4111"}], id="aa"),)
    candidate = (state([{"id": 1, "card": "4111"}, {"id": 2, "card": "4111"}], id="bb"),)
    for _ in range(2):
        found.add("sqlite", {Role.STABLE: stable, Role.SECONDARY: stable, Role.CANDIDATE: candidate})
    (one,) = found.differences()
    assert (one.table, one.column, one.noisy) == ("orders", "", False)
    assert one.values == {"stable": "1", "secondary": "1", "candidate": "2"}
    assert (one.passes, one.passes_compared) == (2, 2)
    assert one.rows == ({"stable": "", "secondary": "", "candidate": '{"id":2,"card":"hidden"}'},)


def test_a_column_in_which_the_control_differs_is_noise_and_the_others_are_not() -> None:
    found = states()
    rows = {
        role: [{"id": 1, "at": at, "total": total}]
        for role, at, total in ((Role.STABLE, 1, 5), (Role.SECONDARY, 2, 5), (Role.CANDIDATE, 3, 6))
    }
    digests = {Role.STABLE: ("a1", "t1"), Role.SECONDARY: ("a2", "t1"), Role.CANDIDATE: ("a3", "t2")}
    found.add("sqlite", {role: (state(rows[role], at=at, total=total),) for role, (at, total) in digests.items()})
    assert [(one.column, one.noisy) for one in found.differences()] == [("total", False), ("at", True)]


def test_a_missing_table_is_said() -> None:
    found = states()
    there = (state([], id="aa"),)
    found.add("sqlite", {Role.STABLE: there, Role.SECONDARY: there, Role.CANDIDATE: ()})
    (one,) = found.differences()
    assert one.values == {"stable": "0", "secondary": "0", "candidate": ABSENT}


def test_without_a_secondary_only_the_number_of_rows_says_anything() -> None:
    found = states()
    found.add("sqlite", {Role.STABLE: (state([{"id": 1}], id="aa"),), Role.CANDIDATE: (state([{"id": 2}], id="bb"),)})
    assert [(one.column, one.noisy) for one in found.differences()] == [("id", True)]
    found.add("sqlite", {Role.STABLE: (state([{"id": 1}], id="aa"),), Role.CANDIDATE: (state([], id="bb"),)})
    assert [(one.column, one.noisy) for one in found.differences()] == [("", False), ("id", True)]


def test_targets_without_any_table_are_not_compared() -> None:
    found = states()
    found.add("http", {Role.STABLE: (), Role.CANDIDATE: ()})
    found.add("http", {Role.CANDIDATE: (state([], id="aa"),)})
    assert found.differences() == ()
    assert found.compared == 0
