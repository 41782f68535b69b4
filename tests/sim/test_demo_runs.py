"""The short form of the demo at simulation speed: the long one is `python -m tests.sim.demo_runs`."""

import asyncio
import re

import pytest

from harness.core.labels import VerdictState
from scenarios.demo.api import BUILDS
from scenarios.demo.candidate import MODEL_CALL_MS
from scenarios.demo.shop import Shop
from scenarios.demo.traffic import SESSIONS
from tests.sim.demo_runs import CANDIDATE, as_planted, not_alarmed, run
from tests.sim.demo_world import STABLE, Live
from tests.sim.virtual_time import VirtualLoop

pytestmark = [pytest.mark.sim, pytest.mark.timeout(600)]

RUNS = 10
PASSING = 9


def recorded(seed: int) -> bytes:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(Live(seed, STABLE).run())[0]


@pytest.mark.parametrize("seed", [1])
def test_all_planted_faults_are_named_and_nothing_else(seed: int) -> None:
    end = run(seed, CANDIDATE)
    assert as_planted(end), end


def test_the_stable_build_against_itself_never_fails_and_mostly_passes() -> None:
    ends = [run(seed, STABLE) for seed in range(1, RUNS + 1)]
    assert [end for end in ends if not not_alarmed(end)] == []
    assert sum(end.verdict is VerdictState.PASS for end in ends) >= PASSING, [end for end in ends if end.left]
    assert all(end.left for end in ends if end.verdict is VerdictState.INCONCLUSIVE), "inconclusive for another reason than evidence"


class SlowShop(Shop):
    """The stable build with a single fault: it is slow at one endpoint."""

    def recommendation_work_ms(self) -> float:
        return super().recommendation_work_ms() + MODEL_CALL_MS


def test_a_candidate_that_is_only_slower_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two passes show no difference and too few blocks of time to prove anything: the gate has to go on."""
    monkeypatch.setitem(BUILDS, "slow", SlowShop)
    end = run(1, "slow")
    assert (end.verdict, set(end.found), end.unplanned) == (VerdictState.FAIL, {"slow-recommendations"}, ())


def test_a_run_is_the_same_from_its_seed() -> None:
    assert recorded(2) == recorded(2)
    assert run(2, STABLE) == run(2, STABLE)


def test_the_recording_holds_no_secret() -> None:
    text = recorded(1).decode()
    assert text.count("POST /login") == SESSIONS
    assert "open sesame" not in text
    assert "shop.example" not in text
    assert set(re.findall(r"Authorization: (\S+ [a-z]*)", text)) == {"Bearer redacted"}


def test_virtual_time_passes_at_once_and_in_order() -> None:
    async def woken() -> list[tuple[float, float]]:
        loop = asyncio.get_running_loop()

        async def wait(seconds: float) -> tuple[float, float]:
            await asyncio.sleep(seconds)
            return seconds, round(loop.time(), 6)

        return list(await asyncio.gather(wait(3600.0), wait(0.5), wait(0.0001)))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(woken()) == [(3600.0, 3600.0), (0.5, 0.5), (0.0001, 0.0001)]


def test_virtual_time_does_not_wait_for_what_never_comes() -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="everything waits"), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(stuck())
