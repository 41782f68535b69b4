"""OTLP trace exports as spans, from protobuf and from JSON (where ids are hex digits and 64-bit integers may be text). Pure.

What is the same for both goes into `Incoming` at once; attributes are read only when asked for, since most spans are looked at
for their place in the tree alone.
"""

import binascii
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status

from harness.core.limits import SPAN_NAME_CHARS_MAX, SPAN_STATEMENT_CHARS_MAX
from harness.effects.otlp.spans import KIND_NAMES, is_read

_REMOTE: Final = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_ERROR: Final = Status.STATUS_CODE_ERROR
_SCOPES: Final = ("scopeSpans", "instrumentationLibrarySpans")


class Incoming(NamedTuple):
    """One span as it came. Ids are bytes as sent, of any length; an id that cannot be read at all is a single zero byte."""

    trace: bytes
    span: bytes
    parent: bytes
    kind: int
    error: bool
    remote: bool
    """The sender says that the parent is of another process."""
    started_ns: int
    """By the sender's clock, since the epoch."""
    raw: Span | dict[str, Any]


class UnreadableError(ValueError):
    """A body that is no OTLP trace export; says why."""


def from_protobuf(body: bytes) -> Iterator[Incoming]:
    """The spans of an ExportTraceServiceRequest. Raises UnreadableError, before the first span."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise UnreadableError("not a protobuf ExportTraceServiceRequest") from error
    return _of_protobuf(request)


def _of_protobuf(request: ExportTraceServiceRequest) -> Iterator[Incoming]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Incoming(
                    span.trace_id,
                    span.span_id,
                    span.parent_span_id,
                    span.kind,
                    span.status.code == _ERROR,
                    span.flags & _REMOTE == _REMOTE,
                    span.start_time_unix_nano,
                    span,
                )


def from_json(body: bytes) -> Iterator[Incoming]:
    """The spans of the same in JSON; one that is no object has broken ids. Raises UnreadableError, before the first span."""
    try:
        document = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise UnreadableError("not JSON") from error
    if not isinstance(document, dict):
        raise UnreadableError("not a JSON object")
    spans = []
    for resource in _objects(document, "resourceSpans"):
        for name in _SCOPES:
            for scope in _objects(resource, name):
                spans.extend(_list(scope, "spans"))
    return map(_of_json, spans)


def _list(holder: dict[str, Any], key: str) -> list[Any]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise UnreadableError(f"{key} is not an array")
    return value


def _objects(holder: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = _list(holder, key)
    if not all(isinstance(item, dict) for item in items):
        raise UnreadableError(f"{key} holds something that is not an object")
    return items


def _of_json(span: Any) -> Incoming:
    if not isinstance(span, dict):
        return Incoming(b"\0", b"\0", b"", 0, False, False, 0, {})
    status = span.get("status")
    code = status.get("code") if isinstance(status, dict) else 0
    return Incoming(
        _id(span.get("traceId")),
        _id(span.get("spanId")),
        _id(span.get("parentSpanId")),
        _kind(span.get("kind")),
        _int(code) == _ERROR or code == "STATUS_CODE_ERROR",
        _int(span.get("flags")) & _REMOTE == _REMOTE,
        _int(span.get("startTimeUnixNano")),
        span,
    )


def _id(value: Any) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str) or len(value) > 64:
        return b"\0"
    try:
        return binascii.unhexlify(value)
    except ValueError:
        return b"\0"


def _kind(value: Any) -> int:
    if isinstance(value, str) and not value.isdecimal():
        return KIND_NAMES.get(value.removeprefix("SPAN_KIND_").lower(), 0)
    return _int(value)


def _int(value: Any) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    value = _whole(value)
    return value if isinstance(value, int) else 0


def _whole(value: Any) -> Any:
    """A whole number as one, since JSON does not tell 200 from 200.0, nor do senders that know one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _double(value: float | str) -> Any:
    """A number, or one of its names in JSON: `NaN`, `Infinity`, `-Infinity`; text that is none is 0."""
    try:
        return _whole(float(value))
    except (ValueError, OverflowError):
        return 0


def name_of(incoming: Incoming) -> str:
    """The span's name, cut."""
    raw = incoming.raw
    name = raw.get("name") if isinstance(raw, dict) else raw.name
    return name[:SPAN_NAME_CHARS_MAX] if isinstance(name, str) else ""


def attributes_of(incoming: Incoming) -> dict[str, Any]:
    """The attributes that mean something here; texts are cut."""
    raw = incoming.raw
    if isinstance(raw, dict):
        return _attributes_of_json(raw)
    found: dict[str, Any] = {}
    for attribute in raw.attributes:
        key = attribute.key
        if not is_read(key):
            continue
        value = attribute.value
        sort = value.WhichOneof("value")
        if sort == "string_value":
            found[key] = value.string_value[:SPAN_STATEMENT_CHARS_MAX]
        elif sort == "array_value":
            texts = (item.string_value for item in value.array_value.values[:32] if item.WhichOneof("value") == "string_value")
            found[key] = [text[:SPAN_NAME_CHARS_MAX] for text in texts]
        elif sort in {"int_value", "bool_value", "double_value"}:
            found[key] = _whole(getattr(value, sort))
    return found


def _attributes_of_json(span: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    attributes = span.get("attributes")
    for attribute in attributes if isinstance(attributes, list) else ():
        if not isinstance(attribute, dict):
            continue
        key, value = attribute.get("key"), attribute.get("value")
        if not isinstance(key, str) or not is_read(key) or not isinstance(value, dict):
            continue
        if isinstance(text := value.get("stringValue"), str):
            found[key] = text[:SPAN_STATEMENT_CHARS_MAX]
        elif "intValue" in value:
            found[key] = _int(value["intValue"])
        elif isinstance(number := value.get("doubleValue"), int | float | str):
            found[key] = _double(number)
        elif isinstance(truth := value.get("boolValue"), bool):
            found[key] = truth
        elif isinstance(array := value.get("arrayValue"), dict) and isinstance(items := array.get("values"), list):
            texts = (item.get("stringValue") for item in items[:32] if isinstance(item, dict))
            found[key] = [text[:SPAN_NAME_CHARS_MAX] for text in texts if isinstance(text, str)]
    return found
