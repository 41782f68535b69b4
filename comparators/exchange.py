"""Two exchanges in, differences out: transport, status, headers, then the body by its media type.

A comparator that raises yields an `uncomparable` difference with its name, and the others go on.
"""

from collections.abc import Callable, Iterable
from typing import Final

import orjson

from comparators.api import BodyComparator, BodyView, RuleUse
from comparators.content import Decoded, codings_of, decode
from comparators.events import common_events
from comparators.headers import compare_headers, headers_may_differ, names_apart
from comparators.partial import compare_coded, compare_empty, compare_partial, compare_undecodable
from comparators.plan import EndpointPlan
from comparators.sink import bounded
from comparators.status import compare_status
from comparators.transport import compare_transport
from harness.core.http import is_event_stream, media_type, status_class
from harness.core.labels import CHANNEL_OF, Aspect, Channel, Kind
from harness.core.values import Body, Difference, Exchange, Response

_VALUE_CHANNELS: Final = frozenset({Channel.SHAPE, Channel.VALUE, Channel.ORDER})
_WITHOUT_BODY: Final = frozenset({204, 304})
_READ_BY: Final = frozenset({"content-encoding", "content-type"})
"""Fields that say how the bytes of a body are to be read."""


Reading = tuple[tuple[str, ...], str, dict[str, str]]
"""Content codings, media type and its parameters."""


class Side:
    """One exchange with what was derived from its answer, kept while the pairs of one trial are compared, under one plan."""

    __slots__ = ("_decoded", "_reading", "_view", "answer", "exchange", "like")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.answer: Response | None = None if exchange.error is not None else exchange.response
        """The response, where the exchange came to its end."""
        self.like: Side | None = None
        """Another side with the same body, read in the same way, which is decoded, parsed and compared for both."""
        self._reading: Reading | None = None
        self._decoded: Decoded | None = None
        self._view: BodyView | None = None

    @property
    def has_body(self) -> bool:
        """Whether the answer may carry a body at all (RFC 9110 6.4.1)."""
        answer = self.answer
        return answer is not None and self.exchange.request.method != "HEAD" and answer.status not in _WITHOUT_BODY

    def reading(self) -> Reading:
        """How the bytes of the body are to be read."""
        if self._reading is None:
            headers = () if self.answer is None else self.answer.headers
            self._reading = codings_of(headers), *media_type(headers)
        return self._reading

    def read_like(self, other: "Side") -> None:
        """Take over how another side is read, whose headers say the same of that."""
        self._reading = other.reading()

    def decoded(self) -> Decoded:
        """The body without content codings."""
        if self._decoded is None:
            body = Body() if self.answer is None else self.answer.body
            self._decoded = decode(body.data, self.reading()[0], truncated=body.truncated)
        return self._decoded

    def view(self) -> BodyView:
        """The decoded body with its media type; a body without a Content-Type is judged by its bytes."""
        if self._view is None:
            _, essence, parameters = self.reading()
            data = self.decoded().data
            self._view = BodyView(data, essence or sniffed(data), dict(parameters))
        return self._view


Bodies = dict[tuple[Side, Side], list[Difference]]
"""What bodies differ in, by pair of sides, so that the same two bodies are compared once in a trial."""


class _Pair:
    """Runs comparators on two sides: takes care of what they raise, and of the rules that need no knowledge of structure."""

    __slots__ = ("left", "plan", "right", "used")

    def __init__(self, left: Side, right: Side, plan: EndpointPlan, used: set[int]) -> None:
        self.left = left
        self.right = right
        self.plan = plan
        self.used = used

    def run(self, aspect: Aspect, name: str, compare: Callable[[RuleUse], Iterable[Difference]]) -> list[Difference]:
        return run_comparator(aspect, name, compare, RuleUse(self.plan.rules.aspect(aspect), self.used, self.plan.every))


def run_comparator(aspect: Aspect, name: str, compare: Callable[[RuleUse], Iterable[Difference]], use: RuleUse) -> list[Difference]:
    """What a comparator finds, without what the rules forgive; one `uncomparable` difference where it raises."""
    try:
        found = list(compare(use))
    except Exception as error:  # noqa: BLE001 - whatever a comparator raises must not stop the run
        return [Difference(aspect, "$", Kind.UNCOMPARABLE, None, None, "$", f"comparator `{name}` failed: {type(error).__name__}")]
    return found if use.rules is None or not found else [d for d in found if not _forgiven(d, use)]


def compare_exchanges(left: Exchange, right: Exchange, plan: EndpointPlan, used: set[int] | None = None) -> tuple[Difference, ...]:
    """All differences of a pair, at most DIFFERENCES_PER_PAIR_MAX. Adds the indices of rules that had an effect to `used`. Never raises."""
    return compare_sides(Side(left), Side(right), plan, set() if used is None else used, {})


def compare_sides(left: Side, right: Side, plan: EndpointPlan, used: set[int], bodies: Bodies) -> tuple[Difference, ...]:
    """As `compare_exchanges`, for sides that take part in several pairs; `bodies` is kept from pair to pair of a trial."""
    a, b = left.answer, right.answer
    pair = _Pair(left, right, plan, used)
    if a is None or b is None:
        return tuple(pair.run(Aspect.TRANSPORT, "transport", lambda _: compare_transport(left.exchange, right.exchange)))
    if a == b:
        right.like = left.like or left
        return ()
    found: list[Difference] = []
    if a.status != b.status:
        found += pair.run(Aspect.STATUS, "status", lambda _: compare_status(a, b))
        if found and status_class(a.status) != status_class(b.status):
            # An error page against an answer is another document: its every field would differ, from one cause.
            return bounded(found, plan.every)
    with_body = left.has_body or right.has_body
    apart = names_apart(a.headers, b.headers)
    if headers_may_differ(a, b, apart, body_compared=with_body):
        requests = left.exchange.request, right.exchange.request
        found += pair.run(Aspect.HEADERS, "headers", lambda use: compare_headers(a, b, requests, use, body_compared=with_body))
    if with_body and (a.body.size or b.body.size):
        read_alike = apart.isdisjoint(_READ_BY)
        if a.body == b.body and (read_alike or left.reading() == right.reading()):
            right.like = left.like or left
        else:
            if read_alike:
                right.read_like(left)
            key = left.like or left, right.like or right
            if key not in bodies:
                bodies[key] = pair.run(Aspect.BODY, *_chosen(plan, *key))
            found += bodies[key]
    return bounded(found, plan.every) if found else ()


def _chosen(plan: EndpointPlan, left: Side, right: Side) -> tuple[str, Callable[[RuleUse], Iterable[Difference]]]:
    """What compares these two bodies, and its name."""
    a, b = left.answer or Response(0), right.answer or Response(0)
    x, y = left.decoded(), right.decoded()
    if x.problem or y.problem:
        return "content", lambda _: compare_undecodable(x, y, a, b)
    if x.unknown or y.unknown:
        return "content", lambda _: compare_coded(x, y)
    one, other = left.view(), right.view()
    if (x.complete and y.complete) or not (is_event_stream(a.headers) and is_event_stream(b.headers)):
        return _chosen_whole(plan, (a, one, x), (b, other, y))
    one, other, found = common_events((one, not x.complete), (other, not y.complete))
    comparator = _common(plan, one, other)
    if comparator is None or not one.data or not other.data:
        return "content", lambda _: found
    return comparator.name, lambda use: (*found, *comparator.compare(one, other, use))


def _chosen_whole(
    plan: EndpointPlan, left: tuple[Response, BodyView, Decoded], right: tuple[Response, BodyView, Decoded]
) -> tuple[str, Callable[[RuleUse], Iterable[Difference]]]:
    """The same for bodies that come to an end."""
    (a, one, x), (b, other, y) = left, right
    if not one.data or not other.data:
        return "content", lambda _: compare_empty(one, other)
    if not x.complete or not y.complete:
        return "content", lambda use: compare_partial((a, one), (b, other), use)
    comparator = _common(plan, one, other)
    if comparator is None:
        note = f"{one.media_type} against {other.media_type}"
        return "content", lambda _: (Difference(Aspect.BODY, "$", Kind.MEDIA_TYPE, one.media_type, other.media_type, "$", note),)
    return comparator.name, lambda use: comparator.compare(one, other, use)


def _common(plan: EndpointPlan, one: BodyView, other: BodyView) -> BodyComparator | None:
    """The comparator of both types; a fallback (priority 0) only serves two bodies of the same type."""
    first, second = plan.comparator_for(one.media_type), plan.comparator_for(other.media_type)
    if first is None or first is not second:
        return None
    return first if first.priority > 0 or one.media_type == other.media_type else None


def _forgiven(difference: Difference, use: RuleUse) -> bool:
    place = use.at(difference.path)
    if place.ignore >= 0:
        use.used.add(place.ignore)
        return True
    if place.format_only >= 0 and CHANNEL_OF[difference.kind] in _VALUE_CHANNELS:
        use.used.add(place.format_only)
        return True
    return False


def sniffed(data: bytes) -> str:
    """The type of a body that does not say: JSON, text, or bytes."""
    if data[:64].lstrip()[:1] in (b"{", b"["):
        try:
            orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
        else:
            return "application/json"
    try:
        data.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "application/octet-stream" if b"\x00" in data else "text/plain"
