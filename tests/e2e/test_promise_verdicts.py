"""Promises 6 and 7, attacked from outside: whatever goes wrong nothing passes, and a finding's command shows it again."""

import asyncio
import json
import os
import random
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live import report_of
from tests.e2e.support import SHADOWDIFF, Ran, write_har
from tests.e2e.targets import by_path, gate, once_ready, plug_in, request, served
from tests.proxy.rig import Behaviour, Seen, Upstream, answers, hang, ok, reset, talk

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SECOND = {"SHADOWDIFF_REPLAY_TIMEOUT_S": "1s"}
STATELESS = ("--state", "stateless")


def plain_capture(path: Path, count: int = 20) -> Path:
    """Requests that any build can answer."""
    return write_har(path, [{"url": f"http://shop.example/plain?n={number}"} for number in range(count)])


def judged(capture: Path, *options: str, build: Behaviour = by_path, out: Path, environment: Mapping[str, str] | None = None) -> Ran:
    """A gate run in which all builds are the same one."""

    async def main() -> Ran:
        async with Upstream(build) as one:
            return await gate(capture, *options, stable=one, secondary=one, candidate=one, out=out, environment=environment)

    return asyncio.run(main())


def test_6_the_same_build_passes_so_that_the_others_can_fail(tmp_path: Path) -> None:
    ran = judged(plain_capture(tmp_path / "a.har"), *STATELESS, out=tmp_path / "run")
    assert ran.code == 0, ran.explain()


@pytest.mark.parametrize(
    ("requests", "code"),
    [
        ([], 4),
        ([{"url": "http://shop.example/plain", "method": "POST", "body": "{}"}], 3),
        ([{"url": "http://shop.example/plain", "method": "TRACE"}], 3),
    ],
    ids=["nothing", "only writes", "only TRACE"],
)
def test_6_a_capture_without_a_request_to_send_does_not_pass(requests: list[dict[str, Any]], code: int, tmp_path: Path) -> None:
    ran = judged(write_har(tmp_path / "a.har", requests), *STATELESS, out=tmp_path / "run")
    assert ran.code == code, ran.explain()


def test_6_a_capture_of_other_hosts_does_not_pass(tmp_path: Path) -> None:
    ran = judged(plain_capture(tmp_path / "a.har"), *STATELESS, "--host", "elsewhere.example", out=tmp_path / "run")
    assert ran.code in {2, 3, 4}, ran.explain()


def test_6_a_proxy_without_traffic_does_not_pass(tmp_path: Path) -> None:
    async def main() -> int:
        async with served(tmp_path / "run", "--gate") as s:
            return await s.end()

    assert asyncio.run(main()) == 3
    assert report_of(tmp_path / "run")["verdict"] == "inconclusive"


@pytest.mark.parametrize("content", [None, "", "alpha: 2", "alpha: [", "no_such_key: 1", "\0\x01", "preset: none"])
def test_6_a_policy_that_cannot_be_read_does_not_pass(content: str | None, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    if content is not None:
        policy.write_text(content, encoding="utf-8")
    ran = judged(plain_capture(tmp_path / "a.har"), *STATELESS, "--policy", str(policy), out=tmp_path / "run")
    assert ran.code == 2, ran.explain()
    assert "Traceback" not in ran.stderr


BROKEN: dict[str, Behaviour] = {
    "500": once_ready(answers(b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\nboom")),
    "401": once_ready(answers(b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")),
    "404": once_ready(answers(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")),
    "429": once_ready(answers(b"HTTP/1.1 429 Slow Down\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n")),
    "reset": once_ready(reset),
    "hanging": once_ready(hang),
    "garbage": once_ready(answers(b"\0\1\2 no HTTP\r\n\r\n", close=True)),
    "closing early": once_ready(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nab", close=True)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_6_builds_that_fail_alike_on_everything_do_not_pass(name: str, tmp_path: Path) -> None:
    ran = judged(
        plain_capture(tmp_path / "a.har"), *STATELESS, "--passes", "2", build=BROKEN[name], out=tmp_path / "run", environment=SECOND
    )
    assert ran.code == 3, ran.explain()


RAISE = 'raise RuntimeError("of the plug-in")'


def counting() -> Behaviour:
    """Another body each time, so that bodies are compared."""

    async def behave(upstream: Upstream, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _seen: Seen) -> None:
        writer.write(ok(b'{"number": %d}' % len(upstream.seen), b"Content-Type: application/json"))
        await writer.drain()

    return behave


@pytest.mark.parametrize(
    ("places", "codes"),
    [
        ({"compare": RAISE}, {3}),
        ({"compare": "yield 'no difference'"}, {3, 5}),
        ({"compare": "import sys; sys.exit(0)"}, {3, 5}),
        ({"compare": "raise KeyboardInterrupt"}, {3, 5, 130}),
        ({"compare": "raise RecursionError"}, {3}),
        ({"matches": RAISE}, {2, 3, 5}),
        ({"matches": "import sys; sys.exit(0)"}, {2, 3, 5}),
        ({"load": RAISE}, {2}),
        ({"load": "import sys; sys.exit(0)"}, {2, 5}),
    ],
    ids=lambda value: " ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_6_a_comparator_that_fails_does_not_pass(places: dict[str, str], codes: set[int], tmp_path: Path) -> None:
    environment = plug_in(tmp_path / "site", **places) | {"TMPDIR": str(tmp_path)}
    capture = plain_capture(tmp_path / "a.har")
    ran = judged(capture, *STATELESS, "--passes", "2", build=counting(), out=tmp_path / "run", environment=environment)
    assert ran.code in codes, ran.explain()
    assert "Traceback" not in ran.stderr


def test_6_a_stored_run_that_is_damaged_does_not_pass_again(tmp_path: Path) -> None:
    ran = judged(plain_capture(tmp_path / "a.har"), *STATELESS, out=tmp_path / "run")
    assert ran.code == 0
    bets = ran.out / "bets.msgpack"
    whole = bets.read_bytes()

    def again() -> int:
        return subprocess.run([*SHADOWDIFF, "judge", str(ran.out)], capture_output=True, check=False, timeout=60).returncode

    assert again() == 0
    for damaged in (whole[:-1], whole[: len(whole) // 2], whole[:30], b"", b"\0" * len(whole), whole + whole[-200:]):
        bets.write_bytes(damaged)
        assert again() == 4
    bets.unlink()
    assert again() == 4
    bets.write_bytes(whole)
    record = json.loads((ran.out / "run.json").read_bytes())
    (ran.out / "run.json").write_text(json.dumps(record | {"bets_lost": 1}), encoding="utf-8")
    assert again() == 4


PASSWORD = "pa55word-of-alice"


class Shop:
    """A build that shows a cart to those who logged in, at a price of its own."""

    def __init__(self, price: int) -> None:
        self._price = price
        self._rng = random.Random(price)
        self._sessions: set[bytes] = set()

    async def behave(self, _upstream: Upstream, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        """One answer."""
        cookie = re.search(rb"[Cc]ookie: sid=(\w+)", seen.head)
        if b" /login" in seen.line and PASSWORD.encode() in seen.body:
            session = f"{self._rng.getrandbits(96):024x}".encode()
            self._sessions.add(session)
            answer = ok(b'{"in": true}', b"Content-Type: application/json", b"Set-Cookie: sid=" + session + b"; Path=/")
        elif b" /cart" in seen.line and cookie is not None and cookie[1] in self._sessions:
            answer = ok(b'{"items": [{"price": %d}], "currency": "EUR"}' % self._price, b"Content-Type: application/json")
        elif b" / " in seen.line:
            answer = ok(b"ready")
        else:
            answer = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
        writer.write(answer)
        await writer.drain()


def shopping(sessions: int) -> list[dict[str, Any]]:
    """Log-ins, each with a look into the cart, as they were recorded from a build that knew other sessions."""
    requests: list[dict[str, Any]] = []
    for number in range(sessions):
        cookie = f"sid={random.Random(-number - 1).getrandbits(96):024x}"
        login = {
            "method": "POST",
            "url": "http://shop.example/login",
            "headers": [("Content-Type", "application/json")],
            "body": f'{{"user": "u{number}", "password": "{PASSWORD}"}}',
            "answered": [("Content-Type", "application/json"), ("Set-Cookie", f"{cookie}; Path=/")],
        }
        requests += [
            login | {"status": 200},
            {"url": f"http://shop.example/cart?n={number}", "headers": [("Cookie", cookie)], "status": 200},
        ]
    return requests


def test_7_the_command_of_a_finding_shows_it_again(tmp_path: Path) -> None:
    capture = write_har(tmp_path / "shop.har", shopping(12))

    async def main() -> None:
        async with Upstream(Shop(100).behave) as stable, Upstream(Shop(100).behave) as secondary, Upstream(Shop(101).behave) as candidate:
            options = [*STATELESS, "--allow-writes"]
            ran = await gate(capture, *options, stable=stable, secondary=secondary, candidate=candidate, out=tmp_path / "run")
            assert ran.code == 1, ran.explain()
            (finding,) = [f for f in ran.report["findings"] if f["class"] == "divergence"]
            assert (finding["endpoint"], finding["path"], finding["kind"]) == ("GET /cart", "$.items[*].price", "value")
            command = finding["exemplars"][0]["command"]
            assert PASSWORD not in command
            for upstream in (stable, candidate):
                upstream.seen.clear()
            secrets = {"REPRO_VALUE_1": PASSWORD}
            done = await asyncio.to_thread(sh, command, tmp_path, secrets)
            assert done.returncode == 1, command + done.stdout + done.stderr
            assert '-{"items": [{"price": 100}]' in done.stdout
            assert '+{"items": [{"price": 101}]' in done.stdout
            assert [seen.line for seen in stable.seen] == [seen.line for seen in candidate.seen]
            assert stable.seen[0].line.startswith(b"POST /login"), "the session's earlier steps come first"
            same = await asyncio.to_thread(sh, command, tmp_path, secrets | {"REPRO_CANDIDATE": f"http://127.0.0.1:{secondary.port}"})
            assert same.returncode == 0, same.stdout + same.stderr
            assert "alike" in same.stdout

    asyncio.run(main())


def sh(command: str, folder: Path, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """A command as a person pastes it."""
    return subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def priced(price: int) -> Behaviour:
    """A build with one answer, for those who bring a cookie."""

    async def behave(_upstream: Upstream, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        body = b'{"price": %d}' % (price if b"sid=abcdef0123456789abcdef" in seen.head else 0)
        writer.write(ok(body, b"Content-Type: application/json"))
        await writer.drain()

    return behave


def test_7_the_command_of_a_live_finding_shows_it_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path / "run", stable=priced(100), secondary=priced(100), candidate=priced(99)) as s:
            for number in range(40):
                await talk(s.proxy.port, request(f"/cart?n={number}", "GET", "Cookie: sid=abcdef0123456789abcdef"))
            await asyncio.to_thread(s.proxy.until_compared, 40)
            assert await s.end() == 0
            (finding,) = [f for f in report_of(tmp_path / "run")["findings"] if f["class"] == "divergence"]
            command = finding["exemplars"][0]["command"]
            needy = await asyncio.to_thread(sh, command, tmp_path, {})
            assert needy.returncode >= 2
            assert "REPRO_COOKIE" in needy.stderr
            done = await asyncio.to_thread(sh, command, tmp_path, {"REPRO_COOKIE": "sid=abcdef0123456789abcdef"})
            assert done.returncode == 1, done.stdout + done.stderr
            assert '+{"price": 99}' in done.stdout

    asyncio.run(main())
