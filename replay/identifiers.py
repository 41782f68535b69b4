"""Which identifiers a message carries: those a request uses, those an answer issues.

Sessions are linked by them, and the runner knows by them what follows from a lost creation. Pure; it judges one message
by itself. Identifiers are text: a token as it is, `order#7` for integer 7 of an order, `cookie sid=7` for a session cookie.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_plus

import orjson

from harness.core.entities import Entity, entity_at, entity_of_path, entity_of_word, id_entity, is_id_integer
from harness.core.http import SAFE_METHODS, header, header_values, media_type
from harness.core.jsonspans import Path
from harness.core.limits import SESSION_VALUES_PER_MESSAGE_MAX, TARGET_SEGMENTS_MAX
from harness.core.places import is_json, is_token_header, url_segments
from harness.core.shapes import Shape, shape_of
from harness.core.values import Headers, Request, Response
from replay.codings import plain_body

_IDENTIFIERS: Final = frozenset(
    {Shape.UUID, Shape.ULID, Shape.HEX, Shape.JWT, Shape.PREFIXED, Shape.TOKEN, Shape.SHORT_TOKEN, Shape.BASE64}
)
_SESSION_NAME: Final = re.compile(r"(?i)(?:sess|(?:^|[^a-z])sid(?:$|[^a-z])|auth|token|jwt|login|user_?id|remember)")
_TEXT_TOKEN: Final = re.compile(r"[A-Za-z0-9_\-]{16,128}")
_COMMON_WORDS: Final = frozenset({"true", "false", "null", "none", "undefined", "anonymous", "guest", "deleted", "test", "default"})
_DEPTH_MAX: Final = 32

_Fits = Callable[[str], bool]


class Issued(NamedTuple):
    """An identifier in an answer."""

    value: str
    created: bool
    """The answer made it (an unsafe method, a cookie, a token header); else it may as well be stored data that was read."""


def is_identifier(text: str) -> bool:
    """Whether a text by itself looks like a made-up identifier, not like a word, a number or a date."""
    return 6 <= len(text) <= 8192 and shape_of(text) in _IDENTIFIERS


def is_session_cookie(name: str, value: str) -> bool:
    """Whether a cookie is by its name who somebody is."""
    return len(value) >= 4 and value.lower() not in _COMMON_WORDS and _SESSION_NAME.search(name) is not None


def cookies_of(headers: Headers) -> Iterator[tuple[str, str]]:
    """Name and value of each cookie sent."""
    for line in header_values(headers, "cookie"):
        for part in line.split(";"):
            name, equals, value = part.strip().partition("=")
            if equals and value:
                yield name, value.strip('"')


def set_cookies_of(headers: Headers) -> Iterator[tuple[str, str]]:
    """Name and value of each cookie that an answer sets."""
    for line in header_values(headers, "set-cookie"):
        name, _, value = line.split(";", 1)[0].strip().partition("=")
        if value:
            yield name, value.strip('"')


def token_of(value: str) -> str:
    """The token of a header value: `Bearer x` is `x`."""
    return value.strip().rpartition(" ")[2]


def used_values(request: Request, *, loosely: bool = False) -> frozenset[str]:
    """The identifiers in path, query, cookies, token headers and body of a request.

    Loosely, every text of eight or more characters counts: it might be a token that looks like a word.
    """
    found: set[str] = set()
    fits = _is_long if loosely else is_identifier
    segments = url_segments(request.target)
    about = entity_of_path(segments)
    _segment_values(segments, found, fits)
    _pair_values(request.target.partition("?")[2], about, found, fits)
    for name, value in cookies_of(request.headers):
        if fits(value):
            found.add(value)
        if is_session_cookie(name, value):
            found.add(_cookie(name, value))
    for name, value in request.headers:
        if is_token_header(name) and fits(token := token_of(value)):
            found.add(token)
    if request.body.data:
        if is_json(request.headers):
            for path, leaf in _leaves(request.body.data):
                _scalar(entity_at(path, about, items_wrap=True), leaf, found, fits)
        elif media_type(request.headers)[0] == "application/x-www-form-urlencoded":
            _pair_values(request.body.data.decode("latin-1"), about, found, fits)
    return frozenset(found)


def issued_values(request: Request, response: Response, wanted: frozenset[str] | set[str] | None = None) -> list[Issued]:
    """The identifiers in an answer that the request did not carry. With `wanted`, only those among it (and faster)."""
    found: dict[str, bool] = {}
    for name, value in set_cookies_of(response.headers):
        if _fits(value, wanted):
            found[value] = True
        if is_session_cookie(name, value):
            found[_cookie(name, value)] = True
    for name, value in response.headers:
        if is_token_header(name) and _fits(token := token_of(value), wanted):
            found[token] = True
    made = request.method not in SAFE_METHODS or response.status == 201
    location = header(response.headers, "location")
    if location:
        values: set[str] = set()
        _segment_values(url_segments(location), values, is_identifier)
        found.update((value, made) for value in values)
    for value, created in _body_values(request, response, wanted, made=made):
        found[value] = found.get(value, False) or created
    if not found:
        return []
    supplied = used_values(request)
    return [Issued(value, created) for value, created in found.items() if value not in supplied and (wanted is None or value in wanted)]


def teaches(request: Request, recorded: Response, later: frozenset[str] | set[str]) -> bool:
    """Whether an answer may give identifiers a later request needs; `later` is what those use, loosely.

    What changes something does, as do cookies and token headers. Of a read nothing is learned that nobody uses: a
    mapping can hide a difference.
    """
    if request.method not in SAFE_METHODS or any(name.lower() == "set-cookie" or is_token_header(name) for name, _ in recorded.headers):
        return True
    if not later:
        return False
    found = {value for value, _ in _body_values(request, recorded, later, made=True)}
    location = header(recorded.headers, "location")
    if location:
        _segment_values(url_segments(location), found, _is_long)
    found &= later
    return bool(found) and not found <= used_values(request, loosely=True)


def _is_long(text: str) -> bool:
    return 8 <= len(text) <= 8192 and " " not in text


def _fits(text: str, wanted: frozenset[str] | set[str] | None) -> bool:
    return text in wanted if wanted is not None else is_identifier(text)


def _body_values(
    request: Request, response: Response, wanted: frozenset[str] | set[str] | None, *, made: bool
) -> Iterator[tuple[str, bool]]:
    """Identifiers in a body; integers only where the answer made something, for else they say little."""
    if not response.body.data or response.body.truncated:
        return
    if is_json(response.headers):
        about = entity_of_path(url_segments(request.target))
        for path, leaf in _leaves(plain_body(response)):
            text = str(leaf)
            if is_id_integer(text):
                if made and (entity := entity_at(path, about, items_wrap=True)):
                    yield _numbered(entity, text), made
            elif isinstance(leaf, str) and _fits(text, wanted):
                yield text, made
    elif media_type(response.headers)[0] in {"text/html", "application/xhtml+xml", "text/plain"}:
        tokens = _TEXT_TOKEN.finditer(plain_body(response).decode("latin-1"))
        yield from ((match[0], made) for match in islice(tokens, SESSION_VALUES_PER_MESSAGE_MAX) if _fits(match[0], wanted))


def _cookie(name: str, value: str) -> str:
    return f"cookie {name}={value}"


def _numbered(entity: Entity, text: str) -> str:
    return f"{' '.join(entity)}#{text}"


def _segment_values(segments: Sequence[str], found: set[str], fits: _Fits) -> None:
    """A path's identifiers; an integer belongs to the segment before it, as in harness.core.places."""
    entity: Entity = ()
    for segment in segments[:TARGET_SEGMENTS_MAX]:
        _scalar(entity, segment, found, fits)
        entity = entity_of_word(segment) if segment and not segment[0].isdigit() else ()


def _pair_values(text: str, about: Entity, found: set[str], fits: _Fits) -> None:
    for part in text.split("&", SESSION_VALUES_PER_MESSAGE_MAX) if text else ():
        name, _, value = part.partition("=")
        entity = id_entity(unquote_plus(name))
        _scalar(about if entity == () else entity, unquote_plus(value), found, fits)


def _scalar(entity: Entity | None, value: str | int, found: set[str], fits: _Fits) -> None:
    text = str(value)
    if is_id_integer(text):
        if entity:
            found.add(_numbered(entity, text))
    elif isinstance(value, str) and fits(text):
        found.add(text)


def _leaves(data: bytes) -> Iterator[tuple[Path, str | int]]:
    """Path and value of the strings and integers of a JSON document, in order, as many as the bound allows."""
    try:
        stack: list[tuple[Path, Any]] = [((), orjson.loads(data))]
    except orjson.JSONDecodeError:
        return
    count = 0
    while stack and count < SESSION_VALUES_PER_MESSAGE_MAX:
        path, value = stack.pop()
        if isinstance(value, dict) and len(path) < _DEPTH_MAX:
            stack += [((*path, name), item) for name, item in reversed(value.items())]
        elif isinstance(value, list) and len(path) < _DEPTH_MAX:
            stack += [((*path, at), item) for at, item in enumerate(value[:SESSION_VALUES_PER_MESSAGE_MAX])][::-1]
        elif isinstance(value, str | int) and not isinstance(value, bool):
            count += 1
            yield path, value
