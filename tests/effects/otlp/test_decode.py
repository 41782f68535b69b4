"""Exports in protobuf and in JSON say the same; what is no export is refused, and what is half one is taken as far as it goes."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList

from harness.core.labels import Role
from harness.core.limits import SPAN_NAME_CHARS_MAX, SPAN_STATEMENT_CHARS_MAX
from harness.effects.otlp.decode import Incoming, UnreadableError, attributes_of, from_json, from_protobuf, name_of
from harness.effects.otlp.spans import doing_of
from tests.effects.otlp.spanning import Made, call, export, json_export, server, span_id

READ = ["db.statement", "http.method", "url.full", "http.status_code", "messaging.destination.temporary", "aws.dynamodb.table_names"]
values = st.one_of(st.text(max_size=20), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.lists(st.text(max_size=5), max_size=3))
made_spans = st.builds(
    Made,
    trace=st.binary(min_size=16, max_size=16),
    span=st.binary(min_size=8, max_size=8),
    parent=st.one_of(st.just(b""), st.binary(min_size=8, max_size=8)),
    kind=st.integers(0, 5),
    name=st.text(max_size=20),
    error=st.booleans(),
    remote=st.booleans(),
    started_ns=st.integers(0, 2**63 - 1),
    attributes=st.dictionaries(st.sampled_from(READ), values, max_size=4),
)


def told(spans: Any) -> list[tuple[Any, ...]]:
    return [(*span[:-1], name_of(span), attributes_of(span)) for span in spans]


@given(st.lists(made_spans, max_size=5))
def test_both_forms_say_the_same(spans: list[Made]) -> None:
    assert told(from_protobuf(export(spans))) == told(from_json(orjson.dumps(json_export(spans))))


def test_what_is_said() -> None:
    first, second = told(from_protobuf(export([server(Role.STABLE), call(2, 1, error=True)])))
    assert first[:2] == (server(Role.STABLE).trace, span_id(1))
    assert (second[3], second[4], second[5], second[6]) == (3, True, False, 2)
    assert second[8] == {"http.request.method": "POST", "url.full": "http://payments.test/charges/42", "http.response.status_code": 200}


@pytest.mark.parametrize("body", [b"\xff\xff", b"{}", b"<html>", b"\x0a\xff\x01"])
def test_no_protobuf(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        from_protobuf(body)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"x", b'{"resourceSpans": {}}', b'{"resourceSpans": [1]}', b'{"resourceSpans": [{"scopeSpans": 5}]}', b"[" * 5000]
)
def test_no_json(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        from_json(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_spans_or_refused(body: bytes) -> None:
    for read in (from_protobuf, from_json):
        try:
            told(read(body))
        except UnreadableError:
            continue


odd = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 2**63), st.text(max_size=40), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["key", "value", "stringValue", "code"]), inner)),
    max_leaves=6,
)
odd_spans = st.dictionaries(
    st.sampled_from(["traceId", "spanId", "parentSpanId", "kind", "name", "flags", "startTimeUnixNano", "attributes", "status"]), odd
)


@given(st.lists(st.one_of(odd, odd_spans), max_size=3))
def test_any_json_below_the_scopes_is_taken(spans: list[Any]) -> None:
    body = orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}, option=orjson.OPT_NON_STR_KEYS)
    found = list(from_json(body))
    assert len(told(found)) == len(spans)
    assert all(isinstance(span, Incoming) and isinstance(span.trace, bytes) and isinstance(span.kind, int) for span in found)


def test_names_of_kinds_and_old_scopes_are_known() -> None:
    span = {"traceId": "AB" * 16, "spanId": "cd" * 8, "kind": "SPAN_KIND_CLIENT", "status": {"code": "STATUS_CODE_ERROR"}}
    body = orjson.dumps({"resourceSpans": [{"instrumentationLibrarySpans": [{"spans": [span]}]}]})
    (found,) = from_json(body)
    assert (found.trace, found.kind, found.error) == (b"\xab" * 16, 3, True)


def test_long_texts_are_cut() -> None:
    long = Made(span=span_id(1), name="n" * 10_000, attributes={"db.statement": "x" * 100_000, "thread.name": "y"})
    for spans in (from_protobuf(export([long])), from_json(orjson.dumps(json_export([long])))):
        (found,) = spans
        assert name_of(found) == "n" * SPAN_NAME_CHARS_MAX
        assert attributes_of(found) == {"db.statement": "x" * SPAN_STATEMENT_CHARS_MAX}


def test_every_sort_of_value_is_the_same_in_both_forms() -> None:
    """Builds may report in different forms. Senders that know one kind of number send a status as 200.0."""
    key = "http.status_code"
    inner = [AnyValue(string_value="a"), AnyValue(int_value=3), AnyValue(array_value=ArrayValue())]
    cases: list[tuple[AnyValue, dict[str, Any], dict[str, Any]]] = [
        (AnyValue(string_value="\u00fc\U0001f600\0"), {"stringValue": "\u00fc\U0001f600\0"}, {key: "\u00fc\U0001f600\0"}),
        (AnyValue(bool_value=True), {"boolValue": True}, {key: True}),
        (AnyValue(int_value=-5), {"intValue": "-5"}, {key: -5}),
        (AnyValue(int_value=200), {"intValue": 200.0}, {key: 200}),
        (AnyValue(double_value=200.0), {"doubleValue": 200.0}, {key: 200}),
        (AnyValue(double_value=200.0), {"doubleValue": 200}, {key: 200}),
        (AnyValue(double_value=1.5), {"doubleValue": 1.5}, {key: 1.5}),
        (AnyValue(double_value=float("inf")), {"doubleValue": "Infinity"}, {key: float("inf")}),
        (
            AnyValue(array_value=ArrayValue(values=inner)),
            {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "3"}, {"arrayValue": {}}]}},
            {key: ["a"]},
        ),
        (AnyValue(kvlist_value=KeyValueList()), {"kvlistValue": {}}, {}),
        (AnyValue(bytes_value=b"x"), {"bytesValue": "eA=="}, {}),
        (AnyValue(), {}, {}),
    ]
    for value, text, wanted in cases:
        request = ExportTraceServiceRequest()
        request.resource_spans.add().scope_spans.add().spans.add().attributes.add(key=key).value.CopyFrom(value)
        span = {"attributes": [{"key": key, "value": text}]}
        (one,) = from_protobuf(request.SerializeToString())
        (other,) = from_json(orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))
        assert attributes_of(one) == attributes_of(other) == wanted, text
        assert doing_of(3, "n", attributes_of(one), error=False) == doing_of(3, "n", attributes_of(other), error=False)


def test_numbers_in_json_may_have_a_point() -> None:
    span = {
        "kind": 3.0,
        "startTimeUnixNano": 1.7e18,
        "status": {"code": "2"},
        "attributes": [{"key": "url.full", "value": {"doubleValue": "no"}}],
    }
    (found,) = from_json(orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))
    assert (found.kind, found.started_ns, found.error) == (3, 1_700_000_000_000_000_000, True)
    assert attributes_of(found) == {"url.full": 0}
