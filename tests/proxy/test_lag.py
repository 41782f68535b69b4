"""A loop that stays late is seen to be, a single pause is not, and it is forgiven when it has caught up."""

import asyncio
import time

import pytest

from harness.proxy.lag import LATE_LOOKS, LOOK_SECONDS, LagMeter
from tests.proxy.rig import LONG_S, LOOPS, ManualClock, SystemClock, run, until


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_with_too_much_to_do_is_behind_until_it_has_caught_up(loop: str) -> None:
    async def main() -> None:
        meter = LagMeter(SystemClock(), 0.2)
        meter.start()
        while not meter.behind():
            time.sleep(LOOK_SECONDS + 0.3)
            await asyncio.sleep(0)
        await until(lambda: not meter.behind())
        meter.stop()

    run(main(), loop)


def test_the_bound_is_on_how_much_later_than_due_the_timer_comes_time_after_time() -> None:
    async def look(meter: LagMeter, clock: ManualClock, late_ns: int) -> bool:
        clock.now_ns += int(LOOK_SECONDS * 1e9) + late_ns
        before = meter._timer
        await until(lambda: meter._timer is not before)
        return meter.behind()

    async def main() -> None:
        clock = ManualClock()
        meter = LagMeter(clock, 0.1)
        meter.start()
        bound_ns = 100_000_000
        assert [await look(meter, clock, bound_ns) for _ in range(4)] == [False] * 4
        assert not await look(meter, clock, bound_ns + 1), "one pause is none"
        assert not await look(meter, clock, 0)
        assert [await look(meter, clock, bound_ns + 1) for _ in range(4)] == [False, True, True, True]
        assert not await look(meter, clock, bound_ns)
        meter.stop()

    run(main())


def test_it_ends_with_its_stop() -> None:
    async def main() -> None:
        meter = LagMeter(SystemClock(), LONG_S)
        meter.stop()
        meter.start()
        first = meter._timer
        await until(lambda: meter._timer is not first)
        meter._late_looks = LATE_LOOKS
        meter.stop()
        await asyncio.sleep(3 * LOOK_SECONDS)
        assert meter._timer is None
        assert not meter.behind()

    run(main())
