"""The snippet is run with a real shell and a real curl; what arrives is compared with what was meant."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.core.limits import COMMAND_BODY_BYTES_MAX, COMMAND_CHARS_MAX, COMMAND_STEPS_MAX
from harness.core.values import Body, Headers, Request, body_of
from harness.report.command import is_secret_header, reproducing_command
from tests.report.echo import Arrived, answer, serving

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

PLACEHOLDER = "redacted-0123456789ab"


def run(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(cwd), **environment},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def echo() -> Iterator[tuple[str, list[Arrived]]]:
    with serving(lambda arrived: answer(b'{"a":1,"b":2}', b"Content-Type: application/json")) as server:
        yield server


def sent(request: Request, echo: tuple[str, list[Arrived]], cwd: Path, **environment: str) -> list[Arrived]:
    base, arrived = echo
    arrived.clear()
    done = run(reproducing_command(request, stable=base, candidate=base), cwd, **environment)
    assert done.returncode == 0, done.stderr
    assert "The answers are alike." in done.stdout
    assert list(cwd.iterdir()) == []
    return list(arrived)


def test_the_request_arrives_as_it_was_at_both_targets(echo: tuple[str, list[Arrived]], tmp_path: Path) -> None:
    headers: Headers = (
        ("Host", "shop.example"),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
        ("X-Empty", ""),
        ("X-Latin", "caf\xe9 % \\ '"),
        ("-Odd", "\xe9"),
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "not to be sent"),
        ("Content-Length", "999"),
    )
    arrived = sent(Request("PUT", "/a b/../c?x=%27&y='1'#f", headers, body_of(b"it's\n$HOME `id` \\ \xc3\xa9")), echo, tmp_path)
    assert len(arrived) == 2
    for one in arrived:
        assert one.line == b"PUT /a b/../c?x=%27&y='1'#f HTTP/1.1"
        assert one.body == b"it's\n$HOME `id` \\ \xc3\xa9"
        assert one.values(b"host") == [b"shop.example"]
        assert one.values(b"x-twice") == [b"1", b"2"]
        assert one.values(b"x-empty") == [b""]
        assert one.values(b"x-latin") == [b"caf\xe9 % \\ '"]
        assert one.values(b"-odd") == [b"\xe9"]
        assert {name.lower() for name, _ in one.headers} == {b"host", b"x-twice", b"x-empty", b"x-latin", b"-odd", b"content-length"}


@pytest.mark.parametrize("body", [b"\0\xff\x01binary", b"@/etc/passwd", b"x" * 9000, b"tab\there", b"\xe2\x80\xaebidi", b"-n", b"\r\n\r\n"])
def test_bodies_arrive_byte_for_byte(echo: tuple[str, list[Arrived]], tmp_path: Path, body: bytes) -> None:
    arrived = sent(Request("POST", "/", (("Content-Type", "application/octet-stream"),), body_of(body)), echo, tmp_path)
    assert [one.body for one in arrived] == [body, body]


HOSTILE = st.text(st.sampled_from("'\"`$(){};&|<>\\!*?#~\n\r\t %@-:=,[]éÿ\u202e\0aZ0"), max_size=24)
TOKENS = st.text(st.sampled_from("!#$%&'*+-.^_`|~aZ9"), min_size=1, max_size=8).map(lambda name: f"X{name}")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@example(
    path="';touch owned;'", name="X`touch$IFS'owned'`", value="$(touch owned)", body="';touch owned;'", secret="Token`touch$IFS'owned'`"
)
@given(path=HOSTILE, name=TOKENS, value=HOSTILE, body=HOSTILE, secret=TOKENS.map(lambda name: f"Token{name}"))
def test_nothing_breaks_out_of_the_quoting(
    echo: tuple[str, list[Arrived]], tmp_path: Path, path: str, name: str, value: str, body: str, secret: str
) -> None:
    base, arrived = echo
    arrived.clear()
    headers: Headers = ((name, value), (secret, "the value itself"))
    request = Request("POST", "/" + path, headers, body_of(body.encode()), "shop.example")
    command = reproducing_command(request, stable=base, candidate=base, earlier=[request], title=path)
    assert "the value itself" not in command
    variable = next(line.split("{")[1].split(":")[0] for line in command.splitlines() if line.startswith(': "${'))
    done = run(command, tmp_path, **{variable: "from the environment"})
    assert list(tmp_path.iterdir()) == [], "something was executed"
    assert "not found" not in done.stderr
    whole = not set(path) & set("\n\r\0\t\u202e")
    if not whole:
        return
    assert done.returncode == 0, done.stderr
    assert len(arrived) == 4
    for one in arrived:
        assert one.target == b"/" + path.encode("latin-1")
        assert one.body == body.encode()
        assert one.values(secret.encode()) == [b"from the environment"]
        if not set(value) & set("\n\r\0\u202e"):
            assert one.values(name.encode())[0] == value.encode("latin-1").strip()


def test_secrets_come_from_the_environment_only(echo: tuple[str, list[Arrived]], tmp_path: Path) -> None:
    base, arrived = echo
    arrived.clear()
    request = Request("GET", "/me", (("Authorization", "Bearer s3cret"), ("X-Trace", PLACEHOLDER)))
    command = reproducing_command(request, stable=base, candidate=base)
    assert "s3cret" not in command
    refused = run(command, tmp_path)
    assert refused.returncode not in (0, 1)
    assert "set it to the value of the header Authorization" in refused.stderr
    assert arrived == []
    done = run(command, tmp_path, REPRO_AUTHORIZATION="Bearer real", REPRO_X_TRACE="t-1")
    assert done.returncode == 0
    assert arrived[0].values(b"authorization") == [b"Bearer real"]
    assert arrived[0].values(b"x-trace") == [b"t-1"]


def test_redacted_values_in_url_and_body_may_be_given(echo: tuple[str, list[Arrived]], tmp_path: Path) -> None:
    request = Request("POST", f"/reset?token={PLACEHOLDER}&a=1", (), body_of(f'{{"t":"{PLACEHOLDER}","n":1}}'.encode()))
    plain = sent(request, echo, tmp_path)
    assert plain[0].target == f"/reset?token={PLACEHOLDER}&a=1".encode()
    given_value = sent(request, echo, tmp_path, REPRO_VALUE_1="a b$c")
    assert given_value[0].target == b"/reset?token=a b$c&a=1"
    assert given_value[0].body == b'{"t":"a b$c","n":1}'


def test_differences_are_shown_and_end_with_1(tmp_path: Path) -> None:
    with (
        serving(lambda arrived: answer(b'{"total":1,"tax":2}', b"Date: now")) as (stable, _),
        serving(lambda arrived: answer(b'{"total":1,"tax":3}', b"Date: later")) as (candidate, _),
    ):
        done = run(reproducing_command(Request("GET", "/"), stable=stable, candidate=candidate), tmp_path)
        swapped = reproducing_command(Request("GET", "/"), stable="http://127.0.0.1:1", candidate="http://127.0.0.1:1")
        moved = run(swapped, tmp_path, REPRO_STABLE=stable, REPRO_CANDIDATE=candidate)
    assert done.returncode == moved.returncode == 1
    assert '-"tax":2}' in done.stdout
    assert '+"tax":3}' in done.stdout
    assert "Date" not in done.stdout


def test_a_dead_candidate_is_a_difference_and_a_dead_stable_is_trouble(tmp_path: Path) -> None:
    dead = "http://127.0.0.1:1"
    with serving(lambda arrived: answer(b"ok")) as (alive, _):
        assert run(reproducing_command(Request("GET", "/"), stable=alive, candidate=dead), tmp_path).returncode == 1
        assert run(reproducing_command(Request("GET", "/"), stable=dead, candidate=alive), tmp_path).returncode == 2


def test_earlier_steps_go_first_and_keep_cookies_apart(tmp_path: Path) -> None:
    def reply(arrived: Arrived) -> bytes:
        return answer(b"in", b"Set-Cookie: sid=abc; Path=/") if arrived.target == b"/login" else answer(b"me")

    login = Request("POST", "/login", (("Content-Type", "text/plain"),), body_of(b"me"))
    request = Request("GET", "/me", (("Cookie", "sid=old"),))
    with serving(reply) as (stable, first), serving(reply) as (candidate, second):
        command = reproducing_command(request, stable=stable, candidate=candidate, earlier=[login], mapped_ids=2)
        done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 identifiers" in command
    assert "sid=old" not in command
    for arrived in (first, second):
        assert [one.target for one in arrived] == [b"/login", b"/me"]
        assert arrived[1].values(b"cookie") == [b"sid=abc"]


def test_head_base_paths_and_codings(tmp_path: Path) -> None:
    with serving(lambda arrived: answer(b"" if arrived.line.startswith(b"HEAD") else b"x")) as (base, arrived):
        head = Request("HEAD", "/h", (("Accept-Encoding", "gzip"),), body_of(b"ignored"))
        command = reproducing_command(head, stable=base + "/api/v1/", candidate=base)
        assert run(command, tmp_path).returncode == 0
    assert [one.line for one in arrived] == [b"HEAD /api/v1/h HTTP/1.1", b"HEAD /h HTTP/1.1"]
    assert "curl cannot send it" in command
    assert "--compressed" in command


def test_a_large_body_is_read_from_a_file(tmp_path: Path) -> None:
    data = b"y" * (COMMAND_BODY_BYTES_MAX + 1)
    files = tmp_path / "files"
    files.mkdir()
    (files / "body").write_bytes(data)
    work = tmp_path / "work"
    work.mkdir()
    with serving(lambda arrived: answer(b"ok")) as (base, arrived):
        command = reproducing_command(Request("POST", "/", (), body_of(data)), stable=base, candidate=base)
        assert run(command, work).returncode != 0
        assert run(command, work, REPRO_BODY_FILE=str(files / "body")).returncode == 0
    assert arrived[-1].body == data
    assert "too large" in reproducing_command(Request("POST", "/", (), Body(b"abc", 10)), stable=base, candidate=base)


def test_long_sessions_are_cut_at_the_front() -> None:
    steps = [Request("GET", f"/{number}") for number in range(COMMAND_STEPS_MAX + 5)]
    command = reproducing_command(Request("GET", "/last"), stable="http://a", candidate="http://b", earlier=steps)
    assert "first 5 steps" in command
    assert '"$3"/4 ' not in command
    assert '"$3"/5 ' in command


def test_a_snippet_is_bounded() -> None:
    bulky = [Request("GET", f"/{number}", (("X-Big", "v" * 9000),)) for number in range(20)]
    command = reproducing_command(Request("GET", "/last"), stable="http://a", candidate="http://b", earlier=bulky)
    assert len(command) <= COMMAND_CHARS_MAX
    assert "first 15 steps" in command
    huge = Request("GET", "/" + "'" * COMMAND_CHARS_MAX)
    assert "too large for a snippet" in reproducing_command(huge, stable="http://a", candidate="http://b")


def test_odd_base_urls_are_not_written() -> None:
    command = reproducing_command(Request("GET", "/"), stable="http://u:p@h:1", candidate="file:///etc/passwd")
    assert "u:p" not in command
    assert "candidate=http://invalid.invalid" in command


def test_headers_that_are_no_http_are_left_out() -> None:
    command = reproducing_command(Request("GET", "/", (("A B", "x"), ("Fine", "a\r\nb"))), stable="http://a", candidate="http://b")
    assert command.count("left out") == 2


@pytest.mark.parametrize(
    ("name", "value", "secret"), [("Cookie", "a", True), ("X-Api-Key", "a", True), ("Accept", "a", False), ("Accept", PLACEHOLDER, True)]
)
def test_what_counts_as_secret(name: str, value: str, secret: bool) -> None:
    assert is_secret_header(name, value) is secret
