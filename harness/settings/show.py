"""The lines of `config show`: every key's effective value and where it came from, secrets not shown. Pure."""

import msgspec

from harness.core.canon import Rule
from harness.settings.keys import Key, all_keys
from harness.settings.load import Loaded
from harness.settings.policies import LoadedPolicy
from harness.settings.schema import Settings

HIDDEN = "(hidden)"
NONE = "(none)"


class Line(msgspec.Struct, frozen=True):
    """One key, its value as text, and its origin."""

    key: str
    value: str
    origin: str


def lines(loaded: Loaded) -> list[Line]:
    """One line for each key, in the order of the schema; a target that is not set is one line."""
    found: list[Line] = []
    absent: set[tuple[str, ...]] = set()
    for path, key in all_keys().items():
        parent = path[:-1]
        if parent in absent:
            continue
        value = _value_at(loaded.settings, path)
        if isinstance(value, _Absent):
            absent.add(parent)
            found.append(Line(".".join(parent), NONE, "default"))
            continue
        if key.name == "rules" and loaded.settings.rules:
            found.extend(_rule_lines(loaded))
            continue
        found.append(Line(key.name, _shown(key, value), loaded.origin(key.name).where))
    return found


def _rule_lines(loaded: Loaded) -> list[Line]:
    """One line for each rule, with what it says beside the defaults."""
    found = []
    for index, rule in enumerate(loaded.settings.rules):
        fields = msgspec.to_builtins(rule)
        default = msgspec.to_builtins(Rule(action=rule.action))
        said = {name: value for name, value in fields.items() if name == "action" or value != default[name]}
        found.append(Line(f"rules[{index}]", msgspec.json.encode(said).decode(), loaded.origin(f"rules[{index}]").where))
    return found


def policy_lines(loaded: LoadedPolicy) -> list[Line]:
    """One line for each key of a policy, with the file and line that gave it; then its digest, and where keys are locked."""
    found = []
    for name, value in msgspec.structs.asdict(loaded.policy).items():
        if name in {"extends", "locked"}:
            continue
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        locked = f" (locked by {loaded.locked[name]})" if name in loaded.locked else ""
        found.append(Line(name, shown, loaded.origins.get(name, "default") + locked))
    return [*found, Line("digest", loaded.digest, str(loaded.file))]


def text(found: list[Line]) -> str:
    """The lines as a table of plain text."""
    key_width = max(len(line.key) for line in found)
    value_width = max(len(line.value) for line in found if len(line.value) <= 40)
    return "\n".join(f"{line.key:<{key_width}}  {line.value:<{value_width}}  {line.origin}" for line in found)


class _Absent:
    """A section that is not there."""


def _value_at(settings: Settings, path: tuple[str, ...]) -> object:
    level: object = settings
    for step in path:
        level = getattr(level, step)
        if level is None and step != path[-1]:
            return _Absent()
    return level


def _shown(key: Key, value: object) -> str:
    if value is None:
        return NONE
    if key.facts.secret and isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {HIDDEN}" for name in value) + "}"
    if key.facts.secret and value:
        return HIDDEN
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value if value.isprintable() and value == value.strip() and value else msgspec.json.encode(value).decode()
    return msgspec.json.encode(_without_secrets(value)).decode()


def _without_secrets(value: object) -> object:
    """Sections within a value, with what is marked as secret in them hidden."""
    if isinstance(value, msgspec.Struct):
        return {
            field.name: HIDDEN if _is_secret(field.type) and getattr(value, field.name) else _without_secrets(getattr(value, field.name))
            for field in msgspec.structs.fields(value)
        }
    if isinstance(value, dict):
        return {name: _without_secrets(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value]
    return msgspec.to_builtins(value)


def _is_secret(kind: object) -> bool:
    return any(isinstance(meta, msgspec.Meta) and (meta.extra or {}).get("secret") for meta in getattr(kind, "__metadata__", ()))
