"""Places whose values differ anyhow: each fault is found by the channel that can see it, and noise is let alone."""

import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from harness.core.labels import Control, Design, FindingClass, Kind
from harness.core.values import Scalar
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.snapshot import Evidence
from tests.sim.world import Answer, Three, bets, requests_of, run_passes

Draw = Callable[[random.Random, int], Three]


def iso(at: float) -> str:
    return datetime.fromtimestamp(1.7e9 + at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


def now(rng: random.Random, trial: int) -> str:
    return iso(trial + rng.random())


def drawn(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def twice(draw: Callable[[random.Random, int], Scalar], other: Callable[[random.Random, int], Scalar]) -> Draw:
    return lambda rng, trial: (draw(rng, trial), draw(rng, trial), other(rng, trial))


def run(
    draw: Draw,
    design: Design,
    *,
    seed: int = 1,
    trials: int = 1500,
    alpha: float = 0.01,
    control: Control = Control.SECONDARY,
    live: bool = False,
    stop: bool = True,
) -> Ledger:
    rng, ledger = random.Random(seed), Ledger(Policy(preset="rollout", alpha=alpha), live=live)
    for number in range(trials):
        at_s = number * (0.1 if live else 0.05)
        answer = Answer(entity=f"/items/{number}", values={"$.x": draw(rng, number)}, design=design, at_s=at_s, control=control)
        ledger.fold(bets(number, answer))
        if stop and ledger.failed():
            break
    return ledger


def named(ledger: Ledger) -> dict[Kind, Evidence]:
    return {one.kind: one for one in ledger.snapshot().findings}


SEQUENCE = 0x6F9619FF8B864D11B42D00CF40000000
FAULTS: dict[str, tuple[Draw, Kind, int]] = {
    "time zone shift": (twice(now, lambda rng, i: iso(i + rng.random() + 9 * 3600)), Kind.DISTANCE, 940),
    "constant timestamp": (twice(now, lambda rng, i: iso(-60.0)), Kind.DISTANCE, 940),
    "rounding from three places to two": (
        twice(lambda rng, i: round(rng.random() * 10, 3), lambda rng, i: round(rng.random() * 10, 2)),
        Kind.STYLE,
        1250,
    ),
    "bias of half a standard deviation inside jitter": (
        twice(lambda rng, i: rng.gauss(10, 1), lambda rng, i: rng.gauss(10.5, 1)),
        Kind.BIAS,
        2500,
    ),
    "UUID that became sequential": (twice(lambda rng, i: drawn(rng), lambda rng, i: str(uuid.UUID(int=SEQUENCE + i))), Kind.SEQUENCE, 1050),
    "UUID that is counted from zero": (twice(lambda rng, i: drawn(rng), lambda rng, i: str(uuid.UUID(int=i + 1))), Kind.STYLE, 940),
    "identifier that became constant": (twice(lambda rng, i: drawn(rng), lambda rng, i: str(uuid.UUID(int=SEQUENCE))), Kind.SEQUENCE, 1050),
    "longer hex digits": (
        twice(lambda rng, i: f"{rng.getrandbits(64):016x}", lambda rng, i: f"{rng.getrandbits(96):024x}"),
        Kind.STYLE,
        940,
    ),
    "another mix of categories": (
        twice(lambda rng, i: rng.choice("ab"), lambda rng, i: "a" if rng.random() < 0.8 else "b"),
        Kind.MIX,
        1800,
    ),
}


@pytest.mark.parametrize("design", [Design.TWO_ARM, Design.THREE_ARM])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_field_that_is_always_noisy_is_still_watched(fault: str, design: Design) -> None:
    draw, kind, most = FAULTS[fault]
    ledger = run(draw, design, seed=7, trials=most, stop=False)
    failed = ledger.failed()
    assert failed is not None
    found = named(ledger)
    assert kind in found
    assert any(one.finding_class is FindingClass.DIVERGENCE for one in found.values())
    assert all(one.exemplars for one in found.values() if one.finding_class is FindingClass.DIVERGENCE)


def test_a_uuid_that_became_null_is_found_by_the_kind_channel() -> None:
    ledger = run(twice(lambda rng, i: drawn(rng), lambda rng, i: None), Design.THREE_ARM)
    assert ledger.failed() is not None
    assert Kind.NULL in named(ledger)


def test_a_shift_says_by_how_much() -> None:
    assert named(run(FAULTS["time zone shift"][0], Design.TWO_ARM))[Kind.DISTANCE].detail == "off by +9 h"


HONEST: dict[str, Draw] = {
    "times": twice(now, now),
    "jitter": twice(lambda rng, i: round(rng.gauss(10, 1), 2), lambda rng, i: round(rng.gauss(10, 1), 2)),
    "identifiers": twice(lambda rng, i: drawn(rng), lambda rng, i: drawn(rng)),
    "categories": twice(lambda rng, i: rng.choice("abc"), lambda rng, i: rng.choice("abc")),
}


@pytest.mark.parametrize("design", [Design.TWO_ARM, Design.THREE_ARM])
@pytest.mark.parametrize("noise", HONEST)
def test_noise_does_not_alarm_even_at_an_alpha_of_a_fifth(noise: str, design: Design) -> None:
    """Of six streams of 600 requests, watched at each, at most two may fail by chance (more: less than 2 in 100 such tests)."""
    failed = sum(run(HONEST[noise], design, seed=seed, trials=600, alpha=0.2).failed() is not None for seed in range(6))
    assert failed <= 2


@pytest.mark.parametrize("design", [Design.TWO_ARM, Design.THREE_ARM])
@pytest.mark.parametrize(
    "three",
    [
        lambda rng, i: ("host-1", "host-2", "host-3"),
        lambda rng, i: (100, 200, 350),
        lambda rng, i: (1000.0 + i, 500.0 + i, 100.0 + i),
        lambda rng, i: ("a", "b", "a"),
    ],
    ids=["names of instances", "process numbers", "time since the start", "a choice for life, unlike in both of stable"],
)
def test_what_tells_instances_apart_is_no_divergence(three: Draw, design: Design) -> None:
    ledger = run(three, design, trials=400)
    assert not any(
        found.finding_class is FindingClass.DIVERGENCE and found.kind in (Kind.DISTANCE, Kind.BIAS, Kind.MIX)
        for found in named(ledger).values()
    )
    assert not any(game.decided for game in ledger.noise.games.values())


def test_with_stable_asked_twice_a_shift_is_not_judged() -> None:
    ledger = run(twice(lambda rng, i: rng.gauss(10, 1), lambda rng, i: rng.gauss(99, 1)), Design.TWO_ARM, control=Control.SELF, trials=60)
    assert not {Kind.DISTANCE, Kind.BIAS, Kind.SEQUENCE} & {game.kind for game in ledger.noise.games.values()}


def test_a_value_that_was_split_once_counts_once() -> None:
    ledger = run(lambda rng, i: (iso(0.0), iso(1.0), iso(99.0)), Design.THREE_ARM, trials=100)
    assert [game.best().stake.bets for game in ledger.noise.games.values() if game.kind is Kind.DISTANCE] == [1]
    assert ledger.failed() is None


def test_more_values_than_a_small_set_are_no_categories() -> None:
    ledger = run(lambda rng, i: (rng.randrange(400), rng.randrange(400), rng.randrange(400)), Design.THREE_ARM, trials=300)
    assert max((len(game.parts) for game in ledger.noise.games.values() if game.kind is Kind.MIX), default=0) <= 16


def test_games_are_bounded_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.evidence.noise.NOISE_HYPOTHESES_MAX", 4)
    rng, ledger = random.Random(1), Ledger(Policy())
    for number in range(20):
        values: dict[str, Three] = {f"$.f{i}": (rng.random(), rng.random(), rng.random()) for i in range(5)}
        ledger.fold(bets(number, Answer(entity=f"/{number}", values=values)))
    assert len(ledger.noise.games) == 4
    assert ledger.snapshot().pooled_hypotheses > 0


def test_weights_of_an_endpoint_stay_within_its_share() -> None:
    ledger = run(HONEST["jitter"], Design.TWO_ARM, trials=50)
    assert 0.0 < sum(game.weight for game in ledger.noise.games.values()) < 0.05


def test_in_passes_a_shift_fails_and_honest_noise_passes_soon() -> None:
    def values(shift: float) -> Callable[[random.Random, int], dict[str, Three]]:
        return lambda rng, entry: {
            "$.at": (now(rng, entry), now(rng, entry), iso(entry + rng.random() + shift)),
            "$.n": (rng.random(), rng.random(), rng.random()),
        }

    ledger, _ = run_passes(random.Random(3), requests_of(36, 6, values(9 * 3600.0)), Policy())
    assert ledger.failed() is not None
    assert len(ledger.passes) <= 14
    honest = [run_passes(random.Random(seed), requests_of(36, 6, values(0.0)), Policy()) for seed in range(4)]
    assert all(ledger.failed() is None and snapshot.open_questions == 0 for ledger, snapshot in honest)
    assert sorted(len(ledger.passes) for ledger, _ in honest)[2] <= 4


def test_folding_again_gives_the_same() -> None:
    draw = FAULTS["rounding from three places to two"][0]
    assert run(draw, Design.TWO_ARM).snapshot() == run(draw, Design.TWO_ARM).snapshot()


def test_the_candidate_is_no_part_of_that_check() -> None:
    ledger = run(twice(lambda rng, i: rng.gauss(0, 1), lambda rng, i: rng.gauss(50, 1)), Design.TWO_ARM)
    (game,) = [one for one in ledger.noise.games.values() if one.kind is Kind.DISTANCE]
    assert (game.best().instances.apart, game.decided is not None) == (False, True)
    assert game.best().stake.wins == game.best().stake.bets
