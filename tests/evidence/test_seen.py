"""What was seen of a difference: the relation that is found holds for what it was found in, and for nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import Kind
from harness.core.limits import SEEN_FORMS_MAX, SEEN_VALUES_MAX
from harness.core.values import Comparison
from harness.evidence.bets import bets_of
from harness.evidence.seen import Relation, Seen, SeenBook, SeenState, form_of, values_of, within
from tests.evidence.build import diff, pair, trial


def seen_of(*pairs: tuple[Any, Any], kind: Kind = Kind.VALUE) -> Seen:
    state = SeenState(kind, "$.x")
    for left, right in pairs:
        state.observe(diff(kind, left, right))
    return state.seen()


@pytest.mark.parametrize(
    ("pairs", "relation", "inside", "outside"),
    [
        ([(4, 400)], Relation.VALUES, (4, 400), (5, 500)),
        ([(4, 400), (5, 500)], Relation.RATIO, (7, 700), (7, 701)),
        ([(1.1, 2.1), (5.0, 6.0)], Relation.DIFFERENCE, (7.0, 8.0), (7.0, 9.0)),
        ([("a", "x-a"), ("b", "x-b")], Relation.PREFIX_ADDED, ("c", "x-c"), ("c", "c-x")),
        ([("x-a", "a"), ("x-b", "b")], Relation.PREFIX_REMOVED, ("x-c", "c"), ("c", "x-c")),
        ([("a", "a!"), ("b", "b!")], Relation.SUFFIX_ADDED, ("c", "c!"), ("c", "c?")),
        ([("a!", "a"), ("b!", "b")], Relation.SUFFIX_REMOVED, ("c!", "c"), ("c?", "c")),
        ([("Ann", "ANN"), ("Bob", "BOB")], Relation.CASE, ("Eve", "eve"), ("Eve", "Eva")),
        ([("red", "rot"), ("blue", "blau")], Relation.VALUES, ("red", "rot"), ("red", "blau")),
        ([(n, n * n) for n in range(1, 20)], Relation.RATIO, (10, 55), (10, 1000)),
        ([(f"w{n}", f"v{n * 7}") for n in range(20)], Relation.ANY, ("a", "b"), ("a", None)),
    ],
)
def test_each_relation_is_found_and_told_from_others(pairs: Any, relation: Relation, inside: Any, outside: Any) -> None:
    seen = seen_of(*pairs)
    assert seen.relation is relation
    assert within(seen, diff(Kind.VALUE, *inside))
    assert not within(seen, diff(Kind.VALUE, *outside))


def test_a_value_that_becomes_another_each_time_is_held_to_its_form_only() -> None:
    seen = seen_of(("fixed", "a1"), ("fixed", "b2"))
    assert seen == Seen(forms=("text -> text",))


def test_another_type_that_is_written_the_same() -> None:
    seen = seen_of((4, "4"), (7, "7"), kind=Kind.TYPE)
    assert seen.relation is Relation.SAME_TEXT
    assert within(seen, diff(Kind.TYPE, 12, "12"))
    assert not within(seen, diff(Kind.TYPE, 12, "13"))


def test_a_status_is_held_to_its_codes_however_many_there_are() -> None:
    seen = seen_of((200, 404), (200, 410), kind=Kind.CODE)
    assert (seen.relation, seen.values) == (Relation.VALUES, ((200, 404), (200, 410)))
    assert not within(seen, diff(Kind.CODE, 200, 500))


@pytest.mark.parametrize("kind", [Kind.MISSING, Kind.EXTRA, Kind.NULL])
def test_what_is_gone_new_or_null_is_held_to_its_form(kind: Kind) -> None:
    left, right = (None, 5) if kind is Kind.EXTRA else (5, None)
    seen = seen_of((left, right), kind=kind)
    assert (seen.relation, len(seen.forms)) == (Relation.ANY, 1)
    assert within(seen, diff(kind, *((None, 9) if kind is Kind.EXTRA else (9, None))))
    assert not within(seen, diff(kind, *((None, "9") if kind is Kind.EXTRA else ("9", None))))


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (None, "null"),
        (True, "boolean"),
        (1, "integer"),
        (1.5, "number"),
        ("word", "text"),
        ("deadbeef1234567890", "text"),
        ("1b4e28ba-2fa1-41d2-883f-0016d3cca427", "uuid"),
        ("2024-01-31", "date"),
        ("2024-01-31T10:00:00Z", "date-time with offset"),
        ("2024-01-31T10:00:00", "date-time"),
        ("https://a.test/", "url"),
        ('{"a":1}', "object"),
        ("[1]", "array"),
    ],
)
def test_forms(value: Any, form: str) -> None:
    assert form_of(value) == form


def test_forms_are_held_to_as_well_as_relations() -> None:
    seen = Seen(forms=("text -> uuid",))
    assert within(seen, diff(Kind.FORMAT, "a", "1b4e28ba-2fa1-41d2-883f-0016d3cca427"))
    assert not within(seen, diff(Kind.FORMAT, "a", "2024-01-31"))


def test_true_is_no_number_and_text_is_none() -> None:
    seen = Seen(relation=Relation.VALUES, values=((1, 2),))
    assert within(seen, diff(Kind.VALUE, 1.0, 2))
    assert not within(seen, diff(Kind.VALUE, True, 2))
    assert not within(seen, diff(Kind.VALUE, "1", 2))
    assert not within(Seen(relation=Relation.RATIO, low=0, high=9), diff(Kind.VALUE, 0, 2))


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)


@given(st.lists(st.tuples(scalars, scalars), min_size=1, max_size=40), st.sampled_from(list(Kind)))
def test_all_that_was_seen_lies_within_and_memory_is_bounded(pairs: list[tuple[Any, Any]], kind: Kind) -> None:
    seen = seen_of(*pairs, kind=kind)
    assert all(within(seen, diff(kind, left, right)) for left, right in pairs)
    assert len(seen.values) <= SEEN_VALUES_MAX
    assert len(seen.forms) <= SEEN_FORMS_MAX


def test_a_book_keeps_what_the_candidate_alone_shows_and_counts_requests_once() -> None:
    book = SeenBook()
    for seq in range(4):
        comparison = pair({"$.x": (1, 1, 2), "$.noise": (seq, seq + 100, seq + 200), "$.odd": (1, 2, 1)})
        book.observe(bets_of(trial(seq=seq, entity=f"/{seq}", pass_index=seq // 2, fresh=True), comparison), comparison)
    (state,) = book.states().values()
    assert state.changed == 2
    assert list(values_of(state.seen())) == [1, 2]


def test_a_book_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.evidence.seen.SEEN_FINDINGS_MAX", 2)
    book = SeenBook()
    paths = {f"$.p{n}": (1, 1, 2) for n in range(5)}
    comparison: Comparison = pair(paths)
    book.observe(bets_of(trial(), comparison), comparison)
    assert len(book.states()) == 2


def test_a_book_that_is_filled_again_knows_of_all_that_something_differed_and_of_kept_ones_what() -> None:
    whole, again = SeenBook(), SeenBook()
    for seq in range(6):
        comparison = pair({"$.x": (1, 1, 2), "$.noise": (seq, seq + 100, seq + 200)})
        bets = bets_of(trial(seq=seq, entity=f"/{seq}", pass_index=seq // 4, fresh=True), comparison)
        whole.observe(bets, comparison)
        again.recall(bets, comparison if seq == 1 else None)
    (one,), (other,) = whole.states().values(), again.states().values()
    assert one.changed == 4
    assert other.changed == 3, "what came before the first that was kept is not known"
    assert other.seen() == one.seen()
