"""Layers over each other, origins, and all problems at once."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.core.errors import UsageError
from harness.settings.load import CONFIG_FILE, Loaded, Option, find_file, load_settings
from harness.settings.problems import ConfigError


def load(folder: Path, text: str | None = None, environ: Mapping[str, str] | None = None, options: tuple[Option, ...] = ()) -> Loaded:
    if text is not None:
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    return load_settings(folder=folder, environ=environ or {}, options=options)


def problems_of(
    folder: Path, text: str | None = None, environ: Mapping[str, str] | None = None, options: tuple[Option, ...] = ()
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, environ, options)
    return [problem.text().replace(str(folder), "D") for problem in caught.value.problems]


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.file is None
    assert loaded.origins == {}
    assert loaded.origin("replay.passes").where == "default"


def test_options_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "replay:\n  passes: 2\n  concurrency: 2\n  speed: 2\n",
        {"SHADOWDIFF_REPLAY_CONCURRENCY": "3", "SHADOWDIFF_REPLAY_SPEED": "3", "PATH": "x"},
        (
            Option("--speed", "replay.speed", "4x"),
            Option("--skip-broken", "replay.skip_broken", True),
            Option("--host", "replay.hosts", ("A", "b:1")),
        ),
    )
    replay = loaded.settings.replay
    assert (replay.passes, replay.concurrency, replay.speed, replay.skip_broken, replay.hosts) == (2, 3, 4.0, True, ("a", "b:1"))
    assert loaded.origin("replay.passes").where == f"{tmp_path / CONFIG_FILE}:2"
    assert loaded.origin("replay.concurrency").where == "SHADOWDIFF_REPLAY_CONCURRENCY"
    assert [loaded.origin(f"replay.{key}").where for key in ("speed", "skip_broken", "hosts")] == ["--speed", "--skip-broken", "--host"]
    assert [loaded.origin(f"replay.{key}").layer for key in ("passes", "concurrency", "speed", "seed")] == [
        "file",
        "environment",
        "option",
        "default",
    ]


def test_the_file_is_named_by_option_then_environment_then_habit(tmp_path: Path) -> None:
    usual = tmp_path / CONFIG_FILE
    assert find_file(None, tmp_path, {}) is None
    usual.write_text("build: a\n")
    assert find_file(None, tmp_path, {}) == usual
    assert find_file(None, tmp_path, {"SHADOWDIFF_CONFIG": "other.yaml"}) == Path("other.yaml")
    assert find_file(Path("mine.yaml"), tmp_path, {"SHADOWDIFF_CONFIG": "other.yaml"}) == Path("mine.yaml")
    with pytest.raises(UsageError, match="there is no such file"):
        load_settings(file=tmp_path / "none.yaml", environ={})


def test_the_process_environment_and_folder_are_used_when_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHADOWDIFF_BUILD", "b7")
    (tmp_path / CONFIG_FILE).write_text("policy: rollout\n")
    loaded = load_settings()
    assert (loaded.settings.build, loaded.settings.policy) == ("b7", "rollout")
    assert loaded.origin("policy").where == "shadowdiff.yaml:1"


def test_all_problems_of_all_layers_come_at_once(tmp_path: Path) -> None:
    text = """
targets:
  stable: http://127.0.0.1:8000/x
  candidate: {comand: foo, ready_timeout_s: -3}
  secondary: [a]
replay:
  concurency: 3
  passes: aut
  passes: 4
proxy: 7
rules:
  - {action: ignore, key: sku}
  - {action: tolerance}
redact: {patterns: ["("]}
endpoints: {openapi: none.yaml}
polcy: x
"""
    environ = {"SHADOWDIFF_REPLAY_PASES": "secret", "SHADOWDIFF_REPLAY_CONCURRENCY": "many", "SHADOWDIFF_TARGETS_SECONDARY": ""}
    found = problems_of(tmp_path, text, environ, (Option("--speed", "replay.speed", "fast"),))
    beginnings = [
        "D/shadowdiff.yaml:9: passes: given twice; first on line 8",
        "D/shadowdiff.yaml:4: targets.candidate.comand: unknown key",
        "D/shadowdiff.yaml:4: targets.candidate.ready_timeout_s: -3 is too small",
        "D/shadowdiff.yaml:5: targets.secondary: a URL, cmd:COMMAND or keys and values are expected",
        "D/shadowdiff.yaml:7: replay.concurency: unknown key",
        'D/shadowdiff.yaml:8: replay.passes: "aut" is not allowed',
        "D/shadowdiff.yaml:10: proxy: keys and values are expected here",
        'D/shadowdiff.yaml:14: redact.patterns[0]: "(" is not a regular expression',
        "D/shadowdiff.yaml:16: polcy: unknown key",
        'SHADOWDIFF_REPLAY_CONCURRENCY: replay.concurrency: "many" is not a whole number',
        "SHADOWDIFF_TARGETS_SECONDARY: targets.secondary: is no target",
        'SHADOWDIFF_REPLAY_PASES: unknown environment variable; did you mean "SHADOWDIFF_REPLAY_PASSES"?',
        '--speed: replay.speed: "fast" is not allowed',
        "D/shadowdiff.yaml:3: targets.stable: a target is an origin, without a path",
        "D/shadowdiff.yaml:15: endpoints.openapi: there is no file D/none.yaml",
        "D/shadowdiff.yaml:12: rules[0]: `key` belongs to action `unordered`, not to `ignore`",
        "D/shadowdiff.yaml:13: rules[1]: a tolerance needs `absolute`, `relative` or `seconds`",
    ]
    assert len(found) == len(beginnings)
    for problem, beginning in zip(found, beginnings, strict=True):
        assert problem.startswith(beginning)
    assert 'did you mean "command"?' in found[1]
    assert 'did you mean "policy"?' in found[8]
    assert not any("secret" in problem for problem in found)


def test_environment_variables_that_are_no_keys(tmp_path: Path) -> None:
    load(tmp_path, None, {"SHADOWDIFF_ADMIN_TOKEN": "t", "HOME": "h"})
    load(tmp_path, "proxy: {admin_token_env: SHADOWDIFF_MY_TOKEN}\n", {"SHADOWDIFF_MY_TOKEN": "t"})
    assert problems_of(tmp_path, None, {"SHADOWDIFF_ADMIN_TOKEN": "t"})[0].startswith("SHADOWDIFF_ADMIN_TOKEN: unknown")


@pytest.mark.parametrize("text", ["targets: {stable: 'cmd: serve {port}'}", "targets: {stable: {command: 'serve {port}'}}"])
def test_a_target_is_one_text_or_a_mapping(tmp_path: Path, text: str) -> None:
    stable = load(tmp_path, text).settings.targets.stable
    assert stable is not None
    assert (stable.command, stable.url) == ("serve {port}", None)


def test_a_later_address_replaces_either_kind_and_keeps_the_rest(tmp_path: Path) -> None:
    text = "targets: {candidate: {url: 'http://a:1', ready: /up, env: {A: b}}}"
    loaded = load(
        tmp_path, text, {"SHADOWDIFF_TARGETS_CANDIDATE": "http://b:2"}, (Option("--candidate", "targets.candidate", "cmd:new {port}"),)
    )
    candidate = loaded.settings.targets.candidate
    assert candidate is not None
    assert (candidate.url, candidate.command, candidate.ready, candidate.env) == (None, "new {port}", "/up", {"A": "b"})
    assert loaded.origin("targets.candidate.command").where == "--candidate"
    assert "targets.candidate.url" not in loaded.origins
    again = load(tmp_path, None, {"SHADOWDIFF_TARGETS_CANDIDATE_COMMAND": "env {port}"}).settings.targets.candidate
    assert again is not None
    assert (again.url, again.command) == (None, "env {port}")


def test_two_addresses_in_one_layer_are_a_problem(tmp_path: Path) -> None:
    found = problems_of(tmp_path, "targets:\n  stable:\n    url: http://a\n    command: b {port}\n")
    assert found[0].startswith("D/shadowdiff.yaml:3: targets.stable: a target has either a url or a command")


def test_target_problems_point_at_the_key(tmp_path: Path) -> None:
    found = problems_of(tmp_path, 'targets:\n  stable:\n    url: http://a\n    reset: "x \'y"\n  candidate: serve\n')
    assert found[0].startswith("D/shadowdiff.yaml:4: targets.stable.reset: the command cannot be split")
    assert found[1].startswith("D/shadowdiff.yaml:5: targets.candidate: not a target")


def test_a_target_may_be_completed_elsewhere(tmp_path: Path) -> None:
    candidate = load(tmp_path, "targets: {candidate: {ready: /up}}").settings.targets.candidate
    assert candidate is not None
    assert not candidate.has_address


def test_empty_sections_and_lists_count_as_left_out(tmp_path: Path) -> None:
    loaded = load(tmp_path, "replay:\nrules:\nprovenance:\ntargets:\n  stable:\n")
    assert loaded.settings == load(tmp_path / "elsewhere").settings


def test_files_lie_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text("{}")
    (tmp_path / "ca.pem").write_text("")
    text = (
        "targets: {stable: {url: 'https://a', ca_file: ca.pem, cwd: .}}\nendpoints: {openapi: api.yaml}\n"
        "policy: ./mine.yaml\nstore: {dir: /var/runs, run_dir: out}\nproxy: {record: t.gor}\n"
    )
    settings = load(tmp_path, text).settings
    assert settings.targets.stable is not None
    assert settings.targets.stable.ca_file == str(tmp_path / "ca.pem")
    assert settings.targets.stable.cwd == str(tmp_path)
    assert settings.endpoints.openapi == str(tmp_path / "api.yaml")
    assert settings.policy == str(tmp_path / "mine.yaml")
    assert (settings.store.dir, settings.store.run_dir) == ("/var/runs", str(tmp_path / "out"))
    assert settings.proxy.record == str(tmp_path / "t.gor")
    assert load(tmp_path, "policy: rollout\n").settings.policy == "rollout"


def test_a_home_folder_that_nobody_has_is_a_problem_with_its_line(tmp_path: Path) -> None:
    found = problems_of(tmp_path, "replay:\n  captures: [a.har]\npolicy: ~no-such-user-here/strict.yaml\n")
    assert any("yaml:3" in text and "policy" in text and "no home folder for ~no-such-user-here" in text for text in found), found


def test_rules_have_places_wherever_they_come_from(tmp_path: Path) -> None:
    loaded = load(tmp_path, "rules:\n  - {action: ignore, path: $.a}\n  - {action: ignore, path: $.b}\n")
    assert [loaded.origin(f"rules[{i}]").where for i in range(2)] == [f"{tmp_path / CONFIG_FILE}:{line}" for line in (2, 3)]
    loaded = load(tmp_path, None, {"SHADOWDIFF_RULES": "[{action: ignore, path: $.c}]"})
    assert [rule.path for rule in loaded.settings.rules] == ["$.c"]
    assert loaded.origin("rules[0]").where == "SHADOWDIFF_RULES"
    assert problems_of(tmp_path, None, {"SHADOWDIFF_RULES": "[{action: tolerance}]"})[0].startswith(
        "SHADOWDIFF_RULES: rules[0]: a tolerance needs"
    )


def test_an_empty_or_broken_file_is_an_error(tmp_path: Path) -> None:
    for text in ("", "- a\n", "a: [\n"):
        with pytest.raises(UsageError):
            load(tmp_path, text)
