"""Builds in networks of their own: names, addresses and rules as texts; then the real thing, in new namespaces."""

import functools
import random
import shutil
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import SetupError
from harness.core.labels import Role
from harness.targets.isolation import (
    POOLS,
    TOOLS,
    Isolation,
    Plan,
    choose,
    confined,
    hindrance,
    host_links,
    inner_links,
    opening,
    ports_at,
    rules,
    taken_by,
    unreachable_in,
    unrouted,
)
from tests.e2e.support import ROOT
from tests.targets.namespaces import SCENARIOS

PLAN = Plan("00c0ffee", "198.18.4.8/29")


def test_names_fit_into_what_linux_allows_and_addresses_are_different() -> None:
    assert PLAN.host == "198.18.4.9"
    assert [PLAN.address(role) for role in Role] == ["198.18.4.10", "198.18.4.11", "198.18.4.12"]
    assert PLAN.namespace(Role.CANDIDATE) == "shadowdiff-00c0ffee-candidate"
    assert len({PLAN.link(role) for role in Role}) == 3
    assert all(len(PLAN.link(role)) <= 15 for role in Role)


networks = st.builds(lambda at, bits: IPv4Network((at, bits), strict=False), st.integers(0, 2**32 - 1), st.integers(8, 32))


@given(taken=st.lists(networks, max_size=20), seed=st.integers(0, 2**32))
def test_a_plan_overlaps_with_nothing_that_is_taken(taken: list[IPv4Network], seed: int) -> None:
    plan = choose(taken, random.Random(seed))
    network = IPv4Network(plan.network)
    assert not any(network.overlaps(other) for other in taken)
    assert network.is_private
    assert any(network.subnet_of(IPv4Network(pool)) for pool in POOLS)


def test_the_next_pool_is_used_where_one_is_full_and_no_room_is_told() -> None:
    first, *rest = map(IPv4Network, POOLS)
    assert IPv4Network(choose([first], random.Random(1)).network).subnet_of(rest[0])
    with pytest.raises(SetupError, match="no addresses are free"):
        choose([first, *rest], random.Random(1))


def test_routes_of_the_machine_are_read_but_not_those_to_everything() -> None:
    routes = '[{"dst":"default"},{"dst":"0.0.0.0/1"},{"dst":"192.0.2.0/24"},{"type":"local","dst":"192.0.2.2"},{"dst":"10.0.0.0/8"},{}]'
    assert taken_by(routes) == [IPv4Network("192.0.2.0/24"), IPv4Network("192.0.2.2/32"), IPv4Network("10.0.0.0/8")]
    assert taken_by("") == []


def test_inputs_of_the_tools() -> None:
    assert host_links(PLAN, [Role.STABLE]) == (
        "link add sd00c0ffee0 type veth peer name eth0 netns shadowdiff-00c0ffee-stable\n"
        "address add 198.18.4.9 peer 198.18.4.10/32 dev sd00c0ffee0\n"
        "link set sd00c0ffee0 up\n"
    )
    assert "default" not in inner_links(PLAN, Role.STABLE)
    assert rules(PLAN).count("policy drop") == 3
    assert opening([8080, 80, 80]) == "add element inet shadowdiff open { 80, 8080 }\n"
    assert opening([80], "delete") == "delete element inet shadowdiff open { 80 }\n"
    assert opening([]) == ""
    command = confined(PLAN, Role.STABLE, ["serve", "-p", "1"])
    assert command[:2] == ["nsenter", "--net=/run/netns/shadowdiff-00c0ffee-stable"]
    assert command[-4:] == ["--", "serve", "-p", "1"]


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("http://198.18.4.9:4000", {4000}),
        ("198.18.4.9:6379", {6379}),
        ("redis://198.18.4.9:6379/1", {6379}),
        ("a=198.18.4.9:1,b=198.18.4.9:2", {1, 2}),
        ("198.18.4.90:4000", set()),
        ("1198.18.4.9:4000", set()),
        ("1.198.18.4.9:4000", set()),
        ("198.18.4.9", set()),
        ("/tmp/ca.pem", set()),
    ],
)
def test_ports_that_builds_are_told(text: str, ports: set[int]) -> None:
    assert ports_at("198.18.4.9", [text]) == ports


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("http://127.0.0.1:9000", "127.0.0.1:9000"),
        ("localhost:1", "localhost:1"),
        ("http://[::1]:80/x", "[::1]:80"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("http://198.18.4.9:9000", ""),
        ("10.127.0.0.1:9", ""),
        ("localhost,127.0.0.1", ""),
    ],
)
def test_addresses_that_mean_another_machine_inside(text: str, lost: str) -> None:
    assert unreachable_in(["", text]) == lost


def test_sendings_without_a_route_are_counted_from_the_kernels_texts() -> None:
    text = "Ip: Forwarding OutDiscards OutNoRoutes\nIp: 1 7 3\nIcmp: OutNoRoutes\nIcmp: 9\nIp6InReceives  4\nIp6OutNoRoutes \t 2\n"
    assert unrouted(text) == 5
    assert unrouted("") == 0


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nCapEff:\t0000000000201000\n", encoding="ascii")
    assert hindrance("linux", lambda tool: tool, status) == ("", "")
    assert "Linux" in hindrance("darwin", lambda tool: tool, status)[0]
    what, fix = hindrance("linux", lambda tool: None if tool in {"nft", "setpriv"} else tool, status)
    assert (what, fix) == ("nft, setpriv are not installed", "install nftables, util-linux")
    status.write_text("CapEff:\t0000000000200000\n", encoding="ascii")
    what, fix = hindrance("linux", lambda tool: tool, status)
    assert what.endswith("CAP_NET_ADMIN missing")
    assert "root" in fix
    assert "CAP_NET_ADMIN, CAP_SYS_ADMIN" in hindrance("linux", lambda tool: tool, tmp_path / "none")[0]


def test_without_the_right_nothing_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SetupError, match="not installed") as caught:
        Isolation.planned([Role.STABLE], random.Random(1))
    assert "install" in str(caught.value)


def inside(scenario: str) -> "subprocess.CompletedProcess[str]":
    """Run a scenario in new namespaces, where this user is root."""
    command = ["unshare", "--user", "--map-root-user", "--net", "--mount", sys.executable, "-m", "tests.targets.namespaces", scenario]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)


@functools.cache
def no_namespaces() -> str:
    """Why no namespaces can be made on this machine; empty where they can."""
    for tool, package in {**TOOLS, "unshare": "util-linux", "mount": "mount"}.items():
        if shutil.which(tool) is None:
            return f"{tool} is not installed: run sh tests/prepare.sh, or install the package {package}"
    tried = inside("possible")
    last = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"this machine lets this user make no network namespaces: {last}" if tried.returncode else ""


@pytest.mark.parametrize("scenario", sorted(SCENARIOS.keys() - {"possible"}))
def test_real_namespaces(scenario: str) -> None:
    if reason := no_namespaces():
        pytest.skip(reason)
    ran = inside(scenario)
    assert ran.returncode == 0, ran.stderr[-6000:]
