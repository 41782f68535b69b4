"""Counterparts: everything else about them is in test_effects.py."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.api import RuleUse
from comparators.effect_pairs import Doing, pair_up
from harness.core.canon import NOWHERE
from harness.core.values import Effect


def doings(*documents: Any) -> list[Doing]:
    made = [Effect(collector="c", operation="DO it", document=json.dumps(d, sort_keys=True).encode()) for d in documents]
    return [Doing(effect, i) for i, effect in enumerate(sorted(made, key=lambda effect: effect.document))]


def shown(pairs: list[tuple[Doing, Doing]]) -> set[tuple[str, str]]:
    return {(x.raw_text, y.raw_text) for x, y in pairs}


def test_equal_ones_first_then_those_that_are_alike_then_the_most_alike() -> None:
    ids = [f"{i:x}f2504e0-4f89-41d3-9a0c-0305e82c3301" for i in range(8)]
    left = doings({"id": ids[0], "n": 1, "a": 1, "b": 1}, {"id": ids[1], "n": 2, "a": 1, "b": 1}, {"id": ids[2], "n": 3, "a": 3, "b": 3})
    right = doings({"id": ids[4], "n": 9, "a": 3, "b": 3}, {"id": ids[5], "n": 1, "a": 1, "b": 1}, {"id": ids[1], "n": 2, "a": 1, "b": 1})
    pairing = pair_up(left, right, NOWHERE, RuleUse())
    assert {(json.loads(x)["n"], json.loads(y)["n"]) for x, y in shown(pairing.pairs)} == {(2, 2), (1, 1), (3, 9)}
    assert {json.loads(x)["n"] for x, _ in shown(pairing.unequal)} == {1, 3}
    assert pairing.surplus == []


def test_what_is_left_over() -> None:
    pairing = pair_up(doings({"n": 1}), doings({"n": 1}, {"n": 1}, {"n": 2}), NOWHERE, RuleUse())
    assert sorted((doing.raw_text, pairing.again(doing)) for doing in pairing.surplus) == [('{"n": 1}', True), ('{"n": 2}', False)]


DOCUMENTS = st.lists(
    st.fixed_dictionaries({"n": st.integers(0, 3), "t": st.sampled_from(["x", "y", "deadbeefdeadbeef1", "abcdefabcdefabc12"])}), max_size=7
)


@given(DOCUMENTS, DOCUMENTS)
def test_each_has_one_counterpart_at_most_and_only_one_side_has_a_surplus(left: list[Any], right: list[Any]) -> None:
    a, b = doings(*left), doings(*right)
    pairing = pair_up(a, b, NOWHERE, RuleUse())
    assert len(pairing.pairs) == min(len(a), len(b))
    assert len({id(x) for x, _ in pairing.pairs}) == len({id(y) for _, y in pairing.pairs}) == len(pairing.pairs)
    assert {id(d) for d in pairing.surplus} == {id(d) for d in (a if len(a) > len(b) else b)} - {
        id(d) for pair in pairing.pairs for d in pair
    }
    swapped = pair_up(b, a, NOWHERE, RuleUse())
    assert shown(pairing.pairs) == {(x, y) for y, x in shown(swapped.pairs)}


def test_documents_too_deep_for_the_stack_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_deep(*_: Any) -> Any:
        raise RecursionError

    monkeypatch.setattr("comparators.effect_pairs._alike", too_deep)
    monkeypatch.setattr("comparators.effect_pairs._collect", too_deep)
    pairing = pair_up(doings([[1]], [[2]]), doings([[3]], [[4]], [[1]]), NOWHERE, RuleUse())
    assert len(pairing.pairs) == 2
    assert [pairing.again(doing) for doing in pairing.surplus] == [False]


def test_keys_that_the_store_made_do_not_make_another_row_of_what_is_done_again() -> None:
    def row(key: int | str, of: int | str) -> Effect:
        document = json.dumps({"row": {"no": key, "order_id": of, "sku": "lamp"}}).encode()
        return Effect(collector="postgres", operation="INSERT items", document=document, keys=("no",))

    for again in (row(18, 7), row("items#3.2", 7), row("items#3.2", "orders#3.1"), row(18, "orders#3.1")):
        pairing = pair_up([Doing(row(17, 7), 0)], [Doing(row(17, 7), 0), Doing(again, 1)], NOWHERE, RuleUse())
        (surplus,) = pairing.surplus
        assert pairing.again(surplus), again
    other = Effect(collector="postgres", operation="INSERT items", document=b'{"row":{"no":18,"order_id":7,"sku":"desk"}}', keys=("no",))
    pairing = pair_up([Doing(row(17, 7), 0)], [Doing(row(17, 7), 0), Doing(other, 1)], NOWHERE, RuleUse())
    assert not pairing.again(pairing.surplus[0])
