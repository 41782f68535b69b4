"""The JSON Schema of a policy: kept in step with the struct, and in step with the checker."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from harness.settings.policies import load_policy
from harness.settings.policy_schema import policy_schema, policy_schema_text
from harness.settings.problems import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = ROOT / "config/policies"


def test_the_schema_on_file_is_the_one_of_the_struct() -> None:
    kept = (ROOT / "config/schemas/policy-1.json").read_text(encoding="utf-8")
    assert kept == policy_schema_text(), "renew it: shadowdiff config schema --policy > config/schemas/policy-1.json"


def test_packaged_policies_are_valid() -> None:
    Draft202012Validator.check_schema(policy_schema())
    for file in PACKAGED.glob("*.yaml"):
        Draft202012Validator(policy_schema()).validate(yaml.safe_load(file.read_text(encoding="utf-8")))


ALIKE: list[tuple[dict[str, Any], bool]] = [
    ({"alpha": 0.01}, True),
    ({"alpha": 0}, False),
    ({"alpha": 0.6}, False),
    ({"alpha": "a"}, False),
    ({"alpah": 0.01}, False),
    ({"preset": "captur"}, False),
    ({"passes_min": 0}, False),
    ({"extends": "strict", "locked": ["delta"]}, True),
    ({"locked": ["name"]}, False),
    ({"effects": [{"effect": "x", "at_most": 0}]}, True),
    ({"effects": [{"effect": "x"}]}, False),
    ({"effects": [{"effect": " ", "at_most": 0}]}, False),
    ({"effects": [{"effect": "x", "at_least": 0}]}, False),
    ({"blocks": [{"block": False, "severity": "minor", "aspect": "headers", "endpoint": "GET *"}]}, True),
    ({"blocks": [{"severity": "minor"}]}, False),
    ({"blocks": [{"block": False, "severity": "small"}]}, False),
    ({"coverage": {"endpoints": ["GET *"], "methods": ["GET"], "requests_min": 10}}, True),
    ({"coverage": {"methods": ["get"]}}, False),
    ({"coverage": {"requests_min": -1}}, False),
    ({"coverage": {"request_min": 1}}, False),
    ({"when": [{"labels": {"author-kind": "ai*"}, "set": {"delta": 0.001}}]}, True),
    ({"when": [{"labels": {}, "set": {"delta": 0.001}}]}, False),
    ({"when": [{"labels": {"a": "b"}, "set": {}}]}, False),
    ({"when": [{"labels": {"a": "b"}, "set": {"delta": 1}}]}, False),
    ({"when": [{"labels": {"a": "b"}, "set": {"when": []}}]}, False),
    ({"when": [{"set": {"delta": 0.001}}]}, False),
    ({"when": [{"labels": {"no good": "b"}, "set": {"delta": 0.001}}]}, False),
]


@pytest.mark.parametrize(("document", "sound"), ALIKE)
def test_schema_and_checker_agree(document: dict[str, Any], sound: bool, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump(document))
    assert Draft202012Validator(policy_schema()).is_valid(document) is sound
    if sound:
        load_policy(str(file), folder=PACKAGED)
    else:
        with pytest.raises(ConfigError):
            load_policy(str(file), folder=PACKAGED)
