"""The demo's own judgement, and how it ends when it is interrupted or cannot begin."""

import asyncio
import os
import signal
from functools import partial
from pathlib import Path
from random import Random

import msgspec
import pytest

from harness.app.demo import Outcome, calls_words, compare_with_planted, run_demo, stable_worked
from harness.core.errors import SetupError
from harness.core.labels import Aspect, FindingClass, Kind, ReasonCode, Role, Severity, VerdictState
from harness.core.watched import EffectsFacts, Watched
from harness.evidence.snapshot import Interval, Reason
from harness.report.model import FindingView, Report
from harness.settings.schema import DemoOptions, ReplaySettings
from scenarios.demo import traffic
from scenarios.demo.faults import FAULTS
from scenarios.demo.outside import MAIL, PAYMENTS, Outside
from tests.app.support import Heard, record_in, report_in
from tests.report.samples import fail_report

KEYS = {
    "yen-in-cents": ("GET /quotes/{int}", Aspect.BODY, "$.total", Kind.TYPE),
    "lost-reason": ("POST /orders", Aspect.BODY, "$.discount.reason", Kind.MISSING),
    "unstable-sort": ("GET /products", Aspect.BODY, "$.items", Kind.ORDER),
    "zero-accepted": ("GET /quotes/{int}", Aspect.STATUS, "$", Kind.CODE),
    "stock-off-by-one": ("GET /products/{int}", Aspect.BODY, "$.stock.available", Kind.VALUE),
    "slow-recommendations": ("GET /recommendations", Aspect.LATENCY, "p50", Kind.SLOWER),
    "customs-forgotten": ("GET /shipping", Aspect.BODY, "$.delivery.days", Kind.VALUE),
    "charged-twice": ("POST /orders", Aspect.EFFECTS, "$['http POST payments.demo/charges']", Kind.DUPLICATED),
    "mail-not-sent": ("POST /orders", Aspect.EFFECTS, "$['http POST mail.demo/messages']", Kind.MISSING),
}
FOLLOWER = ("GET /quotes/{int}", Aspect.BODY, "$.quote", Kind.MISSING)
NOISE = ("GET /shipping", Aspect.BODY, "$.quoted_at", Kind.VALUE)


def finding(key: tuple[str, Aspect, str, Kind], finding_class: FindingClass = FindingClass.DIVERGENCE) -> FindingView:
    endpoint, aspect, path, kind = key
    return FindingView(
        id="f",
        endpoint=endpoint,
        aspect=aspect,
        path=path,
        kind=kind,
        finding_class=finding_class,
        severity=Severity.MAJOR,
        compared=10,
        diverged=10,
        control_diverged=0,
        log10_e=9,
        log10_threshold=3,
        rate=1,
        interval=Interval(0.5, 1, 0.95),
    )


def report(*findings: FindingView, verdict: VerdictState | None = VerdictState.FAIL, reason: ReasonCode = ReasonCode.DIVERGENCE) -> Report:
    reasons = (Reason(code=reason, message="x"),)
    return msgspec.structs.replace(fail_report(), findings=findings, verdict=verdict, reasons=reasons)


def test_each_planted_fault_is_found_by_a_finding_of_either_run() -> None:
    keys = list(KEYS.values())
    outcome = compare_with_planted([report(*map(finding, keys[:3])), report(*map(finding, keys[3:]), finding(FOLLOWER))])
    assert set(outcome.found) == set(FAULTS)
    assert {fault.name for fault in FAULTS} == set(KEYS)
    assert outcome.missed == ()
    assert outcome.unexplained == ()


@pytest.mark.parametrize("name", KEYS)
def test_a_fault_that_is_only_suspected_is_missed(name: str) -> None:
    rest = [finding(key) for other, key in KEYS.items() if other != name]
    outcome = compare_with_planted([report(*rest, finding(KEYS[name], FindingClass.UNDECIDED), finding(NOISE, FindingClass.NOISE))])
    assert [fault.name for fault in outcome.missed] == [name]
    assert outcome.unexplained == ()


def test_a_divergence_that_nobody_planted_is_pointed_out() -> None:
    outcome = compare_with_planted([report(finding(NOISE), finding(FOLLOWER))])
    assert [found.path for found in outcome.unexplained] == ["$.quoted_at"]
    assert outcome.found == (), "what follows from a fault is not the fault"


def clean(**changes: object) -> Outcome:
    return Outcome(**{"found": (), "missed": FAULTS, "unexplained": (), **changes})  # type: ignore[arg-type]  # of a test's choice


@pytest.mark.parametrize(
    ("verdict", "reason", "worked"),
    [
        (VerdictState.PASS, ReasonCode.CLAIM_REACHED, True),
        (VerdictState.INCONCLUSIVE, ReasonCode.UNDECIDED, True),
        (VerdictState.INCONCLUSIVE, ReasonCode.NO_DATA, False),
        (VerdictState.INCONCLUSIVE, ReasonCode.LOW_COMPLETION, False),
        (VerdictState.FAIL, ReasonCode.POOLED_DIVERGENCE, False),
        (None, ReasonCode.UNDECIDED, False),
    ],
)
def test_the_stable_build_against_itself_works_when_it_passes_or_is_undecided(
    verdict: VerdictState | None, reason: ReasonCode, worked: bool
) -> None:
    answer, words = stable_worked(clean(), report(verdict=verdict, reason=reason))
    assert answer is worked
    assert words.endswith("no noise called divergence")


def test_noise_that_was_called_divergence_is_no_success() -> None:
    passed = report(verdict=VerdictState.PASS, reason=ReasonCode.CLAIM_REACHED)
    for outcome in (clean(unexplained=(finding(NOISE),)), clean(found=FAULTS[:1])):
        worked, words = stable_worked(outcome, passed)
        assert not worked
        assert words.endswith(", noise called divergence")


def test_a_verdict_without_reasons_is_not_believed() -> None:
    bare = msgspec.structs.replace(report(verdict=VerdictState.INCONCLUSIVE), reasons=())
    assert not stable_worked(clean(), bare)[0]


def watched_report(**seen: int) -> Report:
    watched = Watched(collector="http", version="1", seen=seen, unattributed={"candidate": 1})
    return msgspec.structs.replace(report(), effects=EffectsFacts(watched=(watched,)))


def test_that_only_calls_of_stable_came_is_said_with_the_figures_of_both_sides() -> None:
    outside = Outside(Random(1))
    outside.calls.update({(PAYMENTS, Role.STABLE): 1_000, (MAIL, Role.STABLE): 500})
    contained, words = calls_words(watched_report(stable=1_500, secondary=1_499, candidate=1_600), outside)
    assert contained
    assert "made: stable 1,500, secondary 1,499, candidate 1,601." in words
    assert "got 1,500, all of them stable's" in words


@pytest.mark.parametrize("caller", [Role.SECONDARY, Role.CANDIDATE, None])
def test_a_call_of_anybody_else_that_came_is_no_success(caller: Role | None) -> None:
    outside = Outside(Random(1))
    outside.calls.update({(PAYMENTS, Role.STABLE): 7, (MAIL, caller): 2})
    contained, words = calls_words(watched_report(stable=7), outside)
    assert not contained
    assert "got 9, 2 of them NOT stable's." in words


def test_calls_that_nobody_watched_are_none() -> None:
    bare = msgspec.structs.replace(report(), effects=EffectsFacts())
    assert calls_words(bare, Outside(Random(1)))[1].startswith("Outbound calls made: stable 0, secondary 0, candidate 0.")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(SetupError, match="cannot be made"):
        asyncio.run(run_demo(DemoOptions(out=tmp_path / "file" / "demo"), Heard()))


class Interrupting(Heard):
    """Presses Ctrl-C once some live requests were answered."""

    def progress(self, label: str, done: int, total: int | None) -> None:
        super().progress(label, done, total)
        if label == "live requests" and done == 5:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupted_demo_stops_its_builds_and_reports_the_live_part(tmp_path: Path) -> None:
    ui = Interrupting()
    assert asyncio.run(run_demo(DemoOptions(seed=2, out=tmp_path / "demo"), ui)) == 130
    live = report_in(tmp_path / "demo" / "live")
    assert live.totals.requests >= 5
    assert record_in(tmp_path / "demo" / "live").finished
    assert (tmp_path / "demo" / "traffic.gor").stat().st_size > 0
    assert not (tmp_path / "demo" / "gate").exists()
    assert "Demo worked" not in ui.text


def test_a_small_demo_says_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With so little traffic it cannot find everything: it says so, and does not claim to have worked."""
    whole = traffic.plan
    monkeypatch.setattr(traffic, "plan", lambda seed: whole(seed, 2))
    monkeypatch.setattr("harness.app.demo.ReplaySettings", partial(ReplaySettings, passes=2))
    ui = Heard()
    code = asyncio.run(run_demo(DemoOptions(seed=4, out=tmp_path / "demo"), ui))
    gate = report_in(tmp_path / "demo" / "gate")
    found = compare_with_planted([report_in(tmp_path / "demo" / "live"), gate])
    worked = not found.missed and gate.verdict is VerdictState.FAIL
    assert code == (0 if worked else 5)
    assert f"{len(found.found)} of {len(FAULTS)} planted faults found" in ui.text
    assert found.unexplained == ()
    assert all(fault.name in ui.text for fault in FAULTS)
    assert gate.run.provenance.captures[0].file.endswith("traffic.gor")
    (watched,) = gate.effects.watched
    assert (watched.mode, watched.unattributed, watched.lapses) == ("virtualise", {}, ())
    made = watched.seen["stable"]
    assert made == watched.seen["secondary"] >= 4, "two calls for an order, in two passes"
    assert f"The payment and mail services got {made:,}, all of them stable's" in " ".join(ui.infos)
    assert report_in(tmp_path / "demo" / "live").effects.watched == ()
