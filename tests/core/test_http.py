"""The small facts about HTTP messages."""

import pytest

from harness.core.http import HOP_BY_HOP, SAFE_METHODS, connection_headers, header, header_values, media_type, status_class

HEADERS = (("Set-Cookie", "a=1"), ("Content-Type", 'Text/HTML; Charset="UTF-8"; =x; flag'), ("set-cookie", "b=2"))


def test_the_first_value_whatever_the_case() -> None:
    assert header(HEADERS, "set-cookie") == "a=1"
    assert header(HEADERS, "missing") is None


def test_all_values_in_wire_order() -> None:
    assert header_values(HEADERS, "set-cookie") == ["a=1", "b=2"]
    assert header_values((), "set-cookie") == []


def test_media_type() -> None:
    assert media_type(HEADERS) == ("text/html", {"charset": "UTF-8", "flag": ""})
    assert media_type(()) == ("", {})
    assert media_type((("Content-Type", ""),)) == ("", {})
    assert media_type((("Content-Type", " Application/JSON "),)) == ("application/json", {})


def test_hop_by_hop_and_what_connection_lists() -> None:
    assert connection_headers(()) == HOP_BY_HOP
    listed = connection_headers((("Connection", "Close, X-Mine ,"), ("connection", "x-too")))
    assert listed == HOP_BY_HOP | {"close", "x-mine", "x-too"}
    assert {"transfer-encoding", "upgrade", "te"} <= HOP_BY_HOP


@pytest.mark.parametrize(("status", "name"), [(0, "error"), (100, "1xx"), (200, "2xx"), (404, "4xx"), (599, "5xx")])
def test_status_class(status: int, name: str) -> None:
    assert status_class(status) == name


def test_only_methods_without_effects_are_safe() -> None:
    assert {"GET", "HEAD", "OPTIONS"} == SAFE_METHODS
