"""The places of a message where an identifier may stand, visited and rewritten one by one.

It knows where values are (path, query, cookies, headers, body leaves) and not what to replace them by: a visitor gets a
value with what is known of its place and returns the new one. A message in which nothing changed comes back as the same
object.
"""

import re
from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import msgspec

from harness.core import coding
from harness.core.endpoint import path_of
from harness.core.entities import Entity, entity_at, entity_of_path, entity_of_word, id_entity
from harness.core.http import media_type
from harness.core.jsonspans import Span, SpanKind, escape, scan, splice, unescape
from harness.core.values import Body, Headers, Request, Response


class Place(msgspec.Struct, frozen=True):
    """What is known of where a value stands."""

    entity: Entity | None = None
    """What an integer here would identify; None where integers are numbers."""
    running: bool = False
    """A URL or running text: identifiers stand in it as words."""


class Visitor(Protocol):
    """What is done with the values."""

    def visit(self, value: str, place: Place) -> str:
        """The value to stand at the place."""
        ...

    def spots(self, text: str, /) -> list[int] | None:
        """Positions in a text as written, ascending, outside which nothing needs a visit; None: everywhere."""
        ...


_OPAQUE: Final = Place()
_RUNNING: Final = Place(running=True)
_SCHEME: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9\-]{1,30}\s+)(?P<rest>\S+)")
_SKIPPED_REQUEST_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "host",
        "transfer-encoding",
        "user-agent",
    }
)
_URL_HEADERS: Final = frozenset({"location", "content-location", "referer", "link", "refresh", "origin"})
_TOKEN_HEADER: Final = re.compile(r"token|csrf|xsrf|session|authorization|api-?key", re.IGNORECASE)
_JSON: Final = re.compile(r"[\w.\-]+/(?:[\w.\-]+\+)?(?:json|x-ndjson|ndjson|jsonl)")
_TEXTUAL: Final = re.compile(r"text/|application/(?:[\w.\-]*\+)?(?:xml|javascript)|multipart/form-data|$")
_ORIGIN: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*:)?//[^/?#]*")


def is_token_header(name: str) -> bool:
    """Whether an answer's header of this name may hand out an identifier that later requests send."""
    return _TOKEN_HEADER.search(name) is not None


def is_url(value: str) -> bool:
    """Whether a leaf is a URL or an absolute path."""
    return value.startswith("/") or "://" in value[:16]


def url_segments(target: str) -> list[str]:
    """Decoded path segments of a target or URL."""
    return [unquote(segment, errors="surrogateescape") for segment in path_of(target).split("/")[1:]]


def visit_request(request: Request, visitor: Visitor, decoders: Mapping[str, coding.Decoder]) -> Request:
    """The request with every place visited; Content-Length follows the body."""
    entity = entity_of_path(url_segments(request.target))
    target = visit_target(request.target, visitor)
    headers = tuple(_visited(pair, _request_header(pair[0].lower(), pair[1], visitor)) for pair in request.headers)
    body, identity = _visit_body(request.body, request.headers, entity, visitor, decoders)
    if body is not request.body:
        headers = coding.without_coding(headers, body.size) if identity else coding.with_length(headers, body.size)
    elif target == request.target and headers == request.headers:
        return request
    return msgspec.structs.replace(request, target=target, headers=headers, body=body)


def visit_response(response: Response, entity: Entity, visitor: Visitor, decoders: Mapping[str, coding.Decoder]) -> Response:
    """The answer with every place visited; `entity` is what the request's path speaks of."""
    headers = tuple(_visited(pair, _response_header(pair[0].lower(), pair[1], visitor)) for pair in response.headers)
    body, identity = _visit_body(response.body, response.headers, entity, visitor, decoders)
    if body is not response.body:
        headers = coding.without_coding(headers, body.size) if identity else coding.with_length(headers, body.size)
    elif headers == response.headers:
        return response
    return msgspec.structs.replace(response, headers=headers, body=body)


def visit_target(target: str, visitor: Visitor) -> str:
    """A request target, or a URL whose origin stays."""
    origin = _ORIGIN.match(target)
    start = origin.end() if origin else 0
    rest, hash_mark, fragment = target[start:].partition("#")
    path, mark, query = rest.partition("?")
    segments = path.split("/")
    out: list[str] = []
    entity: Entity = ()
    for segment in segments:
        plain = _unquoted(segment)
        new = visitor.visit(plain, Place(entity or None)) if plain else plain
        out.append(segment if new == plain else quote(coding.to_bytes(new), safe="!$&'()*+,;=:@~"))
        entity = entity_of_word(plain) if plain and not plain[0].isdigit() else ()
    about = entity_of_path([_unquoted(segment) for segment in segments]) if query else ()
    return f"{target[:start]}{'/'.join(out)}{mark}{_visit_pairs(query, about, visitor)}{hash_mark}{fragment}"


def body_text(body: Body, headers: Headers, decoders: Mapping[str, coding.Decoder]) -> tuple[bytes, bool] | None:
    """The identity-coded bytes of a complete body, and whether a coding was undone; None where it cannot be read."""
    if not body.data or body.truncated:
        return None
    codings = coding.codings_of(headers)
    if not codings:
        return body.data, False
    decoded = coding.undo(body.data, codings, decoders)
    return (decoded.data, True) if decoded and decoded.complete else None


def is_json(headers: Headers) -> bool:
    """Whether the body is JSON (or NDJSON) by its media type."""
    return _JSON.fullmatch(media_type(headers)[0]) is not None


def _visited(pair: tuple[str, str], value: str) -> tuple[str, str]:
    return pair if value == pair[1] else (pair[0], value)


def _request_header(name: str, value: str, visitor: Visitor) -> str:
    if name in _SKIPPED_REQUEST_HEADERS:
        return value
    if name == "cookie":
        return ";".join(_visit_cookie(pair, visitor) for pair in value.split(";"))
    if name in _URL_HEADERS:
        return visitor.visit(value, _RUNNING)
    return _visit_credential(value, visitor)


def _response_header(name: str, value: str, visitor: Visitor) -> str:
    if name == "set-cookie":
        pair, mark, attributes = value.partition(";")
        return _visit_cookie(pair, visitor) + mark + attributes
    if name in {"location", "content-location"}:
        return visit_target(value, visitor)
    if name in {"link", "refresh"}:
        return visitor.visit(value, _RUNNING)
    return _visit_credential(value, visitor) if is_token_header(name) else value


def _visit_credential(value: str, visitor: Visitor) -> str:
    match = _SCHEME.fullmatch(value)
    if match:
        return match["scheme"] + visitor.visit(match["rest"], _OPAQUE)
    return visitor.visit(value, _OPAQUE)


def _visit_cookie(pair: str, visitor: Visitor) -> str:
    name, mark, value = pair.partition("=")
    inner = value.strip()
    if not inner:
        return pair
    if len(inner) >= 2 and inner[0] == inner[-1] == '"':
        return f'{name}{mark}"{visitor.visit(inner[1:-1], _OPAQUE)}"'
    new = visitor.visit(inner, _OPAQUE)
    return pair if new == inner else f"{name}{mark}{new}"


def _visit_pairs(text: str, about: Entity, visitor: Visitor) -> str:
    if not text:
        return text
    out: list[str] = []
    for pair in text.split("&"):
        name, mark, raw = pair.partition("=")
        value = unquote_plus(raw, errors="surrogateescape")
        place = _place(_name_entity(unquote_plus(name), about), value)
        if place.entity is not None and "," in value:
            new = ",".join(visitor.visit(part, place) for part in value.split(","))
        else:
            new = visitor.visit(value, place) if value else value
        out.append(pair if new == value else f"{name}{mark}{quote_plus(coding.to_bytes(new), safe='@,')}")
    return "&".join(out)


def _name_entity(name: str, about: Entity) -> Entity | None:
    entity = id_entity(name)
    return (about or None) if entity == () else entity


def _place(entity: Entity | None, value: str) -> Place:
    if entity:
        return Place(entity)
    return _RUNNING if is_url(value) else _OPAQUE


def _visit_body(body: Body, headers: Headers, about: Entity, visitor: Visitor, decoders: Mapping[str, coding.Decoder]) -> tuple[Body, bool]:
    """The body, the same object where nothing changed, and whether a coding was undone for it."""
    found = body_text(body, headers, decoders)
    if found is None:
        return body, False
    data, decoded = found
    kind = media_type(headers)[0]
    text = data.decode("utf-8", "surrogateescape")
    if _JSON.fullmatch(kind) or (not kind and text.lstrip()[:1] in {"{", "["}):
        new = visit_json(text, about, visitor)
    elif kind.endswith("x-www-form-urlencoded"):
        new = _visit_pairs(text, about, visitor)
    elif _TEXTUAL.match(kind):
        new = visitor.visit(text, _RUNNING)
    else:
        return body, False
    if new == text:
        return body, False
    encoded = coding.to_bytes(new)
    return Body(data=encoded, size=len(encoded)), decoded


def visit_json(text: str, about: Entity, visitor: Visitor) -> str:
    """Every string and integer leaf visited and replaced in place; text that is not JSON is visited as text."""
    found = scan(text)
    if found.end < len(text):
        return visitor.visit(text, _RUNNING)
    wrap = _items_wrap(found.spans)
    pieces: list[tuple[int, int, str]] = []
    for span in _spans_at(found.spans, visitor.spots(text)):
        if span.kind is SpanKind.KEY:
            continue
        literal = text[span.start : span.end]
        entity = entity_at(span.path, about, items_wrap=wrap)
        if span.kind is SpanKind.NUMBER:
            new = visitor.visit(literal, Place(entity)) if entity and literal.isdigit() else literal
            if new != literal and new.isdigit():
                pieces.append((span.start, span.end, new))
            continue
        value = unescape(literal)
        new = visitor.visit(value, _place(entity, value)) if value else value
        if new != value:
            pieces.append((span.start, span.end, escape(new)))
    return splice(text, pieces) if pieces else text


def _spans_at(spans: list[Span], spots: list[int] | None) -> list[Span]:
    """The spans that a spot lies in; both are in ascending order."""
    if spots is None:
        return spans
    found: list[Span] = []
    index = 0
    for spot in spots:
        while index < len(spans) and spans[index].end <= spot:
            index += 1
        if index < len(spans) and spans[index].start <= spot and (not found or found[-1] is not spans[index]):
            found.append(spans[index])
    return found


def _items_wrap(spans: list[Span]) -> bool:
    """Whether `items` of a document is packing: its root has no identifier of its own."""
    return not any(len(span.path) == 1 and span.path[0] in {"id", "_id"} for span in spans if span.kind is not SpanKind.KEY)


def _unquoted(segment: str) -> str:
    return unquote(segment, errors="surrogateescape") if "%" in segment else segment
