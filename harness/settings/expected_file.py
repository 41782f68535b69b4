"""The file of accepted changes: read with every problem at once, and written so that a review sees small differences.

YAML, `version: 1`, entries sorted by id. It is kept in the user's repository, so it holds nothing secret.
"""

import datetime
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from msgspec import inspect

from harness.core.errors import UsageError
from harness.core.labels import Aspect, Kind
from harness.core.limits import EXPECTED_CHARS_MAX, EXPECTED_ENTRIES_MAX, SEEN_VALUES_MAX
from harness.core.values import Scalar as Value
from harness.evidence.expected import MEDIAN, ExpectedChange, is_held
from harness.evidence.findings import finding_id
from harness.evidence.seen import Relation, Seen, SeenSlice
from harness.evidence.tails import TAIL_FACTORS, tail_path
from harness.settings.check import Checker, Invalid
from harness.settings.keys import Facts
from harness.settings.problems import ConfigError, Problem, preview
from harness.settings.tree import Entry, MappingNode, Node, Scalar, SequenceNode, read_yaml_bytes

VERSION: Final = 1
SCHEMA_ID: Final = "expected-1.json"
_SUBJECT: Final = "file of accepted changes"
_ID: Final = re.compile(r"[0-9a-f]{12}")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_HEAD: Final = (
    "# Changes that were accepted, as they were seen; written by `shadowdiff accept`.\n"
    "# A difference that lies outside of `seen` fails again. Comments are not kept.\n"
)
BIAS_MUST_CHANGE: Final = "a bias shows over many requests only, so that nothing tells whether it is gone: accept it without must_change"
_SHIFTS: Final = frozenset({Kind.DISTANCE, Kind.BIAS})
_TAILS: Final = frozenset(tail_path(factor) for factor in TAIL_FACTORS)
_NUMERIC: Final = frozenset({Relation.RATIO, Relation.DIFFERENCE})
_AFFIXES: Final = frozenset({Relation.PREFIX_ADDED, Relation.PREFIX_REMOVED, Relation.SUFFIX_ADDED, Relation.SUFFIX_REMOVED})


class SliceSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the traffic; without an attribute, all of it."""

    attribute: str = ""
    value: str = ""


class SeenSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was seen, as the file has it; `values` are read by hand, since their types say something."""

    forms: tuple[str, ...] = ()
    relation: Relation = Relation.ANY
    low: float | None = None
    high: float | None = None
    text: str = ""
    slice: SliceSection = SliceSection()
    requests: int = 0
    changed: int = 0
    rate_low: float = 0.0
    rate_high: float = 1.0
    median: float | None = None
    unit: str = ""
    still_high: float = 1.0


class EntrySection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the file."""

    id: str
    endpoint: str
    aspect: Aspect
    path: str
    kind: Kind
    reason: str
    by: str
    expires: str
    must_change: bool = False
    seen: SeenSection = SeenSection()


class FileSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    version: int
    entries: tuple[EntrySection, ...] = ()


def read_expected(data: bytes, where: str) -> tuple[ExpectedChange, ...]:
    """The entries of a file, by id. Raises UsageError with every problem at once: such a file never passes."""
    problems: list[Problem] = []
    tree = read_yaml_bytes(data, where, problems)
    checker = Checker(where, problems)
    rest, values = _values_apart(tree, checker)
    found = checker.value(rest, inspect.type_info(FileSection), "", Facts())
    if isinstance(found, Invalid) or problems:
        raise ConfigError(problems, subject=_SUBJECT)
    read = msgspec.convert(found, FileSection)
    if read.version != VERSION:
        raise UsageError(
            f"version {read.version} cannot be read here; {VERSION} can", where=where, fix="use the version of shadowdiff that wrote it"
        )
    entries = tuple(_change(section, values.get(index, ())) for index, section in enumerate(read.entries))
    _check_slices(checker, _items(tree), read.entries)
    _check(checker, _items(tree), entries)
    if problems:
        raise ConfigError(problems, subject=_SUBJECT)
    return tuple(sorted(entries, key=lambda entry: entry.id))


def read_expected_file(path: Path) -> tuple[ExpectedChange, ...]:
    """The same for a file on disk."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), fix="name a file of accepted changes") from error
    return read_expected(data, str(path))


def written(entries: Iterable[ExpectedChange]) -> str:
    """The file: the same text for the same entries, however they are ordered."""
    document = {"version": VERSION, "entries": [_entry(entry) for entry in sorted(entries, key=lambda entry: entry.id)]}
    return _HEAD + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=130, default_flow_style=False)


def date_of(text: str) -> datetime.date | None:
    """The day of `YYYY-MM-DD`, None where it is none."""
    if not _DATE.fullmatch(text):
        return None
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return None


def expected_schema_text() -> str:
    """The JSON Schema of the file, as it is kept in config/schemas."""
    schema = msgspec.json.schema(FileSection)
    definitions: dict[str, Any] = schema["$defs"]
    root = definitions.pop("FileSection")
    root["properties"]["version"] = {"const": VERSION}
    seen = definitions["SeenSection"]["properties"]
    value = {"type": ["string", "number", "boolean", "null"]}
    pair = {"type": "array", "prefixItems": [value, value], "minItems": 2, "maxItems": 2}
    seen["values"] = {"type": "array", "items": pair, "maxItems": SEEN_VALUES_MAX}
    entry = definitions["EntrySection"]["properties"]
    entry["id"]["pattern"] = f"^{_ID.pattern}$"
    entry["expires"] |= {"format": "date"}
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **root,
        "title": "File of accepted changes",
        "$defs": definitions,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


class _Pair(list[Value]):
    """Written on one line."""


class _Dumper(yaml.SafeDumper):
    """With pairs on one line, and lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - yaml's own signature
        """See yaml: lists are indented, as people write them."""
        super().increase_indent(flow, False)


_Dumper.add_representer(_Pair, lambda dumper, pair: dumper.represent_sequence("tag:yaml.org,2002:seq", pair, flow_style=True))


def _entry(entry: ExpectedChange) -> dict[str, object]:
    head = {name: getattr(entry, name) for name in ("id", "endpoint", "aspect", "path", "kind", "reason", "by")}
    found: dict[str, object] = {name: str(value) for name, value in head.items()}
    found["expires"] = datetime.date.fromisoformat(entry.expires)
    if entry.must_change:
        found["must_change"] = True
    seen: dict[str, object] = {}
    plain = Seen()
    for name in Seen.__struct_fields__:
        value = getattr(entry.seen, name)
        if name != "relation" and value == getattr(plain, name):
            continue
        seen[name] = _plain(value)
    found["seen"] = seen
    return found


def _plain(value: object) -> object:
    if isinstance(value, Relation):
        return value.value
    if isinstance(value, SeenSlice):
        return {"attribute": value.attribute, "value": value.value}
    if isinstance(value, tuple):
        return [_Pair(item) if isinstance(item, tuple) else item for item in value]
    return value


def _items(tree: MappingNode) -> tuple[Node, ...]:
    node = next((entry.node for entry in tree.entries if entry.key == "entries"), None)
    return node.items if isinstance(node, SequenceNode) else ()


def _values_apart(tree: MappingNode, checker: Checker) -> tuple[MappingNode, dict[int, tuple[tuple[Value, Value], ...]]]:
    """The tree without the `values` of its entries, and these."""
    values: dict[int, tuple[tuple[Value, Value], ...]] = {}
    items = list(_items(tree))
    for index, item in enumerate(items):
        seen = next((entry for entry in item.entries if entry.key == "seen"), None) if isinstance(item, MappingNode) else None
        if not isinstance(item, MappingNode) or seen is None or not isinstance(seen.node, MappingNode):
            continue
        pairs = next((entry for entry in seen.node.entries if entry.key == "values"), None)
        if pairs is not None:
            values[index] = _pairs(pairs, f"entries[{index}].seen.values", checker)
            left = MappingNode(tuple(entry for entry in seen.node.entries if entry is not pairs), seen.node.line)
            others = tuple(Entry("seen", seen.line, left) if entry is seen else entry for entry in item.entries)
            items[index] = MappingNode(others, item.line)
    entries = tuple(
        Entry(entry.key, entry.line, SequenceNode(tuple(items), entry.node.line))
        if entry.key == "entries" and isinstance(entry.node, SequenceNode)
        else entry
        for entry in tree.entries
    )
    return MappingNode(entries, tree.line), values


def _pairs(entry: Entry, key: str, checker: Checker) -> tuple[tuple[Value, Value], ...]:
    node = entry.node
    if not isinstance(node, SequenceNode) or len(node.items) > SEEN_VALUES_MAX:
        checker.report(entry, key, "is no list of pairs of values", allowed=f"up to {SEEN_VALUES_MAX} pairs such as [4, 400]")
        return ()
    found: list[tuple[Value, Value]] = []
    for index, item in enumerate(node.items):
        sides = item.items if isinstance(item, SequenceNode) else ()
        if len(sides) != 2 or not all(isinstance(side, Scalar) for side in sides):
            checker.report(item, f"{key}[{index}]", "is no pair of values", allowed="stable's and the candidate's, such as [4, 400]")
            continue
        left, right = (_value(side) for side in sides if isinstance(side, Scalar))
        found.append((left, right))
    return tuple(found)


def _value(node: Scalar) -> Value:
    """A date that is not in quotes is meant as it is written."""
    return node.text if isinstance(node.value, datetime.date) else node.value


def _change(section: EntrySection, values: tuple[tuple[Value, Value], ...]) -> ExpectedChange:
    part = section.seen.slice
    confined = SeenSlice(attribute=part.attribute, value=part.value) if part.attribute else None
    seen = Seen(**{**msgspec.structs.asdict(section.seen), "values": values, "slice": confined})
    fields = {name: getattr(section, name) for name in section.__struct_fields__ if name != "seen"}
    return ExpectedChange(**fields, seen=seen)


def _check(checker: Checker, nodes: tuple[Node, ...], entries: tuple[ExpectedChange, ...]) -> None:
    """What types do not say."""
    if len(entries) > EXPECTED_ENTRIES_MAX:
        checker.report(nodes[0], "entries", f"{len(entries):,} are too many", allowed=f"up to {EXPECTED_ENTRIES_MAX:,}")
    lines: dict[str, int] = {}
    for index, (node, entry) in enumerate(zip(nodes, entries, strict=True)):
        prefix = f"entries[{index}]."
        for name in ("endpoint", "path", "reason", "by"):
            text: str = getattr(entry, name)
            if not text.strip() or len(text) > EXPECTED_CHARS_MAX:
                what = "is empty" if not text.strip() else f"has {len(text):,} characters"
                checker.report(node, prefix + name, what, allowed=f"text of up to {EXPECTED_CHARS_MAX:,} characters")
        if date_of(entry.expires) is None:
            checker.report(node, f"{prefix}expires", f"{preview(entry.expires)} is no date", allowed="a day such as 2031-12-31")
        meant = finding_id(entry.endpoint, entry.aspect, entry.path, entry.kind)
        if entry.id != meant:
            what = f"{preview(entry.id)} is not the id of this endpoint, aspect, path and kind"
            checker.report(node, f"{prefix}id", what, allowed=meant)
        elif entry.id in lines:
            checker.report(node, f"{prefix}id", f"{entry.id} is given twice; first on line {lines[entry.id]}")
        lines.setdefault(entry.id, node.line)
        _check_seen(checker, node, f"{prefix}seen.", entry.seen)
        if why := not_acceptable(entry.aspect, entry.path, entry.kind, entry.seen):
            checker.report(node, f"{prefix}kind", why)
        elif entry.must_change and entry.kind is Kind.BIAS:
            checker.report(node, f"{prefix}must_change", BIAS_MUST_CHANGE)


def not_acceptable(aspect: Aspect, path: str, kind: Kind, seen: Seen) -> str:
    """Why an entry for such a finding cannot be held to anything, and what to do instead; empty where it can."""
    if kind is Kind.UNCOMPARABLE:
        return "what could not be compared cannot be accepted: nobody knows what it is"
    if aspect is Aspect.LATENCY:
        if path == MEDIAN and kind is Kind.SLOWER:
            if seen.relation is Relation.RATIO and seen.high is not None and seen.high >= 1.0:
                return ""
            return "how much slower it may be is not known: `relation: ratio` with `low` and `high` is needed, of a run that compared more"
        if path in _TAILS and kind is Kind.SLOWER:
            return _no_rate(seen)
        return "a latency budget is a promise of the policy: change it there (latency_budgets), or let it not block (blocks)"
    if kind in _SHIFTS:
        known = seen.relation is Relation.DIFFERENCE and seen.low is not None and seen.high is not None
        return "" if known else "by how much values are off is not known: `relation: difference` with `low` and `high` is needed"
    return _no_rate(seen) if is_held(aspect, kind) else ""


def _no_rate(seen: Seen) -> str:
    if seen.requests:
        return ""
    return "how often it shows is not known: `requests`, `changed` and `rate_high` are needed, of a run that compared more"


def _check_slices(checker: Checker, nodes: tuple[Node, ...], sections: tuple[EntrySection, ...]) -> None:
    """A value of nothing would read as no slice at all, and accept a change everywhere."""
    for index, (node, section) in enumerate(zip(nodes, sections, strict=True)):
        part = section.seen.slice
        if not part.attribute.strip() and (part.value or part.attribute):
            what = f"there is a value, {preview(part.value)}, and no attribute that has it" if part.value else "is empty"
            checker.report(
                node, f"entries[{index}].seen.slice.attribute", what, allowed="what the report calls it, such as header.x-region"
            )


def _check_seen(checker: Checker, node: Node, prefix: str, seen: Seen) -> None:
    if seen.relation in _NUMERIC and (seen.low is None or seen.high is None or seen.low > seen.high):
        checker.report(node, f"{prefix}low", f"relation {seen.relation} needs low and high", allowed="two numbers, the smaller one first")
    if seen.relation in _AFFIXES and not seen.text:
        checker.report(node, f"{prefix}text", f"relation {seen.relation} needs a text", allowed="what is added or removed")
    if seen.relation is Relation.VALUES and not seen.values:
        checker.report(node, f"{prefix}values", "relation values needs pairs of values", allowed="pairs such as [4, 400]")
    if not 0 <= seen.changed <= seen.requests:
        checker.report(node, f"{prefix}changed", f"{seen.changed} of {seen.requests} cannot be", allowed="from 0 up to requests")
    if not 0.0 <= seen.rate_low <= seen.rate_high <= 1.0:
        checker.report(node, f"{prefix}rate_low", "is no interval of a rate", allowed="0 <= rate_low <= rate_high <= 1")
