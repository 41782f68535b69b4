"""The options of the egress proxy (`effects.http`), read with all their problems at once. Pure."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Final, cast

import msgspec

from harness.core.labels import Role
from harness.core.trace import TRACING_HEADERS
from harness.effects.egress import faults
from harness.effects.egress.faults import EgressFault
from harness.effects.sections import read_section

CONTENT_TYPE: Final = "content-type"
NEVER_HEADERS: Final = TRACING_HEADERS | {"authorization", "proxy-authorization", "cookie", "user-agent"}
"""Request headers that no document holds: secrets, and what says more of the sender than of the call."""
_WHERE: Final = "effects.http"


class Mode(StrEnum):
    """What becomes of outbound calls."""

    OBSERVE = "observe"
    """All go outside."""
    VIRTUALISE = "virtualise"
    """Stable's go outside; the others' are answered from stable's of the same trial."""
    RECORD = "record"
    """All go outside; stable's are written to the tape file."""
    TAPE = "tape"
    """All are answered from the tape file."""


class Unmatched(StrEnum):
    """What becomes of a call that should be answered from a tape and has no match there."""

    FAIL = "fail"
    """599, with a body that says so."""
    PASS = "pass"
    """It goes outside."""
    STUB = "stub"
    """The host's configured stub."""


class HostOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for hosts of one pattern."""

    unmatched: Unmatched | None = None
    upstream: str = ""
    """`HOST:PORT` where the host really is; empty: where its name says."""
    stub_status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    stub_body: str = ""
    stub_headers: dict[str, str] = {}
    ignore: bool = False
    """Passed through, neither recorded nor compared; TLS to it is not opened."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `effects.http`."""

    mode: Mode = Mode.OBSERVE
    tape: str = ""
    """Path of the tape file; needed for `record` and `tape`."""
    unmatched: Unmatched = Unmatched.FAIL
    hosts: dict[str, HostOptions] = {}
    """By host, `host:port`, or a pattern with `*`; the exact one first, then the first pattern that fits."""
    headers: tuple[str, ...] = ()
    """Names of request headers that belong to a call's document, beside Content-Type."""
    listen: dict[Role, str] = {}
    """`HOST:PORT` to listen on, for builds that somebody else starts; else a free port of the loopback interface."""
    ca: str = ""
    """A folder for the certificate authority, so that it stays the same from run to run; else it is made for the run."""
    faults: tuple[EgressFault, ...] = ()
    verify_upstream: bool = True
    """Refuse servers outside whose certificate cannot be verified."""
    upstream_ca: str = ""
    """A file of certificate authorities (PEM) that servers outside may be signed by, beside the system's."""

    def host(self, host: str, port: int | None) -> HostOptions:
        """What holds for a host (lower case), asked for on a port."""
        return self.hosts.get(f"{host}:{port}") or self.hosts.get(host) or self._by_pattern(host, port)

    def _by_pattern(self, host: str, port: int | None) -> HostOptions:
        for pattern, found in self.hosts.items():
            if "*" in pattern and (fnmatchcase(host, pattern) or fnmatchcase(f"{host}:{port}", pattern)):
                return found
        return _ANY_HOST


_ANY_HOST: Final = HostOptions()


def address_of(text: str) -> tuple[str, int] | None:
    """Host and port of `HOST:PORT` or `[HOST]:PORT`; None where it is not of that form."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return None
    return host, int(port)


def read_options(given: Mapping[str, object]) -> Options:
    """The options of a section. Raises UsageError with every problem, each under its key."""
    return _lowered(read_section(Options, given, _WHERE, _check))


def _lowered(options: Options) -> Options:
    """The same with names in lower case, each header once."""
    return msgspec.structs.replace(
        options,
        hosts={pattern.lower(): rule for pattern, rule in options.hosts.items()},
        headers=tuple(dict.fromkeys(name.lower() for name in options.headers)),
    )


def _check(options: Options) -> Iterable[str]:
    if options.mode in {Mode.RECORD, Mode.TAPE} and not options.tape:
        yield f"tape: mode {options.mode} needs the path of a tape file"
    yield from (f"headers: {name} never goes into a document" for name in _lowered(options).headers if name in NEVER_HEADERS)
    for role, text in options.listen.items():
        if address_of(text) is None:
            yield f"listen: {role}: {text!r} is not HOST:PORT"
    fixed = [text for text in options.listen.values() if not text.endswith(":0")]
    if len(fixed) != len(set(fixed)):
        yield "listen: each role needs an address of its own"
    yield from (f"faults[{number}]: {what}" for number, fault in enumerate(options.faults) for what in faults.problems(fault))
    for pattern, rule in options.hosts.items():
        if rule.upstream and address_of(rule.upstream) is None:
            yield f"hosts: {pattern.lower()}: upstream {rule.upstream!r} is not HOST:PORT"


def listen_address(options: Options, role: Role, host: str = "127.0.0.1") -> tuple[str, int]:
    """Where to listen for a role, at `host` where the user does not say; port 0 is any free one."""
    return cast("tuple[str, int]", address_of(options.listen[role])) if role in options.listen else (host, 0)
