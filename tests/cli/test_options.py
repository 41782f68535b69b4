"""Each option stands for a key, and several errors come at once."""

from pathlib import Path

import click
import pytest

from harness.cli.commands import cli
from harness.cli.options import SettingOption
from harness.settings.keys import all_keys, target_paths
from tests.cli.recorder import App, install, run

GOLDEN = Path(__file__).parent / "golden"
NO_KEY = {"--config", "--quiet", "--debug", "--help", "--version", "--format", "--audit"}
REPLAY = (
    "stable candidate secondary policy out allow-writes concurrency speed passes state host session effects vary skip-broken seed config "
    "expected"
)
SOURCE = "policy-ref require-policy-digest"
LABELS = "label labels-from-git"
EPOCHS = "build build-header version-path epoch"
LIVE = "listen stable candidate secondary record for gate resume admin allow-writes policy out config expected"
PROTECTION = (
    "workers compare-workers ingress mitm-mode mitm-dir mitm-http3 clients-max tls-cert tls-key via forwarded-for "
    "sample sample-key exclude default-exclusions "
    "shadow-rps-max shadow-in-flight-max breaker-errors breaker-latency-ms breaker-open"
)
NO_KEY_OF_DEMO = {"--seed", "--candidate-is-stable", "--out"}
NO_KEY_OF_ACCEPT = {"--reason", "--expires", "--by", "--file", "--root", "--endpoint", "--interactive", "--must-change"}


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> App:
    return install(monkeypatch, tmp_path)


def options_of(command: click.Command) -> list[click.Option]:
    return [option for option in command.params if isinstance(option, click.Option)]


def test_each_option_has_a_key_or_is_known_to_have_none() -> None:
    keys = {key.name for key in all_keys().values()} | {".".join(path) for path in target_paths()}
    for command in cli.commands.values():
        for option in options_of(command):
            name = option.opts[-1] if option.opts[0] == "-q" else option.opts[0]
            if isinstance(option, SettingOption):
                assert option.key in keys
            else:
                assert (
                    name in NO_KEY
                    or (command.name == "demo" and name in NO_KEY_OF_DEMO)
                    or (command.name == "accept" and name in NO_KEY_OF_ACCEPT)
                ), f"{command.name} {name}"


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("gate", f"{REPLAY} {SOURCE} {LABELS} stop-early"),
        ("replay", f"{REPLAY} {SOURCE} {LABELS}"),
        ("proxy", f"{EPOCHS} {LIVE} {SOURCE} {LABELS} {PROTECTION}"),
        ("judge", f"policy {SOURCE} audit config"),
        ("accept", "reason expires by file root endpoint interactive must-change config"),
        ("demo", "seed candidate-is-stable out"),
    ],
)
def test_commands_have_the_options_of_the_contract(command: str, names: str) -> None:
    found = {option.opts[0] for option in options_of(cli.commands[command])} - {"-q", "--debug"}
    assert found == {f"--{name}" for name in names.split()}


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.err.txt").read_text(encoding="utf-8")


def test_what_a_command_needs_and_has_not_is_named(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("gate", "a.har") == 2
    assert capsys.readouterr().err == golden("needed")
    assert run("proxy") == 2
    assert "give --listen, SHADOWDIFF_PROXY_LISTEN or the key proxy.listen" in capsys.readouterr().err
    assert app.calls == []


def test_wrong_options_file_and_environment_are_told_together(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shadowdiff.yaml").write_text("replay: {pases: 2}\n")
    monkeypatch.setenv("SHADOWDIFF_REPLAY_STATE", "fresch")
    assert run("gate", "a.har", "--speed", "fast", "--concurrency", "0", "--stable", "ftp://x", "--candidate", "cmd:x") == 2
    assert capsys.readouterr().err == golden("together")


def test_config_option_names_the_file(app: App, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "show", "--config", "none.yaml") == 2
    assert capsys.readouterr().err.startswith("error: none.yaml: there is no such file")
