"""Says what a command cannot do without and was not given, all at once. Pure."""

from collections.abc import Iterable, Mapping

from harness.settings.keys import env_name
from harness.settings.problems import ConfigError, Problem
from harness.settings.schema import Settings, TargetSettings


def check_needed(settings: Settings, needed: Iterable[str], *, command: str, options: Mapping[str, str]) -> None:
    """Raises ConfigError naming every key of `needed` that has no value; a target given in part is told apart from none.

    `options` has the command's option for each key that has one.
    """
    problems = [_missing(key, command, options) for key in needed if _value(settings, key) is None]
    for role in ("stable", "secondary", "candidate"):
        target: TargetSettings | None = getattr(settings.targets, role)
        if target is not None and not target.has_address:
            problems.append(_missing(f"targets.{role}", command, options, what="has neither url nor command"))
    if problems:
        raise ConfigError(problems)


def _value(settings: Settings, key: str) -> object:
    level: object = settings
    for step in key.split("."):
        level = getattr(level, step)
    return level


def _missing(key: str, command: str, options: Mapping[str, str], what: str = "") -> Problem:
    ways = [options[key]] if key in options else []
    ways.append(f"{env_name(tuple(key.split('.')))} or the key {key}")
    what = what or f"is needed by `{command}` and was not given"
    return Problem("", key, what, fix="give " + ", ".join(ways))
