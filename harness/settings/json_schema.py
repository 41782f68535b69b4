"""The JSON Schema of the configuration file, derived from the settings structs. Pure; `config schema` prints it."""

import json
from typing import Any, Final

import msgspec
from msgspec import inspect

from harness.settings.keys import all_keys, target_paths
from harness.settings.schema import Settings

SCHEMA_ID: Final = "config-1.json"

_DURATION: Final = {"type": "string", "pattern": r"^\s*(\d+(\.\d+)?|(\d+(\.\d+)?(ms|s|m|h|d))+)\s*$"}
_SPEED: Final = {"type": "string", "pattern": r"^\s*\d+(\.\d+)?x?\s*$"}


def config_schema() -> dict[str, Any]:
    """The schema of draft 2020-12. It also admits what the checker does: targets as text, durations and speeds with a unit."""
    schema = msgspec.json.schema(Settings)
    definitions: dict[str, Any] = schema["$defs"]
    root = definitions.pop("Settings")
    for struct_name, properties in ((name, found.get("properties", {})) for name, found in definitions.items()):
        for name, found in properties.items():
            if struct_name == "TargetsSettings":
                found["anyOf"] = [{"type": "string", "description": "A URL, or cmd:COMMAND."}, *found["anyOf"]]
            form = _form_of(struct_name, name)
            if form == "duration":
                properties[name] = _also(found, _DURATION)
            elif form == "speed":
                found["anyOf"] = [*found["anyOf"], _SPEED]
    for section in root["properties"].values():
        section.pop("default", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **root,
        "title": "shadowdiff.yaml",
        "$defs": definitions,
    }


def config_schema_text() -> str:
    """The schema as it is kept in config/schemas."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def _also(found: dict[str, Any], alternative: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {name: found.pop(name) for name in ("description", "default") if name in found}
    options = found.pop("anyOf", None) or [found]
    return {**kept, "anyOf": [*options, alternative]}


def _form_of(struct_name: str, field: str) -> str:
    for path, key in all_keys().items():
        if path[-1] == field and _struct_names().get(path[:-1]) == struct_name:
            return key.facts.form
    return ""


def _struct_names() -> dict[tuple[str, ...], str]:
    sections = {(field.encode_name,): field.type for field in _fields(Settings)}
    names = {path: kind.cls.__name__ for path, kind in sections.items() if isinstance(kind, inspect.StructType)}
    return names | dict.fromkeys(target_paths(), "TargetSettings")


def _fields(struct: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    kind = inspect.type_info(struct)
    assert isinstance(kind, inspect.StructType)
    return kind.fields
