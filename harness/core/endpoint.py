"""Endpoint templates: which requests are of one kind.

A template is a function of one URL and the rules (configured templates, OpenAPI paths, segment shapes), never of the
traffic seen, so that a finding's id is the same from run to run. Only the bound on the number of endpoints depends on
traffic: past it every new one is `other`, and that is counted.
"""

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import msgspec

from harness.core import limits
from harness.core.errors import UsageError
from harness.core.http import SAFE_METHODS
from harness.core.operations import operation_of
from harness.core.shapes import Shape, label_of, shape_of
from harness.core.values import Request

_LITERAL_SAFE: Final = "!$'()*+,:=@~"
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*")
_PARAMETER: Final = re.compile(r"\{[^{}/]*\}")
_EXTENSION: Final = re.compile(r"(?P<stem>.+)\.(?P<ext>[A-Za-z][A-Za-z0-9]{0,4})")
_BUNDLE_HASH: Final = re.compile(r"(?P<head>.+?[.\-])(?P<hash>[A-Za-z0-9_]{8,64})(?P<tail>(?:\.min|\.bundle|\.chunk)?)")
_CALL: Final = re.compile(r"(?P<name>[A-Za-z_.]+)\((?P<key>[^()]+)\)")
_METHOD: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~\-]{1,32}")


class EndpointRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What names endpoints before segment shapes do."""

    templates: tuple[str, ...] = ()
    """`/orders/{id}/items`, first match wins; `*` is one segment, a last `**` any rest; `GET /a/{b}` for one method."""
    openapi: tuple[str, ...] = ()
    """Paths of an OpenAPI document, see `templates_from_openapi`; the most literal match wins."""


NO_RULES: Final = EndpointRules()
"""Segment shapes only."""


class _Template:
    """One compiled template: its text and a test per segment (None: any)."""

    __slots__ = ("method", "open_ended", "segments", "text")

    def __init__(self, source: str) -> None:
        method, _, path = source.strip().rpartition(" ")
        self.method = method.strip().upper()
        if not path.startswith("/"):
            raise UsageError(f"endpoint template {source!r} does not begin with /", fix="write it as /orders/{id}")
        self.text = path
        parts = path.split("/")[1:]
        self.open_ended = parts[-1] == "**"
        if self.open_ended:
            parts.pop()
        self.segments: list[str | re.Pattern[str] | None] = [_segment_test(part) for part in parts]

    def matches(self, method: str, segments: list[str]) -> bool:
        """Whether decoded segments are of this template."""
        if self.method and self.method != method:
            return False
        if len(segments) < len(self.segments) if self.open_ended else len(segments) != len(self.segments):
            return False
        return all(_segment_fits(test, segment) for test, segment in zip(self.segments, segments, strict=False))

    def literalness(self) -> tuple[int, ...]:
        """Sort key: literal segments before patterns before parameters, from the left (OpenAPI 3.1, Path Templating)."""
        return tuple(0 if isinstance(test, str) else 2 if test is None else 1 for test in self.segments)


def _segment_test(part: str) -> str | re.Pattern[str] | None:
    if part == "*" or _PARAMETER.fullmatch(part):
        return None
    if not _PARAMETER.search(part):
        return unquote(part)
    pieces = [re.escape(unquote(piece)) for piece in _PARAMETER.split(part)]
    return re.compile("(.+?)".join(pieces))


def _segment_fits(test: str | re.Pattern[str] | None, segment: str) -> bool:
    if test is None:
        return segment != ""
    return test == segment if isinstance(test, str) else test.fullmatch(segment) is not None


class _Templates:
    """Templates found by number of segments and first literal segment, so that hundreds cost little."""

    def __init__(self, sources: Iterable[str], *, ranked: bool) -> None:
        compiled = [_Template(source) for source in sources]
        if ranked:
            compiled.sort(key=_Template.literalness)
        self._buckets: dict[tuple[int, str | None], list[tuple[int, _Template]]] = {}
        self._open: list[tuple[int, _Template]] = []
        self.with_method = any(template.method for template in compiled)
        for rank, template in enumerate(compiled):
            if template.open_ended:
                self._open.append((rank, template))
            else:
                first = template.segments[0]
                key = (len(template.segments), first if isinstance(first, str) else None)
                self._buckets.setdefault(key, []).append((rank, template))
        self._any = bool(compiled)

    def __bool__(self) -> bool:
        return self._any

    def find(self, method: str, segments: list[str]) -> str | None:
        """Text of the first template that matches."""
        if not self._any:
            return None
        candidates = [
            *self._buckets.get((len(segments), segments[0]), ()),
            *self._buckets.get((len(segments), None), ()),
            *self._open,
        ]
        matching = [pair for pair in candidates if pair[1].matches(method, segments)]
        return min(matching, key=lambda pair: pair[0])[1].text if matching else None


class PathPatterns:
    """Whether a path is of one of some templates, written as EndpointRules has them.

    Raises UsageError for a template that cannot be read.
    """

    def __init__(self, templates: Iterable[str]) -> None:
        self._templates = _Templates(templates, ranked=False)
        self.with_method = self._templates.with_method
        """Whether one of them asks for a method."""

    def __bool__(self) -> bool:
        return bool(self._templates)

    def match(self, method: str, path: str) -> bool:
        """Whether one of them fits; `path` as `path_of` gives it."""
        if path == "*" or not self._templates:
            return False
        return self._templates.find(method, [unquote(segment) for segment in split_path(path)]) is not None


class EndpointMapper:
    """Names the endpoint of a request. Memory is bounded; not thread-safe, one for each event loop.

    `hosts` are the mapped hosts: with more than one the host stands in front. Raises UsageError for a template that
    cannot be read.
    """

    def __init__(self, rules: EndpointRules = NO_RULES, hosts: Iterable[str] = ()) -> None:
        self._configured = _Templates(rules.templates, ranked=False)
        self._openapi = _Templates(rules.openapi, ranked=True)
        self._show_host = len(set(hosts)) > 1
        self._known: set[str] = set()
        self._cached = lru_cache(maxsize=limits.ENDPOINT_CACHE_MAX)(self._template)
        self.overflowed = 0
        """Requests whose endpoint was beyond the bound."""

    def endpoint(self, request: Request) -> str:
        """`METHOD template[ #operation]`, or `limits.OTHER_ENDPOINT` past the bound."""
        method = request.method
        if method not in SAFE_METHODS and not _METHOD.fullmatch(method):
            method = "INVALID"
        path = path_of(request.target)
        rule_method = method if self._configured.with_method else ""
        template_of = self._cached if len(path) <= limits.ENDPOINT_CACHE_CHARS_MAX else self._template
        template = template_of(rule_method, path)
        name = f"{method} {template}"
        operation = operation_of(request)
        if operation:
            name = f"{name} #{operation}"
        if self._show_host:
            name = f"{request.host} {name}"
        if name in self._known:
            return name
        if len(self._known) >= limits.ENDPOINTS_MAX:
            self.overflowed += 1
            return limits.OTHER_ENDPOINT
        self._known.add(name)
        return name

    def _template(self, method: str, path: str) -> str:
        if path == "*":
            return "*"
        segments = [unquote(segment) for segment in split_path(path)]
        found = self._configured.find(method, segments) or self._openapi.find(method, segments)
        if found:
            return found
        kept = segments[: limits.TARGET_SEGMENTS_MAX]
        parts = [_segment_label(segment) if segment else "" for segment in kept]
        if len(segments) > len(kept):
            parts.append("**")
        return "/" + "/".join(parts)


def path_of(target: str) -> str:
    """The path of a request target: query, fragment and, in absolute form, scheme and authority are cut off."""
    if target[:1] == "/" and "#" not in target:
        return target.partition("?")[0]
    if target == "*":
        return target
    end = len(target)
    for mark in "?#":
        index = target.find(mark, 0, end)
        if index >= 0:
            end = index
    path = target[:end]
    if not path.startswith("/"):
        absolute = _ABSOLUTE.match(path)
        path = path[absolute.end() :] if absolute else path
    return path if path.startswith("/") else f"/{path}"


def split_path(path: str) -> list[str]:
    """Segments without matrix parameters and without empty ones, but for a last empty one: `/a//b;v=1/` is a, b, ''.

    A final slash is kept since servers tell `/orders` and `/orders/` apart; doubled ones mean nothing to most.
    """
    raw = path.split("/")[1:]
    last = len(raw) - 1
    segments = []
    for index, segment in enumerate(raw):
        bare = segment.split(";", 1)[0] if ";" in segment else segment
        if bare or index == last:
            segments.append(bare)
    return segments


def _segment_label(segment: str) -> str:
    """Label of one decoded segment: whole, as a call `Orders(1)`, a list `1,2`, a verb `1:cancel` or a file `1.png`."""
    label = (_file_label(segment) if "." in segment else None) or label_of(segment)
    if label:
        return label
    call = _CALL.fullmatch(segment)
    if call:
        return f"{quote(call['name'], safe=_LITERAL_SAFE)}({label_of(call['key']) or '{id}'})"
    if "," in segment:
        labels = [label_of(part) for part in segment.split(",")]
        if labels[0] and all(labels):
            return labels[0]
    if ":" in segment:
        parts = [label_of(part) or quote(part, safe=_LITERAL_SAFE) for part in segment.split(":")]
        return ":".join(parts)
    return quote(segment, safe=_LITERAL_SAFE)


def _file_label(segment: str) -> str | None:
    """`{int}.png`, `app.{hex}.js`; None where no part of a file name is an identifier.

    Version numbers (`jquery-3.6.0.min.js`) are names: only hashes are looked for inside a stem.
    """
    file = _EXTENSION.fullmatch(segment)
    if not file:
        return None
    label = label_of(file["stem"])
    if label and shape_of(file["stem"]) not in {Shape.PREFIXED, Shape.TOKEN}:
        return f"{label}.{file['ext']}"
    bundle = _BUNDLE_HASH.fullmatch(file["stem"])
    if bundle and shape_of(bundle["hash"]) in {Shape.HEX, Shape.TOKEN, Shape.SHORT_TOKEN}:
        return f"{quote(bundle['head'], safe=_LITERAL_SAFE)}{label_of(bundle['hash'])}{bundle['tail']}.{file['ext']}"
    return f"{label}.{file['ext']}" if label else None


def entity_of(request: Request) -> str:
    """What the answer is about: method, concrete path, sorted query and, where there is one, a digest of the body.

    The key of once-per-key rules. Bounded: a long path and query are cut and completed by their digest.
    """
    path, _, query = request.target.partition("?")
    where = path_of(path)
    if query:
        where = f"{where}?{'&'.join(sorted(query.partition('#')[0].split('&')))}"
    if len(where) > limits.ENDPOINT_CACHE_CHARS_MAX:
        where = f"{where[:64]}...{_digest(where.encode('utf-8', 'surrogatepass'))}"
    body = request.body
    if not body.size:
        return f"{request.method} {where}"
    digest = _digest(body.data + body.digest.encode()) if body.truncated else _digest(body.data)
    return f"{request.method} {where} {digest}"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def templates_from_openapi(document: dict[str, Any]) -> list[str]:
    """Path templates of a loaded OpenAPI 3 (or Swagger 2) document, base paths of its servers in front.

    Servers of a path item replace the document's. Raises UsageError where the document has no paths.
    """
    paths = document.get("paths") if isinstance(document, dict) else None
    if not isinstance(paths, dict):
        raise UsageError("the OpenAPI document has no paths", where="openapi", fix="give an OpenAPI 3 or Swagger 2 document")
    bases = _bases(document.get("servers"))
    if "swagger" in document and isinstance(document.get("basePath"), str):
        bases = [_trimmed(document["basePath"])]
    templates: list[str] = []
    for path, item in paths.items():
        if not isinstance(path, str) or not path.startswith("/"):
            continue
        own = _bases(item["servers"]) if isinstance(item, dict) and item.get("servers") else bases
        templates.extend(base + path for base in own)
    return list(dict.fromkeys(templates))


def _bases(servers: object) -> list[str]:
    found: list[str] = []
    for server in servers if isinstance(servers, list) else []:
        url = server.get("url") if isinstance(server, dict) else None
        if isinstance(url, str):
            found.append(_trimmed(_path_of_url(_filled(url, server.get("variables")))))
    return list(dict.fromkeys(found)) or [""]


def _filled(url: str, variables: object) -> str:
    """Server variables replaced by their defaults (OpenAPI 3.1, Server Variable Object)."""
    if not isinstance(variables, dict):
        return url
    for name, variable in variables.items():
        default = variable.get("default") if isinstance(variable, dict) else None
        if isinstance(default, str | int):
            url = url.replace(f"{{{name}}}", str(default))
    return url


def _path_of_url(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return _ABSOLUTE.sub("", url, count=1)


def _trimmed(base: str) -> str:
    base = base.rstrip("/")
    return base if base.startswith("/") or not base else f"/{base}"
