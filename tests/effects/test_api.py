"""A collector that overrides nothing does nothing, and does it right."""

import asyncio

import pytest

from harness.core.errors import UsageError
from harness.core.labels import Role
from harness.effects.api import Collector, OpenTrial, Workplace


def test_the_base_does_nothing() -> None:
    async def main() -> None:
        collector = Collector()
        trial = OpenTrial(trace="t", roles=(Role.STABLE,), request="r")
        await collector.open((Role.STABLE,))
        await collector.prepare(Role.STABLE)
        await collector.attach()
        collector.begin(trial)
        collector.answered(trial, Role.STABLE)
        assert await collector.settle(trial, 0)
        assert await collector.drain() == []
        collector.end(trial)
        assert await collector.final_state(Role.STABLE) == ()
        await collector.detach()
        await collector.close()
        assert (collector.names(Role.STABLE), collector.env(Role.STABLE), collector.lapses(), collector.mode) == ({}, {}, (), "")

    asyncio.run(main())


def test_each_collector_says_how_it_is_made() -> None:
    with pytest.raises(UsageError, match="how it is made"):
        Collector.make({}, None)  # type: ignore[arg-type]
    assert Workplace.__struct_fields__ == ("folder", "clock", "rng", "redactor", "host", "live")
