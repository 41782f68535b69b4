"""The configuration of what is watched beside the answers: which collectors, and the options of each.

A collector's section is handed to it as it stands (`harness.effects.api.Collector.make`), so its keys are its options.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from harness.core.limits import EFFECT_WAIT_SECONDS_MAX, TIMEOUT_S_MAX

Unmatched = Literal["fail", "pass", "stub"]
_BY_ROLE = "`{role}` is filled in with stable, secondary or candidate."


class EgressHostSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One outside host, by a pattern such as `payments.example` or `*.example:8443`."""

    unmatched: Unmatched | None = None
    """As `effects.http.unmatched`, for this host."""
    upstream: str | None = None
    """HOST:PORT where the host really is, for networks of tests."""
    stub_status: int = 200
    stub_body: Annotated[str, Meta(extra={"secret": True})] = ""
    stub_headers: Annotated[dict[str, str], Meta(extra={"secret": True})] = {}
    ignore: bool = False
    """Its calls are passed through, neither kept nor compared."""


class EgressFaultSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault of the outside, the same for all targets: a delay, then an error or a reset, for a share of the calls to a host."""

    host: str = "*"
    delay_ms: float = 0.0
    error: int = 0
    """Status that is answered instead of the outside's; 0 for none."""
    reset: bool = False
    share: float = 1.0


class EgressSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Outbound HTTP(S) calls, seen by an egress proxy with a port for each target."""

    mode: Annotated[
        Literal["observe", "virtualise", "record", "tape"],
        Meta(
            description=(
                "`observe`: calls go outside and are compared; `virtualise`: only stable's go outside, the others' are answered from "
                "them; `record`: as `observe`, and stable's calls are kept in `tape`; `tape`: all are answered from `tape`."
            )
        ),
    ] = "observe"
    tape: Annotated[
        str | None, Meta(description="Tape file that is written (`record`) or answered from (`tape`).", extra={"form": "file"})
    ] = None
    unmatched: Annotated[
        Unmatched,
        Meta(
            description=(
                "What becomes of a call that no recorded one matches: it fails with 599, is passed outside, or gets its host's stub."
            )
        ),
    ] = "fail"
    hosts: Annotated[
        dict[str, EgressHostSettings],
        Meta(description="By pattern of the host: `unmatched`, `upstream`, `stub_status`, `stub_body`, `stub_headers`, `ignore`."),
    ] = {}
    headers: Annotated[tuple[str, ...], Meta(description="Request headers of calls that are compared, beside Content-Type.")] = ()
    listen: Annotated[
        dict[str, str],
        Meta(description="HOST:PORT of the proxy for a role, where a build is started by somebody else; without it a free port."),
    ] = {}
    ca: Annotated[
        str | None,
        Meta(
            description="Folder of the certificate authority that builds must trust; without it one that lives as long as the run.",
            extra={"form": "file"},
        ),
    ] = None
    faults: Annotated[
        tuple[EgressFaultSettings, ...],
        Meta(description="Faults of the outside: `host`, `delay_ms`, `error`, `reset`, `share`."),
    ] = ()
    verify_upstream: Annotated[bool, Meta(description="Whether certificates of the outside are checked.")] = True
    upstream_ca: Annotated[
        str | None, Meta(description="PEM file of a further authority of the outside.", extra={"form": "input_file"})
    ] = None


class PostgresSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows that change in PostgreSQL, by logical decoding. Each target has a database of its own."""

    dsn: Annotated[str, Meta(description=f"Connection string of a role with REPLICATION. {_BY_ROLE}", extra={"secret": True})] = ""
    dsn_of: Annotated[dict[str, str], Meta(description="Connection string for a role, instead of `dsn`.", extra={"secret": True})] = {}
    tables: Annotated[tuple[str, ...], Meta(description="Patterns of tables, `schema.table`; without any, all.")] = ()
    ignore_tables: Annotated[tuple[str, ...], Meta(description="Patterns of tables that are left out.")] = ()
    plugin: Annotated[
        Literal["auto", "wal2json", "test_decoding"],
        Meta(description="Output plug-in; `auto`: test_decoding, and wal2json where the server has not that one."),
    ] = "auto"
    final_state: Annotated[bool, Meta(description="Whether tables are compared at the end of each pass.")] = True


class SqliteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows that change in SQLite, by triggers on a copy of a database for each target (`{sqlite}` in its command or env)."""

    source: Annotated[
        str | None,
        Meta(
            description="Database that is copied for each target before each start; without it an empty one.", extra={"form": "input_file"}
        ),
    ] = None
    path: Annotated[
        str | None, Meta(description=f"Where the copies lie; without it in a folder of the run. {_BY_ROLE}", extra={"form": "file"})
    ] = None
    tables: Annotated[tuple[str, ...], Meta(description="Patterns of tables; without any, all.")] = ()
    ignore_tables: Annotated[tuple[str, ...], Meta(description="Patterns of tables that are left out.")] = ()
    final_state: Annotated[bool, Meta(description="Whether tables are compared at the end of each pass.")] = True


class RedisSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Commands that write to Redis, seen by a relay for each target (`{redis}` and `{redis_url}` in its command or env)."""

    upstream: Annotated[str, Meta(description=f"HOST:PORT or unix:/PATH of the server. {_BY_ROLE}")] = "127.0.0.1:6379"
    upstream_of: Annotated[dict[str, str], Meta(description="Server for a role, instead of `upstream`.")] = {}
    database_of: Annotated[dict[str, int], Meta(description="Logical database for a role, where targets share a server.")] = {}
    listen: Annotated[
        dict[str, str],
        Meta(description="HOST:PORT of the relay for a role, where a build is started by somebody else; without it a free port."),
    ] = {}


class SpanSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """CLIENT and PRODUCER spans that instrumented builds send to an OTLP receiver."""

    listen: Annotated[str | None, Meta(description="HOST:PORT of the receiver; without it a free port.", extra={"form": "address"})] = None
    protocol: Annotated[
        Literal["http/protobuf", "grpc"],
        Meta(description="What builds are told to speak, as OTEL_EXPORTER_OTLP_PROTOCOL; both are listened for."),
    ] = "http/protobuf"
    grpc_listen: Annotated[
        dict[str, str],
        Meta(description="HOST:PORT of the gRPC receiver for a role, where a build is started by somebody else; without it a free port."),
    ] = {}
    wait_ms: Annotated[
        float, Meta(gt=0, le=TIMEOUT_S_MAX * 1000, description="Longest wait for the spans of one request, in milliseconds.")
    ] = 2000.0
    quiet_ms: Annotated[
        float,
        Meta(
            gt=0, le=TIMEOUT_S_MAX * 1000, description="How long no span may have come when they are taken for complete, in milliseconds."
        ),
    ] = 200.0
    kinds: Annotated[tuple[str, ...], Meta(description="Kinds of spans that are effects: `client`, `producer`.")] = ("client", "producer")
    statements: Annotated[bool, Meta(description="Whether database statements are compared, without their literals.")] = True


class EffectsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the builds do to the outside."""

    collect: Annotated[
        tuple[str, ...],
        Meta(description="Collectors that watch: `http`, `postgres`, `sqlite`, `redis`, `otlp`, or one of another package."),
    ] = ()
    wait_s: Annotated[
        float,
        Meta(
            gt=0,
            le=EFFECT_WAIT_SECONDS_MAX,
            description="How long a request's effects are waited for after its last answer.",
            extra={"form": "duration"},
        ),
    ] = 5.0
    ordered: Annotated[
        tuple[str, ...],
        Meta(description="Patterns of effects whose order matters, e.g. `http POST payments.example/*`; that of others does not."),
    ] = ()
    keep_tracing: Annotated[
        bool,
        Meta(description="Whether the sender's other tracing headers (`b3`, `tracestate` and the like) are sent along to the targets."),
    ] = False
    isolate: Annotated[
        bool,
        Meta(
            description=(
                "Whether builds that are started here get a network of their own, from which only the collectors can be reached "
                "(Linux, as root; see docs/effects-safety.md)."
            )
        ),
    ] = False
    http: EgressSettings = EgressSettings()
    postgres: PostgresSettings = PostgresSettings()
    sqlite: SqliteSettings = SqliteSettings()
    redis: RedisSettings = RedisSettings()
    otlp: SpanSettings = SpanSettings()
    plugins: Annotated[
        dict[str, dict[str, str]], Meta(description="Options of collectors of other packages, by name.", extra={"secret": True})
    ] = {}
