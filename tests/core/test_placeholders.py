"""Placeholders: one for each secret, in a form that applications accept, known again when met."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.placeholders import PLACEHOLDER, Placeholders, is_card, is_card_placeholder, is_placeholder, luhn_valid

MAKE = Placeholders(b"key")


@given(st.text(min_size=1), st.text(min_size=1))
def test_equal_exactly_where_the_secrets_are(one: str, two: str) -> None:
    assert (MAKE.of(one) == MAKE.of(two)) == (one == two)
    assert MAKE.of(MAKE.of(one)) == MAKE.of(one)
    assert is_placeholder(MAKE.of(one))


@given(st.text())
def test_credentials_are_stable_and_known_again(value: str) -> None:
    once = MAKE.of_credential(value)
    assert MAKE.of_credential(once) == once
    assert not value or is_placeholder(once)


@given(st.from_regex(r"[2-6][0-9]{11,17}", fullmatch=True))
def test_cards(body: str) -> None:
    card = next(body + check for check in "0123456789" if luhn_valid(body + check))
    assert is_card(card)
    new = MAKE.of(card)
    assert len(new) == len(card)
    assert is_card_placeholder(new)
    assert luhn_valid(new)
    spaced = " ".join(card[i : i + 4] for i in range(0, len(card), 4))
    assert MAKE.of(spaced).replace(" ", "") == new
    assert MAKE.of_number(card) == new


def test_numbers() -> None:
    number = MAKE.of_number("123")
    assert len(number) == 15
    assert int(number) < 2**53
    assert MAKE.of_number(number) == number
    assert MAKE.of_number("-1.5e3") != number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "redacted-",
        "redacted-0a1b2c3d4e5g",
        "xredacted-0a1b2c3d4e5f",
        "Bearer abc",
        "Basic ??",
        "9999",
        "Basic " + base64.b64encode(b"bob:pw").decode(),
    ],
)
def test_what_is_no_placeholder(text: str) -> None:
    assert not is_placeholder(text)


def test_in_text_only_free_standing_ones_count() -> None:
    assert PLACEHOLDER.search("see redacted-0a1b2c3d4e5f, and")
    assert PLACEHOLDER.search("r-0a1b2c3d4e5f@redacted.invalid")
    assert not PLACEHOLDER.search("redacted-0a1b2c3d4e5fsecret")
    assert not PLACEHOLDER.search("xr-0a1b2c3d4e5f@redacted.invalid")


def test_schemes_stay() -> None:
    assert MAKE.of_credential("Bearer a") == f"Bearer {MAKE.of('a')}"
    assert MAKE.of_credential("AWS4-HMAC-SHA256 Credential=x, y").startswith("AWS4-HMAC-SHA256 redacted-")
    assert is_placeholder(MAKE.of_credential("Digest a=b, c=d"))
    assert MAKE.digest(b"a") != Placeholders(b"other").digest(b"a")
