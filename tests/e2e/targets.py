"""Targets of the tests' own process, which answer as told, and the command between them."""

import asyncio
import os
import random
import re
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.e2e.live import WAIT_S, Proxy, get, proxy
from tests.e2e.support import Ran, shadowdiff
from tests.proxy.rig import Behaviour, Seen, Upstream, ok

ANSWERS: dict[str, bytes] = {
    "/plain": ok(b'{"a": 1}', b"Content-Type: application/json", b"X-One: 1"),
    "/repeated": ok(b"x", b"Set-Cookie: a=1; Path=/", b"x-B: 2", b"Set-Cookie: b=2", b"X-b: 1", b'ETag: "q"', b"X-Latin: caf\xe9"),
    "/trailers": b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\nX-B: a\r\n\r\n",
    "/missing": b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope",
    "/broken": b"HTTP/1.1 503 Out Of Order\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nboom",
    "/none": b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
    "/large": ok(random.Random(1).randbytes(300_000), b"Content-Type: application/octet-stream"),
}
"""What stable answers, byte for byte, by path."""
SECOND = {"SHADOWDIFF_PROXY_SHADOW_TIMEOUT_S": "1s"}
"""For targets that hang, where their time-out is to come: what is merely slow may take longer on a machine that is slow too."""


async def by_path(_upstream: Upstream, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
    """Answers what ANSWERS has."""
    method, target, _ = seen.line.decode("latin-1").split(" ")
    answer = ANSWERS.get(target.partition("?")[0], ANSWERS["/missing"])
    writer.write(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else answer)
    await writer.drain()


def once_ready(behaviour: Behaviour) -> Behaviour:
    """Answers the question whether it is ready, and behaves so afterwards."""

    async def behave(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await (by_path if b" / " in seen.line else behaviour)(upstream, reader, writer, seen)

    return behave


def request(target: str, method: str = "GET", *lines: str, body: bytes = b"") -> bytes:
    """A request as bytes."""
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: shop.example", *lines, *length, "", ""]).encode("latin-1") + body


class Served:
    """A proxy process between three targets of this process."""

    def __init__(self, proxy: Proxy, stable: Upstream, secondary: Upstream, candidate: Upstream) -> None:
        self.proxy = proxy
        self.stable = stable
        self.secondary = secondary
        self.candidate = candidate

    async def end(self) -> int:
        """Stop the proxy in order while the targets go on; its exit code."""
        return await asyncio.to_thread(self.proxy.end, signal.SIGTERM)


@asynccontextmanager
async def served(
    out: Path,
    *arguments: str,
    stable: Behaviour = by_path,
    secondary: Behaviour = by_path,
    candidate: Behaviour | None = by_path,
    logs: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Served]:
    """Targets and proxy; a candidate without a behaviour is dead."""
    async with Upstream(stable) as one, Upstream(secondary) as two, Upstream(candidate) as three:
        urls = [f"http://127.0.0.1:{upstream.port}" for upstream in (one, two, three)]
        targets = ["--stable", urls[0], "--secondary", urls[1], "--candidate", urls[2]]
        with proxy(out, *targets, *arguments, logs=logs, environment=environment) as running:
            yield Served(running, one, two, three)


def until_settled(running: Proxy, count: int) -> str:
    """The metrics once so many requests have an outcome."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        metrics = get(f"{running.admin}/metrics")[1].decode()
        if sum(float(number) for number in re.findall(r"^shadowdiff_trials_total\S+ (\S+)$", metrics, re.MULTILINE)) >= count:
            return metrics
        time.sleep(0.1)
    raise AssertionError(metrics)


async def gate(
    capture: Path,
    *options: str,
    out: Path,
    stable: Upstream,
    candidate: Upstream,
    secondary: Upstream | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ran:
    """`shadowdiff gate` against targets of this process."""
    roles = {"stable": stable, "candidate": candidate} | ({"secondary": secondary} if secondary is not None else {})
    targets = [word for role, upstream in roles.items() for word in (f"--{role}", f"http://127.0.0.1:{upstream.port}")]
    return await asyncio.to_thread(shadowdiff, "gate", str(capture), *targets, *options, out=out, environment=environment)


PLUGIN = """
class Raiser:
    name, version, priority = "raiser", 1, 99

    def matches(self, media_type):
        {matches}
        return True

    def compare(self, left, right, rules):
        {compare}
        return ()

RAISER = Raiser()
{load}
"""


def plug_in(folder: Path, **places: str) -> dict[str, str]:
    """An installed package with a comparator for everything; the environment in which it is found."""
    packed = folder / "raiser-1.0.dist-info"
    packed.mkdir(parents=True)
    text = PLUGIN.format(**{"matches": "pass", "compare": "pass", "load": ""} | places)
    (folder / "raiser.py").write_text(text, encoding="utf-8")
    (packed / "METADATA").write_text("Metadata-Version: 2.1\nName: raiser\nVersion: 1.0\n", encoding="utf-8")
    (packed / "entry_points.txt").write_text("[shadowdiff.comparators]\nraiser = raiser:RAISER\n", encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}
