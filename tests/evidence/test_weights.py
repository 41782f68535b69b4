import math

import pytest

from harness.core.labels import Aspect, Kind
from harness.evidence.weights import FAMILY_WEIGHTS, POOL_WEIGHTS, POOLED_SHARE, EndpointShares, Family, Pool, family_of, pools_of, series


def test_all_weights_together_are_at_most_one() -> None:
    assert sum(FAMILY_WEIGHTS.values()) <= 1.0
    pools = {
        Family.COARSE: (Pool.COARSE, Pool.STATUS, Pool.TRANSPORT),
        Family.VALUES: (Pool.BODY_VALUES, Pool.HEADER_VALUES),
        Family.LATENCY: (Pool.LATENCY,),
        Family.DETERMINISM: (Pool.DETERMINISM,),
    }
    assert set(FAMILY_WEIGHTS) - set(pools) == {Family.NOISE}, "each family but this one has pools, of half its weight"
    for family, members in pools.items():
        assert sum(POOL_WEIGHTS[pool] for pool in members) == pytest.approx(FAMILY_WEIGHTS[family] * POOLED_SHARE)
    assert {pool for members in pools.values() for pool in members} == set(Pool)


def test_the_series_adds_up_to_one() -> None:
    assert math.fsum(series(j) for j in range(1, 100_000)) == pytest.approx(1.0, abs=1e-4)
    assert series(1) == 0.5


def test_endpoints_share_alike_and_leave_one_share_for_strangers() -> None:
    shares = EndpointShares(("a", "b", "c"))
    known = [shares.next_share(name) for name in "abc"]
    strangers = [shares.next_share(f"x{i}") for i in range(1000)]
    assert known == [0.25] * 3
    assert sum(strangers) < 0.25
    assert strangers[0] == 0.125


def test_unknown_endpoints_are_numbered_as_they_come() -> None:
    shares = EndpointShares()
    assert [shares.next_share(name) for name in "xyz"] == pytest.approx([1 / 2, 1 / 6, 1 / 12])


@pytest.mark.parametrize(
    ("aspect", "kind", "family", "pools"),
    [
        (Aspect.STATUS, Kind.CODE, Family.COARSE, (Pool.COARSE, Pool.STATUS)),
        (Aspect.TRANSPORT, Kind.ERROR, Family.COARSE, (Pool.COARSE, Pool.TRANSPORT)),
        (Aspect.EFFECTS, Kind.MISSING, Family.COARSE, (Pool.COARSE,)),
        (Aspect.EFFECTS, Kind.DUPLICATED, Family.COARSE, (Pool.COARSE,)),
        (Aspect.EFFECTS, Kind.VALUE, Family.COARSE, (Pool.BODY_VALUES,)),
        (Aspect.EFFECTS, Kind.ORDER, Family.COARSE, (Pool.BODY_VALUES,)),
        (Aspect.BODY, Kind.MISSING, Family.COARSE, (Pool.COARSE,)),
        (Aspect.BODY, Kind.FORMAT, Family.VALUES, (Pool.BODY_VALUES,)),
        (Aspect.HEADERS, Kind.VALUE, Family.VALUES, (Pool.HEADER_VALUES,)),
    ],
)
def test_what_a_bet_counts_for(aspect: Aspect, kind: Kind, family: Family, pools: tuple[Pool, ...]) -> None:
    assert family_of(aspect, kind) is family
    assert pools_of(aspect, kind) == pools


def test_latency_has_a_family_of_its_own() -> None:
    assert family_of(Aspect.LATENCY, Kind.SLOWER) is Family.LATENCY
