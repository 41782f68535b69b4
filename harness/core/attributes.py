"""Attributes of a trial: what a difference may be confined to, as short texts that may be stored and shown.

An attribute is (name, value): `("query.currency", "JPY")`, `("header.x-region", "eu-west-1")`, `("cookie.beta", "present")`,
`("json.customer.kind", "premium")`, `("answer.status", "404")`, `("in_flight", "8")`. They are read from the client's request and
stable's answer, never from the candidate: an attribute must not depend on what it is to explain. Values pass through the
redactor; what is new in each request (times, identifiers, tokens, numbers with a fraction, long texts) is left out by its form, and
only `present` is said of it.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

import orjson

from harness.core.http import media_type
from harness.core.limits import (
    ATTRIBUTE_BODY_BYTES_MAX,
    ATTRIBUTE_DEPTH_MAX,
    ATTRIBUTE_NAME_CHARS_MAX,
    ATTRIBUTE_VALUE_CHARS_MAX,
    ATTRIBUTES_CACHED_MAX,
    ATTRIBUTES_PER_TRIAL_MAX,
)
from harness.core.plain import PlainTrial, read_answer, read_request
from harness.core.redact import Redactor
from harness.core.shapes import Shape, shape_of
from harness.core.values import Body, Headers, Request, Response, Scalar, Trial, body_of

Attributes = tuple[tuple[str, str], ...]

PRESENT: Final = "present"
"""Value of what is there, and whose value is not kept."""
IN_FLIGHT: Final = "in_flight"
"""Name of the band of trials under way: its value is the band's lower end."""

_WORDS: Final = frozenset({"", PRESENT, "absent"})
"""Values that are quoted, since the bare words say something else."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-\[\]]*")
_EACH_ITS_OWN: Final = frozenset(
    {
        *("age", "baggage", "connection", "content-length", "cookie", "date", "expect", "forwarded", "keep-alive", "proxy-connection"),
        *("te", "traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade", "via", "x-amzn-trace-id", "x-b3-sampled"),
        *("x-b3-spanid", "x-b3-traceid", "x-correlation-id", "x-forwarded-for", "x-real-ip", "x-request-id", "x-request-start"),
    }
)
"""Header fields that belong to a connection, a hop or one request."""
_TIMES: Final = frozenset(
    {Shape.EPOCH_S, Shape.EPOCH_MS, Shape.DATE, Shape.DATETIME_OFFSET, Shape.DATETIME_LOCAL, Shape.HTTP_DATE, Shape.DECIMAL}
)
_IDENTIFIERS: Final = frozenset({Shape.UUID, Shape.ULID, Shape.HEX, Shape.EMAIL, Shape.JWT, Shape.TOKEN, Shape.SHORT_TOKEN, Shape.BASE64})
_COOKIE_CHARS: Final = len("cookie")
_INTEGER_CHARS_MAX: Final = 6
"""Longer whole numbers are taken for identifiers or amounts."""
_GROUPS: Final = re.compile(
    r"tenant|region|account|org|compan|customer|client|shop|store|market|site|workspace|country|locale|lang|currency|zone|plan|tier"
)
"""Parts of names whose values name a group of requests, though they may look like identifiers."""


class AttributeReader:
    """Reads the attributes of trials; one for each process that compares, for one thread.

    `every`: of trials that show nothing, past the `first`, each so-manieth is read (by its number, so that it is in the
    sample or not wherever it is compared; a prime meets no rhythm of the traffic). `bodies`: stable's answers come with their
    bodies, and their fields may be looked at.
    """

    def __init__(self, redactor: Redactor, *, first: int = 0, every: int = 1, bodies: bool = True) -> None:
        self._redactor = redactor
        self._first = first
        self._every = every
        self._bodies = bodies
        self._known: dict[tuple[str, str, str], tuple[str, str] | None] = {}

    def weight(self, seq: int) -> int:
        """How many trials the one of this number stands for in the sample; 0 where it is not in it."""
        if seq < self._first:
            return 1
        return 0 if seq % self._every else self._every

    def of(self, trial: Trial | PlainTrial) -> Attributes:
        """The attributes of a trial, by name; bounded. Raises ValueError for a plain trial that is no message."""
        if isinstance(trial, PlainTrial):
            request = read_request(trial.head, body_of(trial.body), trial.host)
            answer: Response | None = read_answer(trial.stable.answer, trial.stable.head_bytes, Body())
        else:
            request, answer = trial.request, trial.stable.exchange.response
        found: list[tuple[str, str]] = [("method", request.method[:ATTRIBUTE_NAME_CHARS_MAX])]
        known = self._known
        for read in (self._of_request(request), self._of_answer(answer)):
            for group, own, raw in read:
                if len(found) >= ATTRIBUTES_PER_TRIAL_MAX:
                    break
                key = (group, own[: ATTRIBUTE_NAME_CHARS_MAX + 1], raw[: ATTRIBUTE_VALUE_CHARS_MAX + 1])
                if key not in known:
                    if len(known) >= ATTRIBUTES_CACHED_MAX:
                        known.clear()
                    known[key] = self._made(_Place(key[0], key[1].lower() if group == "header" else key[1]), key[2])
                if (one := known[key]) is not None:
                    found.append(one)
        found.append(in_flight_of(trial))
        return tuple(sorted(dict(found).items()))

    def _made(self, place: "_Place", raw: str) -> tuple[str, str] | None:
        if place.group == "header" and (place.own in _EACH_ITS_OWN or place.own.startswith(":")):
            return None
        if not _is_name(place.own) or self._redactor.text(place.own) != place.own:
            return None
        value = PRESENT if place.group == "cookie" or len(raw) > ATTRIBUTE_VALUE_CHARS_MAX else self._value(place, raw)
        return place.full, value

    def _value(self, place: "_Place", raw: str) -> str:
        redacted = self._redactor.value(place.redacted_at, raw)
        if redacted == raw and not _is_kept(raw, grouping=_GROUPS.search(place.own.lower()) is not None):
            return PRESENT
        text = str(redacted)[:ATTRIBUTE_VALUE_CHARS_MAX]
        return f'"{text}"' if text in _WORDS else text

    def _of_request(self, request: Request) -> Iterator["_Read"]:
        query = request.target.partition("?")[2].partition("#")[0]
        if query:
            yield from _pairs("query", query)
        if request.body.data:
            yield from self._of_body(media_type(request.headers)[0], request.body, request.headers, "json")
        for name, value in request.headers:
            if len(name) == _COOKIE_CHARS and name.lower() == "cookie":
                for cookie in value.split(";")[:ATTRIBUTES_PER_TRIAL_MAX]:
                    yield "cookie", cookie.partition("=")[0].strip(), PRESENT
            else:
                yield "header", name, value

    def _of_answer(self, answer: Response | None) -> Iterator["_Read"]:
        if answer is None:
            return
        yield "answer", "status", str(answer.status)
        media, _ = media_type(answer.headers)
        if media:
            yield "answer", "content-type", media
        if self._bodies:
            yield from self._of_body(media, answer.body, answer.headers, "answer.json")

    def _of_body(self, media: str, body: Body, headers: Headers, group: str) -> Iterator["_Read"]:
        if not body.data or body.truncated or body.size > ATTRIBUTE_BODY_BYTES_MAX:
            return
        if any(name.lower() == "content-encoding" for name, _ in headers):
            return
        if media == "application/x-www-form-urlencoded" and group == "json":
            yield from _pairs("form", body.data.decode("utf-8", "replace"))
        elif media.endswith(("/json", "+json")):
            try:
                document = orjson.loads(body.data)
            except orjson.JSONDecodeError:
                return
            if isinstance(document, dict):
                yield from _leaves(group, document, "", ATTRIBUTE_DEPTH_MAX)


_Read = tuple[str, str, str]
"""Group, own name and value, as they came."""


class _Place(NamedTuple):
    """Where an attribute is."""

    group: str
    own: str

    @property
    def full(self) -> str:
        """Its name."""
        return f"{self.group}.{self.own}"

    @property
    def redacted_at(self) -> str:
        """As the redactor names places."""
        return self.own if self.group == "header" else f"$.{self.own}"


def in_flight_of(trial: Trial | PlainTrial) -> tuple[str, str]:
    """The band of trials under way when it started: 1, 2, 4, 8 or more ..."""
    return IN_FLIGHT, str(1 << (max(1, trial.in_flight).bit_length() - 1))


def _is_name(text: str) -> bool:
    """Whether a text from traffic is a name, and not a value that stands where names do."""
    return len(text) <= ATTRIBUTE_NAME_CHARS_MAX and _NAME.fullmatch(text) is not None and shape_of(text) not in _IDENTIFIERS | _TIMES


def _is_kept(value: str, *, grouping: bool) -> bool:
    """Whether a value may come again in other requests, by its form."""
    shape = shape_of(value)
    if shape in _TIMES:
        return False
    if grouping:
        return True
    if shape is Shape.INTEGER:
        return len(value) <= _INTEGER_CHARS_MAX
    return shape not in _IDENTIFIERS


def _pairs(group: str, text: str) -> Iterator[_Read]:
    for pair in text.split("&", ATTRIBUTES_PER_TRIAL_MAX)[:ATTRIBUTES_PER_TRIAL_MAX]:
        name, _, value = pair.partition("=")
        yield group, _decoded(name), _decoded(value)


def _decoded(text: str) -> str:
    return unquote_plus(text, errors="replace") if "%" in text or "+" in text else text


def _leaves(group: str, document: dict[str, object], path: str, depth: int) -> Iterator[_Read]:
    """The scalars of an object, and of objects in it; lists are passed over."""
    for count, (name, value) in enumerate(document.items()):
        if count >= ATTRIBUTES_PER_TRIAL_MAX:
            return
        own = f"{path}{name}"
        if isinstance(value, dict):
            if depth > 1:
                yield from _leaves(group, value, f"{own}.", depth - 1)
        elif not isinstance(value, list):
            yield group, own, _scalar_text(value)


def _scalar_text(value: Scalar | object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
