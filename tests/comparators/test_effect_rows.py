"""An update is compared by what it did, not by what the row held before."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.api import RuleUse
from comparators.effect_rows import settled
from comparators.effects import compare_effects
from harness.core.labels import Kind
from harness.core.values import Effect

PLACE = "$['sqlite UPDATE stock']"


def update(new: object, old: object, sku: str = "lamp") -> Effect:
    document = orjson.dumps({"row": {"sku": sku, "quantity": new}, "changed": {"quantity": old}})
    return Effect(collector="sqlite", operation="UPDATE stock", document=document)


def found(left: list[Effect], right: list[Effect]) -> list[tuple[str, Kind]]:
    return [(one.path, one.kind) for one in compare_effects(tuple(left), tuple(right), RuleUse())]


@pytest.mark.parametrize(("old", "by"), [(1000, 1), ("12.50", "0.25"), (2.5, 0.5)], ids=["integer", "exact", "float"])
def test_a_number_changed_by_the_same_amount_is_changed_alike_wherever_it_stood(old: object, by: object) -> None:
    if isinstance(old, str):
        one, other = update("12.25", "12.50"), update("7.75", "8.00")
    else:
        one, other = update(old - by, old), update(old - 5 - by, old - 5)  # type: ignore[operator]  # numbers both
    assert found([one], [other]) == []


@pytest.mark.parametrize("by", [0.1, 9.99, -19.95, 1 / 3])
@pytest.mark.parametrize("old", [(12.5, 7.3), (1e6 + 0.01, 3.7), (0.3, -0.2)])
def test_a_sum_of_binary_fractions_is_changed_alike_but_for_their_error(old: tuple[float, float], by: float) -> None:
    one, other = (update(start + by, start) for start in old)
    assert found([one], [other]) == []
    assert found([one], [update(old[1] + by + 0.001, old[1])]) == [(f"{PLACE}.row.quantity", Kind.VALUE)]


@pytest.mark.parametrize("mixed", [("5", "4"), ("5", 4), (5, "4"), ("7", "6")])
def test_a_number_that_became_a_text_is_a_difference_also_where_the_amount_is_the_same(mixed: tuple[object, object]) -> None:
    kinds = [kind for _, kind in found([update(5, 4)], [update(*mixed)])]
    assert kinds == ([] if mixed[0] == 5 else [Kind.TYPE])


def test_a_number_that_is_written_otherwise_is_a_difference() -> None:
    assert found([update("12.50", "12.25")], [update("12.5", "12.25")]) == [(f"{PLACE}.row.quantity", Kind.FORMAT)]
    assert found([update(5, 4)], [update(5.0, 4)]) == [(f"{PLACE}.row.quantity", Kind.TYPE)]


def test_another_amount_is_a_difference_of_the_new_value_alone() -> None:
    assert found([update(999, 1000)], [update(998, 1000)]) == [(f"{PLACE}.row.quantity", Kind.VALUE)]


def test_the_same_value_set_is_none_whatever_was_there_before() -> None:
    assert found([update(5, 1000)], [update(5, 12)]) == []
    assert found([update("sent", "new")], [update("sent", "paid")]) == []


def test_another_text_is_one() -> None:
    assert found([update("sent", "new")], [update("lost", "new")]) == [(f"{PLACE}.row.quantity", Kind.VALUE)]


def test_the_same_change_made_twice_is_made_more_often() -> None:
    once, again = update(999, 1000), update(998, 999)
    assert found([once], [once, again]) == [(PLACE, Kind.DUPLICATED)]
    assert found([once, again], [once]) == [(PLACE, Kind.FEWER)]


def test_a_null_is_no_number() -> None:
    assert found([update(None, 3)], [update(3, 3)]) == [(f"{PLACE}.row.quantity", Kind.NULL)]


@pytest.mark.parametrize("value", [None, 3, "text", [], {}, {"row": {}}, {"row": [], "changed": {}}, {"changed": {"a": 1}, "row": 3}])
def test_other_documents_stay_as_they_are(value: object) -> None:
    assert settled(value, value) == (value, value)


rows = st.dictionaries(st.sampled_from("abc"), st.none() | st.booleans() | st.integers(-5, 5) | st.text("x1.-", max_size=3), max_size=3)
documents = st.fixed_dictionaries({"row": rows, "changed": rows}, optional={"more": st.integers(0, 2)})


@given(documents, documents)
def test_swapping_the_sides_changes_nothing(left: dict[str, object], right: dict[str, object]) -> None:
    one, other = settled(left, right)
    back, forth = settled(right, left)
    assert (one == other) == (forth == back)
    assert "changed" not in one
    assert one["row"].keys() == left["row"].keys()  # type: ignore[attr-defined]  # a document has one
    assert other["row"].keys() == right["row"].keys()  # type: ignore[attr-defined]  # a document has one


@given(documents)
def test_a_document_is_like_itself(document: dict[str, object]) -> None:
    one, other = settled(document, document)
    assert one == other
