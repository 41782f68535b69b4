"""Always, sometimes, only under load: from passes with requests in parallel and one at a time."""

import itertools
import random
from collections.abc import Callable

import pytest

from harness.core.labels import Aspect, Control, Design, Kind, Occurrence, Role
from harness.core.limits import REQUESTS_PER_HYPOTHESIS_MAX
from harness.evidence import occurs as occurs_module
from harness.evidence.bets import ArmOutcome, TrialBets
from harness.evidence.determinism import path_of
from harness.evidence.findings import finding_id
from harness.evidence.occurs import CHANCE_MAX, OccursBook, chance
from harness.evidence.restless import Restless
from harness.evidence.snapshot import Occurs

ALONE = frozenset({3, 5, 7})


def sent(request: int, pass_index: int, *, alone: bool = False, captured: bool = True, restless: tuple[Restless, ...] = ()) -> TrialBets:
    return TrialBets(
        seq=0,
        trial="t",
        endpoint="GET /x",
        design=Design.THREE_ARM,
        control=Control.SECONDARY,
        pass_index=pass_index,
        fresh=True,
        warm_up=False,
        tainted=False,
        repeat=False,
        request=request,
        captured=captured,
        session=0,
        started_ns=0,
        stable=ArmOutcome(200, 1.0),
        restless=restless,
        alone=alone,
    )


def said(shows: Callable[[int, int], bool], passes: int = 12, requests: int = 4, alone: frozenset[int] = ALONE) -> Occurs | None:
    book = OccursBook()
    for index in range(passes):
        for request in range(requests):
            trial = sent(request, index, alone=index in alone)
            book.fold(trial)
            if shows(index, request):
                book.shown("f", trial)
    return book.of("f", dict.fromkeys(range(passes), requests))


@pytest.mark.parametrize(
    ("name", "shows", "when"),
    [
        ("every request always", lambda index, request: True, Occurrence.ALWAYS),
        ("one request always", lambda index, request: request == 2, Occurrence.ALWAYS),
        ("a request missed once", lambda index, request: request == 2 and index != 6, Occurrence.SOMETIMES),
        ("never alone", lambda index, request: index not in ALONE, Occurrence.ONLY_UNDER_LOAD),
        ("never alone, some requests", lambda index, request: index not in ALONE and request == index % 4, Occurrence.ONLY_UNDER_LOAD),
        ("only alone", lambda index, request: index in ALONE, Occurrence.ONLY_ALONE),
        ("once, and not alone", lambda index, request: index == 4, Occurrence.SOMETIMES),
        ("three of nine, and not alone", lambda index, request: index in (0, 4, 9), Occurrence.SOMETIMES),
        ("alone too", lambda index, request: index not in {3, 5}, Occurrence.SOMETIMES),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_always_sometimes_and_only_under_load(name: str, shows: Callable[[int, int], bool], when: Occurrence) -> None:
    found = said(shows)
    assert found is not None
    assert found.when is when
    assert (found.parallel, found.alone) == (9, 3)


@pytest.mark.parametrize(
    ("alone", "passes", "when"),
    [((3, 5, 7), 8, Occurrence.ONLY_UNDER_LOAD), ((3, 5), 7, Occurrence.SOMETIMES), ((3, 5), 8, Occurrence.ONLY_UNDER_LOAD)],
)
def test_the_rule_is_that_chance_would_say_so_in_one_of_twenty_at_most(alone: tuple[int, ...], passes: int, when: Occurrence) -> None:
    """The first pass that shows it does not count. Two passes one at a time need five others, three need three."""
    found = said(lambda index, _: index not in alone, passes=passes, alone=frozenset(alone))
    assert found is not None
    assert found.when is when


def test_the_chance_is_the_share_of_all_ways_to_choose_the_passes_that_show_it() -> None:
    for shown, sent_passes, others in ((3, 5, 2), (5, 5, 2), (1, 4, 3), (0, 2, 2)):
        total = sent_passes + others
        ways = list(itertools.combinations(range(total), shown))
        none = sum(all(index < sent_passes for index in way) for way in ways)
        assert chance(shown, sent_passes, others) == pytest.approx(none / len(ways))
    assert chance(0, 9, 3) == 1.0, "nothing to tell apart"


def test_where_load_means_nothing_it_is_rarely_said() -> None:
    """A difference in half of the passes, whatever their load; three of the passes after the first sighting go out alone."""
    rng = random.Random(1)
    runs = 2000
    wrong = 0
    for rate in (0.2, 0.5, 0.8, 0.95):
        for _ in range(runs // 4):
            shown = {index for index in range(14) if rng.random() < rate}
            found = said(lambda index, _, shown=shown: index in shown, passes=14, requests=1) if shown else None  # type: ignore[misc]
            wrong += found is not None and found.when in (Occurrence.ONLY_UNDER_LOAD, Occurrence.ONLY_ALONE)
    assert wrong <= CHANCE_MAX * runs


def test_of_a_stream_and_of_a_single_pass_nothing_is_said() -> None:
    book = OccursBook()
    trial = sent(1, 0, captured=False)
    book.fold(trial)
    book.shown("f", trial)
    assert book.of("f", {0: 1}) is None
    assert said(lambda index, request: True, passes=1) is None
    assert OccursBook().of("never seen", {0: 1, 1: 1}) is None


def test_a_pass_that_was_cut_short_proves_nothing() -> None:
    book = OccursBook()
    for index, count in ((0, 3), (1, 3), (2, 1)):
        for request in range(count):
            trial = sent(request, index)
            book.fold(trial)
            book.shown("f", trial)
    found = book.of("f", {0: 3, 1: 3, 2: 1})
    assert found == Occurs(when=Occurrence.ALWAYS, parallel=2, parallel_shown=2)


def test_a_candidate_that_disagrees_with_itself_is_told_by_pairs() -> None:
    book = OccursBook()
    for index in range(6):
        one = Restless(Aspect.BODY, "$.at", Kind.VALUE, Role.CANDIDATE, changed=False)
        book.fold(sent(1, index, restless=(one,) if index in (1, 5) else ()))
    found = book.of(
        finding_id("GET /x", Aspect.DETERMINISM, path_of(Aspect.BODY, "$.at"), Kind.VALUE), dict.fromkeys(range(6), 1), pairs=True
    )
    assert found == Occurs(when=Occurrence.SOMETIMES, parallel=3, parallel_shown=2)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occurs_module, "_FINDINGS_MAX", 2)
    book = OccursBook()
    for request in range(2 * REQUESTS_PER_HYPOTHESIS_MAX):
        for index in range(2):
            trial = sent(request, index)
            book.fold(trial)
            for name in "abc":
                book.shown(name, trial)
    compared = dict.fromkeys(range(2), 2 * REQUESTS_PER_HYPOTHESIS_MAX)
    kept = [book.of(name, compared) for name in "abc"]
    assert [one and one.when for one in kept] == [Occurrence.ALWAYS, Occurrence.ALWAYS, None]
    assert len(book._shown["a"].requests) == REQUESTS_PER_HYPOTHESIS_MAX
