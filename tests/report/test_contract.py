"""What is checked in agrees with the code, and the schema with its examples."""

import json
from enum import StrEnum
from typing import Any

import jsonschema
import pytest

from harness.core import labels
from harness.core.canon import RuleAction
from harness.report.model import EffectMark, decode_report, encode_report
from harness.resources import read_config
from tests.report import contract, samples

SCHEMA: dict[str, Any] = json.loads(read_config("schemas/report-1.json"))


@pytest.mark.parametrize("name", sorted(contract.files()))
def test_checked_in_files_are_what_the_code_makes(name: str) -> None:
    path = contract.ROOT / name
    assert path.read_bytes() == contract.files()[name](), f"run: python -m tests.report.contract ({name})"


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", sorted(samples.REPORTS))
def test_examples_are_valid_and_survive_a_round_trip(name: str) -> None:
    data = read_config(f"schemas/examples/report-{name}.json")
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(data))
    assert json.loads(data)["verdict"] == name
    assert encode_report(decode_report(data)) == data


def test_a_replay_is_valid_with_a_null_verdict() -> None:
    document = json.loads(encode_report(samples.replay_report()))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["verdict"] is None


@pytest.mark.parametrize(
    ("title", "enumeration"),
    [
        ("Kind", labels.Kind),
        ("Severity", labels.Severity),
        ("FindingClass", labels.FindingClass),
        ("ReasonCode", labels.ReasonCode),
        ("SkipReason", labels.SkipReason),
        ("ShedReason", labels.ShedReason),
        ("RefusedReason", labels.RefusedReason),
        ("Aspect", labels.Aspect),
        ("Control", labels.Control),
        ("Role", labels.Role),
        ("RunMode", labels.RunMode),
        ("VerdictState", labels.VerdictState),
        ("RuleAction", RuleAction),
        ("EffectsSeen", labels.EffectsSeen),
        ("EffectMark", EffectMark),
    ],
)
def test_enums_of_the_schema_are_the_labels(title: str, enumeration: type[StrEnum]) -> None:
    assert sorted(SCHEMA["$defs"][title]["enum"]) == sorted(enumeration)


@pytest.mark.parametrize(
    "path",
    [("findings", 0, "kind"), ("findings", 0, "class"), ("findings", 0, "severity"), ("reasons", 0, "code"), ("verdict",), ("schema",)],
)
def test_a_label_outside_the_closed_sets_is_refused(path: tuple[str | int, ...]) -> None:
    document = json.loads(encode_report(samples.fail_report()))
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = "invented"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


@pytest.mark.parametrize("group", ["shed", "skipped", "refused"])
def test_an_unknown_outcome_reason_is_refused(group: str) -> None:
    document = json.loads(encode_report(samples.pass_report()))
    document["totals"][group] = {"boredom": 3}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


def test_keys_of_the_design_are_there() -> None:
    document = json.loads(encode_report(samples.fail_report()))
    keys = {
        "schema", "verdict", "reasons", "run", "policy", "control", "totals", "errors", "passes", "bound", "endpoints", "findings",
        "noise", "unused_rules", "blocking", "blind", "coverage",
    }  # fmt: skip
    assert keys <= set(document)
    assert set(document["reasons"][0]) == {"code", "message", "finding", "next_step"}
    assert {"id", "started", "seconds", "mode", "targets", "build", "seed", "version", "provenance"} <= set(document["run"])
    assert {"name", "digest", "alpha", "beta", "delta"} <= set(document["policy"])
    assert {"requests", "compared", "diverged", "shed", "skipped", "refused"} <= set(document["totals"])
    finding = document["findings"][0]
    wanted = {
        "id", "endpoint", "aspect", "path", "kind", "class", "severity", "compared", "diverged", "control_diverged", "log10_e",
        "log10_threshold", "rate", "interval", "slice", "root", "decided_at", "exemplars",
    }  # fmt: skip
    assert wanted <= set(finding)
    assert {"request", "stable", "candidate", "secondary", "command"} <= set(finding["exemplars"][0])
    latency = document["endpoints"][0]["latency"]
    assert {"targets", "ratio", "interval"} <= set(latency)
    assert set(latency["targets"]["candidate"]) == {"p50_ms", "p90_ms", "p99_ms"}
    assert set(latency["interval"]) == {"low", "high", "level"}
    assert {"hypothesis", "more_requests"} == set(document["blocking"][0])
    assert {"endpoints", "methods", "status_classes"} <= set(document["coverage"])
