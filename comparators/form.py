"""Form bodies (`application/x-www-form-urlencoded`), by field name: `$.name`, or `$.name[*]` where a side repeats it.

The order of different names means nothing, the order of one name's values does. `+` and `%20` are the same.
"""

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from comparators.api import BodyView, RuleUse
from comparators.json_parse import flat_any
from comparators.json_walk import Walker
from comparators.sink import Sink
from harness.core.values import Difference

Fields = dict[str, list[str]]


class FormComparator(msgspec.Struct, frozen=True):
    """The built-in comparator of urlencoded forms."""

    name: str = "form"
    version: int = 1
    priority: int = 20

    def matches(self, media_type: str) -> bool:
        """Urlencoded forms only."""
        return media_type == "application/x-www-form-urlencoded"

    def compare(self, left: BodyView, right: BodyView, rules: RuleUse) -> Iterable[Difference]:
        """Field by field."""
        if left.data == right.data:
            return ()
        sink = Sink(every=rules.every)
        a, b = fields_of(left.data.decode("latin-1")), fields_of(right.data.decode("latin-1"))
        Walker(sink, rules, flat_any).compare(*as_objects(a, b))
        return sink.differences()


def fields_of(encoded: str) -> Fields:
    """Names and their values, in order; bytes that are not UTF-8 stay apart from each other."""
    fields: Fields = {}
    for name, value in parse_qsl(encoded.strip("\r\n"), keep_blank_values=True, errors="surrogateescape"):
        fields.setdefault(name, []).append(value)
    return fields


def as_objects(left: Fields, right: Fields) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both as objects: a name that neither side repeats has its value, any other the list of its values."""
    lists = {name for fields in (left, right) for name, values in fields.items() if len(values) > 1}
    one, other = ({n: v if n in lists else v[0] for n, v in fields.items()} for fields in (left, right))
    return one, other


COMPARATOR: Final = FormComparator()
