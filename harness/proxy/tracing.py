"""Traces in live traffic: each mirrored request gets one, so that what the targets do can be told by request.

A live request that carries tracing of its own goes to stable as it came; one that carries none gets ours. Shadows get ours in
any case, in the place of the sender's, or the sender's tracing would take their work for a part of the live request.
"""

import re
from collections.abc import Collection
from typing import Final, NamedTuple

from harness.core.clock import Rng
from harness.core.labels import Role
from harness.core.plain import AnyExchange, PlainExchange
from harness.core.trace import BAGGAGE, BAGGAGE_KEY, TRACEPARENT, TRACING_HEADERS, span_of, trace_of, with_trace
from harness.core.values import Headers
from harness.proxy.plain import PlainRequest, field_bytes

_TAG_BITS: Final = 32
_REST_BITS: Final = 96


def _lines_of(names: Collection[str], end: bytes) -> re.Pattern[bytes]:
    """Fields of these names, from the line break before them. Most fields are known to be none by their first letter."""
    initials = "".join(sorted({letter for name in names for letter in (name[0], name[0].upper())})).encode()
    listed = b"|".join(re.escape(name.encode()) for name in sorted(names))
    return re.compile(rb"\n(?=[%b])(?i:%b):%b" % (initials, listed, end))


_OTHERS: Final = _lines_of(TRACING_HEADERS, b"")
_ALL: Final = _lines_of(TRACING_HEADERS, rb"[^\n]*+(?=\n)")
_REPLACED: Final = _lines_of({TRACEPARENT, BAGGAGE}, rb"[^\n]*+(?=\n)")
_WITH_BAGGAGE: Final = _lines_of({BAGGAGE}, b"")
_PARENTS: Final = re.compile(rb"\n(?i:traceparent): ([^\r]*)")
_PARENT: Final = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""Its usual form."""
_MEMBER: Final = f"{BAGGAGE_KEY}="
_LAST_FIELDS: Final = 2
"""Ours are put at the end; the mark of a mirrored request may come after them."""


class Tracing:
    """Draws traces, and knows them again: a client may send what looks like one. With `keep` the sender's other tracing
    headers go to the shadows too."""

    def __init__(self, rng: Rng, *, keep: bool = False) -> None:
        self._rng = rng
        self._tag = f"{rng.getrandbits(_TAG_BITS):08x}"
        """All traces begin with it."""
        self.keep = keep

    def new(self) -> str:
        """A trace of its own."""
        return f"{self._tag}{self._rng.getrandbits(_REST_BITS) or 1:024x}"

    def given(self, exchange: AnyExchange) -> str:
        """The trace that stable's request was given; empty where it had tracing of its own."""
        if isinstance(exchange, PlainExchange):
            return exchange.trace
        for name, value in exchange.request.headers[-_LAST_FIELDS:]:
            if name == BAGGAGE and value.startswith(_MEMBER + self._tag):
                return value[len(_MEMBER) :][:32]
        return ""

    def traced(self, head: bytes) -> tuple[bytes, str]:
        """A plain request's head as stable gets it: with a trace, and that trace, unless it has tracing of its own."""
        if _OTHERS.search(head) is not None:
            return head, ""
        trace = self.new()
        return b"%b%b\r\n" % (head[:-2], trace_lines(trace, Role.STABLE)), trace

    def fields(self, headers: Headers) -> Headers:
        """What is added to another request's fields for stable; nothing where it has tracing of its own."""
        return () if carries_tracing(headers) else trace_fields(self.new(), Role.STABLE)


def carries_tracing(headers: Headers) -> bool:
    """Whether a request has tracing of its own."""
    return any(name.lower() in TRACING_HEADERS for name, _ in headers)


def trace_fields(trace: str, role: Role) -> Headers:
    """The fields that tell a trial and an arm."""
    return (TRACEPARENT, f"00-{trace}-{span_of(trace, role)}-01"), (BAGGAGE, _MEMBER + trace)


class Senders(NamedTuple):
    """A plain request whose sender traces it, as shadows get it."""

    plain: PlainRequest
    """Without the sender's tracing."""
    trace: str
    """The sender's, under which stable works; empty where it cannot be told."""
    baggage: Headers
    """Goes on to the shadows, behind ours."""

    def lines(self, trace: str, role: Role) -> bytes:
        """The lines that tell a trial and an arm, in the place of the sender's."""
        return field_bytes(with_trace(self.baggage, trace, role)) if self.baggage else trace_lines(trace, role)


def senders(plain: PlainRequest, *, keep: bool = False) -> Senders:
    """The sender's tracing taken out; with `keep` only what ours replaces."""
    came, headers = plain.came, plain.head.headers
    raw = (_REPLACED if keep else _ALL).sub(b"", plain.raw)
    without = PlainRequest(plain.head, came, raw, plain.host, plain.body)
    if _WITH_BAGGAGE.search(came) is not None:
        return Senders(without, trace_of(headers), tuple(pair for pair in headers if pair[0].lower() == BAGGAGE))
    parents = _PARENTS.findall(came)
    usual = _PARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    return Senders(without, trace_of(headers) if usual is None else usual[1].decode(), ())


def trace_lines(trace: str, role: Role) -> bytes:
    """The same as lines of a head."""
    return f"{TRACEPARENT}: 00-{trace}-{span_of(trace, role)}-01\r\n{BAGGAGE}: {_MEMBER}{trace}\r\n".encode()
