"""Trace context (W3C Trace Context, level 1) as far as effects need it: one trace for each trial, one parent span for each arm.

The mirror gives every arm of a trial the same trace id and a parent span id of its own, so that what an instrumented build
does can be told by trial (trace id) and by arm (parent span). Pure.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from harness.core.labels import Role
from harness.core.values import Headers

TRACEPARENT: Final = "traceparent"
BAGGAGE: Final = "baggage"
BAGGAGE_KEY: Final = "shadowdiff.trace"
"""Member of the baggage that holds the trace id, for builds that hand on baggage and start traces of their own."""
TRACING_HEADERS: Final = frozenset(
    {
        TRACEPARENT,
        "tracestate",
        BAGGAGE,
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-parentspanid",
        "x-b3-sampled",
        "x-b3-flags",
        "x-datadog-trace-id",
        "x-datadog-parent-id",
        "x-datadog-sampling-priority",
        "x-datadog-origin",
        "x-datadog-tags",
        "x-amzn-trace-id",
        "x-cloud-trace-context",
        "uber-trace-id",
        "sentry-trace",
        "jaeger-debug-id",
        "ot-tracer-traceid",
        "ot-tracer-spanid",
        "ot-tracer-sampled",
        "elastic-apm-traceparent",
        "newrelic",
        "sw8",
        "grpc-trace-bin",
    }
)
"""Lower-case names of headers by which a sender's tracing would take a shadow's work for a part of the live request."""

_REPLACED: Final = frozenset({TRACEPARENT, BAGGAGE})
_OWS: Final = " \t"
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.DOTALL)
_BAGGAGE: Final = re.compile(rf"(?:^|,)[ \t]*{re.escape(BAGGAGE_KEY)}[ \t]*=[ \t]*(?!0{{32}})([0-9a-f]{{32}})[ \t]*(?=[,;]|\Z)")
_ARM: Final = {Role.STABLE: "a", Role.SECONDARY: "b", Role.CANDIDATE: "c"}
_ZERO_TRACE: Final = "0" * 32
_ZERO_SPAN: Final = "0" * 16


class TraceParent(NamedTuple):
    """What a `traceparent` says: 32 and 16 lower-case hex digits."""

    trace: str
    parent: str


def parse_traceparent(text: str) -> TraceParent | None:
    """The ids of a `traceparent` value; None where it is malformed, all zero, or of the forbidden version ff.

    Later versions may add fields at the end; version 00 may not (Trace Context, 3.2.4).
    """
    found = _TRACEPARENT.fullmatch(text.strip(_OWS))
    if found is None:
        return None
    version, trace, parent, more = found.groups()
    if version == "ff" or trace == _ZERO_TRACE or parent == _ZERO_SPAN or (version == "00" and more is not None):
        return None
    return TraceParent(trace, parent)


def trace_of(headers: Iterable[tuple[str, str]]) -> str:
    """The trace id that a message carries, in its baggage (where it is ours for certain) or its `traceparent`; else empty.

    Where several `traceparent` name several traces, none of them counts (Trace Context, 4.3).
    """
    parents: set[str] = set()
    for name, value in headers:
        lower = name.lower()
        if lower == BAGGAGE and BAGGAGE_KEY in value and (found := _BAGGAGE.search(value)) is not None:
            return found[1]
        if lower == TRACEPARENT and (parsed := parse_traceparent(value)) is not None:
            parents.add(parsed.trace)
    return parents.pop() if len(parents) == 1 else ""


def span_of(trace: str, role: Role) -> str:
    """The parent span id of an arm: 16 hex digits that follow from trace and role, never all zero. Cheap: it is asked for each request."""
    return trace[-15:] + _ARM[role]


def trace_id(number: int) -> str:
    """A trace id from a random number of up to 128 bits; never all zero."""
    return f"{number or 1:032x}"


def with_trace(headers: Headers, trace: str, role: Role, *, keep: bool = False) -> Headers:
    """The headers of a request as one arm gets them: the sender's tracing taken out, ours put in, sampled.

    With `keep` only what ours replaces is taken out (`traceparent`, `baggage`). Of the sender's baggage everything but an
    earlier trace of ours stays in any case: builds may go by it (tenants, switches).
    """
    out = _REPLACED if keep else TRACING_HEADERS
    kept = tuple(pair for pair in headers if pair[0].lower() not in out)
    baggage = f"{BAGGAGE_KEY}={trace}{baggage_beside(headers)}"
    return (*kept, (TRACEPARENT, f"00-{trace}-{span_of(trace, role)}-01"), (BAGGAGE, baggage))


def baggage_beside(headers: Iterable[tuple[str, str]]) -> str:
    """What the sender's baggage holds beside an earlier trace of ours, to be put behind ours: each member after a comma."""
    beside = ""
    for name, value in headers:
        if name.lower() != BAGGAGE:
            continue
        for listed in value.split(","):
            member = listed.strip(_OWS)
            ours = member.startswith(BAGGAGE_KEY) and member.partition("=")[0].rstrip(_OWS) == BAGGAGE_KEY
            if member and not ours:
                beside += f",{member}"
    return beside
