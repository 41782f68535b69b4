"""How far two streams are compared of which the harness heard a part only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.exchange import compare_exchanges
from harness.core.labels import Kind
from harness.core.values import Body, Exchange, Request, Response
from tests.comparators.support import plan_of

SSE = "text/event-stream"
LINES = "application/x-ndjson"


def heard(data: bytes, *, media_type: str = SSE, cut: bool = True) -> Exchange:
    response = Response(200, (("Content-Type", media_type),), Body(data=data, size=len(data), open=cut))
    return Exchange(request=Request("GET", "/events"), response=response)


def events(*names: str) -> bytes:
    return b"".join(f"event: {name}\ndata: 1\n\n".encode() for name in names)


def found(left: Exchange, right: Exchange) -> list[tuple[str, Kind]]:
    there = [(d.path, d.kind) for d in compare_exchanges(left, right, plan_of())]
    back = [(d.path, d.kind) for d in compare_exchanges(right, left, plan_of())]
    mirrored = {Kind.MISSING: Kind.EXTRA, Kind.EXTRA: Kind.MISSING}
    assert [(path, mirrored.get(kind, kind)) for path, kind in back] == there
    return there


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=9), st.data())
def test_where_the_harness_stopped_listening_is_no_difference(names: list[str], data: st.DataObject) -> None:
    whole = events(*names)
    least = len(events(names[0])) if len(names) < 4 else len(events(*names[: len(names) // 2]))
    cut = data.draw(st.integers(least, len(whole)))
    assert found(heard(whole), heard(whole[:cut])) == []
    assert found(heard(whole, cut=False), heard(whole[:cut])) == []


def test_another_event_in_the_part_that_both_have_is_a_difference() -> None:
    assert found(heard(events("a", "b", "c")), heard(events("a", "x"))) == [("$.line", Kind.VALUE)]


def test_an_end_that_came_too_early_is_a_difference_and_so_is_a_stream_that_goes_on() -> None:
    assert found(heard(events("a", "b")), heard(events("a"), cut=False)) != []
    assert found(heard(events("a"), cut=False), heard(events("a", "b", "c"))) != []


def test_silence_is_a_difference_though_a_connection_was_kept_awake() -> None:
    assert found(heard(events("a", "b")), heard(b"")) == [("$", Kind.MISSING)]
    assert found(heard(events("a", "b")), heard(b":ping\n\n:ping\n\n")) == [("$", Kind.MISSING)]
    assert found(heard(b":ping\n\n"), heard(b"")) == []


def test_far_fewer_events_in_the_same_time_are_a_difference() -> None:
    assert found(heard(events(*"a" * 40)), heard(events(*"a" * 4))) == [("$", Kind.LENGTH)]
    assert found(heard(events(*"a" * 40)), heard(events(*"a" * 30))) == []


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_lines_end_as_the_standard_lets_them(ending: bytes) -> None:
    data = events("a", "b", "c").replace(b"\n", ending)
    assert found(heard(data), heard(data[: len(data) // 2 + 3])) == []


def test_json_lines_are_streams_too() -> None:
    data = b"".join(b'{"n":%d}\n' % n for n in range(6))
    assert found(heard(data, media_type=LINES), heard(data[:40], media_type=LINES)) == []
    assert found(heard(data, media_type=LINES), heard(data[:40].replace(b"1", b"7"), media_type=LINES)) == [("$[*].n", Kind.VALUE)]
