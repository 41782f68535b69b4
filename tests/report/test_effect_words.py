import inspect
import re

import pytest

from harness.core.labels import Kind, Role
from harness.core.watched import EffectsFacts, LapseFact, TableDifference, Watched
from harness.effects.egress import desk
from harness.report import effect_words as words
from harness.report.words import KIND_WORDS
from tests.report.effect_samples import EFFECTS


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("$['http POST payments.test/charge'].body.amount", "effect `POST payments.test/charge` (http): body.amount"),
        ('$["http POST payments.test/charge"]', "effect `POST payments.test/charge` (http)"),
        ("$['redis SET it\\'s:{int}'][*].x", "effect `SET it's:{int}` (redis): [*].x"),
        ("$", "effects"),
        ("", "effects"),
        ("$['http POST cut…", "effects $['http POST cut…"),
        ("$.no_operation", "effects $.no_operation"),
    ],
)
def test_places(path: str, said: str) -> None:
    assert words.effect_place_words(path) == said


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("$['http POST a']", Kind.MISSING, "not done"),
        ("$['http POST a']", Kind.EXTRA, "done though stable does not"),
        ("$['http POST a']", Kind.DUPLICATED, "done more often"),
        ("$['http POST a']", Kind.FEWER, "done less often"),
        ("$", Kind.ORDER, "done in another order"),
        ("$['http POST a'].b", Kind.VALUE, "done with another value"),
        ("$['http POST a'].b", Kind.MISSING, "done without this value"),
        ("$['http POST a'].b", Kind.ORDER, None),
        ("$['http POST a']", Kind.MALFORMED, None),
        ("$['http POST cut…", Kind.MISSING, None),
    ],
)
def test_kinds(path: str, kind: Kind, said: str | None) -> None:
    assert words.effect_kind_words(path, kind) == said


def test_a_whole_effect_is_not_called_a_value() -> None:
    assert not {words.EFFECT_WORDS[kind] for kind in (Kind.MISSING, Kind.EXTRA)} & {
        *KIND_WORDS.values(),
        *words.EFFECT_VALUE_WORDS.values(),
    }


def test_what_was_watched_is_one_line() -> None:
    assert words.watched_words(EFFECTS) == "http (virtualise) 1,204 calls, postgres 310 rows, redis 108 commands; 3 unattributed"
    one = EffectsFacts(watched=(Watched(collector="custom", version="1", seen={"stable": 1}),))
    assert words.watched_words(one) == "custom 1 effect"
    assert words.watched_words(EffectsFacts()) == ""


@pytest.mark.parametrize(
    ("complete", "timed_out", "said"),
    [
        (0, 0, ""),
        (36, 0, "36 of 36 requests (100 %) were judged with all their effects"),
        (
            99_999,
            1,
            "99,999 of 100,000 requests (just below 100 %) were judged with all their effects; 1 when the wait for them was over",
        ),
    ],
)
def test_the_complete_share(complete: int, timed_out: int, said: str) -> None:
    assert words.complete_words(EffectsFacts(complete=complete, timed_out=timed_out)) == said


def test_stored_state_that_only_the_candidate_left_otherwise_has_a_line() -> None:
    rows = TableDifference(
        collector="sqlite", table="carts", values={"stable": "3", "secondary": "3", "candidate": "4"}, passes=1, passes_compared=2
    )
    assert words.table_lines(EffectsFacts(tables=(*EFFECTS.tables, rows))) == [
        "column total of public.orders differs at the candidate (postgres, in 2 of 2 passes)",
        "number of rows of carts: stable 3, secondary 3, candidate 4 (sqlite, in 1 of 2 passes)",
    ]


def test_blind_spots() -> None:
    assert list(words.blind_words(EFFECTS)) == [
        ("times that collector http may have missed effects: connections to port 25 that are no HTTP (candidate)", 4),
        ("effects seen by collector http that belong to no request, 1 of them because they came after their request had been judged", 3),
        ("requests judged before all their effects had come", 4),
    ]
    assert list(words.blind_words(EffectsFacts(watched=(Watched(collector="redis", version="1", seen={"stable": 3}),), complete=3))) == []
    sighted = Watched(collector="redis", version="1", lapses=(LapseFact(what="x", count=1, blind=False),))
    assert list(words.blind_words(EffectsFacts(watched=(sighted,)))) == []


def test_columns_are_those_that_anything_is_said_about() -> None:
    assert words.roles_of(EFFECTS) == [Role.STABLE, Role.CANDIDATE, Role.SECONDARY]
    assert words.roles_of(EffectsFacts(watched=(Watched(collector="http", version="1", late={"candidate": 1}),))) == [Role.CANDIDATE]


def test_how_often_each_target_does_it() -> None:
    times = {Role.SECONDARY: 1, Role.STABLE: 2, Role.CANDIDATE: 0}
    assert words.times_words(times) == "stable does it twice, candidate never, secondary once"
    assert words.times_words({Role.STABLE: 1204, Role.CANDIDATE: 1}) == "stable does it 1,204 times, candidate once"
    assert words.times_words({Role.STABLE: 0, Role.CANDIDATE: 2}) == "candidate does it twice"


@pytest.mark.parametrize(
    ("kind", "stable", "candidate", "said"),
    [
        (Kind.MISSING, 1, 0, "not done"),
        (Kind.MISSING, 2, 1, "not all of them done"),
        (Kind.EXTRA, 0, 1, "done though stable does not"),
        (Kind.EXTRA, 1, 2, "more of them done"),
        (Kind.FEWER, 2, 1, "done less often"),
        (Kind.DUPLICATED, 1, 3, "done more often"),
    ],
)
def test_what_it_is_called_beside_its_counts(kind: Kind, stable: int, candidate: int, said: str) -> None:
    assert words.often_words(kind, {Role.STABLE: stable, Role.CANDIDATE: candidate}) == said


def test_notes_of_collectors_are_explained() -> None:
    said = words.note_words("no match: failed; late")
    assert said == "no counterpart among stable's calls or on the tape, so the harness answered with status 599; late"
    assert words.note_words("answered from the tape") == "answered from the tape"
    assert words.note_words("") == ""
    assert words.without_difference("answered from stable's call, though its content differs") == "answered from stable's call"


def test_every_note_of_the_egress_collector_that_needs_it_is_explained() -> None:
    notes = set(re.findall(r"no match: [a-z ]+", inspect.getsource(desk)))
    assert notes == set(words.NOTE_WORDS)
    assert words.without_difference(desk.FROM_TAPE + desk.CHANGED) == desk.FROM_TAPE
