"""The benchmark measures what it says: every call is answered and recorded, once each way."""

import asyncio

import pytest

from tests.bench import bench_egress


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_call_is_answered_and_recorded(method: str) -> None:
    found = asyncio.run(bench_egress.measure(40, method))
    assert [(figures.good, figures.effects) for figures in found.values()] == [(40, 40), (40, 40)]
    assert all(figures.rate > 0 for figures in found.values())
