"""Promise 5, attacked from outside: secrets planted in every place of a message must not be in anything kept or shown."""

import asyncio
import base64
import gzip
import json
import random
import re
import shlex
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.frames import FrameReader
from harness.store import MAGIC, TRIALS_FILE, read_trials
from tests.e2e.support import SHADOWDIFF, shadowdiff, write_har
from tests.e2e.targets import gate, request, served, until_settled
from tests.proxy.rig import Behaviour, Seen, Upstream, ok, talk

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CARD, EMAIL = "4111 1111 1111 1111", "alice.wonder@mail.example"
SECRETS = {
    name: f"{name}Zq7{random.Random(name).getrandbits(60):015x}"
    for name in (
        *("bearer", "basic", "apikey", "cookie", "query", "encoded", "fragment", "json", "nested", "escaped", "form", "part", "text"),
        *("setcookie", "location", "answer", "zipped", "page", "header", "environ", "output"),
    )
}
"""A secret for each place in which one may stand, all of their own, so that a leak names its place."""
BASIC = base64.b64encode(f"alice:{SECRETS['basic']}".encode()).decode()
HEADERS = [
    ("Host", "shop.example"),
    ("Cookie", f"session={SECRETS['cookie']}; theme=dark"),
    ("X-Api-Key", SECRETS["apikey"]),
    ("Referer", f"http://shop.example/back?token={SECRETS['fragment']}"),
]
ESCAPED = "".join(f"\\u{ord(character):04x}" for character in SECRETS["escaped"])
BODIES = {
    "application/json": json.dumps(
        {"password": SECRETS["json"], "deep": [{"client_secret": SECRETS["nested"]}], "card": CARD, "mail": EMAIL}
    ).replace("}]", f', "token": "{ESCAPED}"}}]'),
    "application/x-www-form-urlencoded": f"user=alice&password={SECRETS['form']}&mail={EMAIL.replace('@', '%40')}",
    "multipart/form-data; boundary=xyz": (
        f'--xyz\r\nContent-Disposition: form-data; name="password"\r\n\r\n{SECRETS["part"]}\r\n--xyz--\r\n'
    ),
    "text/plain": f"my password: {SECRETS['text']}, and my card is {CARD}",
}


def telling(build: str) -> Behaviour:
    """Answers full of secrets, other ones in each build, so that they are what differs."""

    def mine(name: str) -> str:
        return f"{SECRETS[name]}-{build}"

    async def behave(_upstream: Upstream, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        token = json.dumps({"access_token": mine("answer"), "mail": f"{build}.{EMAIL}", "n": build}).encode()
        page = f'<p>{build}</p><input name="csrf_token" value="{mine("page")}">{CARD}'.encode()
        lines = [
            f"Set-Cookie: sid={mine('setcookie')}; Path=/",
            f"X-Auth-Token: {mine('header')}",
            f"Location: /in?token={mine('location')}",
        ]
        kind, body = "application/json", token
        if b"zipped" in seen.line:
            lines.append("Content-Encoding: gzip")
            body = gzip.compress(token.replace(SECRETS["answer"].encode(), SECRETS["zipped"].encode()))
        elif b"page" in seen.line:
            kind, body = "text/html", page
        writer.write(ok(body, *(line.encode() for line in [*lines, f"Content-Type: {kind}"])))
        await writer.drain()

    return behave


def telling_requests(start: int = 0) -> list[dict[str, Any]]:
    """Requests with a secret in each place, numbered from `start`."""
    found: list[dict[str, Any]] = []
    for number, path in enumerate(("token", "zipped", "page"), start):
        for authorization in (f"Bearer {SECRETS['bearer']}", f"Basic {BASIC}"):
            query = f"n={number}&access_token={SECRETS['query']}&next=%2Fa%3Ftoken%3D{SECRETS['encoded']}"
            url = f"http://shop.example/{path}/{EMAIL}?{query}"
            found.append({"url": url, "headers": [*HEADERS, ("Authorization", authorization)]})
    for kind, body in BODIES.items():
        found.append(
            {"url": f"http://shop.example/token?n={start}", "method": "POST", "headers": [*HEADERS, ("Content-Type", kind)], "body": body}
        )
    return found


def as_bytes(entry: dict[str, Any]) -> bytes:
    """A request of a capture as a client sends it."""
    lines = [f"{name}: {value}" for name, value in entry["headers"] if name != "Host"]
    return request(
        entry["url"].removeprefix("http://shop.example"), entry.get("method", "GET"), *lines, body=entry.get("body", "").encode()
    )


def unpacked(path: Path) -> bytes:
    """All that a file holds, its frames and the bodies in them expanded."""
    data = path.read_bytes()
    if path.name == TRIALS_FILE:
        data += b"".join(msgspec.msgpack.encode(stored) for stored in read_trials(FrameReader(path, MAGIC[TRIALS_FILE])))
    for found in re.finditer(rb"\x1f\x8b\x08", data):
        with suppress(zlib.error):
            data += zlib.decompressobj(31).decompress(data[found.start() :])
    return data


def check_no_secret(places: dict[str, bytes]) -> None:
    """No secret in any of the places, as it is, encoded or cut."""
    forms = {name: [value, value[:16]] for name, value in SECRETS.items()}
    forms |= {"escaped": [*forms["escaped"], ESCAPED], "basic": [*forms["basic"], BASIC]}
    forms |= {"card": [CARD, CARD.replace(" ", "")], "email": [EMAIL, EMAIL.replace("@", "%40")]}
    leaks = [(name, place) for place, data in places.items() for name, found in forms.items() if any(f.encode() in data for f in found)]
    assert leaks == []


def test_nothing_secret_of_live_traffic_is_kept_or_shown(tmp_path: Path) -> None:
    record = tmp_path / "traffic.gor"

    async def main() -> dict[str, bytes]:
        one, three = telling("one"), telling("three")
        options = ["--allow-writes", "--record", str(record)]
        async with served(tmp_path / "run", *options, stable=one, secondary=one, candidate=three) as s:
            sent = [entry for start in range(0, 96, 3) for entry in telling_requests(start)]
            for entry in sent:
                await talk(s.proxy.port, as_bytes(entry))
            metrics = await asyncio.to_thread(until_settled, s.proxy, len(sent))
            answer = json.dumps(await asyncio.to_thread(s.proxy.verdict))
            assert await s.end() == 0
            assert s.candidate.seen[0].head.count(SECRETS["bearer"].encode()) == 1, "what is sent is not redacted"
            return {"metrics": metrics.encode(), "verdict": answer.encode(), "out": s.proxy.stdout.encode(), "err": s.proxy.stderr.encode()}

    places = asyncio.run(main()) | {path.name: unpacked(path) for path in [*(tmp_path / "run").rglob("*"), record] if path.is_file()}
    assert b"redacted-" in places["report.json"]
    assert b"redacted-" in places["traffic.gor"]
    assert len(places[TRIALS_FILE]) > 10_000
    check_no_secret(places)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert record.stat().st_mode & 0o777 == 0o600


def test_nothing_secret_of_a_capture_is_kept_or_shown(tmp_path: Path) -> None:
    capture = write_har(tmp_path / "secret.har", telling_requests())

    async def main() -> dict[str, bytes]:
        async with Upstream(telling("one")) as stable, Upstream(telling("one")) as secondary, Upstream(telling("three")) as candidate:
            options = ["--allow-writes", "--state", "stateless"]
            ran = await gate(capture, *options, out=tmp_path / "run", stable=stable, secondary=secondary, candidate=candidate)
        assert ran.code == 1, ran.explain()
        forms = ("html", "json", "junit", "markdown")
        shown = [subprocess.run([*SHADOWDIFF, "report", str(ran.out), "--format", form], capture_output=True, check=True) for form in forms]
        again = subprocess.run([*SHADOWDIFF, "judge", str(ran.out)], capture_output=True, check=False)
        assert again.returncode == 1
        return {"out": ran.stdout.encode(), "err": ran.stderr.encode(), **{str(done.args[-1]): done.stdout for done in [*shown, again]}}

    places = asyncio.run(main()) | {path.name: unpacked(path) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    check_no_secret(places)


def test_secrets_of_the_builds_own_commands_are_not_shown(tmp_path: Path) -> None:
    """On the command line of a build, in its environment, and in its last words."""
    capture = write_har(tmp_path / "one.har", [{"url": "http://shop.example/a"}])
    last_words = f"import sys; print('cannot log in with password={SECRETS['output']}'); sys.exit(3)"
    failing = f"cmd:env DATABASE_PASSWORD={SECRETS['environ']} {sys.executable} -c {shlex.quote(last_words)} {{port}}"
    ran = shadowdiff("gate", str(capture), "--stable", failing, "--candidate", failing, out=tmp_path / "run")
    assert ran.code == 4
    assert "cannot log in with" in ran.stderr
    service = f"cmd:env API_TOKEN={SECRETS['environ']} {sys.executable} -P -m scenarios.demo.service --port {{port}} --build stable"
    done = shadowdiff("gate", str(capture), "--stable", service, "--candidate", service, out=tmp_path / "done")
    assert done.code in {0, 3}, done.explain()
    places = {"out": (ran.stdout + done.stdout).encode(), "err": (ran.stderr + done.stderr).encode()}
    check_no_secret(places | {str(path): unpacked(path) for path in tmp_path.rglob("*") if path.is_file() and path != capture})
