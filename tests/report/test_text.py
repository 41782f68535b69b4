import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.text import (
    REDACTED,
    bounded,
    clean,
    clean_headers,
    count_of,
    method_of,
    milliseconds,
    percent,
    shown_setting,
    visible,
    without_credentials,
)


def test_invisible_characters_become_escapes() -> None:
    assert visible("a\u202eb\x1b[31m\u200b\ud800\U000e0041") == "a\\u202eb\\x1b[31m\\u200b\\ud800\\U000e0041"
    assert visible("line\n\tκόσμε") == "line\n\tκόσμε"


@given(st.text())
def test_clean_text_is_one_bounded_line_without_hidden_characters(text: str) -> None:
    shown = clean(text, 50)
    assert len(shown) <= 50
    assert all(unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in shown)
    shown.encode("utf-8")
    assert clean(shown, 50) == shown


def test_bounds() -> None:
    assert bounded("abcdef", 4) == "abc…"
    assert clean_headers((("a", "1"), ("b", "2"), ("c", "3")), 2) == (("a", "1"), ("b", "2"), ("…", "1 more"))


@pytest.mark.parametrize(
    ("endpoint", "method"),
    [("GET /a", "GET"), ("shop.example POST /orders #create", "POST"), ("other", ""), ("", ""), ("M-SEARCH *", "M-SEARCH")],
)
def test_method_of(endpoint: str, method: str) -> None:
    assert method_of(endpoint) == method


def test_settings_hide_secrets() -> None:
    assert shown_setting("admin.token", "hunter2") == REDACTED
    assert shown_setting("admin.token", None) == "None"
    assert shown_setting("targets.stable.url", "http://me:pw@host:1/x") == f"http://{REDACTED}@host:1/x"
    assert shown_setting("gate.passes", 3) == "3"
    assert without_credentials("http://[broken") == "http://[broken"
    assert without_credentials("http://host/a@b") == "http://host/a@b"


@pytest.mark.parametrize(
    ("share", "words"), [(0.5, "50 %"), (0.0073, "0.7 %"), (0.0001, "0.01 %"), (0.0, "0 %"), (1.0, "100 %"), (0.125, "12.5 %")]
)
def test_percent(share: float, words: str) -> None:
    assert percent(share) == words


@pytest.mark.parametrize(("value", "words"), [(0.25, "0.25 ms"), (8.21, "8.2 ms"), (340.4, "340 ms"), (12_400.0, "12.4 s")])
def test_milliseconds(value: float, words: str) -> None:
    assert milliseconds(value) == words


def test_count_of() -> None:
    assert [count_of(1, "pass", "passes"), count_of(2, "pass", "passes"), count_of(1200, "request")] == [
        "1 pass",
        "2 passes",
        "1,200 requests",
    ]
