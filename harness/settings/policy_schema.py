"""The JSON Schema of a policy, derived from its struct and the ranges of its numbers. Pure; `config schema --policy` prints it."""

import json
from typing import Any, Final

import msgspec

from harness.core.limits import LABEL_CHARS_MAX, LABELS_MAX
from harness.evidence.conditions import CONDITIONS_MAX
from harness.evidence.hard_rules import EFFECT_RULES_MAX
from harness.evidence.policy import Policy
from harness.settings.policies import EFFECT_RANGES, PRESETS, RANGES, Range
from harness.settings.policy_locks import NOT_LOCKED
from harness.settings.policy_parts import COVERAGE_WANTED_MAX, REQUESTS_MIN_MAX, WHAT_BLOCKS_MAX, settable

SCHEMA_ID: Final = "policy-1.json"
_PATTERN: Final = {"type": "string", "pattern": r"\S"}


def policy_schema() -> dict[str, Any]:
    """The schema of draft 2020-12. What one value says about another (locks, passes_min below passes_max) only the checker knows."""
    schema = msgspec.json.schema(Policy)
    definitions: dict[str, Any] = schema["$defs"]
    root = definitions.pop("Policy")
    properties: dict[str, Any] = root["properties"]
    for name, bounds in RANGES.items():
        properties[name] |= _bounds(bounds)
    properties["preset"]["enum"] = list(PRESETS)
    properties["locked"]["items"] = {"enum": [name for name in Policy.__struct_fields__ if name not in NOT_LOCKED]}
    for name, most in (("effects", EFFECT_RULES_MAX), ("blocks", WHAT_BLOCKS_MAX), ("when", CONDITIONS_MAX)):
        properties[name]["maxItems"] = most
    rule = definitions["EffectRule"]["properties"]
    for name, bounds in EFFECT_RANGES.items():
        rule[name]["anyOf"] = [one | (_bounds(bounds) if one["type"] == "integer" else {}) for one in rule[name]["anyOf"]]
    for pattern in (rule["effect"], rule["endpoint"], definitions["WhatBlocks"]["properties"]["endpoint"]):
        pattern.update(_PATTERN)
    definitions["EffectRule"]["anyOf"] = [{"required": ["at_most"]}, {"required": ["at_least"]}]
    coverage = definitions["CoverageWanted"]["properties"]
    coverage["endpoints"] |= {"items": _PATTERN, "maxItems": COVERAGE_WANTED_MAX}
    coverage["methods"] |= {"items": {"type": "string", "pattern": "^[A-Z][A-Z-]{0,31}$"}, "maxItems": COVERAGE_WANTED_MAX}
    coverage["requests_min"] |= {"minimum": 0, "maximum": REQUESTS_MIN_MAX}
    condition = definitions["Condition"]["properties"]
    condition["labels"] |= {
        "minProperties": 1,
        "maxProperties": LABELS_MAX,
        "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$"},
        "additionalProperties": {"type": ["string", "number"], "maxLength": LABEL_CHARS_MAX},
    }
    condition["set"] = {
        "type": "object",
        "minProperties": 1,
        "properties": {name: {"$ref": f"#/properties/{name}"} for name in settable()},
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **root,
        "title": "a policy of shadowdiff",
        "$defs": definitions,
    }


def policy_schema_text() -> str:
    """The schema as it is kept in config/schemas."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n"


def _bounds(bounds: Range) -> dict[str, float]:
    return {"exclusiveMinimum" if bounds.low_open else "minimum": bounds.low, "maximum": bounds.high}
