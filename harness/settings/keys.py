"""The table of all keys, derived from the schema: path, environment variable, type, default, meaning."""

import functools
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import inspect

from harness.core.canon import Rule
from harness.settings.forms import FORM_WORDS
from harness.settings.schema import Settings, TargetSettings

Path = tuple[str, ...]

ENV_PREFIX: Final = "SHADOWDIFF_"
CONFIG_ENV: Final = "SHADOWDIFF_CONFIG"
"""Names the configuration file; not a key of the file itself."""


class Facts(msgspec.Struct, frozen=True):
    """What the schema says of a type beside the type itself."""

    form: str = ""
    secret: bool = False
    doc: str = ""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key that can be set."""

    path: Path
    type: inspect.Type
    """Without the metadata around it."""
    facts: Facts
    default: object

    @property
    def name(self) -> str:
        """Dotted, as in messages."""
        return ".".join(self.path)

    @property
    def env(self) -> str:
        """Its environment variable."""
        return env_name(self.path)


def env_name(path: Path) -> str:
    """The environment variable of a key path."""
    return ENV_PREFIX + "_".join(path).upper()


def unwrap(kind: inspect.Type) -> tuple[inspect.Type, Facts]:
    """A type without its metadata, and what the metadata says."""
    if not isinstance(kind, inspect.Metadata):
        return kind, Facts()
    extra = kind.extra or {}
    doc = str((kind.extra_json_schema or {}).get("description", ""))
    return kind.type, Facts(form=str(extra.get("form", "")), secret=bool(extra.get("secret", False)), doc=doc)


def section_of(kind: inspect.Type) -> inspect.StructType | None:
    """The struct that a field holds (or may hold, for a target), None where the field is a value."""
    kind, _ = unwrap(kind)
    if isinstance(kind, inspect.UnionType):
        return next((option for option in kind.types if isinstance(option, inspect.StructType)), None)
    return kind if isinstance(kind, inspect.StructType) else None


def is_target(section: inspect.StructType) -> bool:
    """Whether a section may also be written as one text."""
    return section.cls is TargetSettings


@functools.cache
def settings_type() -> inspect.StructType:
    """The schema's own description of itself."""
    kind = inspect.type_info(Settings)
    assert isinstance(kind, inspect.StructType)
    return kind


@functools.cache
def all_keys() -> dict[Path, Key]:
    """Every key that holds a value, by path, in the schema's order."""
    return {key.path: key for key in _walk(settings_type(), ())}


@functools.cache
def target_paths() -> tuple[Path, ...]:
    """The paths that may also be given as one text: a URL or `cmd:COMMAND`."""
    return tuple(dict.fromkeys(path[:2] for path in all_keys() if path[0] == "targets"))


def _walk(struct: inspect.StructType, path: Path) -> Iterator[Key]:
    for field in struct.fields:
        below = (*path, field.encode_name)
        section = section_of(field.type)
        if section is not None:
            yield from _walk(section, below)
            continue
        kind, facts = unwrap(field.type)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        yield Key(path=below, type=kind, facts=facts, default=default)


def describe(kind: inspect.Type, form: str = "") -> str:
    """A type in plain words, as in "expected ..."."""
    kind, inner = unwrap(kind)
    form = form or inner.form
    if isinstance(kind, inspect.UnionType):
        if form == "speed":
            return FORM_WORDS[form]
        return ", or ".join(describe(option, form) for option in kind.types if not isinstance(option, inspect.NoneType))
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number" + _range(kind)
        case inspect.FloatType():
            return (FORM_WORDS[form] + "," if form else "a number") + _range(kind)
        case inspect.LiteralType():
            return " or ".join(str(value) for value in kind.values)
        case inspect.EnumType():
            return " or ".join(str(member.value) for member in kind.cls)
        case inspect.VarTupleType():
            inner_words = FORM_WORDS.get(form, "")
            section = section_of(kind.item_type)
            if section is not None:
                return "a list of rules" if section.cls is Rule else "a list of sections"
            return "a list" + (f", each {inner_words}" if inner_words else " of text")
        case inspect.DictType():
            return "names and sections" if isinstance(unwrap(kind.value_type)[0], inspect.StructType) else "names and texts"
    return FORM_WORDS.get(form, "text")


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge} to {kind.le}"
    if kind.gt is not None:
        return f" above {kind.gt}" + (f" up to {kind.le}" if kind.le is not None else "")
    return ""
