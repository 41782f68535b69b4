import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.api import RuleUse
from comparators.effect_pairs import Doing
from harness.core.values import Effect
from harness.report.generated import are_the_same_change, differ_in_generated_values_only

ONE, OTHER = "2c2b3c92-71d2-4a38-9d0e-5a1f3c8e7b10", "b7e0a3d4-90aa-4c1b-8f52-0e6d9a7c3f21"


def alike(left: object, right: object, keys: tuple[str, ...] = ()) -> bool:
    return differ_in_generated_values_only(json.dumps(left).encode(), json.dumps(right).encode(), keys)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"key": ONE}, {"key": OTHER}),
        ({"at": "2024-05-14T09:31:07Z"}, {"at": "2025-01-02T03:04:05Z"}),
        ({"at": 1715679067}, {"at": 1715679068}),
        ({"order_id": 7, "rows": [{"id": 1}]}, {"order_id": 8, "rows": [{"id": 2}]}),
        ({"id": "orders#7.1"}, {"id": "orders#7.2"}),
        ({"id": "orders#7.1"}, {"id": 7}),
        ({"text": f"order {ONE} placed"}, {"text": f"order {OTHER} placed"}),
        ({"url": f"https://a.test/orders/{ONE}?x=1"}, {"url": f"https://a.test/orders/{OTHER}?x=1"}),
        ({"a": 1, "b": True, "c": None}, {"c": None, "b": True, "a": 1}),
    ],
)
def test_generated_values_make_no_difference(left: object, right: object) -> None:
    assert alike(left, right)
    assert alike(right, left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"amount": 52, "key": ONE}, {"amount": 53, "key": OTHER}),
        ({"key": ONE}, {"key": "none"}),
        ({"key": ONE}, {}),
        ({"on": "2024-05-14"}, {"on": "2024-05-15"}),
        ({"text": f"order {ONE} placed"}, {"text": f"order {OTHER} cancelled"}),
        ({"ok": True}, {"ok": False}),
        ({"ok": True}, {"ok": 1}),
        ([1, 2], [1]),
        ({"at": 1715679067}, {"at": "1715679067"}),
    ],
)
def test_other_values_do(left: object, right: object) -> None:
    assert not alike(left, right)
    assert not alike(right, left)


def test_columns_that_the_store_makes_are_passed_over_in_a_row_only() -> None:
    assert alike({"row": {"number": 1, "sku": "a"}}, {"row": {"number": 2, "sku": "a"}}, ("number",))
    assert not alike({"row": {"number": 1, "sku": "a"}}, {"row": {"number": 2, "sku": "b"}}, ("number",))
    assert not alike({"number": 1}, {"number": 2}, ("number",))


@pytest.mark.parametrize("data", [b"", b"no json", b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_not_alike(data: bytes) -> None:
    assert not differ_in_generated_values_only(data, b"{}")
    assert not differ_in_generated_values_only(data, data)


def update(before: object, after: object) -> bytes:
    return json.dumps({"changed": {"n": before}, "row": {"n": after, "sku": "a"}}).encode()


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (update(990, 988), update(988, 986), True),
        (update("1.50", "2.00"), update("7.00", "7.50"), True),
        (update(990, 988), update(990, 987), False),
        (update("new", "paid"), update("late", "paid"), True),
        (update("new", "paid"), update("new", "late"), False),
        (update(True, 1), update(False, 1), True),
        (b"no json", b"no json", False),
    ],
)
def test_a_change_is_what_was_done_and_not_what_it_was_done_to(left: bytes, right: bytes, same: bool) -> None:
    assert are_the_same_change(left, right) is same
    assert not differ_in_generated_values_only(left, right)


leaves = (
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b c", "paid", ONE, OTHER, "2024-05-14T09:31:07Z", "2024-05-14"])
)
rows = st.dictionaries(st.sampled_from(["n", "id", "s"]), leaves, max_size=3)
values = st.fixed_dictionaries({"row": rows, "changed": rows}) | st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "order_id", "row", "x"]), inner, max_size=3),
    max_leaves=8,
)


def likeness(document: Any) -> bytes:
    """What comparators hold for the same but for generated values, without any rule."""
    use = RuleUse()
    doing = Doing(Effect(collector="http", operation="POST x", document=json.dumps(document).encode()), 0)
    doing.derive(use.root, use)
    return doing.likeness


@given(values, values)
def test_it_is_the_comparators_notion(left: Any, right: Any) -> None:
    documents = json.dumps(left).encode(), json.dumps(right).encode()
    assert are_the_same_change(*documents) is (likeness(left) == likeness(right))
    if not _is_update(left) and not _is_update(right):
        assert differ_in_generated_values_only(*documents) is are_the_same_change(*documents)


def _is_update(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("row"), dict) and isinstance(value.get("changed"), dict)


@given(values)
def test_fresh_identifiers_make_no_difference(value: Any) -> None:
    fresh = json.loads(json.dumps(value).replace(ONE, str(uuid.UUID(int=uuid.UUID(ONE).int ^ 0xFFFF))))
    assert alike(value, fresh)
