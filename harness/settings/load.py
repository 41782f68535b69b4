"""Builds the settings from their layers: defaults, file, environment, options; each over the one before it."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import inspect

from harness.core.canon import Rule, rule_problems
from harness.core.errors import UsageError
from harness.core.home import expanded
from harness.settings import keys
from harness.settings.check import Checker, Invalid, Value
from harness.settings.forms import is_policy_file
from harness.settings.keys import CONFIG_ENV, ENV_PREFIX, Facts, Key, all_keys, env_name, target_paths
from harness.settings.problems import ConfigError, Problem, closest, preview
from harness.settings.schema import AuditSettings, Settings, TargetSettings
from harness.settings.tree import Entry, MappingNode, Node, Scalar, SequenceNode, read_yaml_file
from harness.targets.spec import COMMAND_PREFIX, parse_target

CONFIG_FILE: Final = "shadowdiff.yaml"
"""Read from the current folder when no other file is named."""

_ADMIN_TOKEN_ENV: Final = ("proxy", "admin_token_env")


class Option(msgspec.Struct, frozen=True):
    """What a command line says of one key. `name` is the option as typed, `text` what follows it (several: a list)."""

    name: str
    key: str
    text: str | bool | tuple[str, ...]


class Origin(msgspec.Struct, frozen=True):
    """Where a value came from: `default`, a file and line, an environment variable or an option."""

    layer: str
    where: str


DEFAULT: Final = Origin("default", "default")


class Loaded(msgspec.Struct, frozen=True):
    """Settings, and where each key's value came from (keys without an entry have their default)."""

    settings: Settings
    origins: dict[str, Origin]
    file: Path | None = None

    def origin(self, key: str) -> Origin:
        """Where the value of a key came from."""
        return self.origins.get(key, DEFAULT)


def find_file(explicit: Path | None, folder: Path, environ: Mapping[str, str]) -> Path | None:
    """The configuration file: the one named by option or SHADOWDIFF_CONFIG, else `shadowdiff.yaml` in `folder` if it is there."""
    if explicit is not None:
        return explicit
    if named := environ.get(CONFIG_ENV, "").strip():
        return Path(named)
    usual = folder / CONFIG_FILE
    return usual if usual.exists() else None


def load_settings(
    *, file: Path | None = None, folder: Path | None = None, environ: Mapping[str, str] | None = None, options: Iterable[Option] = ()
) -> Loaded:
    """The settings of a command, all layers checked together.

    `file` is the file named by `--config`; `folder` is where the usual file is looked for (default: the current one).
    Raises ConfigError with every problem at once, or UsageError where the file cannot be read at all.
    """
    environ = os.environ if environ is None else environ
    path = find_file(file, Path() if folder is None else folder, environ)
    layers = _Layers()
    if path is not None:
        layers.read_file(path)
    layers.read_environment(environ)
    layers.read_options(options)
    return layers.result(path)


class _Layers:
    """The values given so far, by key path, with their origins; a later layer replaces the earlier one's."""

    def __init__(self) -> None:
        self._values: dict[keys.Path, Value] = {}
        self._origins: dict[keys.Path, Origin] = {}
        self._rule_places: list[str] = []
        self._problems: list[Problem] = []

    def read_file(self, path: Path) -> None:
        root = read_yaml_file(path, self._problems)
        self._section(Checker(str(path), self._problems), root, keys.settings_type(), (), path)

    def read_environment(self, environ: Mapping[str, str]) -> None:
        by_env = {key.env: key for key in all_keys().values()}
        targets = {env_name(path): path for path in target_paths()}
        unknown: list[str] = []
        # Names in order, so that a target's text comes before its single keys and problems are listed alike each time.
        for name in sorted(environ):
            if not name.startswith(ENV_PREFIX) or name == CONFIG_ENV:
                continue
            node = Scalar(environ[name], environ[name], typed=False)
            checker, origin = Checker(name, self._problems), Origin("environment", name)
            if name in targets:
                self._target_text(checker, node, targets[name], origin)
            elif name in by_env:
                self._leaf(checker, node, by_env[name], origin)
            else:
                unknown.append(name)
        token_env = self._values.get(_ADMIN_TOKEN_ENV, all_keys()[_ADMIN_TOKEN_ENV].default)
        known = [CONFIG_ENV, *targets, *by_env]
        for name in unknown:
            if name != token_env:
                self._problems.append(Problem(name, "", "unknown environment variable", closest=closest(name, known)))

    def read_options(self, options: Iterable[Option]) -> None:
        by_name = {key.name: key for key in all_keys().values()}
        for option in options:
            checker, origin = Checker(option.name, self._problems), Origin("option", option.name)
            path = tuple(option.key.split("."))
            if path in target_paths():
                text = str(option.text)
                self._target_text(checker, Scalar(text, text, typed=False), path, origin)
                continue
            node = _option_pairs(option, checker) if isinstance(by_name[option.key].type, inspect.DictType) else _option_node(option)
            self._leaf(checker, node, by_name[option.key], origin)

    def result(self, path: Path | None) -> Loaded:
        tree: dict[str, Value] = {}
        for key_path, value in self._values.items():
            level = tree
            for step in key_path[:-1]:
                below = level.setdefault(step, {})
                assert isinstance(below, dict)
                level = below
            level[key_path[-1]] = value
        settings = msgspec.convert(tree, Settings)
        self._check_targets(settings)
        self._check_files()
        self._check_rules(settings.rules)
        self._check_audit(settings.audit)
        if self._problems:
            raise ConfigError(self._problems, fix="`shadowdiff config schema` prints every key, `docs/configuration.md` explains them")
        origins = {".".join(key_path): origin for key_path, origin in self._origins.items()}
        for index, place in enumerate(self._rule_places):
            origins[f"rules[{index}]"] = Origin(origins["rules"].layer, place)
        return Loaded(settings, origins, path)

    def _section(self, checker: Checker, node: Node, struct: inspect.StructType, path: keys.Path, file: Path) -> None:
        name = ".".join(path)
        fields = {field.encode_name: field for field in struct.fields}
        if isinstance(node, Scalar) and node.value is None and path:
            return
        if isinstance(node, Scalar) and keys.is_target(struct):
            self._target_text(checker, node, path, Origin("file", checker.at(node)))
            return
        if not isinstance(node, MappingNode):
            what = "a URL, cmd:COMMAND or keys and values are expected" if keys.is_target(struct) else "keys and values are expected here"
            checker.report(node, name, what, allowed=", ".join(fields))
            return
        for entry in node.entries:
            below = (*path, entry.key)
            if entry.key not in fields:
                checker.unknown_key(entry, ".".join(below), list(fields))
                continue
            section = keys.section_of(fields[entry.key].type)
            if section is not None:
                self._section(checker, entry.node, section, below, file)
            else:
                self._leaf(checker, entry.node, all_keys()[below], Origin("file", checker.at(entry)), file=file)

    def _leaf(self, checker: Checker, node: Node, key: Key, origin: Origin, *, file: Path | None = None) -> None:
        if isinstance(node, Scalar) and node.value is None and isinstance(key.type, inspect.VarTupleType | inspect.DictType):
            return  # a key whose list was commented out
        value = checker.value(node, key.type, key.name, key.facts)
        if isinstance(value, Invalid):
            return
        if file is not None and isinstance(value, str):
            try:
                value = _beside(file, value, key.facts)
            except UsageError as error:
                checker.report(node, key.name, error.what, allowed=error.fix)
                return
        if key.name == "rules":
            self._rule_places = _places(checker, node, value)
        if key.path[0] == "targets" and key.path[-1] in {"url", "command"}:
            self._forget_address(key.path[:2], origin.layer)
        self._values[key.path] = value
        self._origins[key.path] = origin

    def _target_text(self, checker: Checker, node: Scalar, path: keys.Path, origin: Origin) -> None:
        """A target given as one text. What else is known of the target stays."""
        if not isinstance(node.value, str) or not node.text.strip():
            checker.report(node, ".".join(path), "is no target", allowed="a URL, or cmd:COMMAND")
            return
        text = node.text.strip()
        field = "command" if text.startswith(COMMAND_PREFIX) else "url"
        self._forget_address(path, "")
        self._values[(*path, field)] = text.removeprefix(COMMAND_PREFIX).strip()
        self._origins[(*path, field)] = origin

    def _forget_address(self, path: keys.Path, layer: str) -> None:
        """A new address replaces the one of an earlier layer, whichever kind it was; two in one layer are left, to be reported."""
        for field in ("url", "command"):
            below = (*path, field)
            if below in self._values and self._origins[below].layer != layer:
                del self._values[below], self._origins[below]

    def _check_targets(self, settings: Settings) -> None:
        for role in ("stable", "secondary", "candidate"):
            target: TargetSettings | None = getattr(settings.targets, role)
            if target is None or not target.has_address:
                continue
            try:
                parse_target(target.spec_fields(), where=f"targets.{role}")
            except UsageError as error:
                place = next((str(o.where) for p, o in self._origins.items() if ".".join(p) == error.where), None)
                place = place or next(
                    o.where for p, o in self._origins.items() if p[:2] == ("targets", role) and p[2] in {"url", "command"}
                )
                self._problems.append(Problem(place, error.where, error.what, fix=error.fix))

    def _check_rules(self, rules: tuple[Rule, ...]) -> None:
        for index, (rule, place) in enumerate(zip(rules, self._rule_places, strict=True)):
            self._problems.extend(Problem(place, f"rules[{index}]", what) for what in rule_problems(rule))

    def _check_audit(self, audit: AuditSettings) -> None:
        if audit.required and not audit.file.strip():
            place = self._origins[("audit", "required")].where
            self._problems.append(Problem(place, "audit.required", "no verdict can be written down: audit.file is empty"))

    def _check_files(self) -> None:
        for path, value in self._values.items():
            if all_keys()[path].facts.form == "input_file" and isinstance(value, str) and not Path(value).is_file():
                self._problems.append(Problem(self._origins[path].where, ".".join(path), f"there is no file {value}"))


def _places(checker: Checker, node: Node, value: Value) -> list[str]:
    """Where each rule stands; rules given as bare text all stand where the text does."""
    if isinstance(node, SequenceNode):
        return [checker.at(item) for item in node.items]
    return [checker.at(node)] * (len(value) if isinstance(value, list) else 0)


def _option_node(option: Option) -> Node:
    if isinstance(option.text, bool):
        return Scalar(option.text, str(option.text).lower())
    if isinstance(option.text, tuple):
        return SequenceNode(tuple(Scalar(text, text, typed=False) for text in option.text))
    return Scalar(option.text, option.text, typed=False)


def _option_pairs(option: Option, checker: Checker) -> Node:
    """`KEY=VALUE`, given once or several times; a value may hold commas."""
    texts = option.text if isinstance(option.text, tuple) else (str(option.text),)
    entries: dict[str, Entry] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        entry = Entry(name.strip(), 0, Scalar(value.strip(), value.strip(), typed=False))
        if not equals or not entry.key:
            checker.report(entry, option.key, f"{preview(text)} is not of the form KEY=VALUE")
        elif entry.key in entries:
            checker.report(entry, option.key, f"{preview(entry.key)} is given twice")
        entries[entry.key] = entry
    return MappingNode(tuple(entries.values()))


def _beside(file: Path, value: str, facts: Facts) -> str:
    """A file named in the configuration lies beside it, wherever the command runs."""
    if facts.form in {"file", "input_file"} or (facts.form == "policy" and is_policy_file(value)):
        return str(file.parent / expanded(value))
    return value
