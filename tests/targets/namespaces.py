"""Namespaces of isolated builds, made for real: `python -m tests.targets.namespaces SCENARIO`, as root of new namespaces.

See test_isolation. Everything it makes vanishes with it.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from harness.core.errors import SetupError
from harness.core.labels import Role
from harness.targets.isolation import NETNS_FOLDER, STATE_FOLDER, Isolation, Plan

OUTSIDE, OUTSIDE6 = "203.0.113.1", "2001:db8::1"
CONNECT = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) as connection:
        print("reached" if connection.recv(1) else "closed")
except OSError as error:
    print(type(error).__name__)
"""
DATAGRAM = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.settimeout(60)
try:
    sender.connect((sys.argv[1], int(sys.argv[2])))
    sender.send(b"x")
    print(sender.recv(1))
except OSError as error:
    print(type(error).__name__)
"""
SERVE = """
import socket, sys
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
server.accept()[0].sendall(b"x")
"""


def do(*command: str) -> str:
    """Run a command, which must succeed."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{' '.join(command)}: {ran.stderr}"
    return ran.stdout


def machine() -> None:
    """A machine with an address that is not loopback, and an empty /run."""
    do("mount", "-t", "tmpfs", "none", "/run")
    do("ip", "link", "set", "lo", "up")
    do("ip", "address", "add", f"{OUTSIDE}/32", "dev", "lo")
    do("ip", "-6", "address", "add", f"{OUTSIDE6}/128", "dev", "lo", "nodad")


def links() -> set[str]:
    """Names of the interfaces here."""
    return {link["ifname"] for link in json.loads(do("ip", "-json", "link"))}


def names() -> set[str]:
    """Names of the network namespaces."""
    return {path.name for path in NETNS_FOLDER.glob("*")}


@contextmanager
def opened(*roles: Role) -> Iterator[Isolation]:
    """An isolation, open."""
    isolation = Isolation.planned(roles, random.SystemRandom())
    isolation.open()
    try:
        yield isolation
    finally:
        isolation.close()


@contextmanager
def greeting(host: str) -> Iterator[int]:
    """A port where everybody is sent a byte."""
    server = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)

    def serve() -> None:
        try:
            while True:
                with server.accept()[0] as connection:
                    connection.sendall(b"x")
        except OSError:  # closed
            pass

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def from_build(isolation: Isolation, role: Role, *command: str) -> "subprocess.CompletedProcess[str]":
    """What a command says that runs where a role's build does."""
    return subprocess.run(isolation.entered(role, list(command)), capture_output=True, text=True, check=False)


def tried(isolation: Isolation, role: Role, host: str, port: int) -> str:
    """How a build's connection ends."""
    return from_build(isolation, role, sys.executable, "-c", CONNECT, host, str(port)).stdout.strip()


def fence() -> None:
    """What a build reaches, and what it does not."""
    stable, candidate = Role.STABLE, Role.CANDIDATE
    with opened(stable, candidate) as isolation, greeting("0.0.0.0") as port, greeting("0.0.0.0") as other, greeting("::") as six:
        host = isolation.plan.host
        assert tried(isolation, stable, host, port) == "ConnectionRefusedError"
        isolation.allow(stable, {port})
        assert tried(isolation, stable, host, port) == "reached"
        assert tried(isolation, stable, host, other) == "ConnectionRefusedError", "not the other ports of the host end"
        assert tried(isolation, candidate, host, port) == "ConnectionRefusedError", "nor what another role may reach"
        assert tried(isolation, stable, OUTSIDE, port) == "OSError", "nor another address, though the port is allowed"
        assert tried(isolation, stable, OUTSIDE6, six) == "OSError"
        assert tried(isolation, stable, "127.0.0.1", port) == "ConnectionRefusedError", "loopback is the build's own"
        assert tried(isolation, stable, isolation.plan.address(candidate), port) == "OSError", "nor another build"
        assert datagram(isolation, stable, host) in {"PermissionError", "ConnectionRefusedError"}, "nor anything but TCP"
        for address in (isolation.plan.address(stable), "0.0.0.0"):
            reached_from_here(isolation, stable, address)
    assert isolation.refused[stable] >= 5
    assert isolation.refused[candidate] >= 1
    assert not names()
    assert links() == {"lo"}
    isolation.close()


def datagram(isolation: Isolation, role: Role, host: str) -> str:
    """How a build's datagram ends; a receiver would answer it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("0.0.0.0", 0))

        def answer() -> None:
            with suppress(OSError):  # closed
                receiver.sendto(b"x", receiver.recvfrom(1)[1])

        threading.Thread(target=answer, daemon=True).start()
        port = str(receiver.getsockname()[1])
        said = from_build(isolation, role, sys.executable, "-c", DATAGRAM, host, port).stdout.strip()
        receiver.sendto(b"x", receiver.getsockname())  # so that the thread ends
        return said


def reached_from_here(isolation: Isolation, role: Role, listens: str) -> None:
    """The harness reaches what a build serves."""
    with subprocess.Popen(isolation.entered(role, [sys.executable, "-c", SERVE, listens]), stdout=subprocess.PIPE, text=True) as build:
        assert build.stdout is not None
        port = int(build.stdout.readline())
        with socket.create_connection((isolation.plan.address(role), port), 60) as connection:
            assert connection.recv(1) == b"x"


def root() -> None:
    """A build that is root cannot undo it."""
    with opened(Role.CANDIDATE) as isolation:
        for command in (
            ["nft", "flush", "ruleset"],
            ["ip", "route", "add", "default", "dev", "eth0"],
            ["ip", "address", "add", "10.1.2.3/24", "dev", "eth0"],
            ["nsenter", f"--net=/proc/{os.getpid()}/ns/net", "true"],
            [sys.executable, "-c", "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"],
        ):
            ran = from_build(isolation, Role.CANDIDATE, *command)
            assert ran.returncode != 0, command
            assert "permitted" in ran.stderr or "denied" in ran.stderr, ran.stderr
        missing = from_build(isolation, Role.CANDIDATE, "no-such-program")
        assert missing.returncode == 127, missing


@contextmanager
def another_run() -> "Iterator[tuple[subprocess.Popen[str], set[str]]]":
    """Another process that has isolated builds; its namespaces."""
    before = names()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.targets.namespaces", "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "open\n"
            yield process, names() - before
        finally:
            process.stdin.close()


def hold() -> None:
    """Isolated builds until standard input ends."""
    with opened(*Role):
        sys.stdout.write("open\n")
        sys.stdout.flush()
        sys.stdin.read()


def leftovers() -> None:
    """What a run that was killed left behind goes with the next; what lives stays."""
    with another_run() as (_, living), another_run() as (dying, dead):
        assert len(living) == len(dead) == 3
        with opened(Role.STABLE):
            assert living | dead < names()
        dying.send_signal(signal.SIGKILL)
        dying.wait()
        assert dead < names(), "nobody could remove it"
        with opened(Role.STABLE) as isolation:
            assert names() == living | {isolation.plan.namespace(Role.STABLE)}
            assert len(links()) == 1 + 3 + 1
        assert names() == living
    assert not names()
    assert links() == {"lo"}
    assert {path.name for path in STATE_FOLDER.iterdir()} == {"lock"}


def taken() -> None:
    """Addresses that somebody took since they were chosen."""
    do("ip", "address", "add", "198.18.0.1/24", "dev", "lo")
    isolation = Isolation(Plan("00000000", "198.18.0.8/29"), [Role.STABLE])
    with pytest.raises(SetupError, match="taken a moment ago"):
        isolation.open()
    assert not names()


def firewall() -> None:
    """A machine whose firewall lets nothing in says so at once, and nothing stays behind."""
    do("nft", "add table inet own; add chain inet own input { type filter hook input priority 0; policy drop; }")
    isolation = Isolation.planned([Role.STABLE], random.SystemRandom())
    with pytest.raises(SetupError, match=r"firewall lets nothing in.*timed out"):
        isolation.open()
    assert not names()
    assert links() == {"lo"}


def half() -> None:
    """A failure in between: what was made is removed."""
    isolation = Isolation.planned(list(Role), random.SystemRandom())
    do("ip", "link", "add", isolation.plan.link(Role.CANDIDATE), "type", "veth", "peer", "name", "far")
    with pytest.raises(SetupError, match="File exists"):
        isolation.open()
    assert not names()
    assert links() == {"lo"}


def possible() -> None:
    """Whether namespaces can be made at all."""
    do("ip", "netns", "add", "tried")


SCENARIOS = {scenario.__name__: scenario for scenario in (fence, root, leftovers, taken, firewall, half, possible)}

if __name__ == "__main__":
    if sys.argv[1] == "hold":
        hold()
    else:
        machine()
        SCENARIOS[sys.argv[1]]()
