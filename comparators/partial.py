"""Bodies that no comparator can be given whole: broken or unknown content codings, an empty side, only a beginning."""

import hashlib
from collections.abc import Iterable

from comparators.api import BodyView, RuleUse
from comparators.binary import described, sizes_differ
from comparators.content import Decoded, codings_of
from comparators.text import compare_text
from harness.core.labels import Aspect, Kind
from harness.core.values import Difference, Response, Scalar


def compare_undecodable(x: Decoded, y: Decoded, a: Response, b: Response) -> tuple[Difference, ...]:
    """A coding that cannot be undone: `malformed` where it is one side's, else the coded bytes are compared."""
    if bool(x.problem) != bool(y.problem):
        return _whole(Kind.MALFORMED, x.problem or "decoded", y.problem or "decoded", "content coding cannot be undone")
    if a.body == b.body:
        return ()
    return _whole(Kind.VALUE, described(a.body.data), described(b.body.data), "content coding broken on both sides")


def compare_coded(x: Decoded, y: Decoded) -> tuple[Difference, ...]:
    """A coding that is not known here: the coded bytes are compared where it is the same on both sides."""
    if x.unknown != y.unknown:
        left, right = x.unknown or "known coding", y.unknown or "known coding"
        return _whole(Kind.MEDIA_TYPE, left, right, "a content coding that is not known")
    if x.data == y.data:
        return ()
    return _whole(Kind.VALUE, described(x.data), described(y.data), f"compared in content coding {x.unknown}")


def compare_empty(one: BodyView, other: BodyView) -> tuple[Difference, ...]:
    """At least one side is empty."""
    if not one.data and not other.data:
        return ()
    left, right = (described(view.data) if view.data else None for view in (one, other))
    return _whole(Kind.EXTRA if left is None else Kind.MISSING, left, right, "one body is empty")


def compare_partial(left: tuple[Response, BodyView], right: tuple[Response, BodyView], use: RuleUse) -> Iterable[Difference]:
    """Only a beginning is there: the common beginning as text at `$.line`, and size and digest of the whole at `$`.

    Content-coded bodies are compared by their beginning alone: one content can be coded in many ways.
    """
    (a, one), (b, other) = left, right
    length = min(len(one.data), len(other.data))
    head, second = (BodyView(view.data[:length], "text/plain", view.parameters) for view in (one, other))
    if head.data != second.data:
        yield from compare_text(head, second, use, f"only the first {length} bytes were compared")
    if codings_of(a.headers) or codings_of(b.headers):
        return
    sizes = a.body.size, b.body.size
    if sizes[0] != sizes[1] or _digest(a) != _digest(b):
        kind = Kind.LENGTH if sizes_differ(*sizes) else Kind.VALUE
        yield from _whole(kind, f"{sizes[0]} bytes", f"{sizes[1]} bytes", "whole bodies, by size and digest")


def _digest(response: Response) -> str:
    return response.body.digest or hashlib.sha256(response.body.data).hexdigest()


def _whole(kind: Kind, left: Scalar, right: Scalar, note: str) -> tuple[Difference, ...]:
    return (Difference(Aspect.BODY, "$", kind, left, right, "$", note),)
