"""Which taped call answers a call: the same call, the same but for values that identify or date themselves, a like one.

The order follows what Keploy and AREX do (exact, then less exact, then the next unused in order). Everything is found by
keys, so that a tape of thousands of calls costs no more per call than a short one. Pure.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from harness.core.limits import TAPE_ALIKE_MAX, TAPE_LEAVES_MAX, TAPE_MASKS_MAX
from harness.core.placeholders import PLACEHOLDER, is_card_placeholder, is_placeholder
from harness.core.shapes import Shape, shape_of
from harness.effects.egress.calls import Call, TapedCall, Tree, canonical, encoded, endpoint_of, key_of, split_url

Place = tuple[str | int, ...]
"""Where a value stands in a canonical form."""

_OPEN: Final = "\0*"
"""Stands for what is not looked at. No value of a form can be mistaken for it but one that begins with a null character."""
_GENERATED: Final = {
    Shape.UUID: "uuid",
    Shape.ULID: "ulid",
    Shape.TOKEN: "token",
    Shape.JWT: "token",
    Shape.DATETIME_OFFSET: "time",
    Shape.DATETIME_LOCAL: "local time",
    Shape.HTTP_DATE: "http date",
    Shape.EPOCH_S: "seconds",
    Shape.EPOCH_MS: "milliseconds",
}
"""Shapes of values that a program makes anew each time. Dates without a time and numbered identifiers are content."""
_HEX_CHARS_MIN: Final = 16
_GENERATED_NAME: Final = re.compile(
    r"idempoten|nonce|time_?stamp|^ts$|(?:request|correlation|trace|span|message|event)[-_]?id$", re.IGNORECASE
)
_INSIDE: Final = re.compile(
    r"(?P<uuid>(?<![0-9A-Za-z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z]))"
    r"|(?<![0-9])[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9](?::[0-6][0-9](?:[.,][0-9]{1,9})?)?"
    r"(?: ?(?:[Zz]|[+-][0-9]{2}:?[0-9]{2}))?(?![0-9])"
)
"""UUIDs and times inside longer text."""
_CARD_INSIDE: Final = re.compile(r"(?<![0-9])9999(?:[ -]?[0-9]){9,15}(?![0-9])")
_MARKS: Final = (b"redacted", b"9999", b"asic ", b"withheld")
"""A form without any of these holds nothing redacted (`asic ` is the end of `Basic`, behind which placeholders are coded)."""
_COMPACT_AT: Final = 32


class Match(msgspec.Struct, frozen=True):
    """The taped call that answers a call."""

    taped: TapedCall
    exact: bool
    """The same call, but for redacted places and values that identify or date themselves; else only one to the same endpoint."""


def call_key(call: Call) -> str:
    """The same for calls that mean the same: method, URL without the order of query parameters, body by content. Headers do not count."""
    return key_of(canonical(call))


def endpoint_key(call: Call) -> str:
    """`METHOD host/template[ #operation]`; the port stands behind the host where it is not the scheme's own."""
    return endpoint_of(call)


class Tape:
    """Taped calls in order, and which of them each taker has used: every taker may use each call once.

    Calls may be added while others are taken. Not thread-safe.
    """

    def __init__(self, calls: Iterable[TapedCall] = ()) -> None:
        self._entries: list[_Entry] = []
        self._same: dict[str, _Line] = {}
        self._endpoints: dict[str, _Endpoint] = {}
        self._open_paths: dict[tuple[str, str, int], list[frozenset[int]]] = {}
        self._takers: dict[str, _Taker] = {}
        self._last: tuple[Call, _Form] | None = None
        for taped in calls:
            self.add(taped)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, taped: TapedCall) -> None:
        """Put a call at the end of the tape."""
        form = _Form(taped.call)
        number = len(self._entries)
        self._entries.append(_Entry(taped, form.redacted))
        self._same.setdefault(form.key, _Line()).numbers.append(number)
        left_open = frozenset(place[1] for place in form.redacted.places if place[0] == "path" and isinstance(place[1], int))
        known = self._open_paths.setdefault(form.route, [])
        if left_open not in known:
            known.append(left_open)
        endpoint = self._endpoints.setdefault(endpoint_of(taped.call, left_open), _Endpoint())
        endpoint.line.numbers.append(number)
        endpoint.groups.setdefault(form.redacted.places, _Group()).add(number, form)

    def take(self, call: Call, taker: str) -> Match | None:
        """The taped call that answers this one, used up for this taker; None where none is left to its endpoint."""
        found = self._exact(call, taker)
        exact = found is not None
        if found is None:
            found = self._likest(call, taker)
        if found is None:
            return None
        self._taker(taker).used.add(found)
        return Match(self._entries[found].taped, exact)

    def has_exact(self, call: Call, taker: str) -> bool:
        """Whether `take` would find an exact match now."""
        return self._exact(call, taker) is not None

    def unused(self, taker: str) -> tuple[TapedCall, ...]:
        """What this taker has not used, in order."""
        used = self._takers[taker].used if taker in self._takers else ()
        return tuple(entry.taped for number, entry in enumerate(self._entries) if number not in used)

    def forget(self, taker: str) -> None:
        """Forget what a taker has used."""
        self._takers.pop(taker, None)

    def _taker(self, taker: str) -> "_Taker":
        return self._takers.setdefault(taker, _Taker())

    def _form(self, call: Call) -> "_Form":
        # A proxy that waits for a call to be taped asks again and again about the same one.
        if self._last is None or self._last[0] is not call:
            self._last = (call, _Form(call))
        return self._last[1]

    def _exact(self, call: Call, taker: str) -> int | None:
        form, state = self._form(call), self._taker(taker)
        # What is the same in all places comes first, also where a placeholder came in by the traffic itself.
        if (line := self._same.get(form.key)) is not None and (numbers := state.first(line, 1)):
            return numbers[0]
        endpoints = self._candidates(call, form)
        for loosely in (False, True):
            found = [number for endpoint in endpoints for number in self._in_groups(endpoint, form, state, loosely=loosely)]
            if found:
                return min(found)
        return None

    def _candidates(self, call: Call, form: "_Form") -> list["_Endpoint"]:
        """The endpoints that the call may be one of: with its path as it is, and with segments open that were redacted."""
        found = (self._endpoints.get(endpoint_of(call, left_open)) for left_open in self._open_paths.get(form.route, ()))
        return [endpoint for endpoint in found if endpoint is not None]

    def _in_groups(self, endpoint: "_Endpoint", form: "_Form", state: "_Taker", *, loosely: bool) -> Iterator[int]:
        """The first unused call of each group that is the same as the form outside of the group's redacted places."""
        for places, group in list(endpoint.groups.items())[:TAPE_MASKS_MAX]:
            if not places and not loosely:
                continue
            line = (group.loose(self._entries) if loosely else group.same).get(form.reduced_key(places, loosely=loosely))
            if line is None:
                continue
            for number in state.first(line, TAPE_ALIKE_MAX):
                if self._entries[number].redacted.fits(form.tree, loosely=loosely):
                    yield number
                    break

    def _likest(self, call: Call, taker: str) -> int | None:
        form, state = self._form(call), self._taker(taker)
        numbers = sorted(number for each in self._candidates(call, form) for number in state.first(each.line, TAPE_ALIKE_MAX))
        if len(numbers) <= 1:
            return numbers[0] if numbers else None
        own = form.leaves
        return max(numbers, key=lambda number: (len(own & self._entries[number].leaves), -number))


class _Redacted(msgspec.Struct, frozen=True):
    """What is redacted in a form."""

    places: frozenset[Place] = frozenset()
    """Array indices left out, so that arrays of any length have the same places."""
    partial: tuple[tuple[Place, str], ...] = ()
    """Texts with a placeholder in a part of them, by their full place: the rest must be equal."""

    def fits(self, tree: Tree, *, loosely: bool) -> bool:
        """Whether the texts that are redacted in part agree with those of another form in the rest."""
        return all(_agrees(text, _value_at(tree, place), loosely=loosely) for place, text in self.partial)


class _Form:
    """A call's canonical form and what follows from it, each thing made once and when it is needed."""

    def __init__(self, call: Call) -> None:
        self.tree = canonical(call)
        self.key = key_of(self.tree)
        url = split_url(call.url)
        self.route = (self.tree["method"], url.authority, len(url.segments))
        self._reduced: dict[tuple[frozenset[Place], bool], str] = {}
        self._redacted: _Redacted | None = None
        self._leaves: frozenset[int] | None = None

    @property
    def redacted(self) -> _Redacted:
        """What is redacted in it."""
        if self._redacted is None:
            data = encoded(self.tree)
            self._redacted = _redacted(self.tree) if any(mark in data for mark in _MARKS) else _Redacted()
        return self._redacted

    @property
    def leaves(self) -> frozenset[int]:
        """Hashes of its first values with their places."""
        if self._leaves is None:
            self._leaves = leaves_of(self.tree)
        return self._leaves

    def reduced_key(self, places: frozenset[Place], *, loosely: bool) -> str:
        """The key without what stands at some places and, loosely, without what identifies or dates itself."""
        key = (places, loosely)
        if key not in self._reduced:
            self._reduced[key] = key_of(_reduced(self.tree, places, (), loosely=loosely))
        return self._reduced[key]


class _Entry:
    """A taped call on a tape."""

    __slots__ = ("_leaves", "redacted", "taped")

    def __init__(self, taped: TapedCall, redacted: _Redacted) -> None:
        self.taped = taped
        self.redacted = redacted
        self._leaves: frozenset[int] | None = None

    @property
    def leaves(self) -> frozenset[int]:
        """As `_Form.leaves`."""
        if self._leaves is None:
            self._leaves = leaves_of(canonical(self.taped.call))
        return self._leaves


class _Line:
    """Numbers of taped calls that have something in common, ascending."""

    __slots__ = ("numbers",)

    def __init__(self) -> None:
        self.numbers: list[int] = []


class _Group:
    """Taped calls of an endpoint with the same redacted places."""

    __slots__ = ("_loose", "_waiting", "same")

    def __init__(self) -> None:
        self.same: dict[str, _Line] = {}
        self._loose: dict[str, _Line] = {}
        self._waiting: list[int] = []

    def add(self, number: int, form: _Form) -> None:
        """A further call."""
        if form.redacted.places:
            self.same.setdefault(form.reduced_key(form.redacted.places, loosely=False), _Line()).numbers.append(number)
        # Most calls find the very same one: what is needed beyond that is worked out when it is asked for.
        self._waiting.append(number)

    def loose(self, entries: list[_Entry]) -> dict[str, _Line]:
        """The calls by what is left of them without what identifies or dates itself."""
        for number in self._waiting:
            entry = entries[number]
            key = key_of(_reduced(canonical(entry.taped.call), entry.redacted.places, (), loosely=True))
            self._loose.setdefault(key, _Line()).numbers.append(number)
        self._waiting.clear()
        return self._loose


class _Endpoint:
    """Taped calls to one endpoint."""

    __slots__ = ("groups", "line")

    def __init__(self) -> None:
        self.line = _Line()
        self.groups: dict[frozenset[Place], _Group] = {}


class _Taker:
    """What one taker has used, and what it has not, line by line."""

    __slots__ = ("_left", "used")

    def __init__(self) -> None:
        self.used: set[int] = set()
        self._left: dict[_Line, tuple[list[int], int]] = {}

    def first(self, line: _Line, count: int) -> list[int]:
        """The first unused numbers of a line, at most so many."""
        left, pulled = self._left.get(line, ([], 0))
        left.extend(line.numbers[pulled:])
        found: list[int] = []
        passed = 0
        for number in left:
            if number in self.used:
                passed += 1
                continue
            found.append(number)
            if len(found) == count:
                break
        if passed >= _COMPACT_AT:
            left = [number for number in left if number not in self.used]
        self._left[line] = (left, len(line.numbers))
        return found


def leaves_of(tree: Tree) -> frozenset[int]:
    """Hashes of the first TAPE_LEAVES_MAX values of a form with their places; the same within one process only."""
    return frozenset(hash((place, type(value), value)) for place, value in _bounded_leaves(tree))


def _bounded_leaves(tree: Tree) -> Iterator[tuple[Place, Any]]:
    stack: list[tuple[Place, Any]] = [((), tree)]
    count = 0
    while stack and count < TAPE_LEAVES_MAX:
        place, value = stack.pop()
        if isinstance(value, dict) and value:
            stack.extend(((*place, name), value[name]) for name in sorted(value, reverse=True))
        elif isinstance(value, list) and value:
            stack.extend(((*place, index), value[index]) for index in range(len(value) - 1, -1, -1))
        else:
            count += 1
            yield place, str(value) if isinstance(value, dict | list) else value


def _inner(place: Place, step: str | int) -> Place:
    """The place one step on, without array indices; those of path segments are kept."""
    return (*place, step) if isinstance(step, str) or place == ("path",) else place


def _reduced(value: Any, places: frozenset[Place], place: Place, *, loosely: bool) -> Any:
    if place in places:
        return _OPEN
    if isinstance(value, dict):
        return {name: _reduced(inner, places, (*place, name), loosely=loosely) for name, inner in value.items()}
    if isinstance(value, list):
        return [_reduced(inner, places, _inner(place, index), loosely=loosely) for index, inner in enumerate(value)]
    return _loosened(value, place) if loosely else value


def _loosened(value: Any, place: Place) -> Any:
    """A value, or what sort of value it is where it identifies or dates itself."""
    if value is None or isinstance(value, bool) or place in {("method",), ("origin",)}:
        return value
    name = next((step for step in reversed(place) if isinstance(step, str)), "")
    if _GENERATED_NAME.search(name):
        return f"\0{type(value).__name__}"
    if isinstance(value, int | float):
        shape = shape_of(str(int(value)))
        return f"\0{_GENERATED[shape]}" if shape in _GENERATED else value
    shape = shape_of(value)
    if shape is Shape.DECIMAL:
        shape = shape_of(value.partition(".")[0])  # seconds with a fraction
    if shape is Shape.HEX and len(value) >= _HEX_CHARS_MIN:
        return f"\0hex {len(value)}"
    return f"\0{_GENERATED[shape]}" if shape in _GENERATED else _loosened_inside(value)


def _loosened_inside(text: str) -> str:
    return _INSIDE.sub(lambda found: "\0uuid" if found["uuid"] else "\0time", text)


def _redacted(tree: Tree) -> _Redacted:
    places: set[Place] = set()
    partial: list[tuple[Place, str]] = []
    stack: list[tuple[Place, Place, Any]] = [((), (), tree)]
    while stack:
        full, place, value = stack.pop()
        if isinstance(value, dict):
            # A name that is redacted cannot be found again, so nothing under the object can be told.
            if (place == ("body",) and "withheld" in value) or any(_holds_placeholder(name) for name in value):
                places.add(place)
            else:
                stack.extend(((*full, name), (*place, name), inner) for name, inner in value.items())
        elif isinstance(value, list):
            stack.extend(((*full, index), _inner(place, index), inner) for index, inner in enumerate(value))
        elif isinstance(value, int):
            if not isinstance(value, bool) and is_card_placeholder(str(value)):
                places.add(place)
        elif isinstance(value, str) and _holds_placeholder(value):
            places.add(place)
            if not is_placeholder(value):
                partial.append((full, value))
    return _Redacted(frozenset(places), tuple(partial))


def _holds_placeholder(text: str) -> bool:
    return is_placeholder(text) or len(_outside_placeholders(text)) > 1


def _outside_placeholders(text: str) -> list[str]:
    """The pieces of a text between its placeholders."""
    cards = (found for found in _CARD_INSIDE.finditer(text) if is_card_placeholder(found.group()))
    pieces: list[str] = []
    at = 0
    for start, end in sorted(found.span() for found in (*PLACEHOLDER.finditer(text), *cards)):
        if start >= at:
            pieces.append(text[at:start])
            at = end
    return [*pieces, text[at:]]


def _agrees(taped: str, value: Any, *, loosely: bool) -> bool:
    """Whether a text has the pieces of a partly redacted one, in their order."""
    if not isinstance(value, str):
        return False
    if loosely:
        taped, value = _loosened_inside(taped), _loosened_inside(value)
    first, *middle, last = _outside_placeholders(taped) if taped else [""]
    if len(value) < len(first) + len(last) or not (value.startswith(first) and value.endswith(last)):
        return False
    at, end = len(first), len(value) - len(last)
    for piece in middle:
        found = value.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _value_at(tree: Tree, place: Place) -> Any:
    value: Any = tree
    for step in place:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value
