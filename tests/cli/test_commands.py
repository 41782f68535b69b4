"""The commands: what reaches the wiring, and what their help says."""

from pathlib import Path
from typing import Any

import click
import pytest

from harness.app.audit_log import append
from harness.cli.commands import REPORT_FORMATS, cli
from harness.settings.load import Loaded
from harness.settings.schema import AuditSettings, DemoOptions
from harness.ui import Ui
from tests.cli.recorder import App, install, run

GOLDEN = Path(__file__).parent / "golden"
TARGETS = ("--stable", "http://127.0.0.1:1", "--candidate", "http://127.0.0.1:2")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> App:
    return install(monkeypatch, tmp_path)


def all_commands(group: click.Group = cli, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [words]
    for name, command in group.commands.items():
        found += all_commands(command, (*words, name)) if isinstance(command, click.Group) else [(*words, name)]
    return found


@pytest.mark.parametrize("words", all_commands(), ids=lambda words: "-".join(words) or "shadowdiff")
def test_help_is_as_recorded(words: tuple[str, ...], app: App, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> None:
    """To record anew: delete the files in tests/cli/golden and run the tests once; the first run writes and fails."""
    assert run(*words, "--help") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert max(len(line) for line in shown.out.splitlines()) <= 80
    path = GOLDEN / f"{'-'.join(words) or 'shadowdiff'}.txt"
    if not path.exists():
        path.write_text(shown.out, encoding="utf-8")
        pytest.fail(f"{path.name} was not recorded; it is now: look at it")
    assert shown.out == path.read_text(encoding="utf-8")


def test_only_what_is_built_is_there() -> None:
    assert {" ".join(words) for words in all_commands()} == {
        "",
        "demo",
        "gate",
        "replay",
        "proxy",
        "judge",
        "accept",
        "report",
        "audit",
        "audit verify",
        "capture",
        "capture info",
        "config",
        "config check",
        "config show",
        "config schema",
    }


@pytest.mark.parametrize(("command", "verdict"), [("gate", True), ("replay", False)])
def test_gate_and_replay_reach_the_wiring(app: App, command: str, verdict: bool) -> None:
    app.code = 3
    assert (
        run(
            command,
            "a.har",
            "b.gor",
            *TARGETS,
            "--passes",
            "2",
            "--speed",
            "2x",
            "--host",
            "a",
            "--host",
            "b",
            "--skip-broken",
            "--seed",
            "7",
        )
        == 3
    )
    (name, (loaded, captures, ui), kwargs) = app.calls[0]
    assert (name, kwargs) == ("run_gate", {"verdict": verdict})
    assert isinstance(loaded, Loaded)
    assert captures == (Path("a.har"), Path("b.gor"))
    replay = loaded.settings.replay
    assert (replay.passes, replay.speed, replay.hosts, replay.skip_broken, replay.seed) == (2, 2.0, ("a", "b"), True, 7)
    assert loaded.settings.targets.stable is not None
    assert loaded.settings.targets.stable.url == "http://127.0.0.1:1"
    accepts_ui(ui)


def accepts_ui(ui: Ui) -> None:
    ui.info("")


def test_proxy_reaches_the_wiring(app: App) -> None:
    assert (
        run(
            "proxy",
            "--listen",
            "127.0.0.1:0",
            "--stable",
            "http://a",
            "--for",
            "10m",
            "--record",
            "t.gor",
            "--gate",
            "--admin",
            "",
            "--allow-writes",
        )
        == 0
    )
    (name, (loaded, _ui, read_again), _) = app.calls[0]
    assert name == "run_proxy"
    proxy = loaded.settings.proxy
    assert (proxy.listen, proxy.duration_s, proxy.record, proxy.gate, proxy.admin, proxy.allow_writes) == (
        "127.0.0.1:0",
        600.0,
        "t.gor",
        True,
        None,
        True,
    )
    assert loaded.settings.replay.allow_writes is False
    assert read_again().settings == loaded.settings


def test_demo_reads_no_configuration(app: App, tmp_path: Path) -> None:
    (tmp_path / "shadowdiff.yaml").write_text("- broken\n")
    assert run("demo", "--seed", "5", "--candidate-is-stable", "--out", "d") == 0
    assert run("demo") == 0
    assert [call[1][0] for call in app.calls] == [DemoOptions(seed=5, candidate_is_stable=True, out=Path("d")), DemoOptions()]


def test_config_shows_a_policy_with_where_each_key_came_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("extends: rollout\ndelta: 0.005\nlocked: [delta]\n")
    (tmp_path / "team.yaml").write_text("extends: base.yaml\nbeta: 0.01\n")
    assert run("config", "show", "--policy", "team.yaml") == 0
    shown = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert ["delta", "0.005", "base.yaml:2 (locked by base.yaml:3)"] in shown
    assert ["beta", "0.01", "team.yaml:2"] in shown
    assert ["eps0", "0.01", "default"] in shown
    assert run("config", "schema", "--policy") == 0
    assert '"policy-1.json"' in capsys.readouterr().out


def test_judge_takes_policy_from_option_or_configuration(app: App, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    app.code = 1
    assert run("judge", "run") == 1
    assert run("judge", "run", "--policy", "strict") == 1
    (tmp_path / "shadowdiff.yaml").write_text("policy: rollout\n")
    run("judge", "run")
    assert [(name, args[:2]) for name, args, _ in app.calls] == [
        ("judge_run", (Path("run"), policy)) for policy in (None, "strict", "rollout")
    ]


def test_judge_is_audited_where_it_is_asked_to(app: App, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run("judge", "run")
    run("judge", "run", "--audit")
    assert [any(isinstance(value, AuditSettings) for value in (*args, *named.values())) for _, args, named in app.calls] == [False, True]


def test_audit_verify_checks_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "audit.jsonl"
    done = [append(path, {"run": name}) for name in ("a", "b")]
    assert run("audit", "verify", "audit.jsonl") == 0
    assert run("audit", "verify", "audit.jsonl", "--last", done[1].hash) == 0
    assert run("audit", "verify", "audit.jsonl", "--last", "0" * 64) == 1
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"c"'))
    assert run("audit", "verify", "audit.jsonl") == 1
    assert run("audit", "verify", "none.jsonl") == 4
    assert run("audit", "verify", "audit.jsonl", "--last", "what") == 2


@pytest.mark.parametrize("form", REPORT_FORMATS)
def test_report_takes_a_format(app: App, tmp_path: Path, form: str) -> None:
    (tmp_path / "run").mkdir()
    assert run("report", "run", "--format", form) == 0
    assert app.calls[0][:1] == ("render_report",)
    assert app.calls[0][1][:2] == (Path("run"), form)


def test_capture_info_takes_several(app: App) -> None:
    assert run("capture", "info", "a.har", "b.gor") == 0
    assert app.calls[0][1][0] == (Path("a.har"), Path("b.gor"))


def test_config_commands(app: App, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "check") == 0
    assert capsys.readouterr().err == "no configuration file, so the defaults: no problems\n"
    (tmp_path / "shadowdiff.yaml").write_text("policy: strict\nreplay: {passes: 4}\n")
    assert run("config", "check", "-q") == 0
    assert capsys.readouterr() == ("", "")
    assert run("config", "show") == 0
    shown = capsys.readouterr().out
    assert "shadowdiff.yaml:2" in shown
    assert run("config", "schema") == 0
    assert capsys.readouterr().out == (Path(__file__).parents[2] / "config/schemas/config-1.json").read_text(encoding="utf-8")
    (tmp_path / "shadowdiff.yaml").write_text("policy: strikt\n")
    assert run("config", "check") == 2
    assert 'did you mean "strict"?' in capsys.readouterr().err


def test_version_is_the_installed_one(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("shadowdiff ")


def test_accept_reaches_the_wiring_with_what_it_was_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[Any] = []

    def heard(*given: Any, **more: Any) -> int:
        told.append((given, more))
        return 0

    monkeypatch.setattr("harness.app.accept.accept", heard)
    monkeypatch.chdir(tmp_path)
    words = ["accept", str(tmp_path), "ab12", "--reason", "wanted", "--expires", "2031-12-31", "--root", "cd34", "--endpoint", "GET *"]
    assert run(*[*words, "--must-change", "--by", "Ann", "--file", "e.yaml"]) == 0
    (((what, _), more),) = told
    assert (what.run, what.findings, what.roots, what.endpoints) == (tmp_path, ("ab12",), ("cd34",), ("GET *",))
    assert (what.reason, what.expires, what.by, what.file, what.must_change) == ("wanted", "2031-12-31", "Ann", "e.yaml", True)
    assert more["ask"] is None
    assert run(*[*words, "--interactive"]) == 0
    assert told[1][1]["ask"] is not None
    assert run(*["accept", str(tmp_path), "ab12"]) == 2
