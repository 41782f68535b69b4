"""The list of planted faults is true: the demo's traffic shows each one where it says, and nothing else but honest noise."""

import pytest

from harness.core.labels import Aspect, Kind
from scenarios.demo.faults import FAULTS, HONEST_NOISE, PlantedFault
from scenarios.demo.traffic import plan
from tests.scenarios.demo.playing import Key, differing


def of(name: str) -> PlantedFault:
    return next(fault for fault in FAULTS if fault.name == name)


def is_noise(key: Key) -> bool:
    return any(place.covers(*key) for place in HONEST_NOISE)


@pytest.mark.parametrize("seed", range(1, 6))
def test_two_stable_instances_differ_in_honest_noise_only(seed: int) -> None:
    found = differing("stable", "stable", plan(seed))
    assert [key for key in found if not is_noise(key)] == []
    assert [key for key in found if any(fault.explains(*key) for fault in FAULTS)] == []
    # All of the noise is there, so the list says no more than is true.
    assert [place for place in HONEST_NOISE if not any(place.covers(*key) for key in found)] == []


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_candidate_differs_by_its_faults_only(seed: int) -> None:
    found = differing("stable", "candidate", plan(seed))
    faulty = {key: count for key, count in found.items() if not is_noise(key)}
    assert [key for key in faulty if not any(fault.explains(*key) for fault in FAULTS)] == []
    often = {fault.name: sum(count for key, count in faulty.items() if fault.shown_by(*key)) for fault in FAULTS}
    # Latency shows in time, not in answers.
    assert often.pop("slow-recommendations") == 0
    assert often.pop("stock-off-by-one") >= 1
    assert min(often.values()) >= 10, often


def test_at_least_six_faults_with_names_of_their_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 6


def test_no_finding_is_two_faults() -> None:
    for fault in FAULTS:
        for place in fault.shows:
            endpoint, path = place.endpoint.replace("*", "{int}"), place.path.replace("*", "x")
            for kind in place.kinds:
                assert [other.name for other in FAULTS if other.shown_by(endpoint, place.aspect, path, kind)] == [fault.name]


def test_places() -> None:
    fault = of("unstable-sort")
    assert fault.shown_by("GET /products", Aspect.BODY, "$.items", Kind.ORDER)
    assert fault.shown_by("GET /products", Aspect.BODY, "$.items[*].sku", Kind.VALUE)
    assert not fault.shown_by("GET /products", Aspect.BODY, "$.items0.sku", Kind.VALUE)
    assert not fault.shown_by("GET /products/{int}", Aspect.BODY, "$.items", Kind.ORDER)
    assert not fault.shown_by("GET /products", Aspect.HEADERS, "$.items", Kind.ORDER)
    assert not fault.shown_by("GET /products", Aspect.BODY, "$.items", Kind.MISSING)
    zero = of("zero-accepted")
    assert zero.explains("GET /quotes/{int}", Aspect.BODY, "$.detail", Kind.MISSING)
    assert not zero.shown_by("GET /quotes/{int}", Aspect.BODY, "$.detail", Kind.MISSING)
    assert of("slow-recommendations").shown_by("GET /recommendations", Aspect.LATENCY, "p50", Kind.SLOWER)


def test_a_wrong_value_that_comes_and_goes_explains_that_the_candidate_disagrees_with_itself_there() -> None:
    (stock,) = (fault for fault in FAULTS if fault.name == "stock-off-by-one")
    key = ("GET /products/{slug}", Aspect.DETERMINISM, "$.stock.available", Kind.VALUE)
    assert stock.explains(*key)
    assert not stock.shown_by(*key)
    assert stock.explains("GET /products/{slug}", Aspect.BODY, "$.stock.available", Kind.MIX)
    assert not stock.explains("GET /products/{slug}", Aspect.DETERMINISM, "$.name", Kind.VALUE)
    assert not stock.explains("GET /products/{slug}", Aspect.BODY, "$.stock.available", Kind.MISSING)


def test_what_takes_longer_in_the_middle_is_slower_at_the_end_too() -> None:
    (slow,) = (fault for fault in FAULTS if fault.name == "slow-recommendations")
    assert slow.explains("GET /recommendations", Aspect.LATENCY, "tail2x", Kind.SLOWER)
    assert not slow.shown_by("GET /recommendations", Aspect.LATENCY, "tail2x", Kind.SLOWER)
    assert not slow.explains("GET /products/{slug}", Aspect.LATENCY, "tail2x", Kind.SLOWER)
