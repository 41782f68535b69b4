"""Text bodies (`text/*`, XML, HTML, JavaScript and the like): compared line by line at `$.line`.

Kind of line end is `format` at `$.line_end`, another number of lines `length` at `$.line`, the same lines in another order
`order` at `$.line`; the address of a line is in `where`. The charset parameter is followed; text that is not in its
charset is read as Latin-1, which never fails.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from comparators.api import BodyView, RuleUse
from comparators.json_parse import flat_any
from comparators.json_walk import Spot, Walker
from comparators.sink import Sink
from harness.core import limits
from harness.core.canon import Place
from harness.core.labels import Kind
from harness.core.values import Difference

_TYPES: Final = frozenset(
    {
        "application/ecmascript",
        "application/graphql",
        "application/javascript",
        "application/toml",
        "application/x-httpd-php",
        "application/x-javascript",
        "application/x-sh",
        "application/x-yaml",
        "application/xml",
        "application/xml-dtd",
        "application/yaml",
        "image/svg+xml",
    }
)
LINE: Final = "$.line"


class TextComparator(msgspec.Struct, frozen=True):
    """The built-in comparator of text."""

    name: str = "text"
    version: int = 1
    priority: int = 10

    def matches(self, media_type: str) -> bool:
        """Text, XML and code."""
        return media_type.startswith("text/") or media_type in _TYPES or media_type.endswith(("+xml", "+yaml"))

    def compare(self, left: BodyView, right: BodyView, rules: RuleUse) -> Iterable[Difference]:
        """Line by line."""
        return () if left.data == right.data else compare_text(left, right, rules)


class _LineWalker(Walker):
    """A walk over one array whose elements have the array's own path, and a line number as their address."""

    __slots__ = ()

    def item_spot(self, spot: Spot, index: int) -> Spot:
        """The spot of a line."""
        return Spot(spot.path, f"line {index + 1}", spot.place, spot.depth + 1)

    def item_place(self, place: Place, index: int) -> Place:  # noqa: ARG002 - the same for each line
        """The rules of `$.line` are those of each line."""
        return place


def compare_text(left: BodyView, right: BodyView, rules: RuleUse, note: str = "") -> tuple[Difference, ...]:
    """Differences of two bodies as text; `note` is added to each."""
    a, b = decoded(left), decoded(right)
    sink = Sink(every=rules.every)
    ends = _line_ends(a), _line_ends(b)
    if ends[0] != ends[1] and all(ends):
        sink.add("$.line_end", Kind.FORMAT, *ends, where="$", note=f"{ends[0]} against {ends[1]}")
    lines_a, lines_b = lines_of(a), lines_of(b)
    if max(len(lines_a), len(lines_b)) > limits.TEXT_LINES_MAX:
        _compare_whole(lines_a, lines_b, sink)
    else:
        _LineWalker(sink, rules, flat_any).node(lines_a, lines_b, Spot(LINE, "line 1", rules.at(LINE)))
    found = sink.differences()
    return tuple(msgspec.structs.replace(d, note=f"{d.note}; {note}".removeprefix("; ")) for d in found) if note else found


def decoded(view: BodyView) -> str:
    """The body as text, by its charset; Latin-1 where that is unknown or wrong."""
    charset = view.parameters.get("charset", "utf-8")
    try:
        return view.data.decode(charset).removeprefix("\ufeff")
    except (LookupError, UnicodeError, ValueError):
        return view.data.decode("latin-1")


def lines_of(text: str) -> list[str]:
    """Lines without their ends. A final line end makes an empty last line, so that its absence is seen."""
    return text.replace("\r\n", "\n").split("\n")


def _line_ends(text: str) -> str:
    """`CRLF`, `LF`, `CRLF and LF`, or empty for a single line."""
    both, pairs = text.count("\n"), text.count("\r\n")
    if not both:
        return ""
    return "LF" if not pairs else ("CRLF" if pairs == both else "CRLF and LF")


def _compare_whole(left: list[str], right: list[str], sink: Sink) -> None:
    """Only the first line that differs, for a text that is too long to be walked."""
    if left == right:
        return
    shorter = min(len(left), len(right))
    first = next((i for i in range(shorter) if left[i] != right[i]), shorter)
    if len(left) != len(right):
        sink.add(LINE, Kind.LENGTH, len(left), len(right), where=f"line {first + 1}", note="lines; too many to be compared one by one")
    else:
        sink.add(LINE, Kind.VALUE, left[first], right[first], where=f"line {first + 1}", note="too many lines to be compared one by one")
        sink.left_out(LINE, Kind.VALUE)


COMPARATOR: Final = TextComparator()
