"""The short form of the widest streams: a thousand fields, each watched at every request."""

import pytest

from tests.sim.wide import SITUATIONS, alarms

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("noise", [noise for noise, _ in SITUATIONS])
def test_a_thousand_fields_do_not_alarm(noise: float) -> None:
    assert alarms(noise, 1, count=1_000 if noise < 0.1 else 100) == 0
