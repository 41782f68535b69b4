"""Header fields: which ones count, and which way of comparing each takes. Paths are names in lower case, with sub-parts.

Hop-by-hop fields concern a connection, volatile ones a moment; neither says anything about a build.
"""

from collections.abc import Callable, Set
from itertools import compress
from operator import ne
from typing import Final

import msgspec

from comparators import header_fields as ways
from comparators.api import ABSENT, RuleUse
from comparators.content import codings_of
from comparators.cookies import compare_cookies, parse_cookie
from comparators.header_fields import Field, Out
from comparators.paths import exact_step, key_step
from comparators.sink import Sink
from harness.core.http import HOP_BY_HOP, header
from harness.core.labels import Aspect
from harness.core.values import Difference, Headers, Request, Response

VOLATILE: Final[dict[str, str]] = {
    "age": "how long a cache has kept the answer",
    "cf-ray": "an id of the request",
    "date": "the moment of the answer",
    "nel": "where browsers report network errors",
    "request-id": "an id of the request",
    "server-timing": "how long parts of the work took",
    "traceparent": "an id of the trace",
    "tracestate": "an id of the trace",
    "x-amz-cf-id": "an id of the request",
    "x-amz-id-2": "an id of the request",
    "x-amz-request-id": "an id of the request",
    "x-amzn-requestid": "an id of the request",
    "x-amzn-trace-id": "an id of the trace",
    "x-b3-parentspanid": "an id of the trace",
    "x-b3-sampled": "an id of the trace",
    "x-b3-spanid": "an id of the trace",
    "x-b3-traceid": "an id of the trace",
    "x-cloud-trace-context": "an id of the trace",
    "x-correlation-id": "an id of the request",
    "x-envoy-upstream-service-time": "how long the work took",
    "x-process-time": "how long the work took",
    "x-request-id": "an id of the request",
    "x-response-time": "how long the work took",
    "x-runtime": "how long the work took",
    "x-timer": "how long the work took",
    "x-trace-id": "an id of the trace",
}
"""Fields that are never compared, and what they carry instead of behaviour."""

_IGNORED: Final = HOP_BY_HOP | VOLATILE.keys()
_IGNORED_WITH_BODY: Final = _IGNORED | {"content-length"}

_Way = Callable[[Field, Field, str, Out], None]

_WAYS: Final[dict[str, _Way]] = {
    "accept-ch": ways.compare_set,
    "accept-encoding": ways.compare_set,
    "accept-patch": ways.compare_set,
    "accept-post": ways.compare_set,
    "accept-ranges": ways.compare_set,
    "access-control-allow-credentials": ways.compare_lower,
    "access-control-allow-headers": ways.compare_set,
    "access-control-allow-methods": ways.compare_exact_set,
    "access-control-expose-headers": ways.compare_set,
    "allow": ways.compare_exact_set,
    "alt-svc": ways.compare_directives,
    "cache-control": ways.compare_directives,
    "clear-site-data": ways.compare_exact_set,
    "content-disposition": ways.compare_policy,
    "content-encoding": ways.compare_lower,
    "content-language": ways.compare_set,
    "content-location": ways.compare_url,
    "content-security-policy": ways.compare_policy,
    "content-security-policy-report-only": ways.compare_policy,
    "content-type": ways.compare_media_type,
    "cross-origin-embedder-policy": ways.compare_lower,
    "cross-origin-opener-policy": ways.compare_lower,
    "etag": ways.compare_etag,
    "expires": ways.compare_expiry,
    "link": ways.compare_links,
    "location": ways.compare_url,
    "permissions-policy": ways.compare_directives,
    "pragma": ways.compare_set,
    "prefer": ways.compare_directives,
    "preference-applied": ways.compare_directives,
    "referrer-policy": ways.compare_lower,
    "set-cookie": compare_cookies,
    "strict-transport-security": ways.compare_policy,
    "surrogate-control": ways.compare_directives,
    "timing-allow-origin": ways.compare_set,
    "vary": ways.compare_set,
    "x-content-type-options": ways.compare_lower,
    "x-frame-options": ways.compare_lower,
    "x-robots-tag": ways.compare_set,
    "x-xss-protection": ways.compare_policy,
}


class _Message(msgspec.Struct, frozen=True):
    """One side's fields by name in lower case: those that count and may differ."""

    fields: dict[str, list[str]]
    date: str
    authority: str

    def field(self, name: str) -> Field:
        return Field(self.fields[name], self.date, self.authority)


def names_apart(left: Headers, right: Headers) -> set[str]:
    """Names, in lower case, of all fields whose values may differ; a field not named has the same values in the same order.

    Two builds mostly send the same fields in the same order, so that a look at each position tells nearly everything.
    """
    if len(left) != len(right):
        return {name.lower() for name, _ in left} | {name.lower() for name, _ in right}
    return {name.lower() for pair in compress(zip(left, right, strict=True), map(ne, left, right)) for name, _ in pair}


def headers_may_differ(left: Response, right: Response, apart: Set[str], *, body_compared: bool) -> bool:
    """Whether `compare_headers` can find anything; `apart` is what `names_apart` says of the two answers' headers."""
    return not apart <= (_IGNORED_WITH_BODY if body_compared else _IGNORED) or left.trailers != right.trailers


def compare_headers(
    left: Response, right: Response, requests: tuple[Request, Request], use: RuleUse, *, body_compared: bool
) -> tuple[Difference, ...]:
    """Differences of two answers' header fields, and trailers under `trailers`. `body_compared`: Content-Length adds nothing."""
    out = Out(Sink(Aspect.HEADERS, every=use.every), use)
    apart = names_apart(left.headers, right.headers)
    coded_apart = "content-encoding" in apart and codings_of(left.headers) != codings_of(right.headers)
    ignored = _IGNORED_WITH_BODY if body_compared or coded_apart else _IGNORED
    names = apart - ignored
    if names:
        pairs = zip((left, right), requests, strict=True)
        a, b = (_Message(_by_name(m.headers, names), header(m.headers, "date") or "", r.host) for m, r in pairs)
        _compare_fields(a, b, "", out)
    names = names_apart(left.trailers, right.trailers) - ignored
    if names:
        a, b = (_Message(_by_name(m.trailers, names), "", "") for m in (left, right))
        _compare_fields(a, b, "trailers.", out)
    return out.sink.differences()


def _compare_fields(left: _Message, right: _Message, prefix: str, out: Out) -> None:
    for name in sorted(left.fields.keys() | right.fields.keys()):
        x, y = left.fields.get(name), right.fields.get(name)
        if x == y:
            continue
        path = prefix + key_step(name).removeprefix(".")
        if x is None or y is None:
            _one_sided(name, x, y, path, out.sink)
        else:
            _WAYS.get(name, ways.compare_value)(left.field(name), right.field(name), path, out)


def _one_sided(name: str, left: list[str] | None, right: list[str] | None, path: str, sink: Sink) -> None:
    """A field that one side has not; cookies one by one, since each is a thing of its own."""
    if name == "set-cookie":
        for line in left or right or ():
            cookie = parse_cookie(line)
            x, y = (cookie.value, ABSENT) if left is not None else (ABSENT, cookie.value)
            sink.one_sided(path + key_step(cookie.name), x, y, where=path + exact_step(cookie.name))
    else:
        sink.one_sided(path, ABSENT if left is None else ", ".join(left), ABSENT if right is None else ", ".join(right), where=path)


def _by_name(headers: Headers, names: Set[str]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in names:
            fields.setdefault(lower, []).append(value)
    return fields
