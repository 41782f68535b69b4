"""A finding's example in words for people: what deepdiff says about the place, or a unified diff of text. Bounded in time and size."""

import difflib
from typing import Any, Final

import orjson
from deepdiff import DeepDiff

from comparators.api import BodyView, RuleUse
from comparators.binary import described
from comparators.content import codings_of, decode
from comparators.json_body import COMPARATOR as JSON
from comparators.json_body import compare_documents, document_of
from comparators.text import COMPARATOR as TEXT
from comparators.text import decoded, lines_of
from harness.core import limits
from harness.core.canon import Step, path_steps
from harness.core.http import header_values, media_type
from harness.core.values import Response

_LINES_MAX: Final = 2_000
_NOTHING: Final = "The two sides are equal here."


def explain(left: Response, right: Response, path: str) -> str:
    """Sentences about how two answers differ at a difference's path; at most EXPLAIN_CHARS_MAX characters. Never raises for its input.

    A path beginning with `$` is one of the body, any other a header's. The values are the real ones: redact before storing.
    """
    text = _body(left, right, path) if path.startswith("$") else _header(left, right, path)
    return text if len(text) <= limits.EXPLAIN_CHARS_MAX else text[: limits.EXPLAIN_CHARS_MAX - 1] + "…"


def _header(left: Response, right: Response, path: str) -> str:
    name = path.partition(".")[0]
    a, b = (header_values(response.headers, name) for response in (left, right))
    if a == b:
        return _NOTHING
    shown = [" | ".join(values) if values else "absent" for values in (a, b)]
    return f"Header {name} changed from {shown[0]} to {shown[1]}."


def _view(response: Response) -> BodyView:
    essence, parameters = media_type(response.headers)
    undone = decode(response.body.data, codings_of(response.headers), truncated=response.body.truncated)
    return BodyView(undone.data, essence, parameters)


def _body(left: Response, right: Response, path: str) -> str:
    a, b = _view(left), _view(right)
    if a.data == b.data:
        return _NOTHING
    if all(not view.media_type or JSON.matches(view.media_type) for view in (a, b)):
        x, y = document_of(a), document_of(b)
        if not (x.problem or y.problem or x.too_deep or y.too_deep):
            return _json(a, b, path)
    if all(TEXT.matches(view.media_type) or JSON.matches(view.media_type) for view in (a, b)):
        return _text(a, b)
    return f"The body changed from {described(a.data)} to {described(b.data)}."


def _json(a: BodyView, b: BodyView, path: str) -> str:
    one, other = document_of(a), document_of(b)
    found = list(compare_documents(one, other, a, b, RuleUse()))
    first = next((d for d in found if d.path == path), None)
    if first is None:
        return _NOTHING
    steps = path_steps(first.where or "$")
    for kept in (steps[:-1], steps):
        x, y = _at(one.value, kept), _at(other.value, kept)
        if _size(x) <= limits.EXPLAIN_BYTES_MAX and _size(y) <= limits.EXPLAIN_BYTES_MAX:
            place = "the whole body" if not kept else f"`{'.'.join(str(step) for step in kept)}`"
            lines = _deepdiff(x, y)
            return f"In {place} (root):\n{lines}" if lines else f"{first.where}: {first.kind} {first.note}".strip()
    return f"{first.where}: {first.kind} (too large to be explained) {first.left!r} against {first.right!r}"


def _deepdiff(left: Any, right: Any) -> str:
    try:
        return str(DeepDiff(left, right, verbose_level=2, zip_ordered_iterables=True).pretty())
    except Exception as error:  # noqa: BLE001 - an explanation is a service; what it cannot do must not break a report
        return f"deepdiff could not explain this: {type(error).__name__}"


def _at(value: Any, steps: tuple[Step, ...]) -> Any:
    """The value at concrete steps; None where there is none."""
    for step in steps:
        if isinstance(value, dict):
            value = value.get(str(step))
        elif isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def _size(value: Any) -> int:
    try:
        return len(orjson.dumps(value))
    except TypeError:
        return len(repr(value))


def _text(a: BodyView, b: BodyView) -> str:
    one, other = (lines_of(decoded(view))[:_LINES_MAX] for view in (a, b))
    lines = list(difflib.unified_diff(one, other, "left", "right", lineterm="", n=1))
    return "\n".join(lines) or _NOTHING
