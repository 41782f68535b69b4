"""Names of keys by where they were made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.keynames import is_key_name, key_name


def test_the_table_without_its_schema_the_trial_and_the_row() -> None:
    assert key_name("public.orders", 7, 2) == "orders#7.2"
    assert key_name("orders", 12, 1) == "orders#12.1"


@given(st.text(min_size=1), st.integers(1, 10**9), st.integers(1, 10**6))
def test_every_name_is_known_for_one_and_rows_of_a_table_are_told_apart(table: str, trial: int, number: int) -> None:
    name = key_name(table, trial, number)
    assert is_key_name(name)
    assert len({name, key_name(table, trial + 1, number), key_name(table, trial, number + 1)}) == 3


@pytest.mark.parametrize(
    "text", ["", "17", "orders", "orders#7", "orders#7.0", "#7.2", "an order#7.2", "orders#7.2 ", "a#b#7.2", "orders#07.2"]
)
def test_what_is_none(text: str) -> None:
    assert not is_key_name(text)
