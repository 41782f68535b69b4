"""The same raw requests through a real nginx as reverse proxy and through this proxy: what stable and the client see is the same.

Where it is not, ALLOWED says why.
"""

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.core.outcomes import Tally
from harness.proxy.dispatch import Naming, Sink
from harness.proxy.server import ProxyOptions, ProxyServer
from tests.proxy.cases import CASES, STABLE_AUTHORITY, Case
from tests.proxy.rig import WAIT_S, CountingIds, Seen, SystemClock, Upstream, run
from tests.proxy.strict import Fields, Message, NotStrict, take_answers, take_request
from tests.proxy.test_ingress import SMUGGLING

pytestmark = pytest.mark.e2e

LAST = b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
ANSWER_OF_LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast"
CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    merge_slashes off;
    underscores_in_headers on;
    lingering_close off;
    large_client_header_buffers 4 64k;
    client_max_body_size 64m;
    upstream stable {{ server unix:{folder}/stable max_fails=0; keepalive 8; }}
    server {{
        listen unix:{folder}/listen;
        location / {{
            proxy_pass http://stable;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_redirect off;
            proxy_pass_header Server;
            proxy_pass_header Date;
            proxy_next_upstream off;
        }}
    }}
}}
"""

ALLOWED: dict[str, tuple[str, ...]] = {
    "nginx does not serve OPTIONS *": ("asterisk form",),
    "nginx does not serve TRACE; here it reaches stable, and is never mirrored": ("the method TRACE", "Max-Forwards is counted down"),
    "nginx passes any token on as a method; the parser here has a list (501)": (
        "the unknown method FROBNICATE",
        "the unknown method GETX",
        "the unknown method PROPFINDER",
        "the unknown method X-FOO",
        "unknown method",
    ),
    "nginx leaves Max-Forwards alone, against RFC 9110 7.6.2": ("Max-Forwards is used up",),
    "nginx passes on what Connection lists, against RFC 9110 7.6.1, and finds `close` within a longer word": (
        "Connection and what it lists goes",
        "Connection, Keep-Alive and what is listed goes",
        "an offer of HTTP/2 is not passed on",
    ),
    "nginx passes Proxy-Authorization on; here it is hop-by-hop (RFC 9110 11.7.2)": ("Proxy-Authorization is not",),
    "nginx drops trailers, and the wish for them": (
        "trailers stay",
        "fields that may not be trailers go",
        "TE: trailers is said anew",
        "trailers of an answer",
    ),
    "nginx takes one of two readings of an answer; here it is refused (RFC 9112 6.3)": (
        "an answer with two lengths",
        "an answer with length and coding",
        "an answer in an unknown coding",
    ),
    "nginx reads answers leniently": (
        "bare LF in an answer",
        "an answer of HTTP/2.0",
        "a status of two digits",
        "a status of zero",
        "a reason with a control character goes",
    ),
    "nginx takes LF for the end of a line; here only CRLF is one, since others see more or fewer lines": (
        "bare LF in head (2.2)",
        "bare LF after a field",
        "chunk ended by LF",
        "chunk size with space",
    ),
    "nginx skips fields that are none, and trailers unread; here they are refused": (
        "a character in a name that is none of a token",
        "no colon",
        "folded trailer",
        "length in trailer",
    ),
    "nginx passes on what HTTP/1.1 does not allow": ("a control character in a value", "HTTP/0.9"),
    "nginx takes any HTTP/1.x; the parser here knows 1.0 and 1.1": ("HTTP/1.2",),
    "nginx takes any scheme and any authority": ("absolute form of another scheme", "a user in Host"),
}
"""Why the two differ, and in which cases."""

NOT_ASKED = {
    "Expect, 100 and the answer",
    "interim answers stay",
    "interim answers are not for HTTP/1.0",
    "a length of an interim answer goes",
}
"""Cases with interim answers from stable: nginx takes the first one for the final one, and waits for its body."""

COMPARED = [
    *(case for case in CASES if not case.options and case.name not in NOT_ASKED and STABLE_AUTHORITY not in (case.upstream or b"")),
    *(Case("smuggling", name, raw, None) for name, raw in SMUGGLING.items()),
]

Parts = tuple[bytes, Fields, bytes, Fields]
"""First line, fields, body and trailers."""


@dataclass(frozen=True)
class View:
    """What was seen on both sides. Of a refusal only that it is one."""

    stable: tuple[Parts, ...]
    client: tuple[Parts, ...]


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running nginx, with its sockets `listen` and `stable`."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed: run sh tests/prepare.sh")
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "conf").write_text(CONFIGURATION.format(folder=folder, user="user root;" if os.geteuid() == 0 else ""))
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "conf"), "-e", str(folder / "error.log")])
    try:
        deadline = time.monotonic() + WAIT_S
        while not (folder / "listen").exists():
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < deadline, "nginx never listened"
            time.sleep(0.02)
        yield folder
    finally:
        process.terminate()
        process.wait(WAIT_S)


async def exchange(path: Path, raw: bytes) -> bytes:
    """Send all and read to the end, which a reset may be: what came before it counts."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    got = b""
    with contextlib.suppress(ConnectionError):
        writer.write(raw)
        async with asyncio.timeout(WAIT_S):
            while data := await reader.read(65536):
                got += data
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return got


def fields_of(message: Message, without: set[bytes]) -> Fields:
    """Fields by name, in the order they have within a name: nginx puts its own ones first."""
    kept = [(name.lower(), value) for name, value in message.fields if name.lower() not in without | {b"connection", b"keep-alive"}]
    return tuple(sorted(kept, key=lambda pair: pair[0]))


def seen_by_stable(upstream: Upstream) -> tuple[Parts, ...]:
    """Requests without their framing, which nginx may change where it has the whole body; the bodies are compared."""
    out: list[Parts] = []
    for seen in upstream.seen:
        try:
            taken = take_request(seen.head + seen.raw_body)
        except NotStrict:
            out.append((b"not HTTP/1.1", (), b"", ()))
            continue
        assert taken is not None
        fields = fields_of(taken[0], {b"content-length", b"transfer-encoding"})
        out.append((taken[0].start, fields, taken[0].body, taken[0].trailers))
    return tuple(out)


def seen_by_client(raw: bytes, method: str) -> tuple[Parts, ...]:
    """Answers without Server and Date, which nginx adds, and without the reason, which it may change."""
    out: list[Parts] = []
    for message in take_answers(raw, [method, "GET"]):
        if message.values(b"x-shadowdiff-error") or (message.status >= 400 and b"<center>nginx" in message.body):
            out.append((b"refused", (), b"", ()))
        else:
            out.append((b"%d" % message.status, fields_of(message, {b"server", b"date"}), message.body, message.trailers))
    return tuple(out)


async def through_own(folder: Path, upstream: Upstream, raw: bytes) -> bytes:
    proxy = ProxyServer(
        ProxyOptions(stable=upstream.address, listen_unix=str(folder / "own")),
        clock=SystemClock(),
        rng=random.Random(1),
        tally=Tally(),
        naming=Naming(endpoint_of=lambda request: request.target, entity_of=lambda request: request.target, ids=CountingIds()),
        sink=Sink(put=lambda _: None, has_room=lambda endpoint, size: True),
    )
    await proxy.start()
    try:
        return await exchange(folder / "own", raw)
    finally:
        await proxy.stop(WAIT_S)


async def view(folder: Path, case: Case, *, through_nginx: bool) -> View:
    async def behave(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        last = seen.line.startswith(b"GET /last ")
        writer.write(ANSWER_OF_LAST if last else case.answer)
        await writer.drain()
        if case.answer_closes and not last:
            raise ConnectionResetError

    async with Upstream(behave, unix=str(folder / "stable")) as upstream:
        raw = case.request + LAST
        got = await (exchange(folder / "listen", raw) if through_nginx else through_own(folder, upstream, raw))
    method = case.request.lstrip(b"\r\n").split(b" ")[0].decode("latin-1")
    try:
        return View(seen_by_stable(upstream), seen_by_client(got, method))
    except NotStrict:
        assert through_nginx, "what this proxy sends is HTTP"
        return View(seen_by_stable(upstream), ((b"not HTTP/1.1", (), got, ()),))


@pytest.mark.parametrize("case", COMPARED, ids=str)
def test_both_sides_see_the_same_as_with_nginx(nginx: Path, case: Case) -> None:
    async def main() -> None:
        theirs = await view(nginx, case, through_nginx=True)
        ours = await view(nginx, case, through_nginx=False)
        assert ours == theirs or any(case.name in names for names in ALLOWED.values())

    run(main())


def test_what_is_allowed_to_differ_is_compared() -> None:
    assert {name for names in ALLOWED.values() for name in names} <= {case.name for case in COMPARED}
