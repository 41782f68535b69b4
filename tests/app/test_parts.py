"""From settings to the parts of a run: who takes part, how the comparison is made, what is named and drawn."""

import re
from pathlib import Path
from typing import Any

import pytest

from harness.app import parts
from harness.app.parts import CountedIds, Identity, SystemClock
from harness.core.canon import Rule, RuleAction
from harness.core.errors import SetupError, ShadowdiffError, UsageError
from harness.core.labels import Control, Design, Role, RunMode
from harness.proxy.address import HostRule
from harness.settings.schema import EndpointSettings, RedactSettings, Settings, StoreSettings, TargetSettings, TargetsSettings
from tests.app.support import get

COMMAND = TargetSettings(command="serve {port}")
URL = TargetSettings(url="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("stable", "secondary", "candidate", "roles", "control", "design"),
    [
        (COMMAND, None, COMMAND, set(Role), Control.SECONDARY, Design.THREE_ARM),
        (COMMAND, COMMAND, COMMAND, set(Role), Control.SECONDARY, Design.THREE_ARM),
        (COMMAND, None, URL, set(Role), Control.SECONDARY, Design.TWO_ARM),
        (URL, URL, URL, set(Role), Control.SECONDARY, Design.TWO_ARM),
        (URL, URL, COMMAND, set(Role), Control.SECONDARY, Design.TWO_ARM),
        (COMMAND, URL, COMMAND, set(Role), Control.SECONDARY, Design.TWO_ARM),
        (URL, None, COMMAND, {Role.STABLE, Role.CANDIDATE}, Control.SELF, Design.TWO_ARM),
    ],
)
def test_three_arms_are_alike_only_where_the_harness_started_them_all(
    stable: TargetSettings, secondary: TargetSettings | None, candidate: TargetSettings, roles: set[Role], control: Control, design: Design
) -> None:
    chosen = parts.replay_targets(Settings(targets=TargetsSettings(stable=stable, secondary=secondary, candidate=candidate)))
    assert set(chosen.specs) == roles
    assert (chosen.control, chosen.design) == (control, design)


def test_the_secondary_that_is_added_has_stables_options() -> None:
    stable = TargetSettings(url="http://127.0.0.1:9", host="rewrite")
    chosen = Settings(targets=TargetsSettings(stable=stable, candidate=URL))
    assert parts.target_settings(chosen, Role.SECONDARY) is stable
    assert parts.target_settings(chosen, Role.CANDIDATE) is URL
    assert parts.target_settings(Settings(), Role.CANDIDATE) is None


def test_a_target_is_spoken_to_as_its_options_say() -> None:
    address, host = parts.address_of("https://shop.test", TargetSettings(host="rewrite", verify=False, ca_file="ca.pem"))
    assert (address.tls, address.verify, address.ca_file, host) == (True, False, "ca.pem", HostRule.REWRITE)
    told = TargetSettings(server_name="shop", client_cert="c.pem", client_key="k.pem")
    address, _ = parts.address_of("https://shop.test", told)
    assert (address.server_name, address.client_cert, address.client_key) == ("shop", "c.pem", "k.pem")
    address, host = parts.address_of("http://shop.test:8080", None)
    assert (str(address), host) == ("http://shop.test:8080", HostRule.KEEP)
    with pytest.raises(UsageError):
        parts.address_of("gopher://shop.test", None)


def test_a_run_has_a_name_that_sorts_by_time_and_a_seed_that_is_kept() -> None:
    first = parts.identity(SystemClock(), None)
    second = parts.identity(SystemClock(), 7)
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", first.id)
    assert first.id != second.id
    assert first.id[:15] <= second.id[:15]
    assert second.seed == 7
    assert 0 <= first.seed < 2**32


def test_each_use_of_chance_is_repeated_by_the_seed_and_apart_from_the_others() -> None:
    run = Identity(id="r", started=0, seed=3)
    draws = {use: parts.rng_of(run, use).random() for use in ("live", "pass0", "pass1")}
    assert len(set(draws.values())) == 3
    assert draws == {use: parts.rng_of(run, use).random() for use in draws}


def test_ids_count_up() -> None:
    ids = CountedIds()
    assert [ids.next_id() for _ in range(3)] == ["t0", "t1", "t2"]


@pytest.mark.parametrize(
    ("store", "folder"),
    [
        (StoreSettings(), ("shadowdiff-runs", "r1")),
        (StoreSettings(dir="a/b"), ("a/b", "r1")),
        (StoreSettings(run_dir="a/b/c"), ("a/b", "c")),
    ],
)
def test_the_run_directory_is_where_it_was_asked_for(store: StoreSettings, folder: tuple[str, str]) -> None:
    base, name = parts.run_folder(Settings(store=store), Identity(id="r1", started=0, seed=0))
    assert (str(base), name) == folder


def test_a_rule_that_is_wrong_is_said_before_the_run() -> None:
    with pytest.raises(UsageError):
        parts.plan_of(Settings(rules=(Rule(action=RuleAction.TOLERANCE, path="$.["),)))
    assert parts.plan_of(Settings()).comparator_for("application/json") is not None


def test_redaction_hashes_with_a_key_of_the_run() -> None:
    first, second = (parts.redactor_of(RedactSettings(names=("colour",))) for _ in range(2))
    assert first.value("colour", "red") == first.value("colour", "red") != second.value("colour", "red")
    assert first.value("shape", "round") == "round"
    assert parts.redactor_of(RedactSettings(enabled=False)).value("password", "x") == "x"


@pytest.mark.parametrize(
    ("name", "mode", "found"),
    [
        (None, RunMode.GATE, "default"),
        (None, RunMode.DEMO, "default"),
        (None, RunMode.PROXY, "rollout"),
        ("default", RunMode.PROXY, "default"),
    ],
)
def test_a_run_without_a_policy_gets_that_of_its_mode(name: str | None, mode: RunMode, found: str) -> None:
    assert parts.policy_of(name, mode).policy.name == found


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        (Settings(), ""),
        (Settings(targets=TargetsSettings(candidate=URL)), ""),
        (Settings(targets=TargetsSettings(candidate=TargetSettings(url="http://x", build="pr-7"))), "pr-7"),
        (Settings(targets=TargetsSettings(candidate=TargetSettings(url="http://x", build="pr-7")), build="v2"), "v2"),
    ],
)
def test_the_build_is_called_what_it_was_called(settings: Settings, label: str) -> None:
    assert parts.build_label(settings) == label


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("api.yaml", "openapi: 3.0.0\npaths:\n  /shelves/{shelf}: {get: {}}\n"),
        ("api.json", '{"openapi": "3.0.0", "paths": {"/shelves/{shelf}": {"get": {}}}}'),
    ],
)
def test_openapi_paths_are_templates_after_those_of_the_configuration(name: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    mapper = parts.mapper_of(EndpointSettings(templates=("/shelves/top",), openapi=str(file)), ["shop.test"])
    assert mapper.endpoint(get("/shelves/left")) == "GET /shelves/{shelf}"
    assert mapper.endpoint(get("/shelves/top")) == "GET /shelves/top"
    assert parts.mapper_of(EndpointSettings()).endpoint(get("/shelves/left")) == "GET /shelves/left"


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("none.yaml", None, SetupError),
        ("cut.json", b'{"paths": ', UsageError),
        ("cut.yaml", b"paths: [", UsageError),
        ("bytes.yaml", b"\xff\xfe\x00", UsageError),
        ("list.yaml", b"- 1\n", UsageError),
        ("empty.yaml", b"", UsageError),
        ("deep.json", b"[" * 100_000, UsageError),
        ("other.json", b'{"swagger": "2.0"}', UsageError),
    ],
)
def test_what_is_no_openapi_file_is_said(name: str, content: bytes | None, error: type[ShadowdiffError], tmp_path: Path) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(error) as caught:
        parts.mapper_of(EndpointSettings(openapi=str(file)))
    assert caught.value.fix


def test_bytes_that_are_no_text_are_written_out() -> None:
    assert parts.writable("a\udcff é 日本") == "a\\udcff é 日本"


def test_every_target_option_reaches_a_part() -> None:
    """A key that is declared and read by nobody would be a promise that is not kept."""
    fields: dict[str, Any] = {name: getattr(COMMAND, name) for name in TargetSettings.__struct_fields__}
    assert set(fields) - set(COMMAND.spec_fields()) == {
        "host",
        "ca_file",
        "verify",
        "build",
        "production",
        "client_cert",
        "client_key",
        "server_name",
    }
