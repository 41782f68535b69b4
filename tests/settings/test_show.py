"""`config show`: every key once, with its origin, secrets hidden."""

from pathlib import Path

from harness.settings.keys import all_keys
from harness.settings.load import Option, load_settings
from harness.settings.show import HIDDEN, lines, text

CONFIG = """
targets:
  candidate: {command: "serve {port}", env: {API_TOKEN: s3cret}}
proxy: {duration_s: 90s}
rules:
  - {action: tolerance, path: $.total, absolute: 0.5}
build: "two\\nlines"
"""


def shown(tmp_path: Path) -> dict[str, tuple[str, str]]:
    file = tmp_path / "c.yaml"
    file.write_text(CONFIG)
    loaded = load_settings(file=file, environ={"SHADOWDIFF_REPLAY_SEED": "7"}, options=[Option("--host", "replay.hosts", ("a",))])
    return {line.key: (line.value, line.origin.replace(str(tmp_path), "D")) for line in lines(loaded)}


def test_each_key_has_its_value_and_origin(tmp_path: Path) -> None:
    found = shown(tmp_path)
    assert found["targets.stable"] == found["targets.secondary"] == ("(none)", "default")
    assert found["targets.candidate.command"] == ("serve {port}", "D/c.yaml:3")
    assert found["proxy.duration_s"] == ("90", "D/c.yaml:4")
    assert found["replay.seed"] == ("7", "SHADOWDIFF_REPLAY_SEED")
    assert found["replay.hosts"] == ('["a"]', "--host")
    assert found["replay.passes"] == ("auto", "default")
    assert found["rules[0]"] == ('{"action":"tolerance","path":"$.total","absolute":0.5}', "D/c.yaml:6")
    assert found["build"] == ('"two\\nlines"', "D/c.yaml:7")
    rest = {key.name for key in all_keys().values() if not key.name.startswith(("targets.stable.", "targets.secondary.", "rules"))}
    assert rest <= set(found)


def test_environment_values_are_hidden(tmp_path: Path) -> None:
    assert shown(tmp_path)["targets.candidate.env"][0] == f"{{API_TOKEN: {HIDDEN}}}"
    assert "s3cret" not in str(shown(tmp_path))


def test_what_a_stub_answers_is_hidden(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    host = '{upstream: "10.0.0.1:80", stub_headers: {Set-Cookie: s3cret}, stub_body: s3cret}'
    file.write_text(f"effects: {{http: {{hosts: {{pay.example: {host}}}}}}}\n")
    (line,) = [line for line in lines(load_settings(file=file, environ={})) if line.key == "effects.http.hosts"]
    assert "s3cret" not in line.value
    assert f'"stub_body":"{HIDDEN}"' in line.value
    assert '"upstream":"10.0.0.1:80"' in line.value


def test_text_is_a_table_of_single_lines(tmp_path: Path) -> None:
    found = lines(load_settings(folder=tmp_path, environ={}))
    rows = text(found).splitlines()
    assert len(rows) == len(found)
    assert all(row.endswith("  default") for row in rows)
    assert len({row.index("(none)") for row in rows if "(none)" in row}) == 1
