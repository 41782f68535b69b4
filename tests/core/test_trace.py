"""Trace context: what is put in can be read again, what is malformed is not taken, and a sender's tracing does not get through."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Role
from harness.core.trace import (
    BAGGAGE,
    BAGGAGE_KEY,
    TRACEPARENT,
    TRACING_HEADERS,
    TraceParent,
    baggage_beside,
    parse_traceparent,
    span_of,
    trace_id,
    trace_of,
    with_trace,
)
from harness.core.values import Headers

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OTHER = "0af7651916cd43dd8448eb211c80319c"

traces = st.integers(min_value=0, max_value=2**128 - 1).map(trace_id)
spans = st.integers(min_value=1, max_value=2**64 - 1).map("{:016x}".format)
roles = st.sampled_from(tuple(Role))
MEMBERS = ["tenant=blue;p=1", " flag=on\t", "", BAGGAGE_KEY, f" {BAGGAGE_KEY} = {OTHER}", f"{BAGGAGE_KEY}r=1", f"x={BAGGAGE_KEY}=1"]
latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)
names = st.one_of(
    st.sampled_from(sorted(TRACING_HEADERS)).map(str.title), st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=20)
)
headers = st.lists(st.tuples(names, latin), max_size=8).map(tuple)


@given(traces, spans, st.integers(0, 255))
def test_what_is_written_is_read(trace: str, span: str, flags: int) -> None:
    assert parse_traceparent(f"00-{trace}-{span}-{flags:02x}") == TraceParent(trace, span)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"\xa000-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-01, 00-{OTHER}-{SPAN}-01",
        f"00-{'٣' * 32}-{SPAN}-01",
    ],
)
def test_malformed(text: str) -> None:
    assert parse_traceparent(text) is None
    assert trace_of([(TRACEPARENT, text)]) == ""


@pytest.mark.parametrize("text", [f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what the future brings", f" \t00-{TRACE}-{SPAN}-00 "])
def test_later_versions_and_white_space(text: str) -> None:
    assert parse_traceparent(text) == TraceParent(TRACE, SPAN)


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    parsed = parse_traceparent(text)
    assert parsed is None or (len(parsed.trace), len(parsed.parent)) == (32, 16)
    assert trace_of([(BAGGAGE, text)]) in {"", *(text[i : i + 32] for i in range(len(text)))}


@given(headers, traces, roles)
def test_an_arm_gets_our_trace_and_nothing_else_of_tracing(sent: Headers, trace: str, role: Role) -> None:
    got = with_trace(sent, trace, role)
    assert trace_of(got) == trace
    ours = [(name.lower(), value) for name, value in got if name.lower() in TRACING_HEADERS]
    assert [name for name, _ in ours] == [TRACEPARENT, BAGGAGE]
    assert parse_traceparent(ours[0][1]) == TraceParent(trace, span_of(trace, role))
    assert ours[0][1].endswith("-01"), "sampled, or builds would send no spans"
    assert [pair for pair in got if pair[0].lower() not in TRACING_HEADERS] == [p for p in sent if p[0].lower() not in TRACING_HEADERS]


@given(headers, traces, traces, roles, roles)
def test_a_second_trace_takes_the_place_of_the_first(sent: Headers, first: str, second: str, one: Role, other: Role) -> None:
    assert with_trace(with_trace(sent, first, one), second, other) == with_trace(sent, second, other)


@given(headers, traces, roles)
def test_with_keep_only_what_is_replaced_goes(sent: Headers, trace: str, role: Role) -> None:
    got = with_trace(sent, trace, role, keep=True)
    replaced = {TRACEPARENT, BAGGAGE}
    assert got[:-2] == tuple(pair for pair in sent if pair[0].lower() not in replaced)
    assert got[-2:] == with_trace(sent, trace, role)[-2:]


@given(st.lists(st.tuples(st.sampled_from([BAGGAGE, "Baggage", "cookie"]), st.lists(st.sampled_from(MEMBERS)).map(",".join))))
def test_members_of_baggage_go_on_in_their_order_but_for_an_earlier_trace(headers: list[tuple[str, str]]) -> None:
    listed = ",".join(value for name, value in headers if name.lower() == BAGGAGE).split(",")
    members = [member.strip(" \t") for member in listed]
    kept = [member for member in members if member and member.split("=")[0].strip(" \t") != BAGGAGE_KEY]
    assert baggage_beside(headers) == "".join("," + member for member in kept)


def test_the_senders_baggage_stays() -> None:
    sent = (("Baggage", f"tenant=blue;p=1 , {BAGGAGE_KEY} = {OTHER}"), ("baggage", "flag=on,,"))
    assert with_trace(sent, TRACE, Role.STABLE)[-1] == (BAGGAGE, f"{BAGGAGE_KEY}={TRACE},tenant=blue;p=1,flag=on")


@given(traces)
def test_each_arm_has_a_parent_of_its_own(trace: str) -> None:
    parents = {span_of(trace, role) for role in Role}
    assert len(parents) == len(Role)
    assert all(len(parent) == 16 and set(parent) <= set("0123456789abcdef") and int(parent, 16) for parent in parents)
    assert parents == {span_of(trace, role) for role in Role}


@given(st.integers(min_value=0, max_value=2**128 - 1))
def test_trace_ids(number: int) -> None:
    made = trace_id(number)
    assert len(made) == 32
    assert int(made, 16) == (number or 1)


@pytest.mark.parametrize(
    ("sent", "trace"),
    [
        ([], ""),
        ([("Traceparent", f"00-{TRACE}-{SPAN}-01")], TRACE),
        ([(TRACEPARENT, f"00-{OTHER}-{SPAN}-01"), (BAGGAGE, f"a=b,{BAGGAGE_KEY}={TRACE};p=1,c=d")], TRACE),
        ([(BAGGAGE, f"{BAGGAGE_KEY}={TRACE}"), (TRACEPARENT, f"00-{OTHER}-{SPAN}-01")], TRACE),
        ([(TRACEPARENT, f"00-{OTHER}-{SPAN}-01"), (BAGGAGE, f"x{BAGGAGE_KEY}={TRACE}")], OTHER),
        ([(TRACEPARENT, f"00-{OTHER}-{SPAN}-01"), (BAGGAGE, f"a=1;{BAGGAGE_KEY}={TRACE}")], OTHER),
        ([(TRACEPARENT, f"00-{OTHER}-{SPAN}-01"), (BAGGAGE, f"{BAGGAGE_KEY}={TRACE}0")], OTHER),
        ([(TRACEPARENT, f"00-{OTHER}-{SPAN}-01"), (BAGGAGE, f"{BAGGAGE_KEY}={'0' * 32}")], OTHER),
        ([(TRACEPARENT, f"00-{TRACE}-{SPAN}-01"), (TRACEPARENT, f"00-{TRACE}-{SPAN}-00")], TRACE),
        ([(TRACEPARENT, f"00-{TRACE}-{SPAN}-01"), (TRACEPARENT, f"00-{OTHER}-{SPAN}-01")], ""),
    ],
)
def test_the_trace_of_a_message(sent: list[tuple[str, str]], trace: str) -> None:
    assert trace_of(sent) == trace
