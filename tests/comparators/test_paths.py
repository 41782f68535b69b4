"""Addresses: what is collapsed, what is quoted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.paths import exact_step, key_step, printable
from harness.core.canon import path_steps


@pytest.mark.parametrize(
    ("key", "step"),
    [
        ("name", ".name"),
        ("snake_case-2", ".snake_case-2"),
        ("12", ".12"),
        ("123", ".*"),
        ("9f1c2b3a4d5e6f70", ".*"),
        ("0F8FAD5B-D9CB-469F-A165-70867728950E", ".*"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", ".*"),
        ("deadbeef", ".deadbeef"),
        ("a.b", "['a.b']"),
        ("", "['']"),
        ("*", "['*']"),
        ("it's", "['it\\'s']"),
        ("back\\slash", "['back\\\\slash']"),
        ("\ud800", "['\\\\ud800']"),
    ],
)
def test_a_step(key: str, step: str) -> None:
    assert key_step(key) == step


def test_an_exact_step_keeps_identifiers_and_cuts_what_is_long() -> None:
    assert exact_step("123") == ".123"
    assert len(exact_step("x" * 10_000)) < 200


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20)))
def test_exact_steps_can_be_read_back(keys: list[str]) -> None:
    assert path_steps("$" + "".join(exact_step(key) for key in keys)) == tuple(keys)


@given(st.text())
def test_printable_text_can_be_encoded(text: str) -> None:
    printable(text).encode()
