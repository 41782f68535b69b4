"""Makes the parts of a run from its settings: each room receives its own options, none of them reads the configuration."""

import json
import random
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from comparators.api import Places
from comparators.plan import Plan, build_plan
from comparators.registry import load_comparators
from harness.core.endpoint import EndpointMapper, EndpointRules, templates_from_openapi
from harness.core.errors import SetupError, UsageError
from harness.core.labels import Control, Design, Role, RunMode
from harness.core.redact import RedactionRules, Redactor
from harness.proxy.address import HostRule, UpstreamAddress, parse_address
from harness.resources import config_path
from harness.settings.policies import LoadedPolicy, load_policy, policy_name
from harness.settings.schema import EndpointSettings, RedactSettings, Settings, TargetSettings
from harness.targets.spec import TargetSpec, parse_target, secondary_of
from replay.codings import DECODERS


class SystemClock:
    """The machine's clocks: see `harness.core.clock.Clock`."""

    monotonic_ns = staticmethod(time.monotonic_ns)
    time = staticmethod(time.time)


class CountedIds:
    """`t0`, `t1`, ...: unique within the run and the same from run to run. `prefix` stands before the number."""

    def __init__(self, prefix: str = "t") -> None:
        self._prefix = prefix
        self._next = 0

    def next_id(self) -> str:
        """See `harness.core.clock.Ids`."""
        self._next += 1
        return f"{self._prefix}{self._next - 1}"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is called, when it began, and the seed of every random choice in it."""

    id: str
    started: float
    """Seconds since the epoch."""
    seed: int


def identity(clock: SystemClock, seed: int | None) -> Identity:
    """A new run: its id sorts by time and is not guessable twice."""
    started = clock.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(started))
    chosen = secrets.randbelow(2**32) if seed is None else seed
    return Identity(id=f"{stamp}-{secrets.token_hex(3)}", started=started, seed=chosen)


def rng_of(run: Identity, use: str) -> random.Random:
    """A generator of its own for each use, so that one more draw here does not change what is drawn there."""
    return rng_for(run.seed, use)


def rng_for(seed: int, use: str) -> random.Random:
    """The same, by the run's seed."""
    return random.Random(f"{seed}/{use}")


def run_folder(settings: Settings, run: Identity) -> tuple[Path, str]:
    """Where the run directory is made, and its name."""
    if settings.store.run_dir is not None:
        path = Path(settings.store.run_dir)
        return path.parent, path.name
    return Path(settings.store.dir), run.id


def plan_of(settings: Settings, every: Mapping[str, Places] | None = None) -> Plan:
    """The comparators that are installed and the rules, compiled. `every`: where changes were accepted (see `build_plan`)."""
    return build_plan(settings.rules, load_comparators(), settings.effects.ordered, every)


def mapper_of(settings: EndpointSettings, hosts: Iterable[str] = ()) -> EndpointMapper:
    """Endpoint templates from configuration and OpenAPI file, over the mapped hosts."""
    openapi: list[str] = []
    if settings.openapi is not None:
        openapi = templates_from_openapi(_document(Path(settings.openapi)))
    return EndpointMapper(EndpointRules(templates=settings.templates, openapi=tuple(openapi)), hosts)


def redaction_rules(settings: RedactSettings) -> RedactionRules:
    """What is redacted, as configuration has it."""
    return RedactionRules(enabled=settings.enabled, names=settings.names, patterns=settings.patterns, allow=settings.allow)


def redactor_of(settings: RedactSettings, key: bytes = b"") -> Redactor:
    """Redaction with a key that is never written down, a new one where none is given: equality survives within the run only."""
    return Redactor(key or secrets.token_bytes(32), redaction_rules(settings), DECODERS)


def policy_of(name: str | None, mode: RunMode) -> LoadedPolicy:
    """The policy by name or file; `rollout` for the proxy and `default` elsewhere where none is named."""
    return load_policy(policy_name(name, mode), folder=config_path("policies/default.yaml").parent)


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """Who takes part in a replay, and what that makes of the comparison."""

    specs: dict[Role, TargetSpec]
    """To be started; with `self` as control there is no secondary among them."""
    control: Control
    design: Design


def replay_targets(settings: Settings) -> Targets:
    """Stable, its control and the candidate.

    Three arms count as alike only where the harness started all of them; where one is somebody else's, candidate
    and secondary are compared through stable (EVIDENCE: two-arm). Raises UsageError for an address it cannot read.
    """
    chosen = settings.targets
    assert chosen.stable is not None
    assert chosen.candidate is not None
    stable = parse_target(chosen.stable.spec_fields(), where="targets.stable")
    specs = {Role.STABLE: stable, Role.CANDIDATE: parse_target(chosen.candidate.spec_fields(), where="targets.candidate")}
    given = chosen.secondary
    secondary = parse_target(given.spec_fields(), where="targets.secondary") if given is not None else secondary_of(stable)
    if secondary is None:
        return Targets(specs=specs, control=Control.SELF, design=Design.TWO_ARM)
    specs[Role.SECONDARY] = secondary
    alike = all(spec.command is not None for spec in specs.values())
    return Targets(specs=specs, control=Control.SECONDARY, design=Design.THREE_ARM if alike else Design.TWO_ARM)


def address_of(url: str, settings: TargetSettings | None) -> tuple[UpstreamAddress, HostRule]:
    """Where to send, with the target's TLS and Host options."""
    if settings is None:
        return parse_address(url), HostRule.KEEP
    address = parse_address(
        url,
        verify=settings.verify,
        ca_file=settings.ca_file or "",
        server_name=settings.server_name or "",
        client_cert=settings.client_cert or "",
        client_key=settings.client_key or "",
    )
    return address, HostRule(settings.host)


def target_settings(settings: Settings, role: Role) -> TargetSettings | None:
    """The options of a role; the secondary that the harness adds itself has stable's."""
    chosen: TargetSettings | None = getattr(settings.targets, role)
    return settings.targets.stable if chosen is None and role is Role.SECONDARY else chosen


def writable(text: str) -> str:
    """Text from the command line or the environment as UTF-8 can carry it: bytes that were none are written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def build_label(settings: Settings) -> str:
    """What the candidate is called."""
    candidate = settings.targets.candidate
    return settings.build or (candidate.build if candidate is not None else None) or ""


def _document(path: Path) -> dict[str, Any]:
    """An OpenAPI file, YAML or JSON."""
    try:
        text = path.read_text(encoding="utf-8")
        loaded = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise SetupError(f"cannot be read: {error.strerror}", where=str(path), fix="name an OpenAPI file in endpoints.openapi") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"is neither YAML nor JSON: {error}", where=str(path), fix="mend the OpenAPI file") from error
    if not isinstance(loaded, dict):
        raise UsageError("is no OpenAPI document", where=str(path), fix="name an OpenAPI 3 or Swagger 2 file in endpoints.openapi")
    return loaded
