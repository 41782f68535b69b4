"""Passes that send one request at a time: when they are sent, and what they tell apart in a whole gate."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from harness.app import alone
from harness.app.alone import AlonePasses
from harness.app.stored import judge_again
from harness.core.labels import Aspect, Control, Design, FindingClass, Kind, Occurrence, Severity, VerdictState
from harness.core.limits import ALONE_PASS_SECONDS_MAX, ALONE_PASSES_MAX
from harness.evidence.snapshot import Evidence, Interval, Snapshot
from harness.report.model import FindingView
from harness.settings.schema import ReplaySettings
from replay.runner import PassResult
from tests.app.support import Handler, Heard, capture, items, report_in, shop
from tests.app.test_gate import against


def result(*, alone: bool = False, sent_s: float = 1.0) -> PassResult:
    return PassResult(
        entered=9,
        emitted=9,
        skipped={},
        seq_next=9,
        interrupted=False,
        elapsed_s=0.2,
        mapped_ids=0,
        contradictions=0,
        tainted=0,
        late_ms_max=0.0,
        alone=alone,
        sent_s=sent_s,
    )


def finding(finding_class: FindingClass = FindingClass.UNDECIDED, aspect: Aspect = Aspect.BODY) -> Evidence:
    return Evidence(
        id="f",
        endpoint="GET /x",
        aspect=aspect,
        path="$.a",
        kind=Kind.VALUE,
        finding_class=finding_class,
        severity=Severity.MAJOR,
        compared=9,
        diverged=1,
        control_diverged=0,
        log10_e=0.0,
        log10_threshold=3.0,
        rate=0.1,
        interval=Interval(0.0, 1.0, 0.95),
    )


def seen(*findings: Evidence) -> Snapshot:
    return Snapshot(
        seq=9, control=Control.SECONDARY, design=Design.THREE_ARM, passes=1, gate_log10=0.0, gate_log10_threshold=2.0, findings=findings
    )


def chosen(decider: AlonePasses, snapshot: Snapshot | None, *, passes: int = 12, first: PassResult | None = None) -> list[int]:
    done: list[PassResult] = []
    found = []
    for index in range(passes):
        if decider.next(done, snapshot):
            found.append(index)
        done.append(first or result())
    return found


def test_the_second_of_a_pair_goes_out_alone_from_the_fourth_pass_on_and_three_times_at_most() -> None:
    assert chosen(AlonePasses(on=True), seen(finding())) == [3, 5, 7]
    assert ALONE_PASSES_MAX == 3


@pytest.mark.parametrize(
    "snapshot",
    [None, seen(), seen(finding(FindingClass.EXPECTED)), seen(finding(aspect=Aspect.LATENCY))],
    ids=["none", "clean", "expected", "latency"],
)
def test_without_something_to_tell_apart_no_pass_does(snapshot: Snapshot | None) -> None:
    assert chosen(AlonePasses(on=True), snapshot) == []


def test_where_passes_are_no_independent_answers_or_alone_anyway_no_pass_is_changed() -> None:
    assert chosen(AlonePasses(on=False), seen(finding())) == []
    assert chosen(AlonePasses(on=True), seen(finding()), first=result(alone=True)) == []


def test_a_capture_that_would_take_too_long_stays_parallel_and_it_is_said() -> None:
    decider = AlonePasses(on=True)
    assert chosen(decider, seen(finding()), first=result(sent_s=ALONE_PASS_SECONDS_MAX + 12)) == []
    assert "72 s a pass" in decider.blind()
    assert AlonePasses(on=True).blind() == ""


def test_the_slowest_pass_so_far_says_how_long_it_would_take() -> None:
    done = [result(), result(), result(sent_s=ALONE_PASS_SECONDS_MAX + 1)]
    assert not AlonePasses(on=True).next(done, seen(finding()))
    assert AlonePasses(on=True).next([result()] * 3, seen(finding()))


def racing() -> Handler:
    """Counts in a shared place and forgets that others do so, too: only requests at the same time meet."""
    under_way = 0
    last: list[asyncio.Event] = []

    async def answer(request: web.Request) -> web.Response:
        nonlocal under_way
        under_way += 1
        met = asyncio.Event()
        last.append(met)
        if under_way > 1:
            for event in last:
                event.set()
        try:
            async with asyncio.timeout(0.2):
                await met.wait()
        except TimeoutError:
            pass
        finally:
            under_way -= 1
            last.remove(met)
        return web.json_response({"path": request.path, "price": 10, "mine": not met.is_set()})

    return answer


def found_in(out: Path, path: str) -> FindingView:
    (one,) = [each for each in report_in(out).findings if each.path == path and each.aspect is Aspect.BODY]
    return one


def test_a_race_that_needs_parallel_requests_happens_only_under_load(tmp_path: Path) -> None:
    file, out, ui = capture(tmp_path / "shop.gor", items(6)), tmp_path / "run", Heard()
    replay = ReplaySettings(state="stateless", seed=1, passes=14, concurrency=6)
    assert asyncio.run(against(racing(), out, file, ui=ui, stable=shop(mine=True), replay=replay)) == 1
    one = found_in(out, "$.mine")
    assert one.occurs is not None
    assert (one.occurs.when, one.occurs.alone, one.occurs.alone_shown) == (Occurrence.ONLY_UNDER_LOAD, 3, 0)
    assert (one.occurs.parallel, one.occurs.parallel_shown) == (11, 11)
    assert "only under load" in ui.text
    assert "in 11 of 11 passes with requests in parallel, in 0 of 3 with one at a time" in (out / "report.html").read_text()
    assert any("one at a time" in info for info in ui.infos)
    again, verdict = judge_again(out)
    assert verdict.state is VerdictState.FAIL
    assert again.findings == report_in(out).findings


def test_what_is_always_other_is_always_so_alone_and_in_parallel(tmp_path: Path) -> None:
    file, out, ui = capture(tmp_path / "shop.gor", items(6)), tmp_path / "run", Heard()
    assert asyncio.run(against(shop(price=11), out, file, ui=ui, replay=ReplaySettings(state="stateless", seed=1))) == 1
    one = found_in(out, "$.price")
    assert one.occurs is not None
    assert one.occurs.when is Occurrence.ALWAYS
    assert one.occurs.alone >= 2
    assert "; always" in ui.text


def test_a_run_whose_requests_go_one_at_a_time_anyway_says_that_load_was_not_told_apart(tmp_path: Path) -> None:
    file, out, ui = capture(tmp_path / "shop.gor", items(6)), tmp_path / "run", Heard()
    replay = ReplaySettings(state="stateless", seed=1, concurrency=1)
    assert asyncio.run(against(shop(price=11), out, file, ui=ui, replay=replay)) == 1
    one = found_in(out, "$.price")
    assert one.occurs is not None
    assert (one.occurs.when, one.occurs.parallel) == (Occurrence.ALWAYS, 0)
    assert "load was not told apart" in (out / "report.html").read_text()


def test_a_large_capture_stays_parallel_and_the_report_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "ALONE_PASS_SECONDS_MAX", 0.0)
    file, out, ui = capture(tmp_path / "shop.gor", items(6)), tmp_path / "run", Heard()
    replay = ReplaySettings(state="stateless", seed=1, passes=6)
    asyncio.run(against(shop(price=11), out, file, ui=ui, replay=replay))
    one = found_in(out, "$.price")
    assert one.occurs is not None
    assert (one.occurs.when, one.occurs.alone) == (Occurrence.ALWAYS, 0)
    assert any("only under load" in blind.what for blind in report_in(out).blind)
