"""Clients whose connections a firewall redirects, in a network of their own: `python -m tests.e2e.redirect SCENARIO FOLDER`.

Run it inside a new network namespace, as its root (see test_mitm_redirect). It makes addresses and nftables rules there, which
vanish with it, and asserts what must hold.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from harness.proxy.address import parse_address
from tests.e2e.live import free_port, report_of
from tests.e2e.targets import ANSWERS, SECOND, by_path, once_ready, served, until_settled
from tests.e2e.test_mitm_promises import WAYS, as_read
from tests.proxy.mitm_rig import mitm_rig
from tests.proxy.rig import Behaviour, Rig, Seen, Upstream, answers, hang, ok, reset

SERVICE, SERVICE6 = "192.0.2.1", "2001:db8::1"
"""Where clients mean to go. Nobody listens there."""
GATEWAY, CLIENT = "198.51.100.1", "198.51.100.2"
ASIDE = "203.0.113.1"
"""An address of this machine for a target that a rule which is too wide redirects as well."""


def do(*command: str) -> None:
    """Run a command, which must succeed."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{' '.join(command)}: {ran.stderr}"


def redirect(chain: str, match: str, port: int) -> None:
    """The firewall's rule: TCP that matches goes to the port. `chain` is `output` or `prerouting`."""
    rule = f"table inet shadowdiff {{\n chain c {{\n type nat hook {chain} priority -100\n {match} redirect to :{port}\n }}\n}}\n"
    ran = subprocess.run(["nft", "-f", "-"], input=rule, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def same_machine() -> None:
    """Addresses of this machine itself."""
    do("ip", "link", "set", "lo", "up")
    do("ip", "address", "add", f"{SERVICE}/32", "dev", "lo")
    do("ip", "address", "add", f"{ASIDE}/32", "dev", "lo")


@contextmanager
def client_machine() -> Iterator[list[str]]:
    """Another network namespace behind this one, which is its gateway: what to put before a command to run it there."""
    do("ip", "link", "set", "lo", "up")
    sleeper = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert sleeper.stdin is not None
        assert sleeper.stdout is not None
        sleeper.stdin.write(b"x\n")
        sleeper.stdin.flush()
        sleeper.stdout.readline()  # from here on it is in its namespace
        there = ["nsenter", "--target", str(sleeper.pid), "--net"]
        do("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(sleeper.pid))
        do("ip", "address", "add", f"{GATEWAY}/24", "dev", "near")
        do("ip", "link", "set", "near", "up")
        do(*there, "ip", "address", "add", f"{CLIENT}/24", "dev", "far")
        do(*there, "ip", "link", "set", "far", "up")
        do(*there, "ip", "route", "add", "default", "via", GATEWAY)
        yield there
    finally:
        sleeper.communicate()


class Curl:
    """Clients that take the service for where it seems to be."""

    def __init__(self, folder: Path, ca: Path, before: list[str] | None = None) -> None:
        self._out = Path(tempfile.mkdtemp(dir=folder))
        self._ca = ca
        self._before = before or []

    async def ask(self, way: str, host: str, *paths: str, options: tuple[str, ...] = ()) -> list[tuple[int, list[str], bytes]]:
        """As Front.curl of test_mitm_promises."""
        if way == "h2c" and len(paths) > 1:  # curl 7.88 cannot use a connection of prior knowledge twice
            return [(await self.ask(way, host, path, options=options))[0] for path in paths]
        scheme = "https" if way in {"tls", "h2"} else "http"
        command = [*self._before, "curl", "-sSi", "--max-time", "60", "--cacert", str(self._ca), *WAYS[way], *options]
        for number, path in enumerate(paths):
            command += ["-o", f"{self._out}/answer{number}", f"{scheme}://{host}{path}"]
        ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
        assert ran.returncode == 0, (command, ran.stderr)
        return [as_read((self._out / f"answer{number}").read_bytes()) for number in range(len(paths))]


async def other(_upstream: Upstream, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _seen: Seen) -> None:
    """Answers something else."""
    writer.write(ok(b'{"a": 2}', b"Content-Type: application/json"))


CANDIDATES: dict[str, Behaviour | None] = {"same": by_path, "other": once_ready(other), "hangs": once_ready(hang), "dead": None}


async def gateway(folder: Path, candidate: str) -> None:
    """Clients of another machine, whose gateway redirects them to `shadowdiff proxy`."""
    with client_machine() as there:
        port, ca, run = free_port(), folder / "ca", folder / "run"
        redirect("prerouting", "iifname near tcp dport { 80, 443 }", port)
        ingress = ("--ingress", "mitmproxy", "--mitm-mode", "transparent", "--mitm-dir", str(ca), "--listen", f"0.0.0.0:{port}")
        environment = SECOND if candidate == "hangs" else None
        async with served(run, *ingress, candidate=CANDIDATES[candidate], environment=environment) as s:
            curl = Curl(folder, ca / "mitmproxy-ca-cert.pem", there)
            takes = ("-H", "TE: trailers", "-H", "Connection: TE")
            direct = await Curl(folder, ca).ask("http1", f"127.0.0.1:{s.stable.port}", *ANSWERS, options=takes)
            for way in WAYS:
                got = await curl.ask(way, SERVICE, *ANSWERS, options=takes if way in {"http1", "tls"} else takes[:2])
                assert got == direct, way
            named = ("--resolve", f"shop.example:443:{SERVICE}")
            assert (await curl.ask("h2", "shop.example", "/plain", options=named))[0][0] == 200
            count = len(WAYS) * len(ANSWERS) + 1
            metrics = await asyncio.to_thread(until_settled, s.proxy, count)
            assert f'shadowdiff_trials_total{{outcome="compared"}} {count}.0' in metrics
            assert await s.end() == 0
            hosts = [dict(seen.headers).get(b"Host") or dict(seen.headers)[b"host"] for seen in s.stable.seen if b" / " not in seen.line]
        assert hosts.count(SERVICE.encode()) == count - 1
        assert hosts.count(b"shop.example") == 1
    report = report_of(run)
    assert report["totals"]["requests"] == report["totals"]["compared"] == count, report["totals"]
    failed = report["errors"].get("candidate", 0)
    found = {(finding["aspect"], finding["kind"]) for finding in report["findings"] if finding["class"] != "noise"}
    assert failed == (count if candidate in {"hangs", "dead"} else 0), report["errors"]
    assert bool(found) == (candidate != "same"), found


@asynccontextmanager
async def redirected(folder: Path, match: str, **options: Any) -> AsyncIterator[tuple[Rig, Curl]]:
    """Clients of the proxy's own machine."""
    port = free_port()
    redirect("output", match, port)
    async with mitm_rig(folder / "ca", answers(ok(b"stable")), mode="transparent", listen_port=port, **options) as r:
        yield r, Curl(folder, folder / "ca" / "mitmproxy-ca-cert.pem")


async def local(folder: Path) -> None:
    """Clients on the proxy's own machine; one comes to its port without a rule."""
    same_machine()
    match = f"ip daddr {SERVICE} tcp dport {{ 80, 443 }}"
    async with redirected(folder, match, secondary=answers(ok(b"stable")), candidate=reset) as (r, curl):
        for way in WAYS:
            assert (await curl.ask(way, SERVICE, "/"))[0][::2] == (200, b"stable")
        assert (await curl.ask("http1", r.proxy.address, "/direct"))[0][::2] == (200, b"stable")
        await r.settled()
        totals = r.tally.totals()
        assert (totals.requests, totals.compared, totals.errors) == (5, 5, {"candidate": 5})


async def local6(folder: Path) -> None:
    """The same over IPv6."""
    same_machine()
    do("ip", "-6", "address", "add", f"{SERVICE6}/128", "dev", "lo", "nodad")
    match = f"ip6 daddr {SERVICE6} tcp dport {{ 80, 443 }}"
    async with redirected(folder, match, listen_host="::1", mirror=False) as (r, curl):
        for way in WAYS:
            assert (await curl.ask(way, f"[{SERVICE6}]", "/"))[0][::2] == (200, b"stable")
        await r.settled()
        assert r.tally.totals().requests == 4


async def wide(folder: Path) -> None:
    """A rule that redirects the proxy's own connections too. Stable must not be asked without end, nor speak for the candidate."""
    same_machine()
    aside = parse_address(f"http://{ASIDE}:80")
    async with redirected(folder, "tcp dport 80", secondary=answers(ok(b"stable")), candidate_at=aside) as (r, curl):
        assert (await curl.ask("http1", SERVICE, "/"))[0][::2] == (200, b"stable")
        await r.settled()
        totals = r.tally.totals()
        assert (totals.requests, totals.compared, totals.errors) == (1, 1, {"candidate": 1})
        assert len(r.stable.seen) == 1
    do("nft", "flush", "ruleset")
    async with redirected(folder, "tcp dport 80", stable_at=lambda _: aside) as (r, curl):
        status, headers, _ = (await curl.ask("http1", SERVICE, "/"))[0]
        assert status == 502, headers
        await r.settled()
        assert r.tally.totals().requests == 1


def possible() -> None:
    """Whether this machine lets a rule be made at all."""
    same_machine()
    redirect("output", f"ip daddr {SERVICE} tcp dport 80", 1)


def main(scenario: str, folder: str) -> None:
    """Run one: `possible`, `local`, `local6`, `wide`, or `gateway` by the name of a candidate."""
    if scenario == "possible":
        possible()
        return
    if scenario in CANDIDATES:
        asyncio.run(gateway(Path(folder), scenario))
    else:
        asyncio.run({"local": local, "local6": local6, "wide": wide}[scenario](Path(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
