"""Names that hold secrets, and running text: linear in what comes from outside."""

import time

import pytest

from harness.core.placeholders import Placeholders
from harness.core.redact_text import Names, TextRedactor, holds_count, speaks_about

TEXT = TextRedactor(Placeholders(b"key"), Names())


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "accessToken",
        "refresh_token",
        "client-secret",
        "Password",
        "new_passwd",
        "api_key",
        "apikey",
        "X-API-Key",
        "PHPSESSID",
        "sessionId",
        "Authorization",
        "authorisation",
        "auth",
        "credentials",
        "cvv",
        "card_cvv2",
        "customerSSN",
        "user[password]",
        "csrfmiddlewaretoken",
        "pwd",
        "jwt",
    ],
)
def test_names_that_hold_secrets(name: str) -> None:
    assert Names().sensitive(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "author",
        "authority",
        "businessName",
        "businessname",
        "lessons",
        "total",
        "token_type",
        "tokenType",
        "session_expires_at",
        "password_required",
        "session_timeout",
        "passenger",
        "monkey",
        "hotpot",
        "tokens_used",
    ],
)
def test_names_that_hold_none(name: str) -> None:
    assert not Names().sensitive(name)


def test_own_names() -> None:
    names = Names(extra=["ward*", "Bed"], allow=["csrf*"])
    assert names.sensitive("wardNumber")
    assert names.sensitive("BED")
    assert not names.sensitive("bedroom")
    assert not names.sensitive("csrf_token")
    assert names.allowed("CSRF_x")
    assert not Names().any_allowed


def test_counts_and_what_speaks_about_a_secret() -> None:
    assert holds_count("max_tokens")
    assert not holds_count("token")
    assert speaks_about("expiresIn")
    assert not speaks_about("login")


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "token",
        "a@",
        "1 ",
        "eyJ",
        "<input ",
        "\\",
        'token="',
        "token=",
        "a.b-",
        "<a>",
        "://a:",
        "eyJaaaaaaaaa.",
        'token=\\"',
        "1234 ",
        "auth[[",
        "bearer ",
        "%40",
        "@a.",
    ],
)
def test_repetition_costs_in_proportion(piece: str) -> None:
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        start = time.process_time()
        TEXT.redact(text)
        return time.process_time() - start

    small, large = seconds(20_000), seconds(160_000)
    assert large < 0.05 or large < 8 * small * 4


def test_surrogates_are_text_too() -> None:
    for text in ("\ud800 bob@example.com", "password=\udcff\ud800", '"token": "\udfff"', "token=%ff\ud800"):
        once = TEXT.redact(text)
        assert once != text
        assert TEXT.redact(once) == once
