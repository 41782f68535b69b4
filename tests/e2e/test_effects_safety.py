"""With `virtualise` no call of secondary and candidate leaves, but by the proxy; with `isolate` nothing else does either.

Scenarios of `isolate` run in namespaces of their own, so nothing of this machine's network is touched.
"""

import asyncio
import functools
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.labels import Role
from harness.core.redact import Redactor
from harness.effects.api import Collector, Workplace
from harness.effects.egress.collector import EgressCollector
from harness.effects.otlp.collector import SpanCollector
from harness.effects.redis.collector import RedisCollector
from harness.targets.isolation import TOOLS, ports_at
from tests.app.support import capture, items
from tests.e2e.effects.outside import NAME, gate, noted, outside
from tests.e2e.support import ROOT, shadowdiff
from tests.targets.builds import RealClock

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def virtualised(folder: Path, plain: int, encrypted: int) -> dict[str, Any]:
    """The section of a configuration in which NAME is really on loopback."""
    hosts = {f"{NAME}:80": {"upstream": f"127.0.0.1:{plain}"}, f"{NAME}:443": {"upstream": f"127.0.0.1:{encrypted}"}}
    return {"collect": ["http"], "http": {"mode": "virtualise", "hosts": hosts, "upstream_ca": str(folder / "ca.pem")}}


def test_builds_that_heed_their_proxy_settings_reach_nothing_by_themselves(tmp_path: Path) -> None:
    with outside(tmp_path) as found:
        effects = virtualised(tmp_path, found.plain.server_port, found.encrypted.server_port)
        ran = gate(tmp_path, effects, {"PROXIED": f"http://{NAME}/plain https://{NAME}/encrypted"})
        assert ran.code == 0, ran.explain()
        compared = ran.report["totals"]["compared"]
        assert found.seen == {("/plain", "stable"): compared, ("/encrypted", "stable"): compared}
        (watched,) = ran.report["effects"]["watched"]
        assert watched["seen"] == dict.fromkeys(Role, 2 * compared), "the others called as well, and were answered"


def test_a_build_that_ignores_them_reaches_the_outside_which_is_the_documented_limit(tmp_path: Path) -> None:
    with outside(tmp_path) as found:
        effects = virtualised(tmp_path, found.plain.server_port, found.encrypted.server_port)
        ran = gate(tmp_path, effects, {"PROXIED": f"http://{NAME}/plain", "DIRECT": f"127.0.0.1 {found.plain.server_port}"})
        assert ran.code == 0, ran.explain()
        assert found.roles("/plain") == {"stable"}
        assert found.roles("/direct") == set(Role)
    assert {ended for _, _, ended in noted(tmp_path)} == {"reached"}


def test_isolation_of_builds_that_somebody_else_started_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"effects": {"isolate": true}}', encoding="utf-8")
    targets = [word for role in Role for word in (f"--{role}", "http://127.0.0.1:9")]
    traffic = str(capture(tmp_path / "shop.gor", items(1)))
    ran = shadowdiff("gate", traffic, "--config", str(tmp_path / "c.json"), *targets, out=tmp_path / "run")
    assert ran.code == 2, ran.explain()
    assert "effects.isolate" in ran.stderr
    assert "docs/effects-safety.md" in ran.stderr


@pytest.mark.parametrize(("make", "ports"), [(EgressCollector.make, 1), (RedisCollector.make, 1), (SpanCollector.make, 2)])
def test_collectors_tell_builds_the_address_that_these_can_reach(make: Callable[..., Collector], ports: int, tmp_path: Path) -> None:
    async def body() -> list[str]:
        place = Workplace(folder=tmp_path, clock=RealClock(), rng=random.Random(1), redactor=Redactor(b"key"), host="127.0.0.2")
        options = {"database_of": {role: number for number, role in enumerate(Role)}} if make == RedisCollector.make else {}
        collector = make(options, place)
        await collector.open(tuple(Role))
        told = [*collector.names(Role.CANDIDATE).values(), *collector.env(Role.CANDIDATE).values()]
        await collector.close()
        return told

    told = asyncio.run(body())
    assert len(ports_at("127.0.0.2", told)) == ports, "spans come by HTTP or gRPC"
    assert not any("127.0.0.1" in text for text in told)


def inside(scenario: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a scenario in new namespaces, where this user is root."""
    command = ["unshare", "--user", "--map-root-user", "--net", "--mount", sys.executable, "-m", "tests.e2e.effects.outside"]
    return subprocess.run([*command, scenario, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=380)


@functools.cache
def hindrance(folder: Path) -> str:
    """Why no namespaces can be made on this machine; empty where they can."""
    for tool, package in {**TOOLS, "unshare": "util-linux", "mount": "mount"}.items():
        if shutil.which(tool) is None:
            return f"{tool} is not installed: run sh tests/prepare.sh, or install the package {package}"
    tried = inside("possible", folder)
    last = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"this machine lets this user make no network namespaces: {last}" if tried.returncode else ""


@pytest.fixture
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := hindrance(tmp_path_factory.getbasetemp()):
        pytest.skip(reason)
    return tmp_path


@pytest.mark.parametrize("scenario", ["isolated", "open", "without_collectors", "loopback_only", "told_loopback", "recipe"])
def test_builds_in_networks_of_their_own(scenario: str, folder: Path) -> None:
    """See the scenarios; `open` is `isolated` without the setting, so that what is refused is known to be possible."""
    ran = inside(scenario, folder)
    assert ran.returncode == 0, ran.stderr[-6000:]
