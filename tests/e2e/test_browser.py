"""report.html of a real run over hostile traffic, in a real browser: no script of it runs, nothing is fetched, the verdict is there."""

import asyncio
import json
import re
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import chromium, write_har
from tests.e2e.targets import gate
from tests.proxy.rig import Behaviour, Seen, Upstream, ok

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

OWN = "document.documentElement.setAttribute('data-owned','1')"
ATTACKS = (
    f"<script>{OWN}</script>",
    f"</style></script></textarea></title><script>{OWN}</script>",
    f'"\'><img src=LEAK/image onerror="{OWN}"><svg onload={OWN}>',
    f"--></pre></code></td></table><iframe src=LEAK/frame srcdoc='<script>parent.{OWN}</script>'></iframe>",
    "<link rel=stylesheet href=LEAK/style><link rel=preload as=image href=LEAK/preload><style>@import url(LEAK/import)</style>",
    "<style>body{display:none;background:url(LEAK/background)}</style><base href=LEAK/>",
    '<meta http-equiv=refresh content="0;url=LEAK/refresh"><form id=f action=LEAK/form></form><script>f.submit()</script>',
    "<object data=LEAK/object></object><embed src=LEAK/embed><audio autoplay src=LEAK/audio></audio><video poster=LEAK/poster></video>",
    f"javascript:{OWN}//",
    "{{ 7*7 }}{% include 'x' %}${7*7}",
    "\u202egnp.exe\u2066\u2069\u200f\u200b\ufeff",
    "\u2028\u2029\x7f\u0085\ufffd\U000e0041",
)
"""Each in a body, a JSON key and value, a header, a URL. LEAK is where somebody counts what is fetched."""


class Counting:
    """A web server with the report on it; what else is asked of it leaked out of the page."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.page = b""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(outer.page)

            do_POST = do_GET  # noqa: N815  # named by the standard library

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def counting() -> Iterator[Counting]:
    """The server, as long as it is needed."""
    made = Counting()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()


def hostile(attacks: tuple[str, ...], extra: str) -> Behaviour:
    """A build that answers with the attack that the path numbers; `extra` makes its answers differ from another build's."""

    async def behave(_upstream: Upstream, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        found = re.match(rb"\w+ /(\w+)/(\d+)", seen.line)
        kind, attack = (found[1], attacks[int(found[2]) % len(attacks)]) if found else (b"", "")
        value = attack + extra + attack
        header = b"X-Odd: " + re.sub(rb"[\x00-\x1f\x7f]", b"", value.encode()) if extra else b"X-Odd: fine"
        if kind == b"json":
            big = {"big": int("9" * 400), "long": "x" * 400_000 + extra} if attack == attacks[0] else {}
            body = json.dumps({attack: value, "list": [attack, {attack: extra}], **big}, ensure_ascii=False).encode()
            answer = ok(body, b"Content-Type: application/json", header)
        elif kind == b"text":
            answer = ok(f"<html>\n{attack}\n{value}\n\0\n</html>".encode(), b"Content-Type: text/html; charset=utf-8", header)
        else:
            answer = ok(value.encode(), b"Content-Type: application/octet-stream", header)
        writer.write(answer)
        await writer.drain()

    return behave


def hostile_report(tmp_path: Path, leak: str) -> Path:
    """The report of a gate that failed over it."""
    attacks = tuple(attack.replace("LEAK", leak) for attack in ATTACKS)
    requests: list[dict[str, Any]] = []
    for number, attack in enumerate(attacks):
        # What a request line may carry and a HAR file may hold; other characters make it a broken entry.
        inside = re.sub(r"[^!-~]", "", attack).replace("#", "")
        for kind in ("json", "text", "bytes"):
            headers = [("X-Own", re.sub(r"[^ -~]", "", attack)), ("User-Agent", inside)]
            requests.append({"url": f"http://shop.example/{kind}/{number}/{inside}?q={inside}", "headers": headers})
    capture = write_har(tmp_path / "hostile.har", requests)

    async def main() -> Path:
        async with Upstream(hostile(attacks, "")) as stable, Upstream(hostile(attacks, f"{attacks[0]}!")) as candidate:
            options = ["--state", "stateless", "--skip-broken"]
            ran = await gate(capture, *options, stable=stable, secondary=stable, candidate=candidate, out=tmp_path / "run")
        assert ran.code == 1, ran.explain()
        assert len([f for f in ran.report["findings"] if f["exemplars"]]) >= 20, ran.explain()
        return ran.out / "report.html"

    return asyncio.run(main())


def browse(url: str, profile: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """The browser on one page, without anything it would do by itself."""
    quiet = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", "--disable-default-apps", "--disable-extensions", "--disable-dev-shm-usage", "--hide-scrollbars"),
        *("--window-size=1200,900", "--virtual-time-budget=3000", "--enable-logging=stderr", f"--user-data-dir={profile}"),
    )
    done = subprocess.run([chromium(), *quiet, *options, url], capture_output=True, text=True, errors="replace", check=False, timeout=90)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_the_report_of_hostile_traffic_is_harmless_and_readable(tmp_path: Path) -> None:
    chromium()
    with counting() as server:
        server.page = hostile_report(tmp_path, server.url).read_bytes()
        assert server.page.count(b"data-owned") > 20, "the attacks were meant to be shown"
        done = browse(f"{server.url}/report.html", tmp_path / "profile", "--dump-dom")
        picture = tmp_path / "page.png"
        browse(f"{server.url}/report.html", tmp_path / "profile", f"--screenshot={picture}")
        assert set(server.asked) <= {"/report.html", "/favicon.ico"}, "something was fetched"
        assert "/report.html" in server.asked
    dom = done.stdout
    assert not re.search(r"<html[^>]*data-owned", dom), "a script from traffic ran"
    assert "Copy command" in dom, "the page's own script did not run"
    assert not [line for line in done.stderr.splitlines() if "Refused to" in line or "violates" in line], done.stderr
    assert not re.search(r"<(img|iframe|object|embed|audio|video|link|base|form)\b", dom), "markup from traffic"
    assert len(re.findall(r"<script\b", dom)) == 1
    assert not re.findall(r"[\u202a-\u202e\u2066-\u2069]", dom), "text that turns its surroundings around"
    assert re.search(r">\s*FAIL\s*<", dom), "the verdict"
    assert "The candidate differs from stable beyond noise." in dom
    assert len(colours(picture)) > 20, "the page is blank"


def colours(picture: Path) -> set[bytes]:
    """The colours of a PNG's pixels, taken from its raw rows: enough to tell a page from a blank sheet."""
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG")
    position, squeezed, depth = 8, b"", 0
    while position < len(data):
        (length,), kind = struct.unpack_from(">I", data, position), data[position + 4 : position + 8]
        chunk = data[position + 8 : position + 8 + length]
        if kind == b"IHDR":
            depth = {2: 3, 6: 4}[chunk[9]]
        squeezed += chunk if kind == b"IDAT" else b""
        position += length + 12
    rows = zlib.decompress(squeezed)
    return {rows[start : start + depth] for start in range(1, len(rows) - depth, depth * 7)}
