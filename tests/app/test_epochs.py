"""Epochs of a live run: what closes one, what belongs to which, and that nothing is lost or counted twice."""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from harness.app import proxy as module
from harness.app.builds import Believed
from harness.app.epochs import EpochGate, Epochs, epoch_facts, settled_totals, store_or_none, totals_since
from harness.app.history import ClosedBy, HistoryEntry, read_history
from harness.app.proxy import LiveRun
from harness.app.stored import judge_again
from harness.core.errors import SetupError
from harness.core.labels import Aspect, FindingClass, Kind, ReasonCode, Role, SkipReason, VerdictState
from harness.core.limits import WARM_UP_REQUESTS
from harness.core.values import Totals
from harness.evidence.expected import ExpectedChange
from harness.evidence.findings import finding_id
from harness.report.history import epoch_words
from harness.report.model import RequestTotals
from harness.settings.expected_file import written
from harness.settings.schema import EpochSettings
from harness.store import RunRecord, StoredRun
from tests.app.support import Heard, builds, record_in, report_in
from tests.app.test_proxy import live, run, served, traffic, until

QUICK = Believed(answers=5, seconds=0.0, polls=2)


class Ticks:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.now_ns = 1

    def monotonic_ns(self) -> int:
        return self.now_ns

    def time(self) -> float:
        return self.now_ns / 1e9


def labelled(label: list[str], price: int = 10) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/version":
            return web.json_response({"build": label[0]})
        return web.json_response({"path": request.path, "price": price}, headers={"X-Build": label[0]})

    return answer


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_SECONDS", 0.02)
    monkeypatch.setattr(module, "EpochGate", lambda build, clock: EpochGate(build, clock, QUICK))


async def posted(run: LiveRun, ui: Heard, body: Any = None, **options: Any) -> tuple[int, Any]:
    admin = next(said for said in ui.infos if said.startswith("admin on ")).split()[2].rstrip(":")
    async with aiohttp.ClientSession() as client, client.post(f"{admin}/api/v1/epoch", json=body or {}, **options) as answer:
        return answer.status, await answer.json()


def accounted(entries: list[HistoryEntry], folders: list[Path]) -> list[RequestTotals]:
    """The totals of every epoch; in each the requests are the sum of the outcomes."""
    found = []
    for entry, folder in zip(entries, folders, strict=True):
        report = report_in(folder)
        totals = report.totals
        outcomes = [sum(counts.values()) for counts in (totals.shed, totals.skipped, totals.refused)]
        assert totals.requests == totals.compared + sum(outcomes)
        assert entry.requests == totals.compared == record_in(folder).bets == sum(1 for _ in StoredRun.open(folder).bets())
        again, _ = judge_again(folder)
        assert again == report, "judged again from what is stored, each epoch gives the same answer"
        found.append(totals)
    return found


def test_an_api_call_closes_the_run_under_load_and_each_request_is_in_exactly_one_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    out, ui = tmp_path / "run", Heard()
    sent = 0

    async def body() -> None:
        nonlocal sent
        async with builds(labelled(["b"])) as urls, traffic() as ask:
            live_run = LiveRun(live(out, urls, workers=2), ui)
            async with served(live_run) as end:
                going = True

                async def load(which: int) -> None:
                    nonlocal sent
                    while going:
                        status, _ = await ask(f"http://{live_run.address}/items/{which}{sent}")
                        sent += 1
                        assert status == 200, "clients notice nothing"

                clients = [asyncio.create_task(load(which)) for which in range(4)]
                await until(lambda: live_run.state().requests >= 30)
                status, told = await posted(live_run, ui, {"build": "b-2"})
                assert (status, [one["epoch"] for one in told["history"]]) == (200, [1, 2])
                assert (live_run.state().build, live_run.state().run) == ("b-2", "run.2")
                assert told["history"][0]["closed_by"] == "request"
                assert told["history"][1]["until"] is None
                await until(lambda: live_run.state().requests >= 30)
                assert (await posted(live_run, ui))[0] == 200
                await until(lambda: live_run.state().requests >= 30)
                going = False
                await asyncio.gather(*clients)
                await end()

    run(body)
    entries = read_history(out)
    assert [(one.epoch, one.build, one.closed_by) for one in entries] == [
        (1, "", ClosedBy.REQUEST),
        (2, "b-2", ClosedBy.REQUEST),
        (3, "b-2", ClosedBy.END),
    ]
    every = accounted(entries, [out, out / "epochs" / "run.2", out / "epochs" / "run.3"])
    assert sum(totals.requests for totals in every) == sent
    assert all(set(totals.skipped) <= {SkipReason.EARLIER_EPOCH} for totals in every)
    assert not any(totals.shed for totals in every)
    assert len((tmp_path / "audit.jsonl").read_bytes().splitlines()) == 3, "each epoch's verdict is in the audit file"
    assert report_in(out / "epochs" / "run.2").run.build == "b-2"
    assert all(before.until <= after.since + 1 for before, after in itertools.pairwise(entries) if before.until)
    assert "History" in ui.text
    assert ui.text.index("History") < ui.text.rindex("b-2")


def test_a_new_build_in_the_response_header_closes_the_run_and_is_judged_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    out, ui, label = tmp_path / "run", Heard(), ["good"]

    async def body() -> None:
        async def candidate(request: web.Request) -> web.Response:
            return await labelled(label, price=10 if label[0] == "good" else 11)(request)

        async with builds(candidate) as urls, traffic() as ask:
            sections = {"epochs": EpochSettings(build_header="X-Build")}
            live_run = LiveRun(live(out, urls, sections=sections), ui)
            async with served(live_run) as end:
                for number in range(30):
                    await ask(f"http://{live_run.address}/items/{number}")
                await until(lambda: live_run.state().requests == 30)
                assert live_run.state().build == "good", "the first label names the build"
                label[0] = "bad"
                number = 100
                while live_run.state().build != "bad":
                    await ask(f"http://{live_run.address}/items/{number}")
                    number += 1
                await until(lambda: len(live_run.history()) == 2)
                for number in range(1000, 1030):
                    await ask(f"http://{live_run.address}/items/{number}")
                await until(lambda: live_run.state().verdict is not None and live_run.state().verdict.state is VerdictState.FAIL)  # type: ignore[union-attr]  # not None, just asked
                report = await end()
                assert live_run.gate_verdict(report) is VerdictState.FAIL

    run(body)
    entries = read_history(out)
    assert [(one.build, one.closed_by) for one in entries] == [("good", ClosedBy.BUILD), ("bad", ClosedBy.END)]
    first, second = accounted(entries, [out, out / "epochs" / "run.2"])
    assert first.compared == 30
    assert SkipReason.OTHER_BUILD not in first.skipped, "the answers that announced the new build are not strays"
    assert second.skipped[SkipReason.EARLIER_EPOCH] >= QUICK.answers
    good, bad = report_in(out), report_in(out / "epochs" / "run.2")
    assert {f.path for f in good.findings} <= {"date"}, "the header that names the build is no difference"
    assert (good.run.build, good.verdict is VerdictState.FAIL) == ("good", False)
    assert (bad.run.build, bad.verdict) == ("bad", VerdictState.FAIL)


def test_the_version_path_and_a_period_close_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    out, ui, label = tmp_path / "run", Heard(), ["one"]

    async def body() -> None:
        async with builds(labelled(label)) as urls, traffic() as ask:
            epochs = EpochSettings(version_path="/version", period_s=3600.0)
            live_run = LiveRun(live(out, urls, sections={"epochs": epochs}), ui)
            async with served(live_run) as end:
                await until(lambda: live_run.state().build == "one")
                await ask(f"http://{live_run.address}/items/1")
                await until(lambda: live_run.state().requests == 1)
                label[0] = "two"
                await until(lambda: live_run.state().build == "two")
                await until(lambda: len(live_run.history()) == 2)
                with monkeypatch.context() as patched:
                    patched.setattr(Epochs, "period_over", True)
                    await until(lambda: len(live_run.history()) >= 3)
                await end()

    run(body)
    entries = read_history(out)
    assert [one.closed_by for one in entries][:2] == [ClosedBy.BUILD, ClosedBy.PERIOD]
    assert [one.build for one in entries][:2] == ["one", "two"]
    epoch = report_in(out).epoch
    assert epoch is not None
    assert (epoch.number, epoch.period_s, epoch.runs_a_month) == (1, 3600.0, 744)
    assert "744 epochs of a month" in epoch_words(epoch)


def test_alpha_is_stated_for_a_run_and_for_a_month() -> None:
    day = epoch_facts(3, ClosedBy.PERIOD, 0.01, 86_400.0)
    assert (day.alpha, day.runs_a_month) == (0.01, 31)
    assert day.alpha_a_month == pytest.approx(0.31)
    assert "at most 1 % in it" in epoch_words(day)
    assert "at most 31 %" in epoch_words(day)
    assert "no bound is left" in epoch_words(epoch_facts(1, ClosedBy.END, 0.01, 60.0))
    alone = epoch_facts(1, ClosedBy.END, 0.01, None)
    assert (alone.runs_a_month, alone.alpha_a_month) == (None, None)
    assert epoch_words(None) == ""


def test_two_builds_that_take_turns_make_no_epochs_but_strays() -> None:
    clock = Ticks()
    gate = EpochGate("a", clock, Believed(answers=5, seconds=0.0))
    for number in range(1000):
        clock.now_ns += 1
        assert gate.admits("ab"[number % 4 != 0], clock.now_ns) is (number % 4 == 0)
        assert gate.settled == ""
    assert gate.rest() == {SkipReason.OTHER_BUILD: 750}


def test_what_was_under_way_when_an_epoch_began_belongs_to_none() -> None:
    clock = Ticks()
    gate = EpochGate("a", clock, Believed(answers=3, seconds=0.0))
    for _ in range(4):
        gate.admits("b", clock.now_ns)
    assert (gate.settled, gate.drained()) == ("b", {})
    clock.now_ns = 100
    assert gate.begin("b") == 4, "those that announced it"
    assert not gate.admits("b", 99)
    assert gate.admits("b", 100)
    assert gate.drained() == {SkipReason.EARLIER_EPOCH: 1}


def test_a_new_build_warms_up_before_its_latency_counts() -> None:
    clock = Ticks()
    gate = EpochGate("a", clock)
    assert not gate.warms_up("GET /", 1), "at first the ingress workers know"
    gate.begin("b")
    assert gate.warms_up("GET /", 2)
    assert [gate.warms_up("GET /", 3) for _ in range(WARM_UP_REQUESTS)][-1] is False
    assert gate.warms_up("GET /other", 4)


def test_the_counts_of_epochs_add_up_to_those_of_the_run() -> None:
    first = Totals(requests=12, compared=6, diverged=1, shed={"rate": 1}, skipped={"write": 2}, refused={}, errors={"candidate": 1})
    settled = settled_totals(first)
    assert settled.requests == 9, "three are under way: they are the next epoch's"
    second = Totals(requests=20, compared=15, diverged=1, shed={"rate": 1}, skipped={"write": 4}, refused={}, errors={"candidate": 3})
    rest = totals_since(settled, second)
    assert (rest.requests, rest.compared, rest.diverged, rest.shed, rest.skipped, rest.errors) == (
        11,
        9,
        0,
        {},
        {"write": 2},
        {"candidate": 2},
    )
    assert settled.requests + rest.requests == second.requests


def test_without_a_folder_the_epoch_goes_on_and_its_storage_is_counted_as_lost(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    store = store_or_none(blocked, RunRecord(id="run.2"), redact=lambda trial: trial, bytes_max=1e9)
    store.append_bets(b"x")
    store.flush()
    assert list(store.kept()) == []
    store.close()
    assert any("bets" in what for what, _ in store.blind())


def test_an_epoch_is_refused_while_nothing_is_served(tmp_path: Path) -> None:
    async def body() -> None:
        async with builds(labelled(["b"])) as urls:
            live_run = LiveRun(live(tmp_path / "run", urls), Heard())
            with pytest.raises(SetupError):
                await live_run.new_epoch(None)
            with live_run._epochs:
                pass

    run(body)


def test_a_build_that_mixes_with_another_is_inconclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    out, ui, turn = tmp_path / "run", Heard(), [0]

    async def body() -> None:
        async def candidate(request: web.Request) -> web.Response:
            turn[0] += 1
            return await labelled(["ab"[turn[0] % 2]])(request)

        async with builds(candidate) as urls, traffic() as ask:
            live_run = LiveRun(live(out, urls, sections={"epochs": EpochSettings(build_header="x-build")}), ui)
            async with served(live_run) as end:
                for number in range(60):
                    await ask(f"http://{live_run.address}/items/{number}")
                await until(lambda: live_run.state().requests >= 29)
                await end()

    run(body)
    report = report_in(out)
    assert report.verdict is VerdictState.INCONCLUSIVE
    assert ReasonCode.MIXED_BUILDS in {reason.code for reason in report.reasons}
    assert report.totals.skipped[SkipReason.OTHER_BUILD] == 30
    assert len(read_history(out)) == 1
    assert json.loads((out / "report.json").read_bytes())["epoch"]["closed_by"] == "end"
    assert Role.CANDIDATE in report.run.targets


class Tomorrow:
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def time(self) -> float:
        return time.time() + self.ahead_s


def test_an_accepted_change_ends_on_its_last_day_in_a_running_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The epoch ends with it, workers are told, and what was accepted counts again in the next."""
    quick(monkeypatch)
    out, ui, clock = tmp_path / "run", Heard(), Tomorrow()
    place = ("GET /items/{int}", Aspect.BODY, "$.price", Kind.VALUE)
    head: dict[str, Any] = {"id": finding_id(*place), "endpoint": place[0], "aspect": place[1], "path": place[2], "kind": place[3]}
    file = tmp_path / "expected.yaml"
    file.write_text(written([ExpectedChange(**head, reason="wanted", by="Ann", expires="2099-12-31")]))

    async def body() -> None:
        async with builds(labelled(["one"], price=11)) as urls, traffic() as ask:
            live_run = LiveRun(live(out, urls, sections={"expected": str(file)}), ui)
            live_run._context.clock = clock  # type: ignore[assignment]  # a clock
            async with served(live_run) as end:
                for number in range(30):
                    await ask(f"http://{live_run.address}/items/{number}")
                await until(lambda: live_run.state().requests == 30)
                clock.ahead_s = 80 * 366 * 86_400.0
                await until(lambda: len(live_run.history()) == 2)
                for number in range(1000, 1040):
                    await ask(f"http://{live_run.address}/items/{number}")
                await until(lambda: live_run.state().verdict is not None and live_run.state().verdict.state is VerdictState.FAIL)  # type: ignore[union-attr]  # not None, just asked
                await end()

    run(body)
    assert [one.closed_by for one in read_history(out)] == [ClosedBy.ACCEPTANCE, ClosedBy.END]
    first, second = report_in(out), report_in(out / "epochs" / "run.2")
    accepted = {f.path: (f.finding_class, f.expected) for f in first.findings}
    assert accepted["$.price"] == (FindingClass.EXPECTED, 30)
    again = {f.path: (f.finding_class, f.expected) for f in second.findings}
    assert again["$.price"] == (FindingClass.DIVERGENCE, 0)
    assert ReasonCode.ACCEPTANCE_EXPIRED in [reason.code for reason in second.reasons]
    judged, _ = judge_again(out / "epochs" / "run.2")
    assert judged.reasons == second.reasons
