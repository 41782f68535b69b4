"""Builds in a network of their own: a Linux network namespace each, from which only the collectors' ports can be reached.

A namespace is joined to the host by a veth pair and has no default route; nftables rules inside it refuse everything but
loopback, what the host began, and connections to the host end on the ports that were allowed. All namespaces of a run share
one address at the host end, so that a collector has one place to listen. The building of commands is pure; running them is
apart. It knows nothing of collectors.
"""

import fcntl
import ipaddress
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from harness.core.clock import Rng
from harness.core.errors import SetupError
from harness.core.labels import Role

PREFIX: Final = "shadowdiff"
NETNS_FOLDER: Final = Path("/run/netns")
"""Where `ip netns` keeps names."""
STATE_FOLDER: Final = Path("/run/shadowdiff")
"""One locked file for each run that has namespaces: what nobody holds a lock for is left over."""
POOLS: Final = ("198.18.0.0/15", "10.0.0.0/8", "172.16.0.0/12")
"""Where addresses are taken from: first those that RFC 2544 keeps for measurements, which are used nowhere else as a rule."""
TOOLS: Final = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux", "setpriv": "util-linux"}
"""Programs that are needed, with the packages that have them."""
DROPPED: Final = "-net_admin,-net_raw,-sys_admin"
"""What a build may not do even as root: change its network or its rules, form packets by itself, enter another namespace."""

_CAPABILITIES: Final = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
_SUBNET_BITS: Final = 3
_TRIES_MAX: Final = 256
_OWN_ROUTE_BITS_MIN: Final = 8
"""A route to more than this (a VPN's halves of the world, say) leaves room for more particular ones."""
_TOOL_SECONDS_MAX: Final = 30.0
_REACH_SECONDS_MAX: Final = 5.0
_NAME: Final = re.compile(rf"{PREFIX}-([0-9a-f]{{8}})-(?:{'|'.join(Role)})")
_LOCK: Final = re.compile(r"([0-9a-f]{8})\.lock")
_LOOPBACK: Final = re.compile(r"(?<![\w.])(?:127(?:\.\d{1,3}){3}|0\.0\.0\.0|localhost|\[::1?\]):\d{1,5}(?!\d)")
_WHERE: Final = "effects.isolate"
_DOC: Final = "docs/effects-safety.md"
_REACH: Final = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()
except OSError as error:
    sys.exit(str(error))
"""

Network = ipaddress.IPv4Network


class Plan(msgspec.Struct, frozen=True):
    """Names and addresses of a run's namespaces. `token` is eight hex digits; `network` holds eight addresses."""

    token: str
    network: str

    @property
    def host(self) -> str:
        """The host end of all namespaces."""
        return self._address(1)

    def address(self, role: Role) -> str:
        """Where a role's build listens."""
        return self._address(2 + _number(role))

    def namespace(self, role: Role) -> str:
        """Name of a role's namespace, for `ip netns`."""
        return namespace_name(self.token, role)

    def link(self, role: Role) -> str:
        """Name of a role's interface at the host end."""
        return link_name(self.token, role)

    def _address(self, offset: int) -> str:
        return str(Network(self.network)[offset])


def namespace_name(token: str, role: Role) -> str:
    """Name of a namespace of the run with this token."""
    return f"{PREFIX}-{token}-{role}"


def link_name(token: str, role: Role) -> str:
    """Name of an interface at the host end (Linux: at most 15 characters)."""
    return f"sd{token}{_number(role)}"


def taken_by(routes: str) -> list[Network]:
    """What the answer of `ip -json -4 route show table all` says is in use."""
    found = []
    for route in json.loads(routes or "[]"):
        with suppress(ValueError):  # "default"
            network = Network(route.get("dst", ""), strict=False)
            if network.prefixlen >= _OWN_ROUTE_BITS_MIN:
                found.append(network)
    return found


def choose(taken: Collection[Network], rng: Rng) -> Plan:
    """A plan whose addresses overlap with nothing that is taken. Raises SetupError where there is no room."""
    for pool in map(Network, POOLS):
        for _ in range(_TRIES_MAX):
            at = int(pool.network_address) + (rng.randrange(pool.num_addresses >> _SUBNET_BITS) << _SUBNET_BITS)
            network = Network((at, 32 - _SUBNET_BITS))
            if not any(network.overlaps(other) for other in taken):
                return Plan(f"{rng.randrange(1 << 32):08x}", str(network))
    raise SetupError(
        "no addresses are free for networks of the builds",
        where=_WHERE,
        fix=f"this machine has routes to all of {', '.join(POOLS)}: leave effects.isolate out, or see {_DOC}",
    )


def host_links(plan: Plan, roles: Iterable[Role]) -> str:
    """Input of `ip -batch` at the host end: a pair of interfaces for each role."""
    lines = []
    for role in roles:
        link = plan.link(role)
        lines += [
            f"link add {link} type veth peer name eth0 netns {plan.namespace(role)}",
            f"address add {plan.host} peer {plan.address(role)}/32 dev {link}",
            f"link set {link} up",
        ]
    return "\n".join([*lines, ""])


def inner_links(plan: Plan, role: Role) -> str:
    """Input of `ip -batch` in a role's namespace. There is a route to the host end and no other."""
    return f"link set lo up\naddress add {plan.address(role)} peer {plan.host}/32 dev eth0\nlink set eth0 up\n"


def rules(plan: Plan) -> str:
    """The rules of a namespace, for `nft -f`; the set `open` of ports at the host end is empty at first."""
    return f"""table inet {PREFIX} {{
    set open {{ type inet_service; }}
    counter refused {{ }}
    chain output {{
        type filter hook output priority 0; policy drop;
        oifname "lo" accept
        ip daddr {plan.host} ct state established accept
        ip daddr {plan.host} tcp dport @open accept
        meta l4proto {{ ipv6-icmp, igmp }} drop
        counter name "refused"
        meta l4proto tcp reject with tcp reset
        reject
    }}
    chain input {{
        type filter hook input priority 0; policy drop;
        iifname "lo" accept
        ip saddr {plan.host} accept
    }}
    chain forward {{
        type filter hook forward priority 0; policy drop;
    }}
}}
"""


def opening(ports: Iterable[int], verb: str = "add") -> str:
    """Input of `nft -f` that allows ports at the host end (`delete`: no more)."""
    listed = ", ".join(map(str, sorted(set(ports))))
    return f"{verb} element inet {PREFIX} open {{ {listed} }}\n" if listed else ""


def inside(plan: Plan, role: Role, command: Sequence[str]) -> list[str]:
    """A command that runs another one in a role's namespace, with all rights."""
    return ["nsenter", f"--net={NETNS_FOLDER / plan.namespace(role)}", "--", *command]


def confined(plan: Plan, role: Role, command: Sequence[str]) -> list[str]:
    """The same for a build, which cannot undo it even as root."""
    return inside(plan, role, ["setpriv", f"--bounding-set={DROPPED}", f"--inh-caps={DROPPED}", "--", *command])


def unrouted(counters: str) -> int:
    """How many sendings had no route, by /proc/net/snmp and /proc/net/snmp6, one after the other."""
    lines = counters.splitlines()
    total = 0
    for names, values in pairwise(lines):
        if names.startswith("Ip:") and values.startswith("Ip:"):
            total += int(dict(zip(names.split(), values.split(), strict=False)).get("OutNoRoutes", 0))
    return total + sum(int(line.split()[1]) for line in lines if line.startswith("Ip6OutNoRoutes"))


def ports_at(host: str, texts: Iterable[str]) -> set[int]:
    """Ports of the addresses `host:PORT` in texts."""
    return {int(found) for text in texts for found in re.findall(rf"(?<![\w.]){re.escape(host)}:(\d{{1,5}})(?!\d)", text)}


def unreachable_in(texts: Iterable[str]) -> str:
    """The first address in texts that means the host's own loopback, and another machine in a namespace; empty where there is none."""
    return next((found[0] for text in texts if (found := _LOOPBACK.search(text))), "")


def hindrance(
    system: str = sys.platform,
    which: Callable[[str], str | None] = shutil.which,
    status: Path = Path("/proc/self/status"),
) -> tuple[str, str]:
    """What is missing for namespaces here, and what to do about it; two empty texts where nothing is."""
    if not system.startswith("linux"):
        return "network namespaces are Linux's, and this is another system", "leave effects.isolate out, or run it in a Linux machine"
    if missing := [tool for tool in TOOLS if which(tool) is None]:
        packages = ", ".join(dict.fromkeys(TOOLS[tool] for tool in missing))
        return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed", f"install {packages}"
    held = 0
    with suppress(OSError, ValueError):
        found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status.read_text(encoding="ascii"), re.MULTILINE)
        held = int(found[1], 16) if found else 0
    if lacking := [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]:
        fix = "run it as root; in a container, add NET_ADMIN and SYS_ADMIN to its capabilities"
        return f"it may make no network namespace here: {', '.join(lacking)} missing", fix
    return "", ""


class Isolation:
    """The namespaces of one run. Its methods block, for less than a second in all."""

    def __init__(self, plan: Plan, roles: Collection[Role]) -> None:
        self.plan = plan
        self.roles = tuple(roles)
        self._lock: int | None = None
        self.refused: dict[Role, int] = {}
        """After `close`: how often a build tried to reach something else (look-ups of names, too, and each of their repetitions)."""

    @classmethod
    def planned(cls, roles: Collection[Role], rng: Rng) -> "Isolation":
        """Names and addresses that are free now; nothing is made yet. Raises SetupError where namespaces cannot be made."""
        what, fix = hindrance()
        if what:
            raise SetupError(what, where=_WHERE, fix=fix)
        return cls(choose(_taken(), rng), roles)

    def open(self) -> None:
        """Remove what other runs left over, and make the namespaces, closed. Raises SetupError, with everything removed again."""
        plan = self.plan
        try:
            with _alone():
                _sweep()
                if any(Network(plan.network).overlaps(other) for other in _taken()):
                    raise SetupError(f"the addresses {plan.network} were taken a moment ago", where=_WHERE, fix="run it again")
                self._lock = _held(_lock_file(plan.token))
                self._make()
            self._check_reach()
        except OSError as error:
            self.close()
            raise SetupError(f"cannot be used: {error.strerror}", where=str(STATE_FOLDER), fix="run it as root") from error
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        for role in self.roles:
            _run(["ip", "netns", "add", self.plan.namespace(role)])
            _run(inside(self.plan, role, ["nft", "-f", "-"]), rules(self.plan))
        _run(["ip", "-batch", "-"], host_links(self.plan, self.roles))
        for role in self.roles:
            _run(["ip", "-netns", self.plan.namespace(role), "-batch", "-"], inner_links(self.plan, role))

    def allow(self, role: Role, ports: Collection[int]) -> None:
        """Let a role's build connect to ports of the host end. Raises SetupError."""
        if ports:
            _run(inside(self.plan, role, ["nft", "-f", "-"]), opening(ports))

    def entered(self, role: Role, command: Sequence[str]) -> list[str]:
        """The command that starts a role's build in its namespace."""
        return confined(self.plan, role, command)

    def close(self) -> None:
        """Remove the namespaces. What cannot be removed now is removed by the next run. Calling it again does nothing."""
        if self._lock is None:
            return
        for role in self.roles:
            with suppress(SetupError):
                self.refused[role] = self._refused(role)
        _remove(self.plan.token, self.roles, self.roles)
        os.close(self._lock)
        self._lock = None

    def _refused(self, role: Role) -> int:
        listed = json.loads(_run(inside(self.plan, role, ["nft", "-j", "list", "counters"])))
        ruled: int = sum(each["counter"]["packets"] for each in listed["nftables"] if "counter" in each)
        return ruled + unrouted(_run(inside(self.plan, role, ["cat", "/proc/net/snmp", "/proc/net/snmp6"])))

    def _check_reach(self) -> None:
        """A firewall of the host that lets nothing in would make every call of a build hang."""
        for role in self.roles[:1]:
            with socket.create_server((self.plan.host, 0)) as server:
                port = server.getsockname()[1]
                self.allow(role, [port])
                try:
                    _run(inside(self.plan, role, [sys.executable, "-I", "-c", _REACH, self.plan.host, str(port), str(_REACH_SECONDS_MAX)]))
                except SetupError as error:
                    raise SetupError(
                        f"this machine's firewall lets nothing in from the builds' networks: {error.what}",
                        where=_WHERE,
                        fix='let in what comes from interfaces called sd* (nft: iifname "sd*" accept)',
                    ) from error
                _run(inside(self.plan, role, ["nft", "-f", "-"]), opening([port], "delete"))


def _run(command: Sequence[str], text: str = "") -> str:
    """Run a tool to its end; its output. Raises SetupError with what it said."""
    try:
        ran = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=_TOOL_SECONDS_MAX)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(command, str(error)) from error
    if ran.returncode != 0:
        raise _failed(command, (ran.stderr.strip() or f"exit code {ran.returncode}").splitlines()[0])  # what comes after is where
    return ran.stdout


def _failed(command: Sequence[str], why: str) -> SetupError:
    return SetupError(f"`{' '.join(command[:6])}` failed: {why}", where=_WHERE, fix=f"see {_DOC} for what it needs")


def _taken() -> list[Network]:
    return taken_by(_run(["ip", "-json", "-4", "route", "show", "table", "all"]))


def _lock_file(token: str) -> Path:
    return STATE_FOLDER / f"{token}.lock"


@contextmanager
def _alone() -> Iterator[None]:
    """One run at a time makes namespaces and sweeps."""
    STATE_FOLDER.mkdir(mode=0o700, exist_ok=True)
    held = _opened(STATE_FOLDER / "lock")
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _held(path: Path) -> int:
    """The file, locked for as long as it is open, so for as long as this process lives. Raises BlockingIOError where another holds it."""
    held = _opened(path)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        raise
    return held


def _sweep() -> None:
    """Remove what runs left behind that ended without removing it. What cannot be removed stays."""
    namespaces = sorted(path.name for path in NETNS_FOLDER.glob(f"{PREFIX}-*") if _NAME.fullmatch(path.name))
    tokens = {match[1] for path in STATE_FOLDER.iterdir() if (match := _LOCK.fullmatch(path.name))}
    tokens |= {match[1] for name in namespaces if (match := _NAME.fullmatch(name))}
    for token in sorted(tokens):
        with suppress(OSError):  # its owner lives
            held = _held(_lock_file(token))
            _remove(token, [role for role in Role if namespace_name(token, role) in namespaces], Role)
            os.close(held)


def _remove(token: str, namespaces: Iterable[Role], links: Iterable[Role]) -> None:
    """The interfaces too: a namespace lives on without its name as long as a process in it does."""
    for role in links:
        with suppress(SetupError):
            _run(["ip", "link", "delete", link_name(token, role)])
    for role in namespaces:
        with suppress(SetupError):
            _run(["ip", "netns", "delete", namespace_name(token, role)])
    if not any((NETNS_FOLDER / namespace_name(token, role)).exists() for role in Role):
        _lock_file(token).unlink(missing_ok=True)


def _number(role: Role) -> int:
    return list(Role).index(role)
