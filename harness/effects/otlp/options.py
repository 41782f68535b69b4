"""The options of the span collector (`effects.otlp`) and their checks. Pure."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

import msgspec

from harness.core.labels import Role
from harness.core.limits import EFFECT_WAIT_SECONDS_MAX
from harness.effects.sections import read_section

SECTION: Final = "effects.otlp"
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=EFFECT_WAIT_SECONDS_MAX * 1000)]
SpanKind = Literal["client", "producer", "consumer"]
Protocol = Literal["http/protobuf", "grpc"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user may say of the collection of spans."""

    listen: str = ""
    """Address and port of the receiver (port 0: a free one); empty for a free port where started builds can reach it."""
    protocol: Protocol = "http/protobuf"
    """What builds are told to speak, by the words of OTEL_EXPORTER_OTLP_PROTOCOL; both are listened for."""
    grpc_listen: dict[Role, str] = {}
    """Address and port of a role's gRPC receiver, for builds that somebody else starts; else a free port."""
    wait_ms: Milliseconds = 2000
    """Longest wait for a request's spans after its last answer."""
    quiet_ms: Milliseconds = 200
    """How long no span may have come before a request's spans are taken for complete; builds export after half of it."""
    kinds: tuple[SpanKind, ...] = ("client", "producer")
    """Kinds of spans that are effects."""
    statements: bool = True
    """Compare query texts (without their values), not only verb and table."""


def read_options(given: Mapping[str, object]) -> Options:
    """The options of a configuration's section. Raises UsageError, all problems at once."""
    return read_section(Options, given, SECTION, _check, "see docs/effects-spans.md")


def _check(options: Options) -> Iterable[str]:
    if options.listen and _parted(options.listen) is None:
        yield f"listen: {options.listen!r} is not HOST:PORT"
    for role, text in options.grpc_listen.items():
        if _parted(text) is None:
            yield f"grpc_listen: {role}: {text!r} is not HOST:PORT"
    fixed = [text.strip() for text in (options.listen, *options.grpc_listen.values()) if text and not text.strip().endswith(":0")]
    if len(fixed) != len(set(fixed)):
        yield "grpc_listen: each role needs an address of its own, and another than listen"
    if not options.kinds:
        yield "kinds: no kind is named; there are client, producer, consumer"


def listen_address(options: Options, host: str = "127.0.0.1") -> tuple[str, int]:
    """Host (without brackets) and port to listen on; `host` where the user names none."""
    return _parted(options.listen) or (host.strip("[]"), 0)


def grpc_address(options: Options, role: Role, host: str = "127.0.0.1") -> tuple[str, int]:
    """The same of a role's gRPC receiver."""
    return _parted(options.grpc_listen.get(role, "")) or (host.strip("[]"), 0)


def _parted(text: str) -> tuple[str, int] | None:
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port[:6]) > 65_535 or (":" in host and not bracketed):
        return None
    return host.strip("[]"), int(port)
