"""Traces in live traffic: each mirrored request gets one, so that what the targets do can be told by request.

A live request that carries tracing of its own goes to stable as it came; one that carries none gets ours. Shadows get ours in
any case, in the place of the sender's, or the sender's tracing would take their work for a part of the live request.
"""

import re
from collections.abc import Collection
from typing import Final

import msgspec

from harness.core.clock import Rng
from harness.core.labels import Role
from harness.core.plain import AnyExchange, PlainExchange
from harness.core.trace import BAGGAGE, BAGGAGE_KEY, TRACEPARENT, TRACING_HEADERS, span_of, with_trace
from harness.core.values import Headers
from harness.proxy.plain import PlainRequest

_TAGS: Final = 2**32
_TAG_CHARS: Final = 8
_REST: Final = 2**96


def _lines_of(names: Collection[str], end: bytes) -> re.Pattern[bytes]:
    """Fields of these names, from the line break before them. Most fields are known to be none by their first letter."""
    initials = "".join(sorted({letter for name in names for letter in (name[0], name[0].upper())})).encode()
    listed = b"|".join(re.escape(name.encode()) for name in sorted(names))
    return re.compile(rb"\n(?=[%b])(?i:%b):%b" % (initials, listed, end))


_OTHERS: Final = _lines_of(TRACING_HEADERS, b"")
_ALL: Final = _lines_of(TRACING_HEADERS, rb"[^\n]*+(?=\n)")
_REPLACED: Final = _lines_of({TRACEPARENT, BAGGAGE}, rb"[^\n]*+(?=\n)")
_MEMBER: Final = f"{BAGGAGE_KEY}="
_AT_END: Final = re.compile(rb"\r\n%b: %b([0-9a-f]{32})\r\n\r\n\Z" % (BAGGAGE.encode(), re.escape(_MEMBER).encode()))
_LAST_FIELDS: Final = 2
"""Ours are put at the end; the mark of a mirrored request may come after them."""
_END_BYTES: Final = len(f"\r\n{BAGGAGE}: {_MEMBER}") + 32 + 4


class Tracing:
    """Draws traces, and knows them again: a client may send what looks like one. With `keep` the sender's other tracing
    headers go to the shadows too."""

    def __init__(self, rng: Rng, *, keep: bool = False) -> None:
        self._rng = rng
        self._tag = f"{rng.randrange(_TAGS):0{_TAG_CHARS}x}"
        """All traces begin with it."""
        self.keep = keep

    def new(self) -> str:
        """A trace of its own."""
        return f"{self._tag}{1 + self._rng.randrange(_REST - 1):024x}"

    def given(self, exchange: AnyExchange) -> str:
        """The trace that stable's request was given; empty where it had tracing of its own."""
        trace = _trace_at_end(exchange)
        return trace if trace.startswith(self._tag) else ""

    def traced(self, head: bytes) -> bytes:
        """A plain request's head as stable gets it: with a trace, unless it has tracing of its own."""
        if _OTHERS.search(head) is not None:
            return head
        trace = self.new()
        return b"%b%b\r\n" % (head[:-2], trace_lines(trace, Role.STABLE))

    def fields(self, headers: Headers) -> Headers:
        """What is added to another request's fields for stable; nothing where it has tracing of its own."""
        return () if carries_tracing(headers) else trace_fields(self.new(), Role.STABLE)


def carries_tracing(headers: Headers) -> bool:
    """Whether a request has tracing of its own."""
    return any(name.lower() in TRACING_HEADERS for name, _ in headers)


def trace_fields(trace: str, role: Role) -> Headers:
    """The fields that tell a trial and an arm."""
    return (TRACEPARENT, f"00-{trace}-{span_of(trace, role)}-01"), (BAGGAGE, _MEMBER + trace)


def untraced(plain: PlainRequest, *, keep: bool = False) -> PlainRequest:
    """The same request without the sender's tracing, to be sent; with `keep` only without what ours replaces."""
    return msgspec.structs.replace(plain, raw=(_REPLACED if keep else _ALL).sub(b"", plain.raw))


def fields_instead(headers: Headers, trace: str, role: Role) -> Headers:
    """The fields that tell a trial and an arm, in the place of the sender's: its baggage stays, behind ours."""
    baggage = tuple(pair for pair in headers if pair[0].lower() == BAGGAGE)
    return with_trace(baggage, trace, role) if baggage else trace_fields(trace, role)


def _trace_at_end(exchange: AnyExchange) -> str:
    """What stands where a trace is given."""
    if isinstance(exchange, PlainExchange):
        found = _AT_END.search(exchange.sent, max(0, len(exchange.sent) - _END_BYTES))
        return found[1].decode() if found is not None else ""
    for name, value in exchange.request.headers[-_LAST_FIELDS:]:
        if name == BAGGAGE and value.startswith(_MEMBER):
            return value[len(_MEMBER) :][:32]
    return ""


def trace_lines(trace: str, role: Role) -> bytes:
    """The same as lines of a head."""
    return f"{TRACEPARENT}: 00-{trace}-{span_of(trace, role)}-01\r\n{BAGGAGE}: {_MEMBER}{trace}\r\n".encode()
