"""The sink: one of each, counted, bounded, and the same ones kept whatever the order."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.api import ABSENT
from comparators.sink import Sink, bounded, preview
from harness.core import limits
from harness.core.labels import MIRRORED_KIND, Aspect, Kind
from harness.core.values import Difference, Further


def test_repeats_are_counted() -> None:
    sink = Sink()
    sink.add("$.a", Kind.VALUE, 1, 2, where="$.a[0]")
    for _ in range(4):
        sink.add("$.a", Kind.VALUE, 3, 4)
    sink.add("$.b", Kind.TYPE, 1, "1", note="integer against string")
    sink.add("$.b", Kind.TYPE, 1, "1")
    first, second = sink.differences()
    assert (first.left, first.where, first.note) == (1, "$.a[0]", "and 4 more")
    assert second.note == "integer against string, and 1 more"


def test_one_sided() -> None:
    sink = Sink(Aspect.HEADERS)
    sink.one_sided("vary", "x", ABSENT)
    sink.one_sided("allow", ABSENT, None)
    assert [(d.aspect, d.kind, d.left, d.right) for d in sink.differences()] == [
        (Aspect.HEADERS, Kind.MISSING, "x", None),
        (Aspect.HEADERS, Kind.EXTRA, None, None),
    ]


def test_discarding_what_lies_below() -> None:
    sink = Sink()
    for path in ("$.a", "$.a.b", "$.a[*]", "$.ab"):
        sink.add(path, Kind.VALUE, 1, 2)
    sink.add("$.a", Kind.DUPLICATE_KEY, 1, 2)
    sink.discard_below("$.a", keep=Kind.DUPLICATE_KEY)
    assert [(d.path, d.kind) for d in sink.differences()] == [("$.ab", Kind.VALUE), ("$.a", Kind.DUPLICATE_KEY)]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (ABSENT, None),
        (True, True),
        (7, 7),
        (2**63, str(2**63)),
        (1.5, 1.5),
        (math.inf, "inf"),
        ("text", "text"),
        ("\ud800", "\\ud800"),
        ([1, {"a": None}], '[1,{"a":null}]'),
        ([2**70], f"[{2**70}]"),
    ],
)
def test_a_preview(value: object, shown: object) -> None:
    assert preview(value) == shown
    json.dumps(preview(value)).encode()
    msgspec.msgpack.encode(preview(value))


def test_a_preview_is_short() -> None:
    assert len(str(preview("x" * 10_000))) == limits.PREVIEW_CHARS_MAX
    assert len(str(preview(["x" * 10_000]))) == limits.PREVIEW_CHARS_MAX


def test_a_long_path_is_cut() -> None:
    sink = Sink()
    sink.add("$" + ".a" * 1_000, Kind.VALUE, 1, 2)
    assert len(sink.differences()[0].path) == limits.PATH_CHARS_MAX


ENTRIES = st.lists(
    st.tuples(st.sampled_from([f"$.p{i}" for i in range(12)]), st.sampled_from([Kind.MISSING, Kind.EXTRA, Kind.VALUE])), max_size=60
)


@given(ENTRIES, st.randoms())
def test_what_is_kept_does_not_depend_on_order_or_side(entries: list[tuple[str, Kind]], rng: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "DIFFERENCES_PER_PAIR_MAX", 5)
        shuffled = list(entries)
        rng.shuffle(shuffled)
        one, other = Sink(), Sink()
        for path, kind in entries:
            one.add(path, kind, 1, 2)
        for path, kind in shuffled:
            other.add(path, MIRRORED_KIND.get(kind, kind), 2, 1)
        kept = {(d.path, d.kind) for d in one.differences()}
        assert kept == {(d.path, MIRRORED_KIND.get(d.kind, d.kind)) for d in other.differences()}
        assert len(kept) <= 5
        if len(set(entries)) > 5 and kept:
            assert "left out" in one.differences()[-1].note


@given(ENTRIES, st.randoms())
def test_a_pair_is_bounded_in_the_same_way(entries: list[tuple[str, Kind]], rng: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "DIFFERENCES_PER_PAIR_MAX", 5)
        found = [Difference(Aspect.BODY, path, kind) for path, kind in entries]
        swapped = [Difference(Aspect.BODY, path, MIRRORED_KIND.get(kind, kind)) for path, kind in entries]
        rng.shuffle(swapped)
        kept = {(d.path, d.kind) for d in bounded(found)}
        assert kept == {(d.path, MIRRORED_KIND.get(d.kind, d.kind)) for d in bounded(swapped)}
        assert len(kept) <= 5
        assert kept <= set(entries)


PLACES = frozenset({(Aspect.BODY, "$.items[*].price", Kind.VALUE)})


def test_every_differing_element_is_kept_only_where_it_is_wanted() -> None:
    for every in (frozenset(), PLACES):
        sink = Sink(every=every)
        for number in range(3):
            sink.add("$.items[*].price", Kind.VALUE, number, 10 * number)
            sink.add("$.items[*].name", Kind.VALUE, "a", "b")
        prices, names = sink.differences()
        assert prices.further == (Further(((1, 10), (2, 20))) if every else None)
        assert names.further is None
        assert prices.note == "and 2 more"


def test_beyond_the_bound_it_is_said_how_many_elements_were_left_out() -> None:
    sink = Sink(every=PLACES)
    for number in range(limits.EXPECTED_ELEMENTS_MAX + 4):
        sink.add("$.items[*].price", Kind.VALUE, number, 10 * number)
    further = sink.differences()[0].further
    assert further is not None
    assert (len(further.pairs), further.left_out) == (limits.EXPECTED_ELEMENTS_MAX, 3)


def test_what_a_comparator_did_not_look_at_is_left_out() -> None:
    sink = Sink(every=PLACES)
    sink.add("$.items[*].price", Kind.VALUE, 1, 2)
    sink.left_out("$.items[*].price", Kind.VALUE)
    sink.left_out("$.items[*].name", Kind.VALUE)
    assert sink.differences()[0].further == Further((), 1)


def test_differences_of_one_place_that_a_comparator_lists_apart_are_joined_where_they_are_wanted() -> None:
    found = [Difference(Aspect.BODY, "$.items[*].price", Kind.VALUE, number, 10 * number) for number in range(300)]
    assert [one.further for one in bounded(found)] == [None]
    (joined,) = bounded(found, PLACES)
    assert joined.further is not None
    assert joined.further.pairs[:2] == ((1, 10), (2, 20))
    assert (len(joined.further.pairs), joined.further.left_out) == (limits.EXPECTED_ELEMENTS_MAX, 299 - limits.EXPECTED_ELEMENTS_MAX)
