"""`--mitm-mode transparent` behind a real redirect: clients mean to go elsewhere, and nftables sends them to the proxy.

Each test runs in a network namespace of its own, so nothing of this machine's network is touched.
"""

import functools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.redirect import CANDIDATES
from tests.e2e.support import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
TOOLS = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "nft": "nftables", "curl": "curl"}


def inside(scenario: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a scenario in new namespaces, where this user is root."""
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-m", "tests.e2e.redirect", scenario, str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)


@functools.cache
def hindrance() -> str:
    """Why no connection can be redirected on this machine; empty where it can."""
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            return f"{tool} is not installed: run sh tests/prepare.sh, or install the package {package}"
    tried = inside("possible", Path())
    last = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"this machine lets this user make no network namespace with a redirect rule: {last}" if tried.returncode else ""


@pytest.fixture(autouse=True)
def _redirects() -> None:
    if reason := hindrance():
        pytest.skip(reason)


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_1_2_and_3_clients_behind_a_gateway(candidate: str, tmp_path: Path) -> None:
    """They get what stable says, in every protocol; the candidate is mirrored to, compared and counted, whatever it does."""
    ran = inside(candidate, tmp_path)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("scenario", ["local", "local6"])
def test_clients_on_the_proxys_own_machine(scenario: str, tmp_path: Path) -> None:
    ran = inside(scenario, tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_a_rule_that_catches_the_proxys_own_connections_is_told_and_makes_no_loop(tmp_path: Path) -> None:
    """Without care, one request becomes thousands, and stable's answers are taken for the candidate's."""
    ran = inside("wide", tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "came back to this proxy (occurrence 1)" in ran.stderr
