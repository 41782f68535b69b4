"""Faults that the egress proxy puts into outbound calls, so that one sees what a build does when a service fails. Pure."""

import fnmatch
import math
from collections.abc import Iterable
from typing import Final

import msgspec

from harness.core.clock import Rng
from harness.core.limits import TIMEOUT_S_MAX
from harness.effects.egress.calls import split_url

_STATUS_MIN: Final = 400
_STATUS_MAX: Final = 599
_DELAY_MS_MAX: Final = TIMEOUT_S_MAX * 1000


class EgressFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes wrong with calls to a host, and how often."""

    host: str = "*"
    """Host without port, compared without case; `*` and `?` are allowed."""
    delay_ms: float = 0
    """How much later the answer, the error or the reset comes."""
    error: int = 0
    """Status to answer with, without asking anybody; 0 for none."""
    reset: bool = False
    """The connection is cut instead of an answer."""
    share: float = 1.0
    """Share of the calls that it concerns."""


def problems(fault: EgressFault) -> list[str]:
    """What is wrong with a fault, a sentence for each key; empty where nothing is."""
    found = []
    if not fault.host.strip():
        found.append("`host` is empty; `*` means every host")
    elif "/" in fault.host:
        found.append(f"`host` is a host name such as `api.example.com`, not a URL: {fault.host!r}")
    elif fault.host.count(":") == 1 or "]:" in fault.host:
        found.append(f"`host` is a host name without a port: {fault.host!r}")
    if not (math.isfinite(fault.delay_ms) and 0 <= fault.delay_ms <= _DELAY_MS_MAX):
        found.append(f"`delay_ms` must be a number from 0 to {_DELAY_MS_MAX}, not {fault.delay_ms}")
    if fault.error and not _STATUS_MIN <= fault.error <= _STATUS_MAX:
        found.append(f"`error` must be a status from {_STATUS_MIN} to {_STATUS_MAX}, or 0 for none, not {fault.error}")
    if not 0 < fault.share <= 1:
        found.append(f"`share` must be above 0 and at most 1, not {fault.share}")
    if fault.error and fault.reset:
        found.append("`error` and `reset` exclude each other: a connection that is cut has no status")
    if not (fault.delay_ms or fault.error or fault.reset):
        found.append("the fault does nothing; give `delay_ms`, `error` or `reset`")
    return found


def fault_for(faults: Iterable[EgressFault], host: str, rng: Rng) -> EgressFault | None:
    """The fault that a call to this host (without port) meets: the first whose host matches decides, by its share.

    One number is drawn for each call whose host matches, whatever the share, so that a seed repeats a run's faults.
    """
    wanted = _comparable(host)
    for fault in faults:
        pattern = _comparable(fault.host)
        # An address in brackets would be a set of characters to a pattern.
        if pattern == wanted or fnmatch.fnmatchcase(wanted, pattern.replace("[", "[[]")):
            return fault if rng.random() < fault.share else None
    return None


def _comparable(host: str) -> str:
    bare = host.strip()
    if ":" in bare and not bare.startswith("["):
        bare = f"[{bare}]"
    return split_url(f"//{bare}").host if "?" not in bare else bare.lower()
