"""Promises 1 to 3 for clients that come through the mitmproxy ingress: it is a process of its own, the client is curl."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live import WAIT_S
from tests.e2e.support import ROOT
from tests.e2e.targets import ANSWERS, by_path
from tests.e2e.test_promises import SHADOWS, memory_mb
from tests.proxy.rig import Behaviour, Seen, Upstream, ok

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
HOP = {"connection", "transfer-encoding", "keep-alive"}
WAYS = {"http1": ["--http1.1"], "tls": ["--http1.1"], "h2c": ["--http2-prior-knowledge"], "h2": ["--http2"]}


def as_read(raw: bytes) -> tuple[int, list[str], bytes]:
    """What must be the same directly and through each protocol; HTTP/2 writes names in lower case."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    named = [line.partition(":") for line in lines]
    headers = [f"{name.lower()}:{value}" for name, _, value in named if name.lower() not in HOP]
    return int(first.split()[1]), headers, body.lower() if body.startswith(b"abc") else body


class Front:
    """A running ingress between three targets of this process."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, confdir: Path, stable: Upstream) -> None:
        self.process = process
        self.port = port
        self.confdir = confdir
        self.stable = stable

    async def curl(self, way: str, *paths: str, port: int = 0, options: tuple[str, ...] = ()) -> list[tuple[int, list[str], bytes]]:
        """Status, end-to-end headers and body (with trailers at its end) for each path, asked over one connection where curl can."""
        if way == "h2c" and len(paths) > 1:  # curl 7.88 cannot use a connection of prior knowledge twice, not with nginx either
            return [(await self.curl(way, path, port=port, options=options))[0] for path in paths]
        scheme = "https" if way in {"tls", "h2"} else "http"
        command = ["curl", "-sSi", "--max-time", "60", "--cacert", str(self.confdir / "mitmproxy-ca-cert.pem"), *WAYS[way], *options]
        for number, path in enumerate(paths):
            command += ["-o", f"{self.confdir}/answer{number}", f"{scheme}://127.0.0.1:{port or self.port}{path}"]
        ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return [as_read((self.confdir / f"answer{number}").read_bytes()) for number in range(len(paths))]

    async def end(self) -> dict[str, Any]:
        """Stop it in order; its counts."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = await asyncio.to_thread(self.process.communicate, timeout=WAIT_S)
        assert self.process.returncode == 0
        totals: dict[str, Any] = json.loads(out)
        return totals


@asynccontextmanager
async def front(
    folder: Path, *, stable: Behaviour = by_path, candidate: Behaviour | None = by_path, shadow_timeout_s: float = WAIT_S
) -> AsyncIterator[Front]:
    """Targets and ingress."""
    async with Upstream(stable) as one, Upstream(by_path) as two, Upstream(candidate) as three:
        confdir = folder / "authority"
        urls = [f"http://127.0.0.1:{upstream.port}" for upstream in (one, two, three)]
        command = [sys.executable, "-m", "tests.e2e.mitm_process", str(confdir), *urls, str(shadow_timeout_s)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            port = int(await asyncio.to_thread(process.stdout.readline))
            yield Front(process, port, confdir, one)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.mark.parametrize("name", SHADOWS)
def test_1_and_2_a_candidate_in_trouble_is_counted_and_its_clients_see_nothing(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with front(tmp_path, candidate=SHADOWS[name], shadow_timeout_s=WAIT_S if name == "slow" else 1.0) as f:
            takes = ("-H", "TE: trailers", "-H", "Connection: TE")
            await f.curl("http1", "/plain")
            direct = await f.curl("http1", *ANSWERS, port=f.stable.port, options=takes)
            assert direct[list(ANSWERS).index("/trailers")][2].startswith(b"abcx-sum: 6")
            for way in WAYS:
                assert await f.curl(way, *ANSWERS, options=takes if way in {"http1", "tls"} else takes[:2]) == direct, way
            totals = await f.end()
        count = 1 + len(WAYS) * len(ANSWERS)
        assert totals["requests"] == totals["compared"] == count
        assert totals["errors"].get("candidate", 0) == (0 if name == "slow" else count)

    asyncio.run(main())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
def test_3_large_answers_to_slow_clients_take_no_memory(tmp_path: Path) -> None:
    size, piece = 60 * (1 << 20), bytes(1 << 16)

    async def large(_upstream: Upstream, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        if b"/large" not in seen.line:
            writer.write(ok())
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            writer.write(piece)
            await writer.drain()

    async def main() -> None:
        async with front(tmp_path, stable=large) as f:
            for way in WAYS:
                await f.curl(way, "/small")
            before_mb = memory_mb(f.process.pid, "VmRSS")
            for way in WAYS:
                # About 25 MB/s: slower than stable, so that what is not held back would pile up.
                ((status, _, body),) = await f.curl(way, "/large", options=("--limit-rate", "25M"))
                assert (status, len(body)) == (200, size)
            peak_mb = memory_mb(f.process.pid, "VmHWM")
            totals = await f.end()
        print(f"resident MB: {before_mb:.0f} before, at most {peak_mb:.0f}")
        assert totals["requests"] == totals["compared"] == 2 * len(WAYS)
        assert peak_mb - before_mb < 45, "one answer alone has 60 MB"

    asyncio.run(main())
