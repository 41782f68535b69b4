"""Shapes of text: one table of cases, and properties over generated identifiers."""

import base64
import random
import string
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.shapes import Shape, label_of, prefix_of, shape_of

CASES = {
    "": Shape.EMPTY,
    "0": Shape.INTEGER,
    "-17": Shape.INTEGER,
    "9" * 40: Shape.INTEGER,
    "1700000000": Shape.EPOCH_S,
    "0700000000": Shape.INTEGER,
    "1700000000123": Shape.EPOCH_MS,
    "9700000000123": Shape.INTEGER,
    "1.50": Shape.DECIMAL,
    "-0.5": Shape.DECIMAL,
    "1e-7": Shape.DECIMAL,
    "3f2504e0-4f89-11d3-9a0c-0305e82c3301": Shape.UUID,
    "3F2504E0-4F89-11D3-9A0C-0305E82C3301": Shape.UUID,
    "01ARZ3NDEKTSV4RRFFQ69G5FAV": Shape.ULID,
    "01arz3ndektsv4rrffq69g5fav": Shape.ULID,
    "3f2a9b1c": Shape.HEX,
    "3F2A9B1C": Shape.HEX,
    "deadbeef": Shape.WORD,
    "abcdefabcdefabcdef": Shape.HEX,
    "2024-01-31": Shape.DATE,
    "2024-13-31": Shape.PREFIXED,
    "2024-01-31T10:00:00Z": Shape.DATETIME_OFFSET,
    "2024-01-31T10:00:00.123456+02:00": Shape.DATETIME_OFFSET,
    "2024-01-31 10:00:00+0200": Shape.DATETIME_OFFSET,
    "20240131T100000Z": Shape.DATETIME_OFFSET,
    "2024-01-31T10:00:00": Shape.DATETIME_LOCAL,
    "2024-01-31 10:00": Shape.DATETIME_LOCAL,
    "Wed, 21 Oct 2015 07:28:00 GMT": Shape.HTTP_DATE,
    "bob@example.com": Shape.EMAIL,
    "r-0a1b2c3d4e5f@redacted.invalid": Shape.EMAIL,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U": Shape.JWT,
    "https://example.com/a?b=c": Shape.URL,
    "ord_123": Shape.PREFIXED,
    "INV-00042": Shape.PREFIXED,
    "cus_9sdf8s7df": Shape.PREFIXED,
    "ORD-2024-00042": Shape.PREFIXED,
    "112-1234567-1234567": Shape.PREFIXED,
    "A12345": Shape.PREFIXED,
    "sess-a8f3k29dk2": Shape.PREFIXED,
    "redacted-0a1b2c3d4e5f": Shape.TOKEN,
    "V1StGXR8_Z5jdHi6B-myT": Shape.TOKEN,
    "x9f8Kd72LmQp04Zt": Shape.TOKEN,
    "dQw4w9WgXcQ": Shape.SHORT_TOKEN,
    "SGVsbG8gd29ybGQgMTIzNDU2Nw==": Shape.BASE64,
    "orders": Shape.WORD,
    "order-created": Shape.WORD,
    "PAID_IN_FULL": Shape.WORD,
    # Names that hold digits and are no identifiers.
    "v1": Shape.TEXT,
    "utf-8": Shape.TEXT,
    "iso-8859-1": Shape.TEXT,
    "sha-256": Shape.TEXT,
    "2024-01": Shape.TEXT,
    "oauth2": Shape.TEXT,
    "oauth2callback": Shape.TEXT,
    "base64url": Shape.TEXT,
    "how-to-install-python-3-on-windows-10": Shape.TEXT,
    "iphone-15-pro-max-256gb-black": Shape.TEXT,
    "MyCamelCaseControllerName2024": Shape.TEXT,
    "jquery-3.6.0.min": Shape.TEXT,
    "two words": Shape.TEXT,
    "a b " * 40: Shape.TEXT,
    "\u0661\u0662\u0663": Shape.TEXT,
    "a+b=c&d-e/f?g1h2i3": Shape.TEXT,
}


@pytest.mark.parametrize(("text", "shape"), CASES.items())
def test_table(text: str, shape: Shape) -> None:
    assert shape_of(text) is shape


@given(st.text())
def test_every_text_has_a_shape_and_a_bounded_label(text: str) -> None:
    assert isinstance(shape_of(text), Shape)
    label = label_of(text)
    assert label is None or (label.startswith("{") and label.endswith("}"))
    assert label is not None or len(text) <= 96


@given(st.uuids())
def test_uuids(value: uuid.UUID) -> None:
    assert shape_of(str(value)) is Shape.UUID
    assert shape_of(value.hex) in {Shape.HEX, Shape.INTEGER}


@given(st.integers())
def test_integers(value: int) -> None:
    assert label_of(str(value)) == "{int}"


@given(st.emails(domains=st.sampled_from(["example.com", "mail.example.org"])))
def test_emails_without_reserved_characters(value: str) -> None:
    if not set(value) & set("{}/=&?#|'"):
        assert shape_of(value) is Shape.EMAIL


def test_random_tokens_are_found_and_words_are_not() -> None:
    rng = random.Random(7)
    alphabet = string.ascii_letters + string.digits
    tokens = ["".join(rng.choices(alphabet, k=24)) for _ in range(2000)]
    found = sum(label_of(token) is not None for token in tokens)
    assert found >= 0.97 * len(tokens)
    words = ["get", "user", "account", "details", "by", "v2", "python3", "windows", "10", "list", "top", "100"]
    slugs = ["-".join(rng.choices(words[:6] + words[7:8], k=5)) for _ in range(500)]
    assert not [slug for slug in slugs if label_of(slug)]


@given(st.binary(min_size=24, max_size=64))
def test_base64_is_never_a_word(data: bytes) -> None:
    assert shape_of(base64.b64encode(data).decode()) not in {Shape.DATE, Shape.UUID, Shape.EMAIL, Shape.JWT}


@pytest.mark.parametrize(("text", "prefix"), [("ord_123", "ord"), ("INV-00042", "INV"), ("sub_item_9a8b7c", "sub_item"), ("123", "")])
def test_prefix(text: str, prefix: str) -> None:
    assert prefix_of(text) == prefix


def test_labels() -> None:
    assert label_of("2024-01-31T10:00:00Z") == "{date}"
    assert label_of("dQw4w9WgXcQ") == "{token}"
    assert label_of("w" * 97) == "{text}"
    assert label_of("1.0") is None
