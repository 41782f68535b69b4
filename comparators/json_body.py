"""JSON bodies (`application/json`, `text/json`, anything `+json`).

| what | result |
|---|---|
| white space, key order, escapes, `1e2` against `100.0`, `0.0` against `-0.0` | no difference |
| `1` against `1.0`, `true` against `1` | `type` (rule `int_is_float` allows the first) |
| integers beyond 64 bits | compared digit by digit |
| NaN, Infinity | accepted; two NaN are equal, against a finite number it is `format` |
| a key repeated with different values, unlike on the other side | `duplicate_key` at the key, nothing else there; the last value counts |
| a byte order mark or UTF-16/32 on one side | `format` at `$`, and the values are compared |
| invalid UTF-8 on one side | `malformed` at `$`; on both, the values are compared |
| not JSON on one side | `malformed` at `$`; on both, compared as text |
| nested deeper than JSON_DEPTH_MAX where the bodies differ | compared as text, with a note |
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from comparators.api import BodyView, RuleUse
from comparators.json_parse import Document, flat_any, flat_plain, parse
from comparators.json_walk import TooDeepError, Walker
from comparators.sink import Sink
from comparators.text import compare_text
from harness.core.labels import Kind
from harness.core.values import Difference

_TYPES: Final = frozenset({"application/json", "text/json", "application/x-json"})


class JsonComparator(msgspec.Struct, frozen=True):
    """The built-in comparator of JSON."""

    name: str = "json"
    version: int = 1
    priority: int = 20

    def matches(self, media_type: str) -> bool:
        """JSON and the types built on it."""
        return media_type in _TYPES or media_type.endswith("+json")

    def compare(self, left: BodyView, right: BodyView, rules: RuleUse) -> Iterable[Difference]:
        """See the table above."""
        if left.data == right.data:
            return ()
        return compare_documents(document_of(left), document_of(right), left, right, rules)


def document_of(view: BodyView) -> Document:
    """The body parsed, once for each view."""
    found = view.memo.get("json")
    if not isinstance(found, Document):
        found = parse(view.data)
        view.memo["json"] = found
    return found


def compare_documents(a: Document, b: Document, left: BodyView, right: BodyView, rules: RuleUse) -> Iterable[Difference]:
    """Differences of two parsed bodies; the views serve where they have to be compared as text."""
    if a.text and a.text == b.text:
        return ()
    if a.too_deep or b.too_deep:
        return compare_text(left, right, rules, "nested too deeply for JSON; compared as text")
    if a.problem and b.problem:
        return compare_text(left, right, rules, "not JSON on either side; compared as text")
    sink = Sink(every=rules.every)
    if a.problem or b.problem:
        sink.add("$", Kind.MALFORMED, *_sides(a, left, right), where="$", note=a.problem or b.problem)
        return sink.differences()
    if a.encoding != b.encoding:
        if "invalid UTF-8" in (a.encoding, b.encoding):
            sink.add("$", Kind.MALFORMED, a.encoding, b.encoding, where="$", note="one side is not valid UTF-8")
            return sink.differences()
        sink.add("$", Kind.FORMAT, a.encoding, b.encoding, where="$", note=f"{a.encoding} against {b.encoding}")
    try:
        Walker(sink, rules, flat_plain if a.plain and b.plain else flat_any).compare(a.value, b.value)
    except (TooDeepError, RecursionError):
        return compare_text(left, right, rules, "nested too deeply for JSON; compared as text")
    if a.duplicates or b.duplicates:
        _compare_duplicates(a, b, sink)
    return sink.differences()


def _sides(a: Document, left: BodyView, right: BodyView) -> tuple[str, str]:
    """What to show: the start of the body that cannot be read, and that the other one can."""
    broken = (left if a.problem else right).data[:200].decode("utf-8", "replace")
    return (broken, "JSON") if a.problem else ("JSON", broken)


def _compare_duplicates(a: Document, b: Document, sink: Sink) -> None:
    for path in sorted(a.duplicates.keys() | b.duplicates.keys()):
        x, y = a.duplicates.get(path), b.duplicates.get(path)
        if x != y:
            sink.discard_below(path, keep=Kind.DUPLICATE_KEY)
            one, other = (" | ".join(values) if values else None for values in (x, y))
            sink.add(path, Kind.DUPLICATE_KEY, one, other, where=path, note="a key is repeated with different values")


COMPARATOR: Final = JsonComparator()
