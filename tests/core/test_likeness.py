"""Values that were generated, changes wherever they started from, and rows without the keys that a store made."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.likeness import by_change, changes_of, likeness_of, without_keys, without_row

ONE, OTHER = "2c2b3c92-71d2-4a38-9d0e-5a1f3c8e7b10", "b7e0a3d4-90aa-4c1b-8f52-0e6d9a7c3f21"


@pytest.mark.parametrize(
    ("left", "right", "name"),
    [
        (ONE, OTHER, "key"),
        ("2024-05-14T09:31:07Z", "2025-01-02T03:04:05Z", "at"),
        (1715679067, 1715679068, "at"),
        (7, 8, "order_id"),
        ("orders#7.1", "orders#7.2", "id"),
        ("orders#7.1", 7, "id"),
        (f"order {ONE} placed", f"order {OTHER} placed", "text"),
        (f"https://a.test/orders/{ONE}?x=1", f"https://a.test/orders/{OTHER}?x=1", "url"),
    ],
)
def test_generated_values_of_one_form_are_alike(left: object, right: object, name: str) -> None:
    assert likeness_of(left, name) == likeness_of(right, name) != left


@pytest.mark.parametrize(
    ("left", "right", "name"),
    [
        (7, 8, "amount"),
        (7, "7", "order_id"),
        (1715679067, "1715679067", "at"),
        ("2024-05-14", "2024-05-15", "on"),
        (ONE, "none", "key"),
        (f"order {ONE} placed", f"order {OTHER} cancelled", "text"),
        ("x" * 9_000 + ONE, "x" * 9_000 + OTHER, "text"),
    ],
)
def test_other_values_are_not(left: object, right: object, name: str) -> None:
    assert likeness_of(left, name) != likeness_of(right, name)


@pytest.mark.parametrize("value", [None, True, False, 1.5, 3, "paid", ""])
def test_what_is_not_generated_stays_as_it_is(value: object) -> None:
    assert likeness_of(value, "state") is value


@pytest.mark.parametrize(
    ("new", "old", "by"),
    [(988, 990, "-2"), ("2.00", "1.50", "0.50"), (2.5, 2.0, "0.5"), (7, "5", "2")],
)
def test_a_number_counts_by_what_it_was_changed_by(new: object, old: object, by: str) -> None:
    document = {"row": {"n": new, "sku": "a"}, "changed": {"n": old}, "more": 1}
    assert changes_of(document) == {"n": Decimal(by)}
    assert by_change(document) == {"more": 1, "row": {"n": f"by {by}", "sku": "a"}}


def test_binary_fractions_count_by_the_amount_that_was_meant() -> None:
    """As of 100.0 twice less 9.99, where the second is 80.02000000000001."""
    first, second = 100.0 - 9.99, 100.0 - 9.99 - 9.99
    changes = [changes_of({"row": {"n": new}, "changed": {"n": old}}) for new, old in ((first, 100.0), (second, first))]
    assert changes == [{"n": Decimal("-9.99")}] * 2
    assert changes_of({"row": {"n": 0.1}, "changed": {"n": 0.2}}) != changes_of({"row": {"n": 0.1}, "changed": {"n": 0.2001}})


@pytest.mark.parametrize(("new", "old"), [("paid", "new"), (1, True), (None, 3), (3, None), ([1], [2]), ("1e5", "1"), ("9" * 61, "1")])
def test_what_is_no_number_counts_by_its_new_value(new: object, old: object) -> None:
    assert by_change({"row": {"n": new}, "changed": {"n": old}}) == {"row": {"n": new}}


@pytest.mark.parametrize("value", [None, 3, "text", [], {}, {"row": {}}, {"row": [], "changed": {}}, {"changed": {"a": 1}, "row": 3}])
def test_other_documents_stay_as_they_are(value: object) -> None:
    assert changes_of(value) is None
    assert by_change(value) == value


def test_keys_are_left_out_of_a_row_alone() -> None:
    document = {"row": {"no": 1, "sku": "a"}, "no": 2}
    assert without_keys(document, ("no",)) == {"row": {"sku": "a"}, "no": 2}
    assert without_keys(document, ()) is document
    for other in ({"no": 1}, {"row": 1}, ["no"], None):
        assert without_keys(other, ("no",)) is other


rows = st.dictionaries(st.sampled_from("abc"), st.none() | st.booleans() | st.integers(-5, 5) | st.text("x1.-", max_size=3), max_size=3)
documents = st.fixed_dictionaries({"row": rows, "changed": rows}, optional={"more": st.integers(0, 2)})


@given(documents)
def test_nothing_but_old_values_and_amounts_goes(document: dict[str, Any]) -> None:
    found, changes = by_change(document), changes_of(document)
    assert changes is not None
    assert without_row(found) == without_row(document)
    assert found.keys() == document.keys() - {"changed"}
    assert found["row"].keys() == document["row"].keys()
    assert {column for column, member in document["row"].items() if found["row"][column] != member} == changes.keys()
