"""Spans, exports and a clock for the tests of this folder."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from harness.core.labels import Role
from harness.core.redact import Redactor
from harness.core.trace import span_of
from harness.effects.api import OpenTrial, Workplace
from harness.effects.otlp.decode import Incoming, from_protobuf
from harness.effects.otlp.intake import Intake
from harness.effects.otlp.spans import CLIENT, SERVER

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ROLES = (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)


class SystemClock:
    """Time as it is."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def time(self) -> float:
        return time.time()


def workplace(folder: Path) -> Workplace:
    return Workplace(folder=folder, clock=SystemClock(), rng=Random(1), redactor=Redactor(b"key"))


def trial(trace: str = TRACE, roles: Sequence[Role] = ROLES) -> OpenTrial:
    return OpenTrial(trace=trace, roles=tuple(roles), request="r")


class Made(msgspec.Struct, kw_only=True):
    """A span to be sent."""

    trace: bytes = bytes.fromhex(TRACE)
    span: bytes
    parent: bytes = b""
    kind: int = CLIENT
    name: str = "span"
    error: bool = False
    remote: bool = False
    started_ns: int = 0
    attributes: Mapping[str, Any] = {}


def span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


def server(role: Role, number: int = 1, trace: str = TRACE) -> Made:
    """The SERVER span right below the parent of an arm."""
    return Made(trace=bytes.fromhex(trace), span=span_id(number), parent=bytes.fromhex(span_of(trace, role)), kind=SERVER, remote=True)


def call(number: int, parent: int, url: str = "http://payments.test/charges/42", method: str = "POST", **more: Any) -> Made:
    """An HTTP call by the names of today."""
    attributes = {"http.request.method": method, "url.full": url, "http.response.status_code": 200}
    return Made(span=span_id(number), parent=span_id(parent), attributes=attributes, started_ns=number, **more)


def export(spans: Sequence[Made]) -> bytes:
    """An OTLP export in protobuf."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for made in spans:
        span = scope.spans.add()
        span.trace_id, span.span_id, span.parent_span_id = made.trace, made.span, made.parent
        span.kind = made.kind  # type: ignore[assignment]  # numbers that are no kind are sent too
        span.name, span.start_time_unix_nano = made.name, made.started_ns
        span.flags = 0x300 if made.remote else 0x100
        if made.error:
            span.status.code = 2  # type: ignore[assignment]
        for key, value in made.attributes.items():
            attribute = span.attributes.add()
            attribute.key = key
            if isinstance(value, bool):
                attribute.value.bool_value = value
            elif isinstance(value, int):
                attribute.value.int_value = value
            elif isinstance(value, list):
                attribute.value.array_value.SetInParent()
                for item in value:
                    attribute.value.array_value.values.add().string_value = item
            else:
                attribute.value.string_value = value
    return request.SerializeToString()


def json_export(spans: Sequence[Made]) -> dict[str, Any]:
    """The same in JSON, as OTLP writes it: hex ids, 64-bit integers as text."""
    found = []
    for made in spans:
        attributes = []
        for key, value in made.attributes.items():
            if isinstance(value, bool):
                attributes.append({"key": key, "value": {"boolValue": value}})
            elif isinstance(value, int):
                attributes.append({"key": key, "value": {"intValue": str(value)}})
            elif isinstance(value, list):
                attributes.append({"key": key, "value": {"arrayValue": {"values": [{"stringValue": item} for item in value]}}})
            else:
                attributes.append({"key": key, "value": {"stringValue": value}})
        found.append(
            {
                "traceId": made.trace.hex(),
                "spanId": made.span.hex(),
                "parentSpanId": made.parent.hex(),
                "name": made.name,
                "kind": made.kind,
                "flags": 0x300 if made.remote else 0x100,
                "startTimeUnixNano": str(made.started_ns),
                "attributes": attributes,
                "status": {"code": 2} if made.error else {},
            }
        )
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": found}]}]}


def incoming(*spans: Made) -> list[Incoming]:
    """Spans as a collector gets them."""
    return list(from_protobuf(export(spans)))


class Taken:
    """What receivers handed on."""

    def __init__(self, rejects: int = 0) -> None:
        self.spans: list[tuple[Role | None, bytes]] = []
        self.slices: list[int] = []
        self._rejects = rejects
        self.intake = Intake(self)

    def __call__(self, role: Role | None, spans: list[Incoming]) -> int:
        self.spans += [(role, span.span) for span in spans]
        self.slices.append(len(spans))
        return self._rejects
