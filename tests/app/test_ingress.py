"""From settings to what the server is told: every key arrives, and what cannot be is refused before anything starts."""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.app import parts
from harness.app.ingress import Surroundings, dispatch_options, make_server, proxy_options, target_addresses, target_urls
from harness.core.errors import UsageError
from harness.core.labels import Control, Role
from harness.core.outcomes import Tally
from harness.proxy.address import HostRule
from harness.proxy.copies import CopiesServer
from harness.proxy.dispatch import Sink
from harness.proxy.server import ProxyServer
from harness.settings.effects import EffectsSettings
from harness.settings.schema import ConfirmSettings, ProxySettings, Settings, TargetSettings, TargetsSettings
from tests.app.support import settings

URLS = {Role.STABLE: "http://127.0.0.1:8001", Role.SECONDARY: "http://127.0.0.1:8002", Role.CANDIDATE: "https://candidate.example:8443"}


def made(urls: dict[Role, str] | None = None, **proxy: Any) -> Settings:
    return settings(Path("run"), URLS if urls is None else urls, proxy=ProxySettings(listen="127.0.0.1:0", **proxy)).settings


def test_targets_by_role_and_a_command_is_refused() -> None:
    assert target_urls(made()) == URLS
    assert target_urls(made({Role.STABLE: URLS[Role.STABLE]})) == {Role.STABLE: URLS[Role.STABLE]}
    with pytest.raises(UsageError, match="does not start builds") as caught:
        target_urls(Settings(targets=TargetsSettings(stable=TargetSettings(command="serve {port}"))))
    assert caught.value.where == "targets.stable"


def test_shadows_must_agree_about_the_host() -> None:
    addresses = target_addresses(made())
    assert {role: address.port for role, (address, _) in addresses.items()} == {
        Role.STABLE: 8001,
        Role.SECONDARY: 8002,
        Role.CANDIDATE: 8443,
    }
    one, two = (TargetSettings(url=URLS[Role.STABLE], host=host) for host in ("keep", "rewrite"))
    with pytest.raises(UsageError, match="both get the same request"):
        target_addresses(Settings(targets=TargetsSettings(stable=one, secondary=one, candidate=two)))
    rewriting = Settings(targets=TargetsSettings(stable=one, secondary=two, candidate=two), proxy=ProxySettings(listen="127.0.0.1:0"))
    options = proxy_options(rewriting)
    assert (options.stable_host, options.shadow_host) == (HostRule.KEEP, HostRule.REWRITE)


@pytest.mark.parametrize("roles", [(Role.STABLE,), (Role.STABLE, Role.CANDIDATE), tuple(Role)])
def test_who_is_there_is_mirrored_to(roles: tuple[Role, ...]) -> None:
    options = proxy_options(made({role: URLS[role] for role in roles}))
    assert options.stable.port == 8001
    assert (options.secondary is not None) is (Role.SECONDARY in roles)
    assert (options.candidate is not None) is (Role.CANDIDATE in roles)
    assert options.control is (Control.SECONDARY if Role.SECONDARY in roles else Control.NONE)


@pytest.mark.parametrize(
    ("listen", "url", "itself"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080", True),
        ("127.0.0.1:8080", "http://localhost:8080", True),
        ("0.0.0.0:8080", "http://[::1]:8080", True),
        ("10.0.0.5:8080", "http://10.0.0.5:8080", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8081", False),
        ("127.0.0.1:8080", "http://build.example:8080", False),
        ("127.0.0.1:0", "http://127.0.0.1:8080", False),
        ("127.0.0.1:8080", "unix:/run/build.sock", False),
    ],
)
def test_a_target_that_is_the_proxy_itself_is_refused(listen: str, url: str, itself: bool) -> None:
    chosen = Settings(
        targets=TargetsSettings(stable=TargetSettings(url="http://127.0.0.1:9"), candidate=TargetSettings(url=url)),
        proxy=ProxySettings(listen=listen),
    )
    if itself:
        with pytest.raises(UsageError, match="candidate is the proxy itself") as caught:
            proxy_options(chosen)
        assert caught.value.where == "targets.candidate"
    else:
        proxy_options(chosen)


def test_stable_is_asked_twice_where_that_is_wanted_and_allowed() -> None:
    alone = {role: URLS[role] for role in (Role.STABLE, Role.CANDIDATE)}
    options = proxy_options(made(alone, secondary_self=True, workers=4))
    assert options.control is Control.SELF
    assert (options.dispatch.self_rps_max, options.dispatch.self_daily_max) == (0.25, 500), "shared out among the workers"
    serving = Settings(
        targets=TargetsSettings(stable=TargetSettings(url=URLS[Role.STABLE], production=True)),
        proxy=ProxySettings(listen="127.0.0.1:0", secondary_self=True),
    )
    for refused, what in (
        (made(secondary_self=True), "there is a secondary"),
        (serving, "stable serves users"),
        (msgspec.structs.replace(made(alone, secondary_self=True), effects=EffectsSettings(collect=("http",))), "cannot be told apart"),
        (msgspec.structs.replace(made(alone, secondary_self=True, workers=4), confirm=ConfirmSettings(daily=3)), "a part of the day's"),
    ):
        with pytest.raises(UsageError, match=what):
            proxy_options(refused)


def test_every_key_arrives() -> None:
    options = proxy_options(
        made(allow_writes=True, shadow_timeout_s=3.0, tls_cert="a.pem", tls_key="b.pem", via=True, forwarded_for=True, workers=2)
    )
    assert (options.listen_host, options.listen_port) == ("127.0.0.1", 0)
    assert (options.allow_writes, options.shadow_timeout_s) == (True, 3.0)
    assert (options.tls_cert, options.tls_key) == ("a.pem", "b.pem")
    assert (options.forwarding.via, options.forwarding.forwarded_for) == (True, True)


def test_what_is_mirrored_and_a_cap_is_shared_out_among_the_workers() -> None:
    chosen = ProxySettings(
        workers=4,
        shadow_in_flight_max=7,
        shadow_rps_max=100.0,
        breaker_errors=0.25,
        breaker_latency_ms=9.0,
        breaker_open_s=3.0,
        sample=12.5,
        sample_key="header:X-Tenant",
        exclude=("/a",),
        default_exclusions=False,
    )
    options = dispatch_options(chosen)
    assert (options.trials_in_flight_max, options.shadow_rps_max) == (7, 25.0)
    assert (options.breaker.error_share, options.breaker.latency_ms, options.breaker.open_s) == (0.25, 9.0, 3.0)
    assert (options.sample, options.sample_key, options.exclude, options.default_exclusions) == (12.5, "header:X-Tenant", ("/a",), False)
    assert dispatch_options(ProxySettings()).shadow_rps_max is None


def around() -> Surroundings:
    return Surroundings(
        clock=parts.SystemClock(),
        rng=random.Random(1),
        ids=parts.CountedIds("t"),
        tally=Tally(),
        sink=Sink(put=lambda trial: None, has_room=lambda endpoint, size: True),
        session_key=b"k" * 32,
    )


@pytest.mark.parametrize(("kind", "server"), [("native", ProxyServer), ("copies", CopiesServer)])
def test_the_ingress_that_was_chosen(kind: str, server: type[ProxyServer]) -> None:
    assert type(make_server(made(ingress=kind), around())) is server


def test_mitmproxy_is_imported_where_it_is_chosen() -> None:
    from harness.proxy.mitm import MitmServer  # noqa: PLC0415 - it takes a second

    assert type(make_server(made(ingress="mitmproxy"), around())) is MitmServer


def test_http3_has_one_owner() -> None:
    with pytest.raises(UsageError, match="one owner"):
        proxy_options(made(ingress="mitmproxy", mitm_http3=True, workers=2))


def test_options_that_would_do_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="a key alone makes no TLS"):
        proxy_options(made(tls_key="k.pem"))
    with pytest.raises(UsageError, match="only mitmproxy speaks HTTP/3"):
        proxy_options(made(mitm_http3=True))
