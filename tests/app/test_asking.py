"""Confirmation in live traffic: what is asked again, of whom, how often, and what it comes to."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from harness.app import proxy as module
from harness.app.asking import Stateless, asked_roles
from harness.app.proxy import LiveRun
from harness.app.stored import judge_again
from harness.core.errors import UsageError
from harness.core.labels import Control, FindingClass, Role, ShedReason, VerdictState
from harness.proxy.wire import GUARD_HEADER
from harness.report.model import Report
from harness.report.words import summary_words
from harness.settings.effects import EffectsSettings
from harness.settings.schema import ConfirmSettings, Settings, TargetSettings, TargetsSettings
from tests.app.support import Handler, Heard, report_in, serving
from tests.app.test_proxy import live, run, served, traffic, until

SEARCH = ConfirmSettings(live=True, stateless=("GET /search*",), rate=100.0)


class Build:
    """A build that finds things, and counts who asked it what."""

    def __init__(self, wrong: Callable[[web.Request], bool] = lambda _request: False) -> None:
        self.wrong = wrong
        self.clients: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.Response:
        (self.copies if request.headers.get(GUARD_HEADER) == "1" else self.clients)[request.path_qs] += 1
        return web.json_response({"q": request.query.get("q", ""), "found": 3 if self.wrong(request) else 2})


def one_of_200(request: web.Request) -> bool:
    return int(request.query.get("q", "0")) % 200 == 7


Talk = Callable[[LiveRun, Callable[[str], Awaitable[tuple[int, bytes]]]], Awaitable[None]]


def watched(
    out: Path,
    candidate: Build,
    confirm: ConfirmSettings,
    talk: Talk,
    *,
    production: bool = False,
    ui: Heard | None = None,
) -> tuple[Build, Build, Report]:
    """A run between three builds; stable, secondary and the report."""
    stable, secondary = Build(), Build()

    async def body() -> None:
        handlers: list[Handler] = [stable.answer, secondary.answer, candidate.answer]
        async with serving(handlers[0]) as one, serving(handlers[1]) as two, serving(handlers[2]) as three, traffic() as ask:
            targets = TargetsSettings(
                stable=TargetSettings(url=one, production=production),
                secondary=TargetSettings(url=two),
                candidate=TargetSettings(url=three),
            )
            loaded = live(out, {Role.STABLE: one}, sections={"confirm": confirm})
            loaded = msgspec.structs.replace(loaded, settings=msgspec.structs.replace(loaded.settings, targets=targets))
            proxy = LiveRun(loaded, ui or Heard())
            async with served(proxy) as end:
                await talk(proxy, ask)
                await end()

    run(body)
    return stable, secondary, report_in(out)


def verdict_is(run: LiveRun, state: VerdictState) -> bool:
    said = run.state().verdict
    return said is not None and said.state is state


def searching(count: int, then: Talk) -> Talk:
    async def talk(run: LiveRun, ask: Callable[[str], Awaitable[tuple[int, bytes]]]) -> None:
        for number in range(count):
            status, answer = await ask(f"http://{run.address}/search?q={number}")
            assert (status, b'"found": 2' in answer) == (200, True), "the client has stable's answer"
        await until(lambda: run.state().requests == count)
        await then(run, ask)

    return talk


async def fails(run: LiveRun, _ask: object) -> None:
    await until(lambda: verdict_is(run, VerdictState.FAIL))


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_SECONDS", 0.05)


def test_a_difference_on_half_a_percent_is_found_at_its_first_sight(tmp_path: Path) -> None:
    candidate, ui = Build(one_of_200), Heard()
    stable, secondary, report = watched(tmp_path / "run", candidate, SEARCH, searching(40, fails), ui=ui)
    assert (report.verdict, report.totals.requests, report.totals.compared) == (VerdictState.FAIL, 40, 40), "repeats are no traffic"
    (finding,) = report.findings
    assert (finding.finding_class, finding.path, finding.confirmed) == (FindingClass.DIVERGENCE, "$.found", finding.repeats)
    asked = report.repeats[Role.CANDIDATE]
    assert report.repeats == {Role.STABLE: asked, Role.SECONDARY: asked, Role.CANDIDATE: asked}, "repeats are counted per target"
    assert 9 <= asked <= 30
    assert f"asked again: stable {asked} times" in summary_words(report)
    # Each repeat is marked like every copy, and only what differed is asked again.
    for build in (secondary, candidate):
        assert build.copies["/search?q=7"] >= asked + 1
        assert {n for target, n in build.copies.items() if target != "/search?q=7"} == {1}
    assert stable.copies["/search?q=7"] >= asked
    assert stable.clients["/search?q=7"] == 1
    assert any(said.startswith("asking again at GET /search*: at most 100/s and 2,000 a day of stable,") for said in ui.infos)
    again, _ = judge_again(tmp_path / "run")
    assert (again.reasons, again.findings, again.repeats) == (report.reasons, report.findings, report.repeats), "bit for bit"


def test_without_confirmation_the_same_traffic_says_nothing(tmp_path: Path) -> None:
    async def done(run: LiveRun, _ask: object) -> None:
        await until(lambda: run.state().verdict is not None)

    off = ConfirmSettings(stateless=("GET /search*",))
    stable, _, report = watched(tmp_path / "run", Build(one_of_200), off, searching(40, done))
    assert report.verdict is VerdictState.INCONCLUSIVE
    assert report.repeats == {}
    assert not stable.copies, "it is off unless confirm.live is set"


def test_a_stable_in_production_is_left_alone(tmp_path: Path) -> None:
    stable, secondary, report = watched(tmp_path / "run", Build(one_of_200), SEARCH, searching(40, fails), production=True)
    assert report.verdict is VerdictState.FAIL
    assert not stable.copies, "it never goes to a target marked production"
    assert set(stable.clients.values()) == {1}
    assert report.repeats[Role.STABLE] == 0
    assert report.repeats[Role.SECONDARY] == report.repeats[Role.CANDIDATE] >= 9
    assert secondary.copies["/search?q=7"] >= 10
    again, _ = judge_again(tmp_path / "run")
    assert (again.reasons, again.findings, again.repeats) == (report.reasons, report.findings, report.repeats)


def test_a_difference_that_does_not_come_back_is_settled_and_fails_nothing(tmp_path: Path) -> None:
    """Of a candidate that is wrong once: the answer that raised the question is not counted."""
    once: list[str] = []

    def wrong(request: web.Request) -> bool:
        if one_of_200(request) and not once:
            once.append(request.path_qs)
            return True
        return False

    async def settled(run: LiveRun, _ask: object) -> None:
        before = -1
        while candidate.copies["/search?q=7"] < 4 or candidate.copies["/search?q=7"] != before:
            before = candidate.copies["/search?q=7"]
            await asyncio.sleep(0.5)

    candidate = Build(wrong)
    _, _, report = watched(tmp_path / "run", candidate, SEARCH, searching(20, settled))
    assert report.verdict is VerdictState.INCONCLUSIVE
    (finding,) = report.findings
    assert finding.confirmed == 0
    assert 3 <= finding.repeats <= 8, "five clean answers are enough"


def test_the_days_budget_holds_for_each_target(tmp_path: Path) -> None:
    async def spent(run: LiveRun, _ask: object) -> None:
        await until(lambda: b'shadowdiff_repeats_spent{target="candidate"} 1.0' in run.metrics())
        assert b'shadowdiff_repeats_total{target="stable"} 3.0' in run.metrics()
        assert b'shadowdiff_repeats_back_off{target="stable"} 1.0' in run.metrics()
        await until(lambda: b'shadowdiff_queue_depth{stage="confirm"} 1.0' in run.metrics())

    candidate = Build(one_of_200)
    confirm = ConfirmSettings(live=True, stateless=("GET /search*",), rate=100.0, daily=3)
    stable, secondary, report = watched(tmp_path / "run", candidate, confirm, searching(20, spent))
    assert (stable.copies["/search?q=7"], secondary.copies["/search?q=7"], candidate.copies["/search?q=7"]) == (3, 4, 4)
    assert report.repeats == {Role.STABLE: 3, Role.SECONDARY: 3, Role.CANDIDATE: 3}


def test_only_what_was_declared_stateless_is_asked_again(tmp_path: Path) -> None:
    async def done(run: LiveRun, _ask: object) -> None:
        await until(lambda: run.state().verdict is not None)

    confirm = ConfirmSettings(live=True, stateless=("GET /other",), rate=100.0)
    stable, _, report = watched(tmp_path / "run", Build(one_of_200), confirm, searching(20, done))
    assert report.repeats == {}
    assert not stable.copies


def test_a_question_belongs_to_its_epoch(tmp_path: Path) -> None:
    """What was asked for one build counts nothing for the next, and the next has questions of its own."""

    async def two_epochs(run: LiveRun, ask: Callable[[str], Awaitable[tuple[int, bytes]]]) -> None:
        await until(lambda: candidate.copies["/search?q=7"] >= 3)
        await run.new_epoch("b-2")
        before = candidate.copies["/search?q=7"]
        await ask(f"http://{run.address}/search?q=7")
        await until(lambda: candidate.copies["/search?q=7"] >= before + 3)
        await fails(run, None)

    candidate = Build(one_of_200)
    confirm = ConfirmSettings(live=True, stateless=("GET /search*",), rate=5.0)
    watched(tmp_path / "run", candidate, confirm, searching(9, two_epochs))
    last = report_in(tmp_path / "run" / "epochs" / "run.2")
    assert last.verdict is VerdictState.FAIL
    (finding,) = last.findings
    assert (finding.compared, finding.confirmed) == (1, finding.repeats)
    again, _ = judge_again(tmp_path / "run" / "epochs" / "run.2")
    assert again.findings == last.findings


def test_nothing_is_asked_while_nothing_is_mirrored(tmp_path: Path) -> None:
    async def off(run: LiveRun, _ask: object) -> None:
        run.set_mirroring(0.0)
        await asyncio.sleep(0.3)  # what was under way has ended by then, or the counts below are larger
        before = candidate.copies["/search?q=7"]
        await asyncio.sleep(1.0)
        assert candidate.copies["/search?q=7"] <= before + 1
        run.set_mirroring(100.0)
        await fails(run, None)

    candidate = Build(one_of_200)
    confirm = ConfirmSettings(live=True, stateless=("GET /search*",), rate=10.0)
    _, _, report = watched(tmp_path / "run", candidate, confirm, searching(9, off))
    assert report.verdict is VerdictState.FAIL


def test_stable_is_asked_twice_within_its_cap(tmp_path: Path) -> None:
    """`secondary: self` in live traffic: beyond the cap a request is shed before it is sent, and counted."""
    stable, candidate = Build(), Build(lambda _request: True)

    async def body() -> None:
        async with serving(stable.answer) as one, serving(candidate.answer) as three, traffic() as ask:
            confirm = {"confirm": ConfirmSettings(rate=100.0, daily=25)}
            urls = {Role.STABLE: one, Role.CANDIDATE: three}
            proxy = LiveRun(live(tmp_path / "run", urls, sections=confirm, secondary_self=True), Heard())
            async with served(proxy) as end:
                for number in range(40):
                    await ask(f"http://{proxy.address}/search?q={number}")
                    await asyncio.sleep(0.02)  # within the rate
                await end()

    run(body)
    report = report_in(tmp_path / "run")
    assert (report.control, report.verdict) == (Control.SELF, VerdictState.FAIL)
    assert report.totals.requests == 40
    assert report.totals.compared <= 25
    assert report.totals.shed[ShedReason.RATE] == 40 - report.totals.compared
    assert sum(stable.copies.values()) == sum(candidate.copies.values()) == report.totals.compared
    assert {f.path for f in report.findings} == {"$.found"}


def chosen(**sections: Any) -> Settings:
    targets = {
        role: TargetSettings(url=f"http://127.0.0.1:{9 + number}") for number, role in enumerate(("stable", "secondary", "candidate"))
    }
    return Settings(targets=TargetsSettings(**targets), **{"confirm": SEARCH, **sections})


def in_production(settings: Settings, role: str) -> Settings:
    marked = msgspec.structs.replace(getattr(settings.targets, role), production=True)
    return msgspec.structs.replace(settings, targets=msgspec.structs.replace(settings.targets, **{role: marked}))


def test_who_is_asked() -> None:
    assert asked_roles(chosen(confirm=ConfirmSettings())) == ()
    assert asked_roles(chosen()) == (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)
    assert asked_roles(in_production(chosen(), "stable")) == (Role.SECONDARY, Role.CANDIDATE)
    assert asked_roles(in_production(chosen(confirm=ConfirmSettings()), "candidate")) == (), "the mark alone forbids nothing else"


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (chosen(confirm=ConfirmSettings(live=True)), "no endpoint is declared stateless"),
        (in_production(chosen(), "candidate"), "candidate serves users"),
        (in_production(chosen(), "secondary"), "secondary serves users"),
        (
            msgspec.structs.replace(
                chosen(), targets=TargetsSettings(stable=TargetSettings(url="http://a"), candidate=TargetSettings(url="http://b"))
            ),
            "without a secondary",
        ),
        (
            msgspec.structs.replace(
                chosen(), targets=TargetsSettings(stable=TargetSettings(url="http://a"), secondary=TargetSettings(url="http://b"))
            ),
            "without a candidate",
        ),
        (chosen(effects=EffectsSettings(collect=("http",))), "would belong to no request"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_the_start(settings: Settings, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        asked_roles(settings)


def test_stateless_endpoints_are_of_safe_methods_only() -> None:
    stateless = Stateless(("GET /search*", "HEAD /a.b", "POST /search"))
    assert "GET /search" in stateless
    assert "GET /search/{id}" in stateless
    assert "HEAD /a.b" in stateless
    assert "HEAD /a-b" not in stateless
    assert "POST /search" not in stateless
    assert "other" not in stateless
