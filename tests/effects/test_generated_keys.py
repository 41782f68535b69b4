"""Generated keys by where they were made: however each target numbers its rows, the same doings read the same, and others do not."""

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Role
from harness.core.values import Effect
from harness.effects.generated_keys import GeneratedKeys

S, A, C = Role.STABLE, Role.SECONDARY, Role.CANDIDATE
ARMS = (S, A, C)


def effect(operation: str, document: Any, *keys: str, collector: str = "postgres") -> Effect:
    return Effect(collector=collector, operation=operation, document=orjson.dumps(document), keys=keys)


def order(number: int | str, sku: str = "lamp", **more: Any) -> Effect:
    return effect("INSERT public.orders", {"row": {"id": number, "sku": sku, **more}}, "id")


def update(number: int) -> Effect:
    return effect("UPDATE public.orders", {"row": {"id": number, "paid": True}, "changed": {"paid": False}})


def item(number: int, of: int) -> Effect:
    return effect("INSERT public.items", {"row": {"id": number, "order_id": of}}, "id")


def call(document: Any, operation: str = "POST mail.test/messages") -> Effect:
    return effect(operation, {"url": {"path": "/messages"}, "body": document}, collector="http")


def told(keys: GeneratedKeys, *arms: Sequence[Effect]) -> list[list[Any]]:
    """The documents of one trial, arm by arm."""
    found = keys.resolved({role: tuple(arm) for role, arm in zip(ARMS, arms, strict=False)})
    return [[orjson.loads(one.document) for one in found[role]] for role, _ in zip(ARMS, arms, strict=False)]


def apart() -> GeneratedKeys:
    """After the candidate made a row more: its orders are one ahead. Orders 1 and 2 are in step, 3 is 4 at the candidate."""
    keys = GeneratedKeys()
    told(keys, [order(1)], [order(1)], [order(1)])
    told(keys, [order(2)], [order(2)], [order(2), order(3)])
    told(keys, [order(3)], [order(3)], [order(4)])
    return keys


def test_numbers_that_are_the_same_everywhere_stay_and_nothing_is_counted() -> None:
    keys = GeneratedKeys()
    arm = [order(7), item(3, 7), call({"order_id": 7}), update(7)]
    effects = {role: tuple(arm) for role in ARMS}
    for _ in range(2):
        found = keys.resolved(effects)
        assert all(one is other for role in ARMS for one, other in zip(found[role], effects[role], strict=True))
    assert keys.named.total() == 0


def test_without_keys_nothing_is_looked_at() -> None:
    effects = {role: (Effect(collector="x", operation="SET a", document=b"no JSON"),) for role in ARMS}
    assert GeneratedKeys().resolved(effects)[C] is effects[C]


def test_a_row_more_at_one_target_makes_no_difference_to_the_rows_after_it() -> None:
    keys = GeneratedKeys()
    stable, secondary, candidate = told(
        keys, [order(5), order(6, "desk")], [order(5), order(6, "desk")], [order(5), order(6), order(7, "desk")]
    )
    assert stable == secondary
    assert [one["row"]["id"] for one in stable] == [5, "orders#1.3"]
    assert [one["row"]["id"] for one in candidate] == [5, "orders#1.2", "orders#1.3"]
    later = told(keys, [order(7), update(7), update(5)], [order(7), update(7), update(5)], [order(8), update(8), update(5)])
    assert later[0] == later[1] == later[2]
    assert [one["row"]["id"] for one in later[0]] == ["orders#2.1", "orders#2.1", 5]
    assert keys.named == {"postgres": 3}


def test_a_row_that_one_target_did_not_make_is_not_taken_for_the_one_it_made_in_its_stead() -> None:
    keys = GeneratedKeys()
    stable, _, candidate = told(keys, [order(1), order(2, "desk")], [order(1), order(2, "desk")], [order(1, "desk")])
    assert stable[1] == candidate[0]
    assert stable[0] != candidate[0]


@pytest.mark.parametrize(
    "document",
    [
        {"order_id": 0},
        {"orderId": 0},
        {"order_id": "0"},
        {"order": {"id": 0, "sku": "lamp"}},
        {"order_ids": [0, 0]},
        {"order": 0},
        {"orders": [0]},
        {"parent_order_id": 0},
        {"data": [{"deep": {"order-id": 0}}]},
    ],
)
def test_what_refers_to_a_row_by_its_name(document: Any) -> None:
    keys = apart()

    def about(number: int) -> list[Effect]:
        text = orjson.dumps(document).replace(b'"0"', b'"%d"' % number).replace(b"0", b"%d" % number)
        return [call(orjson.loads(text))]

    stable, secondary, candidate = told(keys, about(3), about(3), about(4))
    assert stable == secondary == candidate
    assert "orders#3.1" in str(stable)
    assert told(keys, about(3), about(3), about(3))[0] == told(keys, about(3), about(3), about(3))[1], "the same doings, the same words"


@pytest.mark.parametrize("collector", ["redis", "http"])
def test_a_plain_id_belongs_to_what_the_operation_speaks_of(collector: str) -> None:
    keys = apart()
    operation, part = ("SET order:{int}", "value") if collector == "redis" else ("PUT shop.test/orders/{int}", "body")
    arms = [[effect(operation, {part: {"id": number}}, collector=collector)] for number in (3, 3, 4)]
    stable, _, candidate = told(keys, *arms)
    assert stable == candidate == [{part: {"id": "orders#3.1"}}]


@pytest.mark.parametrize(
    "document",
    [{"customer_id": 3}, {"id": 3}, {"amount": 3}, {"reorder_id": 3}, {"order_id": 3.0}, {"order_id": True}, {"note": "order 3"}],
)
def test_what_speaks_of_something_else_stays(document: Any) -> None:
    stable, _, candidate = told(apart(), [call(document)], [call(document)], [call(document)])
    assert stable == candidate == [orjson.loads(call(document).document)]


@pytest.mark.parametrize("document", [{"order": 3}, {"external_order_id": 3}])
def test_a_number_that_is_perhaps_no_key_stays_where_all_have_the_same(document: Any) -> None:
    stable, secondary, candidate = told(apart(), [call(document)], [call(document)], [call(document)])
    assert stable == secondary == candidate == [orjson.loads(call(document).document)]


def test_a_text_in_the_place_of_a_number_is_not_hidden_by_a_name() -> None:
    keys = apart()
    told_apart = told(keys, [call({"order_id": 3})], [call({"order_id": 3})], [call({"order_id": "4"})])
    assert [arm[0]["body"] for arm in told_apart] == [{"order_id": 3}, {"order_id": 3}, {"order_id": "4"}]
    stable, _, candidate = told(keys, *([call({"order_id": str(number)}), call({"order": {"id": number}})] for number in (3, 3, 4)))
    assert stable == candidate
    assert [one["body"] for one in stable] == [{"order_id": "orders#3.1"}, {"order": {"id": "orders#3.1"}}]


def test_a_reference_to_the_wrong_row_is_seen_also_where_its_number_is_the_right_one() -> None:
    keys = apart()
    right = told(keys, [item(1, 3)], [item(1, 3)], [item(1, 4)])
    assert right[0] == right[2]
    for wrong in (3, 2, 1, 99):
        stable, secondary, candidate = told(keys, [item(1, 3)], [item(1, 3)], [item(1, wrong)])
        assert stable == secondary
        assert stable[0]["row"]["order_id"] != candidate[0]["row"]["order_id"], wrong
    stable, _, candidate = told(keys, [update(3)], [update(3)], [update(3)])
    assert stable != candidate, "3 is another row there"


def test_a_key_from_before_the_run_stays() -> None:
    stable, _, candidate = told(apart(), [update(77), item(1, 77)], [update(77), item(1, 77)], [update(77), item(1, 77)])
    assert stable == candidate
    assert (stable[0]["row"]["id"], stable[1]["row"]["order_id"]) == (77, 77)


@pytest.mark.parametrize("numbers", [(3, 3), (9, 4)], ids=["in step", "apart"])
@pytest.mark.parametrize("first", [True, False])
def test_a_row_that_one_target_replaces_by_itself_stays_the_one_that_all_have(numbers: tuple[int, int], first: bool) -> None:
    keys = GeneratedKeys()
    mine, theirs = numbers
    twice = [order(theirs, "desk"), order(theirs)] if first else [order(theirs), order(theirs, "desk")]
    stable, _, candidate = told(keys, [order(mine)], [order(mine)], twice)
    assert stable[0] in candidate
    assert len({one["row"]["id"] for one in candidate}) == 1
    stable, _, candidate = told(keys, [update(mine)], [update(mine)], [update(theirs)])
    assert stable == candidate


def test_references_within_one_request_go_by_the_row_and_not_by_its_turn() -> None:
    keys = apart()
    one = [order(4), item(1, 4), order(5, "desk"), item(2, 5)]
    other = [order(5, "desk"), item(1, 5), order(6), item(2, 6)]
    stable, secondary, candidate = told(keys, one, one, other)
    assert stable == secondary
    assert sorted(map(str, stable)) == sorted(map(str, candidate))


def test_rows_are_told_by_the_rows_that_they_refer_to_and_not_by_their_numbers() -> None:
    keys = GeneratedKeys()
    one = [order(4), order(5, "desk"), item(1, 4), item(2, 5)]
    other = [order(4, "desk"), order(5), item(1, 4), item(2, 5)]
    stable, _, candidate = told(keys, one, one, other)
    assert sorted(map(str, stable)) == sorted(map(str, candidate))
    # Two rows that refer to each other, both without a name as yet.
    stable, _, candidate = told(
        keys, *([order(number, order_id=number + 1), order(number + 1, order_id=number)] for number in (10, 10, 11))
    )
    assert (
        stable == candidate == [{"row": {"id": f"orders#2.{a}", "sku": "lamp", "order_id": f"orders#2.{b}"}} for a, b in ((1, 2), (2, 1))]
    )


def test_keys_of_other_columns_and_tables_without_an_id() -> None:
    keys = GeneratedKeys()

    def made(number: int, serial: int) -> Effect:
        return effect("INSERT public.bills", {"row": {"bill": number, "serial": serial, "id": 4}}, "bill", "serial")

    stable, _, candidate = told(keys, [made(1, 10)], [made(1, 10)], [made(2, 11)])
    assert stable == candidate == [{"row": {"bill": "bills#1.1", "serial": "bills#1.1", "id": 4}}]
    gone = [effect("DELETE public.bills", {"key": {"bill": number}}) for number in (1, 2)]
    stable, _, candidate = told(keys, gone[:1], gone[:1], gone[1:])
    assert stable == candidate == [{"key": {"bill": "bills#1.1"}}]


def test_a_number_that_is_made_again_stands_for_the_new_row() -> None:
    keys = apart()
    told(keys, [order(3)], [order(3)], [order(3)])
    stable, _, candidate = told(keys, [item(1, 3)], [item(1, 3)], [item(1, 3)])
    assert stable == candidate
    assert stable[0]["row"]["order_id"] == 3


def test_two_tables_of_one_name_are_told_apart_by_their_store() -> None:
    keys = GeneratedKeys()

    def made(collector: str, number: int) -> Effect:
        return effect("INSERT orders", {"row": {"id": number}}, "id", collector=collector)

    told(keys, [made("sqlite", 1)], [made("sqlite", 1)], [made("sqlite", 2)])
    told(keys, [made("postgres", 1)], [made("postgres", 1)], [made("postgres", 1)])
    in_step = [effect("INSERT items", {"row": {"order_id": 1}})]
    stable, _, candidate = told(keys, in_step, in_step, in_step)
    assert stable == candidate == [{"row": {"order_id": 1}}], "the row of its own store, which is in step"
    stable, _, candidate = told(keys, [call({"order_id": 1})], [call({"order_id": 1})], [call({"order_id": 1})])
    assert stable == candidate, "nobody knows which is meant"
    told(keys, [made("postgres", 2)], [made("postgres", 2)], [made("postgres", 3)])
    told(keys, [made("sqlite", 2)], [made("sqlite", 2)], [made("sqlite", 3)])
    for collector, name in (("postgres", "orders#5.1"), ("sqlite", "orders#6.1")):
        arms = [[effect("INSERT items", {"row": {"order_id": number}}, collector=collector)] for number in (2, 2, 3)]
        assert told(keys, *arms) == [[{"row": {"order_id": name}}]] * 3


def test_what_is_beyond_the_bound_is_forgotten_by_all_at_once_and_counted() -> None:
    keys = GeneratedKeys(keys_max=6)
    for number in range(1, 4):
        told(keys, [order(number)], [order(number)], [order(number + 1)])
    assert keys.forgotten == {"postgres": 1}
    stable, _, candidate = told(keys, [update(1), update(2)], [update(1), update(2)], [update(2), update(3)])
    assert (stable[0]["row"]["id"], candidate[0]["row"]["id"]) == (1, 2)
    assert stable[1] == candidate[1]


def test_a_name_that_is_forgotten_takes_no_newer_one_with_it() -> None:
    keys = GeneratedKeys(keys_max=6)
    for number in (1, 1, 5):
        told(keys, [order(number)], [order(number)], [order(number + 1)])
    assert keys.forgotten.total() == 1
    stable, _, candidate = told(keys, [update(1)], [update(1)], [update(2)])
    assert stable == candidate
    assert stable[0]["row"]["id"] == "orders#2.1"


def test_a_fresh_state_has_no_keys() -> None:
    keys = apart()
    keys.clear()
    assert told(keys, [update(3)], [update(3)], [update(3)])[2][0]["row"]["id"] == 3
    assert keys.named.total() == 2, "the count is the run's"


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"3", b'{"row": 3}', b'{"row": {}}', b'{"row": {"id": null}}', b'{"row": {"id": [1]}}', b'{"a": 1}']
)
def test_documents_of_no_form_are_left_alone(document: bytes) -> None:
    keys = apart()
    odd = Effect(collector="postgres", operation="INSERT public.orders", document=document, keys=("id",))
    effects = {
        role: (odd, msgspec.structs.replace(odd, operation="INSERT other"), msgspec.structs.replace(odd, operation="")) for role in ARMS
    }
    assert keys.resolved(effects) == effects


# What holds for all doings: a script is a list of trials, a trial a list of steps; each arm numbers its rows as it likes.

STEP = st.tuples(st.sampled_from(["order", "item", "update", "call", "reply"]), st.integers(0, 3), st.integers(0, 5))
SCRIPT = st.lists(st.lists(STEP, max_size=5), min_size=1, max_size=4)
NUMBERS = st.permutations(range(1000, 1012)).map(lambda found: [*found, *range(2000, 2100)])
NUMBERINGS = st.tuples(NUMBERS, NUMBERS, NUMBERS)
TURNS = st.dictionaries(st.tuples(st.sampled_from(ARMS), st.integers(0, 3), st.integers(0, 4)), st.sampled_from([0, 2]), max_size=3)
"""Steps that an arm leaves out or does twice."""


class Build:
    """What one arm does. Rows are numbered in the order of its own list; references go to one of its own orders."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._free = {"order": list(numbers), "item": list(numbers)}
        self.orders = [7]
        """The first was there before the run."""

    def does(self, step: tuple[str, int, int]) -> Effect:
        what, content, of = step
        row = self.orders[of % len(self.orders)]
        if what == "order":
            self.orders.append(self._free["order"].pop(0))
            return order(self.orders[-1], str(content))
        if what == "item":
            return item(self._free["item"].pop(0), row)
        if what == "update":
            return update(row)
        if what == "call":
            return call({"order_id": row, "amount": content})
        return effect("SET cart:{int}", {"key": "cart:1", "value": {"order": {"id": row}, "n": content}}, collector="redis")


def played(script: list[list[tuple[str, int, int]]], numberings: Sequence[Sequence[int]], turns: dict[Any, int]) -> list[list[list[Any]]]:
    keys, builds = GeneratedKeys(), [Build(numbers) for numbers in numberings]
    trials = []
    for at, trial in enumerate(script):
        arms = [
            [build.does(step) for index, step in enumerate(trial) for _ in range(turns.get((role, at, index), 1))]
            for role, build in zip(ARMS, builds, strict=True)
        ]
        trials.append(told(keys, *arms))
    return trials


@given(SCRIPT, NUMBERINGS)
def test_the_same_doings_read_the_same_however_rows_are_numbered(script: Any, numberings: Any) -> None:
    for stable, secondary, candidate in played(script, numberings, {}):
        assert stable == secondary == candidate


@given(SCRIPT, NUMBERINGS, NUMBERINGS, TURNS)
def test_numbers_do_not_decide_what_reads_the_same(script: Any, one: Any, other: Any, turns: Any) -> None:
    for trial, again in zip(played(script, one, turns), played(script, other, turns), strict=True):
        flat, flat_again = [doing for arm in trial for doing in arm], [doing for arm in again for doing in arm]
        for i, x in enumerate(flat):
            for j, y in enumerate(flat):
                assert (x == y) == (flat_again[i] == flat_again[j]), (x, y, flat_again[i], flat_again[j])


@given(SCRIPT, NUMBERINGS, st.sampled_from(["item", "update", "call", "reply"]), st.integers(0, 5), st.integers(0, 5))
def test_a_reference_to_another_row_never_reads_as_the_right_one(script: Any, numberings: Any, what: str, right: int, wrong: int) -> None:
    keys, builds = GeneratedKeys(), [Build(numbers) for numbers in numberings]
    for trial in script:
        told(keys, *([build.does(step) for step in trial] for build in builds))
    rows = len(builds[0].orders)
    done = [build.does((what, 0, of)) for build, of in zip(builds, (right, right, wrong), strict=True)]
    (stable,), (secondary,), (candidate,) = told(keys, *([one] for one in done))
    assert stable == secondary
    assert (stable == candidate) == (right % rows == wrong % rows)
