"""Text forms: one table of what is read and one of what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.settings import forms
from harness.settings.forms import FORM_WORDS, FORMS, FormError

READ: list[tuple[str, str, str | float]] = [
    ("address", " 127.0.0.1:8080 ", "127.0.0.1:8080"),
    ("address", "[::1]:0", "[::1]:0"),
    ("address", "proxy_1.internal:65535", "proxy_1.internal:65535"),
    ("command", " ./serve --port {port} ", "./serve --port {port}"),
    ("duration", "90", 90.0),
    ("duration", "90s", 90.0),
    ("duration", "10m", 600.0),
    ("duration", "1h30m", 5400.0),
    ("duration", "500ms", 0.5),
    ("duration", "1.5d", 129600.0),
    ("duration", ".5", 0.5),
    ("env_name", "SHOP_TOKEN", "SHOP_TOKEN"),
    ("field_name", "X-Build", "X-Build"),
    ("file", "a b.yaml", "a b.yaml"),
    ("host", "Shop.Example", "shop.example"),
    ("host", "shop.example:8443", "shop.example:8443"),
    ("host", "[::1]", "[::1]"),
    ("input_file", "openapi.yaml", "openapi.yaml"),
    ("path", "/health", "/health"),
    ("policy", "default", "default"),
    ("regex", r"CUST-\d{8}", r"CUST-\d{8}"),
    ("safe_endpoint", " GET /search* ", "GET /search*"),
    ("safe_endpoint", "HEAD *", "HEAD *"),
    ("sample_key", "header:X-Tenant", "header:X-Tenant"),
    ("sample_key", " cookie:sid ", "cookie:sid"),
    ("sample_key", "path:02", "path:2"),
    ("sample_key", "path:31", "path:31"),
    ("size", "500", 500.0),
    ("size", "500MB", 5e8),
    ("size", "2.5 gb", 2.5e9),
    ("size", "1GiB", 2.0**30),
    ("speed", "max", "max"),
    ("speed", "2x", 2.0),
    ("speed", "0.5", 0.5),
    ("template", "/orders/{id}", "/orders/{id}"),
    ("template", " GET /files/** ", "GET /files/**"),
]

REFUSED: list[tuple[str, str]] = [
    ("address", "127.0.0.1"),
    ("address", ":8080"),
    ("address", "127.0.0.1:65536"),
    ("address", "127.0.0.1:-1"),
    ("address", "127.0.0.1:٣"),
    ("address", "::1:80"),
    ("address", "a b:80"),
    ("command", "  "),
    ("command", "a\0b"),
    ("duration", "10 parsecs"),
    ("duration", "10m5"),
    ("duration", "-3"),
    ("duration", ""),
    ("env_name", "1TOKEN"),
    ("env_name", "A-B"),
    ("field_name", "X Build"),
    ("field_name", ""),
    ("file", " "),
    ("file", "a\0"),
    ("host", "http://shop.example"),
    ("host", "shop.example:x"),
    ("host", ""),
    ("path", "health"),
    ("path", "/a b"),
    ("regex", "("),
    ("safe_endpoint", "POST /search"),
    ("safe_endpoint", "TRACE /search"),
    ("safe_endpoint", "/search"),
    ("safe_endpoint", "GET search"),
    ("regex", ""),
    ("sample_key", "X-Tenant"),
    ("sample_key", "header:"),
    ("sample_key", "cookie:a b"),
    ("sample_key", "query:tenant"),
    ("sample_key", "path:-1"),
    ("sample_key", "path:32"),
    ("sample_key", "path:²"),
    ("sample_key", "path:two"),
    ("size", "many"),
    ("size", "1 XB"),
    ("size", "-1"),
    ("speed", "fast"),
    ("speed", "x"),
    ("speed", "-1"),
    ("template", "orders/{id}"),
]


@pytest.mark.parametrize(("form", "text", "value"), READ)
def test_reads(form: str, text: str, value: str | float) -> None:
    assert FORMS[form](text) == value


@pytest.mark.parametrize(("form", "text"), REFUSED)
def test_refuses(form: str, text: str) -> None:
    with pytest.raises(FormError):
        FORMS[form](text)


def test_every_form_has_words_and_cases() -> None:
    assert set(FORMS) == set(FORM_WORDS) == {form for form, _, _ in READ}


@given(st.sampled_from(sorted(FORMS)), st.text(max_size=40))
def test_any_text_is_read_or_refused(form: str, text: str) -> None:
    try:
        value = FORMS[form](text)
    except FormError:
        return
    assert isinstance(value, str | float)


@given(st.integers(0, 10**6), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_durations_are_number_times_unit(number: int, unit: str) -> None:
    seconds = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    assert forms.parse_duration_s(f"{number}{unit}") == pytest.approx(number * seconds)


def test_address_gives_host_and_port() -> None:
    assert forms.parse_address("[::1]:8080") == ("::1", 8080)
    assert forms.parse_address("localhost:0") == ("localhost", 0)


@pytest.mark.parametrize(("text", "is_file"), [("default", False), ("./p", True), ("p.yaml", True), ("p.yml", True), ("a\\b", True)])
def test_policy_file_or_name(text: str, is_file: bool) -> None:
    assert forms.is_policy_file(text) is is_file
