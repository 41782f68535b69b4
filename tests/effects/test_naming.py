"""Names of operations and documents: bounded, and the same for the same thing."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits
from harness.effects.naming import Operations, document, key_template, text_of


def test_operations_are_bounded_and_those_known_stay() -> None:
    operations = Operations(operations_max=2)
    assert operations.named("GET", "a") == "GET a"
    assert operations.named("GET", "b") == "GET b"
    assert operations.named("PUT", "c") == "PUT other"
    assert operations.named("GET", "a") == "GET a"
    assert operations.overflowed == 1


def test_identifiers_in_keys_are_left_out() -> None:
    assert key_template("cart:1042:items") == "cart:{int}:items"
    assert key_template("session/6a3f0e52-1f0e-4bb5-9d0a-0d5a8d3f0c11") == "session/{uuid}"
    assert key_template("1042") == "{int}"
    assert key_template("orders") == "orders"
    assert key_template("user:ann.lee@mail.example.org:1042.5") == "user:{email}:{int}.{int}"
    assert key_template("jobs@eu.7") == "jobs@eu.{int}"


def test_a_document_keeps_what_json_keeps() -> None:
    assert orjson.loads(document({"a": 1, "b": [None, True, "x"], "c": b"\xff", "d": b"text"})) == {
        "a": 1,
        "b": [None, True, "x"],
        "c": "hex:ff",
        "d": "text",
    }


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=200), max_size=8), st.integers(0, 400_000))
def test_a_document_stays_within_the_bound_and_says_what_was_cut(fields: dict[str, str], length: int) -> None:
    data = document({**fields, "long": "x" * length})
    assert len(data) <= limits.EFFECT_DOCUMENT_BYTES_MAX
    assert length < limits.EFFECT_DOCUMENT_BYTES_MAX or b"sha256" in data


def test_longer_documents_that_differ_stay_different() -> None:
    one, other = (document({"items": ["y" * 100] * 9000, "end": end}) for end in ("a", "b"))
    assert max(len(one), len(other)) <= limits.EFFECT_DOCUMENT_BYTES_MAX
    assert one != other


def test_bytes_that_are_no_text_are_digits() -> None:
    assert text_of(b"abc") == "abc"
    assert text_of(b"\xfe\x01") == "hex:fe01"
