"""The JSON Schema: kept in step with the structs, and in step with the checker."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from harness.settings.json_schema import config_schema, config_schema_text
from harness.settings.load import load_settings
from harness.settings.problems import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def test_the_schema_on_file_is_the_one_of_the_structs() -> None:
    kept = (ROOT / "config/schemas/config-1.json").read_text(encoding="utf-8")
    assert kept == config_schema_text(), "renew it: shadowdiff config schema > config/schemas/config-1.json"


def test_it_is_a_valid_schema_and_all_its_references_lead_somewhere() -> None:
    schema = config_schema()
    Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    for name in schema["$defs"]:
        assert f"#/$defs/{name}" in text


ALIKE: list[tuple[dict[str, Any], bool]] = [
    ({"replay": {"passes": "auto", "speed": "2x", "timeout_s": "1m"}}, True),
    ({"replay": {"passes": 3, "speed": 0.5, "timeout_s": 2.5}}, True),
    ({"replay": {"passes": 0}}, False),
    ({"replay": {"speed": "fast"}}, False),
    ({"replay": {"timeout_s": 0}}, False),
    ({"replay": {"timeout_s": "soon"}}, False),
    ({"replay": {"concurency": 1}}, False),
    ({"targets": {"stable": "http://127.0.0.1:1", "candidate": {"command": "serve {port}", "env": {"A": "b"}}}}, True),
    ({"targets": {"stable": 7}}, False),
    ({"proxy": {"duration_s": "10m", "admin": None}}, True),
    ({"rules": [{"action": "ignore", "path": "$.a"}]}, True),
    ({"rules": [{"path": "$.a"}]}, False),
    ({"store": {"keep": "some"}}, False),
    ({"unknown": 1}, False),
]


@pytest.mark.parametrize(("document", "sound"), ALIKE)
def test_schema_and_checker_agree(document: dict[str, Any], sound: bool, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(document))
    assert Draft202012Validator(config_schema()).is_valid(document) is sound
    if sound:
        load_settings(file=file, environ={})
    else:
        with pytest.raises(ConfigError):
            load_settings(file=file, environ={})
