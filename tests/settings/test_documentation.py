"""docs/configuration.md says everything about every key, and its example loads."""

import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from harness.core.canon import Rule, RuleAction
from harness.core.labels import Aspect
from harness.evidence.policy import Policy
from harness.settings.json_schema import config_schema
from harness.settings.keys import CONFIG_ENV, all_keys, env_name, target_paths
from harness.settings.load import load_settings
from harness.settings.policies import RANGES
from tests.settings.reference import options_by_key, tables

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
RENEW = "renew the table with `python -m tests.settings.reference`"


def example() -> str:
    found = re.search(r"```yaml\n(.*?)```", DOC, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("section", tables())
def test_each_key_is_documented_as_it_is(section: str) -> None:
    assert tables()[section] in DOC, RENEW


def test_targets_as_text_and_special_variables_are_documented() -> None:
    for path in target_paths():
        assert f"`{'.'.join(path)}`" in DOC
        assert f"`{env_name(path)}`" in DOC
        assert f"`--{path[-1]}`" in DOC
    assert CONFIG_ENV in DOC


def test_rules_and_policies_are_documented() -> None:
    names = [*Rule.__struct_fields__, *(str(action) for action in RuleAction), *(str(aspect) for aspect in Aspect)]
    assert [name for name in names if f"`{name}`" not in DOC] == []
    for name in Policy.__struct_fields__:
        assert f"| `{name}` |" in DOC
        if name in RANGES:
            assert f"| `{name}` | {RANGES[name].words()} | `{getattr(Policy(), name):g}` |" in DOC


def test_the_example_loads_and_fits_the_schema(tmp_path: Path) -> None:
    file = tmp_path / "shadowdiff.yaml"
    file.write_text(example(), encoding="utf-8")
    loaded = load_settings(file=file, environ={})
    assert loaded.settings.targets.candidate is not None
    assert loaded.settings.targets.candidate.ready_timeout_s == 60
    assert len(loaded.settings.rules) == 4
    document = yaml.safe_load(example())
    document["provenance"] = {name: str(value) for name, value in document["provenance"].items()}
    assert list(Draft202012Validator(config_schema()).iter_errors(document)) == []


def test_every_option_of_a_setting_has_a_key() -> None:
    known = {key.name for key in all_keys().values()} | {".".join(path) for path in target_paths()}
    assert set(options_by_key()) <= known
