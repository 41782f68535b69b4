"""What a live run serves and mirrors, from its settings: where the targets are, and the server that stands before them."""

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from harness.app import parts
from harness.core.clock import Clock, Ids, Rng
from harness.core.endpoint import entity_of
from harness.core.errors import UsageError
from harness.core.labels import Control, Role
from harness.core.outcomes import Tally
from harness.core.values import Exchange, Request
from harness.proxy.address import HostRule, UpstreamAddress
from harness.proxy.breaker import BreakerOptions
from harness.proxy.copies import CopiesServer
from harness.proxy.dispatch import DispatchOptions, Naming, Sink
from harness.proxy.forwarding import ForwardingOptions
from harness.proxy.server import ProxyOptions, ProxyServer
from harness.proxy.tracing import Tracing
from harness.settings.forms import parse_address
from harness.settings.schema import ProxySettings, Settings
from harness.targets.spec import parse_target


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a server is handed of the process it lives in."""

    clock: Clock
    rng: Rng
    ids: Ids
    tally: Tally
    sink: Sink
    session_key: bytes
    on_exchange: Callable[[Request, Exchange], None] | None = None


def target_urls(settings: Settings) -> dict[Role, str]:
    """Base URLs by role. The proxy stands before builds that run already, so a command is refused with a UsageError."""
    urls: dict[Role, str] = {}
    for role in Role:
        chosen = getattr(settings.targets, role)
        if chosen is None:
            continue
        spec = parse_target(chosen.spec_fields(), where=f"targets.{role}")
        if spec.url is None:
            raise UsageError(
                "the proxy needs a URL: it does not start builds", where=f"targets.{role}", fix="start the build and give its URL"
            )
        urls[role] = spec.url
    return urls


def target_addresses(settings: Settings) -> dict[Role, tuple[UpstreamAddress, HostRule]]:
    """Where to send, by role. Secondary and candidate get the same request, so one rule about Host must do for both.

    Raises UsageError where it does not, or an address cannot be read.
    """
    addresses = {role: parts.address_of(url, getattr(settings.targets, role)) for role, url in target_urls(settings).items()}
    shadows = {role: rule for role, (_, rule) in addresses.items() if role is not Role.STABLE}
    if len(set(shadows.values())) > 1:
        said = " and ".join(f"{role} says {rule}" for role, rule in shadows.items())
        raise UsageError(f"{said}: both get the same request", where="targets.candidate.host", fix="give both the same host key")
    return addresses


def proxy_options(settings: Settings) -> ProxyOptions:
    """What the server is told."""
    addresses = target_addresses(settings)
    stable, stable_host = addresses[Role.STABLE]
    shadows = {role: addresses[role] for role in (Role.SECONDARY, Role.CANDIDATE) if role in addresses}
    proxy = settings.proxy
    if proxy.ingress == "mitmproxy" and proxy.mitm_http3 and proxy.workers > 1:
        raise UsageError("HTTP/3 has one owner of its port", where="proxy.workers", fix="use one worker with mitm_http3")
    if proxy.mitm_http3 and proxy.ingress != "mitmproxy":
        raise UsageError("only mitmproxy speaks HTTP/3", where="proxy.mitm_http3", fix="choose the ingress mitmproxy, or leave it out")
    if proxy.tls_key and not proxy.tls_cert:
        raise UsageError("a key alone makes no TLS: clients would be served in plain text", where="proxy.tls_key", fix="give tls_cert too")
    assert settings.proxy.listen is not None
    if settings.effects.collect and proxy.ingress == "mitmproxy":
        raise UsageError(
            "effects are not watched behind the ingress mitmproxy", where="effects.collect", fix="choose the ingress native or copies"
        )
    host, port = parse_address(settings.proxy.listen)
    for role, (address, _) in addresses.items():
        if _is_at(address, host, port):
            # Its requests would be answered by stable, and the candidate seem to be exactly like it.
            raise UsageError(f"{role} is the proxy itself", where=f"targets.{role}", fix="give the URL of the build")
    return ProxyOptions(
        stable=stable,
        stable_host=stable_host,
        secondary=shadows[Role.SECONDARY][0] if Role.SECONDARY in shadows else None,
        candidate=shadows[Role.CANDIDATE][0] if Role.CANDIDATE in shadows else None,
        shadow_host=next((rule for _, rule in shadows.values()), stable_host),
        listen_host=host,
        listen_port=port,
        control=_control(settings),
        allow_writes=settings.proxy.allow_writes,
        shadow_timeout_s=settings.proxy.shadow_timeout_s,
        tls_cert=settings.proxy.tls_cert or "",
        tls_key=settings.proxy.tls_key or "",
        forwarding=ForwardingOptions(via=settings.proxy.via, forwarded_for=settings.proxy.forwarded_for),
        dispatch=_capped(settings),
        clients_max=settings.proxy.clients_max,
    )


def _control(settings: Settings) -> Control:
    """What tells noise from divergence. Raises UsageError where stable is to be asked twice and must not be."""
    targets, proxy = settings.targets, settings.proxy
    if not proxy.secondary_self:
        return Control.NONE if targets.secondary is None else Control.SECONDARY
    if targets.secondary is not None:
        raise UsageError("there is a secondary", where="proxy.secondary_self", fix="leave out one of the two")
    if targets.stable is not None and targets.stable.production:
        raise UsageError(
            "stable serves users, and would be asked twice",
            where="proxy.secondary_self",
            fix="give a secondary of its own, or leave it out",
        )
    if settings.effects.collect:
        raise UsageError(
            "what stable does when it is asked twice cannot be told apart", where="proxy.secondary_self", fix="give a secondary of its own"
        )
    if settings.confirm.daily < proxy.workers:
        raise UsageError("each worker needs a part of the day's", where="confirm.daily", fix=f"give {proxy.workers} or more")
    return Control.SELF


def _capped(settings: Settings) -> DispatchOptions:
    """What is mirrored, with the cap on asking stable twice, which is shared out evenly too."""
    proxy, confirm = settings.proxy, settings.confirm
    return msgspec.structs.replace(
        dispatch_options(proxy), self_rps_max=confirm.rate / proxy.workers, self_daily_max=confirm.daily // proxy.workers
    )


_ANY_HOST: Final = frozenset({"", "0.0.0.0", "::"})
_THIS_HOST: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def _is_at(target: UpstreamAddress, host: str, port: int) -> bool:
    """Whether a target is what listens on an address, as far as the names say. Port 0 is one that is not known yet."""
    if target.unix_path or target.port != port or not port:
        return False
    return target.host == host or (target.host in _THIS_HOST | _ANY_HOST and host in _THIS_HOST | _ANY_HOST)


def dispatch_options(proxy: ProxySettings) -> DispatchOptions:
    """What of the live traffic is mirrored, by one of the ingress workers: a cap on all of them is shared out evenly."""
    return DispatchOptions(
        trials_in_flight_max=proxy.shadow_in_flight_max,
        shadow_rps_max=None if proxy.shadow_rps_max is None else proxy.shadow_rps_max / proxy.workers,
        breaker=BreakerOptions(error_share=proxy.breaker_errors, latency_ms=proxy.breaker_latency_ms, open_s=proxy.breaker_open_s),
        sample=proxy.sample,
        sample_key=proxy.sample_key or "",
        exclude=proxy.exclude,
        default_exclusions=proxy.default_exclusions,
    )


def make_server(settings: Settings, around: Surroundings) -> ProxyServer:
    """The server that the settings ask for, not started yet."""
    mapper = parts.mapper_of(settings.endpoints)
    return _kind(settings.proxy)(
        proxy_options(settings),
        clock=around.clock,
        rng=around.rng,
        tally=around.tally,
        naming=Naming(
            endpoint_of=mapper.endpoint,
            entity_of=entity_of,
            ids=around.ids,
            session_key=around.session_key,
            tracing=Tracing(around.rng, keep=settings.effects.keep_tracing) if settings.effects.collect else None,
        ),
        sink=around.sink,
        on_exchange=around.on_exchange,
    )


def _kind(proxy: ProxySettings) -> Callable[..., ProxyServer]:
    """What makes the server for the ingress that was chosen."""
    if proxy.ingress == "copies":
        return CopiesServer
    if proxy.ingress == "mitmproxy":
        from harness.proxy.mitm import MitmOptions, MitmServer  # noqa: PLC0415 - mitmproxy takes a second to import

        return partial(MitmServer, mitm=MitmOptions(confdir=proxy.mitm_dir, mode=proxy.mitm_mode, http3=proxy.mitm_http3))
    return ProxyServer
