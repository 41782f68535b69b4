"""A candidate that answers one thing now and another then, through the whole gate: found, and named for what it is."""

import asyncio
from collections import Counter
from pathlib import Path

from aiohttp import web

from harness.app.stored import judge_again
from harness.core.labels import Aspect, VerdictState
from harness.settings.schema import ReplaySettings
from tests.app.support import Handler, Heard, capture, items, report_in
from tests.app.test_gate import against


def unsteady() -> Handler:
    """Every other answer of a path has another price."""
    asked: Counter[str] = Counter()

    async def answer(request: web.Request) -> web.Response:
        asked[request.path] += 1
        return web.json_response({"path": request.path, "price": 10 + asked[request.path] % 2})

    return answer


def test_a_candidate_that_disagrees_with_itself_is_named(tmp_path: Path) -> None:
    file, out = capture(tmp_path / "shop.gor", items(12)), tmp_path / "run"
    replay = ReplaySettings(state="stateless", seed=1, passes=40)
    assert asyncio.run(against(unsteady(), out, file, ui=Heard(), replay=replay)) == 1
    report = report_in(out)
    assert report.verdict is VerdictState.FAIL
    found = {finding.aspect: finding for finding in report.findings if finding.path == "$.price"}
    assert set(found) == {Aspect.BODY, Aspect.DETERMINISM}
    restless = found[Aspect.DETERMINISM]
    assert (restless.diverged, restless.control_diverged, restless.root) == (240, 0, found[Aspect.BODY].id)
    assert any("asked again from fresh state" in reason.message for reason in report.reasons)
    again, verdict = judge_again(out)
    assert verdict.state is VerdictState.FAIL
    assert again.findings == report.findings


def test_stable_that_is_as_unsteady_is_not(tmp_path: Path) -> None:
    file, out = capture(tmp_path / "shop.gor", items(12)), tmp_path / "run"
    replay = ReplaySettings(state="stateless", seed=1, passes=4)
    asyncio.run(against(unsteady(), out, file, ui=Heard(), stable=unsteady(), replay=replay))
    assert [finding for finding in report_in(out).findings if finding.aspect is Aspect.DETERMINISM] == []
