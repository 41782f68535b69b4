"""Redaction: what is stored, shown or logged holds no secret, and equal secrets stay equal.

A Redactor takes messages apart (target, headers, bodies by media type) and replaces secrets by keyed placeholders; how a
secret is known in text is harness/core/redact_text, what stands for it harness/core/placeholders. It changes stored
copies only: comparison and forwarding work on the real values.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from harness.core import coding
from harness.core.http import media_type as media_type_of
from harness.core.placeholders import Placeholders, is_placeholder
from harness.core.redact_body import BodyRedactor
from harness.core.redact_text import Names, TextRedactor, holds_count
from harness.core.shapes import Shape, shape_of
from harness.core.values import Body, Headers, Request, Response, Scalar

_CREDENTIAL_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "x-api-key", "x-auth-token"})
_PUBLIC_HEADERS: Final = frozenset({"www-authenticate", "proxy-authenticate", "access-control-allow-credentials"})
"""Their names match, and they hold no secret."""
_URL_HEADERS: Final = frozenset({"location", "content-location", "referer", "origin", ":path", "x-original-url", "x-forwarded-uri"})
_COOKIE_ATTRIBUTES: Final = frozenset({"path", "domain", "expires", "max-age", "secure", "httponly", "samesite", "partitioned", "priority"})
_ABSOLUTE: Final = re.compile(r"(?P<origin>[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*)(?P<rest>.*)", re.DOTALL)
_PATH_SAFE: Final = "!$&'()*+,;=:@~"
_SECRET_SEGMENTS: Final = frozenset({Shape.TOKEN, Shape.SHORT_TOKEN, Shape.BASE64, Shape.JWT})
_PATH_NAMES: Final = re.compile(r"[^.\[\]\"'*$:;=\s]+")


class RedactionRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What counts as a secret beyond the built-in list. Names are compared without case; `*` is allowed."""

    enabled: bool = True
    names: tuple[str, ...] = ()
    """Further names of headers, JSON keys, form fields and query parameters whose values are secret."""
    patterns: tuple[str, ...] = ()
    """Further regular expressions for secrets in text: the first group, or the whole match, is replaced."""
    allow: tuple[str, ...] = ()
    """Names under which nothing is redacted."""


DEFAULT_RULES: Final = RedactionRules()
"""The built-in list only."""


class Redactor:
    """Redacts with one key: within a run equal secrets give equal placeholders. Total: any bytes are taken.

    `decoders` are the content codings it may undo; a body in another coding is replaced by its size and keyed digest.
    Raises UsageError for a pattern that is no regular expression, ValueError for an empty key.
    """

    def __init__(self, key: bytes, rules: RedactionRules = DEFAULT_RULES, decoders: Mapping[str, coding.Decoder] = coding.DECODERS) -> None:
        self._enabled = rules.enabled
        self._placeholders = Placeholders(key)
        self._names = Names(rules.names, rules.allow)
        self._text = TextRedactor(self._placeholders, self._names, rules.patterns)
        self._bodies = BodyRedactor(self._placeholders, self._names, self._text, decoders)

    def text(self, text: str) -> str:
        """Running text: secrets known by their form or by a name in front of them."""
        return self._text.redact(text) if self._enabled else text

    def is_redacted(self, text: str) -> bool:
        """Whether a value is wholly a placeholder, of this run or another."""
        return is_placeholder(text)

    def headers(self, headers: Headers) -> Headers:
        """Credentials replaced; names, order, repetitions and cookie attributes kept."""
        if not self._enabled:
            return headers
        return tuple((name, self._header(name.lower(), value)) for name, value in headers)

    def target(self, target: str) -> str:
        """A request target or URL: query parameters by name, path segments and matrix parameters by form and name."""
        if not self._enabled:
            return target
        absolute = _ABSOLUTE.fullmatch(target)
        origin, rest = (self._text.redact(absolute["origin"] + "/")[:-1], absolute["rest"]) if absolute else ("", target)
        rest, hash_mark, fragment = rest.partition("#")
        path, mark, query = rest.partition("?")
        if hash_mark:
            fragment = self._bodies.pairs(fragment) if "=" in fragment else self._text.redact(fragment)
        return f"{origin}{self._path(path)}{mark}{self._bodies.pairs(query)}{hash_mark}{fragment}"

    def body(self, body: Body, media_type: str, headers: Headers) -> Body:
        """A body by its media type, content coding undone first: the result is identity-coded."""
        return self._bodies.redact(body, media_type, headers)[0] if self._enabled else body

    def request(self, request: Request) -> Request:
        """The whole request; Content-Encoding and Content-Length follow the new body."""
        if not self._enabled:
            return request
        body, headers = self._message(request.body, request.headers)
        return msgspec.structs.replace(
            request, target=self.target(request.target), headers=headers, body=body, host=self._text.redact(request.host)
        )

    def response(self, response: Response) -> Response:
        """The whole response, reason and trailers included."""
        if not self._enabled:
            return response
        body, headers = self._message(response.body, response.headers)
        trailers = self.headers(response.trailers)
        return msgspec.structs.replace(response, headers=headers, body=body, reason=self._text.redact(response.reason), trailers=trailers)

    def value(self, path: str, value: Scalar) -> Scalar:
        """A preview of the value at a path (`$.card.number`, `set-cookie.sid`, `authorization`)."""
        if not self._enabled or value is None or isinstance(value, bool):
            return value
        names: list[str] = _PATH_NAMES.findall(path)
        header = names[0].lower() if names and not path.startswith("$") else ""
        if any(self._names.allowed(name) for name in names):
            return value
        cookie = header in {"set-cookie", "cookie"}
        if cookie and names[-1].lower() in _COOKIE_ATTRIBUTES:
            return value
        if cookie and len(names) == 1 and isinstance(value, str) and "=" in value:
            return self._header(header, value)
        if header in _PUBLIC_HEADERS or not self._bodies.secret(names):
            return self._text.redact(value) if isinstance(value, str) else self._plain_number(value)
        if isinstance(value, str):
            return self._placeholders.of_credential(value)
        return value if holds_count(names[-1]) else int(self._placeholders.of_number(str(value)))

    def _plain_number(self, value: int | float) -> Scalar:
        digits = str(value)
        return int(self._text.redact(digits)) if isinstance(value, int) else value

    def _message(self, body: Body, headers: Headers) -> tuple[Body, Headers]:
        new, identity = self._bodies.redact(body, media_type_of(headers)[0], headers)
        redacted = self.headers(headers)
        if identity:
            return new, coding.without_coding(redacted, new.size)
        if new.data != body.data and new.data:
            return new, coding.with_length(redacted, new.size)
        return new, redacted

    def _header(self, name: str, value: str) -> str:
        if self._names.allowed(name):
            return value
        if name in {"cookie", "cookie2"}:
            return ";".join(self._cookie(pair) for pair in value.split(";"))
        if name in {"set-cookie", "set-cookie2"}:
            pair, *attributes = value.split(";")
            return ";".join([self._cookie(pair), *attributes])
        if name in _PUBLIC_HEADERS:
            return self._text.redact(value)
        if name in _CREDENTIAL_HEADERS or self._names.sensitive(name):
            return self._placeholders.of_credential(value)
        if name in _URL_HEADERS:
            return self.target(value)
        return self._text.redact(value)

    def _cookie(self, pair: str) -> str:
        name, mark, value = pair.partition("=")
        if not mark:
            return self._placeholders.of(name) if name.strip() else pair
        if self._names.allowed(name.strip()):
            return pair
        inner = value.strip()
        quoted = len(inner) >= 2 and inner[0] == inner[-1] == '"'
        new = self._placeholders.of(inner[1:-1] if quoted else inner)
        return f'{name}="{new}"' if quoted else f"{name}={new}"

    def _path(self, path: str) -> str:
        segments = path.split("/")
        out: list[str] = []
        secret_next = False
        for raw in segments:
            bare, *parameters = raw.split(";")
            plain = unquote(bare, errors="surrogateescape") if "%" in bare else bare
            secret = secret_next and shape_of(plain) in _SECRET_SEGMENTS
            new = self._placeholders.of(plain) if secret else self._text.redact(plain)
            out.append(
                ";".join([bare if new == plain else quote(coding.to_bytes(new), safe=_PATH_SAFE), *map(self._parameter, parameters)])
            )
            secret_next = secret_next or self._names.sensitive(plain)
        return "/".join(out)

    def _parameter(self, parameter: str) -> str:
        return self._bodies.pairs(parameter) if "=" in parameter else parameter
