"""YAML text to a tree of nodes that know their line, bounded and with duplicate keys found. Knows nothing of the schema."""

import datetime
import re
from pathlib import Path
from typing import Final

import msgspec
import yaml

from harness.core.errors import UsageError
from harness.core.limits import CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX, CONFIG_NODES_MAX
from harness.settings.problems import Problem, preview

Plain = str | int | float | bool | datetime.date | None

_HALF: Final = re.compile("[\ud800-\udfff]")
_MERGE: Final = "tag:yaml.org,2002:merge"
_SCALARS: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "timestamp", "str"))


class Scalar(msgspec.Struct, frozen=True):
    """One value. `value` is what YAML makes of it, `text` what was written."""

    value: Plain
    text: str
    line: int = 0
    typed: bool = True
    """False where it is bare text from the environment or an option, of which the schema alone says the type."""


class SequenceNode(msgspec.Struct, frozen=True):
    """A list of nodes."""

    items: tuple["Node", ...]
    line: int = 0


class Entry(msgspec.Struct, frozen=True):
    """One key of a mapping, the line of the key, and its node."""

    key: str
    line: int
    node: "Node"


class MappingNode(msgspec.Struct, frozen=True):
    """Keys and nodes, in the order written, each key once."""

    entries: tuple[Entry, ...]
    line: int = 0


Node = Scalar | SequenceNode | MappingNode


def read_yaml_file(path: Path, problems: list[Problem]) -> MappingNode:
    """The mapping at the top of a YAML file.

    Duplicate keys and unknown tags are added to `problems`; a file that cannot be read at all, is not UTF-8, not YAML or
    no mapping raises UsageError.
    """
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise UsageError("there is no such file", where=str(path)) from error
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return read_yaml_bytes(data, str(path), problems)


def read_yaml_bytes(data: bytes, where: str, problems: list[Problem]) -> MappingNode:
    """The mapping at the top of a YAML file that has been read; `where` names it. Raises as `read_yaml_file` does."""
    if len(data) > CONFIG_BYTES_MAX:
        raise UsageError(f"larger than {CONFIG_BYTES_MAX // 1024**2} MiB", where=where)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError("not UTF-8 text", where=f"{where}:{line}", fix="save the file as UTF-8") from error
    node = read_yaml(text, where, problems)
    if node is None:
        raise UsageError(
            "empty: there is nothing in it", where=where, fix="remove the file, or see `shadowdiff config schema` for its keys"
        )
    if not isinstance(node, MappingNode):
        found = "a list" if isinstance(node, SequenceNode) else f"the text {preview(node.text)}"
        raise UsageError(f"keys and values are expected at the top, not {found}", where=f"{where}:{node.line}")
    return node


def read_yaml(text: str, where: str, problems: list[Problem]) -> Node | None:
    """The tree of one YAML document, None where it has none. Raises UsageError on what is not YAML."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        return None if node is None else _Reader(loader, where, problems).node(node, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{where}:{mark.line + 1}" if mark else where
        raise UsageError(f"not YAML: {error.problem or error.context}", where=at) from error
    except yaml.YAMLError as error:
        raise UsageError("not YAML: it has characters that YAML does not allow", where=where) from error
    except RecursionError as error:
        raise UsageError(f"nested deeper than {CONFIG_DEPTH_MAX}", where=where) from error


class _Reader:
    """Walks the nodes of PyYAML. Aliases are unfolded, within the bounds on depth and number."""

    def __init__(self, loader: yaml.SafeLoader, where: str, problems: list[Problem]) -> None:
        self._loader = loader
        self._where = where
        self._problems = problems
        self._count = 0

    def node(self, node: yaml.Node, depth: int) -> Node:
        self._count += 1
        line = node.start_mark.line + 1
        if depth > CONFIG_DEPTH_MAX:
            raise UsageError(f"nested deeper than {CONFIG_DEPTH_MAX}", where=f"{self._where}:{line}")
        if self._count > CONFIG_NODES_MAX:
            raise UsageError(f"more than {CONFIG_NODES_MAX} values", where=f"{self._where}:{line}")
        if isinstance(node, yaml.MappingNode):
            return MappingNode(self._entries(node, depth), line)
        if isinstance(node, yaml.SequenceNode):
            return SequenceNode(tuple(self.node(item, depth + 1) for item in node.value), line)
        return self._scalar(node, line)

    def _scalar(self, node: yaml.Node, line: int) -> Scalar:
        text = self._whole(str(node.value), line)
        if text != node.value:
            return Scalar(text, text, line)
        if node.tag not in _SCALARS:
            self._problems.append(Problem(f"{self._where}:{line}", "", f"the tag {preview(node.tag)} is not known here"))
            return Scalar(text, text, line)
        try:
            value: Plain = self._loader.construct_object(node)
        except ValueError:
            self._problems.append(
                Problem(f"{self._where}:{line}", "", f"{preview(text)} looks like a date or a number and is none: put it in quotes")
            )
            value = text
        return Scalar(value, text, line)

    def _whole(self, text: str, line: int) -> str:
        """The text; a half of a character in it, which YAML can escape and no file or message can hold, is a problem."""
        if text.isascii() or not _HALF.search(text):
            return text
        self._problems.append(
            Problem(f"{self._where}:{line}", "", f"{preview(text)} has half of a character (a lone surrogate): write the character itself")
        )
        return _HALF.sub("\N{REPLACEMENT CHARACTER}", text)

    def _entries(self, node: yaml.MappingNode, depth: int) -> tuple[Entry, ...]:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                for entry in self._merged(value_node, line, depth):
                    merged.setdefault(entry.key, entry)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._problems.append(Problem(f"{self._where}:{line}", "", "a key must be text"))
                continue
            key = self._whole(str(key_node.value), line)
            entry = Entry(key, line, self.node(value_node, depth + 1))
            if key in own:
                self._problems.append(Problem(f"{self._where}:{line}", key, f"given twice; first on line {own[key].line}"))
            else:
                own[key] = entry
        return tuple((merged | own).values())

    def _merged(self, node: yaml.Node, line: int, depth: int) -> list[Entry]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        entries: list[Entry] = []
        for source in sources:
            if isinstance(source, yaml.MappingNode):
                self._count += 1
                if depth > CONFIG_DEPTH_MAX:
                    raise UsageError(f"nested deeper than {CONFIG_DEPTH_MAX}", where=f"{self._where}:{line}")
                entries.extend(self._entries(source, depth + 1))
            else:
                self._problems.append(Problem(f"{self._where}:{line}", "<<", "keys and values are expected here"))
        return entries
