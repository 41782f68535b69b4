"""The tables of docs/configuration.md, derived from the schema: `python -m tests.settings.reference` prints them anew."""

import json

from harness.cli.commands import cli
from harness.cli.options import SettingOption
from harness.settings.keys import Key, all_keys, describe, env_name, target_paths

ROLE = "ROLE"


def options_by_key() -> dict[str, list[str]]:
    """The options that set each key, with the commands that have them."""
    found: dict[str, list[str]] = {}
    for command in cli.commands.values():
        for option in command.params:
            if isinstance(option, SettingOption) and option.opts[0] not in found.setdefault(option.key, []):
                found[option.key].append(option.opts[0])
    return found


def _default(key: Key) -> str:
    value = key.default
    if value is None or value in ((), {}, ""):
        return "none"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def row(key: Key) -> str:
    """One line of a table."""
    name, env = key.name, key.env
    if key.path[0] == "targets":
        name = ".".join((key.path[0], ROLE, *key.path[2:]))
        env = env_name((key.path[0], ROLE, *key.path[2:]))
    options = ", ".join(f"`{option}`" for option in options_by_key().get(key.name, []))
    kind = describe(key.type, key.facts.form)
    return f"| `{name}` | {kind} | {_default(key)} | {key.facts.doc} | `{env}` | {options} |"


def tables() -> dict[str, str]:
    """By section, in the order of the schema."""
    rows: dict[str, list[str]] = {}
    for key in all_keys().values():
        if key.path[0] == "targets" and key.path[1] != "stable":
            continue
        section = key.path[0] if len(key.path) > 1 else "the whole run"
        rows.setdefault(section, []).append(row(key))
    head = "| key | value | default | meaning | environment | option |\n|---|---|---|---|---|---|\n"
    return {section: head + "\n".join(lines) + "\n" for section, lines in rows.items()}


def target_rows() -> list[str]:
    """The targets as one text each."""
    return [f"`{'.'.join(path)}`" for path in target_paths()]


if __name__ == "__main__":
    for title, table in tables().items():
        print(f"### {title}\n\n{table}")
