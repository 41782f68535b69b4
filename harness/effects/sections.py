"""Reading a collector's section of the configuration into its options, with all problems at once. Pure."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar, get_type_hints

import msgspec

from harness.core.errors import UsageError

CONFIGURATION_FIX: Final = "docs/configuration.md explains the keys"
T = TypeVar("T", bound=msgspec.Struct)


def read_section(
    kind: type[T], given: Mapping[str, object], where: str, check: Callable[[T], Iterable[str]], fix: str = CONFIGURATION_FIX
) -> T:
    """The options `kind` of the section `where` (`effects.NAME`).

    `check` says what else is wrong with options of the right types, each as `key: what`. Keys that were refused before have
    their default then, and what it says of them, or of one that was probably meant, is left out.
    Raises UsageError that names every problem with its key.
    """
    types = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    problems: list[str] = []
    refused: set[str] = set()
    for key, value in given.items():
        if key not in types:
            near = difflib.get_close_matches(str(key), types, n=1)
            refused.update(near)
            problems.append(f"{key}: unknown key" + (f', did you mean "{near[0]}"?' if near else f"; there are {', '.join(types)}"))
            continue
        try:
            values[key] = msgspec.convert(value, types[key], strict=True)
        except msgspec.ValidationError as error:
            refused.add(key)
            problems.append(f"{key}: {error}")
    options = kind(**values)
    refused -= values.keys()
    problems += [problem for problem in check(options) if problem.partition(":")[0] not in refused]
    if not problems:
        return options
    if len(problems) == 1:
        key, _, what = problems[0].partition(": ")
        raise UsageError(what, where=f"{where}.{key}", fix=fix)
    raise UsageError("; ".join(f"{where}.{problem}" for problem in problems), where=where, fix=fix)


def of_role(text: str, role: str) -> str:
    """A text of the configuration for one target: `{role}` filled in."""
    return text.replace("{role}", role)
