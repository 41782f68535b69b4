"""Bodies of one JSON value a line or a record (`application/x-ndjson`, `application/jsonl`, `application/json-seq`).

The values are compared as the elements of one array at `$`. Blank lines mean nothing. A line that is not JSON is
`malformed` at `$[*]` where the sides have another number of such lines; on both sides, such lines are compared as text.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from comparators.api import BodyView, RuleUse
from comparators.json_parse import flat_any, flat_plain, parse
from comparators.json_walk import TooDeepError, Walker
from comparators.sink import Sink
from comparators.text import compare_text
from harness.core.http import JSON_LINES
from harness.core.labels import Kind
from harness.core.values import Difference

_RECORDS: Final = frozenset({"application/json-seq", "application/geo+json-seq"})
_RECORD_SEPARATOR: Final = b"\x1e"


class _Records(msgspec.Struct, frozen=True, eq=False):
    values: list[Any]
    plain: bool
    broken: tuple[int, ...]
    """Indices of the lines that are not JSON; their value is their text."""
    too_deep: bool


class NdjsonComparator(msgspec.Struct, frozen=True):
    """The built-in comparator of JSON lines and JSON text sequences."""

    name: str = "ndjson"
    version: int = 1
    priority: int = 20

    def matches(self, media_type: str) -> bool:
        """JSON lines (several names are in use) and JSON sequences (RFC 7464)."""
        return media_type in JSON_LINES or media_type in _RECORDS

    def compare(self, left: BodyView, right: BodyView, rules: RuleUse) -> Iterable[Difference]:
        """As one array of the lines' values."""
        if left.data == right.data:
            return ()
        a, b = _records(left), _records(right)
        if a.too_deep or b.too_deep:
            return compare_text(left, right, rules, "nested too deeply for JSON; compared as text")
        sink = Sink(every=rules.every)
        try:
            Walker(sink, rules, flat_plain if a.plain and b.plain else flat_any).compare(a.values, b.values)
        except (TooDeepError, RecursionError):
            return compare_text(left, right, rules, "nested too deeply for JSON; compared as text")
        if len(a.broken) != len(b.broken):
            sink.discard_below("$[*]", keep=Kind.MALFORMED)
            worse = a if len(a.broken) > len(b.broken) else b
            number = worse.broken[0]
            note = f"{len(a.broken)} lines that are not JSON against {len(b.broken)}"
            sink.add("$[*]", Kind.MALFORMED, _at(a, number), _at(b, number), where=f"$[{number}]", note=note)
        return sink.differences()


def _at(records: _Records, number: int) -> object:
    return records.values[number] if number < len(records.values) else None


def _records(view: BodyView) -> _Records:
    found = view.memo.get("ndjson")
    if not isinstance(found, _Records):
        found = _read(view)
        view.memo["ndjson"] = found
    return found


def _read(view: BodyView) -> _Records:
    data = view.data.removeprefix(b"\xef\xbb\xbf")
    separator = _RECORD_SEPARATOR if view.media_type in _RECORDS else b"\n"
    values: list[Any] = []
    broken: list[int] = []
    plain = True
    too_deep = False
    for piece in data.split(separator):
        line = piece.strip()
        if not line:
            continue
        document = parse(line)
        plain = plain and document.plain and not document.problem
        too_deep = too_deep or document.too_deep
        if document.problem:
            broken.append(len(values))
        values.append(line.decode("utf-8", "backslashreplace") if document.problem else document.value)
    return _Records(values=values, plain=plain, broken=tuple(broken), too_deep=too_deep)


COMPARATOR: Final = NdjsonComparator()
