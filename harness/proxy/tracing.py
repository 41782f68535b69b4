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
from harness.core.trace import BAGGAGE, BAGGAGE_KEY, TRACEPARENT, TRACING_HEADERS, baggage_beside, span_of, trace_of
from harness.core.values import Headers
from harness.proxy.plain import PlainRequest

_TAG_BITS: Final = 32
_REST_BYTES: Final = 12
_REST_BITS: Final = 8 * _REST_BYTES


def _lines_of(names: Collection[str], line: bytes) -> re.Pattern[bytes]:
    """Fields of these names, from the line break before them. Most fields are known to be none by their first letter.

    `line` is the expression of such a field, with %b for its name.
    """
    initials = "".join(sorted({letter for name in names for letter in (name[0], name[0].upper())})).encode()
    usual_first = sorted(names, key=lambda name: (name != TRACEPARENT, name))
    listed = b"|".join(re.escape(name.encode()) for name in usual_first)
    return re.compile(line % (b"(?=[%b])(?i:%b)" % (initials, listed)))


_OURS: Final = frozenset({TRACEPARENT, BAGGAGE})
_TRACED: Final = _lines_of(TRACING_HEADERS, rb"\n%b:")
_WHOLE: Final = rb"(\n%b:[^\n]*+)(?=\n)"
"""Splitting by it gives what is between such lines and, at odd places, the lines."""
_ALL: Final = _lines_of(TRACING_HEADERS, _WHOLE)
_REPLACED: Final = _lines_of(_OURS, _WHOLE)
_USUAL: Final = re.compile(rb"\n[Tt]raceparent: 00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\r")
"""The usual form of a line that names the sender's trace."""
_MEMBER: Final = f"{BAGGAGE_KEY}="
_ARM_DIGIT: Final = {role: span_of("", role) for role in Role}
"""The last digit of a span; the others are the trace's last."""
_STABLE: Final = Role.STABLE
"""Looking a member up by its enumeration is slow enough to show in what is done for every request."""
_LAST_FIELDS: Final = 2
"""Ours are put at the end; the mark of a mirrored request may come after them."""


class Tracing:
    """Draws traces, and knows them again: a client may send what looks like one. With `keep` the sender's other tracing
    headers go to the shadows too."""

    def __init__(self, rng: Rng, *, keep: bool = False) -> None:
        self._draw = rng.getrandbits
        self._tag = f"{rng.getrandbits(_TAG_BITS):08x}"
        """All traces begin with it."""
        self.keep = keep

    def new(self) -> str:
        """A trace of its own."""
        return self._tag + (self._draw(_REST_BITS) or 1).to_bytes(_REST_BYTES, "big").hex()

    def given(self, exchange: AnyExchange) -> str:
        """The trace that stable's request was given; empty where it had tracing of its own."""
        if isinstance(exchange, PlainExchange):
            return exchange.trace
        for name, value in exchange.request.headers[-_LAST_FIELDS:]:
            if name == BAGGAGE and value.startswith(_MEMBER + self._tag):
                return value[len(_MEMBER) :][:32]
        return ""

    def traced(self, head: bytes, raw: bytes) -> tuple[bytes, str, int]:
        """A plain request's head as stable gets it, its trace, and where in `raw` its sender's tracing begins.

        `head` is `raw` as it was written for stable. One without tracing of its own gets a trace; of another that is empty.
        """
        if (found := _TRACED.search(raw)) is not None:
            return head, "", found.start()
        trace = self.new()
        return head[:-2] + trace_lines(trace, _STABLE) + b"\r\n", trace, 0

    def fields(self, headers: Headers) -> Headers:
        """What is added to another request's fields for stable; nothing where it has tracing of its own."""
        return () if carries_tracing(headers) else trace_fields(self.new(), _STABLE)


def carries_tracing(headers: Headers) -> bool:
    """Whether a request has tracing of its own."""
    return any(name.lower() in TRACING_HEADERS for name, _ in headers)


def trace_fields(trace: str, role: Role) -> Headers:
    """The fields that tell a trial and an arm."""
    return (TRACEPARENT, f"00-{trace}-{span_of(trace, role)}-01"), (BAGGAGE, _MEMBER + trace)


def trace_lines(trace: str, role: Role, beside: str = "") -> bytes:
    """The same as lines of a head; `beside` is what the baggage holds beside ours (harness.core.trace.baggage_beside)."""
    # As `span_of` has it, to ask which would cost as much as all the rest.
    return f"traceparent: 00-{trace}-{trace[-15:]}{_ARM_DIGIT[role]}-01\r\nbaggage: shadowdiff.trace={trace}{beside}\r\n".encode("latin-1")


class Senders(msgspec.Struct, frozen=True, gc=False):
    """A plain request whose sender traces it, as shadows get it."""

    plain: PlainRequest
    """Without the sender's tracing."""
    trace: str
    """The sender's, under which stable works; empty where it cannot be told."""
    beside: str
    """What the sender's baggage holds, for `trace_lines`."""


def senders(plain: PlainRequest, traced_at: int = 0, *, keep: bool = False) -> Senders:
    """The sender's tracing taken out; with `keep` only what ours replaces. `traced_at` is what `Tracing.traced` found."""
    raw, lines = plain.raw, _REPLACED if keep else _ALL
    usual = _USUAL.match(raw, traced_at)
    if usual is not None and lines.search(raw, end := usual.end()) is None:  # no other: the rule
        return Senders(_with_raw(plain, raw[:traced_at] + raw[end:]), usual[1].decode(), "")
    parts = lines.split(raw)
    ours = [pair for pair in map(_field, parts[1::2]) if pair[0] in _OURS]
    return Senders(_with_raw(plain, b"".join(parts[::2])), trace_of(ours), baggage_beside(ours))


def _with_raw(plain: PlainRequest, raw: bytes) -> PlainRequest:
    return PlainRequest(plain.head, plain.came, raw, plain.host, plain.body)


def _field(line: bytes) -> tuple[str, str]:
    """A line's field, its name in lower case."""
    name, _, value = line[1:-1].decode("latin-1").partition(": ")
    return name.lower(), value
