import itertools
import random
from collections.abc import Callable, Iterable
from math import comb, exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits
from harness.core.labels import Control, Design
from harness.evidence import slices
from harness.evidence.bets import ArmOutcome, TrialBets
from harness.evidence.slices import Slice, SliceBook, log_tail

ENDPOINT = "GET /orders"
FINDING = "f"
Attributes = dict[str, str]


def trial(
    seq: int,
    attributes: Attributes,
    *,
    sampled: int = 1,
    entry: int | None = None,
    pass_index: int = 0,
    at_s: float | None = None,
    tainted: bool = False,
    endpoint: str = ENDPOINT,
) -> TrialBets:
    return TrialBets(
        seq=seq,
        trial=f"t{seq}",
        endpoint=endpoint,
        design=Design.THREE_ARM,
        control=Control.SECONDARY,
        pass_index=pass_index,
        fresh=False,
        warm_up=False,
        tainted=tainted,
        repeat=False,
        request=seq if entry is None else entry,
        captured=entry is not None,
        session=0,
        started_ns=int((seq * 0.1 if at_s is None else at_s) * 1e9),
        stable=ArmOutcome(200, 1.0),
        attributes=tuple(sorted(attributes.items())),
        sampled=sampled,
    )


def explained(trials: Iterable[tuple[TrialBets, bool]], book: SliceBook | None = None) -> Slice | None:
    """What the book says of a finding that some trials show."""
    book = book or SliceBook()
    seen: set[int] = set()
    for one, shows in trials:
        book.compared(one)
        if shows:
            book.shown(FINDING, one, first=one.request not in seen)
            seen.add(one.request)
    return book.explain(FINDING, ENDPOINT)


def traffic(rng: random.Random, count: int) -> list[Attributes]:
    """Requests of many kinds; what one attribute says has nothing to do with what another says."""
    return [
        {
            "method": rng.choice(["GET", "POST"]),
            "query.currency": rng.choice(["USD", "EUR", "GBP", "JPY", "SEK", "CHF"]),
            "header.x-region": rng.choice(["EU", "US", "JP", "BR", "IN", "ZA", "AU", "CA"]),
            "json.customer.tenant": f"tenant-{rng.randrange(20)}",
            "answer.status": rng.choice(["200", "200", "200", "404"]),
            "in_flight": str(2 ** rng.randrange(5)),
            **({"cookie.beta": "present"} if rng.random() < 0.2 else {}),
            **({"header.x-debug": "1"} if rng.random() < 0.8 else {}),
        }
        for _ in range(count)
    ]


def found_where(shows: Callable[[Attributes], bool], *, count: int = 900, seed: int = 1) -> Slice | None:
    return explained((trial(seq, one), shows(one)) for seq, one in enumerate(traffic(random.Random(seed), count)))


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("method", "POST"),
        ("query.currency", "JPY"),
        ("header.x-region", "JP"),
        ("json.customer.tenant", "tenant-7"),
        ("cookie.beta", "present"),
        ("answer.status", "404"),
    ],
)
def test_for_each_finding_the_attribute_that_explains_it_best_is_found(attribute: str, value: str) -> None:
    found = found_where(lambda one: one.get(attribute) == value)
    assert found is not None
    assert (found.attribute, found.value) == (attribute, value)
    assert (found.diverged, found.elsewhere_diverged) == (found.compared, 0)
    assert found.compared + found.elsewhere_compared == 900
    assert found.low > 0.6
    assert (found.high, found.estimated) == (1.0, False)


def test_the_sentence_says_for_whom() -> None:
    requests = [{"header.x-region": "JP" if number % 65 == 0 else "EU"} for number in range(914)]
    found = explained((trial(seq, one), one["header.x-region"] == "JP") for seq, one in enumerate(requests))
    assert found is not None
    assert found.sentence == "differs for header x-region: JP, in 15 of 15 requests; 0 of 899 elsewhere"


def test_what_is_missing_explains_too() -> None:
    found = found_where(lambda one: "header.x-debug" not in one)
    assert found is not None
    assert (found.attribute, found.value, found.elsewhere_diverged) == ("header.x-debug", "absent", 0)


def test_a_finding_only_under_load_is_found_from_some_load_on() -> None:
    found = found_where(lambda one: int(one["in_flight"]) >= 8)
    assert found is not None
    assert (found.attribute, found.value, found.elsewhere_diverged) == ("in_flight", "8", 0)
    assert "8 or more requests in flight" in found.sentence


def test_a_finding_only_in_a_spell_of_time_is_found() -> None:
    """900 requests in 90 s; wrong between 30 s and 50 s."""
    found = explained((trial(seq, one), 300 <= seq < 500) for seq, one in enumerate(traffic(random.Random(2), 900)))
    assert found is not None
    assert found.attribute == "time"
    begin, end = map(float, found.value.split("-"))
    assert 24 <= begin <= 32
    assert 48 <= end <= 56
    assert found.diverged >= 150


def test_a_finding_with_exceptions_names_the_larger_part_with_all_counts() -> None:
    rng = random.Random(4)
    requests = traffic(rng, 900)
    shown = [rng.random() < (0.6 if one["header.x-region"] == "JP" else 0.01) for one in requests]
    found = explained((trial(seq, one), shows) for seq, (one, shows) in enumerate(zip(requests, shown, strict=True)))
    assert found is not None
    assert (found.attribute, found.value) == ("header.x-region", "JP")
    inside = sum(one["header.x-region"] == "JP" for one in requests)
    assert (found.compared, found.diverged + found.elsewhere_diverged) == (inside, sum(shown))
    assert 0 < found.elsewhere_diverged < found.diverged
    assert found.low < 0.6 < found.high


def test_a_finding_everywhere_has_no_explanation() -> None:
    assert found_where(lambda _: True) is None


def test_chance_explains_nothing() -> None:
    """200 findings in requests drawn blindly: at a level of 1 % there are hardly more than a few explanations."""
    named = 0
    for seed in range(200):
        rng = random.Random(seed)
        rate = rng.choice([0.01, 0.05, 0.3])
        requests = traffic(rng, 300)
        named += explained((trial(seq, one), rng.random() < rate) for seq, one in enumerate(requests)) is not None
    assert named <= 6  # of 200 at 1 % each, more than 6 have a chance below 0.5 %


def test_two_requests_are_too_few_for_an_explanation() -> None:
    assert found_where(lambda one: one["header.x-region"] == "JP", count=12, seed=3) is None


def test_a_request_of_a_capture_is_one_witness_however_many_passes_repeat_it() -> None:
    """One request of 60 has a currency of its own and always differs: 20 passes of it are no 20 requests."""
    trials = [
        (trial(seq, {"query.currency": "JPY" if entry == 7 else "EUR"}, entry=entry, pass_index=index), entry == 7)
        for seq, (index, entry) in enumerate(itertools.product(range(20), range(60)))
    ]
    assert explained(trials) is None


def test_requests_that_differ_only_in_a_later_pass_count_once() -> None:
    trials = [
        (trial(seq, {"query.currency": "JPY" if entry < 8 else "EUR"}, entry=entry, pass_index=index), entry < 8 and index % 8 == entry)
        for seq, (index, entry) in enumerate(itertools.product(range(20), range(60)))
    ]
    found = explained(trials)
    assert found is not None
    assert (found.attribute, found.diverged, found.compared, found.elsewhere_compared) == ("query.currency", 8, 8, 52)


def sampled(shows: Callable[[Attributes], bool], *, seed: int = 5, count: int = 6000) -> list[tuple[TrialBets, bool]]:
    """As live: what shows nothing is read one time in sixteen."""
    rng = random.Random(seed)
    trials = []
    for seq, one in enumerate(traffic(rng, count)):
        weight, shown = 16 if rng.randrange(16) == 0 else 0, shows(one)
        trials.append((trial(seq, one if weight or shown else {}, sampled=weight), shown))
    return trials


def test_of_live_traffic_a_sample_is_counted_and_the_sentence_says_about() -> None:
    found = explained(sampled(lambda one: one["json.customer.tenant"] == "tenant-7"))
    assert found is not None
    assert (found.attribute, found.value, found.elsewhere_diverged) == ("json.customer.tenant", "tenant-7", 0)
    assert found.estimated
    assert found.diverged == found.compared
    assert 4500 < found.elsewhere_compared < 7000
    assert f"of about {found.elsewhere_compared:,} elsewhere" in found.sentence


def test_a_rate_within_a_sample_is_that_of_the_traffic() -> None:
    rng = random.Random(6)
    found = explained(sampled(lambda one: one["query.currency"] == "JPY" and rng.random() < 0.3, seed=7))
    assert found is not None
    assert (found.attribute, found.value) == ("query.currency", "JPY")
    assert found.diverged / found.compared == pytest.approx(0.3, abs=0.08)
    assert found.low < 0.3 < found.high < 0.7


def test_live_traffic_that_was_read_wholly_at_first_and_sampled_later_is_counted_together() -> None:
    def shows(one: Attributes) -> bool:
        return one["header.x-region"] == "JP"

    requests = traffic(random.Random(8), 400)
    at_first = [(trial(seq, one), shows(one)) for seq, one in enumerate(requests)]
    later = sampled(shows, seed=9)
    found, start, rest = explained([*at_first, *later]), explained(at_first), explained(later)
    assert found is not None
    assert start is not None
    assert rest is not None
    assert {one.value for one in (found, start, rest)} == {"JP"}
    assert (start.estimated, rest.estimated, found.estimated) == (False, True, True)
    assert found.diverged == start.diverged + rest.diverged
    assert found.elsewhere_compared == start.elsewhere_compared + rest.elsewhere_compared


@pytest.mark.parametrize("at_first", [0, 1000])
def test_chance_explains_nothing_in_a_sample_either(at_first: int) -> None:
    named = 0
    for seed in range(30):
        rng = random.Random(1000 + seed)
        wrong = [rng.random() < 0.02 for _ in range(3000 + at_first)]
        numbers = iter(wrong)
        read = [(trial(seq, one), next(numbers)) for seq, one in enumerate(traffic(rng, at_first))]
        named += explained([*read, *sampled(lambda _, numbers=numbers: next(numbers), seed=seed, count=3000)]) is not None  # type: ignore[misc]
    assert named <= 2


def test_what_follows_from_an_earlier_divergence_is_no_part_of_the_traffic_looked_at() -> None:
    requests = traffic(random.Random(1), 400)
    tainted = [(trial(400 + seq, one, tainted=True), False) for seq, one in enumerate(requests)]
    trials = [(trial(seq, one), one["header.x-region"] == "JP") for seq, one in enumerate(requests)]
    assert explained(trials) == explained([*trials, *tainted])


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_CELLS_MAX", 5_000)
    book = SliceBook()
    for seq in range(3_000):
        one = trial(seq, {f"header.h{seq % 90}": f"v{seq}", "query.q": str(seq)}, endpoint=f"GET /{seq % 50}")
        book.compared(one)
        book.shown(f"f{seq % 200}", one, first=True)
    cells = sum(len(values) for population in book._populations.values() for values in population.values.values())
    cells += sum(len(cases.values) + len(cases.beyond) for cases in book._cases.values())
    assert cells <= 5_001
    for population in book._populations.values():
        assert len(population.values) <= limits.SLICE_NAMES_MAX
        assert all(len(values) <= limits.SLICE_VALUES_MAX for values in population.values.values())


def test_time_is_kept_in_bounded_space_however_long_the_run_is() -> None:
    book = SliceBook()
    explained(((trial(seq, {"method": "GET"}, at_s=seq * 3600.0), False) for seq in range(2_000)), book)
    bands = book._populations[ENDPOINT, False].bands
    assert len(bands.counts) <= slices.BANDS
    assert sum(bands.counts) == 2_000


def test_an_explanation_is_a_function_of_the_bets() -> None:
    first = found_where(lambda one: one["query.currency"] == "JPY")
    assert first == found_where(lambda one: one["query.currency"] == "JPY")


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
def test_the_tail_is_fishers(hits: int, drawn: int, total: int) -> None:
    marked = total // 3
    drawn, hits = min(drawn, total), min(hits, drawn)
    exact = sum(comb(marked, k) * comb(total - marked, drawn - k) for k in range(hits, min(drawn, marked) + 1)) / comb(total, drawn)
    assert exp(log_tail(hits, drawn, marked, total)) == pytest.approx(exact, rel=1e-9, abs=1e-12)


def test_where_the_tail_is_long_its_bound_is_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [(hits, 300, 400, 1000) for hits in range(130, 300, 10)]
    exact = [log_tail(*place) for place in places]
    monkeypatch.setattr(slices, "_TAIL_TERMS_MAX", 0)
    bounds = [log_tail(*place) for place in places]
    assert all(bound >= tail for bound, tail in zip(bounds, exact, strict=True))
    assert bounds[-1] < -100
