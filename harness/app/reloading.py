"""What of a live run's configuration may change while it runs, and what a new file changes. Pure.

What decides about evidence (targets, rules, policy, endpoints, what is stored) belongs to the run from its start: a
ledger that was filled under two sets of rules would say nothing.
"""

from typing import Final

import msgspec

from harness.settings.schema import ProxySettings, Settings

RELOADABLE: Final = (
    "sample",
    "sample_key",
    "shadow_rps_max",
    "shadow_in_flight_max",
    "breaker_errors",
    "breaker_latency_ms",
    "breaker_open_s",
    "exclude",
    "default_exclusions",
    "via",
    "forwarded_for",
    "clients_max",
    "tls_cert",
    "tls_key",
)
"""Keys of `proxy` that take effect on a reload. The certificate files are read again even where their names are the same."""
_TLS: Final = ("tls_cert", "tls_key")


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a new configuration makes of the present one."""

    settings: Settings
    """The present settings with the reloadable keys of the new ones, and the new label of the build: that begins an epoch."""
    changed: tuple[str, ...]
    """Reloadable keys with another value now."""
    kept: tuple[str, ...]
    """What differs and needs a restart: it stays as it was."""


def change(present: Settings, new: Settings) -> Change:
    """Take over what may change."""
    # Whether a port speaks TLS cannot change while it is open, and a worker that is replaced must not come up otherwise.
    fixed = _TLS if (present.proxy.tls_cert is None) is not (new.proxy.tls_cert is None) else ()
    reloadable = [name for name in RELOADABLE if name not in fixed]
    taken = {name: getattr(new.proxy, name) for name in reloadable}
    changed = tuple(f"proxy.{name}" for name, value in taken.items() if value != getattr(present.proxy, name))
    others = [name for name in ProxySettings.__struct_fields__ if name not in reloadable]
    kept = [f"proxy.{name}" for name in others if getattr(new.proxy, name) != getattr(present.proxy, name)]
    kept += [name for name in Settings.__struct_fields__ if name not in {"proxy", "build"} and getattr(new, name) != getattr(present, name)]
    if new.build != present.build:
        changed = (*changed, "build")
    settings = msgspec.structs.replace(present, proxy=msgspec.structs.replace(present.proxy, **taken), build=new.build)
    return Change(settings=settings, changed=changed, kept=tuple(kept))
