"""Stopping as soon as a failure is proven: nothing more is sent, the report says so, and no pass comes of it."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from harness.app.early import EarlyStop, failed_within_pass
from harness.app.gate import run_gate
from harness.app.signals import Stop
from harness.app.stored import judge_again
from harness.core.labels import ReasonCode, SkipReason, VerdictState
from harness.core.watched import EffectsFacts
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.evidence.snapshot import BrokenRule
from harness.settings.schema import ReplaySettings
from tests.app.support import Handler, Heard, builds, capture, items, record_in, report_in, settings, shop

REQUESTS = 300


def slowly(handler: Handler, seen: Counter[str]) -> Handler:
    """A build that needs a while for each answer, and counts them."""

    async def answer(request: web.Request) -> web.StreamResponse:
        seen[request.path] += request.path.startswith("/items/")
        await asyncio.sleep(0.02)
        return await handler(request)

    return answer


def judged(tmp_path: Path, candidate: Handler, *, count: int = REQUESTS, **replay: Any) -> int:
    file = capture(tmp_path / "shop.gor", items(count))
    fields: dict[str, Any] = {"state": "stateless", "seed": 1, "stop_early": True, **replay}

    async def body() -> int:
        async with asyncio.timeout(100), builds(candidate) as urls:
            return await run_gate(settings(tmp_path / "run", urls, replay=ReplaySettings(**fields)), [file], Heard(), verdict=True)

    return asyncio.run(body())


def test_in_the_middle_of_a_pass_nothing_more_is_sent_once_the_failure_is_proven(tmp_path: Path) -> None:
    """Where each trial is a game of its own."""
    seen: Counter[str] = Counter()
    assert judged(tmp_path, slowly(shop(price=11), seen), state="shared", concurrency=2) == 1
    report = report_in(tmp_path / "run")
    assert report.verdict is VerdictState.FAIL
    assert report.passes == 1
    assert sum(seen.values()) < REQUESTS
    assert report.totals.compared == sum(seen.values())
    assert report.totals.requests == REQUESTS == report.totals.compared + report.totals.skipped[SkipReason.INTERRUPTED]
    (ended,) = [reason.message for reason in report.reasons if reason.code is ReasonCode.INTERRUPTED]
    assert "stop as soon as a failure is proven" in ended
    assert any("stop as soon as a failure is proven" in blind.what for blind in report.blind)
    assert record_in(tmp_path / "run").finished
    again, verdict = judge_again(tmp_path / "run")
    assert again == report
    assert verdict.state is VerdictState.FAIL


def test_a_run_that_stopped_early_never_passes_by_another_policy(tmp_path: Path) -> None:
    judged(tmp_path, slowly(shop(price=11), Counter()), state="shared", concurrency=2)
    lenient = tmp_path / "lenient.yaml"
    lenient.write_text("alpha: 1.0e-300\npasses_min: 1\ncompleted_share_min: 0.01\n", encoding="utf-8")
    assert judge_again(tmp_path / "run", str(lenient))[1].state is VerdictState.INCONCLUSIVE


def test_from_fresh_state_evidence_is_looked_at_when_a_pass_is_over(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    assert judged(tmp_path, slowly(shop(price=11), seen), count=60, passes=20) == 1
    report = report_in(tmp_path / "run")
    assert set((+seen).values()) == {report.passes}, "whole passes only"
    assert report.passes < 20
    assert report.totals.compared == 60 * report.passes
    assert [reason.code for reason in report.reasons].count(ReasonCode.INTERRUPTED) == 1
    assert judge_again(tmp_path / "run")[0] == report


@pytest.mark.parametrize(("candidate", "code"), [(shop(), 0), (shop(price=11), 1)])
def test_off_and_without_a_failure_it_goes_on_to_the_end_of_the_traffic(candidate: Handler, code: int, tmp_path: Path) -> None:
    assert judged(tmp_path, candidate, count=30, passes=14, stop_early=code == 0) == code
    report = report_in(tmp_path / "run")
    assert (report.passes, report.totals.compared) == (14, 420)
    assert ReasonCode.INTERRUPTED not in [reason.code for reason in report.reasons]


def test_a_failure_that_ends_the_run_anyway_is_no_early_stop(tmp_path: Path) -> None:
    assert judged(tmp_path, shop(price=11), count=30, passes=1, state="fresh") in {1, 3}
    assert ReasonCode.INTERRUPTED not in [reason.code for reason in report_in(tmp_path / "run").reasons]


SNAPSHOT = Ledger(Policy()).snapshot()
BROKEN = BrokenRule(
    rule=0,
    effect="http POST *",
    limit=1,
    missing=False,
    why="",
    endpoint="POST /orders",
    judged=9,
    trials=1,
    untold=0,
    candidate=2,
    stable_min=1,
    stable_max=1,
    stable_broke=0,
)


def test_within_a_fresh_pass_only_a_broken_rule_is_final() -> None:
    fresh = msgspec.structs.replace(SNAPSHOT, fresh=True)
    assert not failed_within_pass(fresh, EffectsFacts(), fails=True)
    assert failed_within_pass(SNAPSHOT, EffectsFacts(), fails=True)
    assert failed_within_pass(msgspec.structs.replace(fresh, hard=(BROKEN,)), EffectsFacts(), fails=False)
    assert not failed_within_pass(SNAPSHOT, EffectsFacts(), fails=False)


def test_whoever_asks_to_stop_is_heard_while_it_is_watched() -> None:
    async def never() -> bool:
        return False

    async def body() -> bool:
        stop = Stop()
        early = EarlyStop(stop, never, on=True)
        async with asyncio.timeout(30), early.watching() as ending:
            stop.request()
            await ending.wait()
        async with early.watching() as ending:
            assert ending.is_set(), "a pass after that does not begin"
        return early.reached

    assert not asyncio.run(body())
