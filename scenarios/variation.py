"""Data variation: requests like a captured one, with boundary values where it had ordinary ones. Pure.

Hypothesis chooses which places change together and how; the values come from short lists for each kind of place, so
that a seed gives the same requests wherever it runs (free strategies also draw on constants of the loaded modules).
Another version of Hypothesis may give others.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote, unquote_plus

import hypothesis
import msgspec
import orjson
from hypothesis import strategies as st

from harness.core.http import media_type
from harness.core.limits import VARIANTS_MAX
from harness.core.values import Request, body_of

PLACES_MAX: Final = 64
"""Places of a request that are varied; further ones stay as they are."""
CHANGES_MAX: Final = 3
"""Places changed in one request."""
_DEPTH_MAX: Final = 32
_LONG_CHARS: Final = 300


class _Removed:
    """Stands for a member or parameter that is left out."""


class _EnoughError(Exception):
    """Ends the generation, as a failing example does."""


REMOVED: Final = _Removed()
_TEXTS: Final = (
    "",
    " ",
    "0",
    "-1",
    "1e9",
    "null",
    "x" * _LONG_CHARS,
    "Ünïcödé ✓",
    "\u202eabc",
    "a'b\"c",
    "<b>&amp;</b>",
    "../..",
    "%00",
    "a,b;c|d",
)
_NUMBERS: Final = (0, -1, 1, 0.1, -0.5, 1e308, 2**31 - 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63))


class _Place(msgspec.Struct, frozen=True):
    """Somewhere a value stands: a query parameter by position, or a member of the JSON body by its steps."""

    steps: tuple[str | int, ...]
    in_query: bool
    options: tuple[Any, ...]


def vary(request: Request, seed: int, count: int) -> tuple[Request, ...]:
    """Up to `count` requests that differ from `request` and from each other, the same for the same arguments.

    Changed are query values and the leaves, arrays and objects of a JSON body; method, path and headers stay, but for
    Content-Length. Fewer come back where a request has too few places; none where it has no query and no JSON body.
    """
    if not 0 <= count <= VARIANTS_MAX:
        raise ValueError(f"count must be 0 to {VARIANTS_MAX}, not {count}")
    places = _places(request)
    if not places or not count:
        return ()
    found: dict[Request, None] = {}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        database=None,
        deadline=None,
        derandomize=False,
        max_examples=3 * count + 20,
        phases=[hypothesis.Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )
    @hypothesis.given(_changes(places))
    def collect(changes: tuple[tuple[_Place, Any], ...]) -> None:
        if len(found) == count:
            raise _EnoughError
        varied = _changed(request, changes)
        if varied != request:
            found[varied] = None

    with suppress(_EnoughError):
        collect()
    return tuple(found)


@st.composite
def _changes(draw: st.DrawFn, places: Sequence[_Place]) -> tuple[tuple[_Place, Any], ...]:
    chosen = draw(st.lists(st.sampled_from(range(len(places))), min_size=1, max_size=CHANGES_MAX, unique=True))
    # Left out in one case of four: what code handles worst is what it does not expect to be missing.
    present = [(index, draw(st.sampled_from((True, True, True, False)))) for index in sorted(chosen)]
    return tuple((places[index], draw(st.sampled_from(places[index].options)) if kept else REMOVED) for index, kept in present)


def _places(request: Request) -> list[_Place]:
    places = [
        _Place((position,), in_query=True, options=_text_options(unquote_plus(pair.partition("=")[2])))
        for position, pair in enumerate(_pairs(request.target))
    ]
    document = _document(request)
    if isinstance(document, dict | list):
        _walk(document, (), places)
    return places[:PLACES_MAX]


def _walk(value: Any, steps: tuple[str | int, ...], places: list[_Place]) -> None:
    members: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    for name, member in members:
        if len(places) >= PLACES_MAX or len(steps) >= _DEPTH_MAX:
            return
        places.append(_Place((*steps, name), in_query=False, options=_options(member)))
        _walk(member, (*steps, name), places)


def _options(value: Any) -> tuple[Any, ...]:
    """What may stand in the place of a JSON value: boundaries of its type first, other types after them."""
    if isinstance(value, bool):
        return (not value, None, str(value).lower(), int(value))
    if isinstance(value, int | float):
        return (*_NUMBERS, *_neighbours(value), None, str(value), "", True)
    if isinstance(value, str):
        return (*_text_options(value), None, 0, False, [value])
    if isinstance(value, list):
        return ([], [*value, *value[:1]], value[::-1], None, {})
    if isinstance(value, dict):
        return ({}, [], None, "")
    return ("", 0, False, {})


def _text_options(text: str) -> tuple[str, ...]:
    near: tuple[str, ...] = (text.upper(), text.lower(), text + " ", text[:-1], text * 2)
    with suppress(ValueError):
        near += tuple(str(number) for number in _neighbours(int(text)))
    return (*_TEXTS, *near)


def _neighbours(number: float) -> tuple[float, ...]:
    return (number + 1, number - 1, -number, number * 10)


def _changed(request: Request, changes: Sequence[tuple[_Place, Any]]) -> Request:
    """The request with the changes made, last place first, so that no removal moves a place still to come."""
    pairs: list[str | None] = list(_pairs(request.target))
    document = _document(request)
    for place, value in reversed(changes):
        if place.in_query:
            at = place.steps[0]
            assert isinstance(at, int)
            name = (pairs[at] or "").partition("=")[0]
            pairs[at] = None if value is REMOVED else f"{name}={quote(value, safe='', errors='replace')}"
        else:
            _put(document, place.steps, value)
    path = request.target.partition("?")[0]
    query = "&".join(pair for pair in pairs if pair is not None)
    varied = msgspec.structs.replace(request, target=f"{path}?{query}" if query else path)
    if all(place.in_query for place, _ in changes):
        return varied
    body = body_of(orjson.dumps(document))
    if body.data == orjson.dumps(_document(request)):
        return varied
    headers = tuple((name, str(body.size) if name.lower() == "content-length" else value) for name, value in request.headers)
    return msgspec.structs.replace(varied, body=body, headers=headers)


def _put(document: Any, steps: Sequence[str | int], value: Any) -> None:
    holder = document
    for step in steps[:-1]:
        holder = holder[step]
    if value is REMOVED:
        del holder[steps[-1]]
    else:
        holder[steps[-1]] = value


def _pairs(target: str) -> list[str]:
    return [pair for pair in target.partition("?")[2].split("&") if pair]


def _document(request: Request) -> Any:
    """The JSON body, parsed afresh; None where there is none that can be read whole."""
    kind = media_type(request.headers)[0]
    if request.body.truncated or not (kind == "application/json" or kind.endswith("+json")):
        return None
    try:
        return orjson.loads(request.body.data)
    except orjson.JSONDecodeError:
        return None
