"""The configuration as frozen values: every key, its type, its default and what it means.

This is the one place where a key is declared: the checker, `config show`, the JSON Schema and the environment variables
are all derived from it. It knows no file, no environment and no option.
"""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from harness.core.canon import Rule
from harness.core.limits import (
    BREAKER_LATENCY_MS_MAX,
    BREAKER_OPEN_S_MAX,
    CLIENTS_DEFAULT,
    CLIENTS_MAX,
    CONFIRM_DAILY_MAX,
    CONFIRM_RATE_MAX,
    EPOCH_SECONDS_MIN,
    PASSES_MAX,
    READY_TIMEOUT_S_MAX,
    REPLAY_CONCURRENCY_MAX,
    SHADOW_RPS_MAX,
    SHADOW_TRIALS_IN_FLIGHT_MAX,
    STORE_AGE_S_MAX,
    STORE_DISK_BYTES_MAX,
    STORE_DISK_BYTES_MIN,
    STORE_RUNS_MAX,
    TIMEOUT_S_MAX,
    VARIANTS_MAX,
    WORKERS_MAX,
)
from harness.settings.effects import EffectsSettings

_NOT_OF_SPEC: Final = frozenset({"host", "ca_file", "verify", "client_cert", "client_key", "server_name", "build", "production"})
"""Keys of a target that say how it is spoken to or called, not how it is started."""


class TargetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A running build: either a `url` or a `command` that the harness starts."""

    url: Annotated[str | None, Meta(description="Where the build answers: http://HOST:PORT, https://HOST or unix:/PATH.")] = None
    command: Annotated[
        str | None, Meta(description="Command that starts the build; `{port}` is filled in here or in `env`.", extra={"form": "command"})
    ] = None
    env: Annotated[
        dict[str, str], Meta(description="Environment variables of the commands, over the inherited ones.", extra={"secret": True})
    ] = {}
    cwd: Annotated[str | None, Meta(description="Folder in which the commands run.", extra={"form": "file"})] = None
    ready: Annotated[str, Meta(description="Path that answers below 500 once the build is ready.", extra={"form": "path"})] = "/"
    ready_timeout_s: Annotated[
        float, Meta(gt=0, le=READY_TIMEOUT_S_MAX, description="How long to wait until it is ready.", extra={"form": "duration"})
    ] = 30.0
    stop_timeout_s: Annotated[
        float,
        Meta(
            gt=0, le=READY_TIMEOUT_S_MAX, description="How long a command may take to end before it is killed.", extra={"form": "duration"}
        ),
    ] = 5.0
    prepare: Annotated[
        str | None, Meta(description="Command run once before the first start, e.g. to load data.", extra={"form": "command"})
    ] = None
    reset: Annotated[
        str | None, Meta(description="Command run before each further pass; a restart is a reset by itself.", extra={"form": "command"})
    ] = None
    hook_timeout_s: Annotated[
        float, Meta(gt=0, le=READY_TIMEOUT_S_MAX, description="How long `prepare` and `reset` may take.", extra={"form": "duration"})
    ] = 300.0
    host: Annotated[
        Literal["keep", "rewrite"],
        Meta(description="The Host header that is sent: the client's (`keep`) or the target's own (`rewrite`)."),
    ] = "keep"
    ca_file: Annotated[
        str | None, Meta(description="PEM file of the authority that signs the target's certificate.", extra={"form": "input_file"})
    ] = None
    verify: Annotated[bool, Meta(description="Whether the target's TLS certificate is checked.")] = True
    client_cert: Annotated[
        str | None,
        Meta(description="PEM file of the certificate (chain) that the target is shown over TLS.", extra={"form": "input_file"}),
    ] = None
    client_key: Annotated[
        str | None,
        Meta(description="PEM file of the key of `client_cert`; without one it is in the same file.", extra={"form": "input_file"}),
    ] = None
    server_name: Annotated[
        str | None,
        Meta(
            description="Name asked for (SNI) and expected in the target's certificate, instead of the URL's host.", extra={"form": "host"}
        ),
    ] = None
    build: Annotated[str | None, Meta(description="Label of this build, for reports.")] = None
    production: Annotated[bool, Meta(description="Whether it serves users: live traffic is then never asked of it again.")] = False

    @property
    def has_address(self) -> bool:
        """Whether it says where the build is or how to start it."""
        return self.url is not None or self.command is not None

    def spec_fields(self) -> dict[str, object]:
        """The mapping that `harness.targets.spec.parse_target` takes."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name not in _NOT_OF_SPEC}


class TargetsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The builds, by role."""

    stable: Annotated[TargetSettings | None, Meta(description="The build whose answer goes to the client.")] = None
    secondary: Annotated[TargetSettings | None, Meta(description="A second instance of stable: the control that shows noise.")] = None
    candidate: Annotated[TargetSettings | None, Meta(description="The build under test.")] = None


class ReplaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a capture is sent."""

    passes: Annotated[
        Literal["auto"] | Annotated[int, Meta(ge=1, le=PASSES_MAX)],
        Meta(description="How often the capture is sent; `auto`: until every open question is decided."),
    ] = "auto"
    concurrency: Annotated[int, Meta(ge=1, le=REPLAY_CONCURRENCY_MAX, description="Sessions replayed at once.")] = 8
    speed: Annotated[
        Literal["max"] | Annotated[float, Meta(gt=0, le=1000)],
        Meta(description="Pace: 1 as recorded, 2 twice as fast, `max` without waiting.", extra={"form": "speed"}),
    ] = "max"
    state: Annotated[
        Literal["auto", "fresh", "stateless", "shared"],
        Meta(
            description=(
                "What the targets remember between passes. `fresh`: they are reset; `stateless`: nothing; `shared`: all of it; "
                "`auto`: fresh where commands or reset commands make it so, else shared."
            )
        ),
    ] = "auto"
    skip_broken: Annotated[bool, Meta(description="Whether broken entries of a capture are counted and left out.")] = False
    hosts: Annotated[
        tuple[str, ...],
        Meta(description="Hosts of the capture that are mapped to the targets; without any, the commonest.", extra={"form": "host"}),
    ] = ()
    allow_writes: Annotated[
        bool, Meta(description="Whether unsafe methods are sent too: say so only if each target has a store of its own.")
    ] = False
    sessions: Annotated[
        tuple[str, ...], Meta(description="Sessions of the capture that are sent, by the keys that reports name; without any, all.")
    ] = ()
    vary: Annotated[
        int,
        Meta(ge=0, le=VARIANTS_MAX, description="Variations sent of one request of each endpoint: boundary values in query and body."),
    ] = 0
    timeout_s: Annotated[
        float,
        Meta(gt=0, le=TIMEOUT_S_MAX, description="Bound on one exchange; beyond it the outcome is a time-out.", extra={"form": "duration"}),
    ] = 30.0
    seed: Annotated[
        Annotated[int, Meta(ge=0, le=2**63 - 1)] | None,
        Meta(description="Seed of every random choice; without one a new seed is drawn and shown."),
    ] = None
    stop_early: Annotated[
        bool, Meta(description="Whether `gate` sends no more once a failure is proven, instead of going on to the end of the traffic.")
    ] = False


class ProxySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How live traffic is mirrored."""

    listen: Annotated[
        str | None, Meta(description="HOST:PORT on which clients are served; port 0 takes a free one.", extra={"form": "address"})
    ] = None
    admin: Annotated[
        str | None,
        Meta(
            description="HOST:PORT of metrics, verdict and health; empty for none. Not loopback: a token is needed.",
            extra={"form": "address"},
        ),
    ] = "127.0.0.1:9464"
    admin_token_env: Annotated[
        str, Meta(description="Name of the environment variable that holds the admin token.", extra={"form": "env_name"})
    ] = "SHADOWDIFF_ADMIN_TOKEN"
    record: Annotated[str | None, Meta(description="Capture file that the traffic is written to.", extra={"form": "file"})] = None
    duration_s: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="How long the proxy runs; without it, until it is stopped.", extra={"form": "duration"}),
    ] = None
    gate: Annotated[bool, Meta(description="Whether the verdict decides the exit code.")] = False
    resume: Annotated[
        bool, Meta(description="Whether the run in `store.run_dir` goes on, where there is one whose processes were killed.")
    ] = False
    shadow_timeout_s: Annotated[
        float,
        Meta(
            gt=0, le=TIMEOUT_S_MAX, description="Bound on one mirrored exchange; the client never waits for it.", extra={"form": "duration"}
        ),
    ] = 30.0
    allow_writes: Annotated[
        bool, Meta(description="Whether unsafe methods are mirrored too: say so only if each target has a store of its own.")
    ] = False
    secondary_self: Annotated[
        bool,
        Meta(
            description=(
                "Without a secondary: whether stable is asked twice instead, safe methods only, within `confirm.rate` and `confirm.daily`; "
                "what is beyond them is not mirrored."
            )
        ),
    ] = False
    workers: Annotated[int, Meta(ge=1, le=WORKERS_MAX, description="Processes that serve clients, on one port.")] = 1
    compare_workers: Annotated[int, Meta(ge=1, le=WORKERS_MAX, description="Processes that compare.")] = 1
    ingress: Annotated[
        Literal["native", "copies", "mitmproxy"],
        Meta(
            description=(
                "What comes in. `native`: clients, over HTTP/1.1; `copies`: requests that another proxy mirrors, answered at once; "
                "`mitmproxy`: clients, over HTTP/2 or HTTP/3 or intercepted, slower."
            )
        ),
    ] = "native"
    mitm_mode: Annotated[
        Literal["reverse", "regular", "transparent", "socks5"],
        Meta(
            description=(
                "With ingress `mitmproxy`, how clients come: they take it for the service (`reverse`), know it for a proxy (`regular`, "
                "`socks5`), or are redirected to it by the system (`transparent`)."
            )
        ),
    ] = "reverse"
    mitm_dir: Annotated[
        str,
        Meta(
            description="With ingress `mitmproxy`, the folder of the certificate authority that clients are to trust; made if missing.",
            extra={"form": "file"},
        ),
    ] = "shadowdiff-ca"
    mitm_http3: Annotated[
        bool, Meta(description="With ingress `mitmproxy`, whether HTTP/3 is served too, on the UDP port of the same number.")
    ] = False
    sample: Annotated[float, Meta(ge=0, le=100, description="Percent of the requests that are mirrored.")] = 100.0
    sample_key: Annotated[
        str | None,
        Meta(
            description=(
                "What the sample is drawn by, so that all requests with the same value are in it or none: `header:NAME`, `cookie:NAME` "
                "or `path:N` (segment N, from 0). Requests without the value are drawn one by one."
            ),
            extra={"form": "sample_key"},
        ),
    ] = None
    shadow_rps_max: Annotated[
        Annotated[float, Meta(gt=0, le=SHADOW_RPS_MAX)] | None,
        Meta(description="Requests a second that a shadow target gets at most; without it, as many as come."),
    ] = None
    shadow_in_flight_max: Annotated[
        int,
        Meta(ge=1, le=SHADOW_TRIALS_IN_FLIGHT_MAX, description="Requests of each worker that a shadow target has under way at most."),
    ] = SHADOW_TRIALS_IN_FLIGHT_MAX
    breaker_errors: Annotated[
        Annotated[float, Meta(gt=0, le=1)] | None,
        Meta(description="Share of a shadow target's last exchanges that failed at which it is left alone for a while; empty for none."),
    ] = 0.5
    breaker_latency_ms: Annotated[
        Annotated[float, Meta(gt=0, le=BREAKER_LATENCY_MS_MAX)] | None,
        Meta(description="Median of a shadow target's last exchanges, in milliseconds, above which it is left alone for a while."),
    ] = None
    breaker_open_s: Annotated[
        float,
        Meta(
            gt=0,
            le=BREAKER_OPEN_S_MAX,
            description="How long a shadow target is left alone before a few requests try it again.",
            extra={"form": "duration"},
        ),
    ] = 10.0
    exclude: Annotated[
        tuple[str, ...],
        Meta(
            description="Path templates such as `/admin/**` that are never mirrored, written as those of endpoints.",
            extra={"form": "template"},
        ),
    ] = ()
    default_exclusions: Annotated[
        bool, Meta(description="Whether log-out, unsubscribing and one-time links are never mirrored (see below).")
    ] = True
    via: Annotated[bool, Meta(description="Whether a `Via` header is added to requests; answers stay as stable gave them.")] = False
    forwarded_for: Annotated[bool, Meta(description="Whether `X-Forwarded-For`, `-Host` and `-Proto` are added to requests.")] = False
    tls_cert: Annotated[
        str | None,
        Meta(
            description="PEM file of the certificate (chain) shown to clients; with it the port speaks TLS.", extra={"form": "input_file"}
        ),
    ] = None
    tls_key: Annotated[
        str | None, Meta(description="PEM file of the key of `tls_cert`; without one it is in the same file.", extra={"form": "input_file"})
    ] = None
    clients_max: Annotated[
        int, Meta(ge=1, le=CLIENTS_MAX, description="Client connections of each worker at once; further ones are answered 503.")
    ] = CLIENTS_DEFAULT


class ConfirmSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asking again: whether a difference that was seen in live traffic comes back."""

    live: Annotated[
        bool,
        Meta(description="Whether requests of live traffic whose answers differ are sent again, beside the traffic, until it is clear."),
    ] = False
    stateless: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "Endpoints such as `GET /search*` (`*`: any text) whose answers depend on no stored state and no cache: only these are "
                "asked again."
            ),
            extra={"form": "safe_endpoint"},
        ),
    ] = ()
    rate: Annotated[
        float, Meta(gt=0, le=CONFIRM_RATE_MAX, description="Requests a second that are asked again of each target, at most.")
    ] = 1.0
    daily: Annotated[int, Meta(ge=1, le=CONFIRM_DAILY_MAX, description="The same in any 24 hours.")] = 2000


class EndpointSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How URLs become endpoints."""

    templates: Annotated[
        tuple[str, ...],
        Meta(description="Path templates such as `/orders/{id}` or `GET /files/**`; the first that fits wins.", extra={"form": "template"}),
    ] = ()
    openapi: Annotated[
        str | None, Meta(description="OpenAPI file (YAML or JSON) whose paths are templates.", extra={"form": "input_file"})
    ] = None


class RedactSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is hidden before anything is written or shown, beside the built-in names and patterns."""

    enabled: Annotated[bool, Meta(description="Whether secrets are replaced by keyed hashes in everything kept.")] = True
    names: Annotated[
        tuple[str, ...], Meta(description="Further names of headers, cookies, parameters and JSON keys whose values are hidden.")
    ] = ()
    patterns: Annotated[
        tuple[str, ...], Meta(description="Further regular expressions; what they match is hidden.", extra={"form": "regex"})
    ] = ()
    allow: Annotated[tuple[str, ...], Meta(description="Names whose values are kept although a built-in name or pattern hides them.")] = ()


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run keeps on disk."""

    dir: Annotated[str, Meta(description="Folder in which each run makes a folder of its own.", extra={"form": "file"})] = "shadowdiff-runs"
    run_dir: Annotated[str | None, Meta(description="The run's own folder, instead of a new one in store.dir.", extra={"form": "file"})] = (
        None
    )
    keep: Annotated[
        Literal["ledger", "diverged", "all"],
        Meta(
            description=(
                "Which trials keep their bodies: none (`ledger`), those that differ, up to 50 of each difference (`diverged`), or `all`."
            )
        ),
    ] = "diverged"
    keep_runs: Annotated[
        Annotated[int, Meta(ge=1, le=STORE_RUNS_MAX)] | None,
        Meta(description="Runs kept in store.dir, the one under way among them; beyond that the oldest that have ended are removed."),
    ] = None
    max_disk: Annotated[
        Annotated[float, Meta(ge=STORE_DISK_BYTES_MIN, le=STORE_DISK_BYTES_MAX)] | None,
        Meta(
            description="Room that all runs in store.dir may take; beyond that the oldest are removed, and one run sheds what is more.",
            extra={"form": "size"},
        ),
    ] = None
    max_age: Annotated[
        Annotated[float, Meta(gt=0, le=STORE_AGE_S_MAX)] | None,
        Meta(description="How long a run is kept in store.dir once it has ended.", extra={"form": "duration"}),
    ] = None


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where verdicts are written down for good."""

    file: Annotated[
        str,
        Meta(
            description=(
                "File to which each verdict appends a line, chained by hashes; a bare name is a file beside the run's folder. "
                "Empty for none."
            )
        ),
    ] = "audit.jsonl"
    required: Annotated[bool, Meta(description="Whether a pass that could not be written there ends with exit code 4 instead of 0.")] = (
        False
    )


class EpochSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a live run closes its verdict and begins anew."""

    build_header: Annotated[
        str | None,
        Meta(
            description="Header of the candidate's answers that names its build: another build begins an epoch.",
            extra={"form": "field_name"},
        ),
    ] = None
    version_path: Annotated[
        str | None,
        Meta(
            description="Path of the candidate that answers which build it is, asked every 2 s: another build begins an epoch.",
            extra={"form": "path"},
        ),
    ] = None
    period_s: Annotated[
        Annotated[float, Meta(ge=EPOCH_SECONDS_MIN)] | None,
        Meta(description="How long an epoch lasts at most; without it, as long as the build stays.", extra={"form": "duration"}),
    ] = None


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration of a run."""

    targets: TargetsSettings = TargetsSettings()
    replay: ReplaySettings = ReplaySettings()
    proxy: ProxySettings = ProxySettings()
    epochs: EpochSettings = EpochSettings()
    confirm: ConfirmSettings = ConfirmSettings()
    endpoints: EndpointSettings = EndpointSettings()
    effects: EffectsSettings = EffectsSettings()
    rules: Annotated[tuple[Rule, ...], Meta(description="What does not count as a difference, and where.")] = ()
    redact: RedactSettings = RedactSettings()
    policy: Annotated[
        str | None,
        Meta(
            description="Name of a policy that comes with shadowdiff, or a file; without it `default`, and `rollout` for the proxy.",
            extra={"form": "policy"},
        ),
    ] = None
    store: StoreSettings = StoreSettings()
    audit: AuditSettings = AuditSettings()
    expected: Annotated[
        str | None,
        Meta(
            description=(
                "File of accepted changes; without it `shadowdiff-expected.yaml` beside the configuration file or in the working folder, "
                "where there is one."
            ),
            extra={"form": "file"},
        ),
    ] = None
    policy_ref: Annotated[
        str | None,
        Meta(
            description=(
                "Ref of the repository (branch, tag or commit) at which the policy's files are read, so that the change under test "
                "cannot weaken its own gate; accepted changes too."
            )
        ),
    ] = None
    require_policy_digest: Annotated[
        str | None, Meta(description="Digest that the policy must have, or nothing is run or judged (exit code 2).")
    ] = None
    labels: Annotated[
        dict[str, str],
        Meta(description="Labels of the candidate (author-kind, model), kept with the run; policies may have conditions on them."),
    ] = {}
    labels_from_git: Annotated[
        str | None,
        Meta(description="Ref whose commit gives labels too: its hash as `commit`, and its trailers; of the working folder's repository."),
    ] = None
    provenance: Annotated[dict[str, str], Meta(description="An older name of `labels`; what is in both counts as in `labels`.")] = {}
    build: Annotated[str | None, Meta(description="Label of the build the verdict is about; without it, targets.candidate.build.")] = None


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `shadowdiff demo` may be told. The demo reads no configuration, so that it runs alike everywhere."""

    seed: int = 1
    candidate_is_stable: bool = False
    out: Path | None = None
