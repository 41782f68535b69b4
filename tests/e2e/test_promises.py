"""Promises 1 to 4 of the design, attacked from outside: the command as a process, real sockets, builds that misbehave."""

import asyncio
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harness.app.proxy import SNAPSHOT_SECONDS
from harness.core.labels import Role
from harness.core.limits import BREAKER_EXCHANGES_MIN, CAPTURE_BODY_BYTES_MAX, HEAD_BYTES_MAX, REQUEST_BODY_BYTES_MAX
from harness.proxy.wire import GUARD_HEADER
from tests.e2e.live import build, proxy, report_of
from tests.e2e.support import ROOT, SHADOWDIFF, write_har
from tests.e2e.targets import ANSWERS, SECOND, by_path, gate, once_ready, plug_in, request, served, until_settled
from tests.proxy.rig import Answer, Behaviour, Seen, Upstream, answers, hang, ok, read_answers, reset, slowly, talk

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


async def endless(_upstream: Upstream, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _seen: Seen) -> None:
    """Begins well and never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)


async def asked(port: int, number: int) -> list[Answer]:
    """The answers to one request for each path, over one connection; `number` makes them requests of their own."""
    raw = await talk(port, *(request(f"{path}?n={number}", "GET", "TE: trailers", "Connection: TE") for path in ANSWERS))
    return read_answers(raw, *["GET"] * len(ANSWERS))


async def compare_with_direct(stable: int, through: int, numbers: range) -> None:
    """Ask through the proxy, four connections at once, and directly: nothing but hop-by-hop headers may differ."""
    direct = [answer.end_to_end() for answer in await asked(stable, numbers.start)]
    for start in numbers[::4]:
        for got in await asyncio.gather(*(asked(through, number) for number in numbers if start <= number < start + 4)):
            assert [answer.end_to_end() for answer in got] == direct


SHADOWS: dict[str, Behaviour | None] = {
    "dead": None,
    "hanging": hang,
    "slow": slowly(ok(b"slow"), 0.02),
    "garbage": answers(random.Random(2).randbytes(2000) + b"\r\n\r\n", close=True),
    "resetting": reset,
    "endless": endless,
}


@pytest.mark.parametrize("name", SHADOWS)
def test_1_a_candidate_in_trouble_fails_and_its_clients_see_nothing(name: str, tmp_path: Path) -> None:
    environment = {} if name == "slow" else SECOND

    async def main() -> None:
        async with served(tmp_path / "run", "--gate", candidate=SHADOWS[name], environment=environment) as s:
            started = time.monotonic()
            await compare_with_direct(s.stable.port, s.proxy.port, range(20))
            assert time.monotonic() - started < 35, "140 requests would take longer if each waited for a candidate that hangs"
            await asyncio.to_thread(until_settled, s.proxy, 140)
            assert await s.end() == 1, s.proxy.stdout
        totals = report_of(tmp_path / "run")["totals"]
        spared = totals["shed"].get("breaker", 0)
        assert spared <= 140 - BREAKER_EXCHANGES_MIN, "enough was sent to a candidate that fails to be held against it"
        assert set(totals["shed"]) <= {"breaker"}
        assert totals["requests"] == 140 == totals["compared"] + spared
        assert totals["compared"] == totals["diverged"]
        assert report_of(tmp_path / "run")["errors"].get("candidate", 0) == (0 if name == "slow" else totals["compared"])

    asyncio.run(main())


def test_1_a_candidate_that_is_stopped_and_killed_under_load(tmp_path: Path) -> None:
    async def main() -> None:
        with build("candidate", "c") as (port, process):
            async with Upstream(by_path) as stable, Upstream(by_path) as secondary:
                targets = ["--stable", f"http://127.0.0.1:{stable.port}", "--secondary", f"http://127.0.0.1:{secondary.port}"]
                with proxy(tmp_path / "run", *targets, "--candidate", f"http://127.0.0.1:{port}", environment=SECOND) as running:
                    load = asyncio.create_task(compare_with_direct(stable.port, running.port, range(120)))
                    for number, after in ((signal.SIGSTOP, 100), (signal.SIGCONT, 300), (signal.SIGKILL, 500)):
                        while len(stable.seen) < after:
                            await asyncio.sleep(0.01)
                        assert not load.done()
                        process.send_signal(number)
                    await load
                    assert await asyncio.to_thread(running.end) == 0
        report = report_of(tmp_path / "run")
        totals = report["totals"]
        assert totals["requests"] == 840 == totals["compared"] + sum(totals["shed"].values())
        assert report["errors"]["candidate"] > 0
        assert report["verdict"] != "pass"

    asyncio.run(main())


@pytest.mark.parametrize("trouble", ["raise RuntimeError('of the plug-in')", "import sys; sys.exit(0)", "import time; time.sleep(600)"])
def test_1_a_comparator_in_trouble_and_its_clients_see_nothing(trouble: str, tmp_path: Path) -> None:
    environment = plug_in(tmp_path / "site", matches=trouble) | {"TMPDIR": str(tmp_path)}

    async def main() -> None:
        async with served(tmp_path / "run", "--gate", stable=by_path, candidate=SHADOWS["slow"], environment=environment) as s:
            await compare_with_direct(s.stable.port, s.proxy.port, range(12))
            await asyncio.sleep(SNAPSHOT_SECONDS + 0.5)  # time to notice, and to make something worse of it
            await compare_with_direct(s.stable.port, s.proxy.port, range(12, 24))
            while (await asyncio.to_thread(s.proxy.verdict))["verdict"] != "inconclusive":
                await asyncio.sleep(0.1)
            # An error of the plug-in is no verdict; one that hangs is given up after COMPARE_STALL_SECONDS_MAX.
            assert await s.end() == 5, s.proxy.stderr
            assert "Traceback" not in s.proxy.stderr

    asyncio.run(main())


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system that is soon full; skips the test, by name, where none can be mounted."""
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "shadowdiff-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("a small tmpfs cannot be mounted here: root and CAP_SYS_ADMIN are needed")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave no room at all."""
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        for size in (65536, 1):
            with suppress(OSError):
                while True:
                    filler.write(b"x" * size)
    assert shutil.disk_usage(disk).free == 0


def test_1_a_full_disk_costs_storage_and_nothing_else(tmp_path: Path) -> None:
    async def main(disk: Path) -> None:
        out, record = disk / "run", disk / "traffic.gor"
        async with served(out, "--record", str(record), candidate=SHADOWS["slow"], logs=tmp_path) as s:
            await compare_with_direct(s.stable.port, s.proxy.port, range(10))
            while not record.stat().st_size:  # the file's head must be there: what is served is recorded a little later
                await asyncio.sleep(0.01)
            fill(disk)
            await compare_with_direct(s.stable.port, s.proxy.port, range(10, 20))
            await asyncio.to_thread(s.proxy.until_compared, 140)
            assert await s.end() == 0, s.proxy.stderr
            assert "FAIL" in s.proxy.stdout
            assert "could not be" in s.proxy.stdout, "what was lost is said"
            assert "Traceback" not in s.proxy.stderr
        info = subprocess.run([*SHADOWDIFF, "capture", "info", str(record)], capture_output=True, text=True, check=True, timeout=60)
        assert re.search(r"^broken +none *$", info.stdout, re.MULTILINE), f"half a record is left behind\n{info.stdout}"
        (kept,) = re.findall(r"^requests +(\d+),", info.stdout, re.MULTILINE)
        (lost,) = re.findall(r"(\d+) live exchanges that could not be recorded", s.proxy.stdout)
        assert int(kept) + int(lost) == 140

    with small_disk(tmp_path / "disk", 512 * 1024) as disk:
        asyncio.run(main(disk))


async def odd_by_path(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
    """Breaks off for /reset, takes an upgrade for /upgrade, and is like the others for the rest."""
    if b" /reset" in seen.line:
        await reset(upstream, reader, writer, seen)
    if b" /upgrade" in seen.line:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: Upgrade\r\n\r\n")
        raise ConnectionResetError
    await by_path(upstream, reader, writer, seen)


async def hanging_by_path(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
    """Never answers /plain."""
    await (hang if b" /plain" in seen.line else by_path)(upstream, reader, writer, seen)


ODD: list[tuple[str, str, bytes]] = [
    ("compared", "", request("/missing")),
    ("compared", "", request("/missing", "HEAD")),
    ("compared", "", request("/missing", "OPTIONS")),
    ("compared", "", request("/missing", "GET", body=b"a GET may have one")),
    ("skipped", "write", request("/missing", "POST", body=b"{}")),
    ("skipped", "write", request("/missing", "DELETE")),
    ("skipped", "write", request("/missing", "PROPFIND")),
    ("skipped", "write", request("/missing", "TRACE")),
    ("skipped", "loop", request("/missing", "GET", f"{GUARD_HEADER}: 1")),
    ("skipped", "truncated_request", request("/missing", "GET", body=b"x" * (CAPTURE_BODY_BYTES_MAX + 1))),
    ("skipped", "upgrade", request("/upgrade", "GET", "Connection: Upgrade", "Upgrade: chat")),
    ("refused", "bad_request", request("/missing", "GET", "Host: another.example")),
    ("refused", "bad_request", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting\r\n\r\n"),
    ("refused", "head_too_large", request("/missing", "GET", "X-A: " + "a" * HEAD_BYTES_MAX)),
    ("refused", "body_too_large", request("/missing", "POST", f"Content-Length: {REQUEST_BODY_BYTES_MAX + 1}")),
    ("refused", "connect", request("shop.example:443", "CONNECT")),
    ("refused", "upstream_broken", request("/reset")),
    ("refused", "client_gone", request("/missing", "GET", "Content-Length: 100") + b"not all of it"),
]
"""What becomes of a request, for which reason, and the request."""


def test_2_every_live_request_has_one_outcome_in_report_and_metrics(tmp_path: Path) -> None:
    flood = 320
    hang_long = {"SHADOWDIFF_PROXY_SHADOW_TIMEOUT_S": "10s"}  # the whole flood comes before the first of it is given up

    async def main() -> str:
        async with served(tmp_path / "run", stable=odd_by_path, candidate=hanging_by_path, environment=hang_long) as s:
            for _, _, raw in ODD * 3:
                await talk(s.proxy.port, raw)
            pieces = [request(f"/plain?n={number}") for number in range(flood)]
            raw_answers = await asyncio.gather(*(talk(s.proxy.port, *pieces[start : start + 10]) for start in range(0, flood, 10)))
            assert all(answer.status == 200 for raw in raw_answers for answer in read_answers(raw, *["GET"] * 10))
            metrics = await asyncio.to_thread(until_settled, s.proxy, len(ODD) * 3 + flood)
            assert await s.end() == 0
        return metrics

    metrics = asyncio.run(main())
    totals = report_of(tmp_path / "run")["totals"]
    expected: dict[str, dict[str, int]] = {"skipped": {}, "refused": {}}
    for outcome, reason, _ in ODD:
        if reason:
            expected[outcome][reason] = expected[outcome].get(reason, 0) + 3
    assert {name: totals[name] for name in expected} == expected
    assert set(totals["shed"]) == {"in_flight"}
    assert totals["requests"] == len(ODD) * 3 + flood
    assert totals["requests"] == totals["compared"] + sum(sum(totals[name].values()) for name in ("shed", "skipped", "refused"))
    assert report_of(tmp_path / "run")["errors"]["candidate"] == flood - totals["shed"]["in_flight"]
    for outcome in ("compared", "shed", "skipped", "refused"):
        count = totals[outcome] if outcome == "compared" else sum(totals[outcome].values())
        assert f'shadowdiff_trials_total{{outcome="{outcome}"}} {count}.0' in metrics
    assert f'shadowdiff_shed_total{{reason="in_flight",stage="dispatch"}} {totals["shed"]["in_flight"]}.0' in metrics


def test_2_every_captured_request_has_one_outcome(tmp_path: Path) -> None:
    requests = [
        *({"url": f"http://shop.example/missing?n={number}"} for number in range(20)),
        *({"url": "http://shop.example/missing", "method": "POST", "body": "{}"} for _ in range(3)),
        *({"url": "http://elsewhere.example/missing"} for _ in range(4)),
        *({"url": "http://shop.example/missing", "method": "G E T"} for _ in range(2)),
    ]
    capture = write_har(tmp_path / "mixed.har", requests)

    async def main() -> None:
        async with Upstream(by_path) as stable, Upstream(once_ready(reset)) as broken:
            options = ["--skip-broken", "--state", "stateless", "--passes", "3"]
            ran = await gate(capture, *options, stable=stable, secondary=stable, candidate=broken, out=tmp_path / "run")
            assert ran.code in {1, 3}, ran.explain()
            totals = ran.report["totals"]
            assert totals["skipped"] == {"broken_entry": 2, "other_host": 4, "write": 9}
            assert totals["compared"] == 60
            assert totals["requests"] == 60 + 2 + 4 + 9
            assert ran.report["errors"] == {"candidate": 60}

    asyncio.run(main())


async def sent_at_once(port: int, numbers: range, connections: int = 8) -> None:
    """A request for each number, over a few connections that are kept."""
    left = iter(numbers)

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in left:
            writer.write(request(f"/items/{number}"))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(one() for _ in range(connections)))


def memory_mb(process: int, what: str) -> float:
    """A figure of a process, such as VmRSS."""
    found = re.search(rf"^{what}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(encoding="ascii"), re.MULTILINE)
    assert found
    return int(found[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
def test_3_memory_does_not_grow_with_the_number_of_requests(tmp_path: Path) -> None:
    builds = subprocess.Popen([sys.executable, "-m", "tests.e2e.quickbuild"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert builds.stdout is not None
        ports = builds.stdout.readline().split()
        targets = [word for role, port in zip(Role, ports, strict=True) for word in (f"--{role}", f"http://127.0.0.1:{port}")]
        with proxy(tmp_path / "run", *targets) as running:
            figures = {}
            for end in range(2_000, 20_001, 2_000):  # in rounds, so that the queues fill and yet much is compared
                asyncio.run(sent_at_once(running.port, range(end - 2_000, end)))
                until_settled(running, end)
                figures[end] = memory_mb(running.process.pid, "VmRSS")
            peak_mb = memory_mb(running.process.pid, "VmHWM")
            assert running.end() == 0, running.stderr
    finally:
        builds.kill()
        builds.communicate()
    totals = report_of(tmp_path / "run")["totals"]
    shown = ", ".join(f"{figures[end]:.1f} after {end:,}" for end in (2_000, 10_000, 20_000))
    print(f"resident MB: {shown} requests, at most {peak_mb:.0f}; compared {totals['compared']}, shed {totals['shed']}")
    assert totals["requests"] == 20_000 == totals["compared"] + sum(totals["shed"].values())
    assert totals["compared"] >= 5_000
    assert figures[20_000] - figures[2_000] < 16
    assert peak_mb < 300


WRITES = ("POST", "PUT", "PATCH", "DELETE", "PROPFIND", "TRACE")


def methods(upstream: Upstream) -> list[str]:
    """The methods a target was sent, without the question whether it is ready."""
    return [seen.line.split(b" ")[0].decode() for seen in upstream.seen if b" / " not in seen.line]


@pytest.mark.parametrize("options", [(), ("--allow-writes",)])
def test_4_writes_of_clients_reach_the_shadows_only_where_allowed(options: tuple[str, ...], tmp_path: Path) -> None:
    sent = ["GET", *WRITES, "HEAD", "OPTIONS", "GET"]

    async def main() -> None:
        async with served(tmp_path / "run", *options) as s:
            raw = await talk(s.proxy.port, *(request("/missing", method, body=b"{}" if method == "POST" else b"") for method in sent))
            assert len(read_answers(raw, *sent)) == len(sent)
            await asyncio.to_thread(until_settled, s.proxy, len(sent))
            assert await s.end() == 0
            assert methods(s.stable) == sent
            mirrored = [method for method in sent if method not in WRITES or (options and method != "TRACE")]
            assert sorted(methods(s.secondary)) == sorted(methods(s.candidate)) == sorted(mirrored)

    asyncio.run(main())
    report = report_of(tmp_path / "run")
    assert report["totals"]["skipped"] == {"write": 1 if options else len(WRITES)}
    assert "writes_skipped" in {reason["code"] for reason in report["reasons"]}


def test_4_writes_of_a_capture_are_left_out_and_the_verdict_says_so(tmp_path: Path) -> None:
    requests = [{"url": f"http://shop.example/missing?n={n}", "method": method} for n in range(5) for method in ("GET", *WRITES, "HEAD")]
    capture = write_har(tmp_path / "writes.har", requests)

    async def main() -> None:
        async with Upstream(by_path) as stable, Upstream(by_path) as candidate:
            options = ["--state", "stateless", "--passes", "2"]
            ran = await gate(capture, *options, stable=stable, candidate=candidate, out=tmp_path / "run")
            assert {*methods(stable), *methods(candidate)} == {"GET", "HEAD"}
            assert ran.report["totals"]["skipped"] == {"write": 5 * len(WRITES) * 2}
            assert "writes_skipped" in {reason["code"] for reason in ran.report["reasons"]}
            assert f"{5 * len(WRITES) * 2} writes were not sent" in " ".join(ran.stdout.split())
            stable.seen.clear()
            ran = await gate(capture, *options, "--allow-writes", stable=stable, candidate=candidate, out=tmp_path / "allowed")
            assert methods(stable).count("POST") == methods(candidate).count("POST") == 5 * 2, "stable as its own control gets a write once"
            assert methods(stable).count("GET") == 2 * 5 * 2

    asyncio.run(main())
