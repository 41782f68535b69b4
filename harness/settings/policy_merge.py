"""Puts the files of a policy together: what a file says counts over what it extends, but never loosens what that locks."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec import inspect

from harness.evidence.conditions import values_of
from harness.evidence.policy import Condition, Policy
from harness.settings.check import INVALID, Checker, Invalid, Value
from harness.settings.keys import Facts
from harness.settings.policy_files import Source
from harness.settings.policy_locks import NOT_LOCKED, loosened
from harness.settings.policy_parts import read_labels, settable, too_many_conditions
from harness.settings.tree import Entry, MappingNode, Node, SequenceNode

Check = Callable[[Checker, MappingNode], None]
"""Reports what types do not say of the keys of a mapping."""
_DEFAULT: Final = Policy()


class Merged(msgspec.Struct, frozen=True):
    """Keys of a policy with their values, as far as they are sound."""

    values: dict[str, Any]
    """By key, as Policy holds them; keys that no file gives are left out."""
    origins: dict[str, tuple[Checker, Entry]]
    """Which file and line gave them."""
    locked: dict[str, str]
    """By locked key, where it is locked."""


def merge(chain: Sequence[Source], check: Check) -> Merged:
    """Everything that the files say, the last one (which the others extend) first. All problems go to the checkers of the files."""
    merged = Merged({}, {}, {})
    for source in reversed(chain):
        _Layer(source, merged, check).take()
    return merged


class _Layer:
    """One file over what it extends."""

    def __init__(self, source: Source, merged: Merged, check: Check) -> None:
        self._checker = source.checker
        self._tree = source.tree
        self._merged = merged
        self._check = check
        self._locked = dict(merged.locked)
        self._before = {name: merged.values.get(name, getattr(_DEFAULT, name)) for name in Policy.__struct_fields__}
        """What this file extends, whole."""

    def take(self) -> None:
        """Check the file and put its values into the merged ones."""
        for entry in self._tree.entries:
            if entry.key in {"extends", "locked"}:
                continue  # `locked` of this file binds those that extend it, not itself
            value = self._when(entry) if entry.key == "when" else _read(self._checker, entry, self._check)
            if isinstance(value, Invalid) or self._is_looser(entry, entry.key, value, entry.key):
                continue
            self._merged.values[entry.key] = value
            self._merged.origins[entry.key] = (self._checker, entry)
        for entry in self._tree.entries:
            if entry.key in {"extends", "locked"}:
                value = _read(self._checker, entry, self._check)
                if entry.key == "locked" and not isinstance(value, Invalid):
                    for item in value:
                        self._merged.locked.setdefault(item, self._checker.at(entry))

    def _is_looser(self, entry: Entry, key: str, value: Any, shown: str, *bases: Any) -> bool:
        """Whether a value loosens a locked key, over any of the values that it may stand in for; reported then."""
        if key not in self._locked or key in NOT_LOCKED:
            return False
        what = next(filter(None, (loosened(key, base, value) for base in bases or (self._before[key],))), "")
        if what:
            self._checker.report(entry, shown, f"looser than what {self._locked[key]} locks: {what}")
        return bool(what)

    def _when(self, entry: Entry) -> tuple[Condition, ...] | Invalid:
        node = entry.node
        if not isinstance(node, SequenceNode):
            self._checker.report(entry, "when", "a list of conditions is expected", allowed="a list, each with labels and set")
            return INVALID
        if too_many_conditions(self._checker, node, "when"):
            return INVALID
        found = [self._condition(item, f"when[{index}]") for index, item in enumerate(node.items)]
        sound = tuple(condition for condition in found if not isinstance(condition, Invalid))
        if len(sound) < len(found):
            return INVALID
        inherited: tuple[Condition, ...] = self._before["when"]
        kept = 0
        while kept < min(len(inherited), len(sound)) and inherited[kept] == sound[kept]:
            kept += 1
        bad = self._drops(entry, inherited[kept:])
        for index in range(kept, len(sound)):
            bad |= self._loosens(node.items[index], sound[index], f"when[{index}].set", inherited[:kept])
        return INVALID if bad else sound

    def _drops(self, entry: Entry, dropped: tuple[Condition, ...]) -> bool:
        """Whether conditions that this file leaves out, or moves, set what is locked: they are part of it."""
        for condition in dropped:
            for key in condition.set:
                place = self._locked.get("when") or self._locked.get(key)
                if place is not None:
                    what = f"the conditions that set {key} must come first, as they are"
                    self._checker.report(entry, "when", f"looser than what {place} locks: {what}")
                    return True
        return False

    def _loosens(self, node: Node, condition: Condition, shown: str, inherited: tuple[Condition, ...]) -> bool:
        """Whether a condition of this file's own may loosen what is locked: over the value without conditions, and over what each
        inherited one may have set before it. Where `when` is locked, so is what those set."""
        given = next((entry.node for entry in node.entries if entry.key == "set"), None) if isinstance(node, MappingNode) else None
        earlier = [values_of(one) for one in inherited]
        bad = False
        for entry in given.entries if isinstance(given, MappingNode) else ():
            bases = [one[entry.key] for one in earlier if entry.key in one]
            if entry.key in self._locked:
                bases.append(self._before[entry.key])
            elif "when" in self._locked and bases:
                self._locked[entry.key] = self._locked["when"]
            value = values_of(condition)[entry.key]
            bad |= bool(bases) and self._is_looser(entry, entry.key, value, f"{shown}.{entry.key}", *bases)
        return bad

    def _condition(self, node: Node, key: str) -> Condition | Invalid:
        if not isinstance(node, MappingNode):
            self._checker.report(node, key, "keys and values are expected here", allowed="labels, set, why")
            return INVALID
        found: dict[str, Any] = {"why": ""}
        for entry in node.entries:
            below = f"{key}.{entry.key}"
            if entry.key == "labels":
                found["labels"] = read_labels(self._checker, entry.node, below)
            elif entry.key == "set":
                found["set"] = self._set(entry, below)
            elif entry.key == "why":
                found["why"] = self._checker.value(entry.node, inspect.type_info(str), below, Facts())
            else:
                self._checker.unknown_key(entry, below, ["labels", "set", "why"])
                found[entry.key] = INVALID
        missing = [name for name in ("labels", "set") if name not in found]
        for name in missing:
            self._checker.report(node, f"{key}.{name}", "is missing")
        if missing or any(isinstance(value, Invalid) for value in found.values()):
            return INVALID
        return Condition(**found)

    def _set(self, entry: Entry, key: str) -> dict[str, Any] | Invalid:
        node = entry.node
        if not isinstance(node, MappingNode) or not node.entries:
            self._checker.report(entry, key, "keys of the policy and values are expected here", allowed=", ".join(settable()))
            return INVALID
        found: dict[str, Any] = {}
        for one in node.entries:
            if one.key not in settable():
                self._checker.unknown_key(one, f"{key}.{one.key}", settable())
                found[one.key] = INVALID
                continue
            found[one.key] = _read(self._checker, one, self._check, f"{key}.")
        if any(isinstance(value, Invalid) for value in found.values()):
            return INVALID
        return {name: msgspec.to_builtins(value) for name, value in sorted(found.items())}


def _read(checker: Checker, entry: Entry, check: Check, prefix: str = "") -> Any:
    """The value of one key, as Policy holds it, or INVALID with all problems reported."""
    kind = inspect.type_info(Policy)
    assert isinstance(kind, inspect.StructType)
    fields = {field.encode_name: field for field in kind.fields}
    if entry.key not in fields:
        checker.unknown_key(entry, prefix + entry.key, list(fields))
        return INVALID
    before = checker.count
    value: Value | Invalid = checker.value(entry.node, fields[entry.key].type, prefix + entry.key, Facts())
    check(checker, MappingNode((entry,), entry.line))
    if isinstance(value, Invalid) or checker.count > before:
        return INVALID
    return getattr(msgspec.convert({entry.key: value}, Policy), entry.key)
