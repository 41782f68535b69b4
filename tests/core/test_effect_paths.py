"""Paths of effects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.effect_paths import EffectPlace, effect_place


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$", EffectPlace()),
        ("", EffectPlace()),
        ("$['http POST pay.test/charge']", EffectPlace("http", "POST pay.test/charge")),
        ('$["http POST pay.test/charge"].body.amount', EffectPlace("http", "POST pay.test/charge", ".body.amount")),
        (r"$['http GET it\'s']['a b'][*]", EffectPlace("http", "GET it's", "['a b'][*]")),
        (r"$['http GET a\\b']", EffectPlace("http", r"GET a\b")),
        ("$['alone']", EffectPlace("alone")),
        ("$.x", EffectPlace(inside=".x")),
        ("$['http POST …", EffectPlace(inside="['http POST …")),
    ],
)
def test_a_path_is_taken_apart(path: str, expected: EffectPlace) -> None:
    assert effect_place(path) == expected
    assert effect_place(path).whole is (expected.inside == "")


@pytest.mark.parametrize(
    ("operation", "reads"),
    [
        ("GET rates.test/today", True),
        ("select orders", True),
        ("HGETALL cart:{id}", True),
        ("POST pay.test/charge", False),
        ("GETSET x", False),
        ("SELECTION x", False),
        ("INSERT t", False),
        ("other", False),
        ("", False),
        ("find users", True),
        ("getMore users", True),
        ("findAndModify users", False),
        ("GETDEL x", False),
        ("CLIENT http GET rates.test/today", True),
        ("CLIENT http POST rates.test/GET", False),
        ("CLIENT sqlite SELECT orders", True),
        ("CLIENT sqlite INSERT orders", False),
        ("CLIENT grpc shop.Users/GetUser", True),
        ("CLIENT grpc shop.Users/GetOrCreateUser", False),
        ("CLIENT grpc shop.Cart/Checkout", False),
        ("CLIENT grpc shop.Users/Getaway", False),
        ("CLIENT kafka receive orders", True),
        ("PRODUCER kafka get-requests", False),
        ("CLIENT", False),
    ],
)
def test_reads_are_known_by_their_verbs(operation: str, reads: bool) -> None:
    assert effect_place(f"$['http {operation}'].a").reads is reads


@given(st.text())
def test_any_text_is_taken(path: str) -> None:
    effect_place(path)
