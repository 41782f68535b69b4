"""Checks nodes against the types of the schema and gathers every problem. Knows no file and no layer of the configuration."""

import math
import re
from typing import Final

import msgspec
from msgspec import inspect

from harness.core.errors import UsageError
from harness.settings.forms import FORMS, FormError
from harness.settings.keys import Facts, describe, section_of, unwrap
from harness.settings.problems import Problem, closest, preview
from harness.settings.tree import Entry, MappingNode, Node, Scalar, SequenceNode, read_yaml

Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]


class Invalid(msgspec.Struct, frozen=True):
    """Stands for a value that was not accepted; the problems say why."""


INVALID: Final = Invalid()

_DIGITS_MAX: Final = 30
"""More digits than any key allows; longer numbers are cut to one that is too large anyway."""
_NUMBER_MAX: Final = 1e30
_DECIMAL: Final = re.compile(rf"-?[0-9]{{1,{_DIGITS_MAX}}}(\.[0-9]{{1,{_DIGITS_MAX}}})?")
"""A number as an option or a variable of the environment has it, which are text."""
_WORDS_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_WORDS_FALSE: Final = frozenset({"false", "no", "off", "0"})


class _MismatchError(Exception):
    """A value that the type does not allow: what is wrong with it, the known word nearest to it, and whether `what` says all."""

    def __init__(self, what: str, near: str = "", *, complete: bool = False) -> None:
        self.what = what
        self.near = near
        self.complete = complete
        super().__init__(what)


class Checker:
    """Reads nodes of one source. `where` names the source; lines are added where nodes have them."""

    def __init__(self, where: str, problems: list[Problem]) -> None:
        self._where = where
        self._problems = problems

    @property
    def count(self) -> int:
        """How many problems there are so far, of all sources that share them."""
        return len(self._problems)

    def at(self, node: Node | Entry) -> str:
        """The source and the node's line."""
        return f"{self._where}:{node.line}" if node.line else self._where

    def report(self, node: Node | Entry, key: str, what: str, *, allowed: str = "", near: str = "") -> None:
        """Adds a problem."""
        self._problems.append(Problem(self.at(node), key, what, allowed, near))

    def unknown_key(self, entry: Entry, key: str, known: list[str]) -> None:
        """Adds the problem of a key that the schema has not."""
        near = closest(entry.key, known)
        self.report(entry, key, "unknown key", allowed=", ".join(known), near=near)

    def value(self, node: Node, kind: inspect.Type, key: str, facts: Facts) -> Value | Invalid:
        """The node as plain values of the type, or INVALID with the problems added."""
        kind, inner = unwrap(kind)
        form = facts.form or inner.form
        if isinstance(node, Scalar) and not node.typed and isinstance(kind, inspect.VarTupleType | inspect.DictType):
            unfolded = self._unfold(node, kind, key)
            if unfolded is None:
                return INVALID
            node = unfolded
        match kind:
            case inspect.StructType():
                return self._struct(node, kind, key, facts)
            case inspect.VarTupleType():
                return self._list(node, kind, key, facts)
            case inspect.DictType():
                return self._texts(node, kind, key, facts)
        try:
            return _scalar(node, kind, form)
        except _MismatchError as mismatch:
            shown = mismatch.what if facts.secret or not isinstance(node, Scalar) else f"{_shown(node)} {mismatch.what}"
            allowed = "" if mismatch.complete else describe(kind, form)
            self.report(node, key, shown, allowed=allowed, near=mismatch.near)
            return INVALID

    def _struct(self, node: Node, kind: inspect.StructType, key: str, facts: Facts) -> Value | Invalid:
        fields = {field.encode_name: field for field in kind.fields}
        if not isinstance(node, MappingNode):
            self.report(node, key, "keys and values are expected here", allowed=", ".join(fields))
            return INVALID
        found: dict[str, Value] = {}
        sound = True
        for entry in node.entries:
            below = f"{key}.{entry.key}" if key else entry.key
            if entry.key not in fields:
                self.unknown_key(entry, below, list(fields))
                sound = False
                continue
            value = self.value(entry.node, fields[entry.key].type, below, Facts(secret=facts.secret))
            if isinstance(value, Invalid):
                sound = False
            else:
                found[entry.key] = value
        named = {entry.key for entry in node.entries}
        for name, field in fields.items():
            if field.required and name not in named:
                self.report(node, f"{key}.{name}", "is missing", allowed=describe(field.type))
                sound = False
        return found if sound else INVALID

    def _list(self, node: Node, kind: inspect.VarTupleType, key: str, facts: Facts) -> Value | Invalid:
        if not isinstance(node, SequenceNode):
            self.report(node, key, f"a list is expected, not {_named(node)}", allowed=describe(kind, facts.form))
            return INVALID
        section = section_of(kind.item_type)
        values = [self.value(item, section or kind.item_type, f"{key}[{index}]", facts) for index, item in enumerate(node.items)]
        sound = [value for value in values if not isinstance(value, Invalid)]
        return sound if len(sound) == len(values) else INVALID

    def _texts(self, node: Node, kind: inspect.DictType, key: str, facts: Facts) -> Value | Invalid:
        if not isinstance(node, MappingNode):
            self.report(node, key, f"names and texts are expected, not {_named(node)}")
            return INVALID
        values = {entry.key: self.value(entry.node, kind.value_type, f"{key}.{entry.key}", facts) for entry in node.entries}
        sound: dict[str, Value] = {name: value for name, value in values.items() if not isinstance(value, Invalid)}
        return sound if len(sound) == len(values) else INVALID

    def _unfold(self, node: Scalar, kind: inspect.VarTupleType | inspect.DictType, key: str) -> Node | None:
        """Bare text as a list or mapping: YAML in brackets, else `a, b` or `a=1, b=2`. None with the problem added."""
        text = node.text.strip()
        if text.startswith(("[", "{")):
            try:
                tree = read_yaml(text, self._where, self._problems)
            except UsageError as error:
                self.report(node, key, error.what)
                return None
            return None if tree is None else _without_lines(tree)
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if isinstance(kind, inspect.VarTupleType):
            return SequenceNode(tuple(Scalar(part, part, typed=False) for part in parts))
        entries: dict[str, Entry] = {}
        for part in parts:
            name, equals, value = part.partition("=")
            if not equals or not name.strip():
                self.report(node, key, "is not of the form name=text, name=text")
                return None
            entries[name.strip()] = Entry(name.strip(), 0, Scalar(value.strip(), value.strip(), typed=False))
        return MappingNode(tuple(entries.values()))


def _without_lines(node: Node) -> Node:
    """The lines of a text that is no file mean nothing to its reader."""
    if isinstance(node, Scalar):
        return msgspec.structs.replace(node, line=0)
    if isinstance(node, SequenceNode):
        return SequenceNode(tuple(_without_lines(item) for item in node.items))
    return MappingNode(tuple(Entry(entry.key, 0, _without_lines(entry.node)) for entry in node.entries))


def _scalar(node: Node, kind: inspect.Type, form: str) -> Value:
    """The value of a scalar type or a union of them. Raises _MismatchError."""
    if not isinstance(node, Scalar):
        raise _MismatchError(f"one value is expected, not {_named(node)}")
    if isinstance(kind, inspect.UnionType):
        return _union(node, kind, form)
    if node.value is None or (not node.typed and not node.text.strip() and not isinstance(kind, inspect.StrType)):
        raise _MismatchError("is no value; leave the key out for its default")
    match kind:
        case inspect.BoolType():
            return _bool(node)
        case inspect.IntType():
            return _in_range(_int(node), kind)
        case inspect.FloatType():
            return _in_range(_float(node, form), kind)
        case inspect.LiteralType():
            return _one_of(node, [str(value) for value in kind.values])
        case inspect.EnumType():
            return _one_of(node, [str(member.value) for member in kind.cls])
    return _text(node, form)


def _union(node: Scalar, kind: inspect.UnionType, form: str) -> Value:
    options = [option for option in kind.types if not isinstance(option, inspect.NoneType)]
    if len(options) < len(kind.types) and (node.value is None or not node.text.strip()):
        return None
    mismatches: list[_MismatchError] = []
    for option in options:
        inner, facts = unwrap(option)
        try:
            return _scalar(node, inner, form or facts.form)
        except _MismatchError as mismatch:
            mismatches.append(mismatch)
    if len(mismatches) == 1:
        raise mismatches[0]
    near = next((mismatch.near for mismatch in mismatches if mismatch.near), "")
    raise _MismatchError("is not allowed", near)


def _bool(node: Scalar) -> bool:
    if isinstance(node.value, bool):
        return node.value
    word = node.text.strip().lower()
    if not node.typed and word in _WORDS_TRUE | _WORDS_FALSE:
        return word in _WORDS_TRUE
    raise _MismatchError("is not true or false", complete=True)


def _int(node: Scalar) -> int:
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    text = node.text.strip()
    if not node.typed and text.removeprefix("-").isdecimal() and text.isascii():
        return int(text) if len(text) <= _DIGITS_MAX else 10**_DIGITS_MAX
    raise _MismatchError("is not a whole number")


def _float(node: Scalar, form: str) -> float:
    if isinstance(node.value, int | float) and not isinstance(node.value, bool):
        number = float(node.value) if abs(node.value) < _NUMBER_MAX else math.inf
    elif form and isinstance(node.value, str):
        read = _formed(node.text, form)
        if not isinstance(read, int | float):
            raise _MismatchError("is not a number")
        number = float(read)
    elif not node.typed and not form and _DECIMAL.fullmatch(node.text.strip()):
        number = float(node.text)
    else:
        number = math.nan
    if not math.isfinite(number):
        raise _MismatchError("is not a number")
    return number


def _one_of(node: Scalar, words: list[str]) -> str:
    word = node.text if node.typed else node.text.strip()
    if word in words:
        return word
    raise _MismatchError("is not allowed", closest(node.text, words))


def _text(node: Scalar, form: str) -> Value:
    if isinstance(node.value, bool) and node.typed:
        raise _MismatchError("is not text: put it in quotes if it is meant as text")
    return _formed(node.text, form) if form else node.text


def _formed(text: str, form: str) -> str | float:
    try:
        return FORMS[form](text)
    except FormError as error:
        raise _MismatchError(f"is not {error}", complete=True) from error


def _in_range(number: int | float, kind: inspect.IntType | inspect.FloatType) -> int | float:
    if (kind.ge is not None and number < kind.ge) or (kind.gt is not None and number <= kind.gt):
        raise _MismatchError("is too small")
    if kind.le is not None and number > kind.le:
        raise _MismatchError("is too large")
    return number


def _named(node: Node) -> str:
    if isinstance(node, Scalar):
        return "nothing" if node.value is None else "one value"
    return "a list" if isinstance(node, SequenceNode) else "keys and values"


def _shown(node: Scalar) -> str:
    return preview(node.text) if isinstance(node.value, str) else (node.text or "nothing")
