"""What is outside, for tests of safety: servers that remember who reached them and how, a resolver, and a network to have them in.

`python -m tests.e2e.effects.outside SCENARIO FOLDER` runs a gate in new namespaces, as their root (see test_effects_safety).
"""

import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

from harness.core.labels import Role
from tests.app.support import capture, items
from tests.e2e.support import ROOT, Ran, shadowdiff

NAME = "pay.test"
ADDRESS, ADDRESS6 = "203.0.113.1", "2001:db8::1"
"""Where the outside is in a network of the test's own."""
REQUESTS = 30


class Outside:
    """Servers for plain and encrypted calls; what reached them, by path and by the role that sent it."""

    def __init__(self, host: str, ports: tuple[int, int], ca: trustme.CA) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()
        self.sources: set[str] = set()
        """Addresses that connections came from."""
        self._lock = threading.Lock()
        outside = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                with outside._lock:
                    outside.seen[self.path, self.headers["X-Role"]] += 1
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def verify_request(self, request: Any, client_address: Any) -> bool:
                with outside._lock:
                    outside.sources.add(client_address[0].removeprefix("::ffff:"))
                return True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Plain calls to the encrypted port are among what is tried."""

        self.plain = Server((host, ports[0]), Handler)
        self.encrypted = Server((host, ports[1]), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(NAME).configure_cert(context)
        self.encrypted.socket = context.wrap_socket(self.encrypted.socket, server_side=True, do_handshake_on_connect=False)

    def roles(self, path: str) -> set[str]:
        """Who reached a path."""
        return {role for (where, role), count in self.seen.items() if where == path and count}


@contextmanager
def outside(folder: Path, host: str = "127.0.0.1", ports: tuple[int, int] = (0, 0)) -> Iterator[Outside]:
    """The servers; their authority is `ca.pem` in the folder."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    servers = Outside(host, ports, ca)
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in (servers.plain, servers.encrypted)]
    for thread in threads:
        thread.start()
    try:
        yield servers
    finally:
        for server in (servers.plain, servers.encrypted):
            server.shutdown()
            server.server_close()


def gate(folder: Path, effects: dict[str, Any], env: dict[str, str], listen: str = "{host}", **keys: Any) -> Ran:
    """A gate of a caller against itself.

    `effects` is the section of the configuration, `env` what the builds are to do, `keys` further keys of the targets.
    """
    target = {
        "command": f"{{python}} -m tests.e2e.effects.caller {listen} {{port}}",
        "env": {"ROLE": "{role}", "NOTES": str(folder / "notes"), **env},
        "cwd": str(ROOT),
        **keys,
    }
    file = folder / "shadowdiff.json"
    file.write_text(json.dumps({"targets": {"stable": target, "candidate": target}, "effects": effects}), encoding="utf-8")
    traffic = capture(folder / "shop.gor", items(REQUESTS))
    return shadowdiff("gate", str(traffic), "--config", str(file), "--speed", "max", out=folder / "run")


def noted(folder: Path) -> set[tuple[str, str, str]]:
    """Role, what it tried and how that ended, each once."""
    return {tuple(json.loads(line)) for line in (folder / "notes").read_text(encoding="utf-8").splitlines()}


class Resolver:
    """A name server on this network's loopback, which knows NAME and everything below `seen.test`."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("0.0.0.0", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(4096)
            labels, at = [], 12
            while length := query[at]:
                labels.append(query[at + 1 : at + 1 + length].decode())
                at += 1 + length
            name, kind = ".".join(labels).lower(), query[at + 1 : at + 3]
            self.asked.add(name)
            found = kind == b"\0\1" and (name == NAME or name.endswith(".seen.test"))
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(ADDRESS) if found else b""
            counts = b"\0\1" + (b"\0\1" if found else b"\0\0") + b"\0\0\0\0"
            self._socket.sendto(query[:2] + b"\x81\x80" + counts + query[12 : at + 5] + answer, sender)


def do(*command: str) -> None:
    """Run a command, which must succeed."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{' '.join(command)}: {ran.stderr}"


def own_machine(folder: Path) -> None:
    """In new namespaces: an outside that is another address than loopback, an empty /run, and names from our resolver."""
    names = Path("/etc/resolv.conf").resolve()
    do("mount", "-t", "tmpfs", "none", "/run")
    if names.is_relative_to("/run"):
        names.parent.mkdir(parents=True, exist_ok=True)
        names.touch()
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:20\n", encoding="utf-8")
    do("mount", "--bind", str(folder / "resolv.conf"), str(names))
    do("ip", "link", "set", "lo", "up")
    do("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo")
    do("ip", "-6", "address", "add", f"{ADDRESS6}/128", "dev", "lo", "nodad")


EVERYTHING = {
    "PROXIED": f"http://{NAME}/plain https://{NAME}/encrypted",
    "DIRECT": f"{ADDRESS} 80 GATEWAY 80 {ADDRESS6} 80 {ADDRESS} 443",
    "LOOKUP": f"{NAME} ROLE.seen.test",
}
"""What builds do that heed their proxy settings only now and then."""


def past_the_proxy(folder: Path, *, isolate: bool) -> None:
    """Builds that call as they please."""
    own_machine(folder)
    resolver = Resolver()
    http = {"mode": "virtualise", "upstream_ca": str(folder / "ca.pem")}
    with outside(folder, "::", (80, 443)) as found:
        ran = gate(folder, {"collect": ["http"], "http": http, "isolate": isolate}, EVERYTHING)
        assert ran.code == 0, ran.explain()
        report = ran.report
        assert report["verdict"] == "pass"
        (watched,) = report["effects"]["watched"]
        compared = report["totals"]["compared"]
        assert watched["seen"] == dict.fromkeys(Role, 2 * compared), watched
        assert found.seen["/plain", "stable"] == found.seen["/encrypted", "stable"] == compared, found.seen
        assert found.roles("/plain") == found.roles("/encrypted") == {"stable"}, "virtualised calls of the others went outside"
        assert NAME in resolver.asked, "the proxy resolves names"
        ended = {(role, what): {how for who, each, how in noted(folder) if (who, each) == (role, what)} for role, what, _ in noted(folder)}
        refused = {lapse["role"]: lapse["count"] for lapse in watched["lapses"] if "without its proxy" in lapse["what"]}
        if isolate:
            assert found.roles("/direct") == set(), found.seen
            assert not any(source.startswith(("198.18.", "198.19.")) for source in found.sources), found.sources
            assert all("reached" not in how for how in ended.values()), ended
            assert all(ended[role, "lookup"] == {"unknown"} for role in Role), ended
            assert not any(name.endswith(".seen.test") for name in resolver.asked), resolver.asked
            assert set(refused) == set(Role), watched["lapses"]
            assert all(count >= 4 * compared for count in refused.values()), (refused, compared)
        else:
            assert found.roles("/direct") == set(Role), "the documented limit: proxy settings bind only who heeds them"
            assert all("reached" in ended[role, "direct 80"] for role in Role), ended
            assert all(ended[role, "lookup"] == {ADDRESS} for role in Role), ended
            assert not refused
    left = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout.split()[::3]
    assert not any(name.startswith("sd") for name in left), left
    assert not [path.name for path in Path("/run/netns").glob("*")]


def loopback_only(folder: Path) -> None:
    """A build that listens on 127.0.0.1 of its own network cannot be reached, which is said."""
    own_machine(folder)
    ran = gate(folder, {"isolate": True}, {}, listen="127.0.0.1", ready_timeout_s=3)
    assert ran.code == 4, ran.explain()
    assert "listen on {host} or 0.0.0.0" in " ".join(ran.stderr.split()), ran.explain()


def without_collectors(folder: Path) -> None:
    """Isolation by itself: nothing can be reached at all."""
    own_machine(folder)
    with outside(folder, "::", (80, 443)) as found:
        ran = gate(folder, {"isolate": True}, {"DIRECT": f"{ADDRESS} 80"}, listen="0.0.0.0")
        assert ran.code == 0, ran.explain()
        assert not found.seen
    assert {how for _, _, how in noted(folder)} == {"OSError"}


def told_loopback(folder: Path) -> None:
    """A collector that is made to listen where no isolated build can reach it is refused."""
    own_machine(folder)
    http = {"mode": "virtualise", "listen": {"candidate": "127.0.0.1:0"}}
    ran = gate(folder, {"collect": ["http"], "http": http, "isolate": True}, {})
    assert ran.code == 2, ran.explain()
    assert "which an isolated build cannot reach" in " ".join(ran.stderr.split()), ran.explain()
    assert not [path.name for path in Path("/run/netns").glob("*")]


def recipe(folder: Path) -> None:
    """What docs/effects-safety.md says to do by hand."""
    own_machine(folder)
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "effects-safety.md").read_text(encoding="utf-8"), re.DOTALL)
    made, started = blocks
    do("sh", "-euc", made)
    (folder / "notes").touch()
    env = {"NOTES": folder / "notes", "DIRECT": f"'198.18.0.1 9001 198.18.0.1 80 {ADDRESS} 80'"}
    words = " ".join(f"{name}={value}" for name, value in env.items())
    caller = f"{sys.executable} -m tests.e2e.effects.caller 198.18.0.2 5000"
    assert "./build-new --listen 198.18.0.2:5000" in started
    command = f"{words} {started.replace('./build-new --listen 198.18.0.2:5000', caller)}"
    with outside(folder, "0.0.0.0", (9001, 80)), subprocess.Popen(["sh", "-euc", f"exec env {command}"], cwd=ROOT) as build:
        try:
            answered("http://198.18.0.2:5000/items/1")
        finally:
            build.kill()
    assert [(what, how) for _, what, how in sorted(noted(folder))] == [
        ("direct 80", "ConnectionRefusedError"),
        ("direct 80", "OSError"),
        ("direct 9001", "reached"),
    ]


def answered(url: str) -> None:
    """Ask until there is an answer."""
    end = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=60).close()
        except urllib.error.URLError:
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            return


def possible(folder: Path) -> None:
    """Whether this machine lets namespaces be made in namespaces."""
    own_machine(folder)
    do("ip", "netns", "add", "tried")


SCENARIOS = {each.__name__: each for each in (possible, loopback_only, without_collectors, told_loopback, recipe)}


def main(scenario: str, folder: str) -> None:
    """Run one."""
    if scenario in {"isolated", "open"}:
        past_the_proxy(Path(folder), isolate=scenario == "isolated")
    else:
        SCENARIOS[scenario](Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
