"""Targets as text and as configuration."""

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.targets.spec import TargetSpec, fill, parse_target, secondary_of, split_command


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://localhost:8080", "http://localhost:8080"),
        (" HTTP://Example.org/ ", "http://Example.org"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
        ("unix:///run/app.sock", "unix:/run/app.sock"),
    ],
)
def test_url(text: str, url: str) -> None:
    spec = parse_target(text)
    assert (spec.url, spec.command) == (url, None)
    assert spec.describe() == url
    assert secondary_of(spec) is None
    assert not spec.can_reset


def test_command() -> None:
    spec = parse_target("cmd: ./serve --port {port} ")
    assert (spec.url, spec.command) == (None, "./serve --port {port}")
    assert spec.describe() == "cmd:./serve --port {port}"
    assert secondary_of(spec) == spec
    assert spec.can_reset


def test_mapping(tmp_path: Path) -> None:
    spec = parse_target(
        {
            "command": "serve",
            "env": {"PORT": "{port}"},
            "cwd": str(tmp_path),
            "ready": "/health",
            "ready_timeout_s": 3,
            "prepare": "load",
            "reset": "sh -c 'a && b'",
        }
    )
    assert spec == TargetSpec(
        command="serve",
        env={"PORT": "{port}"},
        cwd=str(tmp_path),
        ready="/health",
        ready_timeout_s=3.0,
        prepare="load",
        reset="sh -c 'a && b'",
    )
    assert parse_target({"url": "http://a", "reset": "x"}).can_reset


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "not a target"),
        ("localhost:8080", "not a target"),
        ("ftp://host", "not a target"),
        ("http://", "not a target"),
        ("http://host:0", "not a target"),
        ("http://host:99999", "not a URL"),
        ("http://[::1", "not a URL"),
        ("http://user:secret@host", "no credentials"),
        ("http://host/base", "without a path"),
        ("http://host?x=1", "without a path"),
        ("unix:relative.sock", "not absolute"),
        ("cmd:", "empty"),
        ("cmd:serve 'open {port}", "cannot be split"),
        ("cmd:serve --port 80", "no place for its port"),
        ({}, "either a url or a command"),
        ({"url": "http://a", "command": "b {port}"}, "either a url or a command"),
        ({"url": "http://a", "colour": "red"}, "unknown field `colour`"),
        ({"url": 1}, "Expected `str"),
        ({"command": "a {port}", "prepare": "'"}, "cannot be split"),
        ({"command": "a {port}", "reset": " "}, "empty"),
        ({"command": "a {port}", "ready": "health"}, "must start with /"),
        ({"command": "a {port}", "ready": "/a b"}, "must start with /"),
        ({"command": "a {port}", "ready_timeout_s": 0}, "above 0"),
        ({"command": "a {port}", "stop_timeout_s": float("nan")}, "above 0"),
        ({"command": "a {port}", "hook_timeout_s": float("inf")}, "above 0"),
        ({"command": "a {port}", "cwd": "/nowhere/at/all"}, "no such folder"),
    ],
)
def test_errors_say_what_and_where(value: str | dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(value, where="--candidate")
    assert says in caught.value.what
    assert caught.value.where.startswith("--candidate")
    assert caught.value.fix
    assert "secret" not in str(caught.value)


def test_fill_leaves_other_braces_alone() -> None:
    assert fill('{"a": {port}} {other} {} ${x}', {"port": "1"}) == '{"a": 1} {other} {} ${x}'


@given(st.text(alphabet=string.printable))
def test_any_text_is_a_target_or_a_usage_error(text: str) -> None:
    try:
        spec = parse_target(text)
    except UsageError as error:
        text = str(error)
        assert "hint: " in text
    else:
        assert (spec.url is None) != (spec.command is None)
        # Parsing what was parsed gives the same value.
        assert parse_target(spec.describe()) == spec


def test_split_command_names_the_place() -> None:
    assert split_command("a 'b c' d", where="x") == ["a", "b c", "d"]
    with pytest.raises(UsageError, match="empty"):
        split_command(" ", where="x")
