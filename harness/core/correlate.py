"""Identifier correlation in replay: recorded identifiers and those that an arm's server made in their stead.

A replayed log-in or creation gives other tokens and ids than the recorded one. An IdMap learns the pairs from aligned
answers, rewrites the arm's later requests of the session, and turns its answers back into recorded terms, so that arms
can be compared with each other. It knows messages and nothing of how they are sent. A mapping can hide a wrong id, so
every one is counted, and whatever is doubtful is not mapped.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import orjson

from harness.core import coding, limits
from harness.core.entities import Entity, entity_of_path
from harness.core.http import header, header_values
from harness.core.idtable import IdTable, Key, keys_of
from harness.core.leaves import Leaf, Name, Pair, differing, key_of, leaves_of, mapping_key, scope_of, url_leaves
from harness.core.places import Place, body_text, is_json, is_token_header, url_segments, visit_request, visit_response
from harness.core.values import Headers, Request, Response

_NO_DOCUMENT: Final = object()


class Contradiction(msgspec.Struct, frozen=True):
    """Two answers that cannot both be right: the first mapping is kept. Holds real values: redact before storing."""

    place: str
    recorded: str
    live: str
    known: str
    """What the recorded value was mapped to before, or, where the live one is taken, the recorded value it stands for."""


class LearnResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one pair of answers taught."""

    mapped: int = 0
    contradictions: tuple[Contradiction, ...] = ()
    aligned: bool = True
    """Both answers have the same status; nothing is learned otherwise."""
    lost: int = 0
    """Recorded identifiers new in this answer for which the live answer has none: followers that use them are tainted."""


class IdMap:
    """Recorded and live identifiers of one session and one arm. Holds at most `identifiers_max`, least used out first.

    Not thread-safe. `decoders` undo the content codings of bodies; one that is not among them is left as it is.
    """

    def __init__(
        self,
        identifiers_max: int = limits.SESSION_IDENTIFIERS_MAX,
        decoders: Mapping[str, coding.Decoder] = coding.DECODERS,
    ) -> None:
        self._max = identifiers_max
        self._decoders = decoders
        self._used: OrderedDict[Key, str] = OrderedDict()
        self._forward = IdTable()
        self._inverse = IdTable()
        self._about: Entity = ()

    def __len__(self) -> int:
        """Mappings held."""
        return len(self._used)

    def learn(self, request: Request, reference: Response, actual: Response, control: Response | None = None) -> LearnResult:
        """Takes what `reference` (recorded, or stable's) and this arm's `actual` answer to the same request teach.

        `request` is the one in recorded terms. `control` is another arm's live answer: where it repeats the
        reference, the value is none that a server makes anew, and this arm's other value is a difference to be seen,
        not a mapping. Values that the request supplied and equal values are never mapped, nor are values that occur
        on the other side as well (the same things in another order).
        """
        self._about = about = entity_of_path(url_segments(request.target))
        if reference.status != actual.status:
            return LearnResult(aligned=False)
        lesson = _Lesson(self, request, reference, actual, control)
        contradictions: list[Contradiction] = []
        mapped, lost = 0, 0
        for place, leaf, twin in self._pairs(reference, actual, about):
            if twin is None:
                lost += self._is_lost(leaf, lesson)
                continue
            if self._forward.known(((), leaf.value)) == twin.value:
                continue
            key = mapping_key(leaf, twin)
            if key is None:
                continue
            known = self._forward.known(key) or self._inverse.known((key[0], twin.value))
            if known is not None:
                if self._forward.known(key) != twin.value:
                    contradictions.append(Contradiction(place, leaf.value, twin.value, known))
            elif lesson.allows(place, leaf, twin, key):
                self._add(key, twin.value)
                mapped += 1
        return LearnResult(mapped=mapped, contradictions=tuple(contradictions), lost=lost)

    def rewrite_request(self, request: Request) -> tuple[Request, int]:
        """The request in this arm's terms, and in how many places it changed. Unchanged, it is the same object."""
        if not self._used or not self._may_hit(self._forward, request.target, request.headers, request):
            return request, 0
        visitor = _Counting(self._forward)
        new = visit_request(request, visitor, self._decoders)
        for key in visitor.keys:
            self._used.move_to_end(key)
        return new, visitor.count

    def restore_response(self, response: Response, request: Request | None = None) -> tuple[Response, int]:
        """The answer in recorded terms, and in how many places it changed. Unchanged, it is the same object.

        `request` (in either terms) says what a plain `id` in the answer belongs to; without it the request last
        learned from is taken.
        """
        if not self._used or not self._may_hit(self._inverse, "", response.headers, response):
            return response, 0
        about = entity_of_path(url_segments(request.target)) if request is not None else self._about
        visitor = _Counting(self._inverse)
        return visit_response(response, about, visitor, self._decoders), visitor.count

    def _add(self, key: Key, live: str) -> None:
        self._used[key] = live
        self._forward.add(key, live)
        self._inverse.add((key[0], live), key[1])
        if len(self._used) > self._max:
            oldest, value = self._used.popitem(last=False)
            self._forward.remove(oldest)
            self._inverse.remove((oldest[0], value))

    def _may_hit(self, table: IdTable, target: str, headers: Headers, message: Request | Response) -> bool:
        """Whether any mapped value may occur; false positives cost time only."""
        text = unquote(target) if "%" in target else target
        if table.may_hit(text.encode("utf-8", "surrogatepass")):
            return True
        if table.may_hit("\n".join([value for _, value in headers]).encode("utf-8", "surrogatepass")):
            return True
        found = body_text(message.body, headers, self._decoders)
        if found is None:
            return False
        return table.may_hit(found[0]) or (b"%" in found[0] and table.may_hit(unquote(found[0]).encode("utf-8", "surrogatepass")))

    def _is_lost(self, leaf: Leaf, lesson: "_Lesson") -> bool:
        scope = scope_of(leaf) if leaf.name is not Name.PLAIN else None
        return scope is not None and self._forward.known((scope, leaf.value)) is None and key_of(leaf) not in lesson.live

    def supplied(self, request: Request) -> set[Key]:
        """All values that a request holds, as keys."""
        collector = _Collecting()
        visit_request(request, collector, self._decoders)
        return collector.keys

    def leaves(self, response: Response) -> dict[str, Leaf]:
        """All values of an answer to the request last learned from that may be identifiers, by place."""
        document = self._document(response)
        found = dict(_head_leaves(response))
        if document is not _NO_DOCUMENT:
            found.update(leaves_of(document, self._about))
        return found

    def _pairs(self, reference: Response, actual: Response, about: Entity) -> Iterator[Pair]:
        """Places at which both answers have an unequal value, or only the reference has one."""
        live = dict(_head_leaves(actual))
        for place, leaf in _head_leaves(reference):
            twin = live.get(place)
            if twin is None or twin.value != leaf.value:
                yield place, leaf, twin
        if reference.body.data == actual.body.data:
            return
        recorded_document, live_document = self._document(reference), self._document(actual)
        if recorded_document is not _NO_DOCUMENT:
            yield from differing(recorded_document, None if live_document is _NO_DOCUMENT else live_document, about)

    def _document(self, response: Response) -> Any:
        if not is_json(response.headers):
            return _NO_DOCUMENT
        body = body_text(response.body, response.headers, self._decoders)
        try:
            return orjson.loads(body[0]) if body else _NO_DOCUMENT
        except orjson.JSONDecodeError:
            # What is not JSON has no leaves; the comparison says that it is malformed.
            return _NO_DOCUMENT


class _Lesson:
    """What decides whether a new pair of one request's answers may become a mapping; read only when there is one."""

    def __init__(self, ids: IdMap, request: Request, reference: Response, actual: Response, control: Response | None) -> None:
        self._ids = ids
        self._request = request
        self._reference = reference
        self._actual = actual
        self._control = control if control is not None and control.status == reference.status else None

    @cached_property
    def live(self) -> frozenset[Key]:
        """All values of the live answer."""
        return frozenset(key_of(leaf) for leaf in self._ids.leaves(self._actual).values())

    @cached_property
    def _recorded(self) -> frozenset[Key]:
        return frozenset(key_of(leaf) for leaf in self._ids.leaves(self._reference).values())

    @cached_property
    def _steady(self) -> dict[str, Leaf]:
        return self._ids.leaves(self._control) if self._control is not None else {}

    @cached_property
    def _supplied(self) -> set[Key]:
        return self._ids.supplied(self._request)

    def allows(self, place: str, leaf: Leaf, twin: Leaf, key: Key) -> bool:
        """Whether the server made both values anew, as far as the messages show."""
        steady = self._steady.get(place)
        if steady is not None and steady.value == leaf.value:
            return False
        if key_of(twin) in self._recorded or key_of(leaf) in self.live:
            return False
        return key not in self._supplied and (key[0], twin.value) not in self._supplied


class _Counting:
    """A visitor that translates by a table and counts."""

    def __init__(self, table: IdTable) -> None:
        self._table = table
        self.count = 0
        self.keys: set[Key] = set()

    def spots(self, text: str, /) -> list[int]:
        return self._table.spots(text)

    def visit(self, value: str, place: Place) -> str:
        new = self._table.translate(value, place, self.keys)
        self.count += new != value
        return new


class _Collecting:
    """A visitor that notes all values and changes none."""

    def __init__(self) -> None:
        self.keys: set[Key] = set()

    def spots(self, _text: str, /) -> None:
        return None

    def visit(self, value: str, place: Place) -> str:
        self.keys.update(keys_of(value, place))
        return value


def _head_leaves(response: Response) -> Iterator[tuple[str, Leaf]]:
    """What the headers hand out: cookies by name, Location by segment, headers named like tokens."""
    for value in header_values(response.headers, "set-cookie"):
        name, mark, rest = value.partition(";")[0].partition("=")
        if mark:
            yield f"set-cookie {name.strip()}", Leaf(rest.strip().strip('"'), None, Name.TOKEN)
    location = header(response.headers, "location")
    if location:
        yield from url_leaves("location", location)
    for name, value in response.headers:
        if is_token_header(name):
            yield name.lower(), Leaf(value.rpartition(" ")[2], None, Name.TOKEN)
